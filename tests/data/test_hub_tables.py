"""A table from a data set of the Hugging Face hub, or from a local folder of one."""

import datasets
import pytest

from pld_dspy.config.table import TableConfig
from pld_dspy.data import sources
from pld_dspy.data.tasks import task_from_table
from pld_dspy.errors import DataError

DATA = {
    "train": {"text": ["x", "y", "z"], "kind": [0, 1, 0]},
    "validation": {"text": ["u", "v"], "kind": [1, 0]},
}
FEATURES = datasets.Features(
    {"text": datasets.Value("string"), "kind": datasets.ClassLabel(names=["bad", "good"])}
)


def dataset(split):
    return datasets.Dataset.from_dict(DATA[split], features=FEATURES)


def config(hub, split, **changes):
    return TableConfig(hub=str(hub), split=split, inputs=["text"], label="kind", **changes)


@pytest.fixture
def asked(monkeypatch):
    """Have `load_dataset` answer from `DATA`; return what it was asked."""
    calls = []

    def load_dataset(name, subset, *, split, **options):
        calls.append((name, subset, split, options))
        if split not in DATA:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(DATA)}.')
        return dataset(split)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(sources, "_hub_answers", lambda: True)
    return calls


def test_a_hub_data_set_becomes_a_task(asked):
    task = task_from_table(config("owner/name", "train", subset="small", revision="abc"))

    assert asked == [("owner/name", "small", "train", {"revision": "abc"})]
    assert task.labels == ("bad", "good")
    assert [(e.text, e.kind) for e in task.examples] == [("x", "bad"), ("y", "good"), ("z", "bad")]
    assert [e.pld_source for e in task.examples] == [f"owner/name/train:{n}" for n in range(3)]
    assert task.fixed_splits is None
    assert task.notes == "from owner/name (train)"


def test_splits_of_the_hub_are_pools(asked):
    task = task_from_table(config("owner/name", {"train": "train", "test": "validation"}))

    splits = task.split({"train": 2, "test": 2}, seed=0)
    assert {e.text for e in splits.test} == {"u", "v"}
    assert {e.text for e in splits.train} <= {"x", "y", "z"}


def test_an_unknown_split_of_the_hub_is_named(asked):
    with pytest.raises(DataError, match=r"owner/name cannot be read .*Unknown split \"trian\""):
        task_from_table(config("owner/name", "trian"))


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_missing_value_of_the_hub_is_named(asked, monkeypatch, value):
    frame = datasets.Dataset.from_dict({"text": ["x", "y"], "kind": [1.5, value]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: frame)

    with pytest.raises(DataError, match=r"row 1 of owner/name \(train\) .* in column 'kind'"):
        task_from_table(config("owner/name", "train"))


@pytest.mark.parametrize("whole", [True, False])
def test_a_saved_folder_is_read(tmp_path, whole):
    if whole:
        datasets.DatasetDict({split: dataset(split) for split in DATA}).save_to_disk(tmp_path / "d")
    else:
        dataset("train").save_to_disk(tmp_path / "d")

    task = task_from_table(config(tmp_path / "d", "train"))
    assert [(e.text, e.kind) for e in task.examples] == [("x", "bad"), ("y", "good"), ("z", "bad")]
    with pytest.raises(DataError, match="is a folder, which has no revision 'abc'"):
        task_from_table(config(tmp_path / "d", "train", revision="abc"))
    if whole:
        with pytest.raises(DataError, match="has no split 'trian'; did you mean 'train'"):
            task_from_table(config(tmp_path / "d", "trian"))


def test_a_folder_of_data_files_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "d"
    folder.mkdir()
    for split in DATA:
        dataset(split).to_json(folder / f"{split}.jsonl")

    task = task_from_table(config(folder, "validation"))
    assert [(e.text, e.kind) for e in task.examples] == [("u", "1"), ("v", "0")]
    with pytest.raises(DataError, match=r"the data set in .* cannot be read .*trian"):
        task_from_table(config(folder, "trian"))

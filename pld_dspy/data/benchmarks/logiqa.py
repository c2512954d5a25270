"""LogiQA v1 as four-way classification."""

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
    short_digest,
)
from pld_dspy.data.tasks import Task, classification_signature


def logiqa_pools() -> tuple[Pools, str]:
    """Return LogiQA's official splits, and the source that they come from.

    Fields: `context`, `question`, `options` (four lines, `a. ...` to `d. ...`) and `answer` (a
    letter). The group is the context. Train items whose options were damaged at the source are left
    out.

    Raises:
        DataError: No source works.
    """
    files = {"train": "train_first349.jsonl", "val": "eval.jsonl.gz", "test": "test.jsonl.gz"}
    pools, source = first_available(
        "LogiQA",
        {
            DATA_DIR_VARIABLE: lambda: {pool: _logiqa_local(files[pool]) for pool in OFFICIAL},
            HUB: lambda: {pool: _logiqa_hub(names[1]) for pool, names in OFFICIAL.items()},
        },
    )
    return pools, source


def _logiqa_local(name: str) -> list[Item]:
    return [
        _logiqa_item(row, row["id"], row["question"], row["answer"])
        for row in local_rows(f"logiqa/{name}")
        if not row.get("clipped_suspect")
    ]


def _logiqa_hub(split: str) -> list[Item]:
    return [
        _logiqa_item(row, f"logiqa-hub-{split}:{number}", row["query"], row["correct_option"])
        for number, row in enumerate(hub_rows("lucasmccabe/logiqa", None, split))
    ]


def _logiqa_item(row: Row, item_id: str, question: str, answer: int) -> Item:
    options = zip("abcd", row["options"], strict=True)
    fields = {
        "context": row["context"],
        "question": question,
        "options": "\n".join(f"{letter}. {text}" for letter, text in options),
        "answer": "abcd"[answer],
    }
    return Item(id=item_id, group=short_digest(row["context"]), fields=fields)


def logiqa() -> Task:
    """Return LogiQA v1 with its official splits; the group of an example is its context.

    Raises:
        DataError: No source of the data works.
    """
    items, source = logiqa_pools()
    labels = ("a", "b", "c", "d")
    inputs = ("context", "question", "options")
    pools = {
        split: examples_from_items(pool, input_keys=inputs, label_key="answer", labels=labels)
        for split, pool in items.items()
    }
    return Task(
        name="logiqa",
        signature=classification_signature(
            "LogiQA",
            "Choose the option that answers the question about the context.",
            dict.fromkeys(inputs, ""),
            ("answer", "letter of the right option"),
            labels,
        ),
        label_key="answer",
        labels=labels,
        input_keys=inputs,
        metric="accuracy",
        examples=tuple(example for pool in pools.values() for example in pool),
        fixed_splits=pools,
        notes=f"LogiQA v1, English; {len(pools['train'])} train items; from {source}",
    )

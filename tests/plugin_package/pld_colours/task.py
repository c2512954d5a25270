"""A task: a function of keyword-only options that returns a `Task`."""

from pld_dspy.data.examples import make_example
from pld_dspy.data.tasks import Task, classification_signature

WORDS = {"alpha": "red", "beta": "green", "gamma": "blue", "delta": "green"}
FILLERS = ("quiet", "river", "stone", "window")


def colours(*, rows: int = 90, default: str = "grey") -> Task:
    """Return texts whose colour a word decides; without one of the words it is `default`.

    >>> colours(rows=5).examples[0].label
    'red'
    """
    words = [*WORDS, "none"]
    labels = ("red", "green", "blue", default)
    keys = {"input_keys": ("text",), "label_key": "label"}
    examples = tuple(
        make_example(
            {"text": f"{FILLERS[n % 4]} {words[n % 5]} no{n}"},
            WORDS.get(words[n % 5], default),
            source_id=f"colours:{n}",
            **keys,
        )
        for n in range(rows)
    )
    return Task(
        name="colours",
        signature=classification_signature(
            "Colours", "Name the colour.", {"text": ""}, ("label", ""), labels
        ),
        labels=labels,
        metric="balanced_accuracy",
        examples=examples,
        **keys,
    )

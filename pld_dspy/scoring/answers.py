"""Converts answers to and from the records in the run folder."""

from collections.abc import Mapping
from typing import Any

from pld_dspy.records import Answer
from pld_dspy.scoring.decisions.calibration import decided

STAGE = "answers"


def to_record(
    answer: Answer, spent: Mapping[str, Any], *, requested: bool = False
) -> dict[str, Any]:
    """Return the record of an answer without error, as it was read from the output.

    Args:
        answer: What a decision made of it is not stored.
        spent: Usage of its calls.
        requested: Whether label probabilities were requested; if none came, that is stored too.
    """
    answer = decided(answer, None)
    record: dict[str, Any] = {
        "example_id": answer.example_id,
        "gold": answer.gold,
        "answer": answer.answer,
        "raw": answer.raw,
        "score": answer.score,
        "spent": dict(spent),
    }
    if answer.p_gold is not None:
        record["p_gold"] = answer.p_gold
    known = answer.probabilities
    if known is not None or requested:
        record["probabilities"] = known and {label: round(p, 6) for label, p in known.items()}
    if answer.input_tokens != spent["input_tokens"]:
        record["prompt_tokens"] = answer.input_tokens  # counted locally, not billed
    return record


def from_record(record: Mapping[str, Any]) -> Answer:
    """Return the answer of a stored record."""
    spent = record["spent"]
    return Answer(
        example_id=record["example_id"],
        gold=record["gold"],
        answer=record["answer"],
        raw=record["raw"],
        score=record["score"],
        calls=spent["calls"],
        input_tokens=record.get("prompt_tokens", spent["input_tokens"]),
        output_tokens=spent["output_tokens"],
        p_gold=record.get("p_gold"),
        read=record["answer"],
        probabilities=record.get("probabilities"),
    )

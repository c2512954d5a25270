"""Cache keys of stored answers: everything that an answer depends on."""

from typing import Any

import dspy

from pld_dspy.models.lm import model_name
from pld_dspy.models.topics import topics_in
from pld_dspy.records import TopicPrompts


def identity(program: dspy.Module, lm: dspy.BaseLM) -> tuple[Any, ...]:
    """Return everything that the program's answers on `lm` depend on, as JSON-compatible values."""
    predictors = {path: _predictor(predictor) for path, predictor in program.named_predictors()}
    adapter = dspy.settings.adapter
    wording = getattr(program, "wording", "field")
    topics = topics_in(program)
    return (
        type(program).__qualname__ + ("" if wording == "field" else f"/{wording}"),
        predictors,
        model_name(lm),
        _decoding(lm),
        type(adapter).__qualname__ if adapter is not None else None,
        # Only if there are any, so that the answers of other programs keep their keys.
        *(() if topics is None else (_by_topic(topics),)),
    )


def _by_topic(topics: TopicPrompts) -> list[Any]:
    # The ids of the rules do not change the answers.
    return [topics.field, dict(sorted(topics.prompts.items()))]


def _predictor(predictor: dspy.Predict) -> dict[str, Any]:
    """Return everything that the predictor's answers depend on, besides the LM of the evaluation."""
    # As dicts: the repr of an example lists its inputs in an order that changes with the process.
    parts = {"signature": _shape(predictor), "demos": [dict(d) for d in predictor.demos]}
    if predictor.lm is not None:
        parts["lm"] = [model_name(predictor.lm), _decoding(predictor.lm)]
    if predictor.config:
        parts["config"] = predictor.config
    return parts


def _decoding(lm: dspy.BaseLM) -> dict[str, Any]:
    # The address does not change the answers, and neither do log-probabilities in the response.
    left_out = {"api_base", "api_key", "base_url", "logprobs", "top_logprobs"}
    return {name: value for name, value in lm.kwargs.items() if name not in left_out}


def _shape(predictor: dspy.Predict) -> list[Any]:
    signature = predictor.signature
    return [
        signature.instructions,
        [
            (name, str(field.annotation), str(field.json_schema_extra))
            for name, field in signature.fields.items()
        ],
    ]

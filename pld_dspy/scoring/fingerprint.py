"""What makes a program answer as it does: a stored answer counts only where all of it is the same."""

from typing import Any

import dspy

from pld_dspy.models.lm import model_name


def identity(program: dspy.Module, lm: dspy.BaseLM) -> tuple[Any, ...]:
    """Return all that decides the program's answers on `lm`, in a form that JSON can hold."""
    predictors = {path: _predictor(predictor) for path, predictor in program.named_predictors()}
    adapter = dspy.settings.adapter
    wording = getattr(program, "wording", "field")
    return (
        type(program).__qualname__ + ("" if wording == "field" else f"/{wording}"),
        predictors,
        model_name(lm),
        _decoding(lm),
        type(adapter).__qualname__ if adapter is not None else None,
    )


def _predictor(predictor: dspy.Predict) -> dict[str, Any]:
    """Return all that makes the predictor answer as it does, the LM of the evaluation apart."""
    # As mappings: an example's own text lists its inputs in an order that changes with the process.
    found = {"signature": _shape(predictor), "demos": [dict(d) for d in predictor.demos]}
    if predictor.lm is not None:
        found["lm"] = [model_name(predictor.lm), _decoding(predictor.lm)]
    if predictor.config:
        found["config"] = predictor.config
    return found


def _decoding(lm: dspy.BaseLM) -> dict[str, Any]:
    # The same weights at another address answer the same, and so they do when asked how probable
    # their answer was.
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

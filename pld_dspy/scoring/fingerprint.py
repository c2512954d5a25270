"""Cache keys of stored answers: everything that an answer depends on."""

import json
from typing import Any, cast

import dspy

from pld_dspy.models.lm import model_name
from pld_dspy.models.topics import topics_in
from pld_dspy.records import Form, TopicPrompts, Wording


def identity(program: dspy.Module, lm: dspy.BaseLM) -> tuple[Any, ...]:
    """Return everything that the program's answers on `lm` depend on, as JSON-compatible values."""
    wording = getattr(program, "wording", None)
    predictors = {
        path: _predictor(predictor, wording or "field")
        for path, predictor in program.named_predictors()
    }
    topics = topics_in(program)
    return (
        type(program).__qualname__ + ("" if wording in {None, "field"} else f"/{wording}"),
        predictors,
        model_name(lm),
        _decoding(lm),
        _adapter(asked=wording is not None),
        # Only if there are any, so that the answers of other programs keep their keys.
        *(() if topics is None else (_by_topic(topics),)),
    )


def _by_topic(topics: TopicPrompts) -> list[Any]:
    # The ids of the rules do not change the answers.
    return [topics.field, dict(sorted(topics.prompts.items()))]


def _adapter(*, asked: bool) -> str | None:
    """Return the adapter in use, with its form unless the program says itself how it asks."""
    adapter = dspy.settings.adapter
    if adapter is None:
        return None
    name = type(adapter).__qualname__
    form = _form(getattr(adapter, "form", None), "field")
    return (
        name
        if asked or not form
        else f"{name}/{json.dumps(form, ensure_ascii=False, sort_keys=True)}"
    )


def _form(form: Form | None, wording: str) -> dict[str, Any]:
    """Return what of the form differs from names of labels in the order of the signature.

    The wording counts unless it is the given one. Without any difference it is empty, so that answers
    stored by earlier versions keep their keys.
    """
    plain = Form(wording=cast("Wording", wording)).to_json()
    values = plain if form is None else form.to_json()
    return {name: value for name, value in values.items() if value != plain[name]}


def _predictor(predictor: dspy.Predict, wording: str) -> dict[str, Any]:
    """Return everything that the predictor's answers depend on, besides the LM of the evaluation."""
    # As dicts: the repr of an example lists its inputs in an order that changes with the process.
    parts: dict[str, Any] = {
        "signature": _shape(predictor),
        "demos": [dict(d) for d in predictor.demos],
    }
    if predictor.lm is not None:
        parts["lm"] = [model_name(predictor.lm), _decoding(predictor.lm)]
    if predictor.config:
        parts["config"] = predictor.config
    if form := _form(getattr(predictor, "form", None), wording):
        parts["form"] = form
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

"""The chosen rules, words and worked examples with the evidence for each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dspy

from pld_dspy.models.forms import allowed_labels, shown_text
from pld_dspy.models.reading.label_words import words_in
from pld_dspy.records import Interval, PredictorResult, Rule, Trace
from pld_dspy.stages.verify.sift import is_variant


def evidence_for(
    part: PredictorResult, predictor: dspy.Predict, sources: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `rules.json` holds of a predictor: its rules, words and worked examples.

    Args:
        part: What was distilled into the predictor.
        predictor: That of the compiled program.
        sources: Id of each training example in the data set that it comes from, by example id.
    """
    return {
        **_with_shown(rules_with_evidence(part, sources), predictor),
        "words": _words(part),
        "demos": _demos(part.chosen.demos, predictor, sources),
    }


def as_shown(predictor: dspy.Predict, text: str) -> str:
    """Return instructions or a numbered rule as the student sees them."""
    fields = predictor.signature.output_fields
    labels = next((found for f in fields.values() if (found := allowed_labels(f))), ())
    return shown_text(predictor, labels, text)


def rules_with_evidence(part: PredictorResult, sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chosen rules in order, each with its gains, its traces and their examples, and ancestors.

    A gain is the estimate with the ends of its 95% interval; None where none was measured. `gain` is
    over all the lists that were tried, `list_gain` against the chosen list without the rule as far as the
    search tried it, and `left_out` the same on validation and selection examples together. `unused`
    are the judged rules of other lists, those of most worth first (`Truth.worth`); of a rule and the
    same with instances only one is told.

    Args:
        part: What was distilled into one predictor.
        sources: Id of each training example in the data set that it comes from, by example id.
    """
    traces = {trace.id: trace for trace in part.traces}
    known = {rule.id: rule for rule in part.rules}
    known |= {rule.id: rule for edit in part.edits for rule in edit.added}
    known |= {rule.id: rule for candidate in part.candidates for rule in candidate.rules}
    chosen = part.chosen
    search = part.search
    gains = _by_text(search.gains if search else {}, known)
    list_gains = _by_text(search.list_gains.get(chosen.id, {}) if search else {}, known)
    left_out = _by_text(part.left_out, known)

    def origins(rule: Rule) -> dict[str, Any]:
        return {
            "traces": [_trace(traces[i], sources) for i in rule.trace_ids if i in traces],
            "ancestors": [_rule(known[i]) for i in _ancestors(rule, known)],
        }

    return {
        "candidate": chosen.id,
        "origin": chosen.origin,
        "note": chosen.note,
        "reason": part.reason,
        "topics": None if chosen.topics is None else chosen.topics.field,
        "rules": [
            {
                "number": number,
                **_rule(rule),
                "gain": gains.get(rule.text),
                "list_gain": list_gains.get(rule.text),
                **({"left_out": left_out.get(rule.text)} if left_out else {}),
                **origins(rule),
            }
            for number, rule in enumerate(chosen.rules, 1)
        ],
        "unused": [{**_rule(rule), **origins(rule)} for rule in _unused(part)],
    }


def _unused(part: PredictorResult) -> list[Rule]:
    """Return the judged rules of all lists that are not in the chosen one, each text once."""
    chosen = {rule.text for rule in part.chosen.rules}
    tried = {rule.text: rule for c in part.candidates for rule in c.rules}
    judged = [
        rule
        for text, rule in tried.items()
        if rule.truth
        and text not in chosen
        and not any(is_variant(rule, other) for other in tried.values())
        and not any(is_variant(own, rule) for own in part.chosen.rules)
    ]
    return sorted(judged, key=lambda rule: -(rule.truth.worth if rule.truth else 0.0))


def _with_shown(evidence: dict[str, Any], predictor: dspy.Predict) -> dict[str, Any]:
    """Return the rules with `shown`, their text as the student sees it, where that is another."""

    def shown(rule: dict[str, Any]) -> dict[str, Any]:
        text = " ".join(rule["text"].split())
        start = f"{rule.get('number', 1)}. "
        seen = as_shown(predictor, start + text).removeprefix(start)
        return rule if seen == text else {**rule, "shown": seen}

    return {**evidence, **{key: [*map(shown, evidence[key])] for key in ("rules", "unused")}}


def _by_text(gains: Mapping[str, Interval], known: Mapping[str, Rule]) -> dict[str, list[float]]:
    """Return estimate, low and high by text: the search counts rules of the same text as one."""
    return {
        known[i].text: [gain.estimate, gain.low, gain.high]
        for i, gain in gains.items()
        if i in known
    }


def _words(part: PredictorResult) -> list[dict[str, Any]]:
    """Return the words that the student sees for the labels, with what speaks for each."""
    chosen = part.chosen.words
    return [asdict(w) for w in part.words if w.word in words_in(chosen.get(w.label, ""), w.label)]


def _demos(
    ids: Sequence[str], predictor: dspy.Predict, sources: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the worked examples with their ids; they come after the student's own."""
    label_key = next(reversed(predictor.signature.output_fields))
    return [
        {
            "example_id": example,
            "source_id": sources.get(example),
            "label": str(demo[label_key]),
            "inputs": {name: demo[name] for name in predictor.signature.input_fields},
        }
        for example, demo in zip(
            ids, predictor.demos[len(predictor.demos) - len(ids) :], strict=True
        )
    ]


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "text": rule.text,
        "labels": dict(rule.labels),
        "support": rule.support,
        "origin": rule.origin,
        "cluster": rule.cluster_id,
        "scope": rule.scope,
        "parents": list(rule.parents),
        "trace_ids": list(rule.trace_ids),
        **({} if rule.truth is None else {"truth": rule.truth.to_dict()}),
    }


def _trace(trace: Trace, sources: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": trace.id,
        "example_id": trace.example_id,
        "source_id": sources.get(trace.example_id),
        "label": trace.label,
        "rationale": trace.rationale,
        **({"kinds": list(trace.kinds)} if trace.kinds else {}),
        "rule": trace.rule,
        "written_by": trace.source,
    }


def _ancestors(rule: Rule, known: Mapping[str, Rule]) -> list[str]:
    """Return the ids of the rules that edits replaced on the way to `rule`, nearest first."""
    found, queue = list[str](), list(rule.parents)
    while queue:
        parent = queue.pop(0)
        if parent in known and parent not in found:
            found.append(parent)
            queue.extend(known[parent].parents)
    return found

"""Adds short input values of the supporting examples to rules."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import dspy

from pld_dspy.data.examples import example_id
from pld_dspy.models.adapter import field_title
from pld_dspy.records import Rule, Trace
from pld_dspy.stages.common.rule_text import make_rule

MAX_WORDS = 4
"""Maximum words in every training example for a field to be short."""


def with_examples(
    rules: Sequence[Rule],
    traces: Sequence[Trace],
    examples: Sequence[dspy.Example],
    signature: type[dspy.Signature],
    *,
    count: int,
) -> tuple[Rule, ...]:
    """Return the rules, each with up to `count` values per short input field of its evidence.

    The paper asks for rules without particulars of the example. A very small student may follow a
    rule with a few instances better than an abstract one, so both kinds are candidates and
    validation decides. Without a short field the result is empty.

    Args:
        rules: The abstract rules.
        traces: The evidence of the rules.
        examples: The training examples.
        signature: Signature of the predictor, for the input fields.
        count: Maximum values per field; with 0 the result is empty.
    """
    fields = [
        name
        for name in signature.input_fields
        if examples and all(0 < len(str(e.get(name, "")).split()) <= MAX_WORDS for e in examples)
    ]
    if not fields or count == 0:
        return ()
    titles = {name: field_title(name, signature.input_fields[name]) for name in fields}
    by_trace = {trace.id: trace for trace in traces}
    by_id = {example_id(example): example for example in examples}
    grounded = []
    for rule in rules:
        evidence = [by_trace[i] for i in rule.trace_ids if i in by_trace]
        shown = [by_id[t.example_id] for t in evidence if t.example_id in by_id]
        values = "; ".join(
            f"{titles[name]} {', '.join(_commonest(shown, name, count))}"
            for name in fields
            if shown
        )
        if values:
            text = f"{rule.text.rstrip('.')} (for example: {values})."
            made = make_rule(text, evidence, origin="synthesis", parents=[rule.id])
            grounded.append(replace(made, cluster_id=rule.cluster_id))
    return tuple(grounded)


def _commonest(examples: Sequence[dspy.Example], name: str, count: int) -> list[str]:
    counts: Mapping[str, int] = Counter(str(example[name]).strip() for example in examples)
    return sorted(counts, key=lambda value: (-counts[value], value))[:count]

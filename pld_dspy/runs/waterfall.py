"""What each step of a run brought, on the test examples."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import dspy
from pydantic import BaseModel, ConfigDict

from pld_dspy.models.reading.values import label_text
from pld_dspy.records import Answer, Decision, Evaluation, PLDResult, PredictorResult
from pld_dspy.scoring.decisions.calibration import decided
from pld_dspy.scoring.evaluator import Evaluator, decision_of, with_decision
from pld_dspy.scoring.metrics import CorpusMetric, Metric
from pld_dspy.scoring.references import reference_answers
from pld_dspy.scoring.separability import separability, separability_change
from pld_dspy.scoring.statistics import bootstrap_interval, interval
from pld_dspy.stages.common.prompt import with_prompt, with_words

_LABELS_NAMED = 12

StepName = Literal["as given", "wording", "decision", "label words", "worked examples", "rules"]


class Step(BaseModel):
    """The student after one step, and what changed from the step before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: StepName
    score: float
    ci95: tuple[float, float]
    change: float | None = None
    """Score minus that of the step before; None for the first."""
    change_ci95: tuple[float, float] | None = None
    """95% interval of the change, paired over the examples."""
    as_read: float | None = None
    """Score of the same answers with the labels that their texts name; None without a decision."""
    right: dict[str, tuple[int, int]] = {}
    """By gold label, the number of right answers and of all; empty for an open label set."""
    prompt_tokens: float
    """Mean input tokens of a call; 0.0 where the endpoint reports none."""
    separability: float | None
    """See `pld_dspy.scoring.separability`; None without label probabilities."""
    separability_change: float | None = None
    separability_ci95: tuple[float, float] | None = None


class Reference(BaseModel):
    """Test score of what needs no language model, from all labelled examples of the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    score: float
    ci95: tuple[float, float]
    labelled: int
    """Labelled examples that it learned from: train, validation and selection."""


def references(
    metric: Metric,
    labelled: Sequence[dspy.Example],
    test: Sequence[dspy.Example],
    *,
    keys: Sequence[str],
    label_key: str,
    labels: Sequence[str],
    seed: int,
) -> tuple[Reference, ...]:
    """Return the test scores of a bag of words and of the majority; none for a DSPy metric."""
    if not isinstance(metric, CorpusMetric):
        return ()
    gold = [label_text(example[label_key]) for example in test]
    said = reference_answers(labelled, test, keys=keys, label_key=label_key, labels=labels)
    found = {name: bootstrap_interval(metric, gold, said[name], seed=seed) for name in said}
    return tuple(
        Reference(name=name, score=f.estimate, ci95=(f.low, f.high), labelled=len(labelled))
        for name, f in found.items()
    )


class Stage(NamedTuple):
    """A program of the waterfall."""

    name: StepName
    program: dspy.Module


def stages_of(
    baseline: dspy.Module,
    compiled: dspy.Module,
    result: PLDResult,
    *,
    first: dspy.Module | None = None,
) -> list[Stage]:
    """Return the programs from the student as given to the compiled one; steps without effect are left out.

    For a program of several predictors only the first and the last are told apart.

    Args:
        baseline: The student that was distilled into.
        compiled: The result of the compile.
        result: Its record, with the decisions of the programs in between.
        first: The student as given, if the baseline has another wording.
    """
    stages = [Stage("as given", baseline if first is None else first)]
    if first is not None:
        stages.append(Stage("wording", baseline))
    part = result.predictors[0]
    if len(result.predictors) == 1:
        chosen = part.chosen
        bare = _decided(baseline, _decision_of(part))
        if bare is not None:
            stages.append(Stage("decision", bare))
        if chosen.words and (chosen.demos or chosen.rules):
            worded = with_words(baseline, part.predictor, chosen.words)
            decision = _decision_of(part, words=chosen.words)
            stages.append(Stage("label words", _decided(worded, decision) or worded))
        if chosen.demos and chosen.rules:
            instructions = dict(baseline.named_predictors())[part.predictor].signature.instructions
            demos = with_prompt(with_decision(compiled, None), part.predictor, instructions)
            decision = _decision_of(part, words=chosen.words, demos=chosen.demos)
            stages.append(Stage("worked examples", _decided(demos, decision) or demos))
    if result.rules:
        stages.append(Stage("rules", compiled))
    elif any(p.chosen.demos for p in result.predictors):
        stages.append(Stage("worked examples", compiled))
    elif any(p.chosen.words for p in result.predictors):
        stages.append(Stage("label words", compiled))
    return stages


def _decision_of(
    part: PredictorResult, *, words: Mapping[str, str] | None = None, demos: tuple[str, ...] = ()
) -> Decision | None:
    """Return the decision of the candidate with these words and demos and no rules."""
    found = (c for c in part.candidates if not c.rules and c.demos == demos)
    key = next((c.id for c in found if c.words == (words or {})), "")
    return part.decisions.get(key)


def _decided(program: dspy.Module, decision: Decision | None) -> dspy.Module | None:
    return None if decision is None else with_decision(program, decision)


def waterfall(
    stages: Sequence[Stage], evaluator: Evaluator, test: Sequence[dspy.Example]
) -> tuple[Step, ...]:
    """Return the steps with their scores on the test examples; stored answers are not asked for again."""
    evaluations = [
        evaluator.run(stage.program, test, candidate_id=stage.name, split="test")
        for stage in stages
    ]
    before: list[Evaluation | None] = [None, *evaluations[:-1]]
    return tuple(
        _step(stage.name, evaluation, earlier, evaluator).model_copy(
            update={"as_read": _as_read(stage.program, evaluation, evaluator)}
        )
        for stage, evaluation, earlier in zip(stages, evaluations, before, strict=True)
    )


def _as_read(program: dspy.Module, evaluation: Evaluation, evaluator: Evaluator) -> float | None:
    if decision_of(program) is None:
        return None
    return evaluator.score([decided(answer, None) for answer in evaluation.answers])


def _step(name: StepName, now: Evaluation, before: Evaluation | None, evaluator: Evaluator) -> Step:
    labels, seed = evaluator.labels, evaluator.seed
    found = interval(evaluator.metric, now, seed=seed)
    known = Step(
        name=name,
        score=now.score,
        ci95=(found.low, found.high),
        right=_right(now.answers, labels),
        prompt_tokens=now.prompt_tokens,
        separability=separability(now.answers, labels),
    )
    if before is None:
        return known
    change = evaluator.compare(before, now).delta
    parted = separability_change(before.answers, now.answers, labels, seed=seed)
    return known.model_copy(
        update={
            "change": change.estimate,
            "change_ci95": (change.low, change.high),
            "separability_change": None if parted is None else parted.estimate,
            "separability_ci95": None if parted is None else (parted.low, parted.high),
        }
    )


def _right(answers: Sequence[Answer], labels: Sequence[str]) -> dict[str, tuple[int, int]]:
    said = {label: [a.answer == label for a in answers if a.gold == label] for label in labels}
    return {label: (sum(own), len(own)) for label, own in said.items()}


def step_measures(steps: Sequence[Step]) -> dict[str, float]:
    """Return score, change and separability of each step, as metrics of a tracked run."""
    measures: dict[str, float] = {}
    for step in steps:
        name = step.name.replace(" ", "_")
        values = {"": step.score, "_change": step.change, "_separability": step.separability}
        measures |= {f"{name}{suffix}": v for suffix, v in values.items() if v is not None}
    return measures


def rules_step(steps: Sequence[Step]) -> Step | None:
    """Return the step of the rules; None if there are none."""
    return next((s for s in steps if s.name == "rules" and s.change is not None), None)


STEP_HEADS = ("change", "labels as read", "separability", "tokens")
"""Heads of `step_rows` after the step and its score."""


def step_rows(steps: Sequence[Step]) -> Sequence[tuple[str, ...]]:
    """Return the rows of the table of steps, in the order of `STEP_HEADS` after the score."""
    rows = []
    for step in steps:
        change = "" if step.change_ci95 is None else signed(step.change or 0.0, step.change_ci95)
        parted = "" if step.separability is None else f"{step.separability:.3f}"
        score = with_interval(step.score, step.ci95)
        as_read = "" if step.as_read is None else f"{step.as_read:.3f}"
        rows.append((step.name, score, change, as_read, parted, f"{step.prompt_tokens:.0f}"))
    return rows


def knowledge_line(steps: Sequence[Step]) -> str | None:
    """Return whether the rules, or else the words for the labels, add knowledge or only move the bias.

    None where it is unknown.
    """
    words = next((s for s in steps if s.name == "label words" and s.change is not None), None)
    step = rules_step(steps) or words
    if step is None or step.separability_change is None or step.separability_ci95 is None:
        return None
    change = signed(step.separability_change, step.separability_ci95)
    what = "rules" if step.name == "rules" else "words for the labels"
    if step.separability_ci95[0] > 0:
        return f"The {what} add knowledge: they change the separability of the labels by {change}."
    if step.separability_ci95[1] < 0:
        return f"The {what} blur the labels: they change their separability by {change}."
    return (
        f"The {what} add nothing that the student did not know: the separability of the labels "
        f"changes by {change}; what they change is the bias."
    )


def decision_line(decision: Mapping[str, Any] | None, steps: Sequence[Step] = ()) -> str | None:
    """Return how labels are chosen, and what they would score as read; None if they are read."""
    if decision is None:
        return None
    as_read = steps[-1].as_read if steps else None
    without = "" if as_read is None else f" Read from the text, they score {as_read:.3f}."
    kind, offsets = decision["kind"], decision["offsets"]
    if not offsets:
        return f"Labels: the most probable one.{without}"
    shifts = ", ".join(f"{label} {shift:+.2f}" for label, shift in sorted(offsets.items()))
    temperature = decision["temperature"]
    scaled = "" if temperature == 1 else f", temperature {temperature:.2f}"
    return f"Labels: the most probable one after {kind} (log-odds {shifts}{scaled}).{without}"


def right_line(steps: Sequence[Step]) -> str | None:
    """Return the right answers of the last step by label; None for none or over a dozen labels."""
    right = steps[-1].right if steps else {}
    if not 0 < len(right) <= _LABELS_NAMED:
        return None
    counts = ", ".join(f"{label} {own} of {every}" for label, (own, every) in right.items())
    return f"Right in the end: {counts}."


def reference_line(references: Sequence[Reference]) -> str | None:
    """Return what needs no language model scores; None if nothing was scored."""
    if not references:
        return None
    scores = ", ".join(f"{r.name} {with_interval(r.score, r.ci95)}" for r in references)
    return f"Without a language model, from the same {references[0].labelled} labelled examples: {scores}."


def signed(estimate: float, ends: tuple[float, float], unit: str = "") -> str:
    """Return a change with its sign and its interval."""
    return f"{estimate:+.3f}{f' {unit}' if unit else ''} [{ends[0]:+.3f}, {ends[1]:+.3f}]"


def with_interval(score: float, ends: tuple[float, float]) -> str:
    """Return a score with its interval."""
    return f"{score:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"

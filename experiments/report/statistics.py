"""How the optimizers of one setting stand, from the lines alone.

A setting is what the optimizers of one table have in common. Its table holds the cells of one
budget together with those of budget `own`, which spend nothing or set the budget.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Literal, NamedTuple

from experiments.bench.cells import SETS_BUDGET
from experiments.bench.lines import Line
from experiments.report.resampling import SeedAnswers, interval_over_seeds, paired_over_seeds
from pld_dspy.records import Interval
from pld_dspy.scoring.metrics import accuracy, corpus_metric_by_name, macro_f1
from pld_dspy.scoring.statistics import PairedResult, holm, mcnemar

OURS = SETS_BUDGET
"""The variant of PLD that the claim is about."""
VARIANTS = (OURS, "pld-rules", "pld-clustered", "pld-refined", "pld-gepa")
"""The variants of PLD that are compared with the rivals; others vary a setting, in a table apart."""
GIVEN = "zero-shot"
"""The student as given; a table has this row even where no cell of that name was run."""
ASKED_BEST = "asked-best"
"""The student without rules in the best of several wordings, with the decision layer."""
TEACHER = "teacher-cot"
"""The teacher that answers in the student's place, with its reasoning."""
REFERENCES = (GIVEN, "student-cot", TEACHER)
"""No contenders: they are not optimized, or do not answer in one direct call of the student."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One optimizer in one setting; means are over its seeds, and None is not known."""

    optimizer: str
    lines: tuple[Line, ...]
    """The scored lines, by seed."""
    rank: int | None = None
    """By mean score among the contenders; None for a reference."""
    score: Interval
    macro_f1: Interval
    accuracy: Interval
    vs_given: PairedResult | None = None
    """Minus the student as given, in metric units."""
    vs_ours: PairedResult | None = None
    """Minus PLD's searched list, on the seeds that both have."""
    mcnemar_p: float | None = None
    """Exact, on the pooled answers of the common seeds, against PLD's searched list."""
    holm_p: float | None = None
    """`mcnemar_p` after Holm's correction over the rivals of the table."""
    near_first: bool | None = None
    """Whether the 95% interval of the first minus this one, on common seeds, reaches 0."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that have a score."""
        return tuple(line.seed for line in self.lines)


class Below(NamedTuple):
    """How many runs end below the student as given."""

    runs: int
    below: int
    """By their score."""
    beyond_noise: int
    """By the upper end of the paired 95% interval."""


def is_ours(optimizer: str) -> bool:
    """Whether the optimizer is a variant of PLD."""
    return optimizer.startswith("pld")


def is_ablation(optimizer: str) -> bool:
    """Whether the optimizer is PLD with one setting varied."""
    return is_ours(optimizer) and optimizer not in VARIANTS


def scored(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that have a score and the answers behind it, in a fixed order."""
    found = [line for line in lines if line.score is not None and line.gold and line.said]
    return sorted(found, key=lambda line: (line.optimizer, line.seed, line.cell))


def standings(lines: Iterable[Line]) -> list[Standing]:
    """Return the optimizers of one table's lines, contenders first, each group best first."""
    groups: dict[str, list[Line]] = {}
    for line in scored(lines):
        groups.setdefault(line.optimizer, []).append(line)
    found = [_standing(name, own, groups.get(OURS, [])) for name, own in groups.items()]
    if GIVEN not in groups and (given := _given(groups)):
        found.append(_standing(GIVEN, given, groups.get(OURS, [])))
    found.sort(key=lambda s: (s.optimizer in REFERENCES, -s.score.estimate, s.optimizer))
    return _ranked(_corrected(found))


def pairs(first: Iterable[Line], second: Iterable[Line]) -> list[SeedAnswers]:
    """Return the answers of the seeds that both have, on the same test examples.

    Lines whose gold labels or test digests differ answer different examples and make no pair.
    """
    by_seed = {line.seed: line for line in first}
    return [
        SeedAnswers(line.gold, by_seed[line.seed].said, line.said)
        for line in second
        if line.seed in by_seed and _same_test(by_seed[line.seed], line)
    ]


def with_given(lines: Iterable[Line]) -> list[SeedAnswers]:
    """Return the answers of the student as given, and those of the lines, by seed."""
    return [
        SeedAnswers(line.gold, line.baseline_said, line.said)
        for line in lines
        if line.baseline_said
    ]


def difference(metric: str, runs: Sequence[SeedAnswers]) -> PairedResult | None:
    """Return second minus first with its interval; None where there is no pair."""
    return paired_over_seeds(corpus_metric_by_name(metric), runs) if runs else None


def pooled_mcnemar(runs: Sequence[SeedAnswers]) -> float | None:
    """Return the exact p of McNemar's test over the answers of all seeds; None without a pair."""
    if not runs:
        return None
    gold = [label for run in runs for label in run.gold]
    first = [label for run in runs for label in run.first]
    second = [label for run in runs for label in run.second]
    return mcnemar(gold, first, second)


def below_given(lines: Iterable[Line]) -> Below:
    """Return how many runs end below the student as given, and how many by more than noise.

    Each run is compared with the student as given on its own test examples.
    """
    deltas = [delta for line in scored(lines) if (delta := change(line)) is not None]
    below = sum(delta.delta.estimate < 0 for delta in deltas)
    return Below(len(deltas), below, sum(beyond_noise_below(delta) for delta in deltas))


def change(line: Line) -> PairedResult | None:
    """Return a run's score minus that of the student as given; None where it is not known."""
    return difference(line.metric, with_given([line]))


def beyond_noise_below(result: PairedResult) -> bool:
    """Whether the whole 95% interval lies below 0."""
    return result.delta.high < 0


def validation_gap(lines: Iterable[Line]) -> float | None:
    """Return the mean of the validation score minus the test score; None where none was scored."""
    return mean_of(
        line.val_score - line.score
        for line in lines
        if line.val_score is not None and line.score is not None
    )


def compile_tokens(line: Line) -> int | None:
    """Return the input and output tokens of the search for a program, of all models."""
    if line.input_tokens is None or line.output_tokens is None:
        return None
    return line.input_tokens + line.output_tokens


def answer_tokens(line: Line) -> float | None:
    """Return input and output tokens of one test answer; None where a line has not both."""
    if line.prompt_tokens is None or line.answer_tokens is None:
        return None
    return line.prompt_tokens + line.answer_tokens


def break_even(
    compile_tokens: float | None, tokens: float | None, alternative: float | None
) -> float | None:
    """Return after how many answered requests the compile's tokens are paid back.

    Args:
        compile_tokens: Input and output tokens that the optimizer spent, of all models.
        tokens: Of one answer of the compiled student.
        alternative: Of one answer of what would be used in its place.

    Returns:
        `compile_tokens / (alternative - tokens)`; None where a number is not known, or an answer
        costs no less than that of the alternative, so that nothing is ever paid back.

    >>> break_even(120_000, 150, 450)
    400.0
    """
    if compile_tokens is None or tokens is None or alternative is None or alternative <= tokens:
        return None
    return compile_tokens / (alternative - tokens)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values; None where none is known."""
    known = [value for value in values if value is not None]
    return float(mean(known)) if known else None


def seconds_of(lines: Iterable[Line], key: Literal["wall_s", "test_latency_s"]) -> float | None:
    """Return the mean of the seconds of the cells that ran alone; None where none is known."""
    return mean_of(getattr(line, key) for line in lines if line.alone)


def _standing(optimizer: str, lines: Sequence[Line], ours: Sequence[Line]) -> Standing:
    metric = lines[0].metric
    runs = [SeedAnswers(line.gold, line.said, line.said) for line in lines]
    metrics = {macro_f1, accuracy, corpus_metric_by_name(metric)}
    scores = {m.name: interval_over_seeds(m, runs) for m in metrics}
    against = pairs(ours, lines) if optimizer != OURS else []
    given = with_given(lines) if optimizer != GIVEN else []
    return Standing(
        optimizer=optimizer,
        lines=tuple(lines),
        score=scores[metric],
        macro_f1=scores[macro_f1.name],
        accuracy=scores[accuracy.name],
        vs_given=difference(metric, given),
        vs_ours=difference(metric, against),
        mcnemar_p=pooled_mcnemar(against),
    )


def _given(groups: dict[str, list[Line]]) -> list[Line]:
    """Return the lines of the student as given, from what the other lines say of it."""
    by_seed: dict[int, Line] = {}
    for name in sorted(groups, key=lambda n: (n != OURS, n)):
        for line in groups[name]:
            if line.baseline_said:
                by_seed.setdefault(line.seed, line)
    unknown = dict.fromkeys(_UNKNOWN_OF_GIVEN)
    return [
        line.model_copy(
            update={
                **unknown,
                "optimizer": GIVEN,
                "status": "done",
                "note": "",
                "said": line.baseline_said,
                "decided_said": (),
                "separability": line.baseline_separability,
                "score": line.baseline_score,
                "macro_f1": line.baseline_macro_f1,
                "accuracy": line.baseline_accuracy,
                "curve": (),
            }
        )
        for _, line in sorted(by_seed.items())
    ]


_UNKNOWN_OF_GIVEN = (
    "ci95", "val_score", "unparsed_rate", "failures", "student_calls", "teacher_calls",
    "cached_calls", "input_tokens", "output_tokens", "cost_usd", "wall_s", "prompt_tokens",
    "test_latency_s", "program", "greedy_score", "decided_score", "decided_ci95", "decision",
    "hindsight_score", "decision_calls", "separability_gain", "separability_gain_ci95", "labelled",
)  # fmt: skip


def _same_test(one: Line, other: Line) -> bool:
    digests = (one.digests.get("test"), other.digests.get("test"))
    return one.gold == other.gold and (None in digests or digests[0] == digests[1])


def _corrected(found: Sequence[Standing]) -> list[Standing]:
    """Add Holm's correction over the rivals: contenders that are no variant of PLD."""
    rivals = [
        (place, s.mcnemar_p)
        for place, s in enumerate(found)
        if s.mcnemar_p is not None and s.optimizer not in REFERENCES and not is_ours(s.optimizer)
    ]
    adjusted = holm([p for _, p in rivals])
    made = list(found)
    for (place, _), p in zip(rivals, adjusted, strict=True):
        made[place] = replace(found[place], holm_p=p)
    return made


def _ranked(found: Sequence[Standing]) -> list[Standing]:
    made = []
    first = next((s for s in found if s.optimizer not in REFERENCES), None)
    for place, standing in enumerate(found, 1):
        if first is None or standing.optimizer in REFERENCES:
            made.append(standing)
            continue
        gap = difference(standing.lines[0].metric, pairs(standing.lines, first.lines))
        near = True if standing is first else None if gap is None else gap.delta.low <= 0
        made.append(replace(standing, rank=place, near_first=near))
    return made

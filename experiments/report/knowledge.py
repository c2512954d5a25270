"""What each program knows, and what a decision fitted to labelled answers makes of it, in Markdown.

The decision layer is the same for all rows, so a row that is ahead only as shipped has won by bias.
"""

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import mean, variance

from experiments.bench.lines import Line
from experiments.report.resampling import SeedAnswers, interval_over_seeds
from experiments.report.statistics import (
    OURS,
    REFERENCES,
    Standing,
    answer_tokens,
    difference,
    is_ours,
    mean_of,
    pairs,
)
from experiments.report.tables import NONE, interval, name, signed, table
from pld_dspy.records import Interval
from pld_dspy.scoring.metrics import corpus_metric_by_name

_NORMAL = 1.96
_HINDSIGHT = (
    " *In hindsight* is the best score of a decision that is fitted to the test answers themselves: no "
    "result, but about as far as a decision can take this program."
)


def known(lines: Iterable[Line]) -> bool:
    """Return whether any line tells of its decision, its separability or its labelled examples."""
    return any(
        value is not None
        for line in lines
        for value in (line.decided_score, line.separability, line.labelled)
    )


def section(found: Sequence[Standing]) -> str:
    """Return the table of one setting, and in words which rows add no separability."""
    if not known(line for standing in found for line in standing.lines):
        return ""
    parts = [
        "What the programs know: *with the layer* is the same program with labels chosen from its label "
        "probabilities by a decision fitted to its answers on `val` and `select`; *separability* is the mean "
        "area under the ROC curve of each label against the rest, which no bias changes (0.5 is nothing)."
        + (_HINDSIGHT if _in_hindsight(found) else ""),
        knowledge_table(found),
    ]
    told = [*_without_gain(found), *_without_probabilities(found)]
    if told:
        parts.append("\n".join(f"- {line}" for line in told))
    return "\n\n".join(parts)


def _in_hindsight(found: Sequence[Standing]) -> bool:
    return any(line.hindsight_score is not None for s in found for line in s.lines)


def knowledge_table(found: Sequence[Standing]) -> str:
    """Return one row an optimizer, in the order of the standings; means are over the seeds."""
    ours = next((s.lines for s in found if s.optimizer == OURS), ())
    read = any(line.greedy_score is not None for s in found for line in s.lines)
    hindsight = _in_hindsight(found)
    head = ["optimizer", "as shipped [95%]", "with the layer [95%]", "the layer's gain [95%]"]
    head += ["in hindsight"] * hindsight
    head += ["minus PLD searched, both with it [95%]"]
    head += ["as shipped, without its own decision"] * read
    head += ["separability as given", "separability", "gain [95%]"]
    head += ["tokens a call", "labelled examples", "decision"]
    rows = []
    for standing in found:
        lines = standing.lines
        rows.append(
            [
                name(standing.optimizer),
                interval(standing.score),
                decided(lines),
                signed(layer_gain(lines)),
                *[_of_seeds([line.hindsight_score for line in lines])] * hindsight,
                signed(_against(ours, standing)),
                *[_number(mean_of(line.greedy_score for line in lines), ".3f")] * read,
                _number(mean_of(line.baseline_separability for line in lines), ".3f"),
                _number(mean_of(line.separability for line in lines), ".3f"),
                signed(separability_gain(lines)),
                _number(mean_of(answer_tokens(line) for line in lines), ",.0f"),
                _number(mean_of(line.labelled for line in lines), ",.0f"),
                ", ".join(dict.fromkeys(_kind(line) for line in lines if line.decision)) or NONE,
            ]
        )
    return table(head, rows)


def layer_gain(lines: Iterable[Line]) -> Interval | None:
    """Return the score with the decision layer minus that as shipped, paired; None if not known."""
    own = [line for line in lines if line.decided_said]
    runs = [SeedAnswers(line.gold, line.said, line.decided_said) for line in own]
    found = difference(own[0].metric, runs) if own else None
    return None if found is None else found.delta


def separability_gain(lines: Iterable[Line]) -> Interval | None:
    """Return the mean gain in separability over the seeds, with its 95% interval.

    Its standard error is that of the examples (from the lines' own intervals, seeds independent), or
    that of the seeds (from their spread), whichever is larger. None where no line has a gain.
    """
    own = [
        (line.separability_gain, line.separability_gain_ci95)
        for line in lines
        if line.separability_gain is not None and line.separability_gain_ci95 is not None
    ]
    if not own:
        return None
    gains = [gain for gain, _ in own]
    middle = mean(gains)
    if len(own) == 1:
        low, high = own[0][1]
        return Interval(estimate=middle, low=low, high=high)
    of_examples = sum(((high - low) / 2 / _NORMAL) ** 2 for _, (low, high) in own) / len(own) ** 2
    reach = _NORMAL * sqrt(max(of_examples, variance(gains) / len(own)))
    return Interval(estimate=middle, low=middle - reach, high=middle + reach)


def decided(lines: Sequence[Line]) -> str:
    own = [line for line in lines if line.decided_said]
    if not own:
        return NONE
    runs = [SeedAnswers(line.gold, line.decided_said, line.decided_said) for line in own]
    found = interval(interval_over_seeds(corpus_metric_by_name(own[0].metric), runs))
    return found + _few(len(own), len(lines))


def _of_seeds(values: Sequence[float | None]) -> str:
    """Return the mean of the known values, with their number where some are not known."""
    known = sum(value is not None for value in values)
    return _number(mean_of(values), ".3f") + (_few(known, len(values)) if known else "")


def _few(known: int, seeds: int) -> str:
    return "" if known == seeds else f" ({known} of {seeds} seeds)"


def _against(ours: Sequence[Line], standing: Standing) -> Interval | None:
    """Return the row minus PLD searched, both with the layer where they have probabilities."""
    if standing.optimizer == OURS or not any(line.decided_said for line in ours):
        return None
    runs = pairs(map(_with_layer, ours), map(_with_layer, standing.lines))
    found = difference(standing.lines[0].metric, runs)
    return None if found is None else found.delta


def _with_layer(line: Line) -> Line:
    return line.model_copy(update={"said": line.decided_said}) if line.decided_said else line


def _without_gain(found: Iterable[Standing]) -> list[str]:
    """Return a sentence for each optimized row whose gain in separability may be 0 or less."""
    told = []
    for standing in found:
        gain = separability_gain(standing.lines)
        if standing.optimizer in REFERENCES or gain is None or gain.low > 0:
            continue
        nothing = (
            "its rules and examples add nothing to what the student knows"
            if is_ours(standing.optimizer)
            else "it tells the labels apart no better than the student as given"
        )
        told.append(
            f"{name(standing.optimizer)} adds no separability ({signed(gain)}): {nothing}. What its score "
            "gains over the student as given is bias or form, not knowledge."
        )
    return told


def _without_probabilities(found: Iterable[Standing]) -> list[str]:
    rows = [
        name(s.optimizer)
        for s in found
        if not any(line.decided_said for line in s.lines)
        and any(line.labelled is not None for line in s.lines)
    ]
    if not rows:
        return []
    return [
        f"Without label probabilities, and so without the layer: {', '.join(rows)}. They ask no model, ask "
        "for more than the label, or their endpoint gives no log-probabilities."
    ]


def _kind(line: Line) -> str:
    return str((line.decision or {}).get("kind", NONE))


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)

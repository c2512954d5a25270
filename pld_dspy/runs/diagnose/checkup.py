"""What a few answers of student and teacher tell about a task."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pld_dspy.records import Interval, Usage
from pld_dspy.scoring.statistics import PairedResult

Step = Literal[
    "nothing", "wording", "calibration", "examples", "rules", "stronger student", "stronger teacher"
]
"""What to do first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The answers of one model to all the examples, asked in one way."""

    name: str
    """The wording, or what was shown."""
    score: Interval
    """Of the labels as read from the text; unreadable answers and errors are wrong."""
    probable: float | None = None
    """Score of the most probable labels; None without log-probabilities."""
    calibrated: Interval | None = None
    """Score after calibration, each answer decided by a fit to others; None without log-probabilities."""
    unreadable: float = 0.0
    """Share of the answers without error that name no label, in [0, 1]."""
    failures: int = 0
    """Number of examples without an answer, because of an error."""
    shares: Mapping[str, float]
    """Share of each label among the readable answers; empty if there are none."""
    bias: float | None = None
    """Total variation distance between `shares` and the gold labels' shares of the same examples, in
    [0, 1]: the share of the answers that would have to change. None without a readable answer."""
    separability: float | None = None
    """As in `separability`; None without log-probabilities."""
    prompt_tokens: float = 0.0
    """Mean per answer."""

    @property
    def best(self) -> float:
        """The better one of the scores as read and calibrated."""
        scores = [self.score.estimate]
        return max([*scores, self.calibrated.estimate] if self.calibrated else scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What one step brings, on the same examples."""

    step: Step
    name: str
    """The way of asking."""
    score: float
    change: PairedResult
    """Score minus that of the student as given."""
    ahead: PairedResult
    """Score minus that of the best cheaper step that is better than as given by more than noise, or
    of the student as given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """All that `advise` needs, and that `pld diagnose` shows."""

    task: str
    metric: str
    student: str
    teacher: str
    examples: int
    gold: Mapping[str, float]
    """Share of each label among the examples."""
    asked: tuple[Asked, ...]
    """The student without rules and examples in each wording; that of the config is first."""
    shown: tuple[Asked, ...] = ()
    """The student with worked examples, with quickly written rules, and with words for its labels, where
    they were tried."""
    taught: tuple[Asked, ...] = ()
    """The teacher with a chain of thought: without, and if that is not ahead of the student also
    with worked examples. Empty if it gave no usable answers."""
    rungs: tuple[Rung, ...] = ()
    """From the cheapest step to the dearest; steps that could not be tried are left out."""
    headroom: PairedResult | None = None
    """The teacher's best score minus the best-asked student's, without rules and examples."""
    remaining: PairedResult | None = None
    """The teacher's best score minus that of the last rung that is ahead of the cheaper ones."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""
    usage: Mapping[str, Usage]
    """Calls and tokens by role, whenever they were paid for."""

    @property
    def given(self) -> Asked:
        """The student as given."""
        return self.asked[0]

    @property
    def best_asked(self) -> Asked:
        """The best-asked student without rules and examples; of equals, the first."""
        return max(self.asked, key=lambda asked: asked.best)

    @property
    def ceiling(self) -> Asked | None:
        """The teacher's best answers; None if it gave none."""
        return max(self.taught, key=lambda asked: asked.score.estimate, default=None)

    def favourite(self, asked: Asked) -> tuple[str, float] | None:
        """Return the label that is answered most beyond its gold share, and by how much; None if none is."""
        extra = {label: share - self.gold.get(label, 0.0) for label, share in asked.shares.items()}
        label = max(extra, key=lambda name: extra[name], default=None)
        return None if label is None or extra[label] <= 0 else (label, extra[label])

    def to_json(self) -> str:
        """Return the checkup as JSON, intervals with `estimate`, `low` and `high`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

"""Scores a program on a split."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import dspy

from pld_dspy.data.examples import example_id
from pld_dspy.errors import DataError, PLDError
from pld_dspy.ledger.store import StageStore, key_of
from pld_dspy.models.lm import model_name
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.topics import topic_of
from pld_dspy.models.with_logprobs import LogprobsUnsupported
from pld_dspy.records import Answer, Decide, Decision, Evaluation, Event, Progress, Split, silent
from pld_dspy.scoring.answers import STAGE, from_record, to_record
from pld_dspy.scoring.ask import Asker
from pld_dspy.scoring.decisions.calibration import Calibrator, decided
from pld_dspy.scoring.fingerprint import identity
from pld_dspy.scoring.metrics import CorpusMetric, accuracy, metric_name
from pld_dspy.scoring.metrics import Metric as Metric
from pld_dspy.scoring.outage import Outage, explanation
from pld_dspy.scoring.statistics import PairedResult, paired_bootstrap, paired_bootstrap_scores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Scores programs with one LM and one metric.

    >>> from pld_dspy.models.student import DirectStudent
    >>> from pld_dspy.testing import fake_lm
    >>> colours = dspy.Signature("text -> label: Literal['red', 'grey']", "Name the colour.")
    >>> settings = {"label_key": "label", "labels": ("red", "grey"), "store": StageStore()}
    >>> evaluator = Evaluator(lm=fake_lm(lambda prompt: "red"), metric=accuracy, **settings)
    >>> examples = [dspy.Example(text="blood", label="red").with_inputs("text")]
    >>> evaluator.run(DirectStudent(colours), examples, candidate_id="c1", split="val").score
    1.0
    """

    lm: dspy.BaseLM
    """The student's LM; a predictor that has an LM of its own keeps it."""
    metric: Metric
    label_key: str
    labels: tuple[str, ...]
    """The closed label set; empty if the output is open."""
    store: StageStore
    threads: int = 1
    progress: Progress = silent
    seed: int = 0
    probabilities: bool = False
    """Whether to request log-probabilities, for `p_gold` of the answers. Only for a closed label set
    and a program of one predictor with one output, and not again after an endpoint returned none."""
    decide: Decide = "greedy"
    """How labels are chosen for a `DirectStudent` without a decision of its own: `calibrated` fits one
    to its answers, each answer being decided by a fit to others, except on test, where nothing is
    fitted. Other programs, DSPy metrics, and endpoints without log-probabilities are greedy."""
    topic_field: str | None = None
    """Input field whose value is the topic, for decisions by topic."""
    priors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """As in `Calibrator`."""
    _unsupported: LogprobsUnsupported = field(
        default_factory=LogprobsUnsupported, init=False, repr=False, compare=False
    )
    _outage: Outage = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Set up what is shared by all programs."""
        object.__setattr__(self, "_outage", Outage(probable=self.decide != "greedy"))

    @property
    def metric_name(self) -> str:
        """Name of the metric, for reports."""
        return metric_name(self.metric)

    def run(
        self,
        program: dspy.Module,
        examples: Sequence[dspy.Example],
        *,
        candidate_id: str,
        split: Split,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Return the scored answers of `program`, in the order of `examples`, labels decided.

        Raises:
            DataError: There is no example.
            ModelError: The endpoint cannot be reached or refuses; answers so far are kept.
            PLDError: No answer could be read so far, from this program or an earlier one: it failed
                on every example, or the first 20 answers name no label.
        """
        answers = self.answers(
            program, examples, candidate_id=candidate_id, split=split, progress=progress
        )
        own = decision_of(program)
        if own is not None:
            answers = tuple(
                decided(answer, own, _topic(example, own.topic_field))
                for answer, example in zip(answers, examples, strict=True)
            )
        elif split != "test" and self.decides(program):
            answers = self.decided(answers, examples)
        return Evaluation(
            candidate_id=candidate_id,
            split=split,
            metric=self.metric_name,
            score=self.score(answers),
            answers=answers,
        )

    def answers(
        self,
        program: dspy.Module,
        examples: Sequence[dspy.Example],
        *,
        candidate_id: str,
        split: Split,
        progress: Progress | None = None,
    ) -> tuple[Answer, ...]:
        """Return the answers as read from the text, in the order of `examples`; see `run`.

        They do not depend on a decision. Stored answers of the same program, model and example are
        reused. `progress` overrides that of the evaluator.
        """
        if not examples:
            msg = f"the {split} split is empty; give it examples"
            raise DataError(msg)
        wanted = self.decides(program) or decision_of(program) is not None
        program = with_decision(program, None)
        fingerprint = self.fingerprint(program)
        answers: dict[str, Answer] = {}
        todo: dict[str, dspy.Example] = {}
        for example in examples:
            key = key_of(fingerprint, example_id(example))
            stored = self.store.get(STAGE, key)
            # Answers that were asked for without probabilities cannot be decided.
            if stored is None or (wanted and "probabilities" not in stored):
                todo[key] = example
            else:
                answers[example_id(example)] = from_record(stored)
                self._outage.note(answers[example_id(example)], self.lm)
        report = progress or self.progress
        event = Event(split, "student", 0, len(todo), item=candidate_id)
        asker = self._asker(probabilities=self.probabilities or wanted)
        for answer in asker.ask(
            program, list(todo.items()), lambda done: report(replace(event, done=done))
        ):
            answers[answer.example_id] = answer
        ordered = tuple(answers[example_id(example)] for example in examples)
        if not self._outage.over:
            msg = explanation(list(ordered), self.lm)
            if all(answer.error is not None for answer in ordered):
                raise PLDError(msg)
            logger.warning("%s", msg)
        return ordered

    def decides(self, program: dspy.Module) -> bool:
        """Return whether a decision other than greedy can be fitted for the program."""
        closed = bool(self.labels) and isinstance(self.metric, CorpusMetric)
        return self.decide != "greedy" and closed and isinstance(program, DirectStudent)

    def decided(
        self, answers: Sequence[Answer], examples: Sequence[dspy.Example]
    ) -> tuple[Answer, ...]:
        """Return the answers with labels by decisions that were fitted to other ones of them."""
        if self.decide == "probable":
            probable = Decision(kind="probable")
            return tuple(decided(answer, probable) for answer in answers)
        topics = [_topic(example, self.topic_field) for example in examples]
        return self.calibrator.crossfit(answers, topics)

    def fit(
        self,
        program: dspy.Module,
        examples: Sequence[dspy.Example],
        *,
        split: Split = "val",
        progress: Progress | None = None,
    ) -> Decision | None:
        """Return the decision for the program, fitted to its answers; None if none can be fitted.

        Answers in the store are not asked for again.
        """
        if not self.decides(program):
            return None
        answers = self.answers(
            program, examples, candidate_id="decision", split=split, progress=progress
        )
        if self.decide == "probable":
            known = any(answer.probabilities for answer in answers)
            return Decision(kind="probable" if known else "greedy")
        topics = [_topic(example, self.topic_field) for example in examples]
        return self.calibrator.fit(answers, topics)

    def score(self, answers: Sequence[Answer]) -> float:
        """Return the metric over the answers; errors are wrong."""
        return score_answers(self.metric, answers)

    def compare(self, first: Evaluation, second: Evaluation, *, n: int = 2000) -> PairedResult:
        """Return second minus first over their common examples, with interval; errors are wrong."""
        by_id = {answer.example_id: answer for answer in first.answers}
        pairs = [
            (by_id[answer.example_id], answer)
            for answer in second.answers
            if answer.example_id in by_id
        ]
        if isinstance(self.metric, CorpusMetric):
            return paired_bootstrap(
                self.metric,
                [a.gold for a, _ in pairs],
                [a.counted for a, _ in pairs],
                [b.counted for _, b in pairs],
                n=n,
                seed=self.seed,
            )
        return paired_bootstrap_scores(
            [_score(a) for a, _ in pairs], [_score(b) for _, b in pairs], n=n, seed=self.seed
        )

    def adopt(self, program: dspy.Module, example: dspy.Example, answer: Answer) -> None:
        """Store an answer of the same program from another process, unless one is stored already."""
        key = key_of(self.fingerprint(program), example_id(example))
        if answer.error is not None or self.store.get(STAGE, key) is not None:
            return
        spent = {
            "role": "student",
            "calls": answer.calls,
            "cached_calls": 0,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "model": model_name(self.lm),
        }
        self.store.put(STAGE, key, to_record(answer, spent))

    @property
    def calibrator(self) -> Calibrator:
        """Fits decisions for the metric, which must be a corpus metric."""
        assert isinstance(self.metric, CorpusMetric)
        return Calibrator(
            labels=self.labels,
            metric=self.metric,
            topic_field=self.topic_field,
            priors=self.priors,
        )

    def _asker(self, *, probabilities: bool) -> Asker:
        return Asker(
            lm=self.lm,
            metric=self.metric,
            label_key=self.label_key,
            labels=self.labels,
            store=self.store,
            threads=self.threads,
            probabilities=probabilities,
            unsupported=self._unsupported,
            outage=self._outage,
        )

    def fingerprint(self, program: dspy.Module) -> str:
        """Return a hash of everything that the answers and their scores depend on."""
        return key_of(*identity(program, self.lm), self.metric_name)


def decision_of(program: dspy.Module) -> Decision | None:
    """Return the decision of a `DirectStudent`; None if it has none, or for another program."""
    return program.decision if isinstance(program, DirectStudent) else None


def with_decision(program: dspy.Module, decision: Decision | None) -> dspy.Module:
    """Return a copy of the program with this decision; only a `DirectStudent` can have one."""
    if not isinstance(program, DirectStudent) or program.decision == decision:
        return program
    return program.deciding(decision)


def _topic(example: dspy.Example, topic_field: str | None) -> str | None:
    return None if topic_field is None else topic_of(topic_field, example)


def score_answers(metric: Metric, answers: Sequence[Answer]) -> float:
    """Return the metric over the answers, 0.0 if there are none; errors are wrong."""
    if not answers:
        return 0.0
    if isinstance(metric, CorpusMetric):
        return metric([a.gold for a in answers], [a.counted for a in answers])
    return sum(map(_score, answers)) / len(answers)


def _score(answer: Answer) -> float:
    return answer.score if answer.error is None else 0.0


def as_accuracy(evaluation: Evaluation) -> float:
    """Return the accuracy, whatever the metric; unreadable answers and errors are wrong."""
    answers = evaluation.answers
    return accuracy([a.gold for a in answers], [a.counted for a in answers])

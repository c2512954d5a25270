"""Compares plain forms of asking on validation examples, before anything is distilled."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import dspy

from pld_dspy.config.callables import check_call
from pld_dspy.errors import ConfigError, PLDError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.forms import allowed_labels
from pld_dspy.models.reading.label_words import LabelWords
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import (
    Evaluation,
    Event,
    Form,
    FormChoice,
    LabelsAs,
    Progress,
    TriedForm,
    Wording,
    silent,
)
from pld_dspy.scoring.evaluator import Evaluator, Metric
from pld_dspy.stages.common.targets import student_lm
from pld_dspy.stages.demos import worth

logger = logging.getLogger(__name__)

WORDINGS: tuple[Wording, ...] = ("sentence", "field", "question")
"""The wordings that are compared."""
STAGE = "wording"
"""Stage of the progress events."""


def best_wording(
    student: DirectStudent,
    valset: Sequence[dspy.Example],
    *,
    metric: Metric,
    words: Mapping[str, str] | None = None,
    run_dir: Path | str | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> FormChoice:
    """Return the forms of asking with their scores, and the best; `student.asked(choice.best)` has it.

    First the three wordings are compared, then names, letters and `words` in the best of them: at
    most five times as many calls as there are examples. The student's own form is the first, and wins
    against an equal one.

    Args:
        student: The student, with its LM or one from `dspy.configure`; not modified.
        valset: Labelled examples; those of the later `compile` may be used again.
        metric: A corpus metric such as `macro_f1`, or a DSPy metric `(example, prediction)`.
        words: A word for each label that is tried, too; None tries none.
        run_dir: Folder where every answer is stored, that of `PLD(run_dir=...)` for instance; None
            stores nothing.
        threads: Calls at the same time.
        progress: Called with an `Event` after each call, also from worker threads.

    Raises:
        ConfigError: The student is no `DirectStudent`, its labels are open, it has no LM, or `words`
            do not fit the labels.
        DataError: There is no example.
        ModelError: The endpoint cannot be reached; answers so far are kept.
        PLDError: No answer could be read in any form.

    >>> from pld_dspy import accuracy
    >>> from pld_dspy.testing import fake_lm
    >>> task = dspy.Signature("text -> label: Literal['red', 'grey']", "Name the colour.")
    >>> student = DirectStudent(task)
    >>> student.set_lm(fake_lm(lambda prompt: "A" if "one letter" in prompt else "grey"))
    >>> examples = [dspy.Example(text="blood", label="red").with_inputs("text")]
    >>> best_wording(student, examples, metric=accuracy).best.name
    'sentence, letters'
    """
    check_call("metric", metric, ("example", "prediction"), expected="a metric such as macro_f1")
    key, labels = _closed_output(student)
    evaluator = Evaluator(
        lm=student_lm(student),
        metric=metric,
        label_key=key,
        labels=labels,
        store=StageStore(None if run_dir is None else Path(run_dir)),
        threads=threads,
        progress=progress or silent,
        probabilities=True,
    )
    ways: list[LabelsAs] = ["names", "letters", *([] if words is None else [words])]
    return compare_forms(student, valset, evaluator, wordings=WORDINGS, labels_as=ways)


def compare_forms(
    student: DirectStudent,
    examples: Sequence[dspy.Example],
    evaluator: Evaluator,
    *,
    wordings: Sequence[Wording],
    labels_as: Sequence[LabelsAs],
) -> FormChoice:
    """Return the forms with their scores, and the best; see `best_wording`.

    Args:
        student: The student; its own form is tried first.
        examples: Validation examples.
        evaluator: Scores the student; stored answers are used again.
        wordings: Wordings to try with the student's own way to show labels.
        labels_as: Ways to show labels, to try with the best wording.

    Raises:
        ConfigError: The student is no `DirectStudent`, or `labels_as` does not fit its labels.
        PLDError: No answer could be read in any form, or the endpoint fails.
    """
    _, labels = _closed_output(student)
    ways = list(_distinct(labels_as, labels))
    tried: list[TriedForm] = []
    failed: list[PLDError] = []
    asked: list[Form] = []

    def run(form: Form) -> None:
        if form in asked:
            return
        asked.append(form)
        try:
            evaluation = _score(student.asked(form), examples, evaluator, form)
        except PLDError as error:
            if type(error) is not PLDError:  # an endpoint that fails, examples without labels
                raise
            logger.warning("%s: %s", form.name, error)
            failed.append(error)
            tried.append(TriedForm(form=form, evaluation=None, worth=float("-inf")))
            return
        tried.append(TriedForm(form=form, evaluation=evaluation, worth=worth(evaluation)))

    def best() -> Form:
        return max(tried, key=lambda one: one.worth).form

    run(student.form)
    for wording in wordings:
        run(replace(student.form, wording=wording))
    chosen = best()
    for way in ways:
        run(replace(chosen, labels_as=way))
    if len(failed) == len(tried):
        raise failed[0]
    return FormChoice(tried=tuple(tried), best=best())


def _score(
    student: DirectStudent, examples: Sequence[dspy.Example], evaluator: Evaluator, form: Form
) -> Evaluation:
    # Of its own, so that a form that yields nothing readable does not end the comparison.
    fresh = replace(evaluator)

    def report(event: Event) -> None:
        evaluator.progress(replace(event, stage=STAGE))

    return fresh.run(student, examples, candidate_id=form.name, split="val", progress=report)


def _distinct(ways: Sequence[LabelsAs], labels: tuple[str, ...]) -> Iterator[LabelsAs]:
    """Yield the ways that show other words than the labels and than an earlier way."""
    seen: list[tuple[tuple[str, ...], ...]] = []
    for way in ways:
        if way == "letters" and len(labels) > 26:
            continue
        words = LabelWords.of(labels, way).words
        if words not in seen:
            seen.append(words)
            yield way


def _closed_output(student: object) -> tuple[str, tuple[str, ...]]:
    """Return name and labels of the output.

    Raises:
        ConfigError: The student is of another kind, or its output is open.
    """
    if not isinstance(student, DirectStudent):
        msg = f"the student is a {type(student).__name__}; forms of asking are compared for a DirectStudent"
        raise ConfigError(msg)
    fields = student.predict.signature.output_fields
    name = next(iter(fields))
    labels = allowed_labels(fields[name])
    if len(fields) != 1 or not labels:
        msg = f"the output {name!r} has no closed label set, so there are no forms to compare; give it a Literal type"
        raise ConfigError(msg)
    return name, labels

"""Asks the student as well as it can be asked, before a run distils."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from pld_dspy.config.run import RunConfig
from pld_dspy.data.tasks import Task
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.usage import total
from pld_dspy.records import (
    Evaluation,
    Form,
    FormChoice,
    Interval,
    LabelsAs,
    TriedForm,
    Usage,
    Wording,
)
from pld_dspy.runs.setup import Loaded
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.wording import WORDINGS, compare_forms

MOST_LETTERS = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBest:
    """The forms that were compared, and the student in the best of them on test."""

    choice: FormChoice
    calls: int
    """Student calls of the forms that were not chosen."""
    tested: Evaluation | None
    """The student without rules in the best form, on test; None if that is the form as given."""


class WordingScore(BaseModel):
    """A form of asking with the student's score on validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: str
    """The form in words, for instance `question, letters`."""
    score: float | None
    """In units of the metric; None if the first answers named no label."""
    worth: float | None
    """Mean of score and gold probability, on which the choice was made."""
    prompt_tokens: float
    """Mean input tokens of one call; 0.0 where the endpoint reports none."""
    chosen: bool


class AskedBestScore(BaseModel):
    """Test score of the student without rules, asked as it is best on validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float
    """In units of the metric."""
    ci95: tuple[float, float]
    prompt_tokens: float
    """Mean input tokens of one call; 0.0 where the endpoint reports none."""


def wordings(config: RunConfig) -> tuple[Wording, ...]:
    """Return the wordings to compare; empty if one is set."""
    return WORDINGS if config.student.wording == "auto" else ()


def ways(config: RunConfig, task: Task) -> tuple[LabelsAs, ...]:
    """Return the ways to show the labels that are compared; empty if one is set."""
    if config.student.labels_as != "auto":
        return ()
    letters: tuple[LabelsAs, ...] = ("letters",) if len(task.labels) <= MOST_LETTERS else ()
    return ("names", *letters, *((task.label_words,) if task.label_words else ()))


def most_forms(config: RunConfig, task: Task) -> int:
    """Return the most forms that are compared; 0 if both settings are set."""
    if not config.student.compares_forms:
        return 0
    return 1 + max(0, len(wordings(config)) - 1) + max(0, len(ways(config, task)) - 1)


def calls_of(store: StageStore) -> int:
    """Return the student calls behind the answers that were read or written so far."""
    return total(store.spent()).get("student", Usage()).calls


def calls_of_chosen(choice: FormChoice) -> int:
    """Return the student calls of the chosen form."""
    found = next(one.evaluation for one in choice.tried if one.form == choice.best)
    return 0 if found is None else sum(answer.calls for answer in found.answers)


def choose_form(config: RunConfig, loaded: Loaded, evaluator: Evaluator) -> FormChoice | None:
    """Return the forms compared on validation, and the best; None if the config sets the form.

    Raises:
        PLDError: No answer could be read in any form, or the endpoint fails.
    """
    if not config.student.compares_forms:
        return None
    return compare_forms(
        loaded.baseline,
        loaded.splits.val,
        evaluator,
        wordings=wordings(config),
        labels_as=ways(config, loaded.task),
    )


def asked_in(config: RunConfig, form: Form) -> RunConfig:
    """Return the settings with this form in place of `auto`, for those who join the run later."""
    update = {**form.to_json(), "inputs_first": form.inputs_first}
    student = config.student.model_copy(update=update)
    return config.model_copy(update={"student": student})


def reworded(loaded: Loaded, choice: FormChoice | None) -> Loaded:
    """Return the task with the student as asked best."""
    return loaded if choice is None else replace(loaded, form=choice.best)


def tests_of(asked: AskedBest | None) -> tuple[Evaluation, ...]:
    """Return what was asked on test to compare the forms."""
    return () if asked is None or asked.tested is None else (asked.tested,)


def asked_numbers(
    form: Form, asked: AskedBest | None, interval: Callable[[Evaluation], Interval]
) -> dict[str, Any]:
    """Return the fields of a report about the forms of asking; the form alone if it was set.

    Args:
        form: How the compiled program is asked.
        asked: The forms that were compared.
        interval: Returns a score with its 95% interval.
    """
    if asked is None:
        return {"form": form.name}
    tried = tuple(_tried(one, asked.choice) for one in asked.choice.tried)
    numbers: dict[str, Any] = {
        "form": form.name,
        "wordings": tried,
        "wording_calls": asked.calls,
    }
    if asked.tested is not None:
        found = interval(asked.tested)
        numbers["asked_best"] = AskedBestScore(
            score=asked.tested.score,
            ci95=(found.low, found.high),
            prompt_tokens=asked.tested.prompt_tokens,
        )
    return numbers


def _tried(one: TriedForm, choice: FormChoice) -> WordingScore:
    found = one.evaluation
    return WordingScore(
        form=one.form.name,
        score=None if found is None else found.score,
        worth=None if found is None else one.worth,
        prompt_tokens=0.0 if found is None else found.prompt_tokens,
        chosen=one.form == choice.best,
    )

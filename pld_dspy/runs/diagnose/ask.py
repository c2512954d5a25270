"""Asks the student and the teacher about the examples, each in several ways."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import dspy

from pld_dspy.config.base import Wording
from pld_dspy.config.optimizer import WordsConfig
from pld_dspy.data.examples import example_id
from pld_dspy.data.tasks import Task
from pld_dspy.errors import ModelError, PLDError
from pld_dspy.models.reading.labels import read_label
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import Classify, ClassifyLike, Reply, Request, Teacher
from pld_dspy.records import Answer, Form
from pld_dspy.runs.diagnose.sample import Half
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.prompt import (
    make_candidate,
    render_example,
    with_demos,
    with_prompt,
    with_words,
)
from pld_dspy.stages.common.rule_text import make_trace
from pld_dspy.stages.common.targets import in_turn
from pld_dspy.stages.demos import shown
from pld_dspy.stages.label_words.stage import titled_words
from pld_dspy.stages.merge.side_by_side import contrast

WORDINGS: tuple[Wording, ...] = ("sentence", "field")
"""The plain ways of asking that are compared, besides that of the config."""

WORDS = WordsConfig(drafts=2)
"""Titles for each label and half, and words that are compared."""

TEACHER = "classify"
"""Stage of the teacher's answers."""


class Answers(NamedTuple):
    """Answers in the order of the examples, or why there are none."""

    answers: tuple[Answer, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The task, the examples in two halves, and the models."""

    task: Task
    examples: tuple[dspy.Example, ...]
    halves: tuple[Half, Half]
    evaluator: Evaluator
    teacher: Teacher
    form: Form
    """How the student is asked, but for the wording."""

    def _asked(self, wording: Wording) -> DirectStudent:
        form = replace(self.form, wording=wording)
        return DirectStudent(
            self.task.signature,
            wording=form.wording,
            labels_as=form.labels_as,
            inputs_first=form.inputs_first,
        )

    def plain(self, wording: Wording) -> Answers:
        """Return the student's answers without examples and rules.

        If none of its first answers names a label, all count as unreadable, and the note says so.

        Raises:
            ModelError: The endpoint cannot be reached or refuses.
        """
        try:
            return Answers(self._student(self._asked(wording), self.examples, wording))
        except ModelError:
            raise
        except PLDError as error:
            unread = [
                Answer(example_id=example_id(e), gold=self._gold(e), answer=None)
                for e in self.examples
            ]
            return Answers(tuple(unread), f"{wording}: {error}")

    def with_examples(self, wording: Wording) -> Answers:
        """Return the student's answers with worked examples; none if it cannot be asked so."""
        key, signature = self.task.label_key, self.task.signature
        programs = []
        for half in self.halves:
            if not half.worked:
                return Answers((), "worked examples: there are no other examples to show")
            demos = shown(half.worked, half.others, signature, key)
            programs.append(with_demos(self._asked(wording), "predict", demos))
        return self._by_half(programs, "worked examples")

    def with_rules(self, wording: Wording) -> Answers:
        """Return the student's answers with one rule a label; none if the teacher wrote none.

        The rules of a half are written in one request from the other examples.
        """
        programs = []
        for half in self.halves:
            rules = contrast(
                [self._note(example) for example in half.others],
                self.teacher,
                task=self.task.signature.instructions,
                labels=self.task.labels,
                draws=1,
            )
            if not rules.lists:
                return Answers((), "rules: the teacher wrote none that can be used")
            candidate = make_candidate(
                self.task.signature.instructions, rules.lists[0], origin="synthesis"
            )
            programs.append(with_prompt(self._asked(wording), "predict", candidate.prompt))
        return self._by_half(programs, "rules")

    def with_words(self, wording: Wording) -> Answers:
        """Return the student's answers with words for the labels; none if there are no such words.

        Those of a half come from titles that the teacher gives to other examples, on which the student
        tells the labels apart by them.
        """
        student, programs = self._asked(wording), []
        for half in self.halves:
            problem = self._problem(student, half.others)
            words = titled_words(student, self.target, problem, self.evaluator, self.teacher, WORDS)
            if not words:
                return Answers(())
            programs.append(with_words(student, "predict", words))
        return self._by_half(programs, "words for labels")

    @property
    def target(self) -> Target:
        """The student's predictor."""
        task = self.task
        return Target(
            path="predict", signature=task.signature, label_key=task.label_key, labels=task.labels
        )

    def _problem(self, student: dspy.Module, examples: Sequence[dspy.Example]) -> Problem:
        """Return the task with these examples, some of them as validation."""
        some = in_turn(examples, self.task.label_key, len(self.examples) // 2)
        return Problem(
            task=self.task.signature.instructions,
            signature=self.task.signature,
            labels=self.task.labels,
            build=lambda candidate: student,
            train=examples,
            val=some,
            select=(),
            seed=self.evaluator.seed,
        )

    def taught(self, *, with_examples: bool) -> Answers:
        """Return the teacher's answers with a chain of thought; none if most of them failed.

        Raises:
            ModelError: The endpoint cannot be reached or refuses every request.
        """
        requests = list(self._requests(with_examples=with_examples))
        replies = self.teacher.replies(TEACHER, requests)
        by_name = {r.name: reply for r, reply in zip(requests, replies, strict=True)}
        answers = [self._read(example, by_name[_name(example)]) for example in self.examples]
        return _unless_failed(answers, "teacher")

    def _requests(self, *, with_examples: bool) -> Iterator[Request]:
        signature, key = self.task.signature, self.task.label_key
        for half in self.halves:
            by_id = {example_id(e): e for e in half.others}
            solved = "\n\n".join(
                f"{render_example(signature, by_id[i])}\nAnswer: {label_text(by_id[i][key])}"
                for i in half.worked
            )
            more = {"solved_examples": f"\n{solved}\n"} if with_examples else {}
            for example in half.examples:
                yield Request(
                    module=ClassifyLike() if with_examples else Classify(),
                    inputs={
                        "task": signature.instructions,
                        "possible_answers": ", ".join(self.task.labels),
                        **more,
                        "example": render_example(signature, example),
                    },
                    name=_name(example),
                )

    def _read(self, example: dspy.Example, reply: Reply) -> Answer:
        raw = (reply.output or {}).get("answer", "")
        label = read_label(raw, self.task.labels)
        gold = self._gold(example)
        return Answer(
            example_id=example_id(example),
            gold=gold,
            answer=label,
            read=label,
            raw=raw,
            score=float(label == gold),
            error=reply.error,
        )

    def _by_half(self, programs: Sequence[dspy.Module], name: str) -> Answers:
        try:
            answers = [
                answer
                for half, program in zip(self.halves, programs, strict=True)
                for answer in self._student(program, half.examples, name)
            ]
        except ModelError:
            raise
        except PLDError as error:
            return Answers((), f"{name}: {error}")
        by_id = {answer.example_id: answer for answer in answers}
        return _unless_failed([by_id[example_id(e)] for e in self.examples], name)

    def _student(
        self, program: dspy.Module, examples: Sequence[dspy.Example], name: str
    ) -> tuple[Answer, ...]:
        # Each way of asking counts its own unreadable answers: one may be readable, another not.
        evaluator = replace(self.evaluator)
        return evaluator.answers(program, examples, candidate_id=name, split="val")

    def _note(self, example: dspy.Example) -> Any:
        label, text = self._gold(example), render_example(self.task.signature, example)
        return make_trace(example_id(example), label, "", " ".join(text.split()))

    def _gold(self, example: dspy.Example) -> str:
        return label_text(example[self.task.label_key])


def _name(example: dspy.Example) -> str:
    return f"example {example_id(example)}"


def _unless_failed(answers: Sequence[Answer], name: str) -> Answers:
    """Return the answers, or none if half of them or more are errors, which are no measure of skill."""
    failed = [answer.error for answer in answers if answer.error is not None]
    if 2 * len(failed) >= len(answers):
        return Answers((), f"{name}: {len(failed)} of {len(answers)} requests failed: {failed[0]}")
    return Answers(tuple(answers))

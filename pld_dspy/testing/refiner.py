"""Conformance suite for a `Refiner`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dspy

from pld_dspy.data.examples import example_id
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Evaluation, silent
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.prompt import make_candidate, with_prompt
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.refine.protocol import RefineContext, Refinement, Refiner, run_refiner
from pld_dspy.testing.fakes import FakeEngine, Fields, Prompt, asked_fields, asked_sections, fake_lm
from pld_dspy.testing.keywords import RuleFollower, keyword_rule, keyword_task, mentions

TASK = keyword_task(72)


class Colour(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    label: Literal["red", "green", "blue", "grey"] = dspy.OutputField()


class RefinerSuite:
    """Tests of a refiner; a subclass has a fixture `refiner`.

    The student of these tests follows rules of the form "If the text mentions 'alpha', answer red."
    The list to refine has two of four such rules. The fake teacher fills any output field that is
    requested; a field `edits` gets edits in the form of the built-in prompt. Override `teach` if a
    refiner expects another form.
    """

    def teach(self, prompt: Prompt, rule: str) -> "str | Fields":
        """Return the answer of the teacher, which proposes this rule as the first one.

        Args:
            prompt: The prompt to the teacher.
            rule: A rule; in some tests a wrong one.
        """
        known = {"edits": f"MODIFY R1: {rule}\nADD: {rule}", "cause": "A rule is missing."}
        if sections := asked_sections(prompt):
            return "\n".join(f"{title}: {known.get(title.lower(), rule)}" for title in sections)
        return {name: known.get(name, rule) for name in asked_fields(prompt)} or rule

    def test_it_returns_a_refinement_of_lists_with_their_scores(self, refiner: Refiner) -> None:
        """The result is a `Refinement`; every list in it has its evaluation on all of `val`."""
        for rule in (GOOD, BAD):
            run_refiner(refiner, self._trial(rule).context)

    def test_the_best_list_is_no_worse_than_the_start(self, refiner: Refiner) -> None:
        """On the validation examples, for good and for bad proposals of the teacher."""
        for rule in (GOOD, BAD):
            trial = self._trial(rule)
            start, best = trial.context.score.score, trial.val_score(refiner(trial.context))
            assert best >= start - 1e-9, f"validation fell from {start:.3f} to {best:.3f}"

    def test_every_list_scored_on_validation_is_in_the_result(self, refiner: Refiner) -> None:
        """The search and the final selection need every list that was scored."""
        trial = self._trial(GOOD)
        found = refiner(trial.context)
        listed = {trial.context.start.id, *(c.id for c in found.candidates)}
        lost = [i for i in trial.evaluator.scored if i not in listed]
        assert lost == [], f"scored on validation, and not in the result: {', '.join(lost)}"

    def test_the_selection_examples_are_not_asked_about(self, refiner: Refiner) -> None:
        """They are held out for the final selection."""
        trial = self._trial(GOOD)
        refiner(trial.context)
        prompts = [*trial.student.prompts, *trial.teacher.prompts]
        seen = sum(e.text in prompt for e in trial.context.problem.select for prompt in prompts)
        assert seen == 0, f"{seen} prompts hold a selection example"

    def test_every_rule_leads_back_to_traces(self, refiner: Refiner) -> None:
        """Each rule names at least one trace of `context.traces` that supports it."""
        trial = self._trial(GOOD)
        found = refiner(trial.context)
        known = {trace.id for trace in trial.context.traces}
        for rule in {r.id: r for c in (found.best, *found.candidates) for r in c.rules}.values():
            assert rule.trace_ids, f"the rule {rule.text!r} names no trace"
            assert known >= set(rule.trace_ids), f"the rule {rule.text!r} names an unknown trace"

    def test_the_same_answers_give_the_same_refinement(self, refiner: Refiner) -> None:
        """A second compile with the same seed must give the same program."""
        first, second = (refiner(self._trial(GOOD).context) for _ in range(2))
        assert first.best.id == second.best.id, "a second call returned another best list"
        tried = [[c.id for c in found.candidates] for found in (first, second)]
        assert tried[0] == tried[1], "a second call tried other lists"

    def test_unreadable_answers_of_the_teacher_are_survived(self, refiner: Refiner) -> None:
        """Weak teachers sometimes return nonsense; the refiner must not raise."""
        trial = _Trial(lambda prompt: "}{ the weather is fine")
        run_refiner(refiner, trial.context)

    def _trial(self, rule: str) -> "_Trial":
        return _Trial(lambda prompt: self.teach(prompt, rule))


GOOD = TASK.rules[0]
BAD = keyword_rule("gamma", "red")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder(Evaluator):
    """Records which candidates were scored on validation examples."""

    val: Sequence[dspy.Example]
    scored: list[str] = field(default_factory=list)

    def run(
        self, program: dspy.Module, examples: Sequence[dspy.Example], **given: Any
    ) -> Evaluation:
        """See `Evaluator`."""
        if {example_id(e) for e in examples} & {example_id(e) for e in self.val}:
            self.scored.append(given["candidate_id"])
        return Evaluator.run(self, program, examples, **given)


class _Trial:
    """A list to refine, with fakes for both models that record their prompts."""

    def __init__(self, answer: Any) -> None:
        examples = TASK.examples
        train, val, select = examples[:24], examples[24:48], examples[48:]
        self.student, self.teacher = RuleFollower(TASK.default), FakeEngine(answer)
        store, program = StageStore(), DirectStudent(Colour)
        self.evaluator = _Recorder(
            lm=fake_lm(self.student),
            metric=accuracy,
            label_key="label",
            labels=TASK.labels,
            store=store,
            val=val,
        )
        problem = Problem(
            task="Name the colour.",
            signature=Colour,
            labels=TASK.labels,
            build=lambda candidate: with_prompt(program, "predict", candidate.prompt),
            train=train,
            val=val,
            select=select,
            seed=0,
        )
        traces = [
            make_trace(example_id(e), e.label, f"It mentions {word}.", keyword_rule(word, e.label))
            for e in train
            for word in [next((w for w in TASK.words if mentions(e.text, w)), "none of them")]
        ]
        rules = [make_rule(text, traces[:2], origin="synthesis") for text in TASK.rules[2:]]
        start = make_candidate(problem.task, rules, origin="synthesis")
        score = self.evaluator.run(problem.build(start), val, candidate_id=start.id, split="val")
        self.student.prompts.clear()
        self.context = RefineContext(
            start=start,
            score=score,
            problem=problem,
            evaluator=self.evaluator,
            teacher=Teacher(lm=fake_lm(self.teacher), store=store, progress=silent),
            traces=traces,
        )

    def val_score(self, found: Refinement) -> float:
        """Return the validation score of the best list, evaluated independently of the refiner."""
        problem, best = self.context.problem, found.best
        return self.evaluator.run(
            problem.build(best), problem.val, candidate_id=best.id, split="val"
        ).score

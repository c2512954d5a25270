"""Conformance suite for a `Selector`."""

from collections.abc import Mapping, Sequence

from pld_dspy.ledger.store import StageStore
from pld_dspy.records import Answer, Candidate, Evaluation, Split
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.prompt import make_candidate
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.select.selector import SelectContext, Selector, run_selector
from pld_dspy.testing.fakes import fake_lm


class SelectorSuite:
    """Tests of a selector; a subclass has a fixture `selector`.

    The candidates are the student as given, with half of its answers right; a short list with three
    quarters; a long one with nine tenths; and one that was not scored on validation, all right.
    """

    def test_it_returns_a_verdict_with_one_of_the_candidates(self, selector: Selector) -> None:
        """The result is a `Verdict`, and `chosen` is one of `context.candidates`."""
        run_selector(selector, _context())

    def test_the_evaluations_are_those_that_decided(self, selector: Selector) -> None:
        """They are on the selection examples: first the student as given, then the chosen one."""
        verdict = selector(_context())
        ids = [evaluation.candidate_id for evaluation in verdict.evaluations]
        splits = {evaluation.split for evaluation in verdict.evaluations}
        assert splits == {"select"}, f"evaluations on {sorted(splits)}, should be on select alone"
        assert ids[0] == AS_GIVEN.id, "the first evaluation is not that of the student as given"
        assert verdict.chosen.id in ids, "the chosen candidate has no evaluation"

    def test_a_candidate_without_a_validation_score_takes_no_part(self, selector: Selector) -> None:
        """Such a list was stopped in the search."""
        chosen = selector(_context()).chosen
        assert chosen.id != UNSCORED.id, "it chose a candidate that has no validation score"

    def test_the_limit_of_prompt_tokens_is_kept(self, selector: Selector) -> None:
        """A list that takes more than `max_prompt_tokens` per call is never chosen."""
        for limit, allowed in ((20, {AS_GIVEN.id, SHORT.id}), (9, {AS_GIVEN.id})):
            chosen = selector(_context(max_prompt_tokens=limit)).chosen
            assert chosen.id in allowed, f"with {limit} tokens it chose a list that takes more"

    def test_the_student_alone_stays_as_given(self, selector: Selector) -> None:
        """It is the only candidate where no trace is in a cluster."""
        chosen = selector(_context([AS_GIVEN])).chosen
        assert chosen.id == AS_GIVEN.id, f"it chose {chosen.id}, which is not a candidate"

    def test_the_reason_is_one_line(self, selector: Selector) -> None:
        """It goes into reports and logs."""
        reason = selector(_context()).reason
        assert isinstance(reason, str), f"reason is {reason!r}, should be a text"
        assert reason.strip(), "reason is empty"
        assert len(reason.splitlines()) == 1, "reason has more than one line"

    def test_the_same_context_gives_the_same_choice(self, selector: Selector) -> None:
        """A second compile with the same seed must give the same program."""
        first, second = (selector(_context()).chosen.id for _ in range(2))
        assert first == second, f"{first} in the first call and {second} in the second"


def _list(name: str, length: int) -> Candidate:
    trace = make_trace("e0", "red", "It is red.", "If it is red, answer red.")
    texts = [f"If the text mentions '{name} {n}', answer red." for n in range(length)]
    rules = [make_rule(text, [trace], origin="synthesis") for text in texts]
    return make_candidate("Name the colour.", rules, origin="search", note=name)


AS_GIVEN = make_candidate("Name the colour.", (), origin="as given")
SHORT = _list("short", 1)
LONG = _list("long", 3)
UNSCORED = _list("unscored", 2)
_RIGHT: Mapping[str, int] = {AS_GIVEN.id: 20, SHORT.id: 30, LONG.id: 36, UNSCORED.id: 40}
"""Number of right answers of 40, on validation and on selection."""


def _evaluation(candidate: Candidate, split: Split) -> Evaluation:
    """Return the evaluation; a rule has ten tokens, and the task five."""
    right, tokens = _RIGHT[candidate.id], 5 + 10 * len(candidate.rules)
    answers = tuple(
        Answer(
            example_id=f"{split}{n}",
            gold=gold,
            answer=gold if n < right else "grey",
            score=float(n < right),
            input_tokens=tokens,
        )
        for n, gold in enumerate(["red", "blue"] * 20)
    )
    return Evaluation(
        candidate_id=candidate.id,
        split=split,
        metric="accuracy",
        score=right / len(answers),
        answers=answers,
    )


def _context(
    candidates: Sequence[Candidate] = (AS_GIVEN, SHORT, LONG, UNSCORED),
    max_prompt_tokens: int | None = None,
) -> SelectContext:
    scored = [c for c in candidates if c.id != UNSCORED.id]
    return SelectContext(
        candidates=tuple(candidates),
        val={c.id: _evaluation(c, "val") for c in scored},
        run=lambda candidate: _evaluation(candidate, "select"),
        evaluator=Evaluator(
            lm=fake_lm(lambda prompt: "red"),
            metric=accuracy,
            label_key="label",
            labels=("red", "blue", "grey"),
            store=StageStore(),
        ),
        max_prompt_tokens=max_prompt_tokens,
    )

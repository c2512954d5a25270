"""Which answers the decision of a candidate is fitted to."""

import random

import dspy
import pytest

from biased_keywords import LABELS, BiasedStudent
from fakes import fake_lm, keyword_rule
from keyword_runs import TASK
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.models.student import DirectStudent
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.prompt import make_candidate, with_prompt
from pld_dspy.stages.common.rule_text import make_rule
from pld_dspy.stages.common.targets import in_turn

TEXT = "Give the label from the text."
SIGNATURE = dspy.Signature("text -> label: Literal['red', 'green', 'blue', 'grey']", TEXT)
TRAIN, VAL, SELECT = TASK.examples[:40], TASK.examples[40:64], TASK.examples[64:88]
AS_GIVEN = make_candidate(TEXT, [], origin="baseline")
RULES = make_candidate(
    TEXT, [make_rule(keyword_rule("ember", "red"), [], origin="synthesis")], origin="synthesis"
)
DEMOS = make_candidate(TEXT, [], origin="demos", demos=("some id",))


def unsure(prompt):
    """What the student knows depends on the text, so that every answer moves the decision."""
    return random.Random(prompt.user).uniform(0.0, 4.0)


class World:
    """A leaderboard on which candidates are scored."""

    def __init__(self, *, train=TRAIN, val=VAL, select=SELECT, tells=True, **evaluator):
        self.engine = BiasedStudent(knows=unsure, tells=tells)
        self.facts = {"metric": macro_f1, "label_key": "label", "labels": LABELS}
        self.known = [*val, *select]
        self.evaluator = self.make(**evaluator)
        problem = Problem(
            task=TEXT,
            signature=SIGNATURE,
            labels=LABELS,
            build=self.build,
            train=train,
            val=val,
            select=select,
            seed=0,
        )
        self.board = Leaderboard(problem, self.evaluator, NullTracker())

    def make(self, *, decide="calibrated", **settings):
        lm = fake_lm(self.engine)
        return Evaluator(lm=lm, store=StageStore(), decide=decide, **self.facts, **settings)

    @staticmethod
    def build(candidate):
        return with_prompt(DirectStudent(SIGNATURE), "predict", candidate.prompt)

    def decisions(self, chosen):
        """Return the decisions, and the examples about which it was asked for them."""
        for candidate in {c.id: c for c in (AS_GIVEN, chosen)}.values():
            self.board.run(candidate, "val")
            self.board.run(candidate, "select")
        asked = self.engine.calls
        found = self.board.decisions(chosen)
        return found, [prompt.user for prompt in self.engine.prompts[asked:]]

    def fitted_to(self, candidate, examples):
        return self.make().fit(self.build(candidate), examples)


def test_without_rules_it_is_fitted_to_training_examples_too():
    world = World()
    found, asked = world.decisions(AS_GIVEN)
    assert len(asked) == len(TRAIN)
    assert found == {AS_GIVEN.id: world.fitted_to(AS_GIVEN, [*world.known, *TRAIN])}
    assert found[AS_GIVEN.id] != world.fitted_to(AS_GIVEN, world.known)


@pytest.mark.parametrize("chosen", [RULES, DEMOS])
def test_what_is_made_of_training_examples_is_not(chosen):
    world = World()
    found, asked = world.decisions(chosen)
    assert len(asked) == len(TRAIN)
    assert found[chosen.id] == world.fitted_to(chosen, world.known)
    assert found[AS_GIVEN.id] == world.fitted_to(AS_GIVEN, [*world.known, *TRAIN])


def test_of_many_training_examples_as_many_as_of_the_others_balanced_by_label():
    world = World(val=VAL[:8], select=SELECT[:4])
    found, asked = world.decisions(AS_GIVEN)
    some = in_turn(TRAIN, "label", 12)
    assert len(asked) == 12
    assert all(any(example.text in user for user in asked) for example in some)
    assert found[AS_GIVEN.id] == world.fitted_to(AS_GIVEN, [*world.known, *some])


@pytest.mark.parametrize(
    "settings",
    [{"decide": "probable"}, {"decide": "greedy"}, {"tells": False}, {"priors": {"a": {}}}],
)
def test_where_they_do_not_count_nothing_is_asked(settings):
    _, asked = World(**settings).decisions(AS_GIVEN)
    assert asked == []


def test_none_is_noted_for_answers_that_are_taken_as_read():
    world = World(tells=False)
    assert world.decisions(RULES)[0] == {}

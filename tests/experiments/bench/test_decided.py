"""The decision layer of the comparison, and how much a program tells the labels apart."""

import json
import math
from dataclasses import replace

import dspy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biased_keywords import BiasedStudent
from compare_runs import World
from experiments.bench.archive import State
from experiments.bench.decided import Layer, have_probabilities
from experiments.bench.lines import Line
from experiments.optimizers import OPTIMIZERS, Found, Optimizer
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Answer, Decision, Evaluation
from pld_dspy.scoring.evaluator import with_decision
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.scoring.separability import separability, separability_change
from pld_dspy.stages.common.topics import priors_of

LABELS = ("a", "b", "c")


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch, student=BiasedStudent())


def answers(rng, knows, n=90, bias=(0.0, 0.0, 0.0)):
    """Answers of a student that has `knows` more log-odds for the right label, in noise."""
    found = []
    for number in range(n):
        odds = rng.normal(size=3) + np.array(bias)
        odds[number % 3] += knows
        shares = np.exp(odds) / np.exp(odds).sum()
        probabilities = dict(zip(LABELS, shares.tolist(), strict=True))
        said = max(probabilities, key=probabilities.get)
        found.append(
            Answer(example_id=str(number), gold=LABELS[number % 3], answer=said, read=said,
                   probabilities=probabilities)
        )  # fmt: skip
    return found


# The decision layer in a cell.


def test_a_biased_student_is_unlocked_by_the_layer_and_gains_no_separability(world):
    line = world.run("zero-shot")

    assert line.score == line.baseline_score < 0.3
    assert set(line.said) == {"grey"}
    assert line.decided_score == 1.0
    assert line.decided_ci95 == (1.0, 1.0)
    assert line.decided_said == line.gold
    assert line.hindsight_score == 1.0
    assert line.decision["kind"] not in {"greedy", "probable"}
    assert min(line.decision["offsets"], key=line.decision["offsets"].get) == "grey"
    assert line.separability == line.baseline_separability == 1.0
    assert (line.separability_gain, line.separability_gain_ci95) == (0.0, (0.0, 0.0))
    assert (line.labelled, line.decision_calls, line.student_calls) == (0, 24, 0)


def test_the_decision_depends_on_the_answers_it_is_fitted_to_alone():
    layer = Layer(labels=LABELS, label_key="label", metric=macro_f1, priors={})
    rng = np.random.default_rng(5)
    known, test = (answers(rng, 1.5, bias=(3, 0, 0)) for _ in range(2))
    other = [replace(a, gold=LABELS[(LABELS.index(a.gold) + 1) % 3]) for a in test]
    asked = [dspy.Example(text=str(n)).with_inputs("text") for n in range(90)]
    first, second = (
        layer.decisions(
            Evaluation(candidate_id="c", split="test", metric="macro_f1", score=0, answers=side),
            *(asked, known, asked),
        )
        for side in (tuple(test), tuple(other))
    )

    assert first["decision"] == second["decision"]
    assert first["decided_said"] == second["decided_said"]
    assert first["decided_score"] > macro_f1([a.gold for a in test], [a.answer for a in test]) + 0.2
    assert second["decided_score"] < first["decided_score"]
    assert first["decided_ci95"][0] <= first["decided_score"] <= first["decided_ci95"][1]


def test_hindsight_is_the_best_decision_that_saw_the_very_answers():
    layer = Layer(labels=LABELS, label_key="label", metric=macro_f1, priors={})
    asked = [dspy.Example(text=str(n)).with_inputs("text") for n in range(90)]
    unlocked, blind, given = [], [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        biased, chance = answers(rng, 2.0, bias=(4, 0, 0)), answers(rng, 0.0)
        given.append(layer.score(biased))
        unlocked.append(layer.hindsight(biased, asked))
        blind.append(layer.hindsight(chance, asked))
        assert unlocked[-1] >= given[-1]

    assert np.mean(unlocked) > np.mean(given) + 0.2
    assert np.mean(blind) < 0.4  # chance is 1 / 3: a decision makes no knowledge


def test_hindsight_knows_the_topics_as_the_layer_does():
    priors = {"x": {"a": 3.0}, "y": {"b": 3.0}, "z": {"c": 3.0}}
    layer = Layer(labels=LABELS, label_key="label", metric=macro_f1, topic="topic", priors=priors)
    asked = [dspy.Example(topic="xyz"[n % 3]).with_inputs("topic") for n in range(90)]
    ignorant = answers(np.random.default_rng(0), 0.0)

    assert layer.hindsight(ignorant, asked) == 1.0
    assert replace(layer, priors={}).hindsight(ignorant, asked) < 0.5


def test_hindsight_without_probabilities_is_the_score_as_read():
    layer = Layer(labels=LABELS, label_key="label", metric=macro_f1, priors={})
    bare = [replace(a, probabilities={}) for a in answers(np.random.default_rng(1), 1.0)]
    asked = [dspy.Example(text=str(n)).with_inputs("text") for n in range(90)]

    assert layer.hindsight(bare, asked) == layer.score(bare)


def test_knowledge_that_a_program_adds_is_separability(tmp_path, monkeypatch):
    def hint(job):
        return Found(job.student("A hint."))

    student = BiasedStudent(knows=lambda prompt: 2.0 if "A hint." in prompt.system else 0.0)
    world = World(tmp_path, monkeypatch, student=student)
    monkeypatch.setitem(OPTIMIZERS, "gepa", Optimizer(name="gepa", run=hint, matched=False))
    line = world.run("gepa")

    assert line.score == line.baseline_score
    assert line.baseline_separability == 0.5
    assert line.separability == 1.0
    assert line.separability_gain == 0.5
    assert line.separability_gain_ci95 == (0.5, 0.5)
    assert line.decided_score == 1.0
    assert line.labelled == 48


def test_a_program_with_a_decision_of_its_own_is_tested_with_it(world, monkeypatch):
    own = Decision(kind="offsets", offsets={"grey": -4.0})

    def ship(job):
        return Found(with_decision(job.student(), own))

    monkeypatch.setitem(OPTIMIZERS, "gepa", Optimizer(name="gepa", run=ship, matched=False))
    line = world.run("gepa")

    assert line.score == line.val_score == line.decided_score == 1.0
    assert line.greedy_score == line.baseline_score < 0.3
    assert "as given" not in line.note


def test_plds_searched_list_ships_with_its_decision(world):
    line = world.run("pld-searched")

    assert line.status == "done", line.error
    assert line.score == 1.0
    assert line.greedy_score is not None
    assert line.greedy_score < 1.0


def test_a_topic_is_used_by_the_layer_of_every_row(world):
    world.set_task(topic="text")
    assert world.run("zero-shot").decided_score == 1.0


def test_without_log_probabilities_nothing_is_asked_for_the_layer(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, student=BiasedStudent(tells=False))
    line = world.run("zero-shot")
    fields = ("decided_score", "decided_ci95", "decision", "decision_calls", "hindsight_score", "separability",
              "baseline_separability", "separability_gain", "greedy_score")  # fmt: skip

    assert line.status == "done", line.error
    assert [getattr(line, field) for field in fields] == [None] * len(fields)
    assert line.decided_said == ()


@pytest.mark.parametrize("name", ["student-cot", "teacher-cot"])
def test_more_than_the_label_has_no_layer(world, name):
    line = world.run(name)

    assert line.status == "done", line.error
    assert (line.decided_score, line.separability) == (None, None)
    assert line.baseline_separability == 1.0


def test_a_cell_that_is_run_again_asks_for_no_answer_of_the_layer(world):
    first, calls = world.run("zero-shot"), world.student.calls
    again = world.run("zero-shot")

    assert world.student.calls == calls + 1  # is it there?
    timed = {"wall_s", "cell_s", "test_latency_s"}
    assert again.model_dump(exclude=timed) == first.model_dump(exclude=timed)


# Label shares of topics.


def examples(*pairs):
    return [dspy.Example(topic=topic, label=label).with_inputs("topic") for topic, label in pairs]


def test_a_topic_with_more_of_a_label_has_a_higher_prior_for_it():
    train = examples(*[("x", "yes")] * 8, *[("y", "no")] * 8, ("z", "yes"), ("z", "no"))
    found = priors_of("topic", train, "label", ("no", "yes"))

    assert found["x"]["yes"] > 0 > found["x"]["no"]
    assert found["y"]["no"] > 0 > found["y"]["yes"]
    assert found["z"] == {"no": 0.0, "yes": 0.0}


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(LABELS)), min_size=1))
def test_priors_are_those_of_shrunk_shares(pairs):
    found = priors_of("topic", examples(*pairs), "label", LABELS)
    overall = {label: 1 + sum(label == other for _, other in pairs) for label in LABELS}
    share = {label: count / sum(overall.values()) for label, count in overall.items()}

    assert found.keys() == {topic for topic, _ in pairs}
    for topic, shifts in found.items():
        own = [label for other, label in pairs if other == topic]
        for label, shift in shifts.items():
            expected = (own.count(label) + share[label]) / (len(own) + 1) / share[label]
            assert shift == pytest.approx(math.log(expected), abs=1e-4)
        assert sum(math.exp(shifts[label]) * share[label] for label in LABELS) == pytest.approx(
            1, abs=1e-3
        )


# Separability before and after.


@pytest.mark.parametrize("knows", [0.0, 1.5])
def test_the_interval_is_that_of_a_bootstrap_with_the_areas_of_the_package(knows):
    rng = np.random.default_rng(3)
    before, after = answers(rng, 0.5), answers(rng, knows)
    found = separability_change(before, after, LABELS, seed=1)
    draw = np.random.default_rng(2)
    deltas = []
    for _ in range(400):
        rows = draw.integers(0, 90, size=90)
        sides = ([side[row] for row in rows] for side in (before, after))
        first, last = (separability(side, LABELS) for side in sides)
        deltas.append(last - first)
    low, high = np.percentile(deltas, [2.5, 97.5])

    assert found.estimate == separability(after, LABELS) - separability(before, LABELS)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert (found.low > 0) == (knows > 1)
    assert found == separability_change(before, after, LABELS, seed=1)


def test_a_bias_changes_no_separability():
    before, after = (answers(np.random.default_rng(1), 1.0, bias=b) for b in ((0, 0, 0), (5, 0, 0)))
    found = separability_change(before, after, LABELS)

    assert [a.answer for a in after] != [b.answer for b in before]
    assert (found.estimate, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-3)


def test_answers_without_probabilities_have_no_separability():
    rng = np.random.default_rng(0)
    known = answers(rng, 1.0)
    bare = [Answer(example_id=a.example_id, gold=a.gold, answer=a.answer) for a in known]

    assert separability_change(bare, known, LABELS) is None
    assert separability_change(known, [*known[:30], *bare[30:]], LABELS) is None
    assert separability_change(known, [*known[:60], *bare[60:]], LABELS) is not None
    assert [have_probabilities(side) for side in (known, bare, [])] == [True, False, False]


def test_a_label_that_is_missing_from_a_resample_breaks_nothing():
    rng = np.random.default_rng(0)
    before, after = answers(rng, 0.0, n=60), answers(rng, 2.0, n=60)
    rare = [a for a in range(60) if a % 3 != 2 or a == 2]
    found = separability_change([before[r] for r in rare], [after[r] for r in rare], LABELS)

    assert math.isfinite(found.low + found.high)
    assert found.low <= found.estimate <= found.high


# The line.


def test_a_line_with_a_decision_reads_back_and_one_of_another_length_is_refused(world):
    line = world.run("zero-shot")
    stored = json.loads(line.to_json())

    assert Line.model_validate(stored) == line
    assert stored["decided_said"]["codes"] == stored["gold"]["codes"]
    with pytest.raises(ValueError, match="decided_said and greedy_said differ in length"):
        Line.model_validate(stored | {"decided_said": ["grey"]})


def test_a_line_of_before_has_none_of_it(world):
    stored = json.loads(world.run("zero-shot").to_json())
    new = {key for key in stored if key.startswith(("deci", "separ", "baseline_separ", "greedy"))}
    old = Line.model_validate({k: v for k, v in stored.items() if k not in new | {"labelled"}})

    assert len(new) == 11
    assert (old.decided_score, old.decided_said, old.labelled, old.separability) == (
        None,
        (),
        None,
        None,
    )


def test_another_wording_is_another_state():
    signature = dspy.Signature("text -> label: Literal['a', 'b']", "Say a or b.")
    programs = [DirectStudent(signature, wording=w) for w in ("field", "sentence", "field")]
    keys = [State.of(program).key for program in programs]

    assert keys[0] == keys[2] != keys[1]

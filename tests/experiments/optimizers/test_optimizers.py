"""Every optimizer of the table runs, under the meter, within its budget, and without the test."""

import importlib.util
from dataclasses import replace
from types import SimpleNamespace
from typing import Literal

import dspy
import pytest
from dspy.utils.exceptions import LMInvalidRequestError

from compare_runs import OWN, PING, PLD_SETTINGS, TASK, Cell, World
from experiments.bench.plan import run_config
from experiments.bench.run_cell import one_line
from experiments.optimizers import OPTIMIZERS, Found, Optimizer, pld
from pld_dspy.models.student import DirectStudent
from pld_dspy.runs.setup import load

BUDGET = 130


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def present(name):
    module = OPTIMIZERS[name].module
    if module is not None and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed; `make rivals` installs it")


def run(world, name, budget=BUDGET, **settings):
    if name == "topic-majority":
        world.set_task(topic="text")
    return world.run(name, budget if OPTIMIZERS[name].matched else None, **settings)


def of_test(world):
    cell = Cell("keywords", "zero-shot", "small", "large", "teacher", "item", 0, OWN)
    splits = load(run_config(cell, world.plan())).splits
    return [example.text for example in splits.test]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_runs_and_the_meter_counts_what_the_models_count(world, name):
    present(name)
    line = run(world, name)
    texts = of_test(world)
    asked = [world.searching(engine, texts) for engine in (world.student, world.teacher)]

    assert line.status in {"done", "stopped by budget"}, line.error
    assert line.metric == "macro_f1"
    assert line.test_n == len(line.gold) == len(line.said) == len(texts)
    assert (line.student_calls, line.teacher_calls) == tuple(map(len, asked))
    assert line.replayed_calls == 0
    assert line.input_tokens == sum(len(p.split()) for prompts in asked for p in prompts)
    changed = line.program.instructions != "Give the label from the text." or line.program.demos
    told = ("the program is the student as given", "asked as", "nearest of", "no word was better")
    assert changed or any(note in line.note for note in told) or name.endswith("-cot")
    if name != "teacher-cot":
        assert not [p for p in world.teacher.prompts if any(text in p for text in texts)]


@pytest.mark.parametrize(
    "name", [n for n in OPTIMIZERS if not n.endswith("-cot") and n != "asked-best"]
)
def test_every_optimizer_asks_in_the_wording_of_the_task(world, name):
    present(name)
    world.set_task(wording="sentence")
    line = run(world, name)

    assert line.status in {"done", "stopped by budget"}, line.error
    asked = [prompt for prompt in world.student.prompts if PING not in prompt]
    assert asked
    assert all("\nAnswer with one of: " in prompt for prompt in asked)
    assert not any("(answer with one of: " in prompt for prompt in asked)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if OPTIMIZERS[name].matched])
def test_the_budget_stops_it_and_the_best_so_far_is_tested(world, name):
    present(name)
    line = run(world, name, budget=30)

    assert line.status in {"done", "stopped by budget"}, line.error
    assert line.student_calls + line.teacher_calls <= 30
    assert line.score is not None
    if line.status == "stopped by budget":
        assert line.student_calls + line.teacher_calls == 30


def test_a_search_that_is_stopped_keeps_what_it_had_found(world, monkeypatch):
    def wander(job):
        good = job.guidelines
        signature = job.student().predict.signature
        for text in ("Guess.", good, "Guess again.", "And again."):
            program = job.student()
            program.predict.signature = signature.with_instructions(text)
            for example in job.valset:
                program(**example.inputs())
        return Found(program)

    monkeypatch.setitem(OPTIMIZERS, "gepa", replace(OPTIMIZERS["gepa"], run=wander))
    line = run(world, "gepa", budget=60)

    assert line.status == "stopped by budget"
    assert line.program.instructions == "If the text mentions 'alpha', answer red."
    assert line.val_score > line.curve[0][1]
    assert [calls for calls, _ in line.curve] == [12, 36, 60]
    assert [score for _, score in line.curve] == sorted(score for _, score in line.curve)


def test_an_optimizer_that_swallows_the_stop_is_stopped_all_the_same(world, monkeypatch):
    def deaf(job):
        program = job.student()
        for example in job.train:
            try:
                program(**example.inputs())
            except BaseException:  # noqa: BLE001 - that is the point
                continue
        program.predict.signature = program.predict.signature.with_instructions("Too late.")
        return Found(program)

    monkeypatch.setitem(OPTIMIZERS, "gepa", replace(OPTIMIZERS["gepa"], run=deaf))
    line = run(world, "gepa", budget=5)

    assert (line.status, line.student_calls) == ("stopped by budget", 5)
    assert "went on after the budget was spent" in line.note
    assert line.program.instructions != "Too late."


def crash(job):
    raise RuntimeError("first line\nsecond line")


def leak(job):
    program = job.student()
    known = {example.text for example in job.train + job.val + job.select}
    for text, _ in TASK.rows:
        if text not in known:
            program(text=text)
    return Found(program)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (crash, "RuntimeError: first line second line"),
        (leak, "the optimizer asked 20 times about test examples"),
    ],
)
def test_an_optimizer_that_fails_has_an_error_and_no_score(world, monkeypatch, bad, error):
    monkeypatch.setitem(OPTIMIZERS, "gepa", replace(OPTIMIZERS["gepa"], run=bad))
    line = run(world, "gepa")

    assert (line.status, line.score, line.macro_f1) == ("failed", None, None)
    assert line.error == error


def test_a_bare_error_tells_what_it_came_from():
    bare = AssertionError()
    bare.__context__ = ValueError("unreadable\nrules")
    assert one_line(bare) == "AssertionError: while handling ValueError: unreadable rules"


def test_inferred_rules_that_cannot_be_read_end_the_shipped_run_alone(world):
    world.teacher.garble = True
    shipped, repaired = (run(world, f"infer-rules-{kind}") for kind in ("shipped", "repaired"))
    assert shipped.status == "failed"
    assert "AssertionError: while handling AdapterParseError" in shipped.error
    assert repaired.status == "done"
    assert "adhere to the following rules" not in repaired.program.instructions


def test_examples_that_do_not_fit_are_shown_fewer_at_a_time_when_repaired(world):
    inner, asked = world.teacher._answer, []

    def narrow(prompt):
        if "natural_language_rules" in prompt.system:
            asked.append(prompt.user.count("Input Fields:"))
            if asked[-1] > 21:
                raise LMInvalidRequestError("request exceeds the available context size")
        return inner(prompt)

    world.teacher._answer = narrow
    shipped = run(world, "infer-rules-shipped", budget=120)
    assert "LMInvalidRequestError" in shipped.error
    asked.clear()
    repaired = run(world, "infer-rules-repaired", budget=120, plan=world.plan("other"))
    assert repaired.status == "done"
    assert asked[:4] == [24, 23, 22, 21]
    assert "adhere to the following rules" in repaired.program.instructions


@pytest.mark.parametrize(
    ("name", "more"), [("pld-clustered", 0), ("pld-refined", 0), ("pld-rules", 2)]
)
def test_lists_of_all_labels_are_for_the_searched_rows_alone(world, name, more):
    without, with_lists = (
        run(world, name, plan=world.plan(pld={**PLD_SETTINGS, "rules": {"contrast": draws}}))
        for draws in (0, 2)
    )
    assert with_lists.teacher_calls == without.teacher_calls + more


@pytest.mark.parametrize(
    ("name", "budget", "proposals"),
    [
        ("mipro-instructions", 20, 2),
        ("mipro-instructions", 100, 3),
        ("mipro-instructions", 190, 6),
        ("mipro-instructions", 300, 9),
        ("mipro-instructions", 2000, 18),
        ("mipro-light", 190, 6),
        ("mipro-light", 2000, 6),
        ("mipro-demos", 300, 6),
        ("mipro-demos", 2000, 18),
    ],
)
def test_miprov2_proposes_as_many_instructions_as_its_budget_can_score(
    world, monkeypatch, name, budget, proposals
):
    asked = []

    class Recorded:
        def __init__(self, *, num_candidates, **_):
            self.candidates = num_candidates

        def compile(self, student, *, num_trials, **_):
            asked.append((self.candidates, num_trials > self.candidates))
            return student

    monkeypatch.setattr("dspy.MIPROv2", Recorded)
    assert run(world, name, budget).error is None
    assert asked == [(proposals, True)]


def test_infer_rules_has_more_candidates_where_its_budget_is_larger(world, monkeypatch):
    asked = []

    class Recorded:
        def __init__(self, *, num_candidates, **_):
            asked.append(num_candidates)

        def compile(self, student, **_):
            return student

    monkeypatch.setattr("experiments.optimizers.infer_rules.RepairedInferRules", Recorded)
    for budget in (300, 900, 2700):
        assert run(world, "infer-rules-repaired", budget).error is None

    assert asked == sorted(set(asked))
    assert asked[-1] > 2 * asked[-2]


def test_a_missing_package_names_what_installs_it(world, monkeypatch):
    missing = Optimizer(name="gepa", run=crash, module="no_such_package")
    monkeypatch.setitem(OPTIMIZERS, "gepa", missing)

    assert run(world, "gepa").error == (
        "gepa needs no_such_package of the extra `compare`; run `make rivals`"
    )


def facts(line):
    """What must not change from one run to another."""
    return line.model_dump(exclude={"wall_s", "cell_s", "test_latency_s", "replayed_calls"})


def test_the_order_of_runs_changes_nothing(world):
    # The second leaves its rules in the Signature class; the third is the student as given.
    names = ["gepa", "infer-rules-shipped", "zero-shot", "labeled-few-shot", "pld-searched"]
    forth = {name: facts(run(world, name, plan=world.plan("forth"))) for name in names}
    back = {name: facts(run(world, name, plan=world.plan("back"))) for name in reversed(names)}

    assert forth == back


def test_a_cell_that_is_run_again_asks_for_nothing_and_has_the_same_line(world):
    first = run(world, "mipro-demos")
    calls = world.student.calls, world.teacher.calls
    again = run(world, "mipro-demos")

    assert facts(again) == facts(first)
    assert again.replayed_calls == again.student_calls + again.teacher_calls > 0
    # A model is asked for one word before a cell, to see that it is there.
    assert (world.student.calls, world.teacher.calls) == (calls[0] + 1, calls[1] + 1)


def test_another_student_pays_for_no_answer_of_the_teacher_again(world):
    first = run(world, "pld-clustered")
    asked = world.teacher.calls
    other = run(world, "pld-clustered", student="other")

    # The answer to whether it is there, as above.
    assert world.teacher.calls == asked + 1
    assert other.teacher_calls == first.teacher_calls == other.replayed_calls > 0
    assert other.student_calls == first.student_calls


@pytest.mark.parametrize("name", ["pld-searched", "gepa"])
def test_a_cell_that_was_killed_goes_on_from_what_it_was_answered(world, name):
    whole = run(world, name, plan=world.plan("whole"))
    answer, before = world.student.answer, world.student.calls

    def killed(prompt, call):
        if call == before + 60:
            raise KeyboardInterrupt
        return answer(prompt, call)

    world.student.answer = killed
    with pytest.raises(KeyboardInterrupt):
        run(world, name)
    again = run(world, name)

    assert facts(again) == facts(whole)
    assert 0 < again.replayed_calls < again.student_calls + again.teacher_calls


def test_another_seed_is_another_split(world):
    lines = [run(world, "labeled-few-shot", seed=seed) for seed in (0, 1)]

    assert lines[0].digests["test"] != lines[1].digests["test"]
    assert lines[0].program.demos == lines[1].program.demos == 5


def test_inferred_rules_are_the_last_as_shipped_and_the_best_when_repaired(world):
    """The teacher's first rules are right, and later ones say nothing."""
    inner, count = world.teacher._answer, iter(range(100))
    rules = {"reasoning": "so", "natural_language_rules": "Answer as you like."}

    def worse(prompt):
        if "natural_language_rules" not in prompt.system:
            return inner(prompt)
        return inner(prompt) if next(count) == 0 else rules

    world.teacher._answer = worse
    shipped = run(world, "infer-rules-shipped", budget=300)
    count = iter(range(100))
    repaired = run(world, "infer-rules-repaired", budget=300, plan=world.plan("other"))

    assert "Answer as you like." in shipped.program.instructions
    assert repaired.score == 1.0 > shipped.score


@pytest.mark.parametrize("words", [{"red": "blood", "green": "leaf"}, {}])
def test_the_row_of_words_alone_has_the_words_of_pld_and_no_rule(monkeypatch, words):
    class Colour(dspy.Signature):
        """Name the colour."""

        text: str = dspy.InputField()
        colour: Literal["red", "green"] = dspy.OutputField()

    chosen = SimpleNamespace(words=words)
    monkeypatch.setattr(pld, "_distil", lambda job, demos: None)
    monkeypatch.setattr(pld, "_result", lambda program: SimpleNamespace(chosen=chosen))
    found = pld.words_alone(SimpleNamespace(student=lambda: DirectStudent(Colour)))
    request = found.program.predict.signature.instructions
    assert request == "Name the colour."
    assert found.program.form.labels_as == (words or "names")
    assert ("'blood'" in found.note) == bool(words)

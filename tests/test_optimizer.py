"""Whole compiles with fakes: what comes back, what it cost, and what is refused before it costs."""

import json
from typing import Literal

import dspy
import numpy as np
import pytest

from fakes import FakeEngine, fake_lm, keyword_rule, keyword_task
from keyword_runs import (
    SELECT,
    SETS,
    TASK,
    TEST,
    TRAIN,
    VAL,
    Colour,
    Student,
    compiled,
    engines,
    pld,
    right_answer,
    share_right,
    teach,
    without_knowledge,
)
from pld_dspy import DirectAdapter, DirectStudent, PLDConfig, PLDResult, accuracy, macro_f1
from pld_dspy.config.optimizer import RefineConfig, RuleConfig, SearchConfig, VerifyConfig
from pld_dspy.data.examples import example_id
from pld_dspy.errors import ConfigError, DataError, LeakageError, ModelError, NoTracesError
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.stages.cluster.stage import ClusterConfig
from pld_dspy.stages.common.rule_text import make_trace

SMALL = PLDConfig(search=SearchConfig(trials=2), refine=RefineConfig(rounds=1), finalists=1)
"""Enough for what does not depend on the size of the search."""

GOOD = 0.8
"""What a small search reaches; the student as given has 0.17."""

TRAIN_IDS = {example_id(e) for e in TRAIN}


class Opinion(dspy.Signature):
    """Guess the colour."""

    text: str = dspy.InputField()
    kind: Literal["red", "green", "blue", "grey"] = dspy.OutputField()


class Verdict(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    kind: str = dspy.InputField()
    label: Literal["red", "green", "blue", "grey"] = dspy.OutputField()


class Chain(dspy.Module):
    """A first opinion, which the second step repeats unless a rule says better."""

    def __init__(self):
        super().__init__()
        self.first = dspy.Predict(Opinion)
        self.second = dspy.Predict(Verdict)

    def forward(self, text):
        kind = self.first(text=text).kind
        return dspy.Prediction(kind=kind, label=self.second(text=text, kind=kind).label)


def with_kinds(examples):
    return [
        dspy.Example(text=e.text, kind=e.label, label=e.label).with_inputs("text") for e in examples
    ]


def exact(example, prediction, trace=None):
    return example.label == prediction.label


@pytest.fixture(scope="module")
def run():
    """One full compile, shared by the tests that only read it."""
    student, teacher = engines()
    given = DirectStudent(Colour)
    return given, compiled(student, teacher, given), student, teacher


@pytest.mark.slow
def test_the_known_rules_are_found_in_their_order():
    task = keyword_task(320)  # so many that each pair of words meets on validation
    rows = task.examples
    sets = {"trainset": rows[:48], "valset": rows[48:144], "selectset": rows[144:240]}
    program = compiled(*engines(), sets=sets)
    test = rows[240:]

    assert share_right(DirectStudent(Colour), test) < 0.2
    assert share_right(program, test) >= 0.95


@pytest.mark.slow
def test_the_student_and_its_signature_class_stay_as_they_were(run):
    given, program, _, _ = run

    assert given.predict.signature is Colour
    assert Colour.instructions == "Name the colour."
    assert not hasattr(given, "pld_result")
    assert type(program) is DirectStudent
    assert program is not given
    assert program._compiled is False
    assert program.predict.signature.instructions == program.pld_result.predictors[0].chosen.prompt
    assert program.predict.signature.fields.keys() == Colour.fields.keys()
    assert DirectStudent(Colour).predict.signature.instructions == "Name the colour."


@pytest.mark.slow
def test_every_rule_leads_back_to_training_examples(run):
    result = run[1].pld_result
    (found,) = result.predictors
    traces = {trace.id: trace for trace in found.traces}
    gold = {example_id(e): e.label for e in TRAIN}

    assert result.rules == found.chosen.rules != ()
    assert {r.id for c in found.candidates for r in c.rules} <= {r.id for r in found.rules}
    for rule in [*found.rules, *(r for c in found.candidates for r in c.rules)]:
        behind = [traces[i] for i in rule.trace_ids]
        assert behind
        assert sum(rule.labels.values()) == rule.support
        assert {t.example_id for t in behind} <= TRAIN_IDS
        assert all(gold[t.example_id] == t.label for t in behind)
        assert rule.main_label in {t.label for t in behind}
    in_clusters = [i for c in found.clustering.clusters for i in c.trace_ids]
    assert sorted([*in_clusters, *found.clustering.noise]) == sorted(traces)


@pytest.mark.slow
def test_the_result_records_what_was_tried(run):
    result = run[1].pld_result
    (found,) = result.predictors
    scored = {split: [] for split in ("val", "select")}
    for evaluation in found.evaluations:
        scored[evaluation.split].append(evaluation.candidate_id)

    assert isinstance(result, PLDResult)
    assert result.split_sizes == {"train": 24, "val": 24, "select": 24, "test": 0}
    assert (result.seed, found.predictor) == (0, "predict")
    assert result.wall_s > 0
    assert "dspy" in result.versions
    ids = [c.id for c in found.candidates]
    assert len(set(ids)) == len(ids)
    assert scored["val"] == ids
    assert found.candidates[0].origin == "as given"
    assert scored["select"][0] == ids[0]
    assert found.chosen_id in scored["select"]
    assert found.select_delta.low > 0
    assert "finalists on 24 selection examples" in found.reason
    texts = {rule.id: rule.text for c in found.candidates for rule in c.rules}
    by_id = {c.id: c for c in found.candidates}
    assert found.search.list_gains
    for candidate, gains in found.search.list_gains.items():
        assert {texts[i] for i in gains} <= {rule.text for rule in by_id[candidate].rules}


@pytest.mark.slow
def test_usage_is_what_the_engines_counted(run):
    _, program, student, teacher = run
    for role, engine in (("student", student), ("teacher", teacher)):
        usage = program.pld_result.usage[role]
        assert (usage.calls, usage.cached_calls) == (engine.calls, 0)
        assert usage.input_tokens == engine.input_tokens
        assert usage.output_tokens == engine.output_tokens


@pytest.mark.slow
def test_the_teacher_sees_training_examples_only_and_the_student_no_other_than_the_given(run):
    _, _, student, teacher = run
    told = "\n".join(prompt.user for prompt in teacher.prompts)
    asked = {prompt.user.splitlines()[0] for prompt in student.prompts}

    assert [e.text for e in TRAIN if e.text not in told] == []
    assert [e.text for e in (*VAL, *SELECT, *TEST) if e.text in told] == []
    assert asked == {f"Text: {e.text}" for e in (*TRAIN, *VAL, *SELECT)}


@pytest.mark.slow
def test_selection_examples_are_asked_about_last_by_the_finalists_alone():
    student, teacher = engines()
    compiled(student, teacher, config=PLDConfig(verify={"leave_out": False}))
    texts = {f"Text: {e.text}" for e in SELECT}
    places = [i for i, p in enumerate(student.prompts) if p.user.splitlines()[0] in texts]

    assert len({student.prompts[i].system for i in places}) == 1 + PLDConfig().finalists
    assert places == list(range(student.calls - len(places), student.calls))


def test_a_second_compile_of_the_same_object_gives_the_same():
    student, teacher = engines()
    optimizer = pld(teacher, config=SMALL)
    with dspy.context(lm=fake_lm(student)):
        first = optimizer.compile(DirectStudent(Colour), **SETS)
        calls = student.calls, teacher.calls
        second = optimizer.compile(DirectStudent(Colour), **SETS)

    assert second.pld_result.predictors == first.pld_result.predictors
    assert second.pld_result.usage == first.pld_result.usage
    assert second.dump_state() == first.dump_state()
    assert (student.calls, teacher.calls) == (2 * calls[0], 2 * calls[1])


def test_a_compiled_program_can_be_compiled_again():
    program = compiled(*engines(), config=SMALL)
    rules = program.pld_result.rules
    student, teacher = engines()
    again = compiled(student, teacher, program, config=SMALL)

    assert program.pld_result.rules == rules
    assert again.pld_result.predictors[0].chosen.origin == "as given"
    assert again.predict.signature.instructions == program.predict.signature.instructions


@pytest.mark.parametrize("adapter", [None, dspy.ChatAdapter(), DirectAdapter()])
@pytest.mark.parametrize("module", [dspy.Predict, dspy.ChainOfThought])
def test_plain_modules_and_adapters(module, adapter):
    student, teacher = engines()
    with dspy.context(adapter=adapter):
        program = compiled(student, teacher, module(Colour), config=SMALL)
        score = share_right(program, TEST)

    assert type(program) is module
    assert score >= GOOD
    assert program.pld_result.usage["student"].calls == student.calls
    assert program.pld_result.predictors[0].predictor in {"self", "predict"}
    assert all(e.unparsed_rate == 0 for e in program.pld_result.predictors[0].evaluations)


def test_a_student_with_its_own_lm_needs_no_other():
    student, teacher = engines()
    given = DirectStudent(Colour)
    given.set_lm(fake_lm(student))
    program = pld(teacher, config=SMALL).compile(given, **SETS)

    assert share_right(program, TEST, lm=fake_lm(FakeEngine(lambda prompt: "never asked"))) >= GOOD


def test_predictors_without_an_lm_are_asked_on_the_outer_one_not_on_their_neighbours():
    outer, own, teacher = Student(), Student(), FakeEngine(teach)
    given = Chain()
    given.first.lm = fake_lm(own, name="fake/own")
    with dspy.context(lm=fake_lm(outer, name="fake/outer"), adapter=DirectAdapter()):
        pld(teacher, config=SMALL).compile(given, **SETS)

    assert own.calls == outer.calls > 0
    assert {p.user.count("Kind:") for p in own.prompts} == {0}


@pytest.mark.parametrize(
    "metric", [accuracy, macro_f1, exact], ids=["accuracy", "macro-F1", "exact"]
)
def test_corpus_and_example_metrics(metric):
    program = compiled(*engines(), metric=metric, config=SMALL)

    assert share_right(program, TEST) >= GOOD
    assert program.pld_result.predictors[0].evaluations[0].metric == getattr(
        metric, "name", "exact"
    )


def test_one_labelled_predictor_of_two():
    with dspy.context(adapter=DirectAdapter()):
        student, teacher = engines()
        program = compiled(student, teacher, Chain(), config=SMALL)
        score = share_right(program, TEST)

    assert [p.predictor for p in program.pld_result.predictors] == ["second"]
    assert program.first.signature is Opinion
    assert score >= GOOD
    assert program.pld_result.usage["student"].calls == student.calls


def test_two_labelled_predictors(tmp_path):
    curves = []

    class Listener(NullTracker):
        def metrics(self, values, *, step=None):
            curves.extend(values)

    sets = {name: with_kinds(examples) for name, examples in SETS.items()}
    with dspy.context(adapter=DirectAdapter()):
        student, teacher = engines()
        program = compiled(
            student,
            teacher,
            Chain(),
            sets=sets,
            config=SMALL.model_copy(
                # Every list in full, so that Optuna has a history to draw.
                update={"search": SearchConfig(trials=2, race={"enabled": False})}
            ),
            run_dir=tmp_path,
            tracker=Listener(),
        )
        score = share_right(program, TEST)
    first, second = program.pld_result.predictors

    assert (first.predictor, second.predictor) == ("first", "second")
    assert score >= GOOD
    # The first alone can solve the task, which leaves nothing for the second to gain.
    assert first.chosen.rules
    assert second.chosen.origin == "as given"
    assert program.first.signature.instructions == first.chosen.prompt
    assert program.second.signature.instructions == second.chosen.prompt
    # What is scored is the label: it does not show the mistakes of the first step.
    assert first.edits == ()
    # What one draws and logs does not take the place of the other's.
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert "search_history-first.png" in pictures
    assert all("-first" in name or "-second" in name for name in pictures)
    assert {"first/val/score", "second/val/score"} <= set(curves)
    for role, engine in (("student", student), ("teacher", teacher)):
        assert program.pld_result.usage[role].calls == engine.calls


def test_the_predictors_can_be_chosen():
    sets = {name: with_kinds(examples) for name, examples in SETS.items()}
    with dspy.context(adapter=DirectAdapter()):
        program = compiled(
            *engines(), Chain(), sets=sets, config=SMALL, predictors=["second"], metric=exact
        )

    assert [p.predictor for p in program.pld_result.predictors] == ["second"]


def test_rules_that_hurt_are_not_kept():
    knows = Student(right_answer)
    program = compiled(knows, FakeEngine(without_knowledge), config=SMALL)
    (found,) = program.pld_result.predictors

    assert found.chosen.origin == "as given"
    assert found.chosen.rules == program.pld_result.rules == ()
    assert found.select_delta is None
    assert found.reason.startswith("the student stays as given: on 24 selection examples")
    assert "noise" not in found.reason  # it is no matter of luck here
    assert program.predict.signature.instructions == "Name the colour."
    assert share_right(program, TEST, lm=fake_lm(knows)) == 1.0


@pytest.mark.parametrize(
    "rules", [RuleConfig(method="medoid"), RuleConfig(per_label=False)], ids=["medoid", "merge"]
)
def test_no_cluster_leaves_the_student_as_given(rules):
    clusters = ClusterConfig(method="dbscan", eps=0.01, min_samples=24, noise="drop")
    student, teacher = engines()
    program = compiled(student, teacher, config=PLDConfig(clusters=clusters, rules=rules))
    (found,) = program.pld_result.predictors

    assert found.reason == "no rule list was made"
    assert (found.chosen.origin, found.clustering.clusters) == ("as given", ())
    assert teacher.calls == len(TRAIN)
    assert student.calls == len(VAL) + len(SELECT)


def test_valset_and_selectset_are_set_aside_from_trainset():
    student, teacher = engines()
    everything = [*TRAIN, *VAL, *SELECT]
    program = compiled(student, teacher, sets={"trainset": everything}, config=SMALL)
    told = "\n".join(prompt.user for prompt in teacher.prompts)
    explained = {t.example_id for t in program.pld_result.predictors[0].traces}

    # 40% of 72 are set aside, half of them to validate.
    assert program.pld_result.split_sizes == {"train": 43, "val": 15, "select": 14, "test": 0}
    assert len(explained) == 43
    assert {example_id(e) for e in everything if e.text in told} == explained
    assert share_right(program, TEST) >= GOOD


def test_a_valset_alone_is_halved():
    program = compiled(*engines(), sets={"trainset": TRAIN, "valset": VAL}, config=SMALL)

    assert program.pld_result.split_sizes == {"train": 24, "val": 12, "select": 12, "test": 0}


@pytest.mark.parametrize(
    "sets",
    [
        {**SETS, "trainset": [*TRAIN, *TRAIN[:5]]},
        {"trainset": [*TRAIN, *VAL, *SELECT, *TRAIN[:5]]},
        {"trainset": TRAIN, "valset": [*VAL, *VAL[:5]]},
    ],
)
def test_repeated_examples_are_used_once(sets):
    student, teacher = engines()
    program = compiled(student, teacher, sets=sets, config=SMALL)
    traces = program.pld_result.predictors[0].traces

    assert len({t.example_id for t in traces}) == len(traces)
    assert sum(program.pld_result.split_sizes.values()) in {72, 48}


def test_an_example_in_two_sets_is_a_leak():
    refused(LeakageError, "is in train and in val", valset=[*VAL, TRAIN[3]])
    refused(LeakageError, "is in val and in select", selectset=[*SELECT, VAL[0]])


def refused(error, match, program=None, *, optimizer=None, lm=True, **sets):
    """Assert that a compile is refused in one line before any call is made."""
    student, teacher = engines()
    chosen = {"config": SMALL, **(optimizer or {})}
    with (
        dspy.context(lm=fake_lm(student) if lm else None),
        pytest.raises(error, match=match) as caught,
    ):
        pld(teacher, **chosen).compile(program or DirectStudent(Colour), **{**SETS, **sets})

    assert student.calls == teacher.calls == 0
    assert "\n" not in str(caught.value)


def labelled(label, text="some words"):
    return dspy.Example(text=text, label=label).with_inputs("text")


@pytest.mark.parametrize(
    ("error", "match", "sets"),
    [
        (DataError, "trainset is empty", {"trainset": []}),
        (DataError, "valset is empty", {"valset": []}),
        (DataError, "selectset is empty", {"selectset": []}),
        (DataError, "selectset is empty", {"valset": None, "selectset": []}),
        (DataError, "every training example has label = 'red'", {"trainset": [labelled("red")]}),
        (DataError, "label = 'gren', which.*'green'", {"trainset": [*TRAIN, labelled("gren")]}),
        (DataError, "label = 'rot', which", {"valset": [*VAL, labelled("rot")]}),
        (DataError, "label = 'rot', which", {"selectset": [labelled("rot")]}),
        (
            DataError,
            "has no label 'label'",
            {"selectset": [dspy.Example(text="t").with_inputs("text")]},
        ),
        (DataError, "with_inputs", {"trainset": [*TRAIN, dspy.Example(text="t", label="red")]}),
        (
            DataError,
            "leave none",
            {"trainset": [labelled("red"), labelled("blue", "t")], "valset": None},
        ),
        (
            ConfigError,
            r"no predictor of \['predict'\] has an output among \['label'\]",
            {"trainset": [dspy.Example(text="t", colour="red").with_inputs("text")]},
        ),
        (ConfigError, "no argument 'max_demos'", {"max_demos": 3}),
    ],
)
def test_unusable_arguments_cost_nothing(error, match, sets):
    refused(error, match, **sets)


def test_unusable_settings_cost_nothing():
    refused(ConfigError, "the student has no LM; call dspy.configure", lm=False)
    named = {"optimizer": {"predictors": ["predic"]}}
    refused(ConfigError, "no predictor 'predic'; did you mean 'predict'", **named)
    both = {"optimizer": {"predictors": ["first", "second"]}}
    refused(ConfigError, r"no predictor of \['first'\] has", Chain(), **both)
    with pytest.raises(ConfigError, match="unknown embedder 'tfdif'"):
        pld(FakeEngine(teach), embedder="tfdif")
    with pytest.raises(ConfigError, match="extra"):
        PLDConfig(extra=1)


def test_a_predictor_without_an_lm_beside_one_that_has_its_own_is_named():
    given = Chain()
    given.first.lm = fake_lm(Student())
    refused(ConfigError, "predictor 'second' has no LM", given, lm=False)


def test_garbage_for_a_third_of_the_examples_is_counted_and_gone_past():
    broken = {e.text for e in TRAIN[::3]}

    def answer(prompt):
        about = prompt.user.partition("\nExample: Text: ")[2].partition("\n")[0]
        return "}{ the weather is fine" if about in broken else teach(prompt)

    student, teacher = Student(), FakeEngine(answer)
    program = compiled(student, teacher, config=SMALL)
    result = program.pld_result

    assert result.dropped["teacher answers that could not be read"] == len(broken) == 8
    assert len(result.predictors[0].traces) == 16
    assert result.usage["teacher"].calls == teacher.calls  # second attempts included
    assert share_right(program, TEST) >= GOOD


def test_nothing_but_garbage_is_an_error():
    with pytest.raises(NoTracesError, match="no usable trace for 24 requests"):
        compiled(Student(), FakeEngine(lambda prompt: "}{"), config=SMALL)


def test_a_broken_embedder_loses_no_trace(tmp_path):
    teacher = FakeEngine(teach)
    with pytest.raises(DataError, match="NaN or infinity in 24 of 24 rows"):
        compiled(
            Student(),
            teacher,
            config=SMALL,
            run_dir=tmp_path,
            embedder=lambda texts: np.full((len(texts), 3), np.nan),
        )
    assert teacher.calls == len(TRAIN)
    traces = len((tmp_path / "traces.jsonl").read_text().splitlines())
    again = FakeEngine(teach)
    program = compiled(Student(), again, config=SMALL, run_dir=tmp_path)

    assert traces == len(TRAIN)
    assert not any("\nRationale: <" in prompt.user for prompt in again.prompts)
    assert program.pld_result.usage["teacher"].calls == teacher.calls + again.calls


def test_an_unreachable_teacher_keeps_what_was_answered(tmp_path):
    class Failing(FakeEngine):
        def answer(self, prompt, call):
            if call == 10:
                raise dspy.lm15.TransportError("connection reset")
            return super().answer(prompt, call)

    teacher = Failing(teach)
    with pytest.raises(ModelError, match="answers so far are kept"):
        compiled(Student(), teacher, config=SMALL, run_dir=tmp_path)
    kept = len((tmp_path / "traces.jsonl").read_text().splitlines())
    assert kept == teacher.calls - 1 >= 9
    again = FakeEngine(teach)
    program = compiled(Student(), again, config=SMALL, run_dir=tmp_path)

    explained = sum("\nRationale: <" in prompt.user for prompt in again.prompts)
    assert explained == len(TRAIN) - kept
    assert program.pld_result.usage["teacher"].calls == again.calls + kept


def recorded(examples):
    return [
        make_trace(example_id(e), e.label, "w", teach_rule(e.text), source="recorded")
        for e in examples
    ]


def teach_rule(text):
    word = next((w for w in TASK.words if w in text.split()), "nothing")
    return keyword_rule(word, right_answer(text))


def test_recorded_traces_spare_the_teacher_and_those_of_other_examples_are_left_out():
    student, teacher = engines()
    config = SMALL.model_copy(
        update={
            "rules": RuleConfig(method="medoid"),
            "verify": VerifyConfig(enabled=False),
            "refine": RefineConfig(rounds=0),
        }
    )
    program = compiled(student, teacher, config=config, traces=recorded([*TRAIN, *VAL]))
    result = program.pld_result

    assert teacher.calls == 0
    assert "teacher" not in result.usage
    assert {t.example_id for t in result.predictors[0].traces} == TRAIN_IDS
    assert result.dropped["recorded traces of examples that are not in train"] == len(VAL)
    assert share_right(program, TEST) >= GOOD


@pytest.mark.parametrize("given", [[], recorded(VAL)])
def test_recorded_traces_of_no_training_example_are_refused(given):
    refused(NoTracesError, f"none of the {len(given)} traces", optimizer={"traces": given})


def test_recorded_traces_can_come_from_a_file(tmp_path):
    lines = [{"id": example_id(e), "rule": teach_rule(e.text)} for e in TRAIN]
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    student, teacher = engines()
    program = compiled(student, teacher, config=SMALL, traces=str(path))

    assert not any("\nRationale: <" in prompt.user for prompt in teacher.prompts)
    assert share_right(program, TEST) >= GOOD


def test_at_most_as_many_examples_are_explained_as_allowed():
    student, teacher = engines()
    config = SMALL.model_copy(update={"explain": 9})
    traces = compiled(student, teacher, config=config).pld_result.predictors[0].traces

    assert len(traces) == 9
    # 9 of 4 labels in turn, and no label has fewer than two examples.
    assert sorted(sum(t.label == label for t in traces) for label in TASK.labels) == [2, 2, 2, 3]


def test_without_a_teacher_the_student_teaches_itself_and_the_teachers_program_lends_its_lm():
    class Both(Student):
        def answer(self, prompt, call):
            asked = "\nRule: <" in prompt.user or "\nEdits: <" in prompt.user
            return teach(prompt) if asked else super().answer(prompt, call)

    both = Both()
    optimizer = pld(FakeEngine(teach), config=SMALL)
    optimizer.teacher_lm = None
    with dspy.context(lm=fake_lm(both)):
        alone = optimizer.compile(DirectStudent(Colour), **SETS)
    student, teacher = engines()
    mentor = dspy.Predict("question -> answer")
    mentor.lm = fake_lm(teacher)
    with dspy.context(lm=fake_lm(student)):
        taught = optimizer.compile(DirectStudent(Colour), teacher=mentor, **SETS)

    usage = alone.pld_result.usage
    assert both.calls == usage["teacher"].calls + usage["student"].calls
    assert taught.pld_result.usage["teacher"].calls == teacher.calls > 0
    assert taught.pld_result.rules == alone.pld_result.rules


def test_the_tracker_hears_of_every_candidate_and_of_the_end():
    class Listener:
        def __init__(self):
            self.heard = []

        def __getattr__(self, name):
            return lambda *args, **kwargs: self.heard.append((name, args, kwargs))

    listener = Listener()
    found = compiled(*engines(), config=SMALL, tracker=listener).pld_result.predictors[0]
    names = [name for name, _, _ in listener.heard]
    scored = [(a[0].id, a[1].split) for name, a, _ in listener.heard if name == "candidate"]

    assert (names[0], names[-1]) == ("start", "finish")
    assert scored == [(e.candidate_id, e.split) for e in found.evaluations]
    assert ("prompt", ("predict", found.chosen.prompt)) in [(n, a) for n, a, _ in listener.heard]
    assert listener.heard[-1][1] == ("FINISHED",)

    broken = Listener()
    with pytest.raises(NoTracesError):
        compiled(Student(), FakeEngine(lambda prompt: "}{"), config=SMALL, tracker=broken)
    assert broken.heard[-1][:2] == ("finish", ("FAILED",))


@pytest.mark.slow
def test_progress_counts_up_to_the_number_of_calls():
    heard = []
    student, teacher = engines()
    config = SMALL.model_copy(update={"threads": 3, "teacher_threads": 3})
    compiled(student, teacher, config=config, progress=heard.append)

    assert len(heard) == student.calls + teacher.calls
    assert all(1 <= event.done <= event.total for event in heard)
    by_role = {role: {e.stage for e in heard if e.role == role} for role in ("teacher", "student")}
    assert by_role["teacher"] == {"traces", "rules", "judgements", "refine"}
    assert by_role["student"] == {"train", "val", "search", "select", "left out"}


def test_threads_do_not_change_the_result():
    one = compiled(*engines(), config=SMALL)
    many = compiled(
        *engines(), config=SMALL.model_copy(update={"threads": 4, "teacher_threads": 4})
    )

    assert many.pld_result.predictors == one.pld_result.predictors


def test_the_result_can_be_given_to_another_optimizer_and_saved(tmp_path):
    student, teacher = engines()
    program = compiled(student, teacher, config=SMALL)
    with dspy.context(lm=fake_lm(Student())):
        composed = dspy.BootstrapFewShot(metric=exact, max_bootstrapped_demos=2).compile(
            program, trainset=TRAIN[:6]
        )
    program.save(str(tmp_path / "program.json"))
    loaded = DirectStudent(Colour)
    loaded.load(str(tmp_path / "program.json"))

    assert len(composed.predict.demos) > 0
    assert composed.predict.signature.instructions == program.predict.signature.instructions
    assert program.predict.demos == []
    assert loaded.predict.signature.instructions == program.predict.signature.instructions
    assert share_right(loaded, TEST) == share_right(composed, TEST) >= GOOD

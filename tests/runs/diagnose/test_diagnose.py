"""Checkups of students and teachers whose answers are known."""

import json
import math
import re
from dataclasses import asdict, replace

import pytest
from dspy.lm15 import ContextLengthError, TokenLogprob, TopLogprob, TransportError

from fakes import FakeEngine, follow, keyword_rule, mentions
from goldens import golden
from pld_dspy.config.run import RunConfig, read_config
from pld_dspy.data.examples import example_id
from pld_dspy.errors import ConfigError, DataError, ModelError, PLDError, StorageError
from pld_dspy.runs.diagnose.advice import advise
from pld_dspy.runs.diagnose.plan import plan_diagnose
from pld_dspy.runs.diagnose.run import run_diagnose
from pld_dspy.runs.setup import load
from queues import KINDS, Speaker, Teacher, asks_for_a_title, example
from small_runs import TASK, Models, write_config

RULES = "\n".join(TASK.rules)


def gold(text):
    return follow(RULES, text, TASK.default)


def asked_text(prompt):
    found = re.findall(r"^(?:Example: )?Text: (.*)$", prompt.user, re.MULTILINE)
    return found[-1] if found else ""  # the check that the model answers


class Knowing(FakeEngine):
    """A student of known label probabilities; it says the largest one."""

    def __init__(self, probabilities, *, tells=True):
        super().__init__(lambda prompt: max((p := probabilities(prompt)), key=p.get))
        self.probabilities = probabilities
        self.tells = tells

    def complete(self, request):
        response = super().complete(request)
        if request.config.logprobs is None or not self.tells:
            return response
        with self._lock:
            found = self.probabilities(self.prompts[-1])
        said = response.message.parts[0].text
        top = tuple(TopLogprob(label, math.log(p)) for label, p in found.items())
        return replace(response, logprobs=(TokenLogprob(said, math.log(found[said]), top=top),))


def towards(label, share=0.85):
    """Probabilities with this share for the label."""
    rest = (1 - share) / (len(TASK.labels) - 1)
    return {name: share if name == label else rest for name in TASK.labels}


def perfect(prompt):
    return towards(gold(asked_text(prompt)))


def biased(prompt):
    """Knows the answer, and says grey all the same."""
    found = towards(gold(asked_text(prompt)), 0.4)
    return {label: p * (20 if label == "grey" else 1) / 10 for label, p in found.items()}


def ignorant(prompt):
    return towards("grey")


def in_a_sentence(prompt):
    return perfect(prompt) if "Answer with one of" in prompt.user else ignorant(prompt)


def copying(prompt):
    """Answers as a worked example with the same word was answered, and knows nothing else."""
    turns = str(prompt).removesuffix(prompt.user)
    shown = re.findall(r"^Text: (.*)\n\n.*\n(\w+)$", turns, re.MULTILINE)
    text = asked_text(prompt)
    for word in TASK.words:
        if mentions(text, word):
            labels = [label for other, label in shown if mentions(other, word)]
            return towards(max(set(labels), key=labels.count) if labels else "grey")
    return towards("grey")


def obedient(prompt):
    """Follows keyword rules, and knows nothing else."""
    return towards(follow(prompt.system, asked_text(prompt), "grey"))


class Teaching(FakeEngine):
    """A teacher of known answers, who writes the rule of each label if asked for rules."""

    def __init__(self, answer, rules=()):
        def reply(prompt):
            if "\nNotes: " in prompt.user:
                return "Rules: " + "\n".join(rules)
            return f"Rationale: so.\nAnswer: {answer(prompt)}"

        super().__init__(reply)


def wise(prompt):
    return gold(asked_text(prompt))


def wise_by_examples(prompt):
    return wise(prompt) if "Solved examples:" in prompt.user else "grey"


def dull(prompt):
    return "grey"


GOOD_RULES = [keyword_rule(w, label) for w, label in TASK.words.items() if w != "delta"]
USELESS = [keyword_rule("window", "red"), keyword_rule("paper", "green")]


@pytest.fixture
def config(tmp_path):
    return read_config(write_config(tmp_path), ["student.wording=field"])


@pytest.fixture
def diagnose(config, monkeypatch):
    def run(student, teacher=dull, rules=USELESS, /, *, tells=True, examples=24, **changes):
        student = student if isinstance(student, FakeEngine) else Knowing(student, tells=tells)
        teacher = teacher if isinstance(teacher, FakeEngine) else Teaching(teacher, rules)
        Models(monkeypatch, student=student, teacher=teacher)
        return run_diagnose(config.model_copy(update=changes), examples=examples)

    return run


@pytest.mark.parametrize(
    ("student", "teacher", "rules", "step"),
    [
        (perfect, wise, USELESS, "nothing"),
        (biased, wise, USELESS, "calibration"),
        (in_a_sentence, wise, USELESS, "wording"),
        (copying, wise_by_examples, USELESS, "examples"),
        (obedient, wise_by_examples, GOOD_RULES, "rules"),
        (obedient, wise_by_examples, USELESS, "rules"),
        (obedient, wise_by_examples, (), "rules"),
        (ignorant, wise, USELESS, "stronger student"),
        (ignorant, dull, USELESS, "stronger teacher"),
    ],
)
def test_what_is_wrong_with_the_student_is_found(diagnose, student, teacher, rules, step):
    checkup = diagnose(student, teacher, rules)

    assert advise(checkup).step == step


def test_the_figures_of_a_biased_student_are_the_known_ones(diagnose):
    checkup = diagnose(biased, wise)
    given, greys = checkup.given, checkup.gold["grey"]

    assert given.shares == {"grey": 1.0}
    assert given.bias == pytest.approx(1 - greys)
    assert checkup.favourite(given) == ("grey", pytest.approx(1 - greys))
    assert given.separability == 1.0
    assert given.calibrated.estimate > 0.95 > given.score.estimate == given.probable
    assert [a.name for a in checkup.asked] == ["field", "sentence"]
    assert checkup.ceiling.score.estimate == 1.0
    assert checkup.headroom.delta.estimate == pytest.approx(1 - checkup.best_asked.best)
    assert sum(checkup.gold.values()) == pytest.approx(1)


def test_an_ignorant_student_has_nothing_to_tell(diagnose):
    checkup = diagnose(ignorant)

    assert {asked.separability for asked in checkup.asked} == {0.5}
    assert all(not rung.change.delta.estimate > 0 for rung in checkup.rungs)


def test_without_log_probabilities_calibration_is_left_out_and_the_note_says_so(diagnose):
    checkup = diagnose(biased, wise, tells=False)

    assert {(a.probable, a.calibrated, a.separability) for a in checkup.asked} == {
        (None, None, None)
    }
    assert "calibration" not in {rung.step for rung in checkup.rungs}
    assert "fake/student gives no log-probabilities" in " ".join(checkup.notes)
    assert advise(checkup).step == "rules"  # bias and lack of knowledge look alike from outside


def test_unreadable_answers_are_counted_and_are_wrong(diagnose):
    calls = []

    class Chatty(Knowing):
        def answer(self, prompt, call):
            calls.append(prompt)
            return "a lovely day" if len(calls) % 4 == 0 else super().answer(prompt, call)

    checkup = diagnose(Chatty(perfect, tells=False), wise)
    assert checkup.given.unreadable == pytest.approx(0.25, abs=0.03)
    assert checkup.given.score.estimate < 0.9
    assert checkup.given.failures == 0


def test_one_unreadable_wording_does_not_end_it(diagnose):
    class OnlySentences(Knowing):
        def answer(self, prompt, call):
            said = super().answer(prompt, call)
            return "hm" if "(answer with one of" in prompt.user and call > 1 else said

    checkup = diagnose(OnlySentences(perfect, tells=False), wise)
    assert checkup.given.unreadable == 1.0
    assert checkup.given.bias is None
    assert "names a label" in checkup.notes[0]
    assert advise(checkup).step == "wording"


def test_a_student_that_is_never_readable_is_an_error_in_one_line(diagnose):
    engine = FakeEngine(lambda prompt: "hm")
    with pytest.raises(PLDError, match=r"names a label .* ask in the instructions") as caught:
        diagnose(engine)
    assert "\n" not in str(caught.value)


def test_test_and_selection_examples_are_not_looked_at(diagnose, config):
    student, teacher = Knowing(perfect), Teaching(wise_by_examples, GOOD_RULES)
    diagnose(student, teacher)
    splits = load(config).splits
    seen = "\n".join([*student.prompts, *teacher.prompts])

    assert not any(e.text in seen for e in (*splits.test, *splits.select))
    assert sum(e.text in seen for e in (*splits.train, *splits.val)) > 24


def test_no_example_is_shown_with_its_own_label(diagnose):
    student, teacher = Knowing(ignorant), Teaching(dull, GOOD_RULES)
    diagnose(student, teacher)

    for prompt in student.prompts:
        texts = re.findall(r"^Text: (.*)$", prompt, re.MULTILINE)
        assert len(texts) == len(set(texts))
    solved = [p for p in teacher.prompts if "Solved examples:" in p]
    assert len(solved) == 24
    for prompt in solved:
        texts = re.findall(r"Text: (.*)$", prompt, re.MULTILINE)
        assert len(texts) == len(set(texts)) > 10


def test_a_teacher_that_is_ahead_without_examples_is_not_asked_again(diagnose):
    teacher = Teaching(wise)
    checkup = diagnose(ignorant, teacher)

    assert [a.name for a in checkup.taught] == ["chain of thought"]
    assert not any("Solved examples:" in prompt for prompt in teacher.prompts)


def test_a_second_checkup_asks_nothing_and_says_the_same(diagnose, config):
    first = diagnose(biased, wise)
    student, teacher = Knowing(biased), Teaching(wise)
    again = diagnose(student, teacher)

    assert (student.calls, teacher.calls) == (1, 1)  # each model proves that it answers
    assert again == first
    stored = json.loads((config.run_dir / "diagnose" / "checkup.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(asdict(first)))


def test_a_stopped_checkup_pays_for_the_rest_only(diagnose):
    class Failing(Teaching):
        def answer(self, prompt, call):
            if call > 10:
                raise TransportError("gone")
            return super().answer(prompt, call)

    with pytest.raises(ModelError, match="run again to resume"):
        diagnose(biased, Failing(wise))
    student, teacher = Knowing(biased), Teaching(wise)
    checkup = diagnose(student, teacher)
    assert student.calls == 1
    paid = checkup.usage["teacher"].calls
    assert paid > 50
    assert teacher.calls == 1 + paid - 9  # the check that it answers came first, both times
    assert checkup.ceiling.score.estimate == 1.0


def test_a_teacher_whose_requests_are_refused_is_unknown_and_not_bad(diagnose):
    class Short(Teaching):
        def answer(self, prompt, call):
            if "Solved" in prompt or call > 1:
                raise ContextLengthError("maximum context length is 20 tokens")
            return super().answer(prompt, call)

    checkup = diagnose(ignorant, Short(wise))
    assert (checkup.taught, checkup.ceiling, checkup.headroom) == ((), None, None)
    assert any("teacher: 24 of 24 requests failed" in note for note in checkup.notes)
    assert "gave no usable answers" in advise(checkup).line


def test_worked_examples_that_do_not_fit_are_left_out(diagnose):
    class Short(Knowing):
        def answer(self, prompt, call):
            if len(prompt) > 500:
                raise ContextLengthError("maximum context length is 20 tokens")
            return super().answer(prompt, call)

    checkup = diagnose(Short(biased), wise)
    assert "examples" not in {rung.step for rung in checkup.rungs}
    assert any(note.startswith("worked examples: ") for note in checkup.notes)
    assert advise(checkup).step == "calibration"


@pytest.mark.parametrize(
    ("marker", "name"),
    [("\nRationale: <", "teacher_answer.txt"), ("Solved examples:", "teacher_answer_like.txt")],
)
def test_the_prompts_are_pinned(diagnose, marker, name):
    teacher = Teaching(dull)
    diagnose(ignorant, teacher, examples=16)
    prompt = next(p for p in teacher.prompts if marker in p.user)
    shown = f"=== system\n{prompt.system}\n=== user\n{prompt.user}\n"

    assert shown == golden(name, shown)
    assert "Correct answer" not in shown


@pytest.mark.parametrize(
    ("examples", "error", "match"),
    [
        (15, ConfigError, "examples is 15; give at least 16"),
        (0, ConfigError, "examples is 0; give at least 16"),
    ],
)
def test_too_few_examples_are_refused_before_a_call(diagnose, examples, error, match):
    student = Knowing(perfect)
    with pytest.raises(error, match=match):
        diagnose(student, examples=examples)
    assert student.calls == 0


def test_too_small_splits_are_refused_before_a_call(diagnose, config):
    student = Knowing(perfect)
    small = config.split.model_copy(update={"train": 8, "val": 7})
    with pytest.raises(DataError, match=r"train and val have 15 examples, at least 16"):
        diagnose(student, split=small)
    assert student.calls == 0


def test_fewer_examples_than_wanted_are_all_taken(diagnose):
    assert diagnose(perfect, examples=500).examples == 40


def test_a_folder_in_use_is_refused(diagnose, config):
    from filelock import FileLock

    folder = config.run_dir / "diagnose"
    folder.mkdir(parents=True)
    with (
        FileLock(folder / "diagnose.lock"),
        pytest.raises(StorageError, match="another process works in"),
    ):
        diagnose(perfect)


class Namer(Teacher):
    """Gives titles, and thinks no better than a guess."""

    def said(self, prompt):
        return super().said(prompt) if asks_for_a_title(prompt) else "Rationale: so.\nAnswer: q1"


@pytest.mark.parametrize("names", [None, dict.fromkeys(KINDS, "thing")])
def test_words_tell_what_names_that_say_nothing_hide(tmp_path, monkeypatch, names):
    path = tmp_path / "table.csv"
    rows = [example(number) for number in range(120)]
    path.write_text("\n".join(["text,label", *(f"{e.text},{e.label}" for e in rows)]), "utf-8")
    config = RunConfig(
        run_dir=tmp_path / "run",
        student={"model": "fake/student"},
        teacher={"model": "fake/teacher"},
        split={"train": 36, "val": 24, "select": 12, "test": 12},
        task={"table": {"path": str(path), "inputs": ["text"], "label": "label"}},
    )
    student, teacher = Speaker(), Namer(names)
    Models(monkeypatch, student=student, teacher=teacher)
    checkup = run_diagnose(config)
    advice = advise(checkup)

    assert checkup.given.best < 0.6
    shown = {asked.name: asked for asked in checkup.shown}
    if names is not None:  # a title that fits every label tells none
        assert shown["sentence, words for labels"].best < 0.6
        assert advice.step != "rules"
        return
    assert shown["sentence, words for labels"].score.estimate == 1.0
    assert shown["sentence, words for labels"].separability == 1.0
    assert advice.step == "rules"
    assert "words for labels scores 1.000" in advice.line
    assert planned_calls(config, "student") >= student.calls - 1
    assert planned_calls(config, "teacher") >= teacher.calls - 1


def planned_calls(config, role):
    return plan_diagnose(config).calls(role)


def test_the_plan_bounds_the_calls(config, diagnose):
    planned = plan_diagnose(config, examples=24)
    student, teacher = Knowing(ignorant), Teaching(dull, GOOD_RULES)
    diagnose(student, teacher)

    # No word can be read from this teacher's titles, so none is shown to the student.
    assert planned.calls("student") - 3 * 24 == student.calls - 1 == 96
    titles = sum(asks_for_a_title(prompt) for prompt in teacher.prompts)
    assert teacher.calls - 1 == 50 + titles
    # Two titles for each label in each half; few examples make some requests the same.
    assert 0 < titles <= planned.calls("teacher") - 50 == 2 * 2 * len(TASK.labels)
    assert all(tokens > 0 for stage in planned.stages for tokens in (stage.input_tokens,))


def test_the_configured_wording_is_the_student_as_given(diagnose, config):
    given = config.student.model_copy(update={"wording": "sentence"})
    checkup = diagnose(in_a_sentence, wise, student=given)

    assert checkup.given.name == "sentence"
    assert advise(checkup).step == "nothing"


def test_ids_of_the_sample_do_not_depend_on_the_models(diagnose, config):
    from pld_dspy.runs.diagnose.run import choose

    one, other = (choose(config, load(config), 20) for _ in range(2))
    assert [example_id(e) for e in one] == [example_id(e) for e in other]
    moved = config.model_copy(update={"seed": 5})
    pool = load(config)
    assert {example_id(e) for e in choose(moved, pool, 20)} != {example_id(e) for e in one}

"""Rows that a critic asks for: no model, the student asked best, nearest examples."""

from collections import Counter, defaultdict

import dspy
import pytest

from biased_keywords import BiasedStudent
from compare_runs import World, splits_of, with_topics
from experiments.optimizers.nearest import TfidfVectors
from pld_dspy.scoring.metrics import macro_f1
from pld_dspy.scoring.references import bag_of_words as fitted
from pld_dspy.scoring.references import texts

WITHOUT = ("majority", "topic-majority", "bag-of-words")


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def test_the_majority_is_that_of_all_labelled_examples(world):
    line = world.run("majority")
    splits = splits_of(world, "majority")
    counts = Counter(e.label for e in [*splits.train, *splits.val, *splits.select])

    assert set(line.said) == {counts.most_common(1)[0][0]}
    assert line.score == pytest.approx(macro_f1(line.gold, line.said))
    assert (line.student_calls, line.teacher_calls, line.decision_calls) == (0, 0, None)
    assert line.prompt_tokens is None
    assert line.labelled == 48
    assert line.ci95[0] <= line.score <= line.ci95[1]


def test_the_majority_of_each_topic_and_of_all_where_the_topic_is_new(world):
    # In most texts the topic tells the label; those of few letters are alone in theirs.
    with_topics(world, lambda text, label: label[:2] if len(text) % 5 else text)
    world.set_task(topic="topic")
    line = world.run("topic-majority")
    splits = splits_of(world, "topic-majority")
    pool = [*splits.train, *splits.val, *splits.select]
    by_topic = defaultdict(list)
    for example in pool:
        by_topic[example.topic].append(example.label)
    all_labels = ("blue", "green", "grey", "red")
    overall = Counter(e.label for e in pool)

    def naive(topic):
        counts = Counter(by_topic[topic]) if topic in by_topic else overall
        return max(all_labels, key=lambda label: counts[label])

    assert {e.topic in by_topic for e in splits.test} == {True, False}
    assert line.said == tuple(naive(e.topic) for e in splits.test)
    assert f"{len(by_topic)} topics (topic) in 48 labelled examples" in line.note


def test_a_topic_that_is_not_there_is_told_before_anything_is_asked(world):
    named = world.run("topic-majority")
    assert named.error.startswith("topic-majority needs a topic, and ")
    world.set_task(topic="txet")
    wrong = world.run("majority")
    assert "the topic 'txet' is no input of" in wrong.error
    assert "did you mean 'text'?" in wrong.error
    calls = world.student.calls
    assert world.run("zero-shot").error == wrong.error
    assert world.student.calls == calls


def test_the_bag_of_words_is_fitted_to_the_very_same_labelled_examples(world):
    line = world.run("bag-of-words")
    splits = splits_of(world, "bag-of-words")
    model = fitted([*splits.train, *splits.val, *splits.select], ["text"], "label")

    assert line.said == tuple(model.predict(texts(splits.test, ["text"])))
    assert line.score > 0.5 > line.baseline_score
    assert line.labelled == 48


@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_model_nothing_is_asked_but_the_student_as_given(world, name):
    world.set_task(topic="text")
    line = world.run(name)
    texts_of_test = [e.text for e in splits_of(world, name).test]

    assert line.status == "done", line.error
    assert world.searching(world.student, texts_of_test) == []
    assert line.decided_score is None
    assert line.separability is None


def by_wording(good):
    """How well a student knows the task in the wording of the prompt."""
    marks = {"sentence": "\nAnswer with one of: ", "field": "(answer with one of: "}
    return lambda prompt: 2.0 if marks[good] in prompt.user else 0.0


@pytest.mark.parametrize("good", ["field", "sentence"])
def test_asked_best_takes_the_wording_that_is_best_on_validation(tmp_path, monkeypatch, good):
    world = World(tmp_path, monkeypatch, student=BiasedStudent(knows=by_wording(good)))
    line = world.run("asked-best")

    assert line.note.startswith(f"asked as '{good}, names'")
    assert line.score == line.val_score == 1.0
    assert line.greedy_score == line.baseline_score < 0.5
    assert line.student_calls >= 2 * 24
    assert (line.labelled, line.decision_calls) == (48, 24)
    assert line.program.instructions == "Give the label from the text."


def test_asked_best_is_greedy_where_there_are_no_log_probabilities(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, student=BiasedStudent(tells=False))
    line = world.run("asked-best")

    assert line.status == "done", line.error
    assert "decision: greedy" in line.note
    assert line.said == line.baseline_said
    assert line.decided_score is None


def test_a_wording_that_cannot_be_read_is_out(tmp_path, monkeypatch):
    student = BiasedStudent(bias=lambda prompt: 0.0, tells=False)
    known = student._answer

    def mute(prompt):
        return "well, well" if "\nAnswer with one of: " in prompt.user else known(prompt)

    student._answer = mute
    world = World(tmp_path, monkeypatch, student=student)
    line = world.run("asked-best")

    assert line.note.startswith(
        "asked as 'field, names' (field, names 1.000, sentence, names unreadable, question"
    )
    assert line.score == 1.0


def test_knn_shows_the_nearest_training_examples_and_asks_once(world):
    line = world.run("knn")
    splits = splits_of(world, "knn")
    shown = [prompt for prompt in world.student.prompts if prompt.count("Text: ") > 1]
    train = {e.text for e in splits.train}
    vectors = TfidfVectors([e.text for e in splits.train])
    known = vectors([f"text: {e.text}" for e in splits.train])

    assert line.status == "done", line.error
    assert "the 16 nearest of 24 training examples" in line.note
    assert (line.student_calls, line.labelled) == (0, 24)
    assert len(shown) == len(splits.test)
    for prompt, example in zip(shown, splits.test, strict=True):
        asked = prompt.user.partition("Text: ")[2].partition("\n")[0]
        demos = {text for text in train if f"Text: {text}\n" in prompt}
        assert asked == example.text
        likeness = known @ vectors([f"text: {example.text}"])[0]
        told = [e.text in demos for e in splits.train]
        assert sum(told) == 16
        assert min(likeness[told]) >= max(likeness[[not t for t in told]])


def test_knn_shows_fewer_where_the_context_is_small(world):
    world.set_task(context_tokens=512)
    line = world.run("knn")

    assert line.status == "done", line.error
    assert "the 8 nearest of 24" in line.note or "the 4 nearest of 24" in line.note


def test_the_decision_layer_reaches_knn_too(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, student=BiasedStudent())
    line = world.run("knn")

    assert line.score < 0.5
    assert line.decided_score == 1.0
    assert line.decision_calls == 24


def test_the_answers_of_a_program_without_a_model_are_those_of_its_function():
    from experiments.optimizers.without_model import WithoutModel

    program = WithoutModel("label", lambda inputs: inputs["text"][:1])

    assert program(text="red").label == "r"
    assert program.predictors() == []
    assert isinstance(program.deepcopy(), dspy.Module)

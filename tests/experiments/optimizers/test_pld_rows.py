"""PLD's rows: rules by the topic of the task, from the guidelines beside recorded traces, asked in its words."""

import json

import dspy
import pytest

from compare_runs import Cell, World, splits_of, with_topics
from experiments.bench.archive import State
from experiments.bench.cells import OWN
from experiments.bench.run_cell import run_cell
from fakes import FakeEngine
from keyword_runs import right_answer
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import TopicPrompts

SIGNATURE = dspy.Signature("text, topic -> label: Literal['red', 'grey']", "Judge.")
GUIDE = "If the text mentions 'zulu', answer red."


def first_letter(text, label):
    return "left" if text < "m" else "right"


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch)
    with_topics(world, first_letter)
    return world


def traces_of(world):
    """Write a trace for each training example."""
    path = world.folder / "traces.jsonl"
    lines = [
        {
            "id": example.pld_id,
            "rule": f"If the text is like '{example.text}', answer {example.label}.",
            "label": example.label,
        }
        for example in splits_of(world, "pld-rules").train
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def run(world, traces):
    cell = Cell("keywords", "pld-rules", "small", "large", traces, "item", 0, OWN)
    return run_cell(cell, world.plan(), None)


def test_a_task_with_a_topic_gets_rules_by_it(world):
    plain = run(world, "teacher")
    world.set_task(topic="topic")
    line = run(world, "teacher")

    assert line.status == plain.status == "done", line.error
    assert plain.program.topics == {}
    assert {"left", "right"} >= set(line.program.topics)
    shown = [prompt for prompt in world.student.prompts if "Topic" in prompt.user]
    assert shown


def test_guides_are_candidates_beside_recorded_traces_alone(world):
    guides = world.folder / "guides.json"
    guides.write_text(json.dumps({"general": [GUIDE]}), "utf-8")
    recorded = traces_of(world)
    world.set_task(recorded=recorded, guides=str(guides))

    own = run(world, "teacher")
    assert own.status == "done", own.error
    assert not any(GUIDE in prompt for prompt in world.student.prompts)
    line = run(world, "recorded")
    assert line.status == "done", line.error
    assert any(GUIDE in prompt for prompt in world.student.prompts)


def test_guides_that_are_not_there_are_told_before_anything_is_asked(world):
    world.set_task(recorded=traces_of(world), guides="nowhere.json")
    line = run(world, "recorded")
    assert line.status == "failed"
    assert "no guides file at" in line.error
    assert world.teacher.calls == world.student.calls == 0


WORDS = {"red": "warm", "green": "leafy", "blue": "cold", "grey": "dull"}


@pytest.mark.parametrize("can_say", [True, False])
def test_the_words_of_the_task_are_shown_where_the_student_validates_better_with_them(
    tmp_path, monkeypatch, can_say
):
    def say(prompt):
        text = prompt.user.rpartition("Text: ")[2].partition("\n")[0]
        worded = "leafy" in prompt.user
        return (WORDS[right_answer(text)] if can_say else "dull") if worded else "grey"

    world = World(tmp_path, monkeypatch, student=FakeEngine(say))
    path = tmp_path / "tasks" / "keywords.toml"
    shown = ", ".join(f'{label} = "{word}"' for label, word in WORDS.items())
    plain = path.read_text("utf-8")
    path.write_text(
        plain.replace('label = "label"\n', f'label = "label"\nlabel_words = {{ {shown} }}\n'),
        "utf-8",
    )
    line = run(world, "teacher")

    assert line.status == "done", line.error
    assert line.baseline_score < 0.2
    assert line.program.words == (WORDS if can_say else {})
    assert line.score == (1.0 if can_say else line.baseline_score)


def test_states_that_differ_in_a_topic_differ():
    def student(text):
        program = DirectStudent(SIGNATURE)
        program.topics = TopicPrompts(
            field="topic",
            general="Judge.",
            prompts={"left": text},
            general_rules=(),
            rules={"left": ()},
        )
        return program

    one, other = State.of(student("Judge: a.")), State.of(student("Judge: bc."))
    plain = State.of(DirectStudent(SIGNATURE))
    assert len({one.key, other.key, plain.key}) == 3
    assert other.length == one.length + 1
    assert other.put_into(DirectStudent(SIGNATURE)).topics.prompts["left"] == "Judge: bc."

"""Rules of all labels side by side: what is shown, what is read, and that such a list can win."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeEngine, fake_lm
from goldens import golden
from keyword_runs import TASK, compiled, engines, without_knowledge
from pld_dspy import PLDConfig
from pld_dspy.config.run import read_config
from pld_dspy.errors import ConfigError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import silent
from pld_dspy.runs.estimate import plan
from pld_dspy.stages.common.rule_text import contradicts, make_trace
from pld_dspy.stages.merge.side_by_side import MOST_LABELS, contrast
from small_runs import write_config

LABELS = ("red", "green", "blue")
GOOD = {
    "red": "If it is warm, answer red.",
    "green": "If it grows, answer green.",
    "blue": "If it is wet, answer blue.",
}


def trace(i, label, rule=None):
    return make_trace(f"e{i}", label, "why", rule or f"If it shows thing {i}, answer {label}.")


TRACES = [trace(i, LABELS[i % 3]) for i in range(30)]


def asked(answer, traces=TRACES, *, labels=LABELS, draws=1):
    engine = answer if isinstance(answer, FakeEngine) else FakeEngine(answer)
    teacher = Teacher(lm=fake_lm(engine), store=StageStore(), progress=silent)
    return contrast(traces, teacher, task="Name the colour.", labels=labels, draws=draws), engine


def said(*lines):
    return "\n".join(["Rules:", *lines])


def notes_of(prompt):
    return re.findall(r"^- (.*)$", prompt.user, re.MULTILINE)


def texts(found):
    return [[rule.text for rule in rules] for rules in found.lists]


def test_the_prompt_is_pinned():
    _, engine = asked(lambda p: said(*GOOD.values()), TRACES[:7])
    (prompt,) = engine.prompts
    shown = f"=== system\n{prompt.system}\n=== user\n{prompt.user}\n"
    assert shown == golden("teacher_contrast.txt", shown)


def test_a_rule_a_label_with_the_traces_that_were_shown():
    found, engine = asked(lambda p: said(*reversed(GOOD.values())))
    assert texts(found) == [list(GOOD.values())]
    assert found.dropped == {}
    by_id = {t.id: t for t in TRACES}
    for rule, label in zip(found.lists[0], LABELS, strict=True):
        assert rule.labels == {label: 6}
        assert rule.origin == "synthesis"
        assert {by_id[i].rule for i in rule.trace_ids} <= set(notes_of(engine.prompts[0]))


def test_every_draw_sees_other_notes_until_all_were_shown():
    found, engine = asked(
        lambda p: said(
            *(f"{notes_of(p)[0].partition(',')[0]} and {rule[3:]}" for rule in GOOD.values())
        ),
        draws=2,
    )
    first, second = (notes_of(prompt) for prompt in engine.prompts)
    assert len(first) == len(second) == 18
    assert {t.rule for t in TRACES} == {*first, *second}
    assert len(found.lists) == 2


def test_the_same_list_twice_is_kept_once():
    found, engine = asked(lambda p: said(*GOOD.values()), draws=3)
    assert engine.calls == 3
    assert texts(found) == [list(GOOD.values())]


def test_the_same_note_is_shown_once_and_all_who_said_it_are_evidence():
    same = [trace(i, label, f"If so, answer {label}.") for i in range(5) for label in LABELS]
    found, engine = asked(lambda p: said(*GOOD.values()), same)
    assert len(notes_of(engine.prompts[0])) == 3
    assert [rule.support for rule in found.lists[0]] == [5, 5, 5]


@pytest.mark.parametrize(
    ("lines", "kept", "lost"),
    [
        (["1. If it is warm, answer red.", "- **If it grows, answer green**"], ["red", "green"], 1),
        (["If it is warm, answer red; otherwise answer blue.", GOOD["green"]], [], 2),
        ([GOOD["red"], "If it is dark, answer red.", GOOD["blue"]], ["red", "blue"], 1),
        ([GOOD["red"], "If it is loud, answer purple.", "Green things grow."], [], 2),
        (["I cannot."], [], 3),
    ],
)
def test_what_cannot_be_used_is_left_out_and_counted(lines, kept, lost):
    found, _ = asked(lambda p: said(*lines))
    assert [rule.main_label for rules in found.lists for rule in rules] == kept
    assert found.dropped == {"labels that a list of all labels left without a rule": lost}


def test_an_unreadable_answer_gives_no_list():
    found, engine = asked(lambda p: "}{")
    assert (found.lists, engine.calls) == ((), 1)
    assert found.dropped == {"labels that a list of all labels left without a rule": 3}


MANY = tuple(f"kind{n:02}" for n in range(MOST_LABELS + 1))


@pytest.mark.parametrize(
    ("labels", "draws"), [((), 1), (("red",), 1), (MANY, 1), (LABELS, 0)], ids=str
)
def test_nothing_is_asked_where_there_is_nothing_to_set_side_by_side(labels, draws):
    traces = [trace(i, label) for i, label in enumerate([*MANY, *LABELS])]
    found, engine = asked(lambda p: "", traces, labels=labels, draws=draws)
    assert (found.lists, found.dropped, engine.calls) == ((), {}, 0)


def test_a_label_without_traces_is_not_shown():
    found, engine = asked(lambda p: said(*GOOD.values()), [t for t in TRACES if t.label != "blue"])
    assert "Answer blue:" not in engine.prompts[0].user
    assert [rule.main_label for rule in found.lists[0]] == ["red", "green"]


@given(
    drawn=st.lists(st.sampled_from(LABELS), min_size=1, max_size=40),
    draws=st.integers(1, 3),
    lines=st.lists(
        st.sampled_from([*GOOD.values(), "If it is odd, answer red or blue.", "none"]), max_size=6
    ),
)
def test_every_rule_has_evidence_of_its_own_label(drawn, draws, lines):
    traces = [trace(i, label) for i, label in enumerate(drawn)]
    label_of = {t.id: t.label for t in traces}
    found, engine = asked(lambda p: said(*lines) if lines else "none", traces, draws=draws)
    assert engine.calls <= draws
    for rules in found.lists:
        assert len({rule.main_label for rule in rules}) == len(rules) >= 2
        for rule in rules:
            assert rule.labels == dict(Counter(label_of[i] for i in rule.trace_ids))
            assert not contradicts(rule.text, rule.main_label, LABELS)


def all_at_once(prompt):
    """A teacher that knows the task only when it sees all labels side by side."""
    if not prompt.user.rstrip().endswith("Rules:"):
        return without_knowledge(prompt)
    labels = sorted(set(TASK.words.values()))
    of_label = [[r for r in TASK.rules if r.endswith(f"answer {label}.")] for label in labels]
    return said(*(" ".join(rules) for rules in of_label))


def test_a_list_of_all_labels_competes_with_the_others():
    settings = {"search": {"trials": 2}, "refine": {"rounds": 0}, "verify": {"max_drafts": 0}}
    chosen = {}
    for draws in (0, 1):
        config = PLDConfig(rules={"contrast": draws}, **settings)
        program = compiled(*engines(teacher=FakeEngine(all_at_once)), config=config)
        chosen[draws] = program.pld_result.predictors[0]
    notes = [candidate.note for candidate in chosen[1].candidates]
    assert "all labels side by side, 1" in notes
    assert not any("side by side" in candidate.note for candidate in chosen[0].candidates)
    assert chosen[1].select_delta.estimate > chosen[0].select_delta.estimate + 0.2


def test_the_plan_counts_its_calls(tmp_path):
    path = write_config(tmp_path)
    before, after = (plan(read_config(path, [f"pld.rules.contrast={n}"])) for n in (0, 2))
    assert after.calls("teacher") == before.calls("teacher") + 2
    assert after.calls("student") == before.calls("student") + 2 * 16
    added = {stage.name for stage in after.stages} - {stage.name for stage in before.stages}
    assert added == {"all labels"}


@pytest.mark.parametrize("bad", [-1, 11, 1.5])
def test_a_wrong_number_is_refused(bad):
    with pytest.raises(ConfigError, match="contrast"):
        PLDConfig(rules={"contrast": bad})

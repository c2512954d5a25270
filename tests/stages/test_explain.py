"""Explanations from the teacher or from a file: what is kept, what is dropped, and why."""

import json
import types
from typing import Literal

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeEngine, FakeTeacher, Script, every, fake_lm, keyword_rule, keyword_task
from goldens import golden
from pld_dspy.data.examples import example_id, make_example
from pld_dspy.errors import DataError, ModelError, NoTracesError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import silent
from pld_dspy.stages.common.rule_text import contradicts, make_trace, names_no_label, tidy_rule
from pld_dspy.stages.explain import collect_traces, extract_traces, import_traces, trace_ids

TASK = keyword_task(12)
LABELS = TASK.labels


class Colour(dspy.Signature):
    """Name the colour.

    One word is enough.
    """

    text: str = dspy.InputField()
    label: Literal["red", "green", "blue", "grey"] = dspy.OutputField()


EXAMPLES = tuple(
    make_example(
        {"text": text},
        label,
        input_keys=["text"],
        label_key="label",
        source_id=f"row-{i}",
    )
    for i, (text, label) in enumerate(TASK.rows)
)


def extract(engine, store=None, *, threads=1, examples=EXAMPLES, **settings):
    teacher = Teacher(
        lm=fake_lm(engine), store=store or StageStore(), threads=threads, progress=silent
    )
    return extract_traces(
        teacher, examples, signature=Colour, label_key="label", labels=LABELS, **settings
    )


def gold_of(prompt):
    return prompt.user.split("Correct answer: ")[1].split("\n")[0]


def good(prompt):
    return f"Rationale: It says so.\nRule: {keyword_rule('a word', gold_of(prompt))}"


def test_the_prompt_is_pinned():
    engine = FakeEngine(good)
    extract(engine, examples=EXAMPLES[:1])
    (prompt,) = engine.prompts
    shown = f"=== system\n{prompt.system}\n=== user\n{prompt.user}\n"
    assert shown == golden("teacher_explain.txt", shown)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_trace_for_each_example_in_order(threads):
    found = extract(FakeEngine(good), threads=threads)
    assert [t.example_id for t in found.traces] == [example_id(e) for e in EXAMPLES]
    assert [t.label for t in found.traces] == [e.label for e in EXAMPLES]
    assert {(t.rationale, t.draw, t.source) for t in found.traces} == {
        ("It says so.", 0, "fake/lm")
    }
    assert [t.rule for t in found.traces] == [keyword_rule("a word", e.label) for e in EXAMPLES]
    assert len({t.id for t in found.traces}) == 12
    assert found.dropped == {}


def test_draws_are_asked_one_by_one_and_differ():
    counter = iter(range(100))

    def numbered(prompt):
        return f"Rationale: r.\nRule: If it is number {next(counter)}, answer {gold_of(prompt)}."

    traces = extract(FakeEngine(numbered), draws=3).traces
    assert [t.draw for t in traces] == [0] * 12 + [1] * 12 + [2] * 12
    assert len({t.id for t in traces}) == len({t.rule for t in traces}) == 36
    for example in EXAMPLES:
        assert [t.draw for t in traces if t.example_id == example_id(example)] == [0, 1, 2]


def test_garbage_is_retried_once_then_dropped_and_counted():
    retried = FakeTeacher(good, garbage_on=every(3))
    found = extract(retried)
    assert (len(found.traces), found.dropped, retried.calls) == (12, {}, 17)

    stubborn = {EXAMPLES[2].text, EXAMPLES[5].text}
    engine = FakeEngine(lambda p: "}{" if any(text in p for text in stubborn) else good(p))
    found = extract(engine)
    assert engine.calls == 14
    assert found.dropped == {"teacher answers that could not be read": 2}
    left = [e for e in EXAMPLES if e.text not in stubborn]
    assert [t.example_id for t in found.traces] == [example_id(e) for e in left]


@pytest.mark.parametrize("rule", ["1.", "-", "** **", '""'])
def test_a_rule_without_words_is_no_trace(rule):
    engine = FakeEngine(
        lambda p: f"Rationale: r.\nRule: {rule}" if EXAMPLES[0].text in p else good(p)
    )
    found = extract(engine)
    assert len(found.traces) == 11
    assert found.dropped == {"teacher answers that could not be read": 1}


def test_nothing_but_garbage_says_what_to_do():
    with pytest.raises(NoTracesError, match="fake/lm gave no usable trace for 24 requests") as e:
        extract(FakeEngine(lambda prompt: "}{"), draws=2)
    assert "24 teacher answers that could not be read" in str(e.value)
    assert "try a stronger teacher, or import traces" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_rule_that_says_another_label_is_dropped_and_counted():
    engine = FakeEngine(lambda p: good(p).replace("answer green", "answer blue"))
    found = extract(engine)
    wrong = sum(e.label == "green" for e in EXAMPLES)
    assert found.dropped == {"rules that name another answer than the gold label": wrong}
    assert [t.label for t in found.traces] == [e.label for e in EXAMPLES if e.label != "green"]
    assert wrong > 0


def test_a_run_that_is_taken_up_again_pays_nothing_twice(tmp_path):
    down = FakeTeacher(good, fail_on=lambda call: call > 5)
    with pytest.raises(ModelError, match="run again to resume"):
        extract(down, StageStore(tmp_path))
    rest = FakeEngine(good)
    first = extract(rest, StageStore(tmp_path))
    assert rest.calls == 7
    assert extract(Script(), StageStore(tmp_path)) == first  # a call would fail
    more = FakeEngine(good)
    assert extract(more, StageStore(tmp_path), draws=2).traces[:12] == first.traces
    assert more.calls == 12


def jsonl(path, *records):
    lines = (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_recorded_traces_are_found_by_either_id(tmp_path):
    path = jsonl(
        tmp_path / "old.jsonl",
        {"id": example_id(EXAMPLES[0]), "rule": "1. If red, answer red", "rationale": "Why."},
        "",
        {"id": "row-1", "rule": "If green, answer green.", "draw": 2, "rationale": None},
    )
    found = import_traces(path, EXAMPLES, label_key="label")
    assert [(t.example_id, t.label, t.rule, t.rationale, t.draw) for t in found.traces] == [
        (example_id(EXAMPLES[0]), EXAMPLES[0].label, "If red, answer red.", "Why.", 0),
        (example_id(EXAMPLES[1]), EXAMPLES[1].label, "If green, answer green.", "", 2),
    ]
    assert {t.source for t in found.traces} == {"old.jsonl"}
    assert found.dropped == {}


def test_recorded_traces_of_others_and_repeats_are_counted(tmp_path):
    line = {"id": "row-0", "rule": "If red, answer red."}
    other = {"id": "row-99", "rule": "If red, answer red."}
    path = jsonl(tmp_path / "old.jsonl", line, other, line, other, {**line, "draw": 1})
    found = import_traces(path, EXAMPLES, label_key="label")
    assert [t.draw for t in found.traces] == [0, 1]
    assert found.dropped == {
        "recorded traces of examples that are not in train": 2,
        "recorded traces that repeat another": 1,
    }
    with pytest.raises(NoTracesError, match=r"old.jsonl is about one of the 1 training examples"):
        import_traces(path, EXAMPLES[5:6], label_key="label")


GOOD = {"id": "row-0", "rule": "If red, answer red."}


def test_several_files_are_read_in_their_order_and_repeats_between_them_counted(tmp_path):
    green = {"id": "row-1", "rule": "If green, answer green."}
    first = jsonl(tmp_path / "first.jsonl", green)
    second = jsonl(tmp_path / "second.jsonl", GOOD, green)
    found = import_traces([first, second], EXAMPLES, label_key="label")
    assert [t.example_id for t in found.traces] == [
        example_id(EXAMPLES[1]),
        example_id(EXAMPLES[0]),
    ]
    assert found.dropped == {"recorded traces that repeat another": 1}
    with pytest.raises(NoTracesError, match=r"first.jsonl, .*second.jsonl is about one of"):
        import_traces([first, second], EXAMPLES[5:6], label_key="label")


def test_traces_in_doubt_are_left_out_and_counted(tmp_path):
    path = jsonl(
        tmp_path / "old.jsonl",
        {**GOOD, "doubt": True},
        {"id": "row-1", "rule": "If green, answer green.", "doubt": False},
    )
    found = import_traces(path, EXAMPLES, label_key="label")
    assert [t.example_id for t in found.traces] == [example_id(EXAMPLES[1])]
    assert found.dropped == {"recorded traces in doubt": 1}
    assert list(trace_ids([path])) == ["row-1"]


@pytest.mark.parametrize("as_text", [True, False])
def test_a_compile_takes_several_files(tmp_path, as_text):
    files = [
        jsonl(tmp_path / f"{n}.jsonl", {"id": f"row-{n}", "rule": f"If {n}, answer red."})
        for n in range(2)
    ]
    given = [str(file) for file in files] if as_text else files
    target = types.SimpleNamespace(label_key="label")
    found = collect_traces(given, None, target, EXAMPLES, explain=None, draws=1)
    assert [t.source for t in found.traces] == ["0.jsonl", "1.jsonl"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{not json", r"line 2 of .*old.jsonl is not JSON: .*; write one object a line"),
        ("[1]", r"line 2 of .*old.jsonl is not a JSON object but list"),
        ({"id": "row-1"}, r"line 2 of .* has no `id` and `rule`"),
        ({"rule": "If"}, r"line 2 of .* has no `id` and `rule`"),
        ({**GOOD, "rule": None}, r"line 2 of .* has the rule None; write a sentence"),
        ({**GOOD, "rule": " 1. "}, r"line 2 of .* has the rule ' 1. '; write a sentence"),
        ({**GOOD, "draw": "x"}, r"line 2 of .* has the draw 'x'; write an integer"),
        ({**GOOD, "doubt": "no"}, r"line 2 of .* has the doubt 'no'; write true or false"),
    ],
)
def test_a_broken_line_is_named(tmp_path, bad, message):
    path = jsonl(tmp_path / "old.jsonl", GOOD, bad, GOOD)
    with pytest.raises(DataError, match=message) as e:
        import_traces(path, EXAMPLES, label_key="label")
    assert "\n" not in str(e.value)


def test_a_file_that_is_missing_or_no_text_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.jsonl cannot be read: .*No such file"):
        import_traces(tmp_path / "nowhere.jsonl", EXAMPLES, label_key="label")
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"x.jsonl cannot be read as utf-16"):
        import_traces(tmp_path / "x.jsonl", EXAMPLES, label_key="label")


def test_a_byte_order_mark_and_line_separators_inside_a_text_do_no_harm(tmp_path):
    path = jsonl(tmp_path / "old.jsonl", {**GOOD, "rationale": "one\u2028two\x85three"}, GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    found = import_traces(path, EXAMPLES, label_key="label")
    assert len(found.traces) == 1  # the second repeats it


def test_what_was_extracted_can_be_imported(tmp_path):
    traces = extract(FakeEngine(good), draws=2).traces
    path = jsonl(
        tmp_path / "t.jsonl",
        *({"id": t.example_id, "rule": t.rule, "draw": t.draw} for t in traces),
    )
    found = import_traces(path, EXAMPLES, label_key="label")
    assert [t.id for t in found.traces] == [t.id for t in traces]
    assert [t.label for t in found.traces] == [t.label for t in traces]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("If it rains, answer wet", "If it rains, answer wet."),
        ("If it rains, answer wet!", "If it rains, answer wet!"),
        ("**Rule 2:** If it rains,\n  answer `wet`.", "If it rains, answer wet."),
        ("- 3) If it rains, answer wet", "If it rains, answer wet."),
        ("(2) If it rains, answer wet", "If it rains, answer wet."),
        ('"If it rains, answer wet."', "If it rains, answer wet."),
        ('"If it rains, answer wet', "If it rains, answer wet."),
        ('If it rains, answer "wet"', 'If it rains, answer "wet".'),
        ("'Wet' is right if it says 'wet'", "'Wet' is right if it says 'wet'."),
        ("2 people who meet are a crowd", "2 people who meet are a crowd."),
        ("3.5 stars are good", "3.5 stars are good."),
        ("4. 3.5 stars are good", "3.5 stars are good."),
        ("1.", ""),
        ("  ", ""),
    ],
)
def test_a_rule_is_one_tidy_line(text, rule):
    assert tidy_rule(text) == rule


@given(st.text(st.sampled_from("ab12.) -*\n\"'`Rule:"), max_size=40))
def test_tidying_gives_one_line_and_loses_no_word(text):
    tidy = tidy_rule(text)
    assert tidy == " ".join(tidy.split())
    assert not tidy or tidy[-1] in ".!?"
    assert ("a" in tidy) == ("a" in text)


@pytest.mark.parametrize(
    ("rule", "gold", "wrong"),
    [
        ("If it is red, answer red.", "red", False),
        ("If it is red, answer red.", "blue", True),
        ("If it is red, answer blue, not red.", "red", True),
        ('If it is red, the answer is "Blue".', "red", True),
        ("If it is red, answer with blue.", "red", True),
        ("If it is red, answer blue; else answer red.", "red", False),
        ("If it is blue, it is red.", "red", False),
        ("If it is red, answer quickly.", "red", False),
        ("If the answer is unclear, answer grey.", "grey", False),
        ("", "red", False),
    ],
)
def test_a_rule_contradicts_only_if_it_says_another_label_and_never_gold(rule, gold, wrong):
    assert contradicts(rule, gold, LABELS) is wrong


TEAMS = ("billing", "delivery", "returns")


@pytest.mark.parametrize(
    ("rule", "labels", "outside"),
    [
        ("If it is about a password, answer customer service.", TEAMS, True),
        ('If it is about a password, answer "customer service".', TEAMS, True),
        ("If it is about a password, then choose support.", TEAMS, True),
        ("If it is about a password, the answer is Support!", TEAMS, True),
        ("If it is about a password, label it as support", TEAMS, True),
        ("Answer: support.", TEAMS, True),
        ("If the statement must be true, answer E.", ("A", "B", "C", "D"), True),
        # It is a label, or may be another form of one.
        ("If it is about a card, answer billing.", TEAMS, False),
        ("If it is about a card, answer the Billing team.", TEAMS, False),
        ("If it is about a card, answer card payments (billing).", TEAMS, False),
        ("If it is about a parcel, answer delivering.", TEAMS, False),
        ("If it follows, answer entailed.", ("Entailment", "Contradiction"), False),
        ("If it is unsaid, answer not mentioned.", ("Entailment", "NotMentioned"), False),
        ("If it is about 1.5 litres, answer 1.5.", ("1.5", "2.5"), False),
        ("If it is C, answer C++.", ("C++", "C#"), False),
        # It says its answer in prose.
        ("If it is about a change, answer the team that is involved in it.", TEAMS, False),
        ("If it is about a change, answer as the last message did.", TEAMS, False),
        ("If it is about a change, answer accordingly.", TEAMS, False),
        ("If two options fit, choose the stronger one.", TEAMS, False),
        ("If an option repeats the text, choose another option.", ("A", "B"), False),
        ("If the passage compares, choose 'None of these'.", ("A", "B"), False),
        # It says none.
        ("If the answer is unclear, it is about billing.", TEAMS, False),
        ("If the customer wants an answer today, it is urgent.", TEAMS, False),
        ("A bill belongs to billing.", TEAMS, False),
        ("", TEAMS, False),
        # The set is open.
        ("If it is about a password, answer customer service.", (), False),
    ],
)
def test_a_rule_names_no_label_only_if_it_plainly_says_another_answer(rule, labels, outside):
    assert names_no_label(rule, labels) is outside


@given(st.sampled_from([LABELS, TEAMS, ("A", "B"), ("not_entailed", "Entailed")]), st.data())
def test_a_rule_that_says_a_label_never_names_none(labels, data):
    label = data.draw(st.sampled_from(labels))
    form = data.draw(st.sampled_from(["answer {}", "answer: {}", "the answer is {}", "choose {}"]))
    spelled = data.draw(st.sampled_from([str, str.upper, str.title, repr]))(label)
    rule = f"If {data.draw(st.text(max_size=20))}, {form.format(spelled)}."
    assert not names_no_label(rule, labels)


def test_a_rule_that_says_no_label_is_dropped_and_counted():
    engine = FakeEngine(lambda p: good(p).replace("answer green", "answer customer service"))
    found = extract(engine)
    wrong = sum(e.label == "green" for e in EXAMPLES)
    assert found.dropped == {"rules that name an answer outside of the labels": wrong}
    assert [t.label for t in found.traces] == [e.label for e in EXAMPLES if e.label != "green"]


def test_trace_ids_depend_on_example_draw_and_rule():
    base = ("e1", "red", "why", "If so, answer red.")
    ids = {
        make_trace(*base).id,
        make_trace("e2", *base[1:]).id,
        make_trace(*base[:3], "If not, answer red.").id,
        make_trace(*base, draw=1).id,
    }
    assert len(ids) == 4
    assert make_trace("e1", "red", "another why", base[3], source="x").id in ids

"""Words for labels whose names say nothing: proposed by the teacher, chosen by the student's answers."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from itertools import permutations

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeEngine, fake_lm
from goldens import golden
from pld_dspy import PLD, PLDConfig, macro_f1
from pld_dspy.config.optimizer import WordsConfig
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import LabelWord, Trace
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.rule_text import make_rule
from pld_dspy.stages.label_words.measure import LEAST, in_rounds
from pld_dspy.stages.label_words.propose import Proposals, Sources, read_names
from pld_dspy.stages.label_words.sets import assignments, with_more, with_rest
from pld_dspy.stages.label_words.stage import _sets, _unchecked
from queues import (
    KIND_OF,
    KINDS,
    QUEUES,
    SELECT,
    SIGNATURE,
    TEST,
    TRAIN,
    VAL,
    Speaker,
    Teacher,
    asks_for_a_title,
    things_in,
)


def compiled(
    student=None, *, teacher=None, program=None, run_dir=None, verify=False, train=TRAIN, **words
):
    config = PLDConfig(
        words=words, refine={"rounds": 0}, search={"trials": 2}, verify={"enabled": verify}
    )
    optimizer = PLD(
        metric=macro_f1,
        teacher_lm=fake_lm(teacher or Teacher(), name="fake/teacher"),
        config=config,
        run_dir=run_dir,
    )
    with dspy.context(lm=fake_lm(student or Speaker())):
        return optimizer.compile(
            program or DirectStudent(SIGNATURE), trainset=train, valset=VAL, selectset=SELECT
        )


def score(program, engine=None):
    with dspy.context(lm=fake_lm(engine or Speaker())):
        said = [program(**e.inputs()).label for e in TEST]
    return macro_f1([e.label for e in TEST], said)


def test_labels_that_say_nothing_are_shown_by_the_words_that_the_student_knows():
    program = compiled()
    part = program.pld_result.predictors[0]
    assert program.form.labels_as == QUEUES
    assert part.chosen.words == QUEUES
    assert score(program) == 1.0
    assert score(compiled(drafts=0)) < 0.6


def test_what_speaks_for_a_word_is_in_the_result():
    words = compiled().pld_result.predictors[0].words
    best = {word.label: word for word in reversed(words)}
    assert {label: word.word for label, word in best.items()} == QUEUES
    assert all(word.named == 4 and word.separates == 1.0 for word in best.values())
    assert any(word.trace_ids and not word.named for word in words)  # a kind, such as "bread"
    own = [word for word in words if word.word == word.label]
    assert len(own) == 3  # the names of the labels compete


def test_false_rules_go_once_words_tell_what_the_labels_mean():
    # This teacher finds no condition true of any example, not even its own.
    part = compiled(verify=True).pld_result.predictors[0]
    assert part.chosen.words == QUEUES
    assert not any(candidate.rules for candidate in part.candidates)
    gone = [w for w in part.warnings if "is left out, since the label is shown as" in w]
    assert [word for word in QUEUES.values() if word in " ".join(gone)] == list(QUEUES.values())

    without = compiled(verify=True, drafts=0).pld_result.predictors[0]
    assert any(candidate.rules for candidate in without.candidates)
    assert sum(" is kept: " in warning for warning in without.warnings) == len(QUEUES)


def test_examples_without_a_group_count_one_by_one():
    grouped = [example.copy(pld_group=number) for number, example in enumerate(TRAIN)]
    none = [example.copy(pld_group=None) for example in TRAIN]
    asked = []
    for train in (TRAIN, none, grouped):
        teacher = Teacher()
        words = compiled(teacher=teacher, train=train).pld_result.predictors[0].words
        asked.append(([p.user for p in teacher.prompts if asks_for_a_title(p)], words))
    assert asked[0] == asked[1]
    assert asked[1][0] == asked[2][0]


def test_a_label_that_no_word_fits_is_what_is_left():
    # The student has no word for the third group, and can tell what is none of the others.
    class Rest(Speaker):
        @staticmethod
        def log_p(prompt):
            asked = re.search(r"one of: (.*)\.$", prompt.user)
            known = Speaker.log_p(prompt)
            if asked is None or "something else" not in known:
                return known
            kind = KIND_OF[things_in(prompt.user.partition("\n")[0])[0]]
            likely = kind if kind in known else "something else"
            return {word: math.log(0.9 if word == likely else 0.01) for word in known}

    teacher = Teacher({"animal": "sky"})
    program = compiled(Rest(), teacher=teacher, per_label=1)
    part = program.pld_result.predictors[0]
    assert part.chosen.words == {"q1": "food", "q2": "tool", "q3": "something else"}
    assert score(program, Rest()) == 1.0
    assert part.words[-1] == LabelWord(label="q3", word="something else")

    without = compiled(Rest(), teacher=teacher, per_label=1, rest="")
    assert "something else" not in without.pld_result.predictors[0].chosen.words.values()


TWO = {"food": ("meal", "snack"), "tool": ("blade", "machine"), "animal": ("pet", "beast")}


class Narrow(Speaker):
    """Knows two words for each kind, of which each fits three of its five things."""

    @staticmethod
    def log_p(prompt):
        asked = re.search(r"one of: (.*)\.$", prompt.user)
        if asked is None:
            return {"ok": 0.0}
        options, fitting = (
            asked[1].split(", "),
            narrow(things_in(prompt.user.partition("\n")[0])[0]),
        )
        known = [word for word in options if word in fitting]
        shares = dict.fromkeys(options, 0.01) | {word: 0.9 / len(known) for word in known}
        return {word: math.log(share) for word, share in shares.items()}


def narrow(thing):
    place = KINDS[KIND_OF[thing]].index(thing)
    fits = (place <= 2, place >= 2)
    return [word for word, does in zip(TWO[KIND_OF[thing]], fits, strict=True) if does]


class Narrowly(Teacher):
    """Gives the two words in turn."""

    def __init__(self):
        super().__init__()
        self.drafts = Counter()

    def said(self, prompt):
        if not asks_for_a_title(prompt):
            return super().said(prompt)
        kind = KIND_OF[things_in(prompt.user)[0]]
        self.drafts[kind] += 1
        return TWO[kind][self.drafts[kind] % 2]


def test_a_label_that_two_words_cover_is_shown_by_both():
    program = compiled(Narrow(), teacher=Narrowly())
    part = program.pld_result.predictors[0]
    both = {label: shown.split(" / ") for label, shown in part.chosen.words.items() if "/" in shown}
    assert both
    for label, shown in both.items():
        assert set(shown) == set(TWO[QUEUES[label]])
    assert program.form.labels_as == part.chosen.words
    single = compiled(Narrow(), teacher=Narrowly(), most=1)
    assert score(program, Narrow()) > score(single, Narrow()) + 0.1


def test_further_words_tell_their_own_label_best_and_are_nobodys_name():
    def word(label, text, own, other=0.5):
        return LabelWord(label=label, word=text, separates=own, confused=other, named=2)

    compared = [
        word("a", "food", 0.95),
        word("a", "bread", 0.9),
        word("a", "soup", 0.8),
        word("a", "cake", 0.75),
        word("a", "thing", 0.8, other=0.85),
        word("a", "a", 0.99),
        word("b", "tool", 0.9),
        word("b", "bread", 0.85),
        word("b", "axe", 0.69),
    ]
    first = {"a": "food", "b": "tool"}
    assert with_more(compared, first, 3) == {"a": "food / bread / soup", "b": "tool"}
    assert with_more(compared, first, 2) == {"a": "food / bread", "b": "tool"}
    assert with_more(compared, first, 1) is None
    assert with_more(compared[6:], {"b": "tool"}, 3) == {"b": "tool / bread"}
    forms = [word("a", "food", 0.9), word("a", "foods", 0.9), word("a", "good food", 0.9)]
    assert with_more(forms, {"a": "food"}, 3) is None
    once = [replace(found, named=1) for found in compared[:3]]
    assert with_more(once, {"a": "food"}, 3) is None


def trees(**changes):
    """Words for two labels: "tree" with "oak" behind it, and "tool"."""
    oak = LabelWord(label="a", word="oak", separates=0.8, confused=0.4, trace_ids=("1", "2", "3"))
    return [
        LabelWord(label="a", word="tree", separates=0.9, confused=0.4, named=2),
        replace(oak, **changes),
        LabelWord(label="b", word="tool", separates=0.9, confused=0.4, named=2),
    ]


@pytest.mark.parametrize(("elsewhere", "more"), [(0, True), (1, True), (2, False), (9, False)])
def test_a_word_that_explanations_of_other_labels_name_as_well_is_no_further_word(elsewhere, more):
    found = with_more(trees(elsewhere=elsewhere), {"a": "tree", "b": "tool"}, 3)
    assert found == ({"a": "tree / oak", "b": "tool"} if more else None)


@pytest.mark.parametrize("rest", ["", "tool"])
def test_no_rest_is_tried_that_is_empty_or_another_labels_word(rest):
    words = {"a": "food", "b": "tool", "c": "sky"}
    compared = [
        LabelWord(label=label, word=word, separates=0.9 - 0.1 * n)
        for n, (label, word) in enumerate(words.items())
    ]
    assert with_rest(compared, words, rest) is None
    found = with_rest(compared, words, "something else")
    assert found == (LabelWord(label="c", word="something else"), {**words, "c": "something else"})


def test_words_that_do_not_help_are_not_used():
    # Of these, the student knows none.
    program = compiled(
        teacher=Teacher({"food": "sky", "tool": "sea", "animal": "sand"}), per_label=1
    )
    assert program.form.labels_as == "names"
    assert program.pld_result.predictors[0].words  # they were compared


def test_a_word_of_one_label_may_help_where_the_others_keep_their_names():
    program = compiled(teacher=Teacher({"animal": "tool"}), per_label=1)
    shown = program.form.labels_as
    assert shown["q1"] == "food"
    assert len(set(shown.values())) == 3


@pytest.mark.parametrize(
    "program",
    [
        DirectStudent(SIGNATURE, labels_as="letters"),
        DirectStudent(SIGNATURE, labels_as={"q1": "one", "q2": "two", "q3": "three"}),
        dspy.Predict(SIGNATURE),
    ],
)
def test_a_student_that_shows_other_words_keeps_them(program):
    class Knows(FakeEngine):
        def __init__(self):
            super().__init__(self.said)

        def said(self, prompt):
            if "## label" in prompt:
                return {"label": "q1"}
            return re.search(r"(?:one of|one letter): (\w+)", prompt.user)[1]

    teacher = Teacher()
    found = compiled(Knows(), teacher=teacher, program=program)
    assert not any(asks_for_a_title(prompt) for prompt in teacher.prompts)
    assert found.pld_result.predictors[0].words == ()


def test_without_log_probabilities_no_words_are_looked_for():
    teacher = Teacher()
    program = compiled(Speaker(tells=False), teacher=teacher)
    assert not any(asks_for_a_title(prompt) for prompt in teacher.prompts)
    assert program.form.labels_as == "names"


def test_unreadable_names_leave_the_kinds_of_the_traces():
    class Silent(Teacher):
        def said(self, prompt):
            return "I rather not." if asks_for_a_title(prompt) else super().said(prompt)

    words = compiled(teacher=Silent()).pld_result.predictors[0].words
    assert {word.named for word in words} == {0}
    assert any(word.word in KIND_OF for word in words)


def test_the_same_again_and_nothing_is_asked_twice(tmp_path):
    first = compiled(run_dir=tmp_path)
    student, teacher = Speaker(), Teacher()
    second = compiled(student, teacher=teacher, run_dir=tmp_path)
    assert (student.calls, teacher.calls) == (0, 0)
    assert first.pld_result.predictors == second.pld_result.predictors


def test_a_saved_program_shows_the_same_words(tmp_path):
    program = compiled()
    program.save(tmp_path / "program.json")
    state = json.loads((tmp_path / "program.json").read_text())
    assert state["predict"]["form"]["labels_as"] == QUEUES
    loaded = DirectStudent(SIGNATURE)
    loaded.load(tmp_path / "program.json")
    assert score(loaded) == 1.0


def test_the_teacher_sees_neither_the_task_nor_the_labels():
    teacher = Teacher()
    compiled(teacher=teacher)
    shown = [prompt for prompt in teacher.prompts if asks_for_a_title(prompt)]
    assert len({prompt.user for prompt in shown}) == 12  # other examples each time
    assert not any(
        "queue" in prompt or any(label in prompt for label in QUEUES) for prompt in shown
    )


def test_the_request_for_names_is_the_pinned_text():
    teacher = Teacher()
    compiled(teacher=teacher, drafts=1)
    prompt = next(prompt for prompt in teacher.prompts if asks_for_a_title(prompt))
    assert prompt.endswith(prompt.user)  # after the titles of other texts
    assert f"{prompt}\n" == golden("teacher_names.txt", f"{prompt}\n")


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("food", ("food",)),
        ("\nTitle: Food and drink\n\nTexts: ...", ("Food", "drink")),
        ("**Title:** hand tools, a tool, hand tools", ("hand tools", "a tool")),
        ("", ()),
    ],
)
def test_a_title_may_be_several_names(title, names):
    assert read_names(title) == names


def flat(proposed):
    return [word for words in proposed.values() for word in words]


def proposals(*kinds, labels=("race", "job"), **config):
    target = Target(path="p", signature=SIGNATURE, label_key="label", labels=labels)
    traces = [
        Trace(id=f"t{n}", example_id=f"e{n}", label=label, rationale="", rule="", kinds=tuple(own))
        for n, (label, own) in enumerate(kinds)
    ]
    return flat(Proposals(target, WordsConfig(**config)).of(Sources(traces), {}))


def test_a_kind_becomes_a_word_without_its_article():
    found = proposals(
        ("race", ["a Country", "the country", "a place"]), ("job", ["a job well done"])
    )
    assert [(word.label, word.word) for word in found] == [
        ("race", "race"),
        ("race", "country"),
        ("race", "place"),
        ("job", "job"),
    ]
    assert found[1].trace_ids == ("t0",)


def test_kinds_that_other_labels_share_come_last():
    found = proposals(
        ("race", ["a person", "a country"]),
        ("job", ["a person", "a worker"]),
        ("job", ["a person"]),
    )
    assert [word.word for word in found if word.label == "race"] == ["race", "country", "person"]


def test_kinds_of_many_groups_come_before_those_that_one_group_repeats():
    labels = ("race", "job")
    target = Target(path="p", signature=SIGNATURE, label_key="label", labels=labels)
    named = [
        ("a", "musician"),
        ("b", "musician"),
        ("c", "musician"),
        ("d", "worker"),
        ("e", "worker"),
    ]
    traces = [
        Trace(id=key, example_id=key, label="job", rationale="", rule="", kinds=(f"a {kind}",))
        for key, kind in named
    ]
    groups = dict(zip("abcde", ("m", "m", "m", "n", "o"), strict=True))
    found = flat(Proposals(target, WordsConfig(), groups).of(Sources(traces), {}))
    assert [word.word for word in found] == ["race", "job", "worker", "musician"]


def test_words_tell_how_often_explanations_and_names_of_other_labels_have_them():
    target = Target(path="p", signature=SIGNATURE, label_key="label", labels=("race", "job"))
    traces = [
        Trace(id=f"t{n}", example_id=f"e{n}", label=label, rationale="", rule="", kinds=(kind,))
        for n, (label, kind) in enumerate(
            [("race", "a person"), ("job", "a person"), ("job", "a person"), ("job", "a worker")]
        )
    ]
    names = {"race": ["Person"], "job": ["worker", "person", "person"]}
    found = flat(Proposals(target, WordsConfig()).of(Sources(traces), names))
    elsewhere = {(word.label, word.word): word.elsewhere for word in found}
    assert elsewhere[("race", "person")] == 4  # two explanations and two names
    assert elsewhere[("job", "person")] == 2
    assert elsewhere[("job", "worker")] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("If the text is about a region or a big country, answer race.", ["region", "big country"]),
        ("If it is about a land, a state, or people, answer race.", ["land", "state", "people"]),
        ("If the text mentions a land, answer race.", []),
        ("If the text is about a long way to go home, answer race.", []),
    ],
)
def test_what_a_rule_is_about_becomes_a_word(text, words):
    target = Target(path="p", signature=SIGNATURE, label_key="label", labels=("race", "job"))
    rule = replace(make_rule(text, [], origin="synthesis"), labels={"race": 1})
    found = flat(Proposals(target, WordsConfig()).of(Sources([], [rule]), {}))
    assert [word.word for word in found if word.label == "race"] == ["race", *words]
    assert all(word.rule_ids == (rule.id,) for word in found if word.word in words)


def about(things):
    rule = make_rule(f"If the text is about {things}, answer race.", [], origin="micro")
    return replace(rule, labels={"race": 1})


@pytest.mark.parametrize(
    ("rules", "false", "words"),
    [
        (["a land"], [], ["land", "people"]),
        # A word decides like a rule about it.
        (["a land"], ["people"], ["land"]),
        # Of a false rule about two things one may be right.
        ([], ["people or a land"], ["people"]),
        # Said once truly and once not: the rule that holds counts.
        (["a land"], ["a land"], ["land", "people"]),
    ],
)
def test_a_word_is_no_better_than_the_rule_about_it(rules, false, words):
    target = Target(path="p", signature=SIGNATURE, label_key="label", labels=("race", "job"))
    traces = [Trace(id="t", example_id="e", label="race", rationale="", rule="", kinds=("people",))]
    sources = Sources(traces, [about(things) for things in rules], [about(t) for t in false])
    found = flat(Proposals(target, WordsConfig()).of(sources, {"race": ["Nation"]}))
    assert {word.word for word in found if word.label == "race"} == {"race", "nation", *words}


def ranked_words(counts):
    return {
        label: [LabelWord(label=label, word=f"{label}{n}") for n in range(count)]
        for label, count in counts.items()
    }


def measuring(areas, asked):
    """A measure that knows the area of each word, 0.5 where none is given."""

    def measure(words):
        asked.append([word.word for word in words])
        found = [replace(word, separates=areas.get(word.word, 0.5)) for word in words]
        return tuple(sorted(found, key=lambda w: (w.label, -w.separates, w.word)))

    return measure


def test_a_label_that_no_word_tells_gets_its_next_words_beside_the_best_of_the_others():
    asked = []
    areas = {"a1": 0.9, "b2": 0.6, "b1": 0.55, "b7": 0.95}
    found = in_rounds(
        ranked_words({"a": 9, "b": 9}), measuring(areas, asked), WordsConfig(per_label=3)
    )

    assert asked == [
        ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"],
        ["a1", "a0", "b2", "b1", "b4", "b5", "b6", "b7"],
    ]
    assert [word.word for word in found if word.label == "b"][:3] == ["b7", "b2", "b1"]
    assert [word.word for word in found if word.label == "a"] == ["a1", "a0", "a2", "a3"]


@pytest.mark.parametrize(
    ("areas", "counts", "rounds", "asked"),
    [
        ({"a0": LEAST, "b3": LEAST}, {"a": 9, "b": 9}, 5, 1),
        ({"a0": 0.9}, {"a": 9, "b": 9}, 1, 1),
        ({"a0": 0.9}, {"a": 9, "b": 4}, 5, 1),  # b has no further word
        ({"a0": 0.9}, {"a": 9, "b": 9}, 5, 3),
        ({"a0": 0.9, "b4": 0.8}, {"a": 9, "b": 9}, 5, 2),
    ],
)
def test_rounds_end_when_every_label_is_told_or_no_word_is_left(areas, counts, rounds, asked):
    batches = []
    config = WordsConfig(per_label=3, rounds=rounds)
    found = in_rounds(ranked_words(counts), measuring(areas, batches), config)

    assert len(batches) == asked
    assert all(len(batch) <= len(batches[0]) for batch in batches)
    assert {word.word for word in found} == {word for batch in batches for word in batch}


def test_a_further_round_that_fails_loses_nothing():
    asked = []
    measure = measuring({"a0": 0.9}, asked)
    found = in_rounds(
        ranked_words({"a": 9, "b": 9}),
        lambda words: () if asked else measure(words),
        WordsConfig(per_label=3),
    )
    assert [word.word for word in found] == asked[0]


def test_what_is_true_of_every_example_is_no_word():
    class Vague(Teacher):
        def said(self, prompt):
            if "Conditions: " in prompt.user:
                return ", ".join(
                    re.findall(r"^(?:Conditions: )?(\d+)\. .*stuff", prompt.user, re.M)
                )
            answer = super().said(prompt)
            return re.sub(r"names a \w+", "is about stuff", answer)

    checked, unchecked = (
        {word.word for word in compiled(teacher=Vague(), verify=on).pld_result.predictors[0].words}
        for on in (True, False)
    )
    assert "stuff" in unchecked
    assert checked == unchecked - {"stuff"}


areas = st.floats(0, 1)


@given(st.lists(st.lists(areas, min_size=4, max_size=4), min_size=2, max_size=4), st.integers(1, 4))
def test_each_set_has_one_word_a_label_and_the_first_is_the_best_of_all(table, count):
    labels = tuple(f"l{n}" for n in range(len(table)))
    compared = [
        LabelWord(label=label, word=f"w{n}", separates=area)
        for label, row in zip(labels, table, strict=True)
        for n, area in enumerate(row)
    ]
    sets = assignments(compared, labels, count)
    worth = {(word.label, word.word): word.separates for word in compared}
    sums = [sum(worth[pair] for pair in words.items()) for words in sets]
    assert all(set(words) == set(labels) for words in sets)
    assert all(len(set(words.values())) == len(labels) for words in sets)
    assert len({tuple(words.items()) for words in sets}) == len(sets) <= count
    if all(any(row) for row in table):
        best = max(
            sum(table[row][column] for row, column in enumerate(order))
            for order in permutations(range(4), len(labels))
        )
        assert sums[0] == pytest.approx(best)
        assert sums[1:] == sorted(sums[1:], reverse=True)


@pytest.mark.parametrize(("kept", "first"), [({"faith"}, "faith"), ((), "bible")])
def test_a_name_that_is_kept_has_no_other_word_in_any_set(kept, first):
    compared = (
        LabelWord(label="race", word="country", named=2, separates=0.9),
        LabelWord(label="race", word="race", separates=0.6),
        LabelWord(label="faith", word="bible", named=2, separates=0.99),
        LabelWord(label="faith", word="faith", separates=0.6),
    )
    found, sets = _sets(
        compared, ("race", "faith"), WordsConfig(rest=""), named=True, kept=frozenset(kept)
    )
    assert found == compared  # all of them are told
    assert sets[0] == {"race": "country", "faith": first}
    assert {"race": "race / country", "faith": "faith" if kept else "faith / bible"} in sets
    assert any("bible" in words["faith"] for words in sets) == (not kept)


@pytest.mark.parametrize("named", [True, False])
def test_where_the_names_tell_their_labels_none_is_what_is_left(named):
    compared = (
        LabelWord(label="art", word="painting", separates=0.9),
        LabelWord(label="law", word="law", separates=0.6),
    )
    found, sets = _sets(compared, ("art", "law"), WordsConfig(), named=named)
    rests = [words for words in sets if "something else" in words.values()]
    assert bool(rests) == (len(found) > len(compared)) == (not named)


def test_where_all_names_are_kept_there_is_no_set():
    compared = (
        LabelWord(label="art", word="painting", named=3, separates=0.9),
        LabelWord(label="art", word="art", separates=0.6),
        LabelWord(label="law", word="law", separates=0.6),
    )
    every = frozenset({"art", "law"})
    assert _sets(compared, ("art", "law"), WordsConfig(), named=True, kept=every) == (compared, [])


@pytest.mark.parametrize(
    ("val", "unchecked"),
    [
        ([("a", 1), ("b", 2)], {"a"}),
        ([("a", 1), ("a", 3), ("b", 1)], {"b"}),
        ([("a", None), ("b", None)], set()),
        ([("b", 2)], set()),
    ],
)
def test_labels_are_unchecked_where_validation_has_no_groups_of_its_own(val, unchecked):
    def example(label, group, n):
        made = dspy.Example(text=f"{label}{group}{n}", label=label, pld_group=group)
        return made.with_inputs("text")

    train = [example("a", 1, 1), example("b", 1, 2), example("a", None, 3)]
    problem = Problem(
        task="Name it.",
        signature=SIGNATURE,
        labels=("a", "b"),
        build=lambda _: DirectStudent(SIGNATURE),
        train=train,
        val=[example(label, group, 9) for label, group in val],
        select=(),
        seed=0,
    )
    target = Target(path="p", signature=SIGNATURE, label_key="label", labels=("a", "b"))
    assert _unchecked(problem, target) == unchecked


@pytest.mark.parametrize("named", [True, False])
def test_names_that_tell_their_labels_are_tried_with_further_words(named):
    compared = (
        LabelWord(label="art", word="painting", named=3, separates=0.95, confused=0.4),
        LabelWord(label="art", word="art", separates=0.8, confused=0.5),
        LabelWord(label="law", word="law", separates=0.9, confused=0.3),
        LabelWord(label="law", word="court", named=2, separates=0.85, confused=0.2),
    )
    _, sets = _sets(compared, ("art", "law"), WordsConfig(rest=""), named=named)

    beside = {"art": "art / painting", "law": "law / court"}
    assert (beside in sets) == named
    assert {"art": "painting", "law": "law / court"} in sets

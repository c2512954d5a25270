"""Rules from clusters: every trace stays evidence of one, and no answer of the teacher is trusted."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeEngine, FakeTeacher, Script, every, fake_lm
from goldens import golden
from pld_dspy.config.optimizer import RuleConfig
from pld_dspy.errors import ModelError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import Cluster, Clustering, Diagnosis, silent
from pld_dspy.stages.common.rule_text import contradicts, make_rule, make_trace
from pld_dspy.stages.merge.per_cluster import synthesize

LABELS = ("red", "green", "blue")
TASK = "Name the colour."
WORDS = ("fire rose", "grass leaf", "sea sky", "wine brick", "moss pine", "ink jeans", "rust clay")


def trace(i, label, rule=None):
    words = WORDS[i % len(WORDS)]
    return make_trace(f"e{i}", label, "why", rule or f"If it shows {words} {i}, answer {label}.")


def cluster(name, members, medoid=0):
    labels = dict(sorted(Counter(t.label for t in members).items()))
    ids = tuple(t.id for t in members)
    return Cluster(id=name, trace_ids=ids, medoid_id=ids[medoid], labels=labels)


def clustering(*clusters, noise=()):
    shape = Diagnosis(
        method="by hand",
        clusters=len(clusters),
        noise_share=0.0,
        largest_share=0.0,
        label_mix=0.0,
        labels_without_rule=(),
        warnings=(),
    )
    return Clustering(clusters=clusters, noise=tuple(t.id for t in noise), diagnosis=shape)


def merged(engine, clusters, traces, *, store=None, threads=1, labels=LABELS, **settings):
    teacher = Teacher(
        lm=fake_lm(engine), store=store or StageStore(), threads=threads, progress=silent
    )
    config = RuleConfig(**{"per_label": False, **settings})
    return synthesize(clusters, traces, teacher, task=TASK, labels=labels, config=config)


def notes_of(prompt):
    notes = prompt.user.split("Notes: ")[1].split("\nAnswer in this form:")[0]
    return [line.removeprefix("- ") for line in notes.splitlines()]


def main_answer(prompt):
    return prompt.user.split("Main answer: ")[1].split("\n")[0]


def said(rule, exception="none"):
    return f"Rule: {rule}\nException: {exception}"


def first_note(prompt):
    """A merge that is right: it says the main answer, in words of the notes."""
    note = notes_of(prompt)[0].removesuffix(".").rsplit(", answer ", 1)[0]
    return said(f"{note} or so, answer {main_answer(prompt)}.")


REDS = [trace(i, "red") for i in range(4)]
GREENS = [trace(i, "green") for i in range(4, 7)]
MIXED = [*REDS[:3], trace(20, "blue"), trace(21, "green"), trace(22, "blue")]


def test_the_prompt_is_pinned():
    engine = FakeEngine(first_note)
    merged(engine, clustering(cluster("k0", MIXED)), MIXED)
    (prompt,) = engine.prompts
    shown = f"=== system\n{prompt.system}\n=== user\n{prompt.user}\n"
    assert shown == golden("teacher_merge.txt", shown)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_rule_a_cluster_by_support_with_its_evidence(threads):
    clusters = clustering(cluster("k0", GREENS), cluster("k1", REDS))
    engine = FakeEngine(first_note)
    found = merged(engine, clusters, [*REDS, *GREENS], threads=threads)
    assert [(r.cluster_id, r.support, r.labels, r.origin) for r in found.merged] == [
        ("k1", 4, {"red": 4}, "synthesis"),
        ("k0", 3, {"green": 3}, "synthesis"),
    ]
    assert found.merged[0].trace_ids == tuple(t.id for t in REDS)
    assert found.merged[0].text == "If it shows fire rose 0 or so, answer red."
    assert (found.general, found.dropped, engine.calls) == ((), {}, 2)


def test_a_minority_becomes_the_exception_that_the_teacher_wrote():
    engine = FakeEngine(lambda p: said("If it is warm, answer red.", "If it is deep, answer blue."))
    found = merged(engine, clustering(cluster("k0", MIXED)), MIXED)
    by_label = {r.main_label: r for r in found.merged}
    assert {y: (r.text, r.origin, r.labels) for y, r in by_label.items()} == {
        "red": ("If it is warm, answer red.", "synthesis", {"red": 3}),
        "blue": ("If it is deep, answer blue.", "synthesis", {"blue": 2}),
        "green": (MIXED[4].rule, "micro", {"green": 1}),
    }
    assert by_label["blue"].trace_ids == (MIXED[3].id, MIXED[5].id)


@pytest.mark.parametrize(
    "exception",
    ["none", "None.", "There is no exception", "-", "If so", "If it is deep, answer navy."],
)
def test_a_minority_without_a_written_exception_keeps_a_rule_of_its_own(exception):
    engine = FakeEngine(lambda p: said("If it is warm, answer red.", exception))
    found = merged(engine, clustering(cluster("k0", MIXED[:4])), MIXED)
    blue = next(r for r in found.merged if r.main_label == "blue")
    assert blue.trace_ids == (MIXED[3].id,)
    if exception != "If so":
        assert (blue.text, blue.origin) == (MIXED[3].rule, "micro")


@pytest.mark.parametrize(
    "answer",
    ["}{", said("If it is warm, answer blue."), said("If it is warm, answer fire."), said("1.")],
)
def test_a_merge_that_cannot_be_used_becomes_a_micro_rule_and_is_counted(answer):
    engine = FakeEngine(lambda prompt: answer)
    found = merged(engine, clustering(cluster("k0", MIXED, medoid=1)), MIXED)
    assert found.dropped == {"merged rules replaced by the medoid": 1}
    assert [(r.text, r.labels, r.origin) for r in found.merged if r.main_label == "red"] == [
        (MIXED[1].rule, {"red": 3}, "medoid")
    ]
    assert {r.main_label: r.support for r in found.merged} == {"red": 3, "blue": 2, "green": 1}


def test_a_medoid_of_a_minority_does_not_speak_for_the_majority():
    found = merged(FakeEngine(lambda p: "}{"), clustering(cluster("k0", MIXED, medoid=3)), MIXED)
    assert all(not contradicts(r.text, r.main_label, LABELS) for r in found.merged)
    assert found.merged[0].text == MIXED[0].rule


def test_large_clusters_are_merged_in_steps():
    many = [trace(i, "red") for i in range(20)]
    small = GREENS
    engine = FakeEngine(first_note)
    clusters = clustering(cluster("k0", many), cluster("k1", small))
    found = merged(engine, clusters, [*many, *small], max_notes=6)
    # 20 notes are 4 requests, their 4 answers one more; the small cluster is one.
    sizes = Counter(len(notes_of(p)) for p in engine.prompts)
    assert sizes == Counter({6: 3, 2: 1, 4: 1, 3: 1})
    assert [(r.support, r.cluster_id) for r in found.merged] == [(20, "k0"), (3, "k1")]
    (last,) = (p for p in engine.prompts if len(notes_of(p)) == 4)
    assert all(" or so, answer red." in note for note in notes_of(last))


def test_steps_are_as_many_as_it_takes():
    many = [trace(i, "red") for i in range(9)]
    engine = FakeEngine(first_note)
    merged(engine, clustering(cluster("k0", many)), many, max_notes=2)
    # 9 notes -> 5 -> 3 -> 2 -> 1
    assert engine.calls == 5 + 3 + 2 + 1
    assert max(len(notes_of(p)) for p in engine.prompts) == 2


@pytest.mark.parametrize(
    "answer", ["}{", said("1."), said("- "), said("If it is warm, answer red.")]
)
@pytest.mark.parametrize("max_notes", [2, 3])
def test_the_steps_end_whatever_the_teacher_says(answer, max_notes):
    many = [trace(i, "red") for i in range(17)]
    engine = FakeEngine(lambda prompt: answer)
    found = merged(engine, clustering(cluster("k0", many)), many, max_notes=max_notes)
    assert engine.calls <= 2 * 17 * 2
    assert [r.support for r in found.merged] == [17]
    assert found.merged[0].text.startswith("If it ")


def test_equal_notes_are_shown_once():
    same = [trace(i, "red", "If it is warm, answer red.") for i in range(30)]
    engine = FakeEngine(first_note)
    found = merged(engine, clustering(cluster("k0", same)), same, max_notes=2)
    assert (engine.calls, found.merged[0].support) == (1, 30)
    assert notes_of(engine.prompts[0]) == ["If it is warm, answer red."]


def test_the_medoid_method_makes_no_call_and_counts_what_it_loses():
    clusters = clustering(cluster("k0", MIXED, medoid=2), cluster("k1", GREENS))
    found = merged(Script(), clusters, [*MIXED, *GREENS], method="medoid")  # a call would fail
    assert [(r.text, r.labels, r.origin) for r in found.merged] == [
        (r.text, r.labels, "medoid") for r in found.medoids
    ]
    assert {r.text: r.labels for r in found.merged} == {
        MIXED[2].rule: {"red": 3},
        GREENS[0].rule: {"green": 3},
    }
    assert found.general == ()
    assert found.dropped == {"traces with another label than the medoid of their cluster": 3}


def test_medoids_come_along_with_the_merged_rules():
    clusters = clustering(cluster("k0", REDS, medoid=3), cluster("k1", GREENS))
    found = merged(FakeEngine(first_note), clusters, [*REDS, *GREENS])
    assert [(r.text, r.support) for r in found.medoids] == [(REDS[3].rule, 4), (GREENS[0].rule, 3)]


def test_a_general_rule_for_each_label_that_has_traces():
    noise = [trace(40, "green")]
    traces = [*REDS, *noise]
    engine = FakeEngine(first_note)
    found = merged(engine, clustering(cluster("k0", REDS[:2])), traces, per_label=True)
    assert [(r.main_label, r.support, r.cluster_id) for r in found.general] == [
        ("red", 4, None),
        ("green", 1, None),
    ]
    assert engine.calls == 3


def test_each_draw_asks_again_and_equal_answers_are_one_rule():
    numbers = iter(range(10))
    texts = ("If warm, answer red.", "If it glows in the dark, answer red.", "If warm, answer red.")
    engine = FakeEngine(lambda prompt: said(texts[next(numbers)]))
    found = merged(engine, clustering(cluster("k0", REDS)), REDS, draws=3)
    assert engine.calls == 3
    assert sorted(r.text for r in found.merged) == sorted(set(texts))
    assert [r.labels for r in found.merged] == [{"red": 4}] * 2


def test_a_run_that_is_taken_up_again_pays_nothing_twice(tmp_path):
    clusters = clustering(cluster("k0", REDS), cluster("k1", GREENS), cluster("k2", MIXED[3:]))
    traces = [*REDS, *GREENS, *MIXED[3:]]
    down = FakeTeacher(first_note, fail_on=lambda call: call > 1)
    with pytest.raises(ModelError, match="run again to resume"):
        merged(down, clusters, traces, store=StageStore(tmp_path))
    engine = FakeEngine(first_note)
    first = merged(engine, clusters, traces, store=StageStore(tmp_path))
    assert engine.calls == 2
    assert merged(Script(), clusters, traces, store=StageStore(tmp_path)) == first


def partitions():
    """Up to 12 traces with labels, cut into clusters, and a teacher who loses some answers."""
    labels = st.lists(st.sampled_from(LABELS), min_size=1, max_size=12)
    return labels.flatmap(
        lambda y: st.tuples(
            st.just(y),
            st.lists(st.integers(0, 3), min_size=len(y), max_size=len(y)),
            st.integers(1, 4),
        )
    )


def build(labels, places):
    traces = [trace(i, label) for i, label in enumerate(labels)]
    groups = [[t for t, p in zip(traces, places, strict=True) if p == k] for k in range(4)]
    return traces, clustering(*(cluster(f"k{k}", g) for k, g in enumerate(groups) if g))


@given(partitions(), st.sampled_from([2, 12]), st.booleans())
def test_every_trace_is_evidence_of_a_rule_whose_answer_is_its_label(drawn, max_notes, per_label):
    labels, places, lost = drawn
    traces, clusters = build(labels, places)
    engine = FakeTeacher(first_note, garbage_on=every(lost))
    found = merged(engine, clusters, traces, max_notes=max_notes, per_label=per_label)
    label_of = {t.id: t.label for t in traces}
    for rules in (found.merged, found.general, found.medoids):
        for rule in rules:
            assert rule.support > 0
            assert len(set(rule.trace_ids)) == rule.support
            assert rule.labels == dict(sorted(Counter(label_of[i] for i in rule.trace_ids).items()))
            assert not contradicts(rule.text, rule.main_label, LABELS)
        assert len({rule.id for rule in rules}) == len(rules)
    evidence = [(i, rule) for rule in found.merged for i in rule.trace_ids]
    assert {i for i, _ in evidence} == set(label_of)
    assert all(label_of[i] in rule.labels for i, rule in evidence)
    if per_label:
        assert {i for rule in found.general for i in rule.trace_ids} == set(label_of)


@given(partitions())
def test_medoids_alone_lose_only_what_is_counted(drawn):
    labels, places, _ = drawn
    traces, clusters = build(labels, places)
    found = merged(Script(), clusters, traces, method="medoid")
    kept = {i for rule in found.merged for i in rule.trace_ids}
    assert len(kept) + sum(found.dropped.values()) == len(traces)


@given(partitions(), st.integers(1, 3))
def test_the_same_input_gives_the_same_rules(drawn, threads):
    labels, places, _ = drawn
    traces, clusters = build(labels, places)
    first = merged(FakeEngine(first_note), clusters, traces, per_label=True)
    assert (
        merged(FakeEngine(first_note), clusters, traces, per_label=True, threads=threads) == first
    )


def test_a_rule_is_named_by_its_text_and_origin():
    wet, dry = "If it rains, answer wet.", "If it shines, answer dry."
    ids = {
        make_rule(wet, REDS[:1], origin="synthesis").id,
        make_rule(wet, REDS[1:], origin="synthesis").id,
        make_rule(dry, REDS, origin="synthesis").id,
        make_rule(wet, REDS, origin="refine").id,
    }
    assert len(ids) == 3
    assert all(len(i) == 9 and i.startswith("r") for i in ids)

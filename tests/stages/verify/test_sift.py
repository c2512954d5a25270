"""Which rules stay, which go, and which are never in one list."""

from dataclasses import replace

from pld_dspy.config.optimizer import VerifyConfig
from pld_dspy.stages.common.pools import Pool
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.verify.sift import OTHERS, sift
from pld_dspy.stages.verify.truth import truth_of

GOLD = {f"r{n}": "red" for n in range(5)} | {f"g{n}": "green" for n in range(5)}
GOLD |= {f"b{n}": "blue" for n in range(10)}
TRACES = {label: make_trace("e", label, "w", "x") for label in ("red", "green", "blue")}
CONFIG = VerifyConfig()


def rule(condition, label, **kind):
    kind = {"origin": "synthesis", **kind}
    return make_rule(f"If {condition}, answer {label}.", [TRACES[label]], **kind)


def truth(label, *ids):
    """The truth of a rule whose condition holds for these examples."""
    return truth_of(label, {key: key in ids for key in GOLD}, GOLD)


def texts(pool):
    return [rule.text for rule in pool.rules]


TRUE_RED, TRUE_GREEN, TRUE_BLUE = rule("warm", "red"), rule("leafy", "green"), rule("wet", "blue")
TRUTHS = {
    TRUE_RED.text: truth("red", "r0", "r1", "r2"),
    TRUE_GREEN.text: truth("green", "g0", "g1", "g2"),
    TRUE_BLUE.text: truth("blue", "b0", "b1", "b2", "b3", "b4"),
}


def test_false_rules_leave_every_pool_and_are_counted(caplog):
    false, single, never = (rule(name, "red") for name in ("false", "single", "never"))
    chance = rule("chance", "blue")
    truths = {
        **TRUTHS,
        false.text: truth("red", "r0", "r1", "g0", "g1"),
        # Half of the examples are blue: chance is as good as 2 of 3 in half of the cases.
        chance.text: truth("blue", "b0", "b1", "r0"),
        single.text: truth("red", "r0"),
        never.text: truth("red"),
    }
    every = (TRUE_RED, false, chance, single, never, TRUE_BLUE)
    with caplog.at_level("INFO", logger="pld_dspy"):
        found = sift(
            (Pool("merged", every), Pool("rest", every, is_candidate=False)), truths, CONFIG
        )

    assert [texts(pool) for pool in found.pools] == [[TRUE_RED.text, TRUE_BLUE.text]] * 2
    assert found.dropped == {
        "rules that are false for too many training examples": 1,
        "rules no truer than chance on training examples": 1,
        "rules that no two training examples bear": 2,
    }
    (line,) = [r.getMessage() for r in caplog.records if r.name.endswith("sift")]
    assert line.startswith("4 of 6 rules are not true of the training examples and are left out")
    assert f"{false.text!r} (right for 2 of 4)" in line
    assert found.warnings({}) == ()
    kept = found.pools[0].rules[0]
    assert kept.truth == TRUTHS[TRUE_RED.text]
    assert kept.support == 3


def test_a_rule_that_one_group_alone_bears_is_no_rule():
    narrow, broad, only = rule("mother", "red"), rule("family", "red"), rule("leafy", "green")
    groups = {key: key[0] for key in GOLD} | {"r3": "aunts", "r4": "pupils"}

    def found(label, *ids):
        return truth_of(label, {key: key in ids for key in GOLD}, GOLD, groups)

    truths = {
        narrow.text: found("red", "r0", "r1", "r2"),
        broad.text: found("red", "r1", "r4"),
        # All the green examples are of one group: nothing broader can be known.
        only.text: found("green", "g0", "g1"),
    }
    kept = sift((Pool("merged", (narrow, broad, only)),), truths, CONFIG)

    assert texts(kept.pools[0]) == [broad.text, only.text]
    assert kept.dropped == {"rules that training examples of one group alone bear": 1}
    assert truths[broad.text].worth == (1 / 3 + 0 + 1) / 3


def test_a_label_keeps_the_best_of_its_false_rules_and_a_warning_says_so():
    worse, best = rule("worse", "red"), rule("best", "red")
    truths = {
        TRUE_GREEN.text: TRUTHS[TRUE_GREEN.text],
        worse.text: truth("red", "r0", "g0", "g1", "g2"),
        best.text: truth("red", "r0", "r1", "g0", "g1"),
    }
    found = sift((Pool("merged", (worse, best, TRUE_GREEN)),), truths, CONFIG)

    assert texts(found.pools[0]) == [best.text, TRUE_GREEN.text]
    (warning,) = found.warnings({})
    assert warning == (
        "no rule for 'red' is true of the training examples; the best one, right for 2 of 4 "
        f"examples, is kept: {best.text}"
    )
    assert sum(found.dropped.values()) == 1


def test_a_false_rule_goes_where_a_word_tells_what_its_label_means():
    false = rule("false", "red")
    truths = {**TRUTHS, false.text: truth("red", "r0", "r1", "g0", "g1")}
    pools = (Pool("merged", (false, TRUE_GREEN)), Pool("alone", (false,)))
    found = sift(pools, truths, CONFIG)
    assert found.left_to_words({}) == found
    assert found.left_to_words({"red": "red", "green": "leaf"}) == found

    left = found.left_to_words({"red": "blood", "green": "leaf"})
    assert [texts(pool) for pool in left.pools] == [[TRUE_GREEN.text]]
    assert left.dropped == {"rules that are false for too many training examples": 1}
    (warning,) = left.warnings({"red": "fire", "green": "leaf"})
    assert warning == (
        "no rule for 'red' is true of the training examples; the best one, right for 2 of 4 "
        f"examples, is left out, since the label is shown as 'fire': {false.text}"
    )

    # In the end the labels may be shown by their names; the rule is out all the same.
    assert left.warnings({}) == (warning.replace(", since the label is shown as 'fire'", ""),)


def test_a_label_that_another_true_rule_answers_keeps_no_false_one():
    false = rule("false", "red")
    truths = {**TRUTHS, false.text: truth("red", "r0", "g0", "g1")}
    found = sift((Pool("merged", (false, TRUE_GREEN)),), truths, CONFIG, answered={"red"})

    assert texts(found.pools[0]) == [TRUE_GREEN.text]
    assert found.warnings({}) == ()


def test_rules_without_a_judgement_stay():
    unknown = rule("unknown", "blue")
    found = sift((Pool("merged", (unknown, TRUE_RED)),), TRUTHS, CONFIG)

    assert texts(found.pools[0]) == [unknown.text, TRUE_RED.text]
    assert found.pools[0].rules[0].support == 1  # its traces
    assert not found.dropped


def test_alike_rules_share_an_answer_and_their_examples():
    again, other = rule("hot", "red"), rule("cosy", "red")
    truths = TRUTHS | {
        again.text: truth("red", "r0", "r1", "r2", "g4"),
        other.text: truth("red", "r2", "r3", "r4"),
    }
    found = sift(
        (Pool("all", (TRUE_RED, again, other, TRUE_GREEN), is_candidate=False),), truths, CONFIG
    )

    assert found.alike == {frozenset({TRUE_RED.text, again.text})}


def test_a_rule_and_its_variant_with_instances_are_alike_even_without_a_judgement():
    variant = replace(
        TRUE_RED, id="rv", text=f"{TRUE_RED.text.rstrip('.')} (for example: Text ember, coal)."
    )
    found = sift((Pool("all", (TRUE_RED, variant), is_candidate=False),), {}, CONFIG)

    assert found.alike == {frozenset({TRUE_RED.text, variant.text})}


def test_a_candidate_has_the_better_of_alike_rules_and_of_drafts_and_others_go_to_the_search():
    longer, draft = rule("warm or very hot", "red", cluster_id="k1"), rule("hot", "red")
    apart = rule("ember", "red", cluster_id="k2")
    truths = TRUTHS | {
        longer.text: TRUTHS[TRUE_RED.text],  # alike and as good, but longer
        draft.text: truth("red", "r1", "r3", "r4", "g4"),  # another draft of the whole label
        apart.text: truth("red", "r3", "r4"),
    }
    rules = (draft, longer, TRUE_RED, apart, TRUE_GREEN)
    whole, others = sift((Pool("general", rules),), truths, CONFIG).pools

    assert texts(whole) == [TRUE_RED.text, apart.text, TRUE_GREEN.text]
    assert (others.name, others.is_candidate) == (OTHERS, False)
    assert texts(others) == [draft.text, longer.text]


def test_a_pool_without_a_true_rule_is_left_out():
    false = rule("false", "red")
    truths = TRUTHS | {false.text: truth("red", "g0")}
    found = sift(
        (Pool("medoids", (false,)), Pool("merged", (TRUE_RED, TRUE_GREEN))), truths, CONFIG
    )

    assert [pool.name for pool in found.pools] == ["merged"]

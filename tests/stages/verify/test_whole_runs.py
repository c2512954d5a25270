"""Whole compiles with a teacher that judges truly: false rules never reach the student."""

import pytest

from fakes import FakeEngine, follow, keyword_rule
from judges import judge_truly, judges
from keyword_runs import SELECT, TASK, TRAIN, VAL, compiled, engines, teach
from pld_dspy import PLDConfig
from pld_dspy.data.examples import example_id
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.prompt import HEADER

SMALL = {"search": {"trials": 4, "race": {"enabled": False}}, "refine": {"rounds": 0}}
VERIFYING = PLDConfig(**SMALL)
NOT = PLDConfig(**SMALL, verify={"enabled": False})


def with_false_rules(prompt):
    """Judge truly, and explain red and green examples by a word that decides nothing."""
    if judges(prompt):
        return judge_truly(prompt)
    example, _, gold = prompt.user.partition("\nCorrect answer: ")
    if "river" in example and gold.startswith(("red", "green")):
        return f"Rationale: so.\nRule: {keyword_rule('river', gold.split()[0])}"
    return teach(prompt)


def run(config, answer=with_false_rules):
    student, teacher = engines(teacher=FakeEngine(answer))
    return compiled(student, teacher, config=config), student, teacher


def lines(student):
    """The rules that the student was shown, without their numbers."""
    shown = "\n".join(prompt.system for prompt in student.prompts)
    return {line.partition(". ")[2] for line in shown.splitlines()}


def part(program):
    return program.pld_result.predictors[0]


def test_a_planted_false_rule_is_never_shown_to_the_student():
    program, student, _ = run(VERIFYING)
    _, before, _ = run(NOT)
    planted = {keyword_rule("river", "red"), keyword_rule("river", "green")}

    assert planted & lines(before)  # without the check they are tried
    assert not planted & lines(student)
    counted = program.pld_result.dropped
    assert sum(n for why, n in counted.items() if why.startswith("rules ")) > 0


def edits_falsely(prompt):
    """Judge and merge truly; each round of edits adds a false rule and one that is true."""
    if judges(prompt):
        return judge_truly(prompt)
    if "\nEdits: <" in prompt.user:
        return f"Cause: so.\nEdits: ADD: {FALSE_EDIT}\nADD: {TRUE_EDIT}"
    return teach(prompt)


FALSE_EDIT = keyword_rule("river", "red")
TRUE_EDIT = TASK.rules[0].rstrip(".") + ", whatever else it says."
ROUND = {"refine": {"rounds": 1, "edits": 2}}
# Without the drafts and merges that know every rule already there is something to mend.
WEAK = {"rules": {"per_label": False}, "explain": 4}


@pytest.mark.parametrize("enabled", [True, False])
def test_an_edit_with_a_false_rule_is_never_shown_to_the_student(enabled):
    config = PLDConfig(**{**SMALL, **ROUND, **WEAK}, verify={"enabled": enabled, "max_drafts": 0})
    program, student, _ = run(config, edits_falsely)
    tried = {rule.text for edit in part(program).edits for rule in edit.added}

    assert TRUE_EDIT in tried
    assert (FALSE_EDIT in lines(student)) == (FALSE_EDIT in tried) == (not enabled)
    truths = [rule.truth for edit in part(program).edits for rule in edit.added]
    assert all((truth is not None) == enabled for truth in truths)
    left_out = [why for why in program.pld_result.dropped if why.startswith("edits with rules")]
    assert bool(left_out) == enabled


def test_judgements_of_an_edit_that_cannot_be_read_are_counted_and_leave_it_in():
    def unsure(prompt):
        river = judges(prompt) and "'river'" in prompt.user
        return "I would rather not say" if river else edits_falsely(prompt)

    config = PLDConfig(**{**SMALL, **ROUND, **WEAK}, verify={"max_drafts": 0, "how": "each"})
    program, student, _ = run(config, unsure)

    assert FALSE_EDIT in lines(student)
    assert program.pld_result.dropped["judgements of conditions that could not be read"] > 0


def test_each_rule_of_the_final_list_says_what_bears_it_and_what_it_gains():
    program, _, _ = run(VERIFYING)
    result = part(program)
    gold = {example_id(example): example.label for example in TRAIN}

    assert result.chosen.rules
    for rule in result.chosen.rules:
        assert rule.truth is not None
        assert rule.support == len(rule.truth.borne_by)
        # Only the last rule of a label may be false, and then the report says so.
        assert rule.support >= 2 or any(rule.text in warning for warning in result.warnings)
        assert all(gold[key] == rule.truth.answer for key in rule.truth.borne_by)
    assert result.left_out.keys() == {rule.id for rule in result.chosen.rules}


def test_the_gain_of_a_rule_is_the_score_of_the_list_minus_that_without_it():
    program, _, _ = run(VERIFYING)
    result = part(program)
    examples = [*VAL, *SELECT]

    def score(rules):
        system = "\n".join([HEADER, *(rule.text for rule in rules)])
        gold = [example.label for example in examples]
        return accuracy(gold, [follow(system, e.text, TASK.default) for e in examples])

    rules = result.chosen.rules
    for rule in rules:
        rest = [other for other in rules if other.id != rule.id]
        gain = result.left_out[rule.id]
        assert gain.estimate == pytest.approx(score(rules) - score(rest))
        assert gain.low <= gain.estimate <= gain.high


def test_disabled_is_as_before():
    program, _, teacher = run(NOT)
    result = part(program)

    assert not any(judges(prompt) for prompt in teacher.prompts)
    assert all(rule.truth is None for candidate in result.candidates for rule in candidate.rules)
    assert result.left_out == {}
    assert result.warnings == ()


def test_a_teacher_whose_judgements_cannot_be_read_changes_no_list():
    def mute(prompt):
        return "I would rather not say" if judges(prompt) else with_false_rules(prompt)

    config = VERIFYING.model_copy(
        update={"verify": VERIFYING.verify.model_copy(update={"leave_out": False})}
    )
    program, _, _ = run(config, mute)
    before, _, _ = run(NOT)

    assert part(program).chosen.prompt == part(before).chosen.prompt
    said = program.pld_result.dropped["judgements of conditions that could not be read"]
    assert said > 0
    unreadable = {"judgements of conditions that could not be read": said}
    assert program.pld_result.dropped == {**before.pld_result.dropped, **unreadable}


def test_micro_rules_that_merges_lose_come_back_as_a_list_that_covers_the_labels():
    def spoils_merges(prompt):
        if judges(prompt):
            return judge_truly(prompt)
        if "\nException: <" in prompt.user:
            return f"Rule: {keyword_rule('river', 'red')}\nException: none"
        return teach(prompt)

    rules = {"method": "merge", "per_label": False, "examples": 0}
    program, student, _ = run(PLDConfig(**SMALL, rules=rules), spoils_merges)
    covering = next(c for c in part(program).candidates if c.note == "covering")
    none, _, _ = run(PLDConfig(**SMALL, rules=rules, verify={"max_drafts": 0}), spoils_merges)

    assert {rule.truth.answer for rule in covering.rules} >= {"red", "green", "blue"}
    false = [rule for rule in covering.rules if rule.truth.precision.estimate < 0.6]
    assert all(any(rule.text in warning for warning in part(program).warnings) for rule in false)
    assert {rule.text for rule in covering.rules} <= lines(student)
    best = {c: part(c).score(part(c).chosen_id, "val") for c in (program, none)}
    assert best[program] >= best[none]


def test_rules_that_differ_in_the_name_of_the_input_are_judged_once_and_stand_in_no_list_together():
    def names_it_in_two_ways(prompt):
        said = with_false_rules(prompt)
        if judges(prompt) or len(prompt.user) % 2:
            return said
        return said.replace("the text mentions", "the sentence mentions")

    program, student, teacher = run(VERIFYING, names_it_in_two_ways)
    asked = [prompt.user for prompt in teacher.prompts if judges(prompt)]

    assert not any("the sentence mentions" in user for user in asked)
    assert any("the sentence mentions" in trace.rule for trace in part(program).traces)
    for candidate in part(program).candidates:
        texts = [rule.text.replace("the sentence", "the text") for rule in candidate.rules]
        assert len(set(texts)) == len(texts)
    assert lines(student)


def test_judging_is_bounded():
    bounds = {"max_examples": 5, "max_conditions": 2, "max_drafts": 1}
    _, _, teacher = run(PLDConfig(**SMALL, verify={**bounds, "how": "each"}))
    asked = [prompt for prompt in teacher.prompts if judges(prompt)]

    assert 0 < len(asked) <= 5 * (2 + 1)


def test_no_judge_sees_a_label():
    _, _, teacher = run(VERIFYING)
    asked = [prompt for prompt in teacher.prompts if judges(prompt)]

    assert asked
    for prompt in asked:
        assert not {"red", "green", "blue", "grey"} & set(str(prompt).lower().split())


def test_labels_that_no_rule_answers_are_named():
    program, _, _ = run(VERIFYING)
    result = part(program)
    answered = {rule.truth.answer for rule in result.chosen.rules}
    missing = sorted({example.label for example in TRAIN} - answered)

    named = [w for w in result.warnings if w.startswith("no rule of the final list answers")]
    expected = f"no rule of the final list answers {', '.join(map(repr, missing))}"
    assert named == ([expected] if missing else [])

"""The table of what each program knows: with lines that have it, and with older ones."""

import pytest

from comparison_lines import line
from experiments.bench.lines import Results
from experiments.report.knowledge import layer_gain, section, separability_gain
from experiments.report.page import compare, page
from experiments.report.statistics import GIVEN, OURS, standings


def told(optimizer, gain=0.2, *, reach=0.05, decided=None, **keys):
    """A line of after the decision layer; `decided` None is right everywhere."""
    bare = line(optimizer, **keys)
    said = bare.gold if decided is None else decided
    facts = {
        "separability": 0.6 + gain,
        "baseline_separability": 0.6,
        "separability_gain": gain,
        "separability_gain_ci95": (gain - reach, gain + reach),
        "decided_score": 1.0,
        "decided_ci95": (1.0, 1.0),
        "decided_said": said,
        "decision": {"kind": "offsets", "offsets": {}, "temperature": 1.0},
        "decision_calls": 76,
        "labelled": 124,
        "answer_tokens": 1.0,
    }
    return bare.model_copy(update=facts)


def without_model(optimizer, **keys):
    return line(optimizer, budget="own", prompt_tokens=None, program=None, **keys).model_copy(
        update={"labelled": 124}
    )


def table_of(lines):
    rows = [row for row in section(standings(lines)).splitlines() if row.startswith("| ")]
    head = [cell.strip() for cell in rows[0].strip("|").split("|")]
    return {
        cells[0]: dict(zip(head, cells, strict=True))
        for cells in ([c.strip() for c in row.strip("|").split("|")] for row in rows[2:])
    }


def text(*lines):
    return page(compare(Results(lines, ())), {})


def test_lines_of_before_have_no_such_table():
    lines = [line(OURS), line("gepa")]

    assert section(standings(lines)) == ""
    assert "separability" not in text(*lines)
    assert "decision layer" not in text(*lines)


def test_one_new_line_brings_the_table_and_how_it_was_made():
    found = text(line(OURS), told("gepa"))

    assert found.count("What the programs know") == 1
    assert "- The decision layer chooses the label with the largest corrected" in found
    assert "\n\n\n" not in found


def test_a_row_has_the_score_as_shipped_and_with_the_layer():
    lines = [told(OURS, rate=0.8), told("gepa", rate=0.5), without_model("bag-of-words", rate=0.7)]
    rows = table_of(lines)
    gepa = rows["gepa"]

    assert gepa["as shipped [95%]"].startswith(f"{lines[1].score:.3f} [")
    assert gepa["with the layer [95%]"] == "1.000 [1.000, 1.000]"
    assert gepa["the layer's gain [95%]"].startswith(f"{1 - lines[1].score:+.3f} [")
    assert gepa["minus PLD searched, both with it [95%]"] == "+0.000 [+0.000, +0.000]"
    assert (gepa["separability as given"], gepa["separability"]) == ("0.600", "0.800")
    assert gepa["gain [95%]"] == "+0.200 [+0.150, +0.250]"
    assert gepa["labelled examples"] == "124"
    assert gepa["tokens a call"] == f"{lines[1].prompt_tokens + 1:,.0f}"
    assert gepa["decision"] == "offsets"
    assert rows[OURS]["minus PLD searched, both with it [95%]"] == "-"
    bag = rows["bag-of-words"]
    assert (bag["with the layer [95%]"], bag["tokens a call"], bag["decision"]) == ("-", "-", "-")
    assert bag["minus PLD searched, both with it [95%]"].startswith(f"{lines[2].score - 1:+.3f} [")


def test_a_program_with_its_own_decision_has_a_column_for_what_it_is_without():
    plain = [told(OURS), told("gepa")]
    own = [told(OURS, greedy_score=0.25), told("gepa")]
    head = "as shipped, without its own decision"

    assert head not in table_of(plain)["gepa"]
    assert [table_of(own)[name][head] for name in (OURS, "gepa")] == ["0.250", "-"]


@pytest.mark.parametrize(("gain", "says"), [(0.2, False), (0.04, True), (-0.2, True)])
def test_where_nothing_is_added_it_is_said_in_words(gain, says):
    found = section(standings([told(OURS, gain), told("gepa", 0.2)]))

    assert (f"- {OURS} adds no separability ({gain:+.3f} [" in found) == says
    assert ("its rules and examples add nothing to what the student knows" in found) == says
    assert "gepa adds no" not in found


def test_a_rival_is_told_apart_from_our_rules_and_a_reference_is_not_told_of():
    lines = [told(OURS, 0.2), told("gepa", 0.0), told(GIVEN, 0.0)]
    found = section(standings(lines))

    assert "- gepa adds no separability" in found
    assert "no better than the student as given" in found
    assert "student as given adds" not in found


def test_rows_without_probabilities_are_named():
    lines = [told(OURS), without_model("majority"), without_model("bag-of-words"), line("gepa")]
    found = section(standings(lines))

    assert "without the layer: bag-of-words, majority." in found or (
        "without the layer: majority, bag-of-words." in found
    )


def test_the_gain_over_seeds_has_the_larger_of_two_errors():
    alike = [told("gepa", 0.1, seed=s) for s in range(3)]
    apart = [told("gepa", g, seed=s) for s, g in enumerate((-0.3, 0.1, 0.5))]

    assert separability_gain(alike).estimate == pytest.approx(0.1)
    assert separability_gain(alike).high == pytest.approx(0.1 + 0.05 / 3**0.5)
    assert separability_gain(apart).estimate == pytest.approx(0.1)
    assert separability_gain(apart).high == pytest.approx(0.1 + 1.96 * 0.4 / 3**0.5)
    assert separability_gain([line("gepa")]) is None


def test_some_seeds_without_the_layer_are_counted():
    lines = [told(OURS), told("gepa", seed=0), line("gepa", seed=1)]

    assert "(1 of 2 seeds)" in table_of(lines)["gepa"]["with the layer [95%]"]
    assert layer_gain(lines[2:]) is None


def test_how_far_a_decision_could_go_is_shown_where_it_is_known():
    lines = [told(OURS), told("gepa", seed=0), told("gepa", seed=1)]
    assert "in hindsight" not in section(standings(lines)).lower()

    lines[1] = lines[1].model_copy(update={"hindsight_score": 0.75})
    rows = table_of(lines)

    assert "fitted to the test answers themselves: no result" in section(standings(lines))
    assert rows["gepa"]["in hindsight"] == "0.750 (1 of 2 seeds)"
    assert rows["pld-searched"]["in hindsight"] == "-"
    assert rows["student as given"]["in hindsight"] == "-"


def test_the_student_as_given_of_other_lines_has_its_separability_alone():
    row = table_of([told(OURS, 0.2)])["student as given"]

    assert row["separability"] == row["separability as given"] == "0.600"
    assert (row["with the layer [95%]"], row["labelled examples"], row["gain [95%]"]) == ("-",) * 3

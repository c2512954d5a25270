import io
import json
import re
from dataclasses import replace

import dspy
import pytest
from rich.console import Console

from fakes import RuleFollower
from pld_dspy.cli.show import show_plan, show_report, show_rule, show_rules
from pld_dspy.config.run import read_config
from pld_dspy.data.tasks import Task
from pld_dspy.errors import StorageError
from pld_dspy.ledger.store import StageStore
from pld_dspy.ledger.tracker import NullTracker
from pld_dspy.ledger.versions import commit
from pld_dspy.records import (
    Answer,
    Clustering,
    Diagnosis,
    Evaluation,
    Interval,
    PLDResult,
    PredictorResult,
    SearchRecord,
    TriedList,
)
from pld_dspy.runs.artifacts import Pictures, write_pictures
from pld_dspy.runs.before_after import scores
from pld_dspy.runs.estimate import plan
from pld_dspy.runs.page import search_line, verdict, write_markdown
from pld_dspy.runs.report import Report, search_numbers
from pld_dspy.runs.rules.evidence import rules_with_evidence
from pld_dspy.runs.run import run_distill
from pld_dspy.scoring.metrics import accuracy, macro_f1
from pld_dspy.stages.common.prompt import make_candidate
from pld_dspy.stages.common.rule_text import make_rule, make_trace
from pld_dspy.stages.verify.truth import truth_of
from small_runs import TASK, Models, write_config


class Noted(NullTracker):
    """Remembers what it was told."""

    def __init__(self):
        self.told, self.files = {}, set()

    def metrics(self, values, *, step=None):
        self.told |= values

    def file(self, path, folder=""):
        self.files.add(path.name)


@pytest.fixture(scope="module")
def tracker():
    """The tracker of the finished run."""
    return Noted()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tracker):
    """A finished run: its report, its rules, its folder."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pld_dspy.runs.run._tracker", lambda config: tracker)
        Models(patch, student=RuleFollower(TASK.default))
        config = read_config(write_config(folder))
        report = run_distill(config)
    return report, json.loads((config.run_dir / "rules.json").read_text()), config.run_dir


def printed(show, *args):
    console = Console(file=io.StringIO(), width=120)
    show(*args, console)
    return console.file.getvalue()


def evaluation(answers, gold="aabb", failed=()):
    return Evaluation(
        candidate_id="c",
        split="test",
        metric="macro_f1",
        score=accuracy(list(gold), list(answers)),
        answers=tuple(
            Answer(
                example_id=str(n),
                gold=g,
                answer=None if said == "-" else said,
                error="boom" if n in failed else None,
                input_tokens=10 * (n + 1),
            )
            for n, (g, said) in enumerate(zip(gold, answers, strict=True))
        ),
    )


def test_scores_compare_all_examples_and_count_a_crash_as_wrong():
    found = scores(accuracy, evaluation("aaaa"), evaluation("aab-", failed={2}), seed=0)

    assert found["test_n"] == 4
    assert found["delta"] == 0.0  # both have two right of four
    assert (found["failures"], found["failures_baseline"]) == (1, 0)
    assert found["unparsed_rate_compiled"] == pytest.approx(1 / 3)
    assert found["baseline_macro_f1"] == macro_f1(list("aabb"), list("aaaa"))
    assert found["compiled_accuracy"] == 0.5
    assert found["prompt_tokens_baseline"] == 25.0
    assert found["mcnemar_p"] == 1.0


def test_a_report_survives_its_file(finished, tmp_path):
    report, _, _ = finished
    (tmp_path / "report.json").write_text(report.to_json(), encoding="utf-8")

    assert Report.read(tmp_path) == report


def test_a_folder_without_a_report_says_how_to_get_one(tmp_path):
    with pytest.raises(StorageError, match="finish the run with `pld distill`"):
        Report.read(tmp_path)
    (tmp_path / "report.json").write_text('{"task": 1}', encoding="utf-8")
    with pytest.raises(StorageError, match="is not a report of this version"):
        Report.read(tmp_path)
    (tmp_path / "report.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(StorageError, match=r"report\.json is not text \(.*\); run again"):
        Report.read(tmp_path)


def test_the_environment_is_recorded():
    found = commit()
    assert found is None or len(found.removesuffix("-dirty")) == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta": 0.2, "delta_ci95": (0.1, 0.3)}, "The rules help: +0.200 macro-F1"),
        ({"delta": 0.2, "delta_ci95": (-0.1, 0.3)}, "No clear difference"),
        ({"delta": -0.2, "delta_ci95": (-0.3, -0.1)}, "The rules hurt"),
        ({"rules": 0, "reason": "noise"}, "No rule list beat the student, so it stays"),
    ],
)
def test_the_verdict_follows_the_interval(finished, change, words):
    assert words in verdict(finished[0].model_copy(update=change))


def test_the_terminal_shows_scores_rules_files_and_commands(finished):
    report, rules, folder = finished
    text = printed(show_report, report, rules, folder)

    low, high = report.compiled_ci95
    assert f"{report.compiled:.3f} [{low:.3f}, {high:.3f}]" in text
    for rule in rules["predict"]["rules"]:
        assert rule["id"] in text
        assert rule["text"] in text
    assert "program.json" in text
    assert f"pld evaluate {folder}" in text


def test_a_run_without_rules_is_shown_as_such(finished):
    report, rules, folder = finished
    none = {"predict": {**rules["predict"], "rules": []}}

    assert "No rules: the student stays as given." in printed(show_rules, none)
    text = printed(show_report, report.model_copy(update={"rules": 0}), none, folder)
    assert "try a stronger teacher" in text


def test_brackets_of_the_data_are_no_markup(finished):
    _, rules, _ = finished
    first = {**rules["predict"]["rules"][0], "text": "If [bold] or [/x] occurs, answer red."}

    assert "If [bold] or [/x] occurs" in printed(
        show_rules, {"predict": {**rules["predict"], "rules": [first]}}
    )
    odd = {**rules["predict"], "rules": [{**first, "labels": {"[/x]": 1, "[red]": 2}}]}
    table = printed(show_rules, {"[/first]": odd, "second": odd})
    assert "[/x] 1, [red] 2" in table
    assert "Rules of [/first]" in table
    report = finished[0].model_copy(update={"task": "a [/task]"})
    assert "a [/task], test" in printed(show_report, report, rules, finished[2])


def test_the_page_holds_the_scores_the_rules_and_the_pictures(finished):
    report, rules, folder = finished
    write_markdown(report, rules, folder / "report.md")
    page = (folder / "report.md").read_text(encoding="utf-8")

    assert f"{report.baseline:.3f} [" in page
    assert "![confusion](confusion.png)" in page
    for number, rule in enumerate(rules["predict"]["rules"], 1):
        assert f"\n{number}. {rule['text']}" in page


def test_labels_that_share_groups_are_named(finished, tmp_path):
    report, rules, folder = finished
    named = "Too few groups of red [x] (2), blue (1): for these labels only test has groups"
    split = {**report.split, "shared": {"red [x]": 2, "blue": 1}}
    for found, expected in ((report, False), (report.model_copy(update={"split": split}), True)):
        write_markdown(found, rules, tmp_path / "report.md")
        assert (named in (tmp_path / "report.md").read_text(encoding="utf-8")) is expected
        assert (named in printed(show_report, found, rules, folder)) is expected


def test_the_page_and_the_terminal_find_the_pictures_of_each_predictor(finished, tmp_path):
    report, rules, _ = finished
    for name in ("confusion", "gains-first", "gains-second", "search_history-first"):
        (tmp_path / f"{name}.png").touch()
    write_markdown(report, rules, tmp_path / "report.md")
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    text = printed(show_report, report, rules, tmp_path)

    for name, what in (
        ("confusion", "confusion"),
        ("gains-first", "gains of first"),
        ("gains-second", "gains of second"),
        ("search_history-first", "search history of first"),
    ):
        assert f"![{what}]({name}.png)" in page
        assert re.search(rf"{name}\.png +{what}\n", text)


SEARCHED = {
    "rules": 3,
    "search_score": 0.93,
    "select_score": 0.9,
    "optimism": 0.03,
    "search_trials": 30,
    "search_calls": 402,
    "search_full_calls": 1080,
}
LINE = "validation 0.93, selection 0.90 (optimism +0.03); 30 lists tried with 402 of 1080 calls"


def test_a_report_from_before_there_were_search_figures_still_reads(finished, tmp_path):
    report, rules, _ = finished
    lines = json.loads(report.to_json())
    for name in SEARCHED.keys() - {"rules"}:
        assert lines.pop(name) is not None
    (tmp_path / "report.json").write_text(json.dumps(lines), encoding="utf-8")
    read = Report.read(tmp_path)

    assert search_line(read) is None
    assert "lists tried" not in printed(show_report, read, rules, tmp_path)
    write_markdown(read, rules, tmp_path / "report.md")
    assert "lists tried" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_terminal_and_the_page_tell_how_far_the_search_was_lucky(finished, tmp_path):
    report, rules, _ = finished
    report = report.model_copy(update=SEARCHED)
    write_markdown(report, rules, tmp_path / "report.md")

    assert f"Search: {LINE}\n" in printed(show_report, report, rules, tmp_path)
    assert f"\nSearch: {LINE}.\n" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"optimism": -0.02, "select_score": 0.95}, LINE.replace("0.90 (optimism +0.03", "0.95 (optimism -0.02")),
        ({"select_score": None, "optimism": None}, LINE.replace(", selection 0.90 (optimism +0.03)", "")),
        ({"rules": 0}, "30 lists tried with 402 of 1080 calls"),
        ({"search_trials": None}, None),
    ],
)  # fmt: skip
def test_what_is_not_known_of_the_search_is_not_said(finished, change, line):
    assert search_line(finished[0].model_copy(update=SEARCHED | change)) == line


def test_a_run_reports_its_own_search(finished):
    report, rules, folder = finished

    assert report.search_trials == 2
    assert 0 < report.search_calls <= report.search_full_calls == 2 * 16
    assert report.optimism == pytest.approx(report.search_score - report.select_score)
    assert all(len(rule["gain"]) == 3 for rule in rules["predict"]["rules"])
    assert {"front.png", "gains.png"} <= {path.name for path in folder.iterdir()}


def test_the_search_is_tracked_with_its_pictures(finished, tracker):
    report, _, folder = finished
    drawn = {path.name for path in folder.glob("*.png")}

    assert {"front.png", "gains.png", "search_history.png"} <= drawn <= tracker.files
    told = {k: v for k, v in tracker.told.items() if k.startswith("search.")}
    assert told == {
        "search.val_score": report.search_score,
        "search.select_score": report.select_score,
        "search.optimism": report.optimism,
        "search.trials": 2,
        "search.calls": report.search_calls,
        "search.full_calls": report.search_full_calls,
    }


RULE = make_rule("If it barks, answer dog.", [make_trace("e", "dog", "w", "r")], origin="synthesis")
TWIN = make_rule(RULE.text, [make_trace("f", "dog", "v", "s")], origin="medoid")
OTHER = make_rule("If it meows, answer cat.", [make_trace("g", "cat", "w", "r")], origin="medoid")


def distilled(*, search=None, rules=(RULE,)):
    """A predictor whose chosen list holds `rules`, with scores of 0.75 and 0.5 on 'val' and 'select'."""
    diagnosis = Diagnosis(
        method="m",
        clusters=0,
        noise_share=0,
        largest_share=0,
        label_mix=0,
        labels_without_rule=(),
        warnings=(),
    )
    chosen = make_candidate("Task.", rules, origin="synthesis")
    return PredictorResult(
        predictor="predict",
        traces=(),
        clustering=Clustering(clusters=(), noise=(), diagnosis=diagnosis),
        rules=(RULE, TWIN, OTHER),
        edits=(),
        candidates=(chosen,),
        evaluations=tuple(
            Evaluation(
                candidate_id=chosen.id, split=split, metric="macro_f1", score=score, answers=()
            )
            for split, score in (("val", 0.75), ("select", 0.5))
        ),
        chosen_id=chosen.id,
        select_delta=None,
        reason="",
        search=search,
    )


def record(*, trials=1):
    tried = TriedList(
        number=0,
        candidate_id="c",
        rule_ids=(RULE.id,),
        proposed_by="anchor",
        score=0.5,
        asked=10,
        stopped=True,
        prompt_tokens=50.0,
    )
    return SearchRecord(
        study="s",
        trials=(tried,) * trials,
        gains={RULE.id: Interval(estimate=0.1, low=-0.05, high=0.25)},
        calls=10,
        full_calls=40,
    )


def test_optimism_is_validation_minus_selection():
    assert search_numbers(distilled(search=record(trials=3))) == {
        "search_score": 0.75,
        "select_score": 0.5,
        "optimism": 0.25,
        "search_trials": 3,
        "search_calls": 10,
        "search_full_calls": 40,
    }


@pytest.mark.parametrize("search", [None, record(trials=0)])
def test_no_search_has_no_figures(search):
    assert search_numbers(distilled(search=search)) == {}


def test_each_rule_is_filed_with_its_gain_under_whatever_id_it_was_searched():
    found = rules_with_evidence(distilled(search=record(), rules=(TWIN, OTHER)), {})["rules"]
    without = rules_with_evidence(distilled(), {})["rules"]

    assert [rule["gain"] for rule in found] == [[0.1, -0.05, 0.25], None]
    assert [rule["gain"] for rule in without] == [None]
    json.dumps(found)


def test_judged_rules_of_other_lists_are_told_without_those_that_only_add_instances(
    finished, tmp_path
):
    gold = {"e": "dog", "f": "dog", "g": "cat"}
    barks, meows = (
        replace(
            rule,
            truth=truth_of(answer, {key: answer == label for key, label in gold.items()}, gold),
        )
        for rule, answer in ((TWIN, "dog"), (OTHER, "cat"))
    )
    longer = replace(barks, id="rlonger", text="If it barks, answer dog (for example: Rex).")
    part = distilled(rules=(meows,))
    other = make_candidate(
        "Task.", (meows, longer, barks, replace(RULE, text="Not judged.")), origin="search"
    )
    found = rules_with_evidence(replace(part, candidates=(*part.candidates, other)), {})

    assert [rule["text"] for rule in found["unused"]] == [barks.text]
    assert "Rules that were judged and are not in the list:" in printed(
        show_rules, {"predict": found}
    )
    (line,) = [x for x in printed(show_rules, {"predict": found}).splitlines() if barks.text in x]
    assert "true of 2 of 2 examples, covers 2 of 2 of dog" in line
    write_markdown(finished[0], {"predict": found}, tmp_path / "report.md")
    assert f"- {barks.text} (" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert rules_with_evidence(part, {})["unused"] == []
    kept = make_candidate("Task.", (longer,), origin="synthesis")
    own = replace(part, candidates=(kept, other), chosen_id=kept.id)
    assert [rule["text"] for rule in rules_with_evidence(own, {})["unused"]] == [meows.text]
    assert "not in the list" not in printed(show_rules, {"predict": rules_with_evidence(part, {})})


def test_the_gain_stands_beside_the_support():
    part = rules_with_evidence(distilled(search=record(), rules=(RULE, OTHER)), {})
    table = printed(show_rules, {"predict": part})

    assert "gain" in table
    (row,) = [line for line in table.splitlines() if RULE.id in line]
    assert row.index("dog 1") < row.index("+0.10 [-0.05, +0.25]")
    assert "gain +0.10 [-0.05, +0.25]" in printed(show_rule, part["rules"][0], {})
    assert "gain" not in printed(show_rule, part["rules"][1], {})


def test_what_a_rule_is_worth_in_the_chosen_list_stands_beside_its_gain(finished, tmp_path):
    chosen = distilled(rules=(TWIN, OTHER)).chosen_id
    worth = {RULE.id: Interval(estimate=0.2, low=0.05, high=0.35)}
    searched = replace(record(), list_gains={chosen: worth, "c": {OTHER.id: worth[RULE.id]}})
    part = rules_with_evidence(distilled(search=searched, rules=(TWIN, OTHER)), {})
    table = printed(show_rules, {"predict": part})
    write_markdown(finished[0], {"predict": part}, tmp_path / "report.md")

    assert [rule["list_gain"] for rule in part["rules"]] == [[0.2, 0.05, 0.35], None]
    assert "in this list" in table
    (row,) = [line for line in table.splitlines() if TWIN.id in line]
    assert row.index("+0.10 [-0.05, +0.25]") < row.index("+0.20 [+0.05, +0.35]")
    facts = "gain +0.10 [-0.05, +0.25]{}in this list +0.20 [+0.05, +0.35]"
    assert facts.format(", ") in printed(show_rule, part["rules"][0], {})
    assert facts.format("; ") in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "in this list" not in printed(show_rule, part["rules"][1], {})


def test_rules_of_an_older_run_are_shown_without_gains(finished):
    _, rules, _ = finished
    old = [
        {k: v for k, v in r.items() if not k.endswith("gain") and k != "left_out"}
        for r in rules["predict"]["rules"]
    ]

    table = printed(show_rules, {"predict": {**rules["predict"], "rules": old}})
    assert "gain" not in table
    assert old[0]["id"] in table


def test_the_plan_is_shown_with_its_bounds(tmp_path):
    text = printed(show_plan, plan(read_config(write_config(tmp_path))))

    assert "train 24, val 16, select 16, test 24" in text
    assert "up to" in text
    assert "Tokens are estimates" in text
    assert "Price of the calls: not known" in text


def test_each_predictor_of_several_has_its_own_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("pld_dspy.runs.artifacts._cluster_picture", lambda *_: {})
    part = distilled(search=record())
    parts = [replace(part, predictor=name) for name in ("first", "steps[1]")]
    said = evaluation("aabb")
    task = Task(
        name="t",
        signature=dspy.Signature("text -> label"),
        label_key="label",
        labels=("a", "b"),
        input_keys=("text",),
        metric="macro_f1",
        examples=(),
    )

    def drawn(*parts):
        result = PLDResult(
            predictors=parts, usage={}, dropped={}, split_sizes={}, seed=0, wall_s=0.0
        )
        pictures = Pictures(
            task=task,
            result=result,
            before=said,
            after=said,
            intervals=((0.0, 1.0), (0.0, 1.0)),
            embedder="tfidf",
            store=StageStore(),
        )
        return [path.name for path in write_pictures(pictures, tmp_path)]

    whole = ["confusion.png", "before_after.png"]
    assert drawn(parts[0]) == [*whole, "candidates.png", "gains.png"]
    assert drawn(*parts) == [
        *whole,
        "candidates-first.png",
        "gains-first.png",
        "candidates-steps_1_.png",
        "gains-steps_1_.png",
    ]

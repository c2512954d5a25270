"""The report on lines that were never run: what is missing, what failed, what does not hold."""

import html
import json

import mlflow
import numpy as np
import pytest
from matplotlib.colors import to_hex
from typer.testing import CliRunner

from comparison_lines import LABELS, cell, failed, line, write
from experiments.__main__ import app
from experiments.bench.cells import Cell
from experiments.bench.lines import ProgramNote, Results
from experiments.report import command
from experiments.report.coverage import gaps, tables_of
from experiments.report.findings import budget_shares, reasons
from experiments.report.looks import Panel, looks
from experiments.report.page import compare, headline, page, views
from experiments.report.pictures import bars, latency, mean_curve, tokens
from experiments.report.statistics import GIVEN, OURS, TEACHER
from experiments.report.tracked import EXPERIMENT, log_report

MODELS = {"student": "qwen2.5-coder-0.5b", "teacher": "qwen2.5-coder-1.5b"}


def compared(*lines, expected=(), broken=()):
    return compare(Results(tuple(lines), tuple(broken)), map(Cell.named, expected))


def text(*lines, **keys):
    return page(compared(*lines, **keys), {})


def rows(markdown, start):
    """The rows of tables that start with this cell."""
    return [row for row in markdown.splitlines() if row.startswith(f"| {start} |")]


def wins(**keys):
    rates = ((OURS, 0.9), ("gepa", 0.6), ("copro", 0.5))
    return [line(n, rate=r, seed=s, **keys) for n, r in rates for s in range(2)]


def reported(folder, lines, *optimizers, broken=(), options=()):
    """What the command says of lines and a config with two seeds."""
    grid = {"tasks": ["stereoset"], "optimizers": optimizers, "seeds": [0, 1]}
    grid |= {f"{role}s": [model] for role, model in MODELS.items()}
    config = folder / "grid.toml"
    config.write_text(
        "[[grid]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in grid.items()),
        encoding="utf-8",
    )
    results = write(folder / "mine.jsonl", lines, broken=broken)
    out = CliRunner().invoke(
        app, ["report", str(config), "--no-mlflow", "--results", str(results), *map(str, options)]
    )
    assert out.exit_code == 0, out.output
    return out.output


def loses():
    return [*wins(), *(line("simba", rate=1.0, seed=s) for s in range(2))]


# What the first lines say.


def test_the_claim_holds_where_pld_is_first():
    found = compared(*wins())

    assert [c.verdict for c in found.checks] == ["holds"]
    assert found.checks[0].rank == 1
    assert [line.split(":")[0] for line in headline(found)] == ["**Holds", "**Holds"]
    assert "Why it does not hold" not in text(*wins())


def test_the_claim_holds_within_noise_of_first():
    ours = line(OURS, rate=0.7)
    better = list(ours.said)
    at = next(i for i, (g, s) in enumerate(zip(ours.gold, better, strict=True)) if g != s)
    better[at] = ours.gold[at]
    found = compared(ours, line("gepa", said=tuple(better))).checks[0]

    assert (found.verdict, found.rank, found.closest) == ("holds", 2, "gepa")
    assert found.gap.estimate > 0


def test_the_claim_does_not_hold_where_pld_loses_and_that_stands_first():
    found = compared(*loses())
    first = headline(found)[0]

    assert [c.verdict for c in found.checks] == ["does not hold"]
    assert found.checks[0].ahead == ("simba",)
    assert first.startswith("**Does not hold:** in stereoset, qwen-0.5b")
    assert "behind simba by more than noise" in first
    assert text(*loses()).splitlines()[2] == f"- {first}"


def test_a_rival_that_is_far_ahead_on_another_seed_alone_is_no_evidence():
    found = compared(line(OURS, rate=0.8, seed=0), line("gepa", rate=1.0, seed=1))

    assert found.checks[0].verdict == "not measured"
    assert "on the same test examples" in found.checks[0].reason


@pytest.mark.parametrize("optimizer", [TEACHER, "student-cot", GIVEN])
def test_a_reference_ahead_takes_nothing_from_the_claim(optimizer):
    found = compared(*wins(), line(optimizer, rate=1.0, budget="own"))

    assert [c.verdict for c in found.checks] == ["holds"]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([line("gepa")], f"no {OURS} run has a score"),
        ([line(OURS)], "no rival at a matched budget"),
        ([line(OURS), line("hand-guidelines", budget="own")], "no rival at a matched budget"),
        ([line(OURS), line("pld-gepa", budget="x1")], "no rival at a matched budget"),
    ],
)
def test_without_both_sides_the_claim_is_not_measured(lines, reason):
    found = compared(*lines)

    assert found.checks[0].verdict == "not measured"
    assert reason in found.checks[0].reason
    assert not any(said.startswith("**Holds:** pld-searched is first") for said in headline(found))


def test_no_line_at_all_makes_a_page_that_says_so():
    assert "**Not measured:** no PLD run has a score." in text()


def test_a_pld_run_below_the_student_as_given_is_named_first_and_explained():
    bad = line("pld-refined", said=tuple(LABELS[0] for _ in range(60)))
    found = text(*wins(), bad)

    assert (
        f"**Does not hold:** `{bad.cell}` ends below the student as given" in found.splitlines()[2]
    )
    assert f"### {bad.cell}: pld-refined against student as given" in found


def test_a_rival_below_the_student_as_given_is_counted_and_no_matter_of_the_claim():
    bad = line("infer-rules-shipped", said=tuple(LABELS[0] for _ in range(60)))
    found = text(*wins(), bad)

    assert "Does not hold" not in found
    assert (
        rows(found, "infer-rules-shipped")[-1]
        == "| infer-rules-shipped | 1 | 1 (100%) | 1 (100%) |"
    )


def test_variants_of_a_setting_are_no_contenders_and_have_a_table_apart():
    found = compared(
        *wins(), line("pld-eps-02", rate=1.0, budget="x1"), expected=[cell("pld-eps-05")]
    )
    told = page(found, {})
    main, apart = told.split("## Variants of PLD")

    assert [c.verdict for c in found.checks] == ["holds"]
    assert found.checks[0].missing == 0
    assert rows(main, "pld-eps-02") == []
    assert "| pld-eps-02 | 1 of 1 |" in apart
    assert "| - | pld-eps-05 | 0 | missing |" in apart


def test_a_variant_below_the_student_as_given_counts_as_a_pld_run():
    bad = line("pld-eps-02", said=tuple(LABELS[0] for _ in range(60)))

    assert [fall.line.optimizer for fall in compared(*wins(), bad).falls] == ["pld-eps-02"]


def test_a_pld_run_below_the_student_as_asked_best_is_named_and_explained():
    best = line("asked-best", rate=1.0, budget="own")
    found = compared(line(OURS, rate=0.6), best, line("pld-refined", rate=1.0, budget="own"))
    (fall,) = found.falls

    assert (fall.line.optimizer, fall.other, fall.delta.high < 0) == (OURS, "asked-best", True)
    told = page(found, {})
    assert f"**Does not hold:** `{fall.line.cell}` ends below the student as asked best" in told
    assert f"| {fall.line.cell} | student as asked best | 1.000 |" in told
    assert f"### {fall.line.cell}: {OURS} against student as asked best" in told
    assert "none of the 2 PLD runs ends below the student as given" in told


def test_pld_runs_are_held_to_the_student_asked_best_on_the_same_test_examples_alone():
    best = line("asked-best", rate=0.2, budget="own")
    beside = [line(OURS, rate=0.8), line("pld-rules", rate=0.8, traces="recorded")]
    apart = [line(OURS, rate=0.8, seed=1), line(OURS, rate=0.8, student="other")]
    told = headline(compared(best, *beside, *apart))

    assert any("none of the 2 PLD runs ends below the student as asked best" in s for s in told)
    assert any("none of the 4 PLD runs ends below the student as given" in s for s in told)


# Why.


def test_the_evidence_names_labels_errors_and_rules():
    gold = np.random.default_rng(0).choice(LABELS, size=60).tolist()
    lost = tuple("race" if g == "gender" else g for g in gold)
    rules = ProgramNote(
        instructions="1. A job: profession.\n2. Any of gender, profession, race, religion."
    )
    found = compared(
        line(OURS, said=lost, program=rules, note="kept in the end"), line("gepa", said=tuple(gold))
    )
    evidence = reasons(found.checks, found.found, found.falls)[0]
    worst, count = evidence.labels[0], gold.count("gender")

    assert (worst.label, worst.n, worst.ours, worst.other, worst.naming) == (
        "gender",
        count,
        0.0,
        1.0,
        0,
    )
    assert {row.label: row.naming for row in evidence.labels}["profession"] == 1
    assert evidence.confusions == (("gender", "race", count, 0),)
    assert (evidence.only_ours, evidence.only_other) == (0, count)
    told = page(found, {})
    assert (
        f"largest loss is on gender: {count} right answers fewer of {count}; no rules name it"
        in told
    )
    assert "<pre>1. A job: profession." in told
    assert "seed 0 (kept in the end)" in told


def test_rules_cannot_break_the_page():
    rules = ProgramNote(instructions="Decide.\n\n\n1. <b> `make it` | [so](x)\n```\n</pre>")
    told = text(line(OURS, said=(None,) * 60, program=rules), line("gepa", rate=1.0))
    block = told.split("<pre>")[1].split("</pre>")[0]

    assert html.unescape(block) == rules.instructions
    assert not set("`[|<") & set(block)


def test_an_unreadable_answer_is_an_error_of_its_own():
    found = compared(line(OURS, said=(None,) * 60), line("gepa", rate=1.0))
    evidence = reasons(found.checks, found.found, ())[0]

    assert {confusion.said for confusion in evidence.confusions} == {"(unreadable)"}


# Missing, failed and broken.


def test_missing_and_failed_cells_are_shown_as_such():
    found = text(
        *wins(),
        failed("miprov2", "RuntimeError: no | candidates"),
        expected=[cell("gepa", seed=2), cell("textgrad"), cell("gepa", seed=0)],
    )

    assert "Cells with a score: 6; failed: 1; missing: 2." in found
    assert "| - | miprov2 | 0 | failed: RuntimeError: no \\| candidates |" in found
    assert "| - | textgrad | 0 | missing |" in found
    assert "| gepa | 2 of 3 |" in found
    assert "| missing: gepa (seed 2); textgrad (seed 0) |" in found


def test_a_score_without_answers_is_no_result():
    found = text(*wins(), line("simba").model_copy(update={"gold": (), "said": ()}))

    assert "Cells with a score: 6; failed: 1; missing: 0." in found
    assert "| - | simba | 0 | no answers in its line |" in found


def test_a_setting_without_any_line_is_in_the_tables():
    found = text(*wins(), expected=[cell("gepa", task="logiqa")])

    name = "logiqa, qwen-0.5b, teacher's traces, item split, budget x1"
    assert f"\n- {name}; cells without a score: 1\n" in found
    assert f"### {name}" not in found
    assert f"| {name} | missing: gepa (seed 0) |" in found


def test_the_readme_gets_the_verdicts_and_the_overview(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("before <!-- compare:start -->old<!-- compare:end --> after", "utf-8")
    recorded = line(OURS, traces="recorded", rate=0.7)
    found = compared(*wins(), recorded, line(GIVEN, rate=0.4, budget="own"))
    folder = tmp_path / "docs" / "pictures"
    command.write_report(found, tmp_path / "docs" / "REPORT.md", folder, place="compare")
    written = readme.read_text("utf-8")

    assert written.startswith("before <!-- compare:start -->\n- **Holds:** ")
    assert written.endswith("<!-- compare:end --> after")
    table = [row for row in written.splitlines() if row.startswith("| ")]
    shown = [row.split(" |")[0].removeprefix("| ") for row in table]
    assert shown == ["optimizer", "---", OURS, "gepa", "copro", "student as given"]
    [own] = [own for setting, own in found.found.items() if setting.traces == "teacher"]
    best = next(s for s in own if s.optimizer == OURS).score
    assert table[0].endswith("0.5b |")
    assert "(1 of 2 seeds) |" in next(row for row in table if row.startswith("| student as given"))
    assert f"| **{best.estimate:.3f} [{best.low:.3f}, {best.high:.3f}]** |" in written
    assert "recorded" not in written
    address = written.partition("(docs/")[2].partition(")")[0]
    assert (tmp_path / "docs" / address).is_file()


def test_a_broken_line_is_named_and_the_rest_is_kept(tmp_path):
    said = reported(
        tmp_path, wins(**MODELS), OURS, "gepa", "copro", broken=["{half", '{"cell": "x"}']
    )
    written = (tmp_path / "mine.md").read_text(encoding="utf-8")

    assert "line 2 cannot be read and is left out: not JSON" in said
    assert "- line 3 cannot be read and is left out" in written
    assert (
        "Cells with a score: 6; failed: 0; missing: 0. Lines of the results file that cannot be read: 2."
        in written
    )


def test_names_of_cells_and_keys_of_lines_agree():
    one = line("gepa", seed=3, task="logiqa")

    assert one.where == Cell.named(one.cell)
    assert gaps([one], [one.where]) == []


@pytest.mark.parametrize("optimizer", ["pld-gepa", "random-rules", "label-words"])
def test_rules_of_the_teachers_traces_do_not_stand_beside_recorded_ones(optimizer):
    lines = [line(OURS), line(OURS, traces="recorded"), line(optimizer)]
    found = compared(*lines).found

    assert {s.traces: {x.optimizer for x in own} for s, own in found.items()} == {
        "recorded": {OURS, GIVEN},
        "teacher": {OURS, GIVEN, optimizer},
    }


def test_an_optimizer_without_traces_stands_beside_both_kinds():
    lines = [line(OURS), line(OURS, traces="recorded"), line("gepa"), line("pld-gepa", budget="x1")]
    lines.append(line("pld-gepa", traces="recorded", budget="x1"))
    found = tables_of(one.where for one in lines)

    assert [setting.traces for setting in found] == ["recorded", "teacher"]
    for setting, members in found.items():
        assert {(m.optimizer, m.traces) for m in members} == {
            (OURS, setting.traces), ("pld-gepa", setting.traces), ("gepa", "teacher"),
        }  # fmt: skip


def test_own_cells_stand_in_the_table_of_every_budget():
    found = tables_of(o.where for o in [line(OURS), line("gepa"), line("gepa", budget="x3")])

    assert [(s.budget, len(members)) for s, members in found.items()] == [("x1", 2), ("x3", 2)]


# The whole report.


def test_the_same_lines_give_the_same_bytes_in_any_order(tmp_path):
    made = []
    for name, lines in (("a", loses()), ("b", loses()[::-1])):
        target = tmp_path / name / "REPORT.md"
        command.write_report(compared(*lines), target, target.parent / "pictures")
        files = sorted(p for p in target.parent.rglob("*") if p.is_file())
        made.append({p.relative_to(target.parent): p.read_bytes() for p in files})

    assert made[0] == made[1]
    assert len(made[0]) == 5


def test_pictures_are_written_linked_and_old_ones_removed(tmp_path):
    folder = tmp_path / "results" / "compare"
    folder.mkdir(parents=True)
    for name in ("bars-gone.png", "mine.png"):
        (folder / name).write_bytes(b"")
    lines = [*wins(), line(OURS, task="logiqa", metric="accuracy"), line("gepa", budget="x3")]
    command.write_report(compared(*lines), tmp_path / "REPORT.md", folder)
    written = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
    names = {p.name for p in folder.iterdir()} - {"mine.png"}

    assert names == {
        f"{kind}-teacher-item-{budget}.png"
        for kind in ("bars", "curves", "tokens", "latency")
        for budget in ("x1", "x3")
    }
    assert all(f"](results/compare/{name})" in written for name in names)
    assert all((folder / name).read_bytes()[:4] == b"\x89PNG" for name in names)


def test_pictures_can_do_without_curves_tokens_and_latency(tmp_path):
    bare = {"curve": (), "prompt_tokens": None, "test_latency_s": None}
    lines = [line(OURS, **bare), line("gepa", **bare), failed("copro", task="logiqa")]
    command.write_report(compared(*lines), tmp_path / "REPORT.md", tmp_path / "pictures")

    assert len(list((tmp_path / "pictures").iterdir())) == 4


def test_a_panel_without_seconds_is_left_out_of_the_latencies():
    lines = [
        line(n, task=task, alone=task == "stereoset")
        for n in (OURS, "gepa")
        for task in ("logiqa", "stereoset")
    ]
    panels = [Panel(s, own) for s, own in compared(*lines).found.items()]
    figure = latency(panels, "Seconds")
    shown = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]

    assert len(panels) == 2
    assert len(shown) == 1
    assert shown[0].startswith("stereoset")


def test_bars_tell_the_score_with_the_layer_and_a_row_of_fewer_seeds():
    ours = [line(OURS, seed=seed, decided_score=line(OURS, seed=seed).score) for seed in (0, 1)]
    rival = line("gepa", seed=0, decided_score=0.125)
    (panel,) = [Panel(s, own) for s, own in compared(*ours, rival).found.items()]
    (axes,) = [axes for axes in bars([panel], "Score").axes if axes.get_visible()]
    texts = [text.get_text() for text in axes.texts]

    assert [text for text in texts if text.endswith("0.12 (1 of 2 seeds)")] == [
        f"{rival.score:.2f}, \N{WHITE CIRCLE} 0.12 (1 of 2 seeds)"
    ]
    assert sum("seeds" in text for text in texts) == 1
    rings = [drawn for drawn in axes.lines if drawn.get_marker() == "o"]
    assert [float(ring.get_xdata()[0]) for ring in rings] == [0.125]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_mark_of_fewer_seeds_is_hollow_in_the_picture_of_tokens(seeds):
    ours = [line(OURS, seed=seed, prompt_tokens=90.0) for seed in (0, 1)]
    rivals = [line("gepa", seed=seed, prompt_tokens=120.0) for seed in seeds]
    (panel,) = [Panel(s, own) for s, own in compared(*ours, *rivals).found.items()]
    figure = tokens([panel], "Score and tokens")
    (axes,) = [axes for axes in figure.axes if axes.get_visible()]
    hollow = [to_hex(mark.get_facecolor()[0]) == "#ffffff" for mark in axes.collections]
    legend = " ".join(text.get_text() for text in figure.legends[0].get_texts())

    assert sorted(hollow) == [False, len(seeds) == 1]
    assert ("hollow" in legend) == (len(seeds) == 1)


def test_a_budget_that_another_run_of_ours_had_set_is_told():
    spent = {"student_calls": 160, "teacher_calls": 40}
    matched = [
        line("gepa", budget_calls=220),
        line("copro", budget_calls=200),
        line("gepa", budget="x3", budget_calls=660),
    ]
    lines = [line(OURS, **spent), *matched, line("gepa", seed=1, budget_calls=5), line("zero-shot")]

    assert budget_shares(lines) == [1.0, 1.1, 1.1]
    assert f"over its multiple of what {OURS} called: 1.00 to 1.10 in these lines" in text(*lines)
    assert "in these lines" not in text(line("gepa", budget_calls=220))


def test_every_optimizer_has_a_look_of_its_own():
    names = [
        OURS,
        "pld-refined",
        "pld-clustered",
        *(f"rival-{i}" for i in range(14)),
        GIVEN,
        TEACHER,
    ]
    found = compared(*(line(n, n=20) for n in names))
    made = looks([Panel(s, own) for s, own in found.found.items()])

    assert len({(v.colour, v.marker) for v in made.values()}) == len(names)


def test_the_mean_curve_starts_where_every_run_has_a_score():
    assert mean_curve([]) == ([], [])
    assert mean_curve([[(1, 0.25), (5, 0.75)], [(3, 0.25)]]) == ([3, 5], [0.25, 0.5])


def test_a_view_has_one_panel_a_task_and_student():
    lines = [line(OURS, task=t, student=s) for t in ("a", "b") for s in ("x", "y")]

    assert [len(panels) for panels in views(compared(*lines)).values()] == [4]


@pytest.mark.parametrize(
    ("settings", "places"),
    [("ax", 1), ("ax bx", 2), ("ax bx cy", 3), ("ax bx cx by", 4), ("ax bx cx ay by", 6)],
)
def test_panels_stand_without_gaps_and_names_once_a_row(settings, places):
    lines = [line(o, task=t, student=s) for t, s in settings.split() for o in (OURS, "gepa", GIVEN)]
    (panels,) = views(compared(*lines)).values()
    axes = bars(panels, "Scores").get_axes()
    seen = [a for a in axes if a.get_visible()]
    firsts = [a for a in seen if a.get_subplotspec().is_first_col()]

    assert len(axes) == places
    assert seen == axes[: len(settings.split())]
    assert [a.get_title(loc="left") for a in seen] == [
        f"{t}\n{s}" for s, t in sorted((s, t) for t, s in settings.split())
    ]
    assert [a for a in seen if any(t.get_text() for t in a.get_yticklabels())] == firsts


def test_break_even_is_shown_once_answers_have_their_tokens():
    lines = [line(OURS, prompt_tokens=100.0), line(TEACHER, prompt_tokens=100.0), line("gepa")]
    lines[:2] = [
        one.model_copy(update={"answer_tokens": tokens})
        for one, tokens in zip(lines, (2.0, 64.0), strict=False)
    ]

    assert rows(text(*lines), OURS)[-2].endswith(" | 1,000 |")


def test_the_papers_figures_stand_apart():
    assert "| LogiQA | accuracy | 0.67 | - | 0.67 | 0.69 | 0.70 |" in text(*wins())
    assert text(*wins()).index("## As the paper reports, not run here") > text(*wins()).index(
        "## Results"
    )


def test_the_report_names_commits_versions_seeds_and_digests():
    found = text(line(OURS, seed=4, commit="abc-dirty"), line("gepa", seed=4))

    assert "- commits: `0123abc`, `abc-dirty`" in found
    assert "- versions: dspy 3.4.1" in found
    assert "- seeds: 4" in found
    assert "| stereoset | item | 4 | 60 | test `000400040004` |" in found


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_gets_the_page_the_pictures_and_a_run_for_each_optimizer(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    found = compared(*wins())
    command.write_report(found, tmp_path / "REPORT.md", tmp_path / "pictures")
    parent = log_report(found, tmp_path / "REPORT.md", tmp_path / "pictures", tracking_uri=uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    gepa = next(run for run in children if run.data.params["optimizer"] == "gepa")

    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_run(parent).data.metrics["claim_holds"] == 1
    assert {f.path for f in client.list_artifacts(parent)} >= {"REPORT.md", "pictures"}
    assert len(client.list_artifacts(parent, "pictures")) == 4
    assert {run.data.params["optimizer"] for run in children} == {OURS, "gepa", "copro", GIVEN}
    assert gepa.data.metrics["score"] == pytest.approx(
        next(s for s in next(iter(found.found.values())) if s.optimizer == "gepa").score.estimate
    )


def test_the_config_tells_which_cells_are_missing(tmp_path):
    lines = [line(OURS, **MODELS), line("gepa", **MODELS)]
    page = tmp_path / "pages" / "R.md"
    reported(
        tmp_path, lines, OURS, "gepa", options=["--report", page, "--pictures", tmp_path / "drawn"]
    )
    written = page.read_text(encoding="utf-8")

    assert "](../drawn/bars-teacher-item-x1.png)" in written
    name = "stereoset, qwen2.5-coder-0.5b, teacher's traces, item split"
    assert f"| {name}, budget x1 | missing: gepa (seed 1) |" in written
    assert f"| {name} | missing: {OURS} (seed 1) |" in written
    assert "Cells with a score: 2; failed: 0; missing: 2." in written
    assert "Cells of their tables without a score: 2." in written


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["none.toml"], "none.toml cannot be read"),
        (["--results", "mine.jsonl"], "--results, --report and --pictures are for one config"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(options, problem):
    out = CliRunner().invoke(app, ["report", *options, "--no-mlflow"])

    assert out.exit_code == 2
    assert problem in out.output
    assert "Traceback" not in out.output


def test_without_a_config_every_committed_page_is_made(monkeypatch):
    made, places = [], []
    monkeypatch.setattr(command, "_report", lambda path, *rest: made.append(path.stem))
    monkeypatch.setattr(command, "fill_places", lambda name, text: places.append((name, text)))
    out = CliRunner().invoke(app, ["report", "--no-mlflow"])

    assert out.exit_code == 0, out.output
    assert made == ["first", "full", "search", "wording"]
    assert [place for place, _ in places] == ["simulation", "ablation"]
    assert all(text(None).startswith("| ") for _, text in places)

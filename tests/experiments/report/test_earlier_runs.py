"""The first experiments, whose lines hold intervals and no answers."""

import json

import pytest

import experiments.bench.configs as configs
from comparison_lines import line
from experiments.bench.cells import Cell
from experiments.bench.lines import Earlier, Line, read_lines
from experiments.report import command
from experiments.report.page import compare
from experiments.report.runs import mean_interval, picture, runs_of, runs_table, section, summary

FIRST = ("first", "search", "wording")


def at(optimizer="pld-searched", seed=0, student="m-0.5b", traces="teacher"):
    return Cell("stereoset", optimizer, student, "m-1.5b", traces, "item", seed, "own")


def run(cell, experiment="first", *, score=0.75, **keys):
    scores = {
        "score": score,
        "ci95": (score - 0.125, score + 0.125),
        "metric": "macro_f1",
        "test_n": 40,
    }
    own = {key: keys.pop(key) for key in ("baseline_score", "prompt_tokens") if key in keys}
    earlier = Earlier(experiment=experiment, **keys)
    return Line(cell=cell.name, **cell._asdict(), status="done", **scores, **own, earlier=earlier)


def changed(seed=0, *, delta=0.25, **keys):
    bounds = {"delta_ci95": (delta - 0.1, delta + 0.1), "baseline_ci95": (0.25, 0.625)}
    return run(at(seed=seed), baseline_score=0.5, delta=delta, **bounds, **keys)


def test_a_row_shows_the_run_a_missing_one_says_so_and_empty_columns_are_left_out():
    runs = runs_of([changed(rules=4)], [at(), at(seed=1)])
    head, _, found, missing = runs_table(runs).splitlines()

    assert "| as given | score [95%] | change [95%] | rules |" in head
    assert "select" not in head
    assert found == (
        "| stereoset, random items | 0.5B | teacher | pld-searched | 0 | 40 | 0.500 "
        "| 0.750 [0.625, 0.875] | +0.250 [+0.150, +0.350] | 4 |"
    )
    assert missing.startswith(
        "| stereoset, random items | 0.5B | teacher | pld-searched | 1 | missing |"
    )


def test_the_summary_has_a_row_for_each_kind_of_run_and_counts_the_missing():
    cells = [at(), at(seed=1), at(seed=2), at(traces="recorded")]
    told = summary(runs_of([changed(), changed(1, delta=0.0)], cells))

    assert (
        "| stereoset, random items | 0.5B | teacher | 2 of 3 | 0.500 | 0.750 "
        "| +0.25 [+0.15, +0.35], +0.00 [-0.10, +0.10] |"
    ) in told
    assert "recorded" not in told
    assert told.endswith("2 of 4 planned runs are missing so far.")


def searched(seed, delta, *, select):
    every = run(at("pld-all-rules", seed), "search", score=0.5, rules=8, prompt_tokens=200.0)
    found = run(
        at(seed=seed), "search", score=0.5 + delta, rules=4, prompt_tokens=150.0, delta=delta,
        delta_ci95=(delta - 0.1, delta + 0.1), against="pld-all-rules", search_calls=30,
        search_full_calls=100, search_score=0.9, select_score=select,
    )  # fmt: skip
    return every, found


def test_searches_are_set_against_all_rules():
    lines = [*searched(0, 0.25, select=0.75), *searched(1, -0.25, select=0.25)]
    told = summary(runs_of(lines, [*(one.where for one in lines), at("pld-unraced")]))

    assert "Over 2 searches the searched list changes the test score by +0.000 in the mean" in told
    assert "better by more than noise in 1, worse by more than noise in 1" in told
    assert "keeps 50% of the rules, at 75% of the tokens a call" in told
    assert "took 30% of the calls of full scoring" in told
    assert "selection score less test score: +0.000 [+0.000, +0.000]" in told
    assert f"Missing so far: {at('pld-unraced').name}." in told


def test_a_search_without_its_other_side_is_not_summed_up():
    every, found = searched(0, 0.25, select=0.5)

    assert summary(runs_of([found], [every.where])) == "No search was made so far."


def test_the_interval_of_a_mean_is_students():
    found = mean_interval([1.0, 2.0, 3.0])

    assert found.estimate == 2.0
    # t(0.975, 2) = 4.3027 on a standard error of 1 / sqrt(3)
    assert found.high == pytest.approx(2.0 + 4.302653 / 3**0.5, abs=1e-5)
    assert found.low == pytest.approx(4.0 - found.high)


def test_a_picture_needs_the_interval_before():
    bare = run(at(seed=1), baseline_score=0.5)
    drawn = picture(runs_of([changed(), bare], []))

    assert len(drawn.axes[0].get_yticks()) == 1
    assert picture(runs_of([bare], [])) is None


def test_new_lines_of_the_same_config_come_after_them_on_its_page(tmp_path):
    new = [line(), line("gepa", rate=0.5)]
    runs = runs_of([changed(), *new], [at(), new[0].where])
    target = tmp_path / "first.md"
    command.write_report(
        compare(command.Results(tuple(new), ())), target, tmp_path / "pictures", earlier=runs
    )
    written = target.read_text(encoding="utf-8")

    assert list(runs.cells) == [at()]
    assert written.startswith("# first\n")
    assert written.index("+0.250") < written.index("# Comparison of prompt optimizers")
    assert (tmp_path / "first.png").read_bytes()[:4] == b"\x89PNG"


def test_every_page_that_has_the_place_gets_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    (tmp_path / "docs" / "guide").mkdir(parents=True)
    pages = [tmp_path / "README.md", tmp_path / "docs" / "guide" / "results.md"]
    for page in pages:
        page.write_text("a <!-- x:start -->old<!-- x:end --> b <!-- y:start -->", encoding="utf-8")
    command.fill_places("x", lambda page: page.name)
    command.fill_places("y", lambda page: "y has no end here")

    for page in pages:
        assert page.read_text(encoding="utf-8") == (
            f"a <!-- x:start -->\n{page.name}\n<!-- x:end --> b <!-- y:start -->"
        )


@pytest.mark.parametrize("name", FIRST)
def test_the_committed_page_is_what_the_committed_lines_say(name):
    path = configs.HERE / "configs" / f"{name}.toml"
    config = configs.read_bench(path)
    found = read_lines(configs.results_file(path, config))
    cells = configs.cells_of(config)
    page = configs.HERE / config.page
    drawn = page.with_suffix(".png")
    made = section(runs_of(found.lines, cells), name, drawn.name if drawn.exists() else None)

    assert found.broken == ()
    assert {one.where for one in found.lines} <= set(cells)
    assert page.read_text(encoding="utf-8") == made


@pytest.mark.parametrize("name", FIRST)
def test_what_the_first_experiments_wrote_is_kept(name):
    path = configs.HERE / "results" / f"{name}.jsonl"
    stored = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    read = [json.loads(one.to_json()) for one in read_lines(path).lines]

    assert all(one["earlier"]["experiment"] == name and one["commit"] for one in stored)
    assert len(read) == len(stored)
    for one, again in zip(stored, read, strict=True):
        assert again["earlier"].items() >= one.pop("earlier").items()
        assert again.items() >= one.items()

"""Each command and code block of the README and of docs/ does what the page says."""

import contextlib
import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import dspy
import pytest
import typer
from datasets import Dataset
from typer.testing import CliRunner

import pld_dspy
from experiments.bench.configs import cells_of, read_bench
from experiments.bench.lines import read_lines
from experiments.report import critics
from experiments.report.page import compare
from experiments.report.resampling import SeedAnswers
from experiments.report.statistics import difference
from fakes import FakeEngine, follow, keyword_rule
from pld_dspy.cli.commands import app
from pld_dspy.config.run import RunConfig, read_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MESSAGES = ROOT / "notebooks" / "data"
TEAMS = {"parcel": "blue", "invoice": "green", "refund": "red", "password": "yellow"}
DESKS = ("billing", "delivery", "returns", "account")
RUNNABLE = {"python", "toml", "sh", "json", "bibtex", ""}


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self):
        return f"{self.page.name}:{self.line}"


def blocks(*languages):
    """Every code block of the pages, in order; of these languages, if any are given."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, found.start()) + 1
            if not languages or found[1] in languages:
                yield Block(page, line, found[1], found[2])


def commands():
    """Every shell command of the pages: blocks line by line, and spans that begin with a program."""
    for block in blocks("sh"):
        for offset, line in enumerate(block.text.splitlines()):
            words = shlex.split(line, comments=True)
            if words:
                yield f"{block.page.name}:{block.line + 1 + offset}", words
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            for span in re.findall(r"`([^`]+)`", line):
                if re.match(r"(pld|python -m|pip) ", span):
                    yield f"{page.name}:{number}", shlex.split(span.replace("[key=value ...]", ""))


def by_program(*programs):
    """The commands of these programs, as test parameters; a path before the program is left out."""
    return [
        pytest.param(words, id=f"{place} {' '.join(words)}")
        for place, words in commands()
        if Path(words[0]).name in programs
    ]


def engine(prompt):
    """Answer as a student that obeys keyword rules, or as a teacher that makes one of a message."""
    sections = re.findall(r"^([A-Z][\w ]*): <", prompt.user, re.MULTILINE)
    if not sections:
        allowed = re.search(r"answer with one of: ([^)]*)\)", prompt.user)
        return follow(prompt.system, prompt.user, allowed[1].split(", ")[0] if allowed else "")
    notes = re.findall(r"^(?:Notes: )?- (.*)$", prompt.user, re.MULTILINE)
    gold = re.search(r"^Correct answer: (\w+)", prompt.user, re.MULTILINE)
    shown = [word for word, team in TEAMS.items() if gold and gold[1] == team]
    rule = keyword_rule(shown[0], gold[1]) if shown else next(iter(notes), "none")
    said = {"Exception": "none", "Edits": "none", "Rule": rule}
    return "\n".join(f"{title}: {said.get(title, 'because')}" for title in sections)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with the files that the pages take for granted."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(MESSAGES, tmp_path / "notebooks" / "data", ignore=lambda *_: ["tour_run"])
    with (tmp_path / "messages.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [
            (f"t{i}", f"c{i // 2}", f"message number {i}", DESKS[i % len(DESKS)])
            for i in range(700)
        ]
        csv.writer(file).writerows([("ticket", "customer", "message", "desk"), *rows])
    for block in blocks("json"):
        (tmp_path / "traces.jsonl").write_text(block.text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def models(monkeypatch, folder):
    """Replace every model by a fake, with messages that it can answer by its rules.

    What a page configures is kept to its own test.
    """
    rows = [(f"about my {w}, case {i}", team) for i in range(20) for w, team in TEAMS.items()]
    with (folder / "notebooks/data/messages.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("message", "team"), *rows])
    made, real = [], dspy.LM

    def make(name, **settings):
        made.append(name)
        return real(name, engine=FakeEngine(engine), cache=False, num_retries=0)

    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(dspy, "LM", make)
        monkeypatch.setattr(pld_dspy, "make_lm", make)
        monkeypatch.setattr(
            dspy, "configure", lambda **given: stack.enter_context(dspy.context(**given))
        )
        yield made


def python_pages():
    return [page for page in PAGES if any(b.page == page for b in blocks("python"))]


@pytest.mark.slow
@pytest.mark.parametrize("page", python_pages(), ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, folder, models, capsys):
    namespace = {"__name__": "page"}
    for block in blocks("python"):
        if block.page == page:
            # Blank lines in front, so that a traceback has the line of the page.
            code = compile("\n" * block.line + block.text, str(page), "exec")
            exec(code, namespace)

    assert models
    if "optimizer" in namespace:
        assert isinstance(namespace["optimizer"], pld_dspy.PLD)
    if "compiled" in namespace:
        assert (folder / "runs" / "teams" / "program.json").is_file()
        assert namespace["compiled"].pld_result.rules
        assert "If the text mentions" in capsys.readouterr().out


@pytest.mark.parametrize("block", list(blocks("toml")), ids=lambda block: block.id)
def test_the_toml_of_a_page_is_a_run_that_could_start(block, folder, monkeypatch):
    rows = {"text": [f"text {n}" for n in range(500)], "stars": [n % 5 + 1 for n in range(500)]}
    other = {"text": [f"test {n}" for n in range(500)], "stars": rows["stars"]}
    hub = {"train": Dataset.from_dict(rows), "test": Dataset.from_dict(other)}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, split, **__: hub[split])
    monkeypatch.setattr("pld_dspy.data.sources._hub_answers", lambda: True)
    config = folder / "page.toml"
    config.write_text(block.text, encoding="utf-8")
    done = CliRunner().invoke(app, ["distill", str(config), "--dry-run"])

    assert done.exit_code == 0, done.output
    assert "student" in done.output
    assert not (folder / "runs").exists()


def test_no_block_is_left_out():
    """A language that is not known here would be a block that no test reads."""
    assert {block.language for block in blocks()} <= RUNNABLE


@cache
def pld_commands():
    """The options of each command of `pld`, by its words."""
    found = {}

    def walk(command, words):
        for name, inner in command.commands.items():
            if hasattr(inner, "commands"):
                walk(inner, (*words, name))
            else:
                found[*words, name] = inner

    walk(typer.main.get_command(app), ())
    return found


def written_by_pages():
    """Files that a page tells its reader to write, or that a command before has made."""
    return {"teams.toml", "more.csv", "runs/teams", "RUN_DIR", "CONFIG"}


@pytest.mark.parametrize("words", by_program("pld"))
def test_a_pld_command_is_known_with_its_options_and_files(words):
    known = pld_commands()
    name = next((tuple(words[1 : 1 + n]) for n in (2, 1) if tuple(words[1 : 1 + n]) in known), None)
    if words[1:] in ([], ["COMMAND", "--help"]):
        return
    assert name is not None, f"no command {' '.join(words)}"
    rest = words[1 + len(name) :]
    options = {o: p for p in known[name].params for o in p.opts if o.startswith("-")}
    assert [word for word in rest if word.startswith("-") and word not in options] == []
    values = {
        rest[i + 1] for i, w in enumerate(rest[:-1]) if w in options and not options[w].is_flag
    }
    files = [w for w in rest if not w.startswith("-") and w not in values and "=" not in w]
    for file in files:
        if name[0] in {"diagnose", "distill", "evaluate", "show", "ui"}:
            assert file in written_by_pages() or (ROOT / file).exists(), file
    if name == ("models", "fetch") and files != ["NAME"]:
        from pld_dspy.models.local.catalogue import catalogue_model

        assert catalogue_model(files[0]).name


@pytest.mark.parametrize(
    "words", [p for p in by_program("pld") if any("=" in w for w in p.values[0])]
)
def test_a_setting_on_the_command_line_is_known(words, folder):
    toml = next(b for b in blocks("toml") if b.page.name == "data.md")
    (folder / "page.toml").write_text(toml.text, encoding="utf-8")
    changes = [word for word in words if re.match(r"[a-z.]+=", word)]

    assert isinstance(read_config(folder / "page.toml", changes), RunConfig)


@pytest.mark.parametrize("words", by_program("python"))
def test_a_python_command_has_its_module_its_options_and_its_files(words):
    assert words[1] == "-m"
    module, *rest = words[2:]
    file = ROOT / f"{module.replace('.', '/')}.py"
    assert file.is_file() or (file.with_suffix("") / "__main__.py").is_file()
    for word in rest:
        if word.startswith("-"):
            assert word in python_help(module)
        elif "/" in word:
            assert (ROOT / word).is_file()


@cache
def python_help(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("words", by_program("pip"))
def test_a_pip_command_installs_this_package_with_extras_that_it_has(words):
    assert words[:2] == ["pip", "install"]
    extras = re.fullmatch(r"\.(?:\[(\w+)\])?", words[-1])[1]
    assert extras is None or extras in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_command_of_a_block_is_of_a_kind_that_is_checked():
    programs = {Path(words[0]).name for _, words in commands()}

    # `make` is checked in test_project.py.
    assert programs <= {"pld", "python", "make", "pip"}


def test_cheap_commands_run():
    done = CliRunner().invoke(app, ["models", "list"])

    assert done.exit_code == 0
    assert "local/qwen2.5-coder-1.5b" in done.output


def test_the_readme_is_short_and_its_lines_fit_a_screen():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


def test_every_public_name_is_in_the_reference():
    shown = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: pld_dspy\.(\w+)$", shown, re.MULTILINE))

    assert named == set(pld_dspy.__all__) - {"__version__"}


def results(name):
    path = ROOT / "experiments" / "results" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def signed(change, ci95):
    return f"{change:+.3f} [{ci95[0]:+.3f}, {ci95[1]:+.3f}]"


def cell(score, ci95):
    return f"{score:.3f} [{ci95[0]:.3f}, {ci95[1]:.3f}]"


def test_the_results_table_has_the_figures_of_the_result_files():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    rows = [
        row for row in text.splitlines() if re.match(r"\| (StereoSet|ContractNLI|LogiQA), ", row)
    ]
    runs = {
        (line["task"], line["split_by"]): line
        for line in results("first.jsonl")
        if (line["student"], line["traces"], line["seed"]) == ("qwen2.5-coder-1.5b", "teacher", 0)
    }
    words = {(w["task"], w["split_by"], w["seed"]): w for w in results("bag_of_words.jsonl")}
    names = [
        ("stereoset", "item"),
        ("stereoset", "group"),
        ("contract_nli", "item"),
        ("logiqa", "item"),
    ]

    assert len(rows) == len(names)
    for row, (task, split) in zip(rows, names, strict=True):
        run, bag = runs[task, split], words[task, split, 0]
        cells = [c.strip() for c in row.split("|")[2:-1]]
        assert f", {run['test_n']} " in row
        assert (run["test_n"], run["metric"]) == (bag["test_n"], bag["metric"])
        assert cells[0] == cell(run["baseline_score"], run["earlier"]["baseline_ci95"])
        assert cells[-2] == cell(run["score"], run["ci95"])
        assert cells[-1] == cell(bag["score"], bag["ci95"])


DEMOS = (
    "demo_queues.json",
    "demo_queues_hundred.json",
    "demo_queues_several.json",
    "demo_queues_one_word.json",
    "demo_queues_false.json",
    "demo_queues_names.json",
    "demo_queues_full.json",
    "demo_queues_full_seed1.json",
)
"""The present version first, then that before, with 100 sentences; then one that compared words by macro-F1, then those with
one word a label, the second of which kept false rules; the others are of before words for labels."""


def demo(name):
    return json.loads((ROOT / "experiments/results" / name).read_text(encoding="utf-8"))


def bag_of_words(report):
    return next(r for r in report["references"] if r["name"] == "bag of words")


def as_read(step):
    """The score of the labels as read; nothing where no decision was fitted."""
    return "-" if step["as_read"] is None else f"{step['as_read']:.3f}"


def test_the_readme_has_the_figures_of_the_demos():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    now, before = (demo(name) for name in DEMOS[:2])
    given, decision, words = now["steps"]
    assert [step["name"] for step in now["steps"]] == ["as given", "decision", "label words"]
    assert now["rules"] == 0
    majority = next(r for r in now["references"] if r["name"] == "majority")
    bag = bag_of_words(now)
    table = text.partition("| program |")[2].partition("\n\n")[0]
    rows = [[c.strip() for c in row.split("|")[2:-1]] for row in table.splitlines()[2:]]
    assert rows == [
        [cell(step["score"], step["ci95"]), f"{tokens:.0f}" if tokens else "-"]
        for step, tokens in (
            (given, given["prompt_tokens"]),
            (decision, decision["prompt_tokens"]),
            (majority, None),
            (bag, None),
            (words, words["prompt_tokens"]),
        )
    ]
    plain = " ".join(text.split())
    assert f"nothing; {now['test_n']} test sentences" in plain
    assert f"the same {bag['labelled']} labelled examples" in plain
    shown = plain.partition("The words are ")[2].partition(";")[0]
    for label, word in now["words"].items():
        assert f"*{word}* for {label}" in shown
    earlier = [demo(name) for name in DEMOS[1:]]
    same = [d["compiled"] for d in earlier if "PyPI" in d["task_notes"]]
    other = sorted(d["compiled"] for d in earlier if "PyPI" not in d["task_notes"])
    assert f"had {min(same):.3f} to {max(same):.3f} on another (the last with two rules)" in plain
    assert (before["compiled"], before["rules"]) == (max(same), 2)
    assert f"and {other[0]:.3f} and {other[1]:.3f} on two draws of other sentences" in plain
    alone = before["steps"][1]
    assert f"The words alone have {alone['score']:.3f}." in " ".join(
        (ROOT / "docs/results.md").read_text(encoding="utf-8").split()
    )


def test_the_results_tell_what_the_demo_s_own_file_lacks():
    right, every = demo(DEMOS[6])["steps"][-1]["right"]["alpha"]
    text = " ".join((ROOT / "docs/results.md").read_text(encoding="utf-8").split())
    assert f"of {every} sentences about grandfathers and gentlemen {right} go there" in text


def test_the_first_page_has_the_figures_of_the_demo():
    now = demo(DEMOS[0])
    plain = " ".join((ROOT / "docs/index.md").read_text(encoding="utf-8").split())
    assert f"{now['baseline']:.3f} before, {now['compiled']:.3f} with words for the labels" in plain
    assert "labels and no rule, change" in plain
    assert now["rules"] == 0
    low, high = now["delta_ci95"]
    assert f"change {now['delta']:+.3f} [{low:+.3f}, {high:+.3f}]" in plain
    assert f"{now['teacher_calls']} teacher calls and {now['student_calls']} student calls" in plain
    minutes, seconds = map(int, re.search(r"(\d+) min (\d+) s on two cores", plain).groups())
    # The installation and the start of Python are outside of the run's own clock.
    assert 0 < 60 * minutes + seconds - now["wall_s"] < 180


def test_the_results_have_the_figures_of_the_demos():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    section = text.partition("## The demo")[2].partition("The demo of earlier")[0]
    rows = [row.strip("|").split("|") for row in section.splitlines() if row.startswith("|")]
    columns = list(zip(*(row[1:] for row in rows if len(row) == len(DEMOS) + 1), strict=True))

    for column, name in zip(columns, DEMOS, strict=True):
        report = demo(name)
        first, last, words = report["steps"][0], report["steps"][-1], bag_of_words(report)
        shown = [c.strip() for c in column]
        assert shown[0] == f"`{name}`"
        labelled = f"{words['labelled']}, {report['test_n']}"
        assert shown[-11:] == [
            labelled,
            cell(report["baseline"], report["baseline_ci95"]),
            cell(report["compiled"], report["compiled_ci95"]),
            as_read(last),
            cell(words["score"], words["ci95"]),
            f"{first['separability']:.3f}, {last['separability']:.3f}",
            ", ".join(str(right) for right, _ in last["right"].values()),
            f"{report['rules']}, {report['prompt_tokens']:.0f}",
            f"{report['search_score']:.3f}, {report['select_score']:.3f}",
            f"{report['teacher_calls']}, {report['student_calls']}",
            ", ".join(report.get("words", {}).values()) or "alpha, beta, gamma",
        ]


def test_what_is_said_of_the_demo_s_rules_is_what_they_were_judged():
    now, before = demo("demo_queues_rules.json"), demo("demo_queues_hundred_rules.json")
    results_page, readme = (
        " ".join((ROOT / name).read_text(encoding="utf-8").split())
        for name in ("docs/results.md", "README.md")
    )
    country, male, profession = now["unused"][:3]
    assert {rule["truth"]["right"] / rule["truth"]["holds"] for rule in now["unused"]} == {1.0}
    right, holds = country["truth"]["right"], country["truth"]["holds"]
    assert f'"{country["text"][:-1]}" (right for {right} of the {holds} training' in readme
    told = f"*{country['text'][:-1]}* (right for {right} of the {holds} judged examples"
    assert told in results_page
    for rule in (male, profession):
        truth = rule["truth"]
        assert f"*{rule['text'][:-1]}* ({truth['right']} of {truth['holds']})" in results_page

    second, first = (rule["truth"] for rule in before["rules"])
    assert [rule["text"] for rule in before["rules"]] == [
        "If the text mentions a country, answer gamma.",
        "If the sentence is about a person or a family member, answer alpha.",
    ]
    assert (
        f"right for {first['right']} of the {first['holds']} judged examples that it holds for, "
        f"{first['right']} of the {first['labelled']} of alpha, all {first['groups']} groups"
    ) in results_page
    assert first["groups"] == first["groups_labelled"]
    assert (
        f"({second['right']} of {second['holds']}, {second['right']} of the {second['labelled']} of "
        f"gamma, {second['groups']} of {second['groups_labelled']} groups)"
    ) in results_page
    for judged, name in ((now, DEMOS[0]), (before, DEMOS[1])):
        assert {word["label"]: word["word"] for word in judged["words"]} == demo(name)["words"]


def test_what_is_said_of_the_demo_with_rules_preferred_is_in_its_report():
    report, told = demo("demo_queues_preferred.json"), demo("demo_queues_preferred_rules.json")
    page, readme = (
        " ".join((ROOT / name).read_text(encoding="utf-8").split())
        for name in ("docs/results.md", "README.md")
    )
    plain = demo(DEMOS[0])
    score, tokens = cell(report["compiled"], report["compiled_ci95"]), report["prompt_tokens"]
    assert report["split"]["digests"] == plain["split"]["digests"]
    assert f"has {score} on test at {tokens:.0f} tokens, instead of {plain['compiled']:.3f}" in page
    assert f"for {score} at {tokens:.0f} tokens" in readme
    level = re.search(r"macro_f1 (\+0\.\d+ \[.*?\]) against the best", report["reason"])[1]
    assert f"level on selection ({level})" in page
    truths = [rule["truth"] for rule in told["rules"]]
    assert len(truths) == report["rules"] == 4
    assert {truth["answer"] for truth in truths} == {"alpha", "beta", "gamma"}
    assert all(truth["right"] == truth["holds"] for truth in truths)
    assert {(truth["right"], truth["labelled"]) for truth in truths} == {(3, 6), (4, 6)}
    # Each rule's gain: the list minus itself without the rule.
    assert all(
        low <= gain <= 0 <= high for gain, low, high in (r["left_out"] for r in told["rules"])
    )


def test_the_results_tell_of_the_false_rules():
    text = " ".join((ROOT / "docs/results.md").read_text(encoding="utf-8").split())
    for name in DEMOS[3:5]:
        found = [re.search(r"right for (\d+ of \d+)", w)[1] for w in demo(name)["rule_warnings"]]
        assert found == ["5 of 9", "6 of 11"]
    assert 'right for 5 of 9) and beta ("a person", 6 of 11)' in text
    without, kept = (demo(name)["compiled"] for name in DEMOS[3:5])
    assert f"{kept:.3f} against {without:.3f}" in text


def test_other_looks_at_the_same_sentences_are_told():
    text = " ".join((ROOT / "docs/results.md").read_text(encoding="utf-8").split())
    looks = [demo(f"demo_queues_look{n}.json") for n in (1, 2, 3, 4)]
    first, second, third, fourth = (f"{look['compiled']:.3f}" for look in looks)
    assert f"{fourth} (`demo_queues_look4.json`), with the word *action* for alpha" in text
    assert "action" in looks[3]["words"]["alpha"]
    assert f"{first} (*{looks[0]['words']['beta']}* for beta" in text
    assert f"{second} and {third}, with words that were measured" in text
    assert f"a run of {demo('demo_queues_timed.json')['compiled']:.3f}" in text
    assert len({look["split"]["digests"]["test"] for look in [demo(DEMOS[1]), *looks]}) == 1
    small = demo("demo_queues_small.json")
    assert (
        f"{cell(small['compiled'], small['compiled_ci95'])} on {small['test_n']} sentences" in text
    )
    assert f"({bag_of_words(small)['labelled']}, `demo_queues_small.json`" in text


KNOWLEDGE = read_bench(ROOT / "experiments/configs/knowledge.toml")


def knowledge():
    """The comparison of the grid, and the lines of earlier versions of its cells."""
    lines = read_lines(ROOT / "experiments/results/knowledge.jsonl")
    earlier = (read_lines(ROOT / "experiments/results" / name) for name in KNOWLEDGE.earlier)
    return compare(lines, cells_of(KNOWLEDGE)), [line for found in earlier for line in found.lines]


@pytest.mark.parametrize(
    ("page", "places"), [("README.md", ["short"]), ("docs/results.md", ["programs", "runs"])]
)
def test_the_tables_of_the_grid_are_those_of_its_lines(page, places):
    comparison, earlier = knowledge()
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in places:
        made = critics.PLACES[name](comparison, earlier)
        shown = text.partition(f"<!-- knowledge-{name}:start -->\n")[2]
        assert shown.partition(f"\n<!-- knowledge-{name}:end -->")[0] == made, (
            "run: python -m experiments report experiments/configs/knowledge.toml"
        )


def lines_by_row():
    """Lines of the first seed by task, student and optimizer."""
    return {
        (w["task"], w["student"][-4:].upper(), w["optimizer"]): w
        for w in results("knowledge.jsonl")
        if w["seed"] == 0 and w["split_by"] == ("item" if "nli" in w["task"] else "group")
    }


def test_what_is_said_beside_the_tables_of_the_grid_is_in_its_lines():
    lines = lines_by_row()
    pairs = {o: w for (task, _, o), w in lines.items() if task == "contract_nli-topics"}
    given, shares = pairs["zero-shot"], pairs["topic-majority"]["score"]
    page, readme = (
        " ".join((ROOT / name).read_text(encoding="utf-8").split())
        for name in ("docs/results.md", "README.md")
    )

    assert f"from {given['score']:.3f} to {given['decided_score']:.3f}, and the majority" in page
    assert f"labelled pairs, has {shares:.3f}" in page
    told = f"has {shares:.3f}, and a decision without rules {given['decided_score']:.3f}"
    assert told in readme
    low, high = pairs["pld-guides"]["separability_gain_ci95"]
    assert low < 0 < high  # "no separability beyond noise"
    logiqa = {w["optimizer"]: w for w in results("knowledge.jsonl") if w["task"] == "logiqa"}
    kept = logiqa["pld-rules"]
    assert kept["said"] == logiqa["asked-best"]["said"]  # no list was taken
    assert kept["unparsed_rate"] == 0.0
    assert f"decision: accuracy {cell(kept['score'], kept['ci95'])}, and no answer" in page
    assert f"(separability {kept['separability']:.3f})" in page
    text = logiqa["zero-shot"]
    assert f"({text['unparsed_rate']:.0%} of the text's are, which has {text['score']:.3f})" in page
    for told in (page, readme):
        assert f"test answers themselves has {kept['hindsight_score']:.3f}" in told
    for name, labelled in (("stereoset-queues", "132 for"), ("stereoset", "124 labelled")):
        count = lines[name, "1.5B", "bag-of-words"]["labelled"]
        assert str(count) == labelled.split()[0]
        assert labelled in readme
    assert lines["stereoset", "1.5B", "labeled-more-shots"]["program"]["demos"] == 16


def test_what_a_bag_of_words_has_on_random_sentences_is_in_its_file():
    [bag] = (
        w
        for w in results("bag_of_words.jsonl")
        if (w["task"], w["split_by"], w["seed"]) == ("stereoset", "item", 0)
    )
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"random StereoSet sentences ({cell(bag['score'], bag['ci95'])})" in readme


def test_how_far_a_decision_could_go_is_as_in_the_lines():
    page = " ".join((ROOT / "docs/results.md").read_text(encoding="utf-8").split())
    found = {
        (w["student"][-4:], w["optimizer"], w["seed"]): w["hindsight_score"]
        for w in results("knowledge.jsonl")
        if (w["task"], w["split_by"]) == ("stereoset", "group") and w.get("hindsight_score")
    }

    def over(student, optimizer, seeds=(0, 1, 2)):
        return [found[student, optimizer, seed] for seed in seeds]

    def listed(values):
        *first, last = (f"{value:.3f}" for value in values)
        return f"{', '.join(first)} and {last}"

    small, large = over("0.5b", "zero-shot"), over("1.5b", "zero-shot")
    words = over("0.5b", "pld-rules")
    assert f"as given to {listed(small)} on the three draws" in page
    assert f"PLD's words to {listed(words)} ({sum(words) / 3:.3f} in the mean" in page
    assert f"as given could have {listed(large)} ({sum(large) / 3:.3f})" in page
    assert f"16 examples {listed(over('1.5b', 'labeled-more-shots', (1, 2)))} on seeds 1" in page
    assert f"words {found['1.5b', 'pld-rules', 0]:.3f} on seed 0" in page


def test_a_bag_of_words_is_behind_on_unseen_targets_and_ahead_on_contract_nli():
    runs = [w for w in results("knowledge.jsonl") if w["optimizer"] in {"pld-rules", "pld-guides"}]
    bags = {
        (w["task"], w["seed"]): w["score"]
        for w in results("knowledge.jsonl")
        if w["optimizer"] == "bag-of-words"
    }
    ahead = {w["task"] for w in runs if bags[w["task"], w["seed"]] > w["score"]}
    assert ahead == {"contract_nli-topics"}


def test_the_rivals_on_the_queues_are_as_told():
    lines = lines_by_row()
    gepa = lines["stereoset-queues", "1.5B", "gepa"]
    for word in ("schoolboys", "musicians"):
        assert word in gepa["program"]["instructions"]
    for line in (gepa, lines["stereoset-queues", "1.5B", "mipro-instructions"]):
        assert line["decided_score"] == line["score"]
        assert line["ci95"][1] < lines["stereoset-queues", "1.5B", "pld-rules"]["ci95"][0]


def test_what_diagnose_foretold_is_told():
    made = (ROOT / "experiments/results/knowledge.md").read_text(encoding="utf-8")
    right, measured = re.search(r"Right in (\d+) of (\d+) settings", made).groups()
    numbers = {"2": "two", "3": "three", "4": "four"}
    page = " ".join((ROOT / "docs/results.md").read_text(encoding="utf-8").split())
    assert f"foretold {numbers[right]} of the {numbers[measured]} settings" in page


def test_other_machines_gave_what_is_told():
    [other] = results("knowledge_machines.jsonl")
    [here] = [w for w in results("knowledge.jsonl") if w["cell"] == other["cell"]]
    words, others = (line["program"]["words"]["religion"] for line in (here, other))
    assert (words, others) == ("religion", "religion / belief / faith")


def test_no_list_but_those_told_has_rules():
    runs = [
        w
        for w in results("knowledge.jsonl")
        if w["optimizer"] == "pld-rules" and w["task"].startswith("stereoset")
    ]
    with_rules = [w for w in runs if ", answer " in w["program"]["instructions"]]
    numbers = {2: "two", 3: "three", 4: "four", 5: "five", 10: "ten"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    few, all_of = numbers[len(with_rules)], numbers[len(runs)]
    assert f"of {all_of} runs on StereoSet's sentences {few} chose rules" in readme
    told = f"In {few} of {all_of} runs on StereoSet's sentences a list with rules did better on selection"
    assert told in " ".join((ROOT / "docs/results.md").read_text(encoding="utf-8").split())


def against_examples(task, student, seeds):
    """PLD minus 16 examples with the layer, over the seeds."""
    rows = {
        (w.seed, w.optimizer): w
        for w in read_lines(ROOT / "experiments/results/knowledge.jsonl").lines
        if (w.task, w.student[-4:].upper(), w.split_by) == (task, student, "group")
    }
    pairs = [(rows[seed, "labeled-more-shots"], rows[seed, "pld-rules"]) for seed in seeds]
    runs = [SeedAnswers(ours.gold, other.decided_said, ours.said) for other, ours in pairs]
    return difference("macro_f1", runs).delta


def test_sixteen_examples_are_level_with_pld_over_three_draws_and_either_leads_on_single_ones():
    page = " ".join((ROOT / "docs/results.md").read_text(encoding="utf-8").split())
    for student in ("0.5B", "1.5B"):
        over = against_examples("stereoset", student, (0, 1, 2))
        assert over.low < 0 < over.high
        assert f"{signed(over.estimate, (over.low, over.high))} with the {student}" in page
    draws = {
        (w["task"], w["student"][-4:].upper(), w["seed"])
        for w in results("knowledge.jsonl")
        if w["optimizer"] == "labeled-more-shots"
    }
    found = {
        (t, student, seed): against_examples(t, student, (seed,)) for t, student, seed in draws
    }
    assert {draw for draw, over in found.items() if over.low > 0} == {
        ("stereoset", "0.5B", 1),
        ("stereoset", "1.5B", 1),
        ("stereoset-queues", "1.5B", 2),
    }
    assert {draw for draw, over in found.items() if over.high < 0} == {("stereoset", "1.5B", 2)}
    text = [
        f"{w['score']:.3f}"
        for w in sorted(results("knowledge.jsonl"), key=lambda w: w["seed"])
        if (w["optimizer"], w["task"], w["student"][-4:])
        == ("labeled-more-shots", "stereoset", "1.5b")
    ]
    assert "has {}, {} and {}".format(*text) in page


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/limits.md"])
def test_the_other_wording_has_the_figures_of_its_file(page):
    [line] = [
        w
        for w in results("wording.jsonl")
        if (w["student"], w["seed"], w["earlier"]["wording"])
        == ("qwen2.5-coder-1.5b", 0, "sentence")
    ]

    assert cell(line["score"], line["ci95"]) in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path):
    """As `make docs` does, into a folder of its own."""
    pytest.importorskip("zensical")
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert "[project]" in settings
    for name in ("docs", "pld_dspy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "zensical.toml").write_text(settings, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert all(
        f'id="pld_dspy.{name}"' in page for name in pld_dspy.__all__ if name != "__version__"
    )
    assert 'src="images/first.png"' in (tmp_path / "site" / "results.html").read_text("utf-8")

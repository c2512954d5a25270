"""The figures of docs/method.md about words for labels come from the stored answers."""

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from experiments.bench import likelihood, transfer

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in transfer.FILE.read_text(encoding="utf-8").splitlines()]


def test_the_stored_answers_are_distributions_over_the_labels(rows):
    assert len({row["id"] for row in rows}) == len(rows) == 206
    for row in rows:
        for shares in row["asked"].values():
            assert sum(shares) == pytest.approx(1.0, abs=1e-4)


def test_the_sentences_and_three_of_the_sets_are_those_of_the_other_bench(rows):
    others = [json.loads(line) for line in likelihood.FILE.read_text(encoding="utf-8").splitlines()]
    for row, other in zip(rows, others, strict=True):
        assert (row["id"], row["gold"]) == (other["id"], other["gold"])
        stored = list(row["asked"].values())
        assert stored[:3] == [other[name] for name in ("names", "country", "two words")]


@pytest.fixture(scope="module")
def printed():
    """The figures that the command prints, row by row."""
    with pytest.MonkeyPatch.context() as patch, StringIO() as out:
        patch.setenv("COLUMNS", "300")
        with redirect_stdout(out):
            transfer.transfer(draws=60, size=76)
        lines = out.getvalue().splitlines()
    return [[c.strip() for c in line.split("│")[2:-1]] for line in lines if "│" in line]


def test_the_page_has_what_the_command_prints(printed):
    page = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    shown = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in page.splitlines()
        if re.match(r"\| (the names|gender)", row)
    ]
    files = (file.read_text(encoding="utf-8").splitlines() for file in transfer.FILES.values())
    sets = [words for lines in files for words in json.loads(lines[0])["asked"]]
    for cells, words, (score, lowest, *figures) in zip(shown, sets, printed, strict=True):
        assert words in {cells[0], "gender, profession, race, religion"}
        assert cells[1:3] == [score, lowest]
        assert cells[3] == ", ".join(figures[:4])
        assert cells[4] == ", ".join(figures[4:6])
        assert cells[5] == ", ".join(figures[6:])


def test_the_page_tells_what_the_targets_of_training_bring_the_smaller_student(printed):
    gains = [float(both) - float(one) for *_, one, both, _, _ in printed[:9]]
    page = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    assert min(gains) > 0
    assert f"every set of words, {sum(gains) / len(gains):.3f} on average" in page


def test_the_page_tells_how_far_a_decision_can_go(printed):
    others, same = zip(*((float(row[-2]), float(row[-1])) for row in printed), strict=True)
    assert 0.89 < max(others) <= 0.90
    assert 0.93 < max(same) <= 0.94


def test_both_students_answered_the_same_sentences(rows):
    lines = transfer.FILES["1.5B"].read_text(encoding="utf-8").splitlines()
    others = [json.loads(line) for line in lines]
    keys = ("id", "target", "gold")
    assert [[row[k] for k in keys] for row in rows] == [[row[k] for k in keys] for row in others]

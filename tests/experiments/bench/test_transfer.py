"""The figures of docs/method.md about words for labels come from the stored answers."""

import json
import re
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


def test_the_page_has_what_the_command_prints(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    transfer.transfer(draws=60, size=76)
    printed = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if "│" in line
    ]
    page = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    shown = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in page.splitlines()
        if re.match(r"\| (the names|gender)", row)
    ]
    for cells, (words, score, lowest, *areas) in zip(shown, printed, strict=True):
        assert words in {cells[0], "gender, profession, race, religion"}
        assert cells[1:3] == [score, lowest]
        assert cells[3] == ", ".join(areas)

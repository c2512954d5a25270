"""The figures of docs/method.md about likelihood and metric come from the stored answers."""

import json

import pytest

from experiments.bench import likelihood as draws


def test_the_stored_answers_are_distributions_over_the_labels():
    rows = [json.loads(line) for line in draws.FILE.read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == 206
    for row in rows:
        for name in ("names", "country", "two words"):
            assert sum(row[name]) == pytest.approx(1.0, abs=1e-4)


def test_likelihood_accepts_better_words_more_often_than_the_metric(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    draws.likelihood(draws=12)
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    sure = {row[0].strip(): (float(row[4]), float(row[5])) for row in rows}

    assert all(sure[pair][1] > sure[pair][0] for pair in ("names, two words", "names, country"))
    assert sure["two words, names"][1] < 0.2
    chosen = {row[0].strip(): float(row[6]) for row in rows}
    assert chosen["names, two words"] > 0.7
    assert chosen["two words, names"] < 0.2

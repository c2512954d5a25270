"""The same seed and the same answers give the same program, in whatever process."""

import dspy
import pytest

from fakes import fake_lm
from keyword_runs import SETS, Colour, compiled, engines, pld
from pld_dspy import DirectStudent, PLDConfig
from pld_dspy.config.optimizer import SearchConfig
from processes import Compiles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compiles():
    with Compiles(hash_seed="1") as compiles:
        yield compiles


@pytest.fixture(scope="module")
def first(compiles, tmp_path_factory):
    """A run folder, what was found in it, and the calls it took."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    code, found, calls = compiles.run(folder)
    assert code == 0
    return folder, found, calls


def test_another_process_with_another_hash_seed_finds_the_same(first, tmp_path):
    _, expected, expected_calls = first
    with Compiles(hash_seed="2") as others:
        code, found, calls = others.run(tmp_path / "second")

    assert code == 0
    assert found == expected
    assert calls == expected_calls
    (predictor,) = found["result"]["predictors"]
    assert [rule["text"] for rule in found["result"]["predictors"][0]["rules"]]
    assert found["program"]["signature"]["instructions"] in {
        candidate["prompt"] for candidate in predictor["candidates"]
    }


def test_another_process_finds_the_stored_answers_and_asks_nothing(compiles, first, tmp_path):
    folder, expected, _ = first
    code, found, calls = compiles.run(folder, calls=tmp_path / "calls.txt")

    assert code == 0
    assert found == expected
    assert calls == {}


def test_the_order_in_which_examples_are_given_changes_no_trace_and_no_cluster():
    turned = {name: examples[::-1] for name, examples in SETS.items()}
    config = PLDConfig(search=SearchConfig(trials=2))
    one = compiled(*engines(), config=config).pld_result.predictors[0]
    two = compiled(*engines(), config=config, sets=turned).pld_result.predictors[0]

    assert {t.id for t in one.traces} == {t.id for t in two.traces}
    assert one.clustering == two.clustering


def test_the_seed_decides_the_draws():
    def tried(seed):
        student, teacher = engines()
        config = PLDConfig(search=SearchConfig(trials=6, sampler="random"))
        with dspy.context(lm=fake_lm(student)):
            program = pld(teacher, config=config, seed=seed).compile(
                DirectStudent(Colour), trainset=[e for part in SETS.values() for e in part]
            )
        return program.pld_result.predictors[0]

    one, same, other = tried(0), tried(0), tried(1)

    assert one == same
    assert {t.example_id for t in one.traces} != {t.example_id for t in other.traces}
    assert [c.id for c in one.candidates] != [c.id for c in other.candidates]

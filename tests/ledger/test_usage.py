"""The meter agrees with the model's own count, under threads, caches and other trackers too."""

from contextlib import nullcontext
from dataclasses import replace

import dspy
import litellm
import pytest

from fakes import FakeEngine, RuleFollower, Script, fake_lm, keyword_task
from pld_dspy.ledger.store import Spent
from pld_dspy.ledger.usage import metered, total
from pld_dspy.models.adapter import DirectAdapter


@pytest.fixture(autouse=True)
def _direct():
    with dspy.context(adapter=DirectAdapter()):
        yield


class Colour(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    label: str = dspy.OutputField()


def ask(lm, texts, threads=1):
    student = dspy.Predict(Colour)
    pairs = [(student, dspy.Example(text=text).with_inputs("text")) for text in texts]
    with dspy.context(lm=lm):
        if threads == 1:
            return [student(**example.inputs()) for _, example in pairs]
        return dspy.Parallel(num_threads=threads, disable_progress_bar=True)(pairs)


TEXTS = [example.text for example in keyword_task(24).examples]


@pytest.mark.parametrize("threads", [1, 4])
def test_counts_are_those_of_the_model(threads):
    lm = fake_lm(RuleFollower("grey"))
    with metered() as meter:
        ask(lm, TEXTS, threads)
    assert meter.spent("student", "fake/lm") == {
        "role": "student",
        "calls": lm.engine.calls,
        "cached_calls": 0,
        "input_tokens": lm.engine.input_tokens,
        "output_tokens": lm.engine.output_tokens,
        "model": "fake/lm",
    }
    assert lm.engine.calls == 24


@pytest.mark.parametrize("threads", [1, 4])
def test_cached_calls_are_counted_apart_and_cost_nothing(threads):
    engine = FakeEngine(lambda prompt: "grey")
    lm = dspy.LM(f"fake/cached-{threads}", engine=engine, cache=True)
    with metered() as first:
        ask(lm, TEXTS[:8])
    with metered() as second:
        ask(lm, TEXTS[:12], threads)
    billed = first.spent("s", "m"), second.spent("s", "m")
    assert [(b["calls"], b["cached_calls"]) for b in billed] == [(8, 0), (12, 8)]
    assert sum(b["input_tokens"] for b in billed) == engine.input_tokens > 0
    assert engine.calls == 12


@pytest.mark.parametrize("threads", [1, 4])
def test_a_tracker_outside_still_gets_its_usage(threads):
    lm = fake_lm(RuleFollower("grey"))
    with dspy.track_usage() as outside:
        with metered():
            ask(lm, TEXTS, threads)
        seen = outside.get_total_tokens()["fake/lm"]
    assert (seen["prompt_tokens"], seen["completion_tokens"]) == (
        lm.engine.input_tokens,
        lm.engine.output_tokens,
    )


def test_an_inner_meter_counts_its_part_and_the_outer_one_all():
    lm = fake_lm(Script("one", "two", "three three"))
    with metered() as outer:
        ask(lm, TEXTS[:1])
        with metered() as inner:
            ask(lm, TEXTS[1:3])
        written = inner.spent("s", "m")["output_tokens"]
    assert (outer.calls, inner.calls) == (3, 2)
    assert written == 3
    assert outer.spent("s", "m")["output_tokens"] == 4
    assert outer.spent("s", "m")["input_tokens"] == lm.engine.input_tokens
    assert outer.spent("s", "m")["cached_calls"] == 0


def test_nothing_is_counted_after_the_context():
    lm = fake_lm(RuleFollower("grey"))
    with metered() as meter:
        pass
    ask(lm, TEXTS[:2])
    assert meter.spent("s", "m")["calls"] == 0
    assert dspy.settings.callbacks == []


@pytest.mark.parametrize("meter", [metered, nullcontext])
def test_metering_changes_no_answer(meter):
    with meter():
        answers = ask(fake_lm(RuleFollower("grey")), TEXTS[:6])
    assert [answer.label for answer in answers] == ["grey"] * 6


def test_a_call_that_failed_is_not_counted():
    def broken(prompt):
        raise RuntimeError("no answer")

    with metered() as meter, pytest.raises(Exception, match="no answer"):
        ask(fake_lm(broken), TEXTS[:1])
    assert (meter.calls, meter.tracker.billed) == (0, 0)


def entry(role, model, calls=1, cached=0):
    return Spent(
        role=role,
        calls=calls,
        cached_calls=cached,
        input_tokens=1000,
        output_tokens=10,
        model=model,
    )


def test_totals_are_sums_by_role():
    usage = total(
        [
            entry("teacher", "openai/gpt-4o-mini"),
            entry("student", "openai/x@12", calls=3, cached=2),
            entry("teacher", "openai/gpt-4o-mini", calls=2),
        ]
    )
    assert list(usage) == ["student", "teacher"]
    teacher, student = usage["teacher"], usage["student"]
    assert (teacher.calls, teacher.input_tokens, teacher.output_tokens) == (3, 2000, 20)
    assert (student.calls, student.cached_calls) == (3, 2)
    assert total([]) == {}


def test_a_price_is_given_only_where_every_model_has_one():
    def cost(*models):
        return total([entry("teacher", model) for model in models])["teacher"].cost_usd

    priced = cost("openai/gpt-4o-mini")
    assert priced == pytest.approx(1000 * 0.15e-6 + 10 * 0.6e-6)
    assert cost("openai/gpt-4o-mini", "gpt-4o-mini") == pytest.approx(2 * priced)
    assert cost("openai/qwen@1d96-q4_k_m") is None
    assert cost("openai/gpt-4o-mini", "openai/nobody-knows-this") is None


def test_an_embedder_needs_a_price_only_for_what_it_reads(monkeypatch):
    monkeypatch.setitem(litellm.model_cost, "x/embed", {"input_cost_per_token": 2e-6})

    def cost(written):
        spent = Spent(role="embedder", calls=1, input_tokens=500, model="x/embed")
        return total([replace(spent, output_tokens=written)])["embedder"].cost_usd

    assert cost(written=0) == pytest.approx(500 * 2e-6)
    assert cost(written=1) is None

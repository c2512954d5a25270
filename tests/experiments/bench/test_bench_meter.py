"""The meter against a counting fake, its cap, and the tape that answers in the model's place."""

import dspy
import pytest

from experiments.bench.meter import BudgetSpentError, Meter, Tape, metered_lm, role_of
from fakes import fake_lm
from keyword_runs import TRAIN, Colour, Student
from pld_dspy.models.student import DirectStudent


def models(engine, *, cap=None, tape=None, **settings):
    meter = Meter(cap)
    inner = fake_lm(engine, name="fake/student").copy(temperature=0.0, max_tokens=12)
    return meter, metered_lm(inner, "student", meter, tape or Tape(), **settings)


def ask(meter, lm, examples):
    with dspy.context(lm=lm, callbacks=[meter]):
        return [DirectStudent(Colour)(**example.inputs()).label for example in examples]


def test_calls_and_tokens_are_what_the_model_counts():
    engine = Student()
    meter, lm = models(engine, cache=False)
    ask(meter, lm, TRAIN[:7])
    with dspy.context(callbacks=[meter]):
        lm("hello", n=3, temperature=0.7)

    count = meter.counts["student"]

    assert (count.calls, count.replayed, meter.calls) == (10, 0, 10)
    assert (count.calls, count.input_tokens, count.output_tokens) == (
        engine.calls,
        engine.input_tokens,
        engine.output_tokens,
    )
    assert meter.cached_calls == 0


def test_what_the_cache_answers_is_counted_apart():
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    engine = Student()
    meter, lm = models(engine)
    ask(meter, lm, [*TRAIN[:4], *TRAIN[:4]])

    assert (meter.calls, meter.cached_calls, engine.calls) == (4, 4, 4)


def test_the_cap_lets_the_last_call_through_and_stops_the_next():
    engine = Student()
    meter, lm = models(engine, cap=3, cache=False)
    with pytest.raises(BudgetSpentError):
        ask(meter, lm, TRAIN[:5])

    assert (meter.calls, engine.calls, meter.stopped) == (3, 3, True)


def test_what_stops_a_search_is_no_exception_that_an_optimizer_would_swallow():
    assert not issubclass(BudgetSpentError, Exception)


def test_roles_are_counted_apart_and_share_the_cap():
    engine, tape = Student(), Tape()
    meter, student = models(engine, cap=4, tape=tape, cache=False)
    teacher = metered_lm(fake_lm(engine, name="fake/teacher"), "teacher", meter, tape, cache=False)
    ask(meter, student, TRAIN[:2])
    ask(meter, teacher, TRAIN[:2])

    assert [meter.counts[role].calls for role in ("student", "teacher")] == [2, 2]
    assert (role_of(student), role_of(teacher), role_of(fake_lm(engine))) == (
        "student",
        "teacher",
        None,
    )
    with pytest.raises(BudgetSpentError):
        ask(meter, teacher, TRAIN[:1])


def test_copies_are_metered_too():
    engine = Student()
    meter, lm = models(engine, cache=False)
    program = DirectStudent(Colour)
    program.set_lm(lm.copy(temperature=1.0, rollout_id=4))
    with dspy.context(callbacks=[meter]):
        program.deepcopy()(**TRAIN[0].inputs())

    assert meter.calls == engine.calls == 1


def test_a_replayed_call_counts_as_if_it_were_made_now(tmp_path):
    engine = Student()
    meter, lm = models(engine, tape=Tape(tmp_path), cache=False)
    first = ask(meter, lm, TRAIN[:3])
    again, lm = models(engine, tape=Tape(tmp_path), cache=False)
    second = ask(again, lm, TRAIN[:3])

    a, b = meter.counts["student"], again.counts["student"]

    assert second == first
    assert engine.calls == 3
    assert (b.calls, b.replayed, b.input_tokens) == (a.calls, 3, a.input_tokens)
    assert (meter.replayed_s, again.replayed_s) == (0.0, sum(meter._seconds["student"]))
    assert again.median_s("student") == pytest.approx(meter.median_s("student"))


def test_a_second_sample_is_not_the_first_and_both_are_replayed(tmp_path):
    answers = iter(["one", "two", "three"])
    engine = Student()
    engine.answer = lambda prompt, call: next(answers)

    def samples():
        _, lm = models(engine, tape=Tape(tmp_path), cache=False)
        return [lm("say a number", temperature=1.0)[0] for _ in range(2)]

    assert samples() == samples() == ["one", "two"]


def test_the_same_request_without_sampling_is_asked_once(tmp_path):
    engine = Student()
    meter, lm = models(engine, tape=Tape(tmp_path), cache=False)
    ask(meter, lm, [TRAIN[0], TRAIN[0]])

    assert (engine.calls, meter.calls, meter.counts["student"].replayed) == (1, 2, 1)


def test_the_price_is_known_for_models_of_the_table_alone():
    meter, lm = models(Student(), cache=False)
    assert meter.cost_usd() == 0.0
    ask(meter, lm, TRAIN[:1])
    assert meter.cost_usd() is None

    priced = Meter()
    inner = fake_lm(Student(), name="gemini/gemini-2.5-flash")
    ask(priced, metered_lm(inner, "teacher", priced, Tape(), cache=False), TRAIN[:1])
    count = priced.counts["teacher"]

    assert priced.cost_usd() == pytest.approx(
        count.input_tokens * 3e-7 + count.output_tokens * 2.5e-6
    )


def test_processes_share_their_tapes_and_leave_each_others_files_alone(tmp_path):
    engine = Student()
    _, lm = models(engine, tape=Tape(tmp_path, "first"), cache=False)
    ask(Meter(), lm, TRAIN[:2])
    under_way = tmp_path / "second.jsonl"
    under_way.write_text('{"key": "half a li', encoding="utf-8")
    meter, lm = models(engine, tape=Tape(tmp_path, "third"), cache=False)
    ask(meter, lm, TRAIN[:3])

    assert (engine.calls, meter.calls, meter.counts["student"].replayed) == (3, 3, 2)
    assert under_way.read_text(encoding="utf-8") == '{"key": "half a li'
    assert len((tmp_path / "third.jsonl").read_text(encoding="utf-8").splitlines()) == 1

"""Scores against a naive count, failures that are no zeros, and answers that are paid for once."""

import logging
import math
import threading
from collections import Counter
from dataclasses import replace
from typing import Literal

import dspy
import numpy as np
import pytest
from dspy.lm15 import (
    ContextLengthError,
    InvalidRequestError,
    ServerError,
    TokenLogprob,
    TopLogprob,
    TransportError,
    UnsupportedFeatureError,
    Usage,
)
from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeEngine, FakeTeacher, RuleFollower, every, fake_lm, keyword_rule, keyword_task
from pld_dspy.data.examples import example_id
from pld_dspy.errors import DataError, ModelError, PLDError
from pld_dspy.ledger.store import StageStore
from pld_dspy.models.student import DirectStudent
from pld_dspy.records import Answer, Evaluation, Event
from pld_dspy.scoring.evaluator import Evaluator, as_accuracy
from pld_dspy.scoring.metrics import accuracy, macro_f1, mcc

LABELS = ("red", "green", "blue", "grey")
TASK = keyword_task(24)
EXAMPLES = TASK.examples


class Colour(dspy.Signature):
    """Name the colour."""

    text: str = dspy.InputField()
    label: Literal["red", "green", "blue", "grey"] = dspy.OutputField()


def student(rules=TASK.rules, *, config=None, lm=None, demos=()):
    program = DirectStudent(Colour)
    prompt = "\n".join(["Name the colour.", *rules])
    program.predict.signature = Colour.with_instructions(prompt)
    program.predict.config = config or {}
    program.predict.lm = lm
    program.predict.demos = list(demos)
    return program


def evaluator(engine, *, metric=macro_f1, store=None, name="fake/lm", **settings):
    lm = dspy.LM(name, engine=engine, cache=False, num_retries=0)
    lm.kwargs.update(settings.pop("lm", {}))  # a fake engine takes no address itself
    return Evaluator(
        lm=lm,
        metric=metric,
        label_key="label",
        labels=LABELS,
        store=store or StageStore(),
        **settings,
    )


def run(scorer, program=None, examples=EXAMPLES):
    program = student() if program is None else program
    return scorer.run(program, examples, candidate_id="c1", split="val")


def follower():
    return RuleFollower(TASK.default)


def sloppy(bad, text):
    """Follow the rules, but for the calls that `bad` chooses, which say `text`."""

    class Sloppy(RuleFollower):
        def answer(self, prompt, call):
            return text if bad(call) else super().answer(prompt, call)

    return Sloppy(TASK.default)


@pytest.mark.parametrize("rules", [TASK.rules, TASK.rules[::-1], TASK.rules[:2], ()])
def test_the_score_is_the_naive_one(rules):
    engine = follower()
    result = run(evaluator(engine, metric=accuracy), student(rules))
    assert result.score == TASK.accuracy(rules)
    assert as_accuracy(result) == result.score
    assert (result.candidate_id, result.split, result.metric) == ("c1", "val", "accuracy")
    assert [a.example_id for a in result.answers] == [example_id(e) for e in EXAMPLES]
    assert [a.gold for a in result.answers] == [e.label for e in EXAMPLES]
    assert {a.answer == a.gold: a.score for a in result.answers}.get(True, 1.0) == 1.0
    assert sum(a.calls for a in result.answers) == engine.calls == len(EXAMPLES)
    assert sum(a.input_tokens for a in result.answers) == engine.input_tokens
    assert sum(a.output_tokens for a in result.answers) == engine.output_tokens


@pytest.mark.parametrize("metric", [macro_f1, accuracy, mcc])
def test_a_corpus_metric_sees_all_the_answers(metric):
    result = run(evaluator(follower(), metric=metric), student(TASK.rules[:2]))
    said = [a.answer for a in result.answers]
    assert result.score == metric([e.label for e in EXAMPLES], said)
    assert 0 < result.score < 1


def test_an_unreadable_answer_is_wrong_and_no_failure():
    result = run(evaluator(sloppy(every(3), "what a nice day"), metric=accuracy))
    unread = [a for a in result.answers if a.answer is None]
    assert len(unread) == 8
    assert {(a.raw, a.score, a.error, a.calls) for a in unread} == {("what a nice day", 0, None, 1)}
    assert result.score == 16 / 24
    assert (result.failures, result.unparsed_rate) == (0, 8 / 24)


def test_an_open_answer_is_compared_as_it_is():
    engine = FakeEngine(lambda prompt: "Red")
    open_set = Evaluator(
        lm=fake_lm(engine), metric=accuracy, label_key="label", labels=(), store=StageStore()
    )
    examples = [dspy.Example(text=t, label=t).with_inputs("text") for t in ("Red", "red")]
    result = run(open_set, DirectStudent("text -> label"), examples)
    assert [(a.answer, a.score) for a in result.answers] == [("Red", 1.0), ("Red", 0.0)]


class Crashing(dspy.Module):
    """Crashes on some texts, as a user's program may."""

    def __init__(self, texts):
        super().__init__()
        self.inner = student()
        self.texts = set(texts)

    def forward(self, text):
        if text in self.texts:
            raise KeyError("no such price")
        return self.inner(text=text)


def test_a_crash_is_wrong_and_is_counted_apart(caplog):
    # Rules for two words only, so that a crash counted as wrong or right would show.
    texts = [e.text for e in EXAMPLES[:4]]
    program = Crashing(texts)
    program.inner = student(TASK.rules[:2])
    engine = follower()
    scorer = evaluator(engine, metric=accuracy)
    with caplog.at_level(logging.WARNING):
        result = run(scorer, program)
    right = sum(a.answer == a.gold for a in result.answers[4:])
    assert result.score == right / 24
    assert result.failures == 4
    assert result.unparsed_rate == 0
    assert {a.error for a in result.answers[:4]} == {"KeyError: 'no such price'"}
    assert {a.answer for a in result.answers[:4]} == {None}
    assert sum("KeyError" in message for message in caplog.messages) == 4
    run(scorer, program)  # answers are kept, a crash is tried again
    assert engine.calls == 20


def test_a_program_that_always_crashes_is_an_error():
    program = Crashing(e.text for e in EXAMPLES)
    with pytest.raises(PLDError, match="on each of the first 20 examples; first error: KeyError"):
        run(evaluator(follower()), program)


class Renamed(dspy.Module):
    """Returns the answer under another name than the examples' label."""

    def __init__(self, fields=("colour",), *, lacks=lambda text: True):
        super().__init__()
        self.inner = student()
        self.fields, self.lacks = fields, lacks

    def forward(self, text):
        said = self.inner(text=text).label
        if self.lacks(text):
            return dspy.Prediction(**dict.fromkeys(self.fields, said))
        return dspy.Prediction(label=said)


@pytest.mark.parametrize(
    ("fields", "had"), [(("colour", "why"), "'colour', 'why'"), ((), "no field at all")]
)
def test_a_prediction_without_the_labelled_field_is_an_error_in_one_line(fields, had):
    with pytest.raises(PLDError, match=f"lacks the labelled field 'label' and has {had}; ") as e:
        run(evaluator(follower()), Renamed(fields))
    assert "\n" not in str(e.value)


def test_what_is_no_prediction_is_an_error_in_one_line():
    class Bare(Renamed):
        def forward(self, text):
            return super().forward(text).colour

    with pytest.raises(PLDError, match=r"the program returned str; return a dspy\.Prediction with"):
        run(evaluator(follower()), Bare())


def test_an_example_without_the_labelled_field_is_wrong_and_is_counted(caplog):
    odd = {example.text for example in EXAMPLES[::3]}
    found = run(evaluator(follower()), Renamed(lacks=lambda text: text in odd))

    assert found.failures == len(odd)
    assert found.unparsed_rate == 0.0
    assert as_accuracy(found) == (len(EXAMPLES) - len(odd)) / len(EXAMPLES)
    assert "lacks the labelled field" in caplog.text


def test_no_examples_is_an_error():
    with pytest.raises(DataError, match="the val split is empty; give it examples"):
        run(evaluator(follower()), examples=[])


class Down(FakeTeacher):
    """Follows the rules until the endpoint goes down."""

    def __init__(self, after):
        super().__init__(follower()._answer, fail_on=lambda call: call > after)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_endpoint_that_goes_down_costs_nothing_twice(tmp_path, threads):
    down = Down(after=10)
    with pytest.raises(ModelError, match=r"fake/lm does not answer: .*run again to resume"):
        run(evaluator(down, store=StageStore(tmp_path), threads=threads))
    engine = follower()
    result = run(evaluator(engine, store=StageStore(tmp_path), threads=threads))
    assert engine.calls == 24 - 10
    assert result == run(evaluator(follower()))


def test_stored_answers_make_the_same_evaluation_without_a_call(tmp_path):
    first = run(evaluator(sloppy(every(5), "hm"), store=StageStore(tmp_path)))
    silent = follower()
    store = StageStore(tmp_path)
    assert run(evaluator(silent, store=store)) == first
    assert silent.calls == 0
    assert sum(spent.calls for spent in store.spent()) == 24


def test_threads_make_the_same_evaluation_and_count_up(tmp_path):
    seen = []
    threads = Counter()

    class Watched(RuleFollower):
        def answer(self, prompt, call):
            threads[threading.get_ident()] += 1
            return super().answer(prompt, call)

    together = evaluator(Watched(TASK.default), threads=4, progress=seen.append)
    assert run(together) == run(evaluator(follower()))
    assert seen == [Event("val", "student", i, 24, item="c1") for i in range(1, 25)]
    assert threading.get_ident() not in threads


def test_an_example_given_twice_is_asked_once():
    engine = follower()
    result = run(evaluator(engine), examples=[*EXAMPLES, EXAMPLES[0]])
    assert engine.calls == 24
    assert result.answers[0] == result.answers[-1]


def test_a_metric_of_one_example_is_averaged():
    def half(example, prediction, trace=None):
        assert trace is None
        return 0.5 if prediction.label == example.label else None

    result = run(evaluator(sloppy(every(4), "hm"), metric=half))
    assert result.metric == "half"
    assert result.score == 0.5 * 18 / 24
    assert {a.score for a in result.answers} == {0.0, 0.5}


def test_a_metric_may_give_a_score_with_feedback():
    def scored(example, prediction, trace=None):
        right = prediction.label == example.label
        return dspy.Prediction(score=float(right), feedback="...")

    assert run(evaluator(follower(), metric=scored)).score == 1.0


DEMO = {"text": "alpha", "label": "red"}
OTHER_LM = fake_lm(follower(), name="fake/other")


def calls_again(program=None, **settings):
    """How many answers are asked for after those of the plain student are stored."""
    store = StageStore()
    run(evaluator(follower(), store=store), examples=EXAMPLES[:3])
    OTHER_LM.engine.calls = 0
    engine = follower()
    run(evaluator(engine, store=store, **settings), program, EXAMPLES[:3])
    return engine.calls + OTHER_LM.engine.calls


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        (student(TASK.rules[:2]), {}),
        (student(demos=[dspy.Example(**DEMO)]), {}),
        (student(config={"temperature": 0.9}), {}),
        (student(lm=OTHER_LM), {}),
        (None, {"name": "fake/other"}),
        (None, {"lm": {"temperature": 0.9}}),
        (None, {"lm": {"max_tokens": 7}}),
        (None, {"metric": accuracy}),
    ],
)
def test_what_changes_an_answer_asks_for_it_again(program, settings):
    assert calls_again(program, **settings) == 3


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        (student(), {}),
        (None, {"lm": {"api_base": "http://elsewhere:1/v1", "api_key": "k"}}),
        (None, {"threads": 3}),
        (None, {"seed": 5}),
    ],
)
def test_what_changes_no_answer_does_not(program, settings):
    assert calls_again(program, **settings) == 0


def test_the_order_in_which_a_demonstration_lists_its_inputs_does_not_matter():
    # They are a set of strings, whose order changes with the process.
    keys = []
    for order in (["p", "q"], ["q", "p"]):
        demo = dspy.Example(p=1, q=2, label="red")
        demo._input_keys = order
        keys.append(evaluator(follower()).fingerprint(student(demos=[demo])))
    assert keys[0] == keys[1]


def test_compare_pairs_by_example_and_counts_crashes_as_wrong():
    scorer = evaluator(follower(), metric=accuracy)
    good, poor = run(scorer), run(scorer, student(()))
    crashed = run(scorer, Crashing(e.text for e in EXAMPLES[:6]), EXAMPLES[::-1])
    delta = scorer.compare(poor, good, n=200).delta
    assert delta.estimate == good.score - poor.score > 0
    assert scorer.compare(good, good, n=200).delta.high == 0
    # `crashed` is in reverse order, so that pairing by place would find other differences.
    assert scorer.compare(good, crashed, n=200).delta.estimate == -6 / 24
    for first, second in ((poor, crashed), (crashed, poor)):
        found = scorer.compare(first, second, n=200).delta.estimate
        assert found == pytest.approx(second.score - first.score)


def test_a_candidate_that_crashes_everywhere_scores_nothing_and_the_run_goes_on():
    scorer = evaluator(follower(), metric=accuracy)
    assert run(scorer).score == 1.0
    crashed = run(scorer, Crashing(e.text for e in EXAMPLES))
    assert (crashed.score, crashed.failures) == (0.0, 24)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=24))
def test_crashing_on_what_was_right_never_helps(rows):
    """Each row: was the baseline right, was the candidate, and does the candidate crash."""
    gold = [LABELS[i % 2] for i in range(len(rows))]

    def evaluated(flags, crashes):
        answers = tuple(
            Answer(
                example_id=str(i),
                gold=gold[i],
                answer=None if crash else gold[i] if right else "grey",
                score=float(right and not crash),
                error="too long" if crash else None,
            )
            for i, (right, crash) in enumerate(zip(flags, crashes, strict=True))
        )
        score = scorer.score(answers)
        return Evaluation(candidate_id="c", split="val", metric="m", score=score, answers=answers)

    given, right, crash = zip(*rows, strict=True)
    for metric in (accuracy, exact):
        scorer = evaluator(follower(), metric=metric)
        base = evaluated(given, [False] * len(rows))
        whole, crashed = (evaluated(right, crashes) for crashes in ([False] * len(rows), crash))
        assert crashed.score <= whole.score
        assert crashed.failures == sum(crash)
        deltas = [scorer.compare(base, e, n=50).delta.estimate for e in (whole, crashed)]
        assert deltas[1] <= deltas[0]
        assert deltas[1] == pytest.approx(crashed.score - base.score)


def exact(example, prediction, trace=None):
    return prediction.label == example.label


@pytest.mark.parametrize("metric", [accuracy, macro_f1, exact])
def test_a_list_that_overflows_the_context_is_behind_one_that_does_not(metric):
    whole = follower()
    run(evaluator(whole))
    limit = sorted(len(prompt.split()) for prompt in whole.prompts)[12] - 1

    class Small(RuleFollower):
        def answer(self, prompt, call):
            if len(prompt.split()) > limit:
                raise ContextLengthError("maximum context length is 60 tokens")
            return super().answer(prompt, call)

    scorer = evaluator(Small(TASK.default), metric=metric)
    bare, long = run(scorer, student(TASK.rules[:2])), run(scorer)
    assert 0 < long.failures < 24
    assert all(a.answer == a.gold for a in long.answers if a.error is None)
    assert long.score < 1.0
    delta = scorer.compare(bare, long, n=200).delta.estimate
    assert delta == pytest.approx(long.score - bare.score)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_student_that_says_nothing_is_given_up_after_20_answers(threads):
    class Cut(FakeEngine):
        def complete(self, request):
            return replace(super().complete(request), finish_reason="length")

    engine = Cut(lambda prompt: "")
    scorer = evaluator(engine, threads=threads, lm={"max_tokens": 16})
    with pytest.raises(
        PLDError, match=r"none of the first 20 .*finish_reason 'length' .*max_tokens 16.*raise max_"
    ) as caught:
        run(scorer)
    assert "\n" not in str(caught.value)
    assert 20 <= engine.calls < 20 + threads


def test_a_short_split_without_a_readable_answer_is_warned_of(caplog):
    result = run(evaluator(FakeEngine(lambda p: "a nice day")), examples=EXAMPLES[:5])
    assert result.unparsed_rate == 1.0
    assert "none of the first 5 answers of fake/lm names a label" in caplog.text
    assert "the first text was 'a nice day'" in caplog.text
    assert "ask in the instructions for the label alone" in caplog.text


def test_one_readable_answer_is_enough_to_go_on():
    result = run(evaluator(sloppy(lambda call: call != 7, "hm")))
    assert result.unparsed_rate == 23 / 24


@pytest.mark.parametrize("cached", [True, False])
def test_prompt_tokens_are_counted_where_nobody_reports_them(cached):
    class Bare(RuleFollower):
        def complete(self, request):
            response = super().complete(request)
            return response if cached else replace(response, usage=Usage())

    def scorer(store=None):
        # The name tells DSPy's cache apart from that of other tests.
        lm = dspy.LM(
            f"fake/tokens-{cached}", engine=Bare(TASK.default), cache=cached, num_retries=0
        )
        return Evaluator(
            lm=lm, metric=accuracy, label_key="label", labels=LABELS, store=store or StageStore()
        )

    if cached:
        run(scorer())
    short, long = scorer(), scorer()
    store = long.store
    few, many = run(short, student(())), run(long)
    assert 0 < few.prompt_tokens < many.prompt_tokens
    assert run(scorer(store)) == many
    if not cached or not many.answers[0].input_tokens:
        assert sum(spent.input_tokens for spent in store.spent()) == 0


def test_a_metric_that_gives_nan_is_a_failure(caplog):
    result = run(
        evaluator(
            follower(), metric=lambda e, p, trace=None: float("nan") if e.label == "red" else 1
        )
    )
    assert result.failures == sum(e.label == "red" for e in EXAMPLES) > 0
    assert result.score == 1 - result.failures / 24
    assert "returned nan; return a number in [0, 1]" in caplog.text


@pytest.mark.parametrize("gold", [None, float("nan"), np.float32("nan")])
def test_an_example_without_a_label_is_refused(gold):
    odd = dspy.Example(text="x", label=gold).with_inputs("text")
    with pytest.raises(
        DataError, match=r"has the label label = .*; give it one, or leave"
    ) as caught:
        run(evaluator(follower()), examples=[*EXAMPLES[:3], odd])
    assert "\n" not in str(caught.value)


def test_compare_takes_the_scores_of_a_metric_of_one_example():
    def length(example, prediction, trace=None):
        return len(prediction.label) / 10

    scorer = evaluator(follower(), metric=length)
    good, poor = run(scorer), run(scorer, student((keyword_rule("alpha", "red"),)))
    result = scorer.compare(good, poor, n=200)
    assert result.delta.estimate == pytest.approx(poor.score - good.score)
    assert result == scorer.compare(good, poor, n=200)


class Telling(RuleFollower):
    """Follows the rules and, if asked to, tells log-probabilities: 3/4 its answer, 1/4 `blue`."""

    def __init__(self, tells=True):
        super().__init__(TASK.default)
        self.tells = tells
        self.asked = []

    def complete(self, request):
        self.asked.append(request.config.logprobs)
        response = super().complete(request)
        if request.config.logprobs is None or not self.tells:
            return response
        said = response.message.parts[0].text
        top = [TopLogprob(said, math.log(0.75)), TopLogprob(" Blue", math.log(0.25))]
        return replace(response, logprobs=(TokenLogprob(said, math.log(0.75), top=tuple(top)),))


class Refusing(Telling):
    """An endpoint that takes no log-probabilities."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def complete(self, request):
        if request.config.logprobs is not None:
            self.asked.append(request.config.logprobs)
            raise self.error("logprobs: unknown parameter")
        return super().complete(request)


def without_p(evaluation):
    return replace(
        evaluation,
        answers=tuple(replace(a, p_gold=None, probabilities=None) for a in evaluation.answers),
    )


def expected_p(answer):
    if answer.answer == "blue":
        return float(answer.gold == "blue")
    return {answer.answer: 0.75, "blue": 0.25}.get(answer.gold, 0.0)


@pytest.mark.parametrize("own", [False, True])
def test_the_probability_of_gold_is_told_and_nothing_else_changes(own, caplog):
    engine = Telling()
    program = student(TASK.rules[:2], lm=fake_lm(engine) if own else None)
    plain = run(evaluator(Telling()), program)
    engine.asked.clear()
    result = run(evaluator(engine, probabilities=True, threads=3), program)
    assert [a.p_gold for a in result.answers] == [expected_p(a) for a in result.answers]
    assert {a.p_gold for a in result.answers} >= {0.75, 0.25}
    assert without_p(result) == plain
    assert {a.p_gold for a in plain.answers} == {None}
    assert engine.asked == [20] * 24
    assert not caplog.messages
    if own:
        assert "logprobs" not in program.predict.lm.kwargs


def test_it_is_stored_and_answers_stored_without_it_are_not_asked_for_again(tmp_path):
    first = run(evaluator(Telling(), store=StageStore(tmp_path)), examples=EXAMPLES[:3])
    engine = Telling()
    scorer = evaluator(engine, store=StageStore(tmp_path), probabilities=True)
    both = run(scorer, examples=EXAMPLES[:5])
    assert both.answers[:3] == first.answers
    assert [a.p_gold is None for a in both.answers] == [True] * 3 + [False] * 2
    assert ["p_gold" in record for record in scorer.store.all("answers")] == [False] * 3 + [
        True
    ] * 2
    again = run(evaluator(engine, store=StageStore(tmp_path)), examples=EXAMPLES[:5])
    assert again == both
    assert engine.calls == 2


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("error", [InvalidRequestError, UnsupportedFeatureError, ServerError])
def test_an_endpoint_that_refuses_is_asked_without_and_warned_of_once(error, threads, caplog):
    engine = Refusing(error)
    scorer = evaluator(engine, probabilities=True, threads=threads)
    assert run(scorer) == run(evaluator(follower()))
    assert engine.asked.count(None) == 24
    assert 1 <= engine.asked.count(20) <= threads
    run(scorer, student(TASK.rules[:2]))
    assert engine.asked.count(20) <= threads
    assert sum("gives no log-probabilities" in message for message in caplog.messages) == 1
    assert "logprobs: unknown parameter" in caplog.text


def test_an_endpoint_that_leaves_them_out_is_asked_without_and_warned_of_once(caplog):
    engine = Telling(tells=False)
    result = run(evaluator(engine, probabilities=True))
    assert result == run(evaluator(follower()))
    assert engine.asked == [20] + [None] * 23
    assert [m for m in caplog.messages if "(they are not in its answer)" in m] == caplog.messages
    assert len(caplog.messages) == 1


def test_an_example_that_is_refused_for_itself_does_not_end_the_asking(caplog):
    class Picky(Telling):
        def complete(self, request):
            if EXAMPLES[0].text in (request.messages[-1].text or ""):
                raise InvalidRequestError("not about this")
            return super().complete(request)

    result = run(evaluator(Picky(), probabilities=True))
    assert result.failures == 1
    assert "not about this" in result.answers[0].error
    assert all(a.p_gold is not None for a in result.answers[1:])
    assert "gives no log-probabilities" not in caplog.text


def test_an_endpoint_that_is_down_is_not_blamed_on_the_parameter():
    class Dropped(Telling):
        def answer(self, prompt, call):
            if call > 10:
                raise TransportError("connection reset")
            return super().answer(prompt, call)

    engine = Dropped()
    with pytest.raises(ModelError, match="does not answer"):
        run(evaluator(engine, probabilities=True))
    assert set(engine.asked) == {20}


class Twice(dspy.Module):
    """Asks two predictors, of which the first is not heeded."""

    def __init__(self):
        super().__init__()
        self.first, self.second = student(), student()

    def forward(self, text):
        self.first(text=text)
        return self.second(text=text)


class Colours(dspy.Signature):
    """Name the colour, and why."""

    text: str = dspy.InputField()
    label: Literal["red", "green", "blue", "grey"] = dspy.OutputField()
    reason: str = dspy.OutputField()


@pytest.mark.parametrize("program", [Twice(), DirectStudent(Colours)])
def test_several_predictors_or_outputs_are_asked_without(program, caplog):
    class Both(Telling):
        def answer(self, prompt, call):
            label = super().answer(prompt, call)
            return f"Label: {label}\nReason: x" if "Reason" in prompt.user else label

    engine = Both()
    result = run(evaluator(engine, probabilities=True), program)
    assert {a.p_gold for a in result.answers} == {None}
    assert set(engine.asked) == {None}
    assert not caplog.messages


def test_an_open_set_is_asked_without():
    engine = Telling()
    scorer = replace(evaluator(engine, metric=accuracy, probabilities=True), labels=())
    assert {a.p_gold for a in run(scorer).answers} == {None}
    assert set(engine.asked) == {None}


def test_an_unreadable_answer_has_no_probability():
    class Chatty(Telling):
        def answer(self, prompt, call):
            return "what a nice day" if call % 3 == 0 else super().answer(prompt, call)

    result = run(evaluator(Chatty(), probabilities=True))
    assert {a.answer is None for a in result.answers if a.p_gold is None} == {True}
    assert sum(a.p_gold is None for a in result.answers) == 8


def test_a_program_that_makes_several_calls_of_one_predictor_has_no_probability():
    class Again(Crashing):
        def forward(self, text):
            self.inner(text=text)
            return super().forward(text)

    engine = Telling()
    result = run(evaluator(engine, probabilities=True), Again(()))
    assert {a.p_gold for a in result.answers} == {None}
    assert engine.calls == 48


def test_the_adapter_of_dspy_itself_is_followed_too():
    class Chat(Telling):
        def answer(self, prompt, call):
            return {"label": super().answer(prompt, call)}

        def complete(self, request):
            response = super().complete(request)
            text = response.message.parts[0].text
            head, label, tail = text.partition(text.split("\n")[1])
            pieces = [TokenLogprob(head, 0.0), TokenLogprob(tail, 0.0)]
            top = (TopLogprob(label, math.log(0.75)), TopLogprob("Blue", math.log(0.25)))
            pieces.insert(1, TokenLogprob(label, math.log(0.75), top=top))
            return replace(response, logprobs=tuple(pieces))

    with dspy.context(adapter=dspy.ChatAdapter()):
        result = run(evaluator(Chat(), probabilities=True), dspy.Predict(Colour))
    assert {a.answer for a in result.answers} == {TASK.default}
    assert [a.p_gold for a in result.answers] == [expected_p(a) for a in result.answers]

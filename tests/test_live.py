"""The whole pipeline on a real model: a very weak one, so what it finds may well be nothing."""

import time

import dspy
import httpx
import pytest

from pld_dspy import PLD, DirectAdapter, DirectStudent, PLDConfig, load_task, macro_f1, make_lm
from pld_dspy.config.optimizer import RefineConfig, RuleConfig, SearchConfig
from pld_dspy.data.examples import example_id
from pld_dspy.records import Decision

pytestmark = pytest.mark.live

MODEL = "local/qwen2.5-coder-0.5b"
CONFIG = PLDConfig(
    explain=6,
    rules=RuleConfig(per_label=False),
    refine=RefineConfig(rounds=1, feedback=6, failures=4, successes=2, edits=1),
    search=SearchConfig(trials=1),
    finalists=1,
)


class Calls(dspy.utils.callback.BaseCallback):
    """Counts answered calls by the longest answer that the LM may give."""

    def __init__(self):
        self.open = {}
        self.counts = {}

    def on_lm_start(self, call_id, instance, inputs):
        self.open[call_id] = instance.kwargs["max_tokens"]

    def on_lm_end(self, call_id, outputs, exception=None):
        limit = self.open.pop(call_id)
        self.counts[limit] = self.counts.get(limit, 0) + (exception is None)


def test_the_whole_pipeline_on_a_real_model(tmp_path):
    task = load_task("stereoset")
    splits = task.split({"train": 16, "val": 12, "select": 12, "test": 0}, seed=0)
    teacher = make_lm(MODEL, max_tokens=128)
    student = teacher.copy(max_tokens=12)
    sets = {"trainset": splits.train, "valset": splits.val, "selectset": splits.select}
    calls = Calls()
    optimizer = PLD(metric=macro_f1, teacher_lm=teacher, config=CONFIG, run_dir=tmp_path)
    start = time.monotonic()
    with dspy.context(lm=student, callbacks=[calls]):
        program = optimizer.compile(DirectStudent(task.signature), **sets)
        before = dict(calls.counts)
        again = optimizer.compile(DirectStudent(task.signature), **sets)
    result = program.pld_result
    (found,) = result.predictors

    # Every call is counted, and none is made again from the same folder.
    usage = {role: result.usage[role].calls for role in ("teacher", "student")}
    # Conditions are judged behind the student's server, which holds the same weights.
    assert sum(before.values()) == usage["teacher"] + usage["student"]
    assert 0 < usage["student"] <= before[12]
    assert calls.counts == before
    assert result.usage["student"].input_tokens > 20 * usage["student"]
    assert result.usage["teacher"].output_tokens > 10 * len(found.traces)
    assert result.wall_s <= time.monotonic() - start
    assert again.pld_result.predictors == result.predictors

    # Every rule leads back to training examples.
    train = {example_id(e): e.bias_domain for e in splits.train}
    traces = {t.id: t for t in found.traces}
    assert 0 < len(traces) <= 6
    assert found.rules
    for rule in found.rules:
        assert {traces[i].label for i in rule.trace_ids} == set(rule.labels)
        assert all(train[traces[i].example_id] == traces[i].label for i in rule.trace_ids)

    # The student answers with labels, and is never worse for it on the selection examples.
    scores = {e.candidate_id: e for e in found.evaluations if e.split == "select"}
    as_given = found.candidates[0]
    assert as_given.origin == "as given"
    assert scores[found.chosen_id].score >= scores[as_given.id].score
    assert scores[as_given.id].unparsed_rate <= 0.2
    assert all(e.failures == 0 for e in found.evaluations)
    if found.chosen_id == as_given.id:
        assert "the student stays as given" in found.reason
    else:
        # Words for the labels may do without rules; each of them was proposed, or is what is left.
        assert found.chosen.rules or found.chosen.origin == "label words"
        named = {w.word for w in found.words if w.rule_ids or w.trace_ids or w.named}
        for label, shown in found.chosen.words.items():
            assert set(shown.split(" / ")) <= named | {label, CONFIG.words.rest}
        assert found.select_delta.estimate > 0
    assert program.predict.signature.instructions == found.chosen.prompt


def test_a_deployment_that_reads_the_text_decides_the_same_by_logit_bias():
    task = load_task("stereoset")
    items = task.split({"train": 4, "val": 0, "select": 0, "test": 24}, seed=0).test
    student = DirectStudent(task.signature)
    lm = make_lm(MODEL, max_tokens=12)
    with dspy.context(lm=lm):
        # The bias of this model, about as batch calibration finds it.
        offsets = {"gender": 1.5, "profession": -1.0, "race": 0.5, "religion": 0.0}
        decided = student.deciding(Decision(kind="mean", offsets=offsets))
        bias = decided.logit_bias()
        plain = [student(**item.inputs()).bias_domain for item in items[:8]]
        chosen = [decided(**item.inputs()).bias_domain for item in items]
    adapter = DirectAdapter("sentence")
    url = f"{lm.kwargs['api_base'].rstrip('/')}/chat/completions"
    body = {"temperature": 0.0, "max_tokens": 1}
    body["logit_bias"] = {str(token): value for token, value in bias.items()}
    read = []
    with httpx.Client(trust_env=False, timeout=60) as client:
        for item in items:
            shown = adapter.format(task.signature, demos=[], inputs=dict(item.inputs()))
            reply = client.post(url, json={**body, "messages": shown}).json()
            begins = reply["choices"][0]["message"]["content"].strip().lower()
            read.append(next(label for label in task.labels if label.startswith(begins)))

    assert chosen[:8] != plain  # the decision does change answers
    # Spellings of a label share its probability, so close cases may differ.
    assert sum(a == b for a, b in zip(read, chosen, strict=True)) >= 23

"""Estimates the calls and tokens of a checkup before it starts."""

from dataclasses import replace
from math import ceil

import dspy

from pld_dspy.config.run import RunConfig
from pld_dspy.models.adapter import DirectAdapter
from pld_dspy.models.prompts import AnswerExample, AnswerLikeExamples, ContrastLabels, NameTexts
from pld_dspy.records import Role
from pld_dspy.runs.diagnose.ask import WORDS
from pld_dspy.runs.diagnose.run import EXAMPLES, choose, wordings
from pld_dspy.runs.diagnose.sample import PER_LABEL
from pld_dspy.runs.estimate import Plan, PlannedStage, plan
from pld_dspy.runs.lengths import tokens
from pld_dspy.runs.setup import Loaded, load
from pld_dspy.stages.common.prompt import render_example
from pld_dspy.stages.label_words.propose import TEXTS
from pld_dspy.stages.label_words.stage import MOST_LABELS
from pld_dspy.stages.merge.side_by_side import notes_a_label

_LABEL_TOKENS = 4
_THOUGHT_TOKENS = 60
_RULE_TOKENS = 40


def plan_diagnose(
    config: RunConfig, *, examples: int = EXAMPLES, loaded: Loaded | None = None
) -> Plan:
    """Return the estimate of `run_diagnose`; no model is called, loaded or downloaded.

    Raises:
        PLDError: It could not start: a setting, the data, or the path of a model is wrong.
    """
    loaded = load(config) if loaded is None else loaded
    chosen = choose(config, loaded, examples)
    n, task, labels = len(chosen), loaded.task, len(loaded.task.labels)
    instructions = tokens(task.signature.instructions) + tokens(", ".join(task.labels))
    example = ceil(sum(tokens(render_example(task.signature, e)) for e in chosen) / n)
    plain = instructions + example + 8
    worked = PER_LABEL * labels * (example + _LABEL_TOKENS)
    notes = labels * notes_a_label(labels) * example
    return replace(
        plan(config, loaded),
        sizes={"examples": n},
        stages=(
            *(_stage(w, "student", n, plain, _LABEL_TOKENS) for w in wordings(config)),
            _stage("worked examples", "student", n, plain + worked, _LABEL_TOKENS),
            _stage("quick rules", "student", n, plain + labels * _RULE_TOKENS, _LABEL_TOKENS),
            *_words(loaded, n, plain, example),
            _stage("writes quick rules", "teacher", 2, _text(ContrastLabels) + notes, labels * _RULE_TOKENS),
            _stage("chain of thought", "teacher", n, _text(AnswerExample) + plain, _THOUGHT_TOKENS),
            _stage("with worked examples", "teacher", n, _text(AnswerLikeExamples) + plain + worked, _THOUGHT_TOKENS),
        ),
    )  # fmt: skip


def _words(loaded: Loaded, n: int, plain: int, example: int) -> tuple[PlannedStage, ...]:
    """Return the calls for words for labels; none where the labels are shown otherwise."""
    labels = len(loaded.task.labels)
    if loaded.form.labels_as != "names" or not 2 <= labels <= MOST_LABELS:
        return ()
    titles = 2 * labels * WORDS.drafts
    # Each half has words of its own, which are measured on as many other examples as there are in all.
    return (
        _stage("words for labels", "student", 3 * n, plain, _LABEL_TOKENS),
        _stage("titles", "teacher", titles, _text(NameTexts) + TEXTS * example, _LABEL_TOKENS),
    )


def _stage(name: str, role: Role, calls: int, read: int, written: int) -> PlannedStage:
    return PlannedStage(
        name=name,
        role=role,
        calls=calls,
        exact=False,
        input_tokens=calls * read,
        output_tokens=calls * written,
        events=name,
    )


def _text(signature: type[dspy.Signature]) -> int:
    request = DirectAdapter().format_user_message_content(signature, {})
    return tokens(str(signature.instructions)) + tokens(request)

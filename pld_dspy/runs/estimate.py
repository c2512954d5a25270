"""Estimates the calls, tokens, price and downloads of a run before it starts."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from pld_dspy.config.run import ModelConfig, RunConfig
from pld_dspy.ledger.store import Spent
from pld_dspy.ledger.usage import total
from pld_dspy.models.local.catalogue import catalogue_model
from pld_dspy.models.local.fetch import model_path
from pld_dspy.models.local.server import check_gguf
from pld_dspy.models.prompts import (
    TITLED,
    ContrastLabels,
    ExplainExample,
    JudgeConditions,
    MergeRules,
    NameTexts,
    ResolveConflicts,
)
from pld_dspy.records import Role
from pld_dspy.runs.lengths import mean_tokens, tokens
from pld_dspy.runs.setup import Loaded, check_rules, load
from pld_dspy.runs.wording import most_forms
from pld_dspy.stages.common.candidates import STAGE as DECIDED
from pld_dspy.stages.label_words.propose import TEXTS
from pld_dspy.stages.label_words.stage import MOST_LABELS as MOST_WORDED
from pld_dspy.stages.merge.side_by_side import MOST_LABELS, notes_a_label
from pld_dspy.stages.verify.leave_out import STAGE as LEFT_OUT

GIVEN, ASKED, COMPILED = "student as given", "student as asked best", "compiled program"
"""The programs scored on the test examples, by the item of their progress events."""

STEPS = "steps in between"
"""Stands for the programs between the student and the compiled one."""

_RULE_TOKENS = 40
"""About one rule, as a teacher writes it."""
_LIST_RULES = 12
"""About the rules of a prompt."""
_RATIONALE_TOKENS = 60
_LABEL_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """The calls of one stage to one role."""

    name: str
    """`traces`, `rules` and `refine` of the teacher; for the student what the calls are for."""
    role: Role
    calls: int
    exact: bool
    """Whether just so many calls are made; otherwise it is a bound from above."""
    input_tokens: int
    """Estimate: characters of the actual examples over 4, and typical lengths of rules."""
    output_tokens: int
    events: str
    """Stage of the progress events that its calls send."""
    item: str = ""
    """Item of these events, where two stages send the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Estimate of a run from its start; calls that a run folder already holds are not subtracted."""

    task: str
    task_notes: str
    sizes: dict[str, int]
    models: dict[Role, str]
    stages: tuple[PlannedStage, ...]
    downloads: dict[str, int]
    """Bytes of each local model that is not in the cache."""

    def calls(self, role: Role) -> int:
        """Return the most calls of a role, unreadable answers that are asked for again left out."""
        return sum(stage.calls for stage in self.stages if stage.role == role)

    def tokens(self, role: Role) -> tuple[int, int]:
        """Return the estimated input and output tokens of a role."""
        mine = [stage for stage in self.stages if stage.role == role]
        return sum(s.input_tokens for s in mine), sum(s.output_tokens for s in mine)

    @property
    def cost_usd(self) -> float | None:
        """The estimated price of all the hosted calls; None where a price is not known."""
        spent = []
        for role, model in self.models.items():
            if model.startswith("local/"):
                continue
            read, written = self.tokens(role)
            spent.append(Spent(role=role, input_tokens=read, output_tokens=written, model=model))
        costs = [usage.cost_usd for usage in total(spent).values()]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def plan(config: RunConfig, loaded: Loaded | None = None) -> Plan:
    """Return the estimate; no model is called, loaded or downloaded.

    Args:
        config: The settings.
        loaded: The task and its splits, where the caller has loaded them from this config.

    Raises:
        PLDError: The run could not start: a setting, the data, or the path of a model is wrong.
    """
    loaded = load(config) if loaded is None else loaded
    topics = check_rules(config, loaded)
    asked: dict[Role, ModelConfig] = {
        "teacher": config.teacher_or_student,
        "student": config.student,
    }
    return Plan(
        task=loaded.task.name,
        task_notes=loaded.task.notes,
        sizes={str(split): size for split, size in loaded.splits.sizes.items()},
        models={role: model.model for role, model in asked.items()},
        stages=(
            *_teacher_stages(config, loaded, 0 if topics is None else len(topics.own)),
            *_student_stages(config, loaded, by_topic=topics is not None),
        ),
        downloads={m.model: size for m in asked.values() if (size := _download_bytes(m))},
    )


def _teacher_stages(config: RunConfig, loaded: Loaded, topics: int) -> list[PlannedStage]:
    task, pld = loaded.task, config.pld
    train = len(loaded.splits.train)
    example = mean_tokens(loaded.splits.train, task)
    about_task = tokens(task.signature.instructions) + tokens(", ".join(task.labels))
    recorded = config.traces.imported
    explained = min(train, pld.explain or train)
    extracted = 0 if recorded else explained * pld.draws
    traces = train if recorded else extracted
    merging = pld.rules.method == "merge"
    notes = pld.rules.max_notes
    # Every trace is in one cluster and one label, and once more in those of its topic.
    groups = traces * (2 if topics else 1)
    groups += (1 + topics) * (len(task.labels) if pld.rules.per_label else 0)
    # Long lists of notes are merged in two steps.
    chunks = 2 * ceil(traces / notes) * (2 if topics else 1)
    merges = pld.rules.draws * (groups + chunks) if merging else 0
    rounds = pld.refine.rounds
    shown = (pld.refine.failures + pld.refine.successes) * example + _LIST_RULES * _RULE_TOKENS
    explain = tokens(ExplainExample.instructions) + about_task + example
    merge = tokens(MergeRules.instructions) + about_task + min(notes, 6) * _RULE_TOKENS
    judged = min(train, pld.verify.max_examples) if pld.verify.enabled else 0
    each = (
        config.teacher_or_student.is_local if pld.verify.how == "auto" else pld.verify.how == "each"
    )
    drafts = 0 if pld.topics.by not in (None, "none") else pld.verify.max_drafts
    conditions = pld.verify.max_conditions + drafts
    asked = 1 if each else conditions
    judge = tokens(JudgeConditions.instructions) + example + asked * _RULE_TOKENS
    # New rules of each round of edits are judged on the same examples.
    judged *= conditions + rounds * pld.refine.edits if each else 1 + rounds
    resolve = tokens(ResolveConflicts.instructions) + about_task + shown
    answer = _RATIONALE_TOKENS + _RULE_TOKENS
    sides = _contrasts(config, loaded)
    labels = len(task.labels)
    notes_shown = labels * notes_a_label(max(1, labels)) * _RULE_TOKENS
    side = tokens(ContrastLabels.instructions) + about_task + notes_shown
    contrasts = [_teacher("all labels", "rules", sides, False, side, labels * _RULE_TOKENS)]
    return [
        _teacher("traces", "traces", extracted, True, explain, answer),
        _teacher("rules", "rules", merges, False, merge, 2 * _RULE_TOKENS),
        *(contrasts if sides else ()),
        *([_teacher("judgements", "judgements", judged, False, judge, 8)] if judged else ()),
        _teacher("refine", "refine", rounds, False, resolve, answer + 2 * _RULE_TOKENS),
    ]


def _contrasts(config: RunConfig, loaded: Loaded) -> int:
    return config.pld.rules.contrast if 2 <= len(loaded.task.labels) <= MOST_LABELS else 0


def _tries_words(config: RunConfig, loaded: Loaded) -> bool:
    """Return whether words may be tried in place of the labels, as far as the settings tell."""
    asked_by_name = loaded.form.labels_as == "names" and config.pld.words.drafts > 0
    return asked_by_name and 2 <= len(loaded.task.labels) <= MOST_WORDED


def _words(config: RunConfig, loaded: Loaded, bare: int) -> list[PlannedStage]:
    """Return the calls for words for the labels; none if none are tried."""
    if not _tries_words(config, loaded):
        return []
    splits = loaded.splits
    words = config.pld.words
    measured = words.rounds * (min(len(splits.train), len(splits.val)) + len(splits.val))
    scored = (words.sets + 2 * (words.most > 1) + bool(words.rest)) * len(splits.val)
    labels, drafts = len(loaded.task.labels), words.drafts
    texts = TEXTS * mean_tokens(splits.train, loaded.task)
    named = tokens(NameTexts.instructions) + tokens(str(TITLED)) + texts
    return [
        _teacher("names for labels", "words", labels * drafts, False, named, 4),
        _student("label words", "words", measured, bare),
        _student("label words, scored", "val", scored, bare),
    ]


def _student_stages(config: RunConfig, loaded: Loaded, *, by_topic: bool) -> list[PlannedStage]:
    pld, splits = config.pld, loaded.splits
    val, select, test = len(splits.val), len(splits.select), len(splits.test)
    feedback = min(pld.refine.feedback, len(splits.train))
    bare = mean_tokens(splits.test, loaded.task) + tokens(loaded.task.signature.instructions)
    ruled = bare + _LIST_RULES * _RULE_TOKENS
    # As given, and the lists of general rules, merged rules, both, and medoids.
    lists = 5 if pld.rules.per_label and pld.rules.method == "merge" else 3
    lists += pld.verify.enabled and pld.verify.max_drafts > 0 and not by_topic
    lists += (
        _contrasts(config, loaded) + (4 if by_topic else 0) + (config.rules.initial is not None)
    )
    read, edits = pld.refine.rounds * feedback, pld.refine.rounds * pld.refine.edits * val
    draws = len(set(pld.demos.per_label)) * pld.demos.draws
    most = max(pld.demos.per_label, default=0) * max(1, len(loaded.task.labels))
    ruled += most * mean_tokens(splits.train, loaded.task)
    finalists = 1 + pld.finalists + bool(draws)
    given = _student("test, as given", "test", test, bare)
    forms = most_forms(config, loaded.task)
    compared = [
        _student("forms of asking", "wording", forms * val, bare),
        replace(_student("test, as asked best", "test", test, bare), item=ASKED),
    ]
    compiled = _student("test, compiled", "test", test, ruled)
    shown = [_student("worked examples", "val", draws * val, ruled)]
    # Of the waterfall, the words for labels alone, and with worked examples.
    between = test * (_tries_words(config, loaded) + bool(draws))
    steps = replace(_student("test, steps", "test", between, ruled), item=STEPS)
    return [
        replace(given, exact=True, item=GIVEN),
        *(compared if forms else ()),
        *(shown if draws else ()),
        *(_words(config, loaded, bare)),
        _student("first lists", "val", lists * val, ruled),
        _student("read by the teacher", "train", read, ruled),
        _student("refinement", "val", edits, ruled),
        _student("search", "search", pld.search.trials * val, ruled),
        _student("selection", "select", finalists * select, ruled),
        *(() if by_topic else _measured(config, loaded, bare, ruled)),
        replace(compiled, item=COMPILED),
        *([steps] if between else ()),
    ]


def _measured(config: RunConfig, loaded: Loaded, bare: int, ruled: int) -> list[PlannedStage]:
    """Return the calls about what was selected; none are made for rules by topic."""
    pld, splits = config.pld, loaded.splits
    held_out = len(splits.val) + len(splits.select)
    # The student as given, and with words for the labels.
    decided = min(len(splits.train), held_out) * (1 + _tries_words(config, loaded))
    left_out = (1 + _LIST_RULES) * held_out
    decides, verifies = pld.decide == "calibrated", pld.verify.enabled and pld.verify.leave_out
    return [
        *([_student("rules left out", LEFT_OUT, left_out, ruled)] if verifies else ()),
        *([_student("training answers to decide by", DECIDED, decided, bare)] if decides else ()),
    ]


def _teacher(
    name: str, events: str, calls: int, exact: bool, read: int, written: int
) -> PlannedStage:
    return PlannedStage(
        name=name,
        events=events,
        role="teacher",
        calls=calls,
        exact=exact,
        input_tokens=calls * read,
        output_tokens=calls * written,
    )


def _student(name: str, events: str, calls: int, read: int) -> PlannedStage:
    return PlannedStage(
        name=name,
        events=events,
        role="student",
        calls=calls,
        exact=False,
        input_tokens=calls * read,
        output_tokens=calls * _LABEL_TOKENS,
    )


def _download_bytes(model: ModelConfig) -> int:
    """Return the bytes to be fetched, 0 for none.

    Raises:
        ModelError: The model is not known, or its file cannot be read.
    """
    if not model.is_local:
        return 0
    name = model.model.removeprefix("local/")
    if "/" in name or name.endswith(".gguf"):
        check_gguf(Path(name).expanduser())
        return 0
    record = catalogue_model(name)
    return 0 if model_path(record).exists() else record.bytes

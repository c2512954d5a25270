"""PLD and its parts: synthesis alone, with conflict resolution, searched; and what is built on it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from experiments.bench.cells import SETS_BUDGET
from experiments.optimizers.instructions import gepa_from
from experiments.optimizers.table import Found, Job, Optimizer
from pld_dspy.config.optimizer import PLDConfig
from pld_dspy.models.student import DirectStudent
from pld_dspy.optimizer import PLD
from pld_dspy.records import Candidate, PredictorResult, Rule
from pld_dspy.stages.common.prompt import make_candidate, with_prompt, with_words
from pld_dspy.stages.search.space import ordered
from pld_dspy.stages.wording import compare_forms

WITHOUT_REFINEMENT: Mapping[str, Any] = {"rounds": 0}
WITHOUT_SEARCH: Mapping[str, Any] = {"trials": 0}
WITHOUT_DEMOS: Mapping[str, Any] = {"per_label": ()}
WITHOUT_CONTRAST: Mapping[str, Any] = {"contrast": 0}


def _settings(config: PLDConfig, *, refine: bool, search: bool, demos: bool) -> PLDConfig:
    changes: dict[str, Any] = {}
    if not demos:
        changes["demos"] = config.demos.model_copy(update=WITHOUT_DEMOS)
    if not refine:
        changes["refine"] = config.refine.model_copy(update=WITHOUT_REFINEMENT)
    if not search:
        changes["search"] = config.search.model_copy(update=WITHOUT_SEARCH)
        # What the paper has, where each call sees one cluster; so is what GEPA starts from.
        changes["rules"] = config.rules.model_copy(update=WITHOUT_CONTRAST)
    return config.model_copy(update=changes)


def _distil(
    job: Job, *, refine: bool = True, search: bool = True, demos: bool = True
) -> dspy.Module:
    """Return the program with `pld_result`. It keeps nothing: the tape does."""
    student = _asked(job)
    optimizer = PLD(
        metric=job.corpus_metric,
        teacher_lm=job.teacher_lm,
        embedder=job.embedder,
        config=_settings(job.pld, refine=refine, search=search, demos=demos),
        seed=job.seed,
        traces=job.traces,
        initial_rules=job.guides,
    )
    with dspy.context(lm=job.student_lm):
        return optimizer.compile(
            student,
            trainset=list(job.train),
            valset=list(job.val),
            selectset=list(job.select),
        )


def _asked(job: Job) -> DirectStudent:
    """Return the student, with the words of the task for its labels if it validates better with them."""
    student, words = job.student(), job.task.label_words
    if not words:
        return student
    evaluator = job.layer.evaluator(job.student_lm, decide="calibrated")
    choice = compare_forms(
        student, list(job.val), evaluator, wordings=(), labels_as=("names", words)
    )
    return student.asked(choice.best)


def _result(program: dspy.Module) -> PredictorResult:
    found: PredictorResult = program.pld_result.predictors[0]
    return found


def clustered(job: Job) -> Found:
    """Return the rules of the clusters, without conflict resolution and without search."""
    program = _distil(job, refine=False, search=False, demos=False)
    return Found(program, _result(program).reason)


def refined(job: Job) -> Found:
    """Return the rules after conflict resolution, without search: the paper's method."""
    program = _distil(job, search=False, demos=False)
    return Found(program, _result(program).reason)


def rules_only(job: Job) -> Found:
    """Return the searched rule list, without worked examples."""
    program = _distil(job, demos=False)
    return Found(program, _result(program).reason)


def searched(job: Job) -> Found:
    """Return the searched rule list with its worked examples, our whole method."""
    program = _distil(job)
    return Found(program, _result(program).reason)


def all_rules(job: Job) -> Found:
    """Return the best list before the search, in support order: what the search starts from."""
    result = _result(_distil(job, search=False, demos=False))
    made = [candidate for candidate in result.candidates if candidate.rules]
    if not made:
        return Found(job.student(), "no rule was made")
    best = max(made, key=lambda c: (result.score(c.id, "val") or 0.0, -len(c.prompt)))
    return _asked_with(job, ordered(best.rules, "support"), best.words)


def random_rules(job: Job) -> Found:
    """Return a random subset of all rules that were made, as long as the list searched without examples."""
    result = _result(_distil(job, demos=False))
    size = len(result.chosen.rules) or min(4, len(result.rules))
    rules = random.Random(job.seed).sample(list(result.rules), min(size, len(result.rules)))
    note = f"{len(rules)} of {len(result.rules)} rules, drawn with the seed"
    return _asked_with(job, rules, result.chosen.words)._replace(note=note)


def words_alone(job: Job) -> Found:
    """Return the student with the words for the labels that PLD chose, and no rule: what rules add to."""
    words = _result(_distil(job, demos=False)).chosen.words
    told = ", ".join(f"{label} as {word!r}" for label, word in words.items())
    note = f"labels shown: {told}" if told else "no word was better than the labels' names"
    return Found(with_words(job.student(), "predict", words), note)


def _asked_with(job: Job, rules: Sequence[Rule], words: Mapping[str, str]) -> Found:
    student = with_words(job.student(), "predict", words)
    task = student.predict.signature.instructions
    candidate = make_candidate(task, rules, origin="search")
    return Found(with_prompt(student, "predict", candidate.prompt))


def as_seed(job: Job) -> Found:
    """Return what GEPA makes of the rules of the clusters, with the calls that they have left."""
    result = _result(_distil(job, refine=False, search=False, demos=False))
    start = _with_rules(result)
    if start is None:
        return Found(
            gepa_from(job, job.student()), "no rule was made; GEPA starts from the student"
        )
    student = with_words(job.student(), "predict", start.words)
    program = with_prompt(student, "predict", start.prompt)
    return Found(gepa_from(job, program), f"GEPA starts from {len(start.rules)} rules")


def _with_rules(result: PredictorResult) -> Candidate | None:
    if result.chosen.rules:
        return result.chosen
    pool = [c for c in result.candidates if c.rules]
    return max(pool, key=lambda c: result.score(c.id, "val") or 0.0, default=None)


_OF_TRACES: Mapping[str, Any] = {"matched": False, "traces": True}

ENTRIES = (
    Optimizer(name="pld-clustered", run=clustered, **_OF_TRACES),
    Optimizer(name="pld-refined", run=refined, **_OF_TRACES),
    Optimizer(name="pld-rules", run=rules_only, **_OF_TRACES),
    Optimizer(name=SETS_BUDGET, run=searched, **_OF_TRACES),
    Optimizer(name="random-rules", run=random_rules, **_OF_TRACES),
    Optimizer(name="pld-all-rules", run=all_rules, extra=True, **_OF_TRACES),
    Optimizer(name="label-words", run=words_alone, extra=True, **_OF_TRACES),
    Optimizer(name="pld-gepa", run=as_seed, traces=True),
)

"""Search stage of one predictor."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.storages import BaseStorage

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.data.examples import example_id
from pld_dspy.errors import StorageError
from pld_dspy.ledger.store import key_of
from pld_dspy.models.reading.values import label_text
from pld_dspy.records import Answer, Candidate, Evaluation, Rule, SearchRecord, TriedList
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.common.prompt import HEADER
from pld_dspy.stages.search.contest import Contest, Tried
from pld_dspy.stages.search.figures import save_study_figures
from pld_dspy.stages.search.list_gains import list_gains
from pld_dspy.stages.search.loop import Searched, search
from pld_dspy.stages.search.shared.spec import SearchSpec
from pld_dspy.stages.search.shared.storage import (
    FINGERPRINT,
    JOURNAL,
    open_storage,
    quiet,
    study_name,
    without_password,
)
from pld_dspy.stages.search.space import RuleList, Space, make_space

logger = logging.getLogger(__name__)

_SEARCH = "starts, sampler and forecasts in turn"
"""What proposes lists: trials of another way to search are not continued."""


def search_lists(
    board: Leaderboard,
    problem: Problem,
    groups: Mapping[str, Sequence[Rule]],
    *,
    evaluator: Evaluator,
    config: SearchConfig,
    seed: int,
    spec: Mapping[str, Any] | None = None,
) -> SearchRecord:
    """Return the record of the search; fully evaluated lists are added to the board.

    Answers of other workers are copied to this run's store, so that they are in its usage and are
    reused. Optuna's plots of the study are saved in the run folder.

    Args:
        board: Candidates that were scored before; new ones are added.
        problem: Examples, and demos of every list.
        groups: Rules by name, the most promising group first.
        evaluator: Scores lists with the student.
        config: Settings of the search.
        seed: Seed of the sampler and of the blocks.
        spec: What workers need to load the same student; None allows no workers.

    Raises:
        StorageError: The storage cannot be used, or the study was made for other rules.
        ConfigError: The sampler is not installed, or the token limit is below every list.
    """
    space = make_space(groups, max_rules=config.max_rules, alike=problem.alike)
    contest = make_contest(
        space, problem, evaluator, known=_known(board, problem, space), config=config, seed=seed
    )
    storage = open_storage(config.storage, evaluator.store.folder)
    study = open_study(storage, contest, evaluator, problem)
    if spec is not None:
        SearchSpec.of(contest, spec).write(study)
        where = config.storage or f"journal:{evaluator.store.folder}/{JOURNAL}"
        logger.info(
            "others join with: pld search-worker --storage %s --study %s",
            without_password(where),
            study.study_name,
        )
    searched = search(contest, study, shared=spec is not None)
    for tried in searched.tried:
        candidate = candidate_of(problem, space, tried)
        _adopt(evaluator, problem, candidate, tried)
        if not tried.stopped:
            board.add(candidate, _evaluation(evaluator, candidate, tried))
    if evaluator.store.folder is not None:
        metric = evaluator.metric_name
        for path in save_study_figures(
            study, evaluator.store.folder, metric=metric, predictor=board.predictor
        ):
            board.keep(path)
    record = _record(study.study_name, problem, contest, searched)
    return replace(record, forecasts=_forecasts(problem, space, contest.known, searched))


def _forecasts(
    problem: Problem, space: Space, known: Sequence[Tried], searched: Searched
) -> dict[str, float]:
    """Return the forecasts by candidate id, including lists that were scored before."""
    return {
        candidate_of(problem, space, tried).id: searched.forecasts[tried.listing]
        for tried in (*known, *searched.tried)
        if tried.listing in searched.forecasts
    }


def _record(name: str, problem: Problem, contest: Contest, searched: Searched) -> SearchRecord:
    space = contest.space
    everything = (*contest.known, *searched.tried)
    in_list = list_gains(everything, weights=contest.weights, seed=contest.seed)
    return SearchRecord(
        study=name,
        trials=tuple(
            TriedList(
                number=int(tried.number or 0),
                candidate_id=candidate_of(problem, space, tried).id,
                rule_ids=tuple(rule.id for rule in space.take(tried.listing.rules)),
                proposed_by=tried.kind,
                score=tried.score(searched.metric),
                asked=len(tried.answers),
                stopped=tried.stopped,
                prompt_tokens=tried.tokens,
            )
            for tried in searched.tried
        ),
        gains={space.rules[place].id: gain for place, gain in searched.gains.items()},
        calls=searched.calls,
        full_calls=searched.full_calls,
        list_gains={
            candidate_of(problem, space, tried).id: {
                space.rules[place].id: gain for place, gain in in_list[tried.listing].items()
            }
            for tried in everything
            if tried.listing in in_list
        },
    )


def make_contest(
    space: Space,
    problem: Problem,
    evaluator: Evaluator,
    *,
    known: Sequence[Tried],
    config: SearchConfig,
    seed: int,
) -> Contest:
    """Return how the lists of the space are evaluated."""
    size = len(problem.val)
    asked: dict[str, int] = {}

    def ask(listing: RuleList, places: Sequence[int]) -> Sequence[Answer]:
        candidate = problem.candidate(
            space.take(listing.rules), origin="search", header=listing.header
        )
        before = asked.get(candidate.id, 0)
        answers = evaluator.answers(
            problem.build(candidate),
            [problem.val[place] for place in places],
            candidate_id=candidate.id,
            split="val",
            progress=lambda event: evaluator.progress(
                replace(event, stage="search", done=before + event.done, total=size)
            ),
        )
        asked[candidate.id] = before + len(places)
        return answers

    decides = evaluator.decides(problem.build(problem.candidate((), origin="as given")))
    return Contest(
        space=space,
        decide=_decider(evaluator, problem) if decides else lambda answers: answers,
        decides=decides,
        metric=evaluator.metric,
        ids=tuple(example_id(example) for example in problem.val),
        gold=tuple(label_text(example[evaluator.label_key]) for example in problem.val),
        ask=ask,
        known=tuple(known),
        config=config,
        seed=seed,
    )


def _decider(
    evaluator: Evaluator, problem: Problem
) -> Callable[[Mapping[int, Answer]], Mapping[int, Answer]]:
    """Return what chooses the labels of a list's answers, by index of the validation example."""
    found: dict[tuple[Any, ...], Mapping[int, Answer]] = {}

    def decide(answers: Mapping[int, Answer]) -> Mapping[int, Answer]:
        key = tuple((i, a.read, *(a.probabilities or {}).values()) for i, a in answers.items())
        if key not in found:  # the trials of a study are read again before each proposal
            examples = [problem.val[place] for place in answers]
            labelled = evaluator.decided(list(answers.values()), examples)
            found[key] = dict(zip(answers, labelled, strict=True))
        return found[key]

    return decide


def open_study(
    storage: BaseStorage, contest: Contest, evaluator: Evaluator, problem: Problem
) -> optuna.Study:
    """Return the study of this contest, loaded or else created.

    Its name, or its mark if the name is configured, is a hash of the rules, the examples, the metric,
    the model and its decoding, and the program around the prompt.

    Raises:
        StorageError: The study with the configured name was made for another contest.
    """
    mark = mark_of(contest, evaluator, problem)
    name = contest.config.study or study_name(mark)
    with quiet():
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
    known = study.user_attrs.get(FINGERPRINT)
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(FINGERPRINT, mark)
    elif known != mark:
        msg = f"the study {name!r} was made for other rules, examples or models; give search.study another name"
        raise StorageError(msg)
    return study


def mark_of(contest: Contest, evaluator: Evaluator, problem: Problem) -> str:
    """Return a hash of everything that makes trials comparable."""
    return key_of(
        _SEARCH,
        [rule.text for rule in contest.space.rules],
        contest.space.groups,
        contest.space.headers,
        contest.space.most,
        list(zip(contest.ids, contest.gold, strict=True)),
        evaluator.fingerprint(problem.build(problem.candidate((), origin="as given"))),
        contest.config.max_prompt_tokens,
        contest.seed,
        *([contest.space.alike] if contest.space.alike else ()),
    )


def candidate_of(problem: Problem, space: Space, tried: Tried) -> Candidate:
    """Return the candidate of a list that the search tried."""
    note = f"trial {tried.number}, {tried.kind}"
    return problem.candidate(
        space.take(tried.listing.rules),
        origin="search",
        header=tried.listing.header,
        note=note,
    )


def _known(board: Leaderboard, problem: Problem, space: Space) -> list[Tried]:
    """Return the board's candidates that are in the space, the one without rules first."""
    places = {rule.text: place for place, rule in enumerate(space.rules)}
    known = []
    for key, evaluation in board.scores["val"].items():
        candidate = board.candidates[key]
        if candidate.demos != problem.demos or candidate.words != problem.words:
            continue
        if all(rule.text in places for rule in candidate.rules):
            listing = RuleList(tuple(places[rule.text] for rule in candidate.rules), HEADER)
            answers = dict(enumerate(evaluation.answers))
            known.append(Tried(listing=listing, answers=answers))
    return sorted(known, key=lambda tried: bool(tried.listing.rules))


def _adopt(evaluator: Evaluator, problem: Problem, candidate: Candidate, tried: Tried) -> None:
    program = problem.build(candidate)
    for place, answer in tried.answers.items():
        evaluator.adopt(program, problem.val[place], answer)


def _evaluation(evaluator: Evaluator, candidate: Candidate, tried: Tried) -> Evaluation:
    answers = tuple(tried.answers[place] for place in sorted(tried.answers))
    return Evaluation(
        candidate_id=candidate.id,
        split="val",
        metric=evaluator.metric_name,
        score=evaluator.score(answers),
        answers=answers,
    )

"""Search over lists with rules by topic: how many of which, in which order, shown how."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.trial import TrialState

from pld_dspy.config.optimizer import SearchConfig
from pld_dspy.models.reading.values import label_text
from pld_dspy.records import Answer, Candidate, Evaluation, Rule, SearchRecord, TriedList
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.problem import Problem
from pld_dspy.stages.search.contest import check_examples, example_weights, with_tie_break
from pld_dspy.stages.search.race import chance_to_win, race, stratified_blocks
from pld_dspy.stages.search.sampler import _sampler, check_sampler
from pld_dspy.stages.search.shared.storage import quiet
from pld_dspy.stages.search.topics.space import TopicSpace

logger = logging.getLogger(__name__)

_PATIENCE = 4
"""Proposals in a trial: so many lists may be known already before the search ends."""


@dataclass(frozen=True, slots=True)
class _Tried:
    candidate: Candidate
    answers: Mapping[int, Answer]
    stopped: bool
    evaluation: Evaluation
    kind: str


def search_topics(
    board: Leaderboard,
    problem: Problem,
    groups: Mapping[str, Sequence[Rule]],
    *,
    evaluator: Evaluator,
    config: SearchConfig,
    seed: int,
) -> SearchRecord:
    """Return the record of the search; fully evaluated lists are added to the board.

    Fixed starts come first, then Optuna's sampler; each list is raced against the best one so far.
    One process works on it: the answers are stored, so a stopped search resumes by asking nothing
    twice, and `search.storage` is not used. No gain of single rules is measured.

    Args:
        board: Candidates that were scored before, among them one without rules.
        problem: Examples, topics, and demos of every list.
        groups: Rules by name, the most promising group first; at least one rule has a topic.
        evaluator: Scores lists with the student.
        config: Settings of the search.
        seed: Seed of the sampler and of the blocks.

    Raises:
        DataError: No class has two validation examples.
        ModelError: An endpoint cannot be reached; answers so far are kept.
    """
    if config.storage is not None:
        logger.info("topics: search.storage is not used, one process searches")
    space = TopicSpace(
        general=_parts(groups, topical=False),
        topical=_parts(groups, topical=True),
        most=config.max_rules,
    )
    tried: list[_Tried] = []
    if config.trials:
        check_sampler(config.sampler)
        check_examples(_gold(problem, evaluator))
        tried = _Search(board, problem, space, evaluator, config, seed).run()
    return SearchRecord(
        study="topics",
        trials=tuple(_record(number, one) for number, one in enumerate(tried)),
        gains={},
        calls=sum(len(one.answers) for one in tried),
        full_calls=len(tried) * len(problem.val),
    )


@dataclass(frozen=True, slots=True)
class _Search:
    board: Leaderboard
    problem: Problem
    space: TopicSpace
    evaluator: Evaluator
    config: SearchConfig
    seed: int

    def run(self) -> list[_Tried]:
        """Return the lists that were tried, in order."""
        with quiet():
            sampler = _sampler(self.config, self.seed)
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for start in self.space.starts():
                study.enqueue_trial(start, user_attrs={"kind": "start"})
            tried: dict[str, _Tried] = {}
            for _ in range(_PATIENCE * self.config.trials):
                if len(tried) == self.config.trials:
                    break
                self._trial(study, tried)
        return list(tried.values())

    def _trial(self, study: optuna.Study, tried: dict[str, _Tried]) -> None:
        trial = study.ask()
        params = self.space.suggest(trial)
        kind = str(trial.user_attrs.get("kind", "sampler"))
        candidate = self.problem.candidate(
            self.space.decode(params),
            origin="search",
            header=params["header"],
            note=f"trial {len(tried)}, {kind}",
            show=params["show"],
        )
        known = self.board.scores["val"].get(candidate.id)
        if known is not None:
            study.tell(trial, _value(known))
        elif candidate.id in tried:
            study.tell(trial, state=TrialState.FAIL)  # it was stopped early
        else:
            one = self._raced(candidate, kind)
            tried[candidate.id] = one
            if one.stopped:
                trial.report(_value(one.evaluation), step=len(one.answers))
                study.tell(trial, state=TrialState.PRUNED)
            else:
                self.board.add(candidate, one.evaluation)
                study.tell(trial, _value(one.evaluation))

    def _raced(self, candidate: Candidate, kind: str) -> _Tried:
        problem, evaluator = self.problem, self.evaluator
        program = problem.build(candidate)
        gold = _gold(problem, evaluator)
        best = [answer.score for answer in self._best().answers]
        answers: dict[int, Answer] = {}  # as read
        decides = evaluator.decides(program)

        def ask(places: tuple[int, ...]) -> Sequence[Answer]:
            before = len(answers)
            got = evaluator.answers(
                program,
                [problem.val[place] for place in places],
                candidate_id=candidate.id,
                split="val",
                progress=lambda event: evaluator.progress(
                    replace(event, stage="search", done=before + event.done, total=len(gold))
                ),
            )
            answers.update(zip(places, got, strict=True))
            return got

        def label(places: Sequence[int]) -> tuple[Answer, ...]:
            said = [answers[place] for place in places]
            shown = [problem.val[place] for place in places]
            return evaluator.decided(said, shown) if decides else tuple(said)

        def chance(got: Sequence[Answer], seen: Sequence[int]) -> float:
            scores = [answer.score for answer in label(seen)]
            weights = example_weights(evaluator.metric, gold)
            return chance_to_win(best, scores, seen, expected=best, weights=weights)

        blocks = stratified_blocks(gold, self.config.race.block, seed=self.seed)
        if decides:  # a decision cannot be fitted to one block
            blocks = (sum(blocks[:2], ()), *blocks[2:])
        raced = race(ask, chance, blocks=blocks, config=self.config.race)
        kept = label(sorted(answers))
        score = Evaluation(
            candidate_id=candidate.id,
            split="val",
            metric=evaluator.metric_name,
            score=evaluator.score(kept),
            answers=kept,
        )
        return _Tried(candidate, answers, raced.stopped, score, kind)

    def _best(self) -> Evaluation:
        """Return the best list on all of validation within the token limit; else the one without rules."""
        limit, board = self.config.max_prompt_tokens, self.board
        fitting = [
            evaluation
            for key, evaluation in board.scores["val"].items()
            if limit is None
            or evaluation.prompt_tokens <= limit
            or not board.candidates[key].changes
        ]
        return max(fitting, key=lambda e: (_value(e), -e.prompt_tokens))


def _parts(groups: Mapping[str, Sequence[Rule]], *, topical: bool) -> dict[str, tuple[Rule, ...]]:
    parts = {
        name: tuple(rule for rule in rules if (rule.scope is not None) == topical)
        for name, rules in groups.items()
    }
    first: dict[tuple[str, ...], str] = {}
    for name, rules in parts.items():
        first.setdefault(tuple(rule.id for rule in rules), name)
    return {name: parts[name] for name in first.values() if parts[name]}


def _gold(problem: Problem, evaluator: Evaluator) -> list[str]:
    return [label_text(example[evaluator.label_key]) for example in problem.val]


def _value(evaluation: Evaluation) -> float:
    return with_tie_break(evaluation.score, evaluation.answers)


def _record(number: int, one: _Tried) -> TriedList:
    return TriedList(
        number=number,
        candidate_id=one.candidate.id,
        rule_ids=tuple(rule.id for rule in one.candidate.rules),
        proposed_by=one.kind,
        score=one.evaluation.score,
        asked=len(one.answers),
        stopped=one.stopped,
        prompt_tokens=one.evaluation.prompt_tokens,
    )

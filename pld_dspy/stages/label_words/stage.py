"""Label words stage: proposes words, measures them, and scores the best sets on validation."""

import logging
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import dspy

from pld_dspy.config.optimizer import WordsConfig
from pld_dspy.data.examples import example_id
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import Teacher
from pld_dspy.records import LabelWord
from pld_dspy.scoring.decisions.likelihood import compared_with
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.separability import separability
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.prompt import make_candidate
from pld_dspy.stages.label_words.measure import in_rounds, measured
from pld_dspy.stages.label_words.propose import Proposals, Sources, names_for
from pld_dspy.stages.label_words.sets import assignments, with_more, with_rest

logger = logging.getLogger(__name__)

MOST_LABELS = 8
"""Labels up to which words are looked for: all words of all labels are shown in one request."""

_TOLD = 0.8
"""Minimum separability of the student as given for names to stand beside further words: of some 40
answers, those to names that say nothing can have 0.7."""
_LEAST = 0.05
"""By how much a set must be ahead of the names, in nats or metric units. Where no answer changes, a few
thousandths of a nat can be sure; on 206 sentences a set that is better is so by 0.1 or more."""
_FURTHER = 0.01
"""By how much a set must be ahead of an earlier one, which is plainer, in nats or metric units."""


class Chosen(NamedTuple):
    """The words for the labels, and all that were compared."""

    words: Mapping[str, str]
    """Empty if the labels are shown by their names."""
    compared: tuple[LabelWord, ...] = ()
    """By label, then the ones that tell it best first; last of all what is left to some label."""


def choose_words(
    target: Target,
    problem: Problem,
    board: Leaderboard,
    evaluator: Evaluator,
    teacher: Teacher,
    sources: Sources,
    config: WordsConfig,
) -> Chosen:
    """Return the words that the student answers best with on validation; none if its labels do as well.

    A small student cannot say what it has no word for: where labels are codes or queues, a rule must
    first teach it what the code means. Words come from what the rules are about, from the kinds in the
    traces, and from the teacher, which gives examples of a label a title without knowing the label.
    The student is then asked once about each of some examples with all the words to choose from, and
    each label gets the word whose probability separates it best from the others, no word twice. Where
    none of a label's words tells it, its next ones are compared in a further round. One more set has
    several words for each label; and one, if the names tell the labels (separability of 0.8), has further
    words beside the names, else "something else" for the label that no word fits well. Where the names
    tell the labels, a label keeps its name if validation has no group of it that training has not: a word
    for it may tell no other group, as "bible" tells one religion. The sets are compared on validation by
    likelihood where labels are chosen by a fitted decision (`likelier`), else by the metric, and must be
    ahead of the names by 0.05 at least. Not in the paper; search for label words is that of PETAL (Schick
    et al., COLING 2020), which has no teacher to propose them.

    Args:
        target: The predictor.
        problem: Its task and examples; words are proposed from train, and measured on train and
            validation.
        board: Scores the candidates.
        evaluator: Asks the student, and compares.
        teacher: Names the labels.
        sources: The kinds of the traces, and what the rules are about, are words too.
        config: Number of words, and when they are used.

    Raises:
        ModelError: An endpoint cannot be reached; answers so far are kept.
    """
    bare = make_candidate(problem.task, (), origin="as given")
    program = problem.build(bare)
    if not config.drafts or not _is_asked(program, target):
        return Chosen({})
    given = board.run(bare, "val")
    if 2 * sum(bool(answer.probabilities) for answer in given.answers) < len(given.answers):
        logger.info("%s: no words for labels, the endpoint gives no log-probabilities", target.path)
        return Chosen({})
    groups = {
        example_id(e): group for e in problem.train if (group := e.get("pld_group")) is not None
    }
    names = names_for(target, problem, teacher, config)
    proposed = Proposals(target, config, groups).of(sources, names)
    if len({word.word for words in proposed.values() for word in words}) <= len(target.labels):
        return Chosen({})

    def measure(words: Sequence[LabelWord]) -> tuple[LabelWord, ...]:
        return measured(words, program, target, problem, evaluator)

    compared = in_rounds(proposed, measure, config)
    # Names that tell nothing take probability from the words beside them.
    told = (separability(given.answers, target.labels) or 0.0) >= _TOLD
    kept = _unchecked(problem, target) if told else frozenset[str]()
    compared, sets = _sets(compared, target.labels, config, named=told, kept=kept)
    candidates = [
        make_candidate(problem.task, (), origin="label words", words=words) for words in sets
    ]
    scored = [board.run(candidate, "val") for candidate in candidates]
    changes = compared_with(evaluator, given, scored)
    best, ahead = bare, 0.0
    for candidate, change in zip(candidates, changes, strict=True):
        further = change.delta.estimate > max(_LEAST, ahead + _FURTHER)
        if further and change.p_worse <= config.max_p_worse:
            best, ahead = candidate, change.delta.estimate
    return Chosen(best.words, compared)


def _unchecked(problem: Problem, target: Target) -> frozenset[str]:
    """Return the labels of which validation has no group that training has not.

    What training says of them can only be checked on the groups that it comes from.
    """

    def groups(examples: Sequence[dspy.Example], label: str) -> set[object]:
        own = (e for e in examples if label_text(e[target.label_key]) == label)
        return {e.get("pld_group") for e in own}

    val = {example_id(example) for example in problem.val}
    train = [example for example in problem.train if example_id(example) not in val]
    unchecked = set()
    for label in target.labels:
        found = groups(problem.val, label)
        if found and None not in found and found <= groups(train, label):
            unchecked.add(label)
    return frozenset(unchecked)


def _sets(
    compared: tuple[LabelWord, ...],
    labels: Sequence[str],
    config: WordsConfig,
    *,
    named: bool,
    kept: Set[str] = frozenset(),
) -> tuple[tuple[LabelWord, ...], list[dict[str, str]]]:
    """Return the words that were compared, with the rest if a set has it, and the sets to be scored.

    If the names tell the labels (`named`), one more set has further words beside them, and no label needs
    a default. Labels in `kept` have no word but their names.
    """
    usable = [word for word in compared if word.label not in kept or word.word == word.label]
    single = assignments(usable, labels, config.sets)
    sets = list(single)
    names = [{label: label for label in labels}] if named else []
    for first in (*single[:1], *names):
        several = with_more(usable, first, config.most)
        if several and several not in sets:
            sets.append(several)
    if single and not named and (found := with_rest(usable, single[0], config.rest)):
        compared, sets = (*compared, found[0]), [*sets, found[1]]
    return compared, sets


def titled_words(
    program: dspy.Module,
    target: Target,
    problem: Problem,
    evaluator: Evaluator,
    teacher: Teacher,
    config: WordsConfig,
) -> Mapping[str, str]:
    """Return the words of the teacher's titles that separate the labels best; empty if there are none.

    Quicker than `choose_words`: without explanations and rules, and without a comparison with the
    names on validation.

    Args:
        program: The student without rules.
        target: Its predictor.
        problem: Titles are given to train; words are measured on train and validation.
        evaluator: Asks the student.
        teacher: Gives the titles.
        config: Number of titles and words.

    Raises:
        ModelError: An endpoint cannot be reached.
    """
    if not _is_asked(program, target):
        return {}
    names = names_for(target, problem, teacher, config)
    proposed = Proposals(target, config).of(Sources(()), names)
    words = [word for own in proposed.values() for word in own[: config.per_label + 1]]
    if len({word.word for word in words}) <= len(target.labels):
        return {}
    compared = measured(words, program, target, problem, evaluator)
    return next(iter(assignments(compared, target.labels, 1)), {})


def _is_asked(program: dspy.Module, target: Target) -> bool:
    """Return whether the program shows its labels by their names, and can show other words."""
    return (
        isinstance(program, DirectStudent)
        and program.form.labels_as == "names"
        and len(program.predict.signature.output_fields) == 1
        and 2 <= len(target.labels) <= MOST_LABELS
    )

"""Chooses words to show in place of labels whose names say little."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import dspy
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score

from pld_dspy.config.optimizer import WordsConfig
from pld_dspy.data.examples import example_id
from pld_dspy.errors import ConfigError, PLDError
from pld_dspy.models.reading.label_words import LabelWords
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.student import DirectStudent
from pld_dspy.models.teacher import NameLabels, Request, Teacher
from pld_dspy.records import Answer, Event, LabelWord, Rule, Trace
from pld_dspy.scoring.evaluator import Evaluator
from pld_dspy.scoring.metrics import accuracy
from pld_dspy.stages.common.candidates import Leaderboard
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.prompt import make_candidate, render_example
from pld_dspy.stages.common.targets import in_turn
from pld_dspy.stages.common.turns import in_turns

logger = logging.getLogger(__name__)

STAGE = "words"
MOST_LABELS = 8
"""Labels up to which words are looked for: all words of all labels are shown in one request."""
TEXTS = 4
"""Examples of a label that the teacher sees when it names the labels."""
_MOST_SIGNS = 28
_FLOOR = 1e-9
_TIE = 1e-4
_ABOUT = re.compile(r"\babout\s+(?P<things>[^.;:]+?)\s*,?\s*(?:then\s+)?answer\b", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*,\s*(?:or|and)\s+|\s*,\s*|\s+or\s+|\s+and\s+", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the|some|any)\s+", re.IGNORECASE)
# Small models write `1: Group 1: food`.
_LINE = re.compile(r"^(?:\W*(?:group\s*)?(?P<number>\d+)\W+)+(?P<name>[^\W\d_].*)$", re.IGNORECASE)

Floats = npt.NDArray[np.float64]


class Chosen(NamedTuple):
    """The words for the labels, and all that were compared."""

    words: Mapping[str, str]
    """Empty if the labels are shown by their names."""
    compared: tuple[LabelWord, ...] = ()
    """By label, then the ones that tell it best first."""


class Sources(NamedTuple):
    """What words are taken from, besides the teacher's names."""

    traces: Sequence[Trace]
    rules: Sequence[Rule] = ()


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
    traces, and from the teacher, which sees examples of all labels in unnamed groups and names these. The student is then asked once
    about each of some examples with all the words to choose from, and each label gets the word whose
    probability separates it best from the others, no word twice. Not in the paper; search for label
    words is that of PETAL (Schick et al., COLING 2020), which has no teacher to propose them.

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
    groups = {example_id(e): e["pld_group"] for e in problem.train if "pld_group" in e}
    names = _names(target, problem, teacher, config)
    proposed = _Proposals(target, config, groups).of(sources, names)
    if len({word.word for word in proposed}) <= len(target.labels):
        return Chosen({})
    compared = _measured(proposed, program, target, problem, evaluator)
    best, score = bare, given.score
    for words in _assignments(compared, target.labels, config.sets):
        candidate = make_candidate(problem.task, (), origin="label words", words=words)
        evaluation = board.run(candidate, "val")
        change = evaluator.compare(given, evaluation)
        better = evaluation.score > score and change.p_worse <= config.max_p_worse
        if better:
            best, score = candidate, evaluation.score
    return Chosen(best.words, compared)


def _is_asked(program: dspy.Module, target: Target) -> bool:
    """Return whether the program shows its labels by their names, and can show other words."""
    return (
        isinstance(program, DirectStudent)
        and program.form.labels_as == "names"
        and len(program.predict.signature.output_fields) == 1
        and 2 <= len(target.labels) <= MOST_LABELS
    )


def _names(
    target: Target, problem: Problem, teacher: Teacher, config: WordsConfig
) -> list[Mapping[str, str]]:
    """Return the teacher's names for the labels, one mapping for each draft that could be read."""
    requests = []
    for draft in range(config.drafts):
        lines = []
        for number, label in enumerate(target.labels, 1):
            texts = _texts(target, problem, label, draft)
            lines += [f"Group {number}:", *(f"- {text}" for text in texts), ""]
        requests.append(
            Request(
                module=NameLabels(teacher.prompts.name),
                inputs={"groups": "\n".join(lines).rstrip()},
                name=f"draft {draft + 1} of names for the labels",
            )
        )
    replies = [output for output in teacher.ask(STAGE, requests) if output is not None]
    return [_read(output["names"], target.labels) for output in replies]


def _texts(target: Target, problem: Problem, label: str, draft: int) -> list[str]:
    """Return some training examples of a label, of as many groups as there are."""
    queues: dict[object, list[str]] = defaultdict(list)
    own = [e for e in problem.train if label_text(e[target.label_key]) == label]
    for place, example in enumerate(own):
        text = render_example(target.signature, example).replace("\n", "; ")
        queues[example.get("pld_group", place)].append(text)
    rng = np.random.default_rng([problem.seed, draft])
    order = rng.permutation(len(queues)).tolist()
    groups = [queues[key] for key in (list(queues)[place] for place in order)]
    shuffled = [[texts[i] for i in rng.permutation(len(texts))] for texts in groups]
    return in_turns(shuffled)[:TEXTS]


def _read(text: str, labels: Sequence[str]) -> dict[str, str]:
    """Return the name in each line `number: name`, by the label with this number.

    Empty if a number has several lines: then the lines do not name groups.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match and 1 <= int(match["number"]) <= len(labels):
            label = labels[int(match["number"]) - 1]
            if label in found:
                return {}
            found[label] = match["name"]
    return found


@dataclass(frozen=True, slots=True)
class _Proposals:
    """The words to compare: a label's own name, and some from rules, teacher and traces in turn."""

    target: Target
    config: WordsConfig
    groups: Mapping[str, object] = field(default_factory=dict)
    """Group of each training example by id; one without is a group of its own."""

    def of(self, sources: Sources, names: Sequence[Mapping[str, str]]) -> tuple[LabelWord, ...]:
        """Return the words of each label, its own name first, those with the most behind them next."""
        traces = sources.traces
        place = {trace.id: self.groups.get(trace.example_id, trace.example_id) for trace in traces}
        every = self._by_kind(traces)
        proposed: list[LabelWord] = []
        for label in self.target.labels:
            kinds = self._by_kind([trace for trace in traces if trace.label == label])
            # A kind of many groups is a general one; one that only this label's traces name counts in
            # full.
            worth = {
                word: len({place[key] for key in ids}) ** 2
                / len({place[key] for key in every[word]})
                for word, ids in kinds.items()
            }
            ranked = sorted(kinds, key=worth.__getitem__, reverse=True)
            said = Counter(word for named in names for word in self._words([named.get(label, "")]))
            ruled = self._in_rules(sources.rules, label)
            queues = [list(ruled), [word for word, _ in said.most_common()], ranked]
            words = dict.fromkeys(in_turns(queues))
            proposed.append(LabelWord(label=label, word=label))
            proposed += [
                LabelWord(
                    label=label,
                    word=word,
                    rule_ids=ruled.get(word, ()),
                    trace_ids=kinds.get(word, ()),
                    named=said[word],
                )
                for word in list(words)[: self.config.per_label]
            ]
        return tuple(proposed)

    def _in_rules(self, rules: Sequence[Rule], label: str) -> dict[str, tuple[str, ...]]:
        """Return by word the ids of the label's rules that are about it, of the truest rule first."""
        own = [rule for rule in rules if rule.main_label == label]
        own.sort(key=lambda rule: (-(rule.truth.worth if rule.truth else 0.0), rule.id))
        found: dict[str, list[str]] = defaultdict(list)
        for rule in own:
            about = _ABOUT.search(rule.text)
            things = _BETWEEN.split(about["things"]) if about else []
            for word in self._words(things):
                found[word].append(rule.id)
        return {word: tuple(dict.fromkeys(ids)) for word, ids in found.items()}

    def _by_kind(self, traces: Sequence[Trace]) -> dict[str, tuple[str, ...]]:
        """Return the ids of the traces that name each kind."""
        ids: dict[str, list[str]] = defaultdict(list)
        for trace in traces:
            for word in self._kinds(trace):
                ids[word].append(trace.id)
        return {word: tuple(found) for word, found in ids.items()}

    def _kinds(self, trace: Trace) -> list[str]:
        return list(dict.fromkeys(self._words(trace.kinds)))

    def _words(self, texts: Iterable[str]) -> list[str]:
        return [word for text in texts if (word := self._word(text)) is not None]

    def _word(self, text: str) -> str | None:
        """Return the name or kind as a word to answer with; None if it is none.

        Names of labels are not used, for they would be words for other labels as well.
        """
        word = " ".join(_ARTICLE.sub("", text.strip(" \t.,;:!?\"'`*_()[]")).split()).lower()
        names = {label.casefold() for label in self.target.labels}
        parts = re.findall(r"\w+", word)
        plain = bool(re.fullmatch(r"[^\W\d_][\w' -]*", word))
        short = len(parts) <= self.config.max_length and len(word) <= _MOST_SIGNS
        return word if plain and short and not names.intersection(parts) else None


def _measured(
    proposed: Sequence[LabelWord],
    program: dspy.Module,
    target: Target,
    problem: Problem,
    evaluator: Evaluator,
) -> tuple[LabelWord, ...]:
    """Return the words with their areas under the curve, from one answer to each example."""
    pool = _readable(word.word for word in proposed)
    asked = _asking_for(program, target, pool)
    examples = [*in_turn(problem.train, target.label_key, len(problem.val)), *problem.val]
    fresh = replace(
        evaluator, metric=accuracy, labels=pool, decide="greedy", topic_field=None, priors={}
    )

    def report(event: Event) -> None:
        evaluator.progress(replace(event, stage=STAGE))

    try:
        answers = fresh.answers(asked, examples, candidate_id=STAGE, split="train", progress=report)
    except PLDError as error:
        if type(error) is not PLDError:
            raise
        logger.warning("%s: no words for labels: %s", target.path, error)
        return ()
    gold = [label_text(example[target.label_key]) for example in examples]
    known = {example_id(example) for example in problem.val}
    sides = [
        [place for place, e in enumerate(examples) if (example_id(e) in known) == val]
        for val in (False, True)
    ]
    found = [
        replace(word, separates=_mean_area(word, answers, gold, sides))
        for word in proposed
        if word.word in pool
    ]
    order = {label: place for place, label in enumerate(target.labels)}
    return tuple(sorted(found, key=lambda w: (order[w.label], -_worth(w), w.word)))


def _readable(words: Iterable[str]) -> tuple[str, ...]:
    """Return the different words that can be read back from an answer, the first ones kept."""
    kept: list[str] = []
    for word in dict.fromkeys(words):
        try:
            LabelWords.of((*kept, word), {other: other for other in (*kept, word)})
        except ConfigError:
            continue
        kept.append(word)
    return tuple(kept)


def _asking_for(program: dspy.Module, target: Target, pool: tuple[str, ...]) -> dspy.Module:
    """Return a copy of the program that chooses among the words of the pool."""
    copy = program.deepcopy()
    predictor = copy.predict
    kind: Any = Literal[pool]
    predictor.signature = predictor.signature.with_updated_fields(target.label_key, type_=kind)
    return copy


def _mean_area(
    word: LabelWord, answers: Sequence[Answer], gold: Sequence[str], sides: Sequence[Sequence[int]]
) -> float | None:
    """Return the mean over the sides of the area under the curve; None if no side has both classes."""
    areas = []
    for side in sides:
        usable = [place for place in side if answers[place].probabilities]
        own = [gold[place] == word.label for place in usable]
        if 0 < sum(own) < len(own):
            scores = [(answers[place].probabilities or {}).get(word.word, 0.0) for place in usable]
            areas.append(float(roc_auc_score(own, np.log(np.maximum(scores, _FLOOR)))))
    return sum(areas) / len(areas) if areas else None


def _assignments(
    compared: Sequence[LabelWord], labels: Sequence[str], count: int
) -> list[dict[str, str]]:
    """Return the best assignments of a word to each label; none that leaves all labels their names.

    The first has the largest sum of areas; each other one is the best without one label's word in it.
    """
    if any(not [w for w in compared if w.label == label and w.separates] for label in labels):
        return []
    first = _assignment(compared, labels)
    if first is None:
        return []
    others = [
        (worth, found)
        for label in labels
        if (rest := [w for w in compared if (w.label, w.word) != (label, first[1][label])])
        and (second := _assignment(rest, labels)) is not None
        for worth, found in [second]
    ]
    ranked = [first, *sorted(others, key=lambda pair: -pair[0])]
    distinct: list[dict[str, str]] = []
    for _, words in ranked:
        if words not in distinct and any(label != word for label, word in words.items()):
            distinct.append(words)
    return distinct[:count]


def _assignment(
    compared: Sequence[LabelWord], labels: Sequence[str]
) -> tuple[float, dict[str, str]] | None:
    """Return the sum of areas and the words of the best assignment; None if there is none."""
    pool = list(dict.fromkeys(word.word for word in compared))
    worth: Floats = np.full((len(labels), len(pool)), -float(len(labels)))
    for word in compared:
        worth[labels.index(word.label), pool.index(word.word)] = _worth(word)
    if len(pool) < len(labels):
        return None
    rows, columns = linear_sum_assignment(worth, maximize=True)
    total = float(worth[rows, columns].sum())
    if worth[rows, columns].min() < 0:
        return None
    return total, {labels[r]: pool[c] for r, c in zip(rows, columns, strict=True)}


def _worth(word: LabelWord) -> float:
    """Return the area under the curve; of equal ones, that of a word with more behind it is larger."""
    behind = word.named + len(word.trace_ids) + len(word.rule_ids)
    return (word.separates or 0.0) + _TIE * behind / (behind + 1)

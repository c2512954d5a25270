"""Proposes words for labels: from rules, from explanations, and from the teacher."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pld_dspy.config.optimizer import WordsConfig
from pld_dspy.models.reading.values import label_text
from pld_dspy.models.teacher import NameLabel, Request, Teacher, listed
from pld_dspy.records import LabelWord, Rule, Trace
from pld_dspy.stages.common.problem import Problem, Target
from pld_dspy.stages.common.prompt import render_example
from pld_dspy.stages.common.turns import in_turns

STAGE = "words"
TEXTS = 4
"""Examples of a label that the teacher sees when it names the labels."""
_MOST_SIGNS = 28
_ABOUT = re.compile(r"\babout\s+(?P<things>[^.;:]+?)\s*,?\s*(?:then\s+)?answer\b", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*,\s*(?:or|and)\s+|\s*,\s*|\s+or\s+|\s+and\s+", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the|some|any)\s+", re.IGNORECASE)
_TITLE = re.compile(r"^\W*title\W+", re.IGNORECASE)


class Sources(NamedTuple):
    """What words are taken from, besides the teacher's names."""

    traces: Sequence[Trace]
    rules: Sequence[Rule] = ()
    false: Sequence[Rule] = ()
    """Rules that are false for too many training examples."""


def names_for(
    target: Target, problem: Problem, teacher: Teacher, config: WordsConfig
) -> Mapping[str, Sequence[str]]:
    """Return the teacher's names for each label, those of a draft that could not be read left out."""
    asked: list[str] = []
    requests: list[Request] = []
    for draft in range(config.drafts):
        for label in target.labels:
            texts = _texts(target, problem, label, draft)
            if not texts:
                continue
            asked.append(label)
            requests.append(
                Request(
                    module=NameLabel(teacher.prompts.name),
                    inputs={"texts": listed(texts)},
                    name=f"draft {draft + 1} of a name for {label!r}",
                )
            )
    names: dict[str, list[str]] = {label: [] for label in target.labels}
    for label, output in zip(asked, teacher.ask(STAGE, requests), strict=True):
        if output is not None:
            names[label].append(output["title"])
    return names


def _texts(target: Target, problem: Problem, label: str, draft: int) -> list[str]:
    """Return some training examples of a label, of as many groups as there are."""
    queues: dict[object, list[str]] = defaultdict(list)
    own = [e for e in problem.train if label_text(e[target.label_key]) == label]
    for place, example in enumerate(own):
        text = render_example(target.signature, example).replace("\n", "; ")
        group = example.get("pld_group")
        queues[place if group is None else group].append(text)
    rng = np.random.default_rng([problem.seed, draft])
    order = rng.permutation(len(queues)).tolist()
    groups = [queues[key] for key in (list(queues)[place] for place in order)]
    shuffled = [[texts[i] for i in rng.permutation(len(texts))] for texts in groups]
    return in_turns(shuffled)[:TEXTS]


def read_names(title: str) -> tuple[str, ...]:
    """Return the names in a title, which may be several.

    >>> read_names("Title: food, a drink")
    ('food', 'a drink')
    """
    line = next((line for line in title.splitlines() if line.strip()), "")
    names = _BETWEEN.split(_TITLE.sub("", line))
    return tuple(dict.fromkeys(name for name in map(str.strip, names) if name))


@dataclass(frozen=True, slots=True)
class Proposals:
    """The words to compare: a label's own name, and those from rules, teacher and traces in turn."""

    target: Target
    config: WordsConfig
    groups: Mapping[str, object] = field(default_factory=dict)
    """Group of each training example by id; one without is a group of its own."""

    def of(
        self, sources: Sources, names: Mapping[str, Sequence[str]]
    ) -> dict[str, tuple[LabelWord, ...]]:
        """Return the words by label, its own name first, those with the most behind them next."""
        traces = sources.traces
        place = {trace.id: self.groups.get(trace.example_id, trace.example_id) for trace in traces}
        every = self._by_kind(traces)
        said = {
            label: Counter(word for title in names.get(label, ()) for word in self._said(title))
            for label in self.target.labels
        }
        titled = sum(said.values(), Counter[str]())
        proposed: dict[str, tuple[LabelWord, ...]] = {}
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
            ruled = self._in_rules(sources.rules, label)
            # A word decides like a rule about it.
            untrue = set(self._in_rules(sources.false, label, most=1)) - set(ruled)
            queues = [list(ruled), [word for word, _ in said[label].most_common()], ranked]
            words = [word for word in dict.fromkeys(in_turns(queues)) if word not in untrue]
            proposed[label] = (
                LabelWord(label=label, word=label),
                *(
                    LabelWord(
                        label=label,
                        word=word,
                        rule_ids=ruled.get(word, ()),
                        trace_ids=(ids := kinds.get(word, ())),
                        named=(own := said[label][word]),
                        elsewhere=len(every.get(word, ())) - len(ids) + titled[word] - own,
                    )
                    for word in words
                ),
            )
        return proposed

    def _in_rules(
        self, rules: Sequence[Rule], label: str, *, most: int | None = None
    ) -> dict[str, tuple[str, ...]]:
        """Return by word the ids of the label's rules that are about it, of the truest rule first.

        Rules about more than `most` things are left out: of one that is false, not all need be wrong.
        """
        own = [rule for rule in rules if rule.main_label == label]
        own.sort(key=lambda rule: (-(rule.truth.worth if rule.truth else 0.0), rule.id))
        found: dict[str, list[str]] = defaultdict(list)
        for rule in own:
            about = _ABOUT.search(rule.text)
            things = _BETWEEN.split(about["things"]) if about else []
            if most is None or len(things) <= most:
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

    def _said(self, title: str) -> list[str]:
        return list(dict.fromkeys(self._words(read_names(title))))

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

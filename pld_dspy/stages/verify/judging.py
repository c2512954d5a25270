"""Asks the teacher for which examples each condition holds."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Literal, NamedTuple

from pld_dspy.models.teacher import Check, Judge, Reply, Request, Teacher

logger = logging.getLogger(__name__)

STAGE = "judgements"
YES = "yes"
NOTHING = "judgements of a teacher that finds every condition true of every example"
_LISTED = re.compile(r"\d+")
_NONE = re.compile(r"\bnone\b", re.IGNORECASE)

Asked = tuple[str, str, Sequence[str]]
"""Id and inputs of an example, and the conditions to judge for it."""


class Judgements(NamedTuple):
    """For which examples each condition holds."""

    holds: Mapping[tuple[str, str], bool]
    """By condition and example id; a judgement that failed or could not be read is missing."""
    dropped: Counter[str]
    """Number of missing judgements, by reason."""


def judge(
    teacher: Teacher, examples: Sequence[Asked], *, how: Literal["list", "each"]
) -> Judgements:
    """Return the teacher's judgements; it sees neither labels nor answers of the rules.

    Args:
        teacher: Is asked.
        examples: Each with its conditions, which are different.
        how: See `VerifyConfig.how`.

    Raises:
        ModelError: The teacher cannot be reached.
    """
    asked = [example for example in examples if example[2]]
    return _listed(teacher, asked) if how == "list" else _each(teacher, asked)


def judge_own_first(
    teacher: Teacher,
    texts: Mapping[str, str],
    gold: Mapping[str, str],
    answers: Mapping[str, Set[str]],
    *,
    how: Literal["list", "each"],
) -> Judgements:
    """Return the judgements; asked one by one, those that can save a rule first.

    A condition that fewer than two examples of its label meet is that of no rule, whatever the other
    examples say, and is not asked about them, unless it is the best of its label.

    Args:
        teacher: Judges.
        texts: Inputs of each example, by id.
        gold: Label of each example, by id.
        answers: Labels that the rules of each condition answer.
        how: See `VerifyConfig.how`.

    Raises:
        ModelError: The teacher cannot be reached.
    """
    examples = list(texts.items())
    if how == "list":
        return judge(teacher, [(*example, tuple(answers)) for example in examples], how=how)
    own = {key: tuple(c for c, of in answers.items() if gold[key] in of) for key in texts}
    first = judge(teacher, [(*example, own[example[0]]) for example in examples], how=how)
    met = Counter(condition for (condition, _), holds in first.holds.items() if holds)
    labels = {label for of in answers.values() for label in of}
    best = {max((c for c in answers if y in answers[c]), key=lambda c: met[c]) for y in labels}
    left = [condition for condition in answers if met[condition] > 1 or condition in best]
    others = {key: tuple(c for c in left if c not in own[key]) for key in texts}
    second = judge(teacher, [(*example, others[example[0]]) for example in examples], how=how)
    return Judgements({**first.holds, **second.holds}, first.dropped + second.dropped)


def _listed(teacher: Teacher, examples: Sequence[Asked]) -> Judgements:
    requests = [
        Request(
            module=Judge(teacher.prompts.judge),
            inputs={
                "conditions": "\n".join(f"{n}. {c}" for n, c in enumerate(conditions, 1)),
                "example": text,
            },
            name=f"example {key}",
        )
        for key, text, conditions in examples
    ]
    holds: dict[tuple[str, str], bool] = {}
    dropped: Counter[str] = Counter()
    replies = teacher.replies(STAGE, requests)
    for (key, _, conditions), reply in zip(examples, replies, strict=True):
        said = read_numbers(reply.output["numbers"], len(conditions)) if reply.output else None
        if said is None:
            dropped[_reason(reply)] += len(conditions)
            continue
        holds |= {(condition, key): n in said for n, condition in enumerate(conditions, 1)}
    if _tells_nothing(holds):
        logger.warning(
            "the teacher finds each of %d conditions true of each example, so no rule is checked; set "
            'verify.how = "each", or name a stronger teacher',
            len({condition for condition, _ in holds}),
        )
        return Judgements({}, dropped + Counter({NOTHING: len(holds)}))
    return Judgements(holds, dropped)


def _tells_nothing(holds: Mapping[tuple[str, str], bool]) -> bool:
    """Return whether every condition was found true of every example.

    Small models answer so where they are shown a list.
    """
    conditions, examples = (len({key[side] for key in holds}) for side in (0, 1))
    return conditions > 1 and examples > 1 and all(holds.values())


def read_numbers(answer: str, count: int) -> frozenset[int] | None:
    """Return the numbers in the last line of an answer; None if it has none, or one out of range.

    >>> sorted(read_numbers("1, 3", 3))
    [1, 3]
    >>> read_numbers("none", 3)
    frozenset()
    >>> read_numbers("4", 3) is None
    True
    """
    line = next((line for line in reversed(answer.splitlines()) if line.strip()), "")
    numbers = frozenset(map(int, _LISTED.findall(line)))
    if numbers:
        return numbers if all(1 <= number <= count for number in numbers) else None
    return numbers if _NONE.search(line) else None


def _each(teacher: Teacher, examples: Sequence[Asked]) -> Judgements:
    # Example by example, so that a local server reads each example once.
    pairs = [(condition, key, text) for key, text, asked in examples for condition in asked]
    requests = [
        Request(
            module=Check(teacher.prompts.check),
            inputs={"example": text, "condition": condition},
            name=f"a condition of example {key}",
        )
        for condition, key, text in pairs
    ]
    holds: dict[tuple[str, str], bool] = {}
    dropped: Counter[str] = Counter()
    for (condition, key, _), reply in zip(pairs, teacher.replies(STAGE, requests), strict=True):
        if reply.output is None:
            dropped[_reason(reply)] += 1
        else:
            # With a 1.5B teacher, no other threshold of the probability of yes did better than 1/2.
            holds[condition, key] = reply.output["holds"] == YES
    return Judgements(holds, dropped)


def _reason(reply: Reply) -> str:
    if reply.error is not None:
        return "judgements of conditions that the teacher's endpoint refused"
    return "judgements of conditions that could not be read"

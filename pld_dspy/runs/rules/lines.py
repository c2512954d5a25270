"""Text of a rule list: what is said of each rule, and the headings of its topics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

GAINS = {"gain": "gain", "list_gain": "in this list"}
"""What a rule is worth, by its key in `rules.json`: over all lists, and in the chosen one."""
LEFT_OUT = {"left_out": "gain in this list"}
"""The same where each rule of the chosen list was left out, which says more."""

_UNUSED = 6
"""Rules outside the list that are told; `rules.json` has all."""


def rule_text(rule: Mapping[str, Any]) -> str:
    """Return the text of an entry of `rules.json` as the student sees it."""
    return str(rule.get("shown", rule["text"]))


def demos_line(chosen: Mapping[str, Any]) -> str | None:
    """Return which worked examples the prompt shows; None if it shows none."""
    demos = chosen.get("demos") or []
    if not demos:
        return None
    counts = Counter(demo["label"] for demo in demos)
    labels = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
    return f"{len(demos)} worked examples before the question: {labels} (rules.json has their ids)"


def words_line(chosen: Mapping[str, Any]) -> str | None:
    """Return which words the student sees for the labels, and why; None if it sees the labels."""
    words = chosen.get("words") or []
    if not words:
        return None
    told = "; ".join(f"{word['word']} for {word['label']}{_behind(word)}" for word in words)
    return f"The student sees words for the labels: {told}."


def _behind(word: Mapping[str, Any]) -> str:
    """Return where a word was proposed, and how well it tells its label from the others."""
    if word["word"] == word["label"]:
        return " (its name)"
    if not (word["rule_ids"] or word["trace_ids"] or word["named"]):
        return " (what is left)"
    by = {"rule": word["rule_ids"], "trace": word["trace_ids"], "draft": range(word["named"])}
    counts = [f"{len(ids)} {who}{'s' * (len(ids) > 1)}" for who, ids in by.items() if ids]
    named = " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)
    area = "" if word["separates"] is None else f", separates it by {word['separates']:.2f}"
    return f" (named in {named}{area})"


def support(rule: Mapping[str, Any]) -> str:
    """Return how many training examples bear an entry of `rules.json`, or support it if not judged."""
    truth = rule.get("truth")
    if truth is not None:
        right = len(truth["borne_by"])
        groups = ""
        if truth.get("groups") is not None:
            groups = f", {truth['groups']} of {truth['groups_labelled']} groups"
        return (
            f"true of {right} of {truth['holds']} examples, "
            f"covers {right} of {truth['labelled']} of {truth['answer']}{groups}"
        )
    if not rule["trace_ids"]:
        return "given"
    return ", ".join(f"{label} {count}" for label, count in rule["labels"].items())


def unused_lines(chosen: Mapping[str, Any]) -> list[str]:
    """Return the judged rules that are not in the list, after a line that says so; empty without any."""
    rules = chosen.get("unused") or []
    told = [f"{rule_text(rule)} ({rule['id']}; {support(rule)})" for rule in rules[:_UNUSED]]
    if not told:
        return []
    more = len(rules) - len(told)
    where = f" ({more} more in rules.json)" if more else ""
    return [f"Rules that were judged and are not in the list{where}:", *told]


def gain(rule: Mapping[str, Any], key: str) -> str:
    """Return a measured gain with its interval; empty where none was measured."""
    if not rule.get(key):
        return ""
    estimate, low, high = rule[key]
    return f"{estimate:+.2f} [{low:+.2f}, {high:+.2f}]"


def gains(rule: Mapping[str, Any]) -> list[str]:
    """Return the measured gains of a rule, each with its name."""
    return [f"{name} {gain(rule, key)}" for key, name in gain_names([rule]).items()]


def gain_names(rules: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of the gains to show by key: of leaving rules out if that was measured."""
    names = LEFT_OUT if any(rule.get("left_out") for rule in rules) else GAINS
    return {key: name for key, name in names.items() if any(rule.get(key) for rule in rules)}


def sections(chosen: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return the rules of a list by heading, in order; one section without a heading if none has a topic."""
    scopes = [rule.get("scope") for rule in chosen["rules"]]
    if not any(scopes):
        return [("", chosen["rules"])] if scopes else []
    found: dict[str, list[Mapping[str, Any]]] = {}
    for scope, rule in zip(scopes, chosen["rules"], strict=True):
        found.setdefault("Always" if scope is None else f"Only for: {scope}", []).append(rule)
    return list(found.items())

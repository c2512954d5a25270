"""Reads rules that exist already: a file, or rules in Python, in general or by topic."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pld_dspy.config.callables import described
from pld_dspy.errors import ConfigError
from pld_dspy.records import Rule
from pld_dspy.stages.common.rule_text import answers_of, make_rule, names_no_label, tidy_rule
from pld_dspy.stages.common.topics import Topics, scoped

Initial = Path | str | Sequence[Rule | str] | Mapping[str, Any]
"""A file (text, TOML or JSON), rules, or a mapping of the form of such a file."""

GENERAL = "general"
_TEXTS = ("text", "rule")
_SCOPES = ("scope", "topic")
_HEADING = re.compile(r"\[(?P<boxed>[^\[\]]*)\]|#+\s*(?:topic\s*:\s*(?P<topic>.*)|general)", re.I)
_FORM = "give a list of rules, or `general` with a list and `topics` with a list for each topic"


class _Given(NamedTuple):
    """A rule as it was given, and the names of its topic by key; none for a general rule."""

    text: str
    names: Mapping[str, str]


def initial_rules(
    given: Initial | None, *, labels: Sequence[str], topics: Topics | None
) -> tuple[Rule, ...]:
    """Return the given rules with the topics that they are for, each once, in the given order.

    A text has one rule on a line, and `# Topic: <value>` or `[<value>]` above those of a topic;
    `# General` or `[general]` ends that. TOML and JSON have a list of rules (texts, or tables with
    `text` and `scope`), or a table with `general` and `topics`: tables with `rules` and the topic's
    value, or lists of rules by topic. `rules.json` of a run with one predictor is read too.

    Args:
        given: None gives no rules.
        labels: The closed label set; a rule must not answer anything else.
        topics: Topics of the examples.

    Raises:
        ConfigError: The file cannot be read or has no rule, a rule answers something that is no
            label, or a topic is no value of the topic field.
    """
    if given is None:
        return ()
    source = str(given) if isinstance(given, Path | str) else "initial_rules"
    found = list(_entries(given, source))
    if not found:
        msg = f"{source} has no rule; {_FORM}, or leave it out"
        raise ConfigError(msg)
    rules: dict[tuple[str, str | None], Rule] = {}
    for number, one in enumerate(found, 1):
        text = tidy_rule(one.text)
        if not text or names_no_label(text, labels):
            what = "answers no label" if text else "is empty"
            msg = f"{source}: rule {number}, {one.text[:80]!r}, {what}; the labels are {', '.join(labels)}"
            raise ConfigError(msg)
        scope = _scope(one, topics, source)
        named = sorted(answers_of(text, labels))
        # No trace supports it: its labels are those that it answers.
        made = replace(make_rule(text, (), origin="initial"), labels=dict.fromkeys(named, 0))
        rules.setdefault((text, scope), scoped(made, scope))
    return tuple(rules.values())


def _scope(one: _Given, topics: Topics | None, source: str) -> str | None:
    """Return the topic of the examples that a rule's topic names."""
    if not one.names:
        return None
    shown = next(iter(one.names.values()))
    if topics is None:
        msg = f"{source} has a rule for the topic {shown[:80]!r}, and there are no topics; set topics.by to the input field that has it"
        raise ConfigError(msg)
    own = one.names.get(topics.field)
    names = [" ".join(name.split()) for name in ([own] if own else one.names.values())]
    known = {topic.casefold(): topic for topic in topics.known}
    for name in names:
        if name in topics.known or name.casefold() in known:
            return name if name in topics.known else known[name.casefold()]
    close = difflib.get_close_matches(names[0], topics.known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"one is {min(topics.known)[:80]!r}"
    msg = f"{source}: the topic {names[0][:80]!r} is no value of {topics.field!r} in the examples; {hint}"
    raise ConfigError(msg)


def _entries(given: Initial, source: str) -> Iterator[_Given]:
    if not isinstance(given, Path | str):
        yield from _parsed(given, source)
        return
    path = Path(given).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            yield from _parsed(json.loads(text), source)
        elif path.suffix == ".toml":
            yield from _parsed(tomllib.loads(text), source)
        else:
            yield from _lines(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{source} is not {path.suffix[1:].upper()}: {error}"
        raise ConfigError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        msg = f"the rules {source} cannot be read: {reason}; give a text, TOML or JSON file"
        raise ConfigError(msg) from error


def _lines(text: str) -> Iterator[_Given]:
    """Yield the rules of a text; other lines that begin with # are comments."""
    names: Mapping[str, str] = {}
    for line in map(str.strip, text.split("\n")):
        heading = _HEADING.fullmatch(line)
        if heading:
            topic = (heading["boxed"] or heading["topic"] or "").strip()
            names = {} if topic.casefold() in {"", GENERAL} else {"": topic}
        elif line and not line.startswith("#"):
            yield _Given(line, names)


def _parsed(data: object, source: str, names: Mapping[str, str] | None = None) -> Iterator[_Given]:
    """Yield the rules of a list, or of a table with `general` and `topics`."""
    if isinstance(data, Mapping):
        yield from _table(data, source)
        return
    if not isinstance(data, Sequence) or isinstance(data, str):
        msg = f"{source} has {described(data)} where rules should be; {_FORM}"
        raise ConfigError(msg)
    for entry in data:
        yield _one(entry, source, names or {})


def _table(data: Mapping[str, Any], source: str) -> Iterator[_Given]:
    parts = list(data.values())
    if len(parts) == 1 and isinstance(parts[0], Mapping) and "candidate" in parts[0]:
        yield from _parsed(parts[0].get("rules"), source)  # rules.json of a run
        return
    for key in (GENERAL, "rules"):
        if key in data:
            yield from _parsed(data[key], source)
    rest = {key: rules for key, rules in data.items() if key not in {GENERAL, "rules", "topics"}}
    topics = data.get("topics", rest)
    if "topics" in data and rest:
        msg = f"{source} has {', '.join(map(repr, rest))} beside `general`, `rules` and `topics`; take it out"
        raise ConfigError(msg)
    if isinstance(topics, Mapping):
        topics = [{"": topic, "rules": rules} for topic, rules in topics.items()]
    for topic in topics:
        if not isinstance(topic, Mapping) or "rules" not in topic:
            msg = f"{source} has the topic {described(topic)}; {_FORM}"
            raise ConfigError(msg)
        names = {k: v for k, v in topic.items() if k != "rules" and isinstance(v, str)}
        if not names:
            msg = f"{source} has {len(topic['rules'])} rules of a topic without its value; add one"
            raise ConfigError(msg)
        yield from _parsed(topic["rules"], source, names)


def _one(entry: object, source: str, names: Mapping[str, str]) -> _Given:
    if isinstance(entry, Rule):
        return _Given(entry.text, names if entry.scope is None else {"": entry.scope})
    if isinstance(entry, str):
        return _Given(entry, names)
    if isinstance(entry, Mapping):
        text = next((entry[key] for key in _TEXTS if isinstance(entry.get(key), str)), None)
        scope = next((entry[key] for key in _SCOPES if isinstance(entry.get(key), str)), None)
        if text is not None:
            return _Given(text, names if scope is None else {"": scope})
    msg = f"{source} has {described(entry)} where a rule should be; give a text, or a table with text and scope"
    raise ConfigError(msg)

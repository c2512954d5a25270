import json
import os
from pathlib import Path

import dspy
import pytest

from pld_dspy import DirectStudent, load_task
from pld_dspy.config.optimizer import TopicsConfig
from pld_dspy.errors import ConfigError
from pld_dspy.records import Rule
from pld_dspy.stages.common.initial import initial_rules
from pld_dspy.stages.common.topics import find_topics

LABELS = ("red", "green")
Task = dspy.Signature("kind, text -> label: Literal['red', 'green']", "Choose.")
EXAMPLES = [
    dspy.Example(kind=kind, text=f"text {n}", label=LABELS[n % 2]).with_inputs("kind", "text")
    for n, kind in enumerate(["old lamps", "new lamps"] * 4)
]
TOPICS = find_topics(TopicsConfig(by="kind"), DirectStudent(Task), Task, EXAMPLES)

TEXT = """
# Rules of the shop
1. If it glows, answer red.

# Topic: old lamps
- If it is rusty, answer green.
  2) If it is shiny, answer red.
[new lamps]
If it is shiny, answer green.
# a remark
[general]
Read twice.
"""
RULES = [
    ("If it glows, answer red.", None),
    ("If it is rusty, answer green.", "old lamps"),
    ("If it is shiny, answer red.", "old lamps"),
    ("If it is shiny, answer green.", "new lamps"),
    ("Read twice.", None),
]
GENERAL = [text for text, scope in RULES if scope is None]
BY_TOPIC = {
    topic: [text for text, scope in RULES if scope == topic] for topic in ("old lamps", "new lamps")
}
TOML = f"""
general = {json.dumps(GENERAL)}
[topics]
"old lamps" = {json.dumps(BY_TOPIC["old lamps"])}
"new lamps" = {json.dumps(BY_TOPIC["new lamps"])}
"""
TABLES = "".join(
    f"[[rules]]\ntext = {json.dumps(text)}\n" + (f"scope = {json.dumps(scope)}\n" if scope else "")
    for text, scope in RULES
)


def read(given, *, labels=LABELS, topics=TOPICS):
    return initial_rules(given, labels=labels, topics=topics)


def pairs(rules):
    return [(rule.text, rule.scope) for rule in rules]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rules.txt", TEXT),
        ("rules.md", TEXT),
        ("rules.toml", TOML),
        ("tables.toml", TABLES),
        ("rules.json", json.dumps({"general": GENERAL, "topics": BY_TOPIC})),
        (
            "guides.json",
            json.dumps(
                {
                    "general": GENERAL,
                    "topics": [
                        {"id": f"k-{n}", "kind": topic, "topic": "lamps", "rules": rules}
                        for n, (topic, rules) in enumerate(BY_TOPIC.items())
                    ],
                }
            ),
        ),
        ("list.json", json.dumps([{"text": text, "scope": scope} for text, scope in RULES])),
        ("utf8.txt", "\ufeff" + TEXT),
    ],
)
def test_a_file_of_any_form_has_the_same_rules(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    for given in (tmp_path / name, str(tmp_path / name)):
        rules = read(given)

        assert sorted(pairs(rules), key=str) == sorted(RULES, key=str)
        assert {rule.origin for rule in rules} == {"initial"}
        assert {rule.trace_ids for rule in rules} == {()}
        assert {rule.text: rule.main_label for rule in rules if rule.scope is None} == {
            "If it glows, answer red.": "red",
            "Read twice.": "",
        }


def test_the_order_of_a_text_stays():
    assert pairs(read([text for text, _ in RULES])) == [
        (text, None) for text in dict.fromkeys(text for text, _ in RULES)
    ]


def test_rules_of_python():
    mine = Rule(
        id="r1",
        text="If it is rusty, answer green.",
        trace_ids=("t1",),
        labels={"green": 1},
        origin="synthesis",
        scope="old lamps",
    )

    assert pairs(read([mine, "Read twice.", "Read twice"])) == [
        ("If it is rusty, answer green.", "old lamps"),
        ("Read twice.", None),
    ]
    assert pairs(read({"OLD  lamps": ["If it is rusty, answer green."]})) == RULES[1:2]
    assert read(None) == ()


def test_rules_of_an_earlier_run(tmp_path):
    rules = [{"number": n, "text": text, "scope": scope} for n, (text, scope) in enumerate(RULES)]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"predict": {"candidate": "c1", "rules": rules}}), encoding="utf-8")

    assert pairs(read(path)) == RULES


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("rules.txt", "If it is new, answer blue.", "rule 1, 'If it is new, answer blue.', answers no label; the labels are red, green"),
        ("rules.txt", "", "has no rule"),
        ("rules.txt", "# only a remark\n\n", "has no rule"),
        ("rules.json", "{}", "has no rule"),
        ("rules.json", '{"general": []}', "has no rule"),
        ("rules.json", "{", "is not JSON"),
        ("rules.json", "3", "has 3 of type int where rules should be"),
        ("rules.json", "[3]", "has 3 of type int where a rule should be"),
        ("rules.json", '{"topics": ["a"]}', "has the topic 'a' of type str"),
        ("rules.json", '{"topics": [{"rules": ["Read."]}]}', "has 1 rules of a topic without its value"),
        ("rules.json", '{"topics": {}, "generel": ["Read."]}', "has 'generel' beside"),
        ("rules.toml", "general = [", "is not TOML"),
        ("rules.txt", "[old lamp]\nRead.", "the topic 'old lamp' is no value of 'kind' in the examples; did you mean 'old lamps'"),
        ("rules.txt", "[chairs]\nRead.", "the topic 'chairs' is no value of 'kind'"),
        ("rules.txt", b"\xff\xfe\x00R", "it is not UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line(tmp_path, name, text, problem):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read(tmp_path / name)

    assert problem in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.txt cannot be read: No such file"):
        read(tmp_path / "none.txt")


def test_rules_by_topic_without_topics_are_refused():
    with pytest.raises(
        ConfigError, match="for the topic 'old lamps', and there are no topics; set"
    ):
        read({"old lamps": ["Read."]}, topics=None)


def test_an_open_label_set_refuses_no_answer():
    assert len(read(["If it is new, answer blue."], labels=())) == 1


@pytest.mark.skipif("PLD_DATA_DIR" not in os.environ, reason="needs the data folder")
def test_the_guides_of_contract_nli_load_by_the_hypothesis():
    path = Path(os.environ["PLD_DATA_DIR"]) / "teacher" / "contract_nli_guides.json"
    if not path.is_file():
        pytest.skip("the data folder has no guides")
    task = load_task("contract_nli", form="pairs")
    splits = task.split({"train": 200, "val": 50, "select": 50, "test": 50}, seed=0)
    topics = find_topics(
        TopicsConfig(by="hypothesis"), DirectStudent(task.signature), task.signature, splits.train
    )
    rules = initial_rules(path, labels=task.labels, topics=topics)
    guides = json.loads(path.read_text(encoding="utf-8"))

    assert {rule.scope for rule in rules} - {None} == {t["hypothesis"] for t in guides["topics"]}
    assert sum(rule.scope is None for rule in rules) == len(guides["general"])

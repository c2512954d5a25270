import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pld_dspy.config.table import TableConfig
from pld_dspy.data.tables import field_name
from pld_dspy.data.tasks import task_from_table
from pld_dspy.errors import ConfigError, DataError

CSV = 'text,kind,customer,nr\n"hello, you",greeting,c1,t1\nbye,farewell,c2,t2\nhi,greeting,c1,t3\n'


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "tickets.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def config(file, **changes):
    return TableConfig(**{"path": file, "inputs": ["text"], "label": "kind"} | changes)


def test_csv_becomes_a_task(table):
    task = task_from_table(config(table, description="Sort the ticket.", group="customer"))
    assert task.labels == ("farewell", "greeting")
    assert task.signature.instructions == "Sort the ticket."
    assert tuple(task.signature.input_fields) == ("text",)
    assert task.signature.output_fields["kind"].annotation.__args__ == task.labels
    assert dict(task.examples[0].inputs()) == {"text": "hello, you"}
    assert [e.pld_group for e in task.examples] == ["c1", "c2", "c1"]
    assert [e.pld_source for e in task.examples] == [f"tickets.csv:{n}" for n in range(3)]
    assert task.fixed_splits is None


def test_jsonl_gives_the_same_examples_as_csv(table, tmp_path):
    lines = [
        {"text": "hello, you", "kind": "greeting"},
        {"text": "bye", "kind": "farewell"},
        {"text": "hi", "kind": "greeting"},
    ]
    path = tmp_path / "tickets.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    one, two = (task_from_table(config(p)) for p in (table, path))
    assert [e.pld_id for e in one.examples] == [e.pld_id for e in two.examples]


def test_values_of_other_types_become_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": 3, "kind": true}\n{"text": ["ä"], "kind": false}', encoding="utf-8")
    task = task_from_table(config(path))
    assert [e.text for e in task.examples] == ["3", '["ä"]']
    assert task.labels == ("false", "true")


def test_id_column_names_the_items(table):
    task = task_from_table(config(table, id="nr"))
    assert [e.pld_source for e in task.examples] == ["t1", "t2", "t3"]


def test_files_by_split_are_pools(table, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text("text,kind\nhey,greeting\nciao,farewell\n", encoding="utf-8")
    task = task_from_table(config(None, train=table, test=test))
    splits = task.split({"train": 2, "test": 2}, seed=0)
    assert {e.text for e in splits.test} == {"hey", "ciao"}
    assert {e.text for e in splits.train} <= {"hello, you", "bye", "hi"}


def test_byte_order_mark_and_line_breaks_in_cells_are_read(tmp_path):
    path = tmp_path / "excel.csv"
    path.write_bytes('\ufefftext,kind\r\n"two\nlines",a\r\nx,b\r\n'.encode())
    task = task_from_table(config(path))
    assert [e.text for e in task.examples] == ["two\nlines", "x"]


def test_column_names_become_field_names(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("Ticket text,labels\nx,a\ny,b\n", encoding="utf-8")
    task = task_from_table(config(path, inputs=["Ticket text"], label="labels"))
    assert task.input_keys == ("Ticket_text",)
    assert task.label_key == "labels_"
    assert task.examples[0].labels_ == "a"
    field = task.signature.input_fields["Ticket_text"]
    assert field.json_schema_extra["desc"] == "Ticket text"


@given(st.text(max_size=20))
def test_field_names_are_identifiers_that_hide_nothing(column):
    import dspy

    name = field_name(column)
    assert name.isidentifier()
    assert not hasattr(dspy.Signature, name)
    assert name not in dir(dspy.Example())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["txt"]}, "no column 'txt' but text, kind, customer, nr; did you mean 'text'"),
        ({"label": "kin"}, "line 2 of .* no column 'kin'.*did you mean 'kind'"),
        ({"group": "costumer"}, "did you mean 'customer'"),
        ({"labels": ["greeting", "farewel"]}, "label 'farewell' .* did you mean 'farewel'"),
        ({"inputs": ["text", "te xt"]}, "no column 'te xt'"),
    ],
)
def test_wrong_columns_and_labels_are_named(table, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        task_from_table(config(table, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,kind\nx,a\ny,a\n", r"has the labels \['a'\]; at least two"),
        ("text,kind\nx,a\ny\n", "line 3 of .* has no value in column 'kind'"),
        ("text,kind\nx,a\ny, \n", "line 3 of .* has an empty label"),
        ("text,kind\nx,a\ny,b,c\n", "line 3 of .* has 3 cells where the header has 2"),
        ('text,kind\n"x,a\n', "line 2 of .* opens a quote that is never closed"),
        ('text,kind\nx,a\n"x"y,a\n', "line 3 of .* is not CSV: .*double a quote"),
        ("text,kind\n", "has no rows"),
        ("text,kind,kind\nx,a,b\n", "columns 2 and 3 of .* are both called 'kind'"),
        ("", "is empty; give a header"),
    ],
)
def test_unusable_csv_is_named(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        task_from_table(config(path))


def test_two_columns_with_one_field_name_are_refused(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("a b,a_b,kind\nx,y,z\n", encoding="utf-8")
    with pytest.raises(DataError, match="'a b' and 'a_b' are the same field 'a_b'"):
        task_from_table(config(path, inputs=["a b", "a_b"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, "give either path"),
        ({"train": "t.csv"}, "give either path"),
        ({"test": "t.csv"}, "give train instead"),
        ({"inputs": ["text", "kind"]}, "label column 'kind' is among the inputs"),
        ({"inputs": ["text", "text"]}, "named twice"),
        ({"inputs": []}, "at least 1 item"),
        ({"labels": ["a"]}, "give at least two"),
        ({"labels": ["a", "a"]}, "give at least two"),
        ({"lables": ["a", "b"]}, "lables: unknown setting; did you mean 'labels'"),
        ({"hub": "o/n"}, "give either path"),
        ({"split": "train"}, "split, subset and revision go with hub"),
        ({"path": None, "hub": "o/n"}, "hub needs split"),
        ({"path": None, "hub": "o/n", "split": {"test": "test"}}, "hub needs split"),
        ({"path": None, "hub": "o/n", "split": "train", "encoding": "cp1252"}, "go with files"),
        ({"delimiter": ";;"}, "delimiter: .* at most 1 character"),
    ],
)
def test_contradictory_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        config("x.csv", **changes)

"""What is written to a CSV, TSV, JSONL or Parquet file is what is read from it."""

import csv
import datetime
import io
import json
import unicodedata
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pld_dspy.config.table import TableConfig
from pld_dspy.data.delimited import DELIMITERS
from pld_dspy.data.files import parse_jsonl, read_rows
from pld_dspy.data.tables import read_tables
from pld_dspy.data.values import clean_label, is_missing, label_form, text_of
from pld_dspy.errors import DataError

ODD = ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\ufeff", '"', "'", ",", ";", "\t", "|", "\n"]
ODD += [
    "\r\n",
    "\r",
    "\\",
    "#",
    "🎉",
    "👩‍👩‍👧",
    "积极",
    "مرحبا",
    "e\u0301",
    "é",
    "Å",
    "ﬁ",
    " ",
    "NaN",
    "01",
]
texts = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=5)), max_size=6).map("".join)
texts = texts.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
labels = texts.map(clean_label).filter(bool)
rows = st.lists(st.tuples(texts, labels), min_size=2, max_size=6).filter(
    lambda drawn: len({label for _, label in drawn}) > 1
)
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def table(path, drawn, **changes):
    """Read the file with every label allowed; return the texts and labels."""
    config = TableConfig(
        path=path,
        inputs=["text"],
        label="kind",
        labels=sorted({label for _, label in drawn}),
        **changes,
    )
    items = read_tables(config).items["train"]
    return [(item.fields["text"], item.fields["kind"]) for item in items]


@quick
@given(
    drawn=rows,
    delimiter=st.sampled_from(DELIMITERS),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_csv_gives_back_what_was_written(tmp_path, drawn, delimiter, quoting, end, encoding):
    if quoting == csv.QUOTE_MINIMAL and end == "\n":
        # Before Python 3.13 the writer leaves a lone \r unquoted, and then it ends the line.
        drawn = [tuple(cell.replace("\r", " ").strip() or "x" for cell in row) for row in drawn]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([("text", "kind"), *drawn])
    path = tmp_path / "drawn.csv"
    path.write_bytes(text.getvalue().encode(encoding))

    assert table(path, drawn) == drawn


@quick
@given(drawn=rows)
def test_tsv_gives_back_what_was_written(tmp_path, drawn):
    path = tmp_path / "drawn.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("text", "kind"), *drawn])

    assert table(path, drawn) == drawn


@quick
@given(drawn=rows, ascii_only=st.booleans(), mark=st.sampled_from(["", "\ufeff"]))
def test_jsonl_gives_back_what_was_written(tmp_path, drawn, ascii_only, mark):
    path = tmp_path / "drawn.jsonl"
    lines = [
        json.dumps({"text": text, "kind": label}, ensure_ascii=ascii_only) for text, label in drawn
    ]
    path.write_bytes((mark + "\r\n".join(lines)).encode())

    assert table(path, drawn) == drawn


@quick
@given(drawn=rows)
def test_parquet_gives_back_what_was_written(tmp_path, drawn):
    path = tmp_path / "drawn.parquet"
    pd.DataFrame(drawn, columns=["text", "kind"]).to_parquet(path)

    assert table(path, drawn) == drawn


@given(st.text(max_size=12))
def test_a_clean_label_stays_clean_in_every_normal_form(label):
    clean = clean_label(label)

    assert clean_label(clean) == clean
    assert clean_label(f" \ufeff{unicodedata.normalize('NFD', clean)}\u200b\n") == clean


@pytest.mark.parametrize(
    "label", ["積極", "C#", "-1", "1.5", "01", "Stra\u00dfe", "İ", "👩‍👩‍👧", "N/A", "none"]
)
def test_a_label_has_the_form_of_its_spellings(label):
    assert label_form(label) == label_form(f" {label}".replace("e", "E"))


def write(tmp_path, name, text, encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def config(path, **changes):
    return TableConfig(**{"path": path, "inputs": ["text"], "label": "kind"} | changes)


def read(path, **changes):
    found = read_tables(config(path, **changes))
    return [(i.fields["text"], i.fields["kind"]) for i in found.items["train"]], found


def test_a_line_separator_in_an_unquoted_cell_stays_in_its_row(tmp_path):
    path = write(tmp_path, "t.csv", "text,kind\none\u2028two,a\nx\x85y,b\n")

    assert read(path)[0] == [("one\u2028two", "a"), ("x\x85y", "b")]


def test_a_delimiter_is_detected_by_the_columns_and_told(tmp_path):
    # More commas than semicolons: only the columns say which of them is the delimiter.
    path = write(tmp_path, "t.csv", 'text;kind;"a,b,c,d"\nx, y, z;a;1\nu;b;2\n')
    found, table = read(path)

    assert found == [("x, y, z", "a"), ("u", "b")]
    assert "delimiter ';'" in table.notes
    assert read(write(tmp_path, "u.csv", "text,kind\nx;y,a\nu,b\n"))[1].notes.endswith("u.csv")


def test_a_delimiter_can_be_set(tmp_path):
    path = write(tmp_path, "t.csv", "text^kind\nx,y^a\nu^b\n")

    assert read(path, delimiter="^")[0] == [("x,y", "a"), ("u", "b")]
    with pytest.raises(
        DataError, match=r"line 2 of .* the header has 1 \(text\^kind\).* or set delimiter"
    ):
        read(path)
    with pytest.raises(DataError, match="is jsonl, which has no delimiter"):
        read(write(tmp_path, "t.jsonl", "{}"), delimiter=";")


def test_an_encoding_is_taken_from_the_mark_or_the_setting(tmp_path):
    utf16 = write(tmp_path, "t.tsv", "text\tkind\nä\ta\nx\tb\n", "utf-16")
    latin = write(tmp_path, "t.csv", "text,kind\nx,a\nä,b\n", "cp1252")

    assert read(utf16)[0] == [("ä", "a"), ("x", "b")]
    assert "encoding 'utf-16'" in read(utf16)[1].notes
    assert read(latin, encoding="cp1252")[0] == [("x", "a"), ("ä", "b")]
    with pytest.raises(DataError, match=r"cannot be read as utf-8 \(line 3\); set encoding"):
        read(latin)
    with pytest.raises(DataError, match=r"encoding 'cp12' .* is not known"):
        read(latin, encoding="cp12")


def test_the_line_in_a_message_is_the_line_of_the_file(tmp_path):
    text = '\n\ntext,"ki\nnd"\n\n"two\r\nlines",a\n\nx,\n'

    with pytest.raises(
        DataError, match=r"line 9 of .*t\.csv has an empty label in column 'ki.nnd'"
    ):
        read(write(tmp_path, "t.csv", text), label="ki\nnd")
    text = '\ntext,kind\n"two\nlines",a\nx,b\ny,c,d\n'
    with pytest.raises(DataError, match=r"line 6 of .* has 3 cells where the header has 2"):
        read(write(tmp_path, "u.csv", text))


def test_rows_without_any_value_are_blank_lines(tmp_path):
    path = write(tmp_path, "t.csv", "text,kind,\nx,a,\n,,\ny,b,\n")

    assert read(path)[0] == [("x", "a"), ("y", "b")]


def test_a_cell_may_be_longer_than_the_limit_of_the_csv_module(tmp_path):
    long = "x" * (csv.field_size_limit() + 1)
    before = csv.field_size_limit()

    assert read(write(tmp_path, "t.csv", f"text,kind\n{long},a\ny,b\n"))[0][0] == (long, "a")
    assert csv.field_size_limit() == before


def test_a_header_with_spaces_or_another_normal_form_is_found(tmp_path):
    path = write(tmp_path, "t.csv", "text, e\u0301tat\nx,a\ny,b\n")

    assert len(read_tables(config(path, label="\u00e9tat")).items["train"]) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "text,kind,kind\nx,a,b\n", "columns 2 and 3 of .*t.csv are both called 'kind'"),
        ("t.jsonl", '{"text": "x", "kind": "a", "kind": "b"}', "line 1 of .* the key 'kind' twice"),
        ("t.jsonl", '\n{"text": "x",\n"kind": "a"}', "line 2 of .*t.jsonl is not JSON"),
        ("t.jsonl", '[{"text": "x"}]', "line 1 of .* is not a JSON object but list"),
        ("t.parquet", "text", "t.parquet cannot be read as Parquet"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, name, text))


def test_a_file_that_is_not_there_and_an_unknown_suffix_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv cannot be read: No such file"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"rows\.txt ends in none of \.csv"):
        read_rows(tmp_path / "rows.txt")
    path = write(tmp_path, "rows.txt", "text\nx\n")
    assert read_rows(path, form="csv").values == ({"text": "x"},)


@pytest.mark.parametrize("value", ["NaN", "null"])
@pytest.mark.parametrize("column", ["text", "kind"])
def test_a_missing_value_of_jsonl_is_named(tmp_path, value, column):
    row = {"text": '"x"', "kind": '"a"'} | {column: value}
    line = ", ".join(f'"{key}": {entry}' for key, entry in row.items())
    path = write(tmp_path, "t.jsonl", '{"text": "y", "kind": "b"}\n{' + line + "}")

    with pytest.raises(DataError, match=f"line 2 of .*t.jsonl has .* in column '{column}'; fill"):
        read(path)


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA], ids=["None", "NaN", "NA"])
@pytest.mark.parametrize("column", ["text", "kind"])
def test_a_missing_value_of_parquet_is_named(tmp_path, value, column):
    values = {"text": [1.5, 2.5], "kind": [0.0, 1.0]}
    values[column] = [0.5, value]
    path = tmp_path / "t.parquet"
    pd.DataFrame(values, dtype="Float64").to_parquet(path)

    with pytest.raises(DataError, match=rf"row 1 of .*t.parquet \(from 0\) has .*'{column}'"):
        read(path)


def test_numbers_of_jsonl_keep_their_text(tmp_path):
    lines = '{"text": 1.50, "kind": 1.0}\n{"text": [1, 2.50, {"a": null}], "kind": 1}\n'
    found, table = read(write(tmp_path, "t.jsonl", lines))

    assert found == [("1.50", "1.0"), ('[1, 2.5, {"a": null}]', "1")]
    assert table.labels == ("1", "1.0")


def test_numbers_of_csv_keep_their_text(tmp_path):
    found, _ = read(write(tmp_path, "t.csv", "text,kind\n1e3,01\nNA,1.50\ntrue,1.5\n"))

    assert found == [("1e3", "01"), ("NA", "1.50"), ("true", "1.5")]


def test_types_of_parquet_become_text(tmp_path):
    frame = pd.DataFrame(
        {
            "day": [datetime.date(2026, 1, 2), datetime.date(2026, 1, 3)],
            "time": pd.to_datetime(["2026-01-02 03:04", "2026-01-03 00:00"]),
            "price": [Decimal("1.50"), Decimal("2.00")],
            "list": [[1, 2], [3]],
            "flag": [True, False],
            "count": pd.array([1, None], dtype="Int64"),
        }
    )
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    found = read_tables(config(path, inputs=["day", "time", "price", "list"], label="flag"))

    assert dict(found.items["train"][0].fields) == {
        "day": "2026-01-02",
        "time": "2026-01-02T03:04:00",
        "price": "1.50",
        "list": "[1, 2]",
        "flag": "true",
    }
    assert json.dumps([dict(item.fields) for item in found.items["train"]])
    with pytest.raises(DataError, match=r"row 1 of .* has no value|row 1 of .*<NA>"):
        read_tables(config(path, inputs=["count"], label="flag"))


def test_an_index_of_pandas_is_a_column(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"text": ["x", "y"]}, index=pd.Index(["a", "b"], name="kind")).to_parquet(path)

    assert read(path)[0] == [("x", "a"), ("y", "b")]


def test_bytes_are_no_text(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"text": [b"x", b"y"], "kind": ["a", "b"]}).to_parquet(path)

    with pytest.raises(DataError, match=r"row 0 of .* has a value of type bytes in column 'text'"):
        read(path)


def test_labels_are_trimmed_and_unified_and_told(tmp_path, caplog):
    text = 'text,kind\nx,red\ny,"red "\nz,caf\u00e9\nu,cafe\u0301\nv,\ufeffred\n'
    found, table = read(write(tmp_path, "t.csv", text))

    assert table.labels == ("caf\u00e9", "red")
    assert [label for _, label in found] == ["red", "red", "caf\u00e9", "caf\u00e9", "red"]
    assert "3 labels had spaces around them" in caplog.text
    assert "'red ' in line 3 of" in caplog.text


def test_spellings_of_one_label_are_named_with_their_lines(tmp_path):
    path = write(
        tmp_path, "t.csv", 'text,kind\nx,red\ny,"red "\nz,Red\nu,blue\nv,dark  blue\nw,dark blue\n'
    )

    with pytest.raises(DataError, match="differ only in case, width or spaces") as caught:
        read(path)
    said = str(caught.value)
    assert "'Red' (line 4 of" in said
    assert "'red' (line 2 of" in said
    assert "'dark  blue' (line 6" in said
    assert "'blue' (" not in said


def test_spellings_that_are_all_listed_are_labels(tmp_path):
    path = write(tmp_path, "t.csv", "text,kind\nx,C\ny,c\n")

    assert read(path, labels=["C", "c"])[1].labels == ("C", "c")


def test_a_label_outside_of_the_set_is_named_with_its_line(tmp_path):
    path = write(tmp_path, "t.csv", "text,kind\nx,a\ny,Bus\nz,bus\n")

    with pytest.raises(
        DataError, match=r"line 3 of .* has the label 'Bus' in column 'kind'.*mean 'bus'"
    ):
        read(path, labels=["a", " bus"])


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        (None, True),
        (float("nan"), True),
        (np.float32("nan"), True),
        (Decimal("NaN"), True),
        (Decimal("sNaN"), True),
        (pd.NA, True),
        (pd.NaT, True),
        ("nan", False),
        ("", False),
        (0, False),
        (np.array([1, 2]), False),
        ([], False),
    ],
    ids=repr,
)
def test_what_is_missing(value, missing):
    assert is_missing(value) is missing


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int64(3), "3"),
        (np.bool_(True), "true"),
        (np.float64(1.5), "1.5"),
        (np.array([1, 2]), "[1, 2]"),
        (Decimal("1.50"), "1.50"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        ({"a": [None, datetime.time(1)]}, '{"a": [null, "01:00:00"]}'),
    ],
)
def test_the_text_of_a_value(value, text):
    assert text_of(value) == text


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    assert [row for _, row in parse_jsonl('\ufeff{"id": 1}\n', "x")] == [{"id": 1}]

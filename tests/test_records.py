"""JSONL and CSV rows, and where they stand."""

import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.records import read_records


def test_jsonl_keeps_line_numbers_over_blank_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n\n{"x": "line\u2028separator"}\n', encoding="utf-8")
    first, second = read_records(path)
    assert (first.fields, second.fields) == ({"x": 1}, {"x": "line\u2028separator"})
    assert second.place == f"{path}, line 3"
    assert not first.textual


def test_csv_keeps_line_numbers_over_cells_with_line_ends(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('x,y\r\n"two\nlines",1\r\n"comma, inside",2\r\n', newline="")
    first, second = read_records(path)
    assert first.fields == {"x": "two\nlines", "y": "1"}
    assert second.fields == {"x": "comma, inside", "y": "2"}
    assert (first.place, second.place) == (f"{path}, line 2", f"{path}, line 4")
    assert first.textual


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"x": 1}\n{"x": }', r"a\.jsonl, line 2: the line is not valid JSON"),
        ("a.jsonl", "[1]", r"line 1: the line holds a JSON list"),
        ("a.jsonl", "\n", "holds no rows"),
        ("a.csv", "x,y\n1", r"line 2: the row has 1 cells, but the header has 2"),
        ("a.csv", "x,x\n1,2", "a column stands twice"),
        ("a.csv", 'x\n"open', r"a\.csv, line 2: the row is not valid CSV"),
        ("a.csv", "x\n", "holds no rows"),
        ("a.txt", "x", r"ends in '\.txt'"),
    ],
)
def test_broken_files_are_explained(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_records(tmp_path / name)

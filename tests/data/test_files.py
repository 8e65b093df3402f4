"""Files of every kind: separators, encodings, lines before the header, and what is no table."""

import gzip
import io
import re
import sys

import pandas as pd
import pytest

from metamix.data.files import ENDINGS, read_file
from metamix.data.frames import TableError

ROWS = [["area", "city"], ["1.5", "Rome, Lazio"], ["-2", "Größe"], ["", 'say "so"\nand so']]
FRAME = pd.DataFrame(ROWS[1:], columns=ROWS[0])


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_is_read_as_it_was_written(tmp_path, separator, encoding, newline):
    text = FRAME.to_csv(index=False, sep=separator, lineterminator=newline)
    table = read_file(written(tmp_path / "a.csv", text, encoding))
    pd.testing.assert_frame_equal(table.frame, FRAME, check_dtype=False, check_column_type=False)
    assert table.decimal == ("," if separator == ";" else ".")
    assert any("Latin-1" in note for note in table.notes) == (encoding == "latin-1")
    assert any("UTF-16" in note for note in table.notes) == (encoding == "utf-16")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.jsonl", "a.parquet", "a.feather", "a.xlsx", "A.CSV"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_of_file_is_read_gzipped_too(tmp_path, name, packed):
    frame = pd.DataFrame({"area": [1.5, 2.0], "city": ["Rome", "NA"], "n": [1, 2]})
    data, ending = io.BytesIO(), name[1:].lower()
    if ending in (".csv", ".txt", ".tsv"):
        data.write(frame.to_csv(index=False, sep="\t" if ending == ".tsv" else ",").encode())
    elif ending == ".jsonl":
        data.write(frame.to_json(orient="records", lines=True).encode())
    elif ending == ".xlsx":
        pytest.importorskip("openpyxl")
        frame.to_excel(data, index=False)
    else:
        getattr(frame, f"to_{ending[1:]}")(data)
    content = data.getvalue()
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_file(path).frame
    expected = frame.astype(str) if ending in (".csv", ".txt", ".tsv") else frame
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_column_type=False)


def test_standard_input_is_csv(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    assert read_file("-").frame.to_dict("list") == {"a": ["1"], "b": ["2"]}


def test_lines_before_the_header_are_left_out_and_that_is_said(tmp_path):
    text = "# exported 2024-03-01\nAll houses\n\narea,beds,price\n1,2,3\n4,5,6\n7,8,9\n"
    table = read_file(written(tmp_path / "a.csv", text))
    assert table.frame.to_dict("list") == {"area": ["1", "4", "7"], "beds": ["2", "5", "8"], "price": ["3", "6", "9"]}
    assert any("3 line(s) before the header" in note and "exported" in note for note in table.notes)


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_the_line_of_a_spreadsheet_names_the_separator(tmp_path, separator):
    text = f"sep={separator}\na{separator}b\n1{separator}2\n"
    assert read_file(written(tmp_path / "a.csv", text)).frame.to_dict("list") == {"a": ["1"], "b": ["2"]}


def test_columns_of_one_name_get_others_and_that_is_said(tmp_path):
    table = read_file(written(tmp_path / "a.csv", "a,a,,b,\n1,2,3,4,5\n"))
    assert list(table.frame.columns) == ["a", "a.2", "", "b", "column.2"]
    assert len(table.notes) == 2
    assert "'a'" in table.notes[0]


BAD = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n", "header|no lines|no rows"),
    "header.csv": (b"a,b\n", "no rows"),
    "long.csv": (b"a,b\n1,2\n3,4\n5,6,7\n8,9\n", "line 4 has 3 fields, the header has 2"),
    "short.csv": (b"a,b,c\n1,2,3\n4,5,6\n7,8\n", "line 4 has 2 fields, the header has 3"),
    "spreadsheet.csv": (b"sep=;\na;b\n1;2\n3\n5;6\n", "line 4 has 1 fields"),
    "quoted.csv": (b'a,b\n"1\n1",2\n"3\n3",4\n5,6,7\n', "line 6 has 3 fields"),
    "rubbish.csv": (bytes(range(256)) * 20, "not text"),
    "zeros.csv": (b"\0" * 100, "not text"),
    "rubbish.parquet": (b"PAR1 no", "cannot be read as .parquet"),
    "rubbish.xlsx": (b"PK no", "cannot be read as .xlsx"),
    "rubbish.jsonl": (b"{]", "cannot be read as .jsonl"),
    "rubbish.csv.gz": (b"no gzip", "cannot be read"),
    "table.doc": (b"a", "unknown kind"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_gives_one_line_with_the_remedy(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        read_file(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_missing_files_folders_and_names(tmp_path):
    written(tmp_path / "houses.csv", "a,b\n1,2\n")
    with pytest.raises(TableError, match=r"did you mean .*houses\.csv"):
        read_file(tmp_path / "house.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_file(tmp_path)
    with pytest.raises(TableError, match="no folder"):
        read_file(tmp_path / "no" / "a.csv")
    with pytest.raises(TableError, match="no encoding 'utf-9'"):
        read_file(tmp_path / "houses.csv", encoding="utf-9")
    with pytest.raises(TableError, match="not text in ascii"):
        read_file(written(tmp_path / "b.csv", "ä,b\n1,2\n"), encoding="ascii")


def test_a_file_that_memory_cannot_hold_is_refused_by_its_size(tmp_path):
    path = tmp_path / "big.csv"
    with path.open("wb") as stream:
        stream.truncate(100 * 10**9)  # a hole: it takes no space
    with pytest.raises(TableError, match=r"has 100 GB.*give a sample"):
        read_file(path)


def test_every_ending_is_documented():
    found = set(re.findall(r"\.(?!gz)[a-z]{3,}", read_file.__doc__.split("Parameters")[1].split("separator")[0]))
    assert found == set(ENDINGS)


def test_row_names_without_a_name_in_the_header_are_a_column(tmp_path):
    table = read_file(written(tmp_path / "a.csv", 'area,price\n"1",5,6\n"2",7,8\n"3",9,9\n'))
    assert list(table.frame.columns) == ["", "area", "price"]
    assert table.frame["area"].tolist() == ["5", "7", "9"]


HOUSES = {"area": ["5", "7", "9"], "price": ["6", "8", "4"]}


@pytest.mark.parametrize(
    "text",
    [
        "area,price\n5,6,\n7,8,\n9,4,\n",  # a separator at the end of rows
        "area,price,\n5,6\n7,8\n9,4\n",  # or of the header
        "area,price,,\n5,6,,\n7,8,,\n9,4,,\n",
        ",,\narea,price,\n5,6,\n7,8,\n9,4,\n",
        "# units: m, EUR\narea,price\n5,6\n7,8\n9,4\n",  # a comment with as many fields
        "\ufeffarea,price\n5,6\n7,8\n9,4\n",
        "area,price\n5,6\n7,8\n9,4\n\x1a",
    ],
)
def test_the_header_is_found_and_no_column_is_shifted(tmp_path, text):
    frame = read_file(written(tmp_path / "a.csv", text), encoding="utf-8").frame
    assert {name: column for name, column in frame.to_dict("list").items() if any(column)} == HOUSES


def test_utf_16_without_a_mark_is_recognised(tmp_path):
    for encoding in ("utf-16-le", "utf-16-be"):
        table = read_file(written(tmp_path / "a.csv", "area,price\n5,6\n7,8\n9,4\n", encoding))
        assert table.frame.to_dict("list") == HOUSES


def test_columns_of_an_array_are_named_by_number_as_pandas_writes_them(tmp_path):
    written(tmp_path / "a.csv", "0,1\n5,6\n7,8\n9,4\n")
    assert list(read_file(str(tmp_path / "a.csv")).frame) == ["0", "1"]


@pytest.mark.parametrize("text", ["1.5,2\n3,4\n5,6\n", "a\n0,5\n1,5\n2,25\n", "a,b\n1,5,2\n2,5,3\n7,5,4\n"])
def test_a_file_whose_rows_do_not_fit_its_header_is_refused(tmp_path, text):
    with pytest.raises(TableError, match=r"has no header|is not a table"):
        read_file(written(tmp_path / "a.csv", text))


def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path):
    rows = [f"{i},{i * 7 % 11},ok" for i in range(30)]
    rows[20] = '20,3,"5 inch'
    with pytest.raises(TableError, match="a quote is opened in line 22 and closed nowhere"):
        read_file(written(tmp_path / "a.csv", "\n".join(["x,y,note", *rows])))
    rows[20], rows[-1] = '20,3,"two\nlines"', '29,5,"the end"'
    assert len(read_file(written(tmp_path / "a.csv", "\n".join(["x,y,note", *rows]))).frame) == 30


@pytest.mark.parametrize("header", ["#,Name,Total,y", "# of rooms,Name,Total,y", ",Name,,y"])
def test_headers_that_look_like_comments(header, tmp_path):
    text = header + "".join(f"\n{i},Name{i},{i}.5,{i * 3 % 7}" for i in range(1, 30))
    frame = read_file(written(tmp_path / "a.csv", text)).frame
    assert len(frame) == 29
    assert frame.columns[1] == "Name"
    commented = read_file(written(tmp_path / "b.csv", "# made in May\n# by us, with care\n" + text)).frame
    assert list(commented) == list(frame)


@pytest.mark.parametrize("write", [pd.DataFrame.to_parquet])
def test_an_index_with_a_name_is_a_column(write, tmp_path):
    frame = pd.DataFrame({"city": ["Rome", "Oslo"], "x": [1.0, 2.0]})
    write(frame.set_index("city"), tmp_path / "t.parquet")
    table = read_file(str(tmp_path / "t.parquet"))
    assert table.frame["city"].tolist() == ["Rome", "Oslo"]
    assert table.notes == ("The index 'city' is a column.",)


def test_blank_lines_are_no_rows_and_a_damaged_archive_is_refused(tmp_path):
    table = read_file(written(tmp_path / "a.csv", "a;b;y\n1;2;3\n   \n;;\n4;5;6\n"))
    assert table.frame["y"].tolist() == ["3", "6"]
    packed = bytearray(gzip.compress(b"a,y\n" + b"1,2\n" * 500))
    packed[20:40] = b"\xff" * 20
    (tmp_path / "a.csv.gz").write_bytes(bytes(packed))
    with pytest.raises(TableError, match="cannot be read"):
        read_file(str(tmp_path / "a.csv.gz"))

"""Reading files: each format, and that one bad line never costs the others."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from streams.publish.files import (
    BadLine,
    Header,
    Line,
    Reading,
    UnreadableFile,
    read_lines,
    sniff_delimiter,
)

NOTHING = io.BytesIO()


def _lines(path: Path) -> list[Line | BadLine]:
    return list(read_lines(path, NOTHING))


def _bytes(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


def test_a_csv_file_with_semicolons_and_quotes_is_read(tmp_path: Path) -> None:
    path = _bytes(tmp_path, b'\xef\xbb\xbf"id";"name, long"\r\n1;"a;""b"\r\n\r\n2;"two\nlines"\r\n3;c\r\n')
    rows = [(line.number, line.row) for line in _lines(path) if isinstance(line, Line)]
    assert rows == [
        (2, {"id": "1", "name, long": 'a;"b'}),
        (5, {"id": "2", "name, long": "two\nlines"}),
        (6, {"id": "3", "name, long": "c"}),
    ]


def test_bad_lines_of_a_csv_file_are_told_by_number_and_the_others_are_read(tmp_path: Path) -> None:
    lines = _lines(_bytes(tmp_path, b"a,b\n1,2\n3\n4,\xff\n5,6\n"))
    assert [line.number for line in lines] == [2, 3, 4, 5]
    assert [type(line) for line in lines] == [Line, BadLine, BadLine, Line]
    assert isinstance(lines[1], BadLine)
    assert lines[1].message == "has 1 column, the header has 2"
    assert isinstance(lines[2], BadLine)
    assert "is not UTF-8 text: name the encoding" in lines[2].message


def test_json_lines_are_told_from_csv_by_their_first_letter(tmp_path: Path) -> None:
    lines = _lines(_bytes(tmp_path, b'{"a": 1}\n\n{"a": \n[1]\n{"a": {"b": null}}\n'))
    assert [line.number for line in lines] == [1, 3, 4, 5]
    assert [type(line) for line in lines] == [Line, BadLine, BadLine, Line]
    assert lines[3] == Line(5, {"a": {"b": None}}, '{"a": {"b": null}}\n')


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1}, {"a": 2}]', '{\n "next": null, "rows": [{"a": 1}, {"a": 2}]}', '{\n"a": 1}\n{\n"a": 2}'],
    ids=["array", "array in an object", "objects over several lines"],
)
def test_a_json_document_is_read(text: str, tmp_path: Path) -> None:
    assert _lines(_bytes(tmp_path, text.encode())) == [Line(1, {"a": 1}), Line(2, {"a": 2})]


def test_a_json_object_with_several_arrays_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"several arrays .a, b.; choose one, for example with jq -c '.a\[\]'"):
        _lines(_bytes(tmp_path, b'{\n"a": [], "b": []}'))


def test_compression_is_told_from_the_bytes_and_not_from_the_name(tmp_path: Path) -> None:
    assert _lines(_bytes(tmp_path, gzip.compress(b"a\n1\n"))) == [Line(2, {"a": "1"}, "1\n")]


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 20_000, 1)
    with pytest.raises(UnreadableFile, match="damaged"):
        _lines(_bytes(tmp_path, whole[: len(whole) // 2]))


def test_parquet_is_read_with_its_own_types_from_a_file_and_from_a_pipe(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "file"
    parquet.write_table(pa.table({"a": [1, None], "b": ["x", "y"]}), path)
    expected = [Line(1, {"a": 1, "b": "x"}), Line(2, {"a": None, "b": "y"})]
    assert _lines(path) == expected
    assert list(read_lines(None, io.BytesIO(path.read_bytes()))) == expected


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        _lines(tmp_path / "absent.csv")
    with pytest.raises(UnreadableFile, match="is empty"):
        _lines(_bytes(tmp_path, b""))


def test_progress_reaches_the_size_of_the_file(tmp_path: Path) -> None:
    path = _bytes(tmp_path, b"a\n" + b"1\n" * 100_000)
    told: list[int] = []
    assert sum(1 for _ in read_lines(path, NOTHING, told.append)) == 100_000
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size


@pytest.mark.parametrize(
    "header, delimiter", [("a,b", ","), ('"a,b,c";d', ";"), ("a\tb", "\t"), ("a", ","), ("a|b|c", "|"), ("a  b", " ")]
)
def test_the_delimiter_is_the_one_most_frequent_outside_quotes(header: str, delimiter: str) -> None:
    assert sniff_delimiter(header) == delimiter


def test_a_table_separated_by_spaces_is_read(tmp_path: Path) -> None:
    lines = _lines(_bytes(tmp_path, b'user_id   amount  text\nann    12.50   "a  b"\n  bob  7   c  \n'))
    assert [line.row for line in lines if isinstance(line, Line)] == [
        {"user_id": "ann", "amount": "12.50", "text": "a  b"},
        {"user_id": "bob", "amount": "7", "text": "c"},
    ]


def test_a_named_encoding_and_utf_16_are_read_and_another_encoding_is_told(tmp_path: Path) -> None:
    table = "id,straße\n1,Köln\n"
    row = Line(2, {"id": "1", "straße": "Köln"}, "1,Köln\n")
    assert list(read_lines(_bytes(tmp_path, table.encode("cp1252")), NOTHING, reading=Reading("cp1252"))) == [row]
    assert _lines(_bytes(tmp_path, table.encode("utf-16"))) == [row]
    with pytest.raises(UnreadableFile, match="the header is not UTF-8 text: name the encoding of the file with --enc"):
        _lines(_bytes(tmp_path, table.encode("cp1252")))
    with pytest.raises(UnreadableFile, match="--encoding utf-16-le"):
        _lines(_bytes(tmp_path, table.encode("utf-16-le")))


def test_lines_above_the_header_and_the_line_that_names_the_separator_are_skipped(tmp_path: Path) -> None:
    path = _bytes(tmp_path, b"Account;X\n\nsep=|\na|b;c\n1|2\n")
    headers: list[Header] = []
    lines = list(read_lines(path, NOTHING, reading=Reading(skip_lines=2), header=headers.append))
    assert lines == [Line(5, {"a": "1", "b;c": "2"}, "1|2\n")]
    assert headers == [Header(["a", "b;c"], "Account;X\n\nsep=|\na|b;c\n", "utf-8-sig")]


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    with pytest.raises(UnreadableFile, match="the header has the column 'Amount' twice"):
        _lines(_bytes(tmp_path, b"Amount,Date, Amount\n1,2,3\n"))
    table = tmp_path / "twice.parquet"
    parquet.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), table)
    with pytest.raises(UnreadableFile, match="the column 'a' twice"):
        _lines(table)
    (line,) = _lines(_bytes(tmp_path, b'{"a": 1, "a": 2}\n'))
    assert isinstance(line, BadLine)
    assert line.message == "has the name 'a' twice in one object"


@pytest.mark.parametrize(
    "data, says",
    [
        (b"PK\x03\x04rest", "Excel workbook .xlsx.: unpack the archive, or save the sheet as CSV UTF-8"),
        (b"\x28\xb5\x2f\xfdrest", "zstd -dc FILE | rescore publish -"),
        (b"BZh91AY", "bzip2 -dc"),
        (b"%PDF-1.4", "a PDF"),
        (b"OFXHEADER:100\nDATA:OFXSGML", "OFX: ask the bank for CAMT.053"),
        (b'<?xml version="1.0"?>\n<?OFX OFXHEADER="200"?>', "OFX: ask the bank for CAMT.053"),
        (b"!Type:Bank\nD11/20/2026", "QIF: ask the bank for CAMT.053"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"<root/>", "XML, but not CAMT"),
        (b"Obj\x01", "an Avro file"),
    ],
)
def test_a_format_that_is_not_read_is_told_by_its_first_bytes_with_what_to_do(
    data: bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableFile, match=says.replace("|", r"\|")):
        _lines(_bytes(tmp_path, data))
    with pytest.raises(UnreadableFile):
        _lines(_bytes(tmp_path, gzip.compress(data)))

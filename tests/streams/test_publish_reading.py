"""Reading files: each format, and that one bad line never costs the others."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from streams.publish_reading import (
    BadLine,
    Line,
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
    assert lines[1].message == "has 1 columns, the header has 2"
    assert isinstance(lines[2], BadLine)
    assert lines[2].message == "is not UTF-8 text"


def test_json_lines_are_told_from_csv_by_their_first_letter(tmp_path: Path) -> None:
    lines = _lines(_bytes(tmp_path, b'{"a": 1}\n\n{"a": \n[1]\n{"a": {"b": null}}\n'))
    assert [line.number for line in lines] == [1, 3, 4, 5]
    assert [type(line) for line in lines] == [Line, BadLine, BadLine, Line]
    assert lines[3] == Line(5, {"a": {"b": None}})


def test_a_json_array_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="jq -c"):
        _lines(_bytes(tmp_path, b'[{"a": 1}]'))


def test_compression_is_told_from_the_bytes_and_not_from_the_name(tmp_path: Path) -> None:
    assert _lines(_bytes(tmp_path, gzip.compress(b"a\n1\n"))) == [Line(2, {"a": "1"})]


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
    "header, delimiter", [("a,b", ","), ('"a,b,c";d', ";"), ("a\tb", "\t"), ("a", ","), ("a|b|c", "|")]
)
def test_the_delimiter_is_the_one_most_frequent_outside_quotes(header: str, delimiter: str) -> None:
    assert sniff_delimiter(header) == delimiter

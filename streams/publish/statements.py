"""Bank statements as rows: CAMT.052, .053 and .054 (ISO 20022, XML) and MT940 (SWIFT), one row for each booked entry.

A row has our own names where a statement says the same thing: `transaction_amount` with its sign,
`transaction_currency`, `transaction_date`, `transaction_state` and `description`. Only the bank knows whose account it
is: `user_id` has to be mapped. If a statement has its opening and its closing balance, its entries must add up to the
difference.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any, cast
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from xml.parsers import expat

from streams.publish.formats import BadLine, Line, UnreadableFile

CHUNK = 1 << 16
CAMT_COLUMNS = [
    "account", "transaction_amount", "transaction_currency", "transaction_date", "transaction_state", "value_date",
    "description", "reference", "end_to_end_id", "counterparty", "code",
]  # fmt: skip
MT940_COLUMNS = [
    "account", "transaction_amount", "transaction_currency", "transaction_date", "transaction_state", "value_date",
    "description", "reference", "customer_reference", "code",
]  # fmt: skip
STATES = {"BOOK": "SUCCEEDED", "PDNG": "PENDING"}
STATEMENTS = ("Stmt", "Rpt", "Ntfctn")
OPENING, CLOSING = ("OPBD", "PRCD"), ("CLBD",)


class _Guard:
    """Refuses a document type, which no statement has and every attack with entities needs, before it is parsed."""

    def __init__(self) -> None:
        self._parser: Any = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._begun
        self._open = True

    def _refuse(self, *_declaration: Any) -> None:
        raise UnreadableFile("it declares a document type, which no bank statement does; entities are not expanded")

    def _begun(self, *_element: Any) -> None:
        self._open = False  # a document type can only stand before the first element

    def look(self, chunk: bytes) -> None:
        """Look at the next bytes, as long as no element has begun."""
        if self._open:
            with contextlib.suppress(expat.ExpatError):  # the parser proper says it better
                self._parser.Parse(chunk, False)


@dataclass(slots=True)
class _Statement:
    """What holds for all entries of a statement, and their sum so far."""

    account: str = ""
    currency: str = ""
    opening: Decimal | None = None
    closing: Decimal | None = None
    total: Decimal = Decimal(0)
    whole: bool = True  # every entry could be read

    def difference(self) -> str | None:
        """What is wrong with the balances; None if nothing is, or if they are not both there."""
        if not self.whole or self.opening is None or self.closing is None:
            return None
        if self.opening + self.total == self.closing:
            return None
        return (
            f"the entries of this statement add up to {self.total}, its balances ({self.opening} and {self.closing}) "
            f"to {self.closing - self.opening}: entries are missing or damaged"
        )


def camt_rows(file: IO[bytes], name: str) -> Iterator[Line | BadLine]:
    """Rows of a CAMT file; their numbers count the entries. Raises UnreadableFile. Memory: one entry at a time."""
    parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
    guard = _Guard()
    number, statement = 0, _Statement()
    path: list[str] = []
    try:
        while chunk := file.read(CHUNK):
            guard.look(chunk)
            parser.feed(chunk)
            for event, element in cast("Iterator[tuple[str, Element]]", parser.read_events()):
                tag = _tag(element)
                if event == "start":
                    path.append(tag)
                    statement = _Statement() if tag in STATEMENTS else statement
                    continue
                path.pop()
                if tag == "Ntry":
                    number += 1
                    yield _camt_entry(element, statement, number, name)
                    element.clear()
                elif tag == "Acct" and path and path[-1] in STATEMENTS:
                    statement.account = _text(element, "Id/IBAN") or _text(element, "Id/Othr/Id") or ""
                elif tag == "Bal":
                    _camt_balance(element, statement)
                elif tag == "Stmt" and (wrong := statement.difference()):
                    yield BadLine(name, number, wrong)
        parser.close()
    except ParseError as error:
        raise UnreadableFile(f"{name} is not well-formed XML: {error}") from None
    except UnreadableFile as error:
        raise UnreadableFile(f"{name}: {error}") from None


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _found(element: Element, path: str) -> Element | None:
    """The first element at a path, in whatever namespace."""
    at: Element | None = element
    for step in path.split("/"):
        at = at.find(f"{{*}}{step}") if at is not None else None
    return at


def _text(element: Element, *paths: str) -> str | None:
    """The text at the first of the paths that has one."""
    for path in paths:
        found = _found(element, path)
        if found is not None and found.text and found.text.strip():
            return found.text.strip()
    return None


def _signed(element: Element) -> Decimal:
    """The amount of an entry or a balance: minus for a debit. Raises ValueError."""
    written, mark = _text(element, "Amt") or "", _text(element, "CdtDbtInd")
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{0,17})?", written):
        raise ValueError(f"Amt is {written!r}, not an amount")
    if mark not in ("CRDT", "DBIT"):
        raise ValueError(f"CdtDbtInd is {mark!r}, neither CRDT nor DBIT")
    return -Decimal(written) if mark == "DBIT" else Decimal(written)


def _camt_balance(element: Element, statement: _Statement) -> None:
    code = _text(element, "Tp/CdOrPrtry/Cd")
    try:
        if code in OPENING:
            statement.opening = _signed(element)
        elif code in CLOSING:
            statement.closing = _signed(element)
    except ValueError:
        statement.whole = False


def _camt_entry(entry: Element, statement: _Statement, number: int, name: str) -> Line | BadLine:
    state = _text(entry, "Sts/Cd", "Sts") or ""
    row: dict[str, Any] = {
        "account": statement.account or None,
        "transaction_amount": None,
        "transaction_currency": None,
        "transaction_date": _text(entry, "BookgDt/DtTm", "BookgDt/Dt", "ValDt/DtTm", "ValDt/Dt"),
        "transaction_state": STATES.get(state),
        "value_date": _text(entry, "ValDt/Dt", "ValDt/DtTm"),
        "description": _camt_description(entry),
        "reference": _text(entry, "AcctSvcrRef", "NtryRef", "NtryDtls/TxDtls/Refs/AcctSvcrRef"),
        "end_to_end_id": _text(entry, "NtryDtls/TxDtls/Refs/EndToEndId"),
        "counterparty": None,
        "code": _text(entry, "BkTxCd/Domn/Fmly/SubFmlyCd", "BkTxCd/Prtry/Cd"),
    }
    amount_element = _found(entry, "Amt")
    row["transaction_currency"] = amount_element.get("Ccy") if amount_element is not None else None
    try:
        row["transaction_amount"] = amount = _signed(entry)
    except ValueError as error:
        statement.whole = False
        return BadLine(name, number, str(error), row=row)
    if state and state not in STATES:
        return BadLine(name, number, f"the entry has the status {state!r}; only BOOK and PDNG are money", row=row)
    other = "Cdtr" if amount < 0 else "Dbtr"
    parties = f"NtryDtls/TxDtls/RltdPties/{other}"
    row["counterparty"] = _text(entry, f"{parties}/Nm", f"{parties}/Pty/Nm")
    if state != "PDNG":
        statement.total += amount
    return Line(number, row)


def _camt_description(entry: Element) -> str | None:
    words = [one.text.strip() for one in entry.iterfind(".//{*}RmtInf/{*}Ustrd") if one.text and one.text.strip()]
    return " ".join(words) or _text(entry, "AddtlNtryInf", "NtryDtls/TxDtls/AddtlTxInf")


_FIELD = re.compile(r":([0-9]{2}[A-Z]?|NS):(.*)")
_ENTRY = re.compile(
    r"(?P<value>[0-9]{6})(?P<booked>[0-9]{4})?(?P<mark>RC|RD|C|D)(?P<funds>[A-Z])?(?P<amount>[0-9]{1,15},[0-9]{0,5})"
    r"(?P<code>[A-Z][A-Z0-9]{3})(?P<customer>(?:(?!//).)*)(?://(?P<bank>.*))?"
)
_BALANCE = re.compile(r"([CD])([0-9]{6})([A-Z]{3})([0-9]{1,15},[0-9]{0,5})")


def mt940_rows(text: str, name: str, skipped: int = 0) -> Iterator[Line | BadLine]:
    """Rows of an MT940 file, numbered by the line of their :61:. The details of :86: are the description."""
    statement, entry = _Statement(), None
    for number, tag, value in _mt940_fields(text, skipped):
        if tag == "86" and isinstance(entry, Line):
            entry.row["description"] = " ".join(value.split()) or entry.row["description"]
            continue
        if tag is None:
            yield BadLine(name, number, f"{value[:60]!r} is no field of a statement (:NN:)", row={"text": value})
            statement.whole = False
            continue
        if entry is not None and tag != "NS":
            yield entry
            entry = None
        try:
            if tag == "20":
                statement = _Statement()
            elif tag.startswith("25"):
                statement.account = value.split("\n")[0].strip()
            elif tag in ("60F", "60M"):
                statement.currency, statement.opening = _mt940_balance(value)
            elif tag in ("62F", "62M"):
                statement.closing = _mt940_balance(value)[1]
                if wrong := statement.difference():
                    yield BadLine(name, number, wrong)
            elif tag == "61":
                entry = _mt940_entry(value, number, statement)
        except ValueError as error:
            statement.whole = False
            yield BadLine(name, number, str(error), row={"account": statement.account, "text": f":{tag}:{value}"})
    if entry is not None:
        yield entry


def _mt940_fields(text: str, skipped: int) -> Iterator[tuple[int, str | None, str]]:
    """(line, tag, value) of each field; a line without a tag continues the one before. Tag None: it belongs to none."""
    at, tag, lines = 0, None, list[str]()
    for number, raw in enumerate(text.splitlines(), start=skipped + 1):
        line = re.sub(r"^\{1:.*\{4:", "", raw.strip("\ufeff"))
        if line.strip() in ("", "-", "-}", ":940:") or re.fullmatch(r"-\}.*", line.strip()):
            continue
        if field_of := _FIELD.match(line):
            if tag:
                yield at, tag, "\n".join(lines)
            at, tag, lines = number, field_of[1], [field_of[2]]
        elif tag:
            lines.append(line)
        else:
            yield number, None, line
    if tag:
        yield at, tag, "\n".join(lines)


def _mt940_balance(value: str) -> tuple[str, Decimal]:
    found = _BALANCE.match(value)
    if not found:
        raise ValueError(f"{value!r} is not a balance (C or D, YYMMDD, currency, amount)")
    amount = Decimal(found[4].replace(",", "."))
    return found[3], -amount if found[1] == "D" else amount


def _mt940_date(value: str) -> str:
    """YYMMDD as YYYY-MM-DD; statements exist since the eighties."""
    year = int(value[:2])
    return f"{year + (1900 if year >= 80 else 2000)}-{value[2:4]}-{value[4:6]}"


def _booked(value_date: str, month_and_day: str | None) -> str:
    """The booking date, which has no year: that of the value date, or the one next to it at the turn of a year."""
    if not month_and_day:
        return value_date
    year, month = int(value_date[:4]), int(value_date[5:7])
    booked = int(month_and_day[:2])
    year += 1 if month - booked > 6 else -1 if booked - month > 6 else 0
    return f"{year}-{month_and_day[:2]}-{month_and_day[2:]}"


def _mt940_entry(value: str, number: int, statement: _Statement) -> Line:
    first, *more = value.split("\n")
    found = _ENTRY.fullmatch(first.strip())
    if not found:
        raise ValueError(f"{first!r} is not a statement line (YYMMDD[MMDD]C|D|RC|RD amount, type, reference)")
    amount = Decimal(found["amount"].replace(",", "."))
    amount = -amount if found["mark"] in ("D", "RC") else amount  # the reversal of a credit takes money away
    statement.total += amount
    value_date = _mt940_date(found["value"])
    row = {
        "account": statement.account or None,
        "transaction_amount": amount,
        "transaction_currency": statement.currency or None,
        "transaction_date": _booked(value_date, found["booked"]),
        "transaction_state": "SUCCEEDED",
        "value_date": value_date,
        "description": " ".join(" ".join(more).split()) or None,
        "reference": (found["bank"] or "").strip() or None,
        "customer_reference": found["customer"].strip() or None,
        "code": found["code"],
    }
    return Line(number, row)

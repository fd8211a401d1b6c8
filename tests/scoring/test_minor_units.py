"""A loan that is paid exactly is settled, in every currency, however it is paid; both definitions say so."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random
from typing import Any

import numpy as np
import pytest

from schemas.batch import EventBatch, Record
from schemas.decode import Decoder, decode
from schemas.kinds import RejectCode
from schemas.known_schemas import StaticRegistry
from state.currencies import DIGITS, LETTERS, in_unit, minor_digits, money_text, own_units, scale_of, with_unit
from state.layout import decode_row, encode_row
from state.row import Loan
from state.versions import Policy, Rate, Versions, pack_currency
from streams.customers.document import customer_document
from streams.customers.row_view import tables
from tests.scoring.customers import Customers, at_ms, iso
from tests.scoring.random_streams import versions as some_versions
from tests.scoring.test_step_equals_oracle import run_both

SEED = 4217

# ISO 4217, List One, published 2026-01-01: the codes by the decimals of their minor unit, and those that have none.
ISO_4217 = {
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW "
    "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR "
    "ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV "
    "MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD "
    "SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    4: "CLF UYW",
    None: "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX",
}
CODES = {code: 2 if digits is None else digits for digits, codes in ISO_4217.items() for code in codes.split()}


def test_the_table_is_that_of_iso_4217_and_every_other_code_has_two_decimals() -> None:
    assert len(CODES) == 178
    assert {code: digits for code, digits in CODES.items() if digits != 2} == DIGITS
    for code, digits in (CODES | {"ZZZ": 2, "AAA": 2}).items():
        packed = pack_currency(code)
        assert minor_digits(packed) == digits
        assert with_unit(packed) & LETTERS == packed
        assert scale_of(with_unit(packed)) == 10 ** max(digits, 2)


def test_amounts_become_whole_minor_units_as_exact_arithmetic_says() -> None:
    random = Random(SEED)
    for code, digits in CODES.items():
        unit = with_unit(pack_currency(code))
        for _ in range(60):
            minor = random.randrange(10 ** random.randrange(1, 12 + digits))
            amount = float(Decimal(minor).scaleb(-digits))
            if amount <= 1e11:
                assert own_units(amount, unit) == minor * 10 ** (max(digits, 2) - digits), (SEED, code, amount)
            amount = random.uniform(0, 10 ** random.randrange(1, 9))  # with more decimals than anyone pays
            scaled = Decimal(amount * 10**digits).to_integral_value(ROUND_HALF_EVEN)
            assert own_units(amount, unit) == int(scaled) * 10 ** (max(digits, 2) - digits), (SEED, code, amount)


def loan_event(user: str, day: float, **fields: Any) -> tuple[float, str, dict[str, Any]]:
    return day, user, {"user_id": user, "loan_id": "L", **fields}


def issued(user: str, day: float, amount: Decimal, currency: str, **more: Any) -> tuple[float, str, dict[str, Any]]:
    terms = {"order_amount": float(amount), "gross_margin": float(amount), "currency": currency}
    return loan_event(user, day, event="issued", order_date=iso(day), due_date=iso(60)[:10], **terms | more)


def repaid(user: str, day: float, amount: Decimal, **more: Any) -> tuple[float, str, dict[str, Any]]:
    return loan_event(user, day, event="repaid", amount=float(amount), paid_at=iso(day), **more)


def batch_of(events: list[tuple[float, str, dict[str, Any]]]) -> EventBatch:
    records = [
        Record("loans", 0, offset, at_ms(day), user.encode(), json.dumps(fields).encode())
        for offset, (day, user, fields) in enumerate(events)
    ]
    batch = decode(records, 0, Decoder(StaticRegistry(), 1))
    assert batch.rejects == []
    return batch


def versions_of(random: Random) -> Versions:
    known = some_versions(adoptions=False)
    rates = [Rate(pack_currency(code), Policy().effective_ms, 10 ** random.uniform(-4, 2)) for code in CODES]
    return Versions(known.policies, known.weights, [one for one in rates if one.currency != pack_currency("EUR")])


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_a_loan_is_settled_by_its_last_payment_in_every_currency_however_it_is_split(seed: int) -> None:
    """The oracle is Decimal: what is paid is a sum of decimals, and the loan is settled once it is the order."""
    random = Random(seed)
    events, cuts, wanted = [], [], []
    plans: dict[str, tuple[Decimal, list[Decimal]]] = {}
    for code, digits in CODES.items():
        order = random.randrange(5, 10 ** random.choice([2, 4, 7, 9]))
        edges = sorted(random.randrange(1, order) for _ in range(random.randrange(4)))
        parts = [b - a for a, b in zip([0, *edges], [*edges, order], strict=True) if b > a]
        plans[code] = Decimal(order).scaleb(-digits), [Decimal(part).scaleb(-digits) for part in parts]
    for code, (order, _) in plans.items():
        events.append(issued(code, 0, order, code))
    for turn in range(max(len(parts) for _, parts in plans.values())):
        cuts.append(len(events))
        wanted.append({})
        for code, (order, parts) in plans.items():
            if turn < len(parts):
                says_currency = {"currency": code} if random.random() < 0.5 else {}
                events.append(repaid(code, turn + 1, parts[turn], **says_currency))
                wanted[-1][code] = sum(parts[: turn + 1]) == order
    steps = run_both(batch_of(events), cuts, versions_of(random))
    for step, settled in zip(steps[1:], wanted, strict=True):
        assert step.journal.rejects == []
        for user, is_settled in settled.items():
            (loan,) = row_of(step, user).loans
            assert (loan.settled_day is not None) == is_settled, (seed, user, plans[user])


def row_of(step: Any, user: str) -> Any:
    return decode_row(step.table.row([bytes(one) for one in step.table.users].index(user.encode())))


OVER_PRECISE = [  # order, payment, currency, settled?
    ("1000.4", "1000", "JPY", True),
    ("1000.6", "1000", "JPY", False),
    ("12.3454", "12.345", "KWD", True),
    ("12.3456", "12.345", "KWD", False),
    ("12.3456", "12.346", "KWD", True),
    ("7.00004", "7", "CLF", True),
    ("7.0001", "7", "CLF", False),
    ("100.004", "100", "EUR", True),
    ("100.006", "100", "EUR", False),
    ("100.006", "100.01", "XTS", True),
]


@pytest.mark.parametrize("order,paid,currency,is_settled", OVER_PRECISE)
def test_what_a_currency_cannot_pay_is_rounded_away_once(order, paid, currency, is_settled) -> None:
    batch = batch_of([issued("a", 0, Decimal(order), currency), repaid("a", 1, Decimal(paid))])
    (step,) = run_both(batch, [], versions_of(Random(1)))
    assert (row_of(step, "a").loans[0].settled_day is not None) == is_settled


def test_an_order_of_less_than_half_a_minor_unit_is_none() -> None:
    for amount, currency in (("0.4", "JPY"), ("0.0004", "KWD"), ("0.00004", "UYW"), ("0.004", "EUR")):
        (step,) = run_both(batch_of([issued("a", 0, Decimal(amount), currency)]), [], versions_of(Random(1)))
        assert [reject.code for reject in step.journal.rejects] == [RejectCode.NON_POSITIVE_ORDER]


def test_the_largest_amounts_are_taken_in_every_unit() -> None:
    for currency in ("JPY", "EUR", "KWD", "CLF"):
        events = [issued("a", 0, Decimal(10**11), currency), repaid("a", 1, Decimal(10**11))]
        rates = [Rate(pack_currency(currency), Policy().effective_ms, 0.01)] if currency != "EUR" else []
        known = some_versions(adoptions=False)
        (step,) = run_both(batch_of(events), [], Versions(known.policies, known.weights, rates))
        assert row_of(step, "a").loans[0].settled_day is not None


# Rows that were written when all own amounts were hundredths.


def as_before(loan: Loan) -> Loan:
    """The loan as a row has it that was written before there were units."""
    scale = scale_of(loan.currency) // 100
    return replace(
        loan,
        currency=loan.currency & LETTERS,
        order_amount=loan.order_amount // scale,
        gross_margin=loan.gross_margin // scale,
        promo=loan.promo // scale,
        paid=[amount // scale for amount in loan.paid],
    )


def run_on(row: bytes, events: list[tuple[float, str, dict[str, Any]]]) -> Any:
    """Both definitions, from this row of "a" on."""
    from state.table import Table
    from streams.scoring.reference import step as oracle
    from streams.scoring.step import Clocks, step
    from tests.scoring.test_step_equals_oracle import assert_same

    batch, known = batch_of(events), versions_of(Random(1))
    clock_ms = int(batch.events["timestamp_ms"].max())
    slow = oracle.step(batch.users, [row], batch, known, clock_ms)
    fast = step(Table.of(batch.users, [row]), batch, known, Clocks(clock_ms, -(2**62), -(2**62), clock_ms))
    assert_same(fast, slow)
    return row_of(fast, "a").loans


@pytest.mark.parametrize("currency", ["KWD", "CLF"])
def test_a_loan_of_before_stays_in_hundredths_until_it_is_issued_again(currency: str) -> None:
    first = [issued("a", 0, Decimal("100.12"), currency), repaid("a", 1, Decimal("50.06"))]
    (step,) = run_both(batch_of(first), [], versions_of(Random(1)))
    row = row_of(step, "a")
    assert scale_of(row.loans[0].currency) > 100
    row.loans = [as_before(row.loans[0])]
    packed = encode_row(row, row.clock_ms // 86_400_000)

    (loan,) = run_on(packed, [repaid("a", 2, Decimal("50.06"), currency=currency)])
    assert (loan.currency, loan.order_amount, sum(loan.paid)) == (pack_currency(currency), 10_012, 10_012)
    assert loan.settled_day is not None

    again = issued("a", 2, Decimal("100.123"), currency, event_id="i", revision=1)
    (loan,) = run_on(packed, [again, repaid("a", 3, Decimal("50.063"))])
    scale = scale_of(with_unit(pack_currency(currency)))
    assert loan.currency == with_unit(pack_currency(currency))
    assert (loan.order_amount, sum(loan.paid)) == (100_123 * scale // 1000, 100_123 * scale // 1000)
    assert loan.settled_day is not None


def test_payments_keep_their_worth_where_a_loan_is_issued_again_in_another_unit() -> None:
    units = [pack_currency("EUR"), with_unit(pack_currency("KWD")), with_unit(pack_currency("CLF"))]
    random = Random(SEED)
    for _ in range(2_000):
        one, other = random.choice(units), random.choice(units)
        amount = random.randrange(-(10**9), 10**9)
        exact = Decimal(amount) * scale_of(other) / scale_of(one)
        assert in_unit(amount, one, other) == int(exact.to_integral_value(ROUND_HALF_EVEN)), (SEED, amount)


def test_loans_of_other_currencies_take_the_bytes_they_took_and_those_of_three_decimals_few_more() -> None:
    sizes = {}
    for currency in ("EUR", "USD", "JPY", "KWD"):
        events = [issued("a", 0, Decimal(1_234), currency), repaid("a", 1, Decimal(600))]
        (step,) = run_both(batch_of(events), [], versions_of(Random(1)))
        row = row_of(step, "a")
        before = replace(row, loans=[as_before(loan) for loan in row.loans])
        today = row.clock_ms // 86_400_000
        sizes[currency] = len(encode_row(row, today)) - len(encode_row(before, today))
    assert sizes == {"EUR": 0, "USD": 0, "JPY": 0, "KWD": sizes["KWD"]}
    assert 0 <= sizes["KWD"] <= 4


# What people see, and what a transaction is.


def test_inspect_shows_each_loan_in_its_own_unit() -> None:
    ann = Customers(rates=[Rate(pack_currency(code), Policy().effective_ms, 2.0) for code in ("KWD", "JPY")])
    ann.issued(0, "dinar", 60, order_amount=12.345, currency="KWD")
    ann.issued(0, "yen", 60, order_amount=1_200_000.0, currency="JPY")
    ann.repaid(1, "dinar", 2.345)
    row = decode_row(ann.rows[b"ann"] or b"")
    columns = next(table for table in tables(row, {}) if "Loans" in str(table.title)).columns
    assert list(columns[1].cells) == ["12.345 KWD", "1,200,000 JPY"]
    assert next(iter(columns[4].cells)) == "non_default 2.345"
    told = customer_document("ann", row, 0, 1, ann.versions, {})
    assert [(loan["currency"], loan["amount"]) for loan in told["loans"]] == [("KWD", "12.345"), ("JPY", "1200000.00")]


@pytest.mark.parametrize("minor,code,words", [
    (5, "EUR", "0.05"), (-5, "EUR", "-0.05"), (100_050, "JPY", "1,000.50"), (-12_345, "CLF", "-1.2345"),
    (0, "JPY", "0"), (10**16 + 1, "KWD", "10,000,000,000,000.001"),
])  # fmt: skip
def test_money_in_words(minor: int, code: str, words: str) -> None:
    assert money_text(minor, int(with_unit(pack_currency(code)))) == words


def test_a_transaction_of_less_than_a_hundredth_of_the_base_currency_has_moved_money() -> None:
    ann = Customers(rates=[Rate(pack_currency("KRW"), Policy().effective_ms, 0.0007)])
    ann.transaction(0, -5.0, transaction_currency="KRW", transaction_state=None)
    ann.transaction(0, 0.0, transaction_currency="KRW", transaction_state=None)
    row = decode_row(ann.rows[b"ann"] or b"")
    assert (row.transactions, row.failed, row.withdrawals_minor) == (1, 1, 0)


def test_sums_in_the_base_currency_are_hundredths_whatever_it_is() -> None:
    ann = Customers(policy=Policy(base_currency="KWD"))
    ann.transaction(0, 12.345, transaction_currency="KWD", user_balance=1.2)
    row = decode_row(ann.rows[b"ann"] or b"")
    assert (row.deposits_minor, row.accounts[0].balance_minor) == (1_234, 120)
    assert np.isfinite(row.emitted[0])

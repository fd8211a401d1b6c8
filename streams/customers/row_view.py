"""`rescore inspect`: a customer's row in words, for people. For programs: `streams.customers.document`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from schemas.batch import DAY_MS, DECLARED
from schemas.categories import CATEGORY_NAMES
from schemas.kinds import LOAN_STATES, SCORE_NAMES, SEGMENT_NAMES, Score
from schemas.printable import counted
from state.currencies import LETTERS, money_text
from state.row import Loan, Row
from state.versions import unpack_currency
from streams.scoring.expectation import Expectation, expectation
from streams.terminal import table as titled_table
from streams.versions.packaged_profiles import packaged_profiles

if TYPE_CHECKING:
    from rich.table import Table

EPOCH = date(1970, 1, 1)
DAYS_SHOWN = 7


def day_text(day: int | None) -> str:
    """A day as YYYY-MM-DD.

    >>> day_text(0), day_text(None)
    ('1970-01-01', '-')
    """
    return "-" if day is None else (EPOCH + timedelta(days=day)).isoformat()


def _letters(loan_currency: int) -> str:
    return unpack_currency(loan_currency & LETTERS)


def time_text(time_ms: int | None) -> str:
    """A time in UTC; a dash where there is none."""
    if time_ms is None:
        return "-"
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)).strftime("%Y-%m-%d %H:%M:%S UTC")


def expected_of(row: Row) -> Expectation | None:
    """What a row lets expect at its clock; from its own latest day on, where the clock in UTC is a day behind that.

    `still_customer` is NaN of who has had no transaction in the last 365 days.
    """
    found = expectation(row, max(row.clock_ms // DAY_MS, row.last_transaction_day or 0))
    if found is None or any(day.transactions for day in row.days):
        return found
    return found._replace(still_customer=math.nan)  # of who has been silent for a year nothing is left to tell it by


def expected_text(row: Row) -> str:
    """On how many days a transaction is to be expected, and whether the customer is still one."""
    found = expected_of(row)
    if found is None:
        return "-"
    days = f"{found.days:.1f} days with a transaction"
    if math.isnan(found.still_customer):
        return f"{days}; none in the last 365 days"
    return f"{days}; still a customer: {found.still_customer:.0%}"


def events_text(row: Row) -> str:
    """How many events were taken, and the times of the first and the last of them."""
    if not row.events:
        return "none"
    return f"{row.events:,} from {time_text(row.first_event_ms)} to {time_text(row.last_event_ms)}"


def emitted_text(row: Row, score: Score, profiles: Mapping[int, str]) -> str:
    """What was last published of a score."""
    value = row.emitted[score]
    if score == Score.PROFILES:
        return ", ".join(profiles_held(row, profiles)) or "-"
    if math.isnan(value):
        return "-"
    if score == Score.SEGMENT:
        return SEGMENT_NAMES[int(value)]
    if score in (Score.CLASS, Score.RFM):
        return "-" if value == 0 else f"{value:.0f}"
    return f"{value:.3f}"


def loan_state(loan: Loan) -> str:
    """How a loan stands: settled, in part, or open."""
    if loan.settled_day is not None:
        return f"settled {day_text(loan.settled_day)}"
    paid = sum(loan.paid)
    return "open" if paid == 0 else f"open, {paid / loan.order_amount:.0%} paid"


def paid_text(loan: Loan) -> str:
    """Payments by the state each was made in."""
    states = zip(LOAN_STATES, loan.paid, strict=True)
    parts = [f"{name} {money_text(amount, loan.currency)}" for name, amount in states if amount]
    return ", ".join(parts) or "-"


def tables(row: Row, profiles: Mapping[int, str]) -> list[Table]:
    """What is known, in tables: the customer, the scores, loans, accounts, the latest days.

    `profiles` are names of profiles by the hashes that rows know them by.
    """
    made = [_about(row), _scores(row, profiles)]
    if row.loans or row.folded or row.closed or row.closed_until_day is not None:
        made.append(_loans(row))
    if row.accounts:
        made.append(_accounts(row))
    if row.spending:
        made.append(_spending(row))
    if row.days:
        made.append(_days(row))
    return made


def request_tables(row: Row) -> list[Table]:
    """What is known of a request that names no customer: it has no scores, account or loans."""
    about = titled_table("what", "value", title="Request")
    facts: list[tuple[str, str]] = [
        ("clock", time_text(row.clock_ms)),
        ("records", events_text(row)),
        *_records(row),
    ]
    if not row.exists:
        facts = [("erased", time_text(row.erased_ms))]
    for fact in facts:
        about.add_row(*fact)
    if row.declared is None:
        return [about]
    declared = titled_table("what", "value", title="Declared")
    for name, value in zip(DECLARED, row.declared, strict=True):
        if not math.isnan(value):
            declared.add_row(name, f"{value:,.10g}")
    return [about, declared]


def _records(row: Row) -> list[tuple[str, str]]:
    return [
        ("duplicates ignored", f"{row.duplicates:,}"),
        ("ids forgotten early", f"{row.overruns:,} (the oldest, where a customer has more than the policy keeps)"),
        ("out of order", f"{row.inversions:,} of {counted(row.taken, 'record')}"),
    ]


def _about(row: Row) -> Table:
    table = titled_table("what", "value", title="Customer")
    facts: list[tuple[str, str]] = [
        ("clock", time_text(row.clock_ms)),
        ("next scheduled check", time_text(row.due_ms)),
        ("events", events_text(row)),
        ("customer since", day_text(row.created_day)),
        ("channel", "WEB" if row.web else "API or unknown"),
        ("in and out, lifetime", f"{money_text(row.deposits_minor)} / {money_text(row.withdrawals_minor)}"),
        ("transactions, lifetime", f"{row.transactions:,} ({row.failed:,} failed attempts)"),
        ("expected of the next 30 days", expected_text(row)),
        ("consistency", f"{row.consistency:.3f} after {row.labels:,} labels"),
        *_records(row),
    ]
    if not row.exists:
        facts = [("erased", time_text(row.erased_ms))]
    for fact in facts:
        table.add_row(*fact)
    return table


def _scores(row: Row, profiles: Mapping[int, str]) -> Table:
    table = titled_table("score", "value", "changes so far", "manual override", title="Scores as last published")
    held = {override.score: override for override in row.overrides}
    for score in Score:
        hold = held.get(score)
        by = (
            ""
            if hold is None
            else f"{hold.value:g} until {time_text(hold.until_ms)} by {hold.author.decode('utf-8', 'replace')}"
        )
        table.add_row(SCORE_NAMES[score], emitted_text(row, score, profiles), f"{row.sequences[score]:,}", by)
    return table


def _loans(row: Row) -> Table:
    table = titled_table("loan", "amount", "due", "state", "paid, by state of the payment", title="Loans")
    for loan in row.loans:
        amount = f"{money_text(loan.order_amount, loan.currency)} {_letters(loan.currency)}"
        name = loan.loan_id.decode("utf-8", "backslashreplace")
        table.add_row(name, amount, day_text(loan.due_day), loan_state(loan), paid_text(loan))
    if row.folded:
        counts = ", ".join(
            f"{name} {count}" for name, count in zip(LOAN_STATES, row.folded.counts, strict=True) if count
        )
        amount = f"{money_text(row.folded.order_amount)} (base currency)"
        table.add_row(f"{row.folded.loans} more", amount, "", "settled long ago", counts)
    if row.closed or row.closed_until_day is not None:
        table.add_row(*closed_text(row))
    return table


def closed_text(row: Row) -> tuple[str, str, str, str, str]:
    """How many closed loans are known one by one, should they come again, as a row of the table of loans."""
    cancelled = sum(closed.cancelled for closed in row.closed)
    forgotten = "" if row.closed_until_day is None else f"others ordered up to {day_text(row.closed_until_day)}"
    return f"closed: {len(row.closed)} known", "", "", f"{cancelled} of them cancelled", forgotten


def _accounts(row: Row) -> Table:
    table = titled_table("currency", "balance, base currency", "as of", "last transaction", title="Currencies")
    for account in row.accounts:
        known = account.balance_time_ms is not None
        table.add_row(
            unpack_currency(account.currency),
            money_text(account.balance_minor) if known else "-",
            time_text(account.balance_time_ms),
            day_text(account.last_day),
        )
    return table


def profiles_held(row: Row, profiles: Mapping[int, str]) -> list[str]:
    """Names of the profiles that hold; a hash where the name is not among `profiles`."""
    return [profiles.get(mark.key, f"#{mark.key:08x}") for mark in row.profiles if mark.held]


def packaged_names() -> dict[int, str]:
    """Names of the packaged profiles by their hashes. Those of the published ones are in `rescore-config`."""
    return {profile.key: profile.profile_id for profile in packaged_profiles()}


def _spending(row: Row) -> Table:
    table = titled_table(
        "category", "spent", "purchases", "last day", title="Spending, decayed to the last day of each category"
    )
    for place in row.spending:
        name = CATEGORY_NAMES[place.category] if place.category else "all"
        table.add_row(name, money_text(place.amount_minor), f"{place.purchases / 100:.2f}", day_text(place.day))
    return table


def _days(row: Row) -> Table:
    table = titled_table(
        "day", "in", "out", "transactions", "failed", title=f"Latest days (of {len(row.days)} that hold something)"
    )
    for day in row.days[-DAYS_SHOWN:]:
        table.add_row(
            day_text(day.day),
            money_text(day.deposits_minor),
            money_text(day.withdrawals_minor),
            str(day.transactions),
            str(day.failed),
        )
    return table

"""Scorecards against the rows they must be of.

A card is written with the changes of a batch, of the row as the batch left it. Where batches end is chance: a record
behind the last change may have been in the same batch or not. So a card is right if it is that of the row at the last
change, or after any record behind it, and its `valid_until_ms` is one of that row's checks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from schemas.batch import CARD, CHANGE, FOREVER_MS, REASON, WINDOW_DAYS, Changes
from schemas.codec import Encoder, Refused, VersionNames, card_to_dict, decode_value, encode_value
from schemas.kinds import Score
from schemas.readable import Fields
from schemas.row_keys import request_of
from state.calendar import day_of
from state.layout import decode_row
from state.row import Row
from state.versions import Versions
from streams.audit.compare import Committed, Difference, difference, first_field, place_of
from streams.audit.recount_reference import Said, checks, fired, with_due
from streams.scoring.reference.evaluate import evaluate, held_by_marks, window_sums


def differing_card(
    user: bytes,
    committed: Committed,
    said: Said,
    versions: Versions,
    names: VersionNames,
    encoder: Encoder,
    until_ms: int,
) -> Difference | None:
    """What is not as it must be with a customer's last scorecard, None where nothing is."""
    value, where = (None, "") if committed.card is None else (committed.card.value, place_of(committed.card))
    if value is None:
        states = [row is not None and decode_row(row).exists for row in said.since_change]
        if not states or not all(states):
            return None
        return difference(user, "scorecard", "there is no scorecard, the log leads to one", where)
    if request_of(user) is not None:
        return difference(user, "scorecard", f"the scorecard at {where} is of a request, which has no scores", where)
    try:
        card = decode_value("Scorecard", value, encoder.registry)
    except Refused as refused:
        return difference(user, "scorecard", f"the scorecard at {where} cannot be read: {refused.detail}", where)
    closest: Fields = {}
    for row in _rows_at(user, said, card["clock_ms"], versions, until_ms):
        closest = card_of(user, row, versions, names) | {"valid_until_ms": card["valid_until_ms"]}
        if closest == card:
            if not _is_check(user, row, card["valid_until_ms"], versions, until_ms):
                closest = closest | {"valid_until_ms": "none of the row's checks"}
            elif encode_value("Scorecard", card, encoder) == value:
                return None
            break
    if not closest:
        sentence = f"the scorecard at {where} is of {card['clock_ms']} ms: the log leads to no such state"
        return difference(user, "scorecard", sentence, where)
    name, a, b = first_field(card, closest)
    sentence = f"the scorecard at {where}: {name} is {a}, the log leads to {b}"
    fields = {"field": name, "committed": a, "recounted": b}
    return difference(user, "scorecard", sentence, where, at_ms=int(card["clock_ms"]), **fields)


def _rows_at(user: bytes, said: Said, clock_ms: int, versions: Versions, until_ms: int) -> Iterator[Row]:
    """The states since the last change in which the customer's clock stood there."""
    packed = [row for row in (*said.since_change, said.row) if row is not None]
    rows = [row for row in map(decode_row, packed) if row.exists]
    earlier = [row for row in rows if row.clock_ms < clock_ms]
    yield from (row for row in rows if row.clock_ms == clock_ms)
    if earlier and clock_ms <= until_ms:  # a timer that said nothing of a score may have moved the clock
        last = max(earlier, key=lambda row: (row.clock_ms, row.taken))
        passed = fired(user, with_due(last, last.due_ms, versions), clock_ms, versions)
        row = None if passed is None else decode_row(passed)
        if row is not None and row.clock_ms == clock_ms:
            yield row


def _is_check(user: bytes, row: Row, valid_until_ms: int | None, versions: Versions, until_ms: int) -> bool:
    return any(due_ms == valid_until_ms for due_ms in checks(user, row, versions, until_ms))


def card_of(user: bytes, row: Row, versions: Versions, names: VersionNames) -> Fields:
    """The scorecard of a row, its `valid_until_ms` left out. Cost: some 300 us."""
    seen = evaluate(row, row.clock_ms, versions, row.clock_ms)
    today = day_of(versions.days, row.clock_ms)
    card = np.zeros(1, CARD)
    one = card[0]
    emitted = [*row.emitted[: Score.PROFILES], held_by_marks(row, versions)]
    one["incarnation_rank"], one["incarnation_offset"] = row.incarnation_rank, row.incarnation_offset
    one["segment"], one["first_payment_default"] = seen.segment, seen.first_payment_default
    one["has_override"], one["open_loans"] = bool(row.overrides), seen.open_loans
    one["clock_ms"], one["valid_until_ms"] = row.clock_ms, FOREVER_MS
    one["first_event_ms"], one["last_event_ms"], one["events"] = row.first_event_ms, row.last_event_ms, row.events
    one["score"], one["sequence"], one["confidence"] = emitted, row.sequences, seen.confidence
    one["counts"], one["forecast"], one["consistency"] = seen.counts, seen.forecast, row.consistency
    one["efficiency"], one["discipline"] = seen.efficiency, seen.discipline
    one["balance_minor"] = sum(account.balance_minor for account in row.accounts)
    sums = [window_sums(row, today, window) for window in WINDOW_DAYS]
    for place, name in enumerate(("deposits_minor", "withdrawals_minor", "transactions")):
        one[name] = [of_window[place] for of_window in sums]
    one["weights_version"], one["policy_version"] = seen.weights_version, seen.policy_version
    one["point_length"] = len(seen.point)
    text = np.frombuffer(seen.point, np.uint8)
    return card_to_dict(0, Changes(np.zeros(0, CHANGE), np.zeros(0, REASON), text, card), [user], names)

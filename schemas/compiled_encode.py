"""The compiled writers: score changes, scorecards, examples from columns to Avro, the bytes `schemas.writing` defines.

Avro has no padding and no names on the wire, so a writer is the schema's fields in their order and nothing else. When a
schema changes, so does its writer here; a test compares both on random columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from schemas.batch import DAY_MS, FOREVER_MS, WINDOW_DAYS
from schemas.categories import CATEGORY_NAMES
from schemas.compiled import compiled
from schemas.kinds import CAUSE_NAMES, INPUT_TOPICS, SCORE_NAMES, SCORES, SEGMENT_NAMES, VALUE_BANDS, Reason, Score
from schemas.texts import copy_bytes
from schemas.times import FIRST_MS, LAST_MS

VALUE, STATUS, REVENUE, CLASS = int(Score.VALUE), int(Score.STATUS), int(Score.REVENUE), int(Score.CLASS)
RFM, SEGMENT, RISK, PROFILES = int(Score.RFM), int(Score.SEGMENT), int(Score.RISK), int(Score.PROFILES)

# Sections of the table of words that a writer is given; behind the names of versions stand those of profiles.
SCORE_WORDS = 0
CAUSE_WORDS = SCORE_WORDS + len(SCORE_NAMES)
BAND_WORDS = CAUSE_WORDS + len(CAUSE_NAMES)
SEGMENT_WORDS = BAND_WORDS + len(VALUE_BANDS)
TOPIC_WORDS = SEGMENT_WORDS + len(SEGMENT_NAMES)
CATEGORY_WORDS = TOPIC_WORDS + len(INPUT_TOPICS)
REASON_WORDS = CATEGORY_WORDS + len(CATEGORY_NAMES)  # code and text of each reason, by code, both with their lengths
VERSION_WORDS = REASON_WORDS + max(Reason) + 1  # weights, then policies; then ids of profiles, then of each version of
# each profile title, and behind all titles what stands at the end of a hit: text, purpose, whether it is sensitive
WINDOWS = len(WINDOW_DAYS)
DIGITS_MAX = 20
HEADERS = 7  # of a change
TYPE_WORDS = 3  # of the words of headers: behind version, source and content type
NAME_WORDS = TYPE_WORDS + len(SCORE_NAMES)
FIELDS_BEHIND_LABEL = 8
"""Of an example, null for value: member, case, inputs, aside, until_ms, words, category, earlier_hash."""


@compiled
def write_changes(
    rows: Any, reasons: Any, hits: Any, text: Any, users: Any, user_starts: Any, events: Any, event_text: Any,
    partition: int, prefix: Any, words: Any, word_starts: Any, weights: int, named: Any, out: Any, ends: Any,
) -> None:  # fmt: skip
    """Each score change behind the other in `out`; change i ends at `ends[i]`. About 0.4 us each.

    `words[word_starts[w]:word_starts[w + 1]]` is word w: see the sections above; there are `weights` names of weights.
    `named`: where the ids of profiles begin, how many there are, and how many versions of profiles.
    """
    at = 0
    for i in range(len(rows)):
        row = rows[i]
        user, user_size = user_starts[row.user], user_starts[row.user + 1] - user_starts[row.user]
        at = _bytes(out, at, prefix, 0, len(prefix))
        at = _change_id(out, at, row, users, user, user_size, words, word_starts)
        at = _text(out, at, users, user, user_size)
        at = _word(out, at, words, word_starts, SCORE_WORDS + row.score)
        at = _long(out, at, row.sequence)
        at = _incarnation(out, at, row.incarnation_rank, row.incarnation_offset)
        is_number = row.score not in (RFM, SEGMENT, PROFILES)
        at = _number_or_null(out, at, row.old, is_number)
        at = _number_or_null(out, at, row.new, is_number)
        at = _name_or_null(out, at, row.score, row.old, words, word_starts)
        at = _name_or_null(out, at, row.score, row.new, words, word_starts)
        at = _word_or_null(out, at, words, word_starts, BAND_WORDS, row.old_band)
        at = _word_or_null(out, at, words, word_starts, BAND_WORDS, row.new_band)
        at = _cause(out, at, row, text, events, event_text, partition, words, word_starts)
        at = _long(out, _long(out, at, row.event_time_ms), row.decided_ms)
        at = _word(out, at, words, word_starts, VERSION_WORDS + row.weights_version)
        at = _word(out, at, words, word_starts, VERSION_WORDS + weights + row.policy_version)
        at = _number_or_null(out, at, row.base, True)
        at = _reasons(out, at, reasons, row.reasons_at, row.reasons_count, words, word_starts)
        at = _number_or_null(out, at, row.confidence, True)
        at = _long(out, _long(out, _long(out, at, row.first_event_ms), row.last_event_ms), row.events)
        at = _until(out, at, row.valid_until_ms)
        at = _text_or_null(out, at, text, row.point_at, row.point_length)
        at = _word(out, at, words, word_starts, SEGMENT_WORDS + row.segment)
        if row.score == PROFILES:
            at = _profiles(out, _byte(out, at, 2), row.old, words, word_starts, named)
            at = _profiles(out, _byte(out, at, 2), row.new, words, word_starts, named)
        else:
            at = _byte(out, _byte(out, at, 0), 0)
        at = _hits(out, at, hits, row.hits_at, row.hits_count, words, word_starts, named)
        ends[i] = at


@compiled
def write_cards(
    cards: Any, text: Any, users: Any, user_starts: Any, floors: Any, risk_floors: Any, prefix: Any, words: Any,
    word_starts: Any, weights: int, named: Any, out: Any, ends: Any,
) -> None:  # fmt: skip
    """Each scorecard behind the other in `out`; card i ends at `ends[i]`. Floors of the bands are by policy."""
    at = 0
    for i in range(len(cards)):
        card = cards[i]
        at = _bytes(out, at, prefix, 0, len(prefix))
        at = _text(out, at, users, user_starts[card.user], user_starts[card.user + 1] - user_starts[card.user])
        at = _incarnation(out, at, card.incarnation_rank, card.incarnation_offset)
        at = _long(out, at, card.clock_ms)
        at = _scores(out, at, card, floors, words, word_starts)
        for score in range(SCORES):
            at = _long(out, at, card.sequence[score])
        for score in range(SCORES):
            at = _number_or_null(out, at, card.confidence[score], True)
        at = _byte(out, at, 1 if card.has_override else 0)
        for state in range(5):
            at = _long(out, at, card.counts[state])
        at = _long(out, at, card.open_loans)
        defaulted = card.first_payment_default
        at = _byte(out, at, 0) if defaulted < 0 else _byte(out, _byte(out, at, 2), 1 if defaulted > 0 else 0)
        at = _number_or_null(out, _number_or_null(out, at, card.forecast, True), card.consistency, True)
        at = _number_or_null(out, _number_or_null(out, at, card.efficiency, True), card.discipline, True)
        at = _long(out, at, card.balance_minor)
        at = _windows(out, at, card)
        at = _long(out, _long(out, _long(out, at, card.first_event_ms), card.last_event_ms), card.events)
        at = _until(out, at, card.valid_until_ms)
        at = _word(out, at, words, word_starts, VERSION_WORDS + card.weights_version)
        at = _word(out, at, words, word_starts, VERSION_WORDS + weights + card.policy_version)
        at = _text_or_null(out, at, text, card.point_at, card.point_length)
        at = _risk(out, at, card, risk_floors, words, word_starts)
        at = _profiles(out, at, card.score[PROFILES], words, word_starts, named)
        ends[i] = at


@compiled
def write_examples(examples: Any, hashes: Any, hash_bytes: int, begin: Any, out: Any, ends: Any) -> None:
    """Write examples of the value model one behind the other, and where each ends.

    `begin` is what stands before the hash: prefix, kind, model; `hashes` are of `hash_bytes` each.
    """
    at = 0
    for i in range(len(examples)):
        example = examples[i]
        at = _bytes(out, at, begin, 0, len(begin))
        at = _bytes(out, _long(out, _byte(out, at, 2), hash_bytes), hashes, i * hash_bytes, hash_bytes)
        at = _byte(out, at, 0)  # epoch
        at = _long(out, _byte(out, at, 2), example.day)
        at = _long(out, _byte(out, at, 2), example.timestamp_ms)
        at = _long(out, _byte(out, at, 2), len(example.features))
        for j in range(len(example.features)):
            at = _long(out, at, example.features[j])
        at = _byte(out, at, 0)
        at = _double(out, _byte(out, at, 2), example.forecast)
        at = _double(out, _byte(out, at, 2), example.label)
        for _ in range(FIELDS_BEHIND_LABEL):
            at = _byte(out, at, 0)
        ends[i] = at


@compiled
def write_headers(rows: Any, users: Any, user_starts: Any, words: Any, word_starts: Any, out: Any, ends: Any) -> None:
    """The seven CloudEvents headers of each change, one behind the other; each ends at the next of `ends`.

    `words`: version, source and content type; the type of an event by score; the name of a score.
    """
    at = 0
    for i in range(len(rows)):
        row, end = rows[i], i * HEADERS
        user, size = user_starts[row.user], user_starts[row.user + 1] - user_starts[row.user]
        at = ends[end] = _plain_word(out, at, words, word_starts, 0)
        at = _byte(out, _bytes(out, at, users, user, size), 47)
        at = _byte(out, _plain_word(out, at, words, word_starts, NAME_WORDS + row.score), 47)
        at = ends[end + 1] = _numbers(out, at, row)
        at = ends[end + 2] = _plain_word(out, at, words, word_starts, TYPE_WORDS + row.score)
        at = ends[end + 3] = _plain_word(out, at, words, word_starts, 1)
        at = ends[end + 4] = write_iso(out, at, row.decided_ms)
        at = ends[end + 5] = _bytes(out, at, users, user, size)
        at = ends[end + 6] = _plain_word(out, at, words, word_starts, 2)


@compiled
def _plain_word(out: Any, at: int, words: Any, word_starts: Any, word: int) -> int:
    return _bytes(out, at, words, word_starts[word], word_starts[word + 1] - word_starts[word])


@compiled
def _profiles(out: Any, at: int, code: float, words: Any, word_starts: Any, named: Any) -> int:
    """The names of the profiles that hold, as an array."""
    held, count = int(code), 0
    for i in range(named[1]):
        count += held >> i & 1
    if count > 0:
        at = _long(out, at, count)
        for i in range(named[1]):
            if held >> i & 1:
                at = _word(out, at, words, word_starts, named[0] + i)
    return _byte(out, at, 0)


@compiled
def _hits(out: Any, at: int, hits: Any, first: int, count: int, words: Any, word_starts: Any, named: Any) -> int:
    if count > 0:
        at = _long(out, at, count)
        for i in range(first, first + count):
            hit = hits[i]
            at = _word(out, at, words, word_starts, named[0] + hit.profile % named[1])
            at = _word(out, at, words, word_starts, named[0] + named[1] + hit.profile)
            at = _long(out, _byte(out, at, 1 if hit.held else 0), hit.since_ms)
            at = _double(out, at, hit.strength)
            at = _word(out, at, words, word_starts, CATEGORY_WORDS + hit.category)
            at = _double(out, _long(out, _double(out, at, hit.share), hit.amount_minor), hit.purchases)
            at = _word(out, at, words, word_starts, named[0] + named[1] + named[2] + hit.profile)
    return _byte(out, at, 0)


@compiled
def _risk(out: Any, at: int, card: Any, floors: Any, words: Any, word_starts: Any) -> int:
    risk = card.score[RISK]
    at = _number_or_null(out, at, risk, True)
    band = -1
    if not np.isnan(risk):
        band = 0
        for floor in floors[card.policy_version]:
            band += 1.0 - risk >= floor
    return _word_or_null(out, at, words, word_starts, BAND_WORDS, band)


@compiled
def _scores(out: Any, at: int, card: Any, floors: Any, words: Any, word_starts: Any) -> int:
    value = card.score[VALUE]
    at = _number_or_null(out, at, value, True)
    band = -1
    if not np.isnan(value):
        band = 0
        for floor in floors[card.policy_version]:
            band += value >= floor
    at = _word_or_null(out, at, words, word_starts, BAND_WORDS, band)
    at = _number_or_null(out, _number_or_null(out, at, card.score[STATUS], True), card.score[REVENUE], True)
    score_class = card.score[CLASS]
    at = _byte(out, at, 0) if np.isnan(score_class) else _long(out, _byte(out, at, 2), int(score_class))
    at = _name_or_null(out, at, RFM, card.score[RFM], words, word_starts)
    return _word(out, at, words, word_starts, SEGMENT_WORDS + card.segment)


@compiled
def _windows(out: Any, at: int, card: Any) -> int:
    at = _long(out, at, WINDOWS)
    for w in range(WINDOWS):
        at = _long(out, _long(out, at, WINDOW_DAYS[w]), card.deposits_minor[w])
        at = _long(out, _long(out, at, card.withdrawals_minor[w]), card.transactions[w])
    return _byte(out, at, 0)


@compiled
def _change_id(out: Any, at: int, row: Any, users: Any, user: int, size: int, words: Any, word_starts: Any) -> int:
    """user_id/score/incarnation/sequence."""
    score = word_starts[SCORE_WORDS + row.score] + 1  # its length is one byte
    score_size = word_starts[SCORE_WORDS + row.score + 1] - score
    digits = _digits(row.incarnation_rank) + _digits(row.incarnation_offset) + _digits(row.sequence)
    at = _long(out, at, size + score_size + digits + 4)
    at = _byte(out, _bytes(out, at, users, user, size), 47)
    at = _byte(out, _bytes(out, at, words, score, score_size), 47)
    return _numbers(out, at, row)


@compiled
def _numbers(out: Any, at: int, row: Any) -> int:
    """incarnation/sequence."""
    at = _byte(out, _decimal(out, at, row.incarnation_rank), 45)
    at = _byte(out, _decimal(out, at, row.incarnation_offset), 47)
    return _decimal(out, at, row.sequence)


@compiled
def _incarnation(out: Any, at: int, rank: int, offset: int) -> int:
    """rank-offset."""
    at = _long(out, at, _digits(rank) + _digits(offset) + 1)
    return _decimal(out, _byte(out, _decimal(out, at, rank), 45), offset)


@compiled
def _cause(
    out: Any, at: int, row: Any, text: Any, events: Any, event_text: Any, partition: int, words: Any, word_starts: Any
) -> int:
    at = _word(out, at, words, word_starts, CAUSE_WORDS + row.cause)
    if row.event < 0:
        for _ in range(4):
            at = _byte(out, at, 0)
    else:
        event = events[row.event]
        at = _word_or_null(out, at, words, word_starts, TOPIC_WORDS, event.rank)
        at = _long(out, _byte(out, at, 2), partition)
        at = _long(out, _byte(out, at, 2), event.offset)
        at = _text_or_null(out, at, event_text, event.event_id_at, event.event_id_length)
    return _text_or_null(out, at, text, row.loan_at, row.loan_length)


@compiled
def _reasons(out: Any, at: int, reasons: Any, first: int, count: int, words: Any, word_starts: Any) -> int:
    if count > 0:
        at = _long(out, at, count)
        for i in range(first, first + count):
            at = _word(out, at, words, word_starts, REASON_WORDS + reasons[i].code)
            at = _double(out, _double(out, at, reasons[i].level), reasons[i].moved)
    return _byte(out, at, 0)


@compiled
def _name_or_null(out: Any, at: int, score: int, value: float, words: Any, word_starts: Any) -> int:
    """The value of a score that is a text: an rfm's three digits, a segment's name."""
    if score == SEGMENT and not np.isnan(value):
        return _word_or_null(out, at, words, word_starts, SEGMENT_WORDS, int(value))
    if score == RFM and not np.isnan(value) and value != 0.0:
        rfm = int(value)
        return _decimal(out, _long(out, _byte(out, at, 2), _digits(rfm)), rfm)
    return _byte(out, at, 0)


@compiled
def _word(out: Any, at: int, words: Any, word_starts: Any, word: int) -> int:
    return _bytes(out, at, words, word_starts[word], word_starts[word + 1] - word_starts[word])


@compiled
def _word_or_null(out: Any, at: int, words: Any, word_starts: Any, section: int, index: int) -> int:
    return _byte(out, at, 0) if index < 0 else _word(out, _byte(out, at, 2), words, word_starts, section + index)


@compiled
def _until(out: Any, at: int, valid_until_ms: int) -> int:
    return _byte(out, at, 0) if valid_until_ms >= FOREVER_MS else _long(out, _byte(out, at, 2), valid_until_ms)


@compiled
def _text(out: Any, at: int, source: Any, start: int, length: int) -> int:
    return _bytes(out, _long(out, at, length), source, start, length)


@compiled
def _text_or_null(out: Any, at: int, source: Any, start: int, length: int) -> int:
    return _byte(out, at, 0) if length == 0 else _text(out, _byte(out, at, 2), source, start, length)


@compiled
def _number_or_null(out: Any, at: int, number: float, is_number: bool) -> int:
    return _double(out, _byte(out, at, 2), number) if is_number and not np.isnan(number) else _byte(out, at, 0)


@compiled
def _byte(out: Any, at: int, byte: int) -> int:
    out[at] = byte
    return at + 1


@compiled
def _bytes(out: Any, at: int, source: Any, start: int, length: int) -> int:
    return copy_bytes(source, start, length, out, at)


@compiled
def _long(out: Any, at: int, number: int) -> int:
    """A long as a zigzag-coded varint."""
    signed = np.int64(number)
    left = np.uint64(signed << 1) ^ np.uint64(signed >> 63)
    while left >= np.uint64(128):
        out[at] = np.uint8(left & np.uint64(127)) | np.uint8(128)
        left >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(left)
    return at + 1


def _as_bits(_context: Any, _number: Any) -> Any:
    """The 64 bits of a double as a uint64: what viewing an array would give, thirty times as fast."""

    def as_is(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint64))

    return types.uint64(types.float64), as_is


_bits_of: Any = intrinsic(_as_bits)


@compiled
def _double(out: Any, at: int, number: float) -> int:
    """Eight bytes, little-endian."""
    bits, to = _bits_of(number), np.uint64(at)
    for i in range(np.uint64(8)):
        out[to + i] = np.uint8(bits >> (np.uint64(8) * i) & np.uint64(255))
    return at + 8


@compiled
def _digits(number: int) -> int:
    """How many digits a number of 0 or more has."""
    count = 1
    while number >= 10:
        number //= 10
        count += 1
    return count


@compiled
def _decimal(out: Any, at: int, number: int) -> int:
    """A number of 0 or more in decimal."""
    end = at + _digits(number)
    for i in range(end - 1, at - 1, -1):
        out[i] = 48 + number % 10
        number //= 10
    return end


@compiled
def write_iso(out: Any, at: int, moment_ms: int) -> int:
    """`schemas.times.iso_of`: 24 bytes. The days of a calendar that begins in March, so that leap days come last.

    https://howardhinnant.github.io/date_algorithms.html, civil_from_days
    """
    moment_ms = min(max(moment_ms, FIRST_MS), LAST_MS)
    days = moment_ms // DAY_MS
    rest_ms = moment_ms - days * DAY_MS
    era = (days + 719_468) // 146_097
    day_of_era = days + 719_468 - era * 146_097
    year = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    at = _padded(out, at, year + era * 400 + (1 if month >= 10 else 0), 4, 45)
    at = _padded(out, at, month + 3 if month < 10 else month - 9, 2, 45)
    at = _padded(out, at, day_of_year - (153 * month + 2) // 5 + 1, 2, 84)
    at = _padded(out, at, rest_ms // 3_600_000, 2, 58)
    at = _padded(out, at, rest_ms // 60_000 % 60, 2, 58)
    at = _padded(out, at, rest_ms // 1_000 % 60, 2, 46)
    return _padded(out, at, rest_ms % 1_000, 3, 90)


@compiled
def _padded(out: Any, at: int, number: int, width: int, behind: int) -> int:
    """A number with leading zeros, and the sign behind it."""
    for i in range(at + width - 1, at - 1, -1):
        out[i] = 48 + number % 10
        number //= 10
    return _byte(out, at + width, behind)

"""The words for every reject code: what happened, and what to do about it.

A bad event is a value (`schemas.batch.Reject`), never an exception. Its message says what was wrong with this record,
and then, in the words kept here, how it gets right: these words are what an operator reads in the dead-letter topic.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.batch import Reject
from schemas.kinds import SCORE_NAMES, RejectCode


class Words(NamedTuple):
    """`what` happened, and the `remedy`: each a clause that can stand alone."""

    what: str
    remedy: str


REPLAY = "then replay the dead letter"
REPEATED = "as long as the event_id is remembered, a replay ends here again"

WORDS: dict[RejectCode, Words] = {
    RejectCode.NONE: Words("nothing is wrong", "there is nothing to do"),
    RejectCode.UNDECODABLE: Words(
        "the value cannot be decoded",
        "publish Avro (Confluent framing or single-object encoding) or a JSON object, whole",
    ),
    RejectCode.UNKNOWN_SCHEMA: Words(
        "the schema the value was written with is not known",
        "register that schema with the registry of RESCORE_REGISTRY__URL; without a registry, publish Avro in "
        f"single-object encoding or plain JSON; {REPLAY}",
    ),
    RejectCode.WRONG_TYPE: Words(
        "a field does not hold what its schema says", "write the field as the schema's doc says"
    ),
    RejectCode.NOT_A_NUMBER: Words("a number is NaN or infinite", "leave out an optional number that is not known"),
    RejectCode.NULL_KEY: Words("the record has no key", "publish it with its user_id as the key"),
    RejectCode.KEY_IS_NOT_USER: Words(
        "the record's key is not its user_id",
        "publish it with its user_id, as UTF-8 text, as the key (or, without a user_id, with its request_id)",
    ),
    RejectCode.WRONG_PARTITION: Words(
        "the record is not in the partition of its key",
        "publish with partitioner=murmur2_random (librdkafka's default is another one); a replay puts it right",
    ),
    RejectCode.TOO_LARGE: Words("the value or one of its fields is too long", "shorten it"),
    RejectCode.EVENT_TIME_IN_FUTURE: Words(
        "the event time is ahead of the time at which the record was written",
        "correct the clock or the time zone of the producer; a time without a zone is read in the policy's time zone",
    ),
    RejectCode.UNKNOWN_CURRENCY: Words(
        "the currency is not known",
        f"use three capital letters of ISO 4217; where the currency is right, publish its rate to fx-rates, {REPLAY}",
    ),
    RejectCode.AMOUNT_OUT_OF_RANGE: Words(
        "an amount is beyond 100,000,000,000 (10^13 minor units)", "write amounts in major units of their currency"
    ),
    RejectCode.UNKNOWN_STATE: Words(
        "the transaction's state is not known",
        "use SUCCEEDED or COMPLETED, FAILED, DECLINED, REJECTED, CANCELLED, EXPIRED or REVERSED, PENDING or PROCESSING",
    ),
    RejectCode.MISSING_FIELD: Words("a field that this event needs is missing", "publish the event with that field"),
    RejectCode.CORRECTION_WITHOUT_PREVIOUS: Words(
        "a correction does not say what it replaces",
        "fill `previous` with the fields of the revision before, or publish revision 0",
    ),
    RejectCode.UNKNOWN_LOAN: Words(
        "the loan is not known",
        f"if its issued event was never published, publish it, {REPLAY}; if the loan was settled or cancelled before,"
        " drop the dead letter",
    ),
    RejectCode.LOAN_CLOSED: Words(
        "the loan is closed: it was settled long ago or cancelled",
        "drop the dead letter; do not publish the loan again; what is still to count needs a loan_id of its own",
    ),
    RejectCode.NON_POSITIVE_PAYMENT: Words(
        "a payment is not above zero",
        "publish a bounced payment as a correction (revision + 1, with `previous`) to amount 0",
    ),
    RejectCode.NON_POSITIVE_ORDER: Words("the order amount is not above zero", "publish the loan with its amount"),
    RejectCode.CANCEL_AFTER_DUE: Words(
        "the loan to be cancelled is past due or has payments",
        f"allow it with the policy cancel_after_due, {REPLAY}, or drop it",
    ),
    RejectCode.LOAN_EXISTS: Words(
        "a loan with this loan_id was issued before",
        "give a new loan an id of its own; change a known one with a higher revision",
    ),
    RejectCode.TOO_MANY_LOANS: Words(
        "the customer has too many open loans or points for one row",
        "split the customer, or wait until loans are settled",
    ),
    RejectCode.ERASED: Words(
        "the customer was erased after this happened", "drop it: what came before an erasure stays forgotten"
    ),
    RejectCode.UNKNOWN_SCORE: Words("there is no score of this name", f"use one of {', '.join(SCORE_NAMES)}"),
    RejectCode.UNKNOWN_CATEGORY: Words("the user category is not known", "use API or WEB, or leave it out"),
    RejectCode.TOO_MANY_CURRENCIES: Words(
        "the customer has too many currencies for one row", "publish further currencies converted"
    ),
    RejectCode.BEFORE_FIRST_DAY: Words(
        "the event time is before 1900-01-01", "write the time at which it happened; a default date is none"
    ),
    RejectCode.TOO_MANY_DUE_DATES: Words(
        "the loan's due date was moved too often for one row", "issue the rest as a loan of its own"
    ),
    RejectCode.PAYMENT_CURRENCY: Words(
        "the payment is not in its loan's currency", "publish the amount in the loan's own currency"
    ),
    RejectCode.OVERRIDE_OUT_OF_RANGE: Words(
        "the score cannot have the value it is to be held at", "choose a value within the score's range"
    ),
    RejectCode.EVENT_ID_REUSED: Words(
        "another event of this kind, with other content, has this event_id and revision",
        "give each event of a topic an event_id of its own; publish a change of an event as its correction "
        f"(revision + 1, with `previous`). Fix the publisher and drop the dead letter: {REPEATED}",
    ),
    RejectCode.CORRECTION_OF_NOTHING: Words(
        "the customer's record does not hold what this correction replaces",
        f"publish the original event first, {REPLAY}; where `previous` is not the revision before, publish the "
        "correction again with the right one",
    ),
    RejectCode.REQUEST_ID_OUT_OF_RANGE: Words(
        "the request_id is below 0 or above 9007199254740991 (2^53 - 1)",
        "number requests from 0 to 2^53 - 1: readers of JSON change larger numbers",
    ),
    RejectCode.OUTCOME_OF_NOTHING: Words(
        "the outcome names no case that can exist",
        "name the request_id of a request, or the loan_id with the user_id and the model risk, and a model by its name",
    ),
    RejectCode.OVERRIDE_EXPIRED: Words(
        "the override had expired when it arrived", "order it again with an expiry to come; a lift ends an override"
    ),
    RejectCode.UNKNOWN_MCC: Words(
        "the merchant category code is none", "write mcc as the four digits of ISO 18245 (0742), or leave it out"
    ),
    RejectCode.INTERNAL_ERROR: Words(
        "the program failed on this record",
        f"report it with the traceback in the worker's log, install the release that fixes it, {REPLAY}",
    ),
    RejectCode.IMPLAUSIBLE_DATE: Words(
        "a date is a default value, or before what it follows",
        "write the day on which it happened or is due, and leave out an optional date that is not known",
    ),
}


def words_of(code: RejectCode) -> str:
    """The message of a reject about which nothing more is known than its code.

    >>> words_of(RejectCode.NULL_KEY)
    'The record has no key: publish it with its user_id as the key.'
    """
    return sentence_of(code, WORDS[RejectCode(code)].what)


def sentence_of(code: RejectCode, what: str, remedy: str | None = None) -> str:
    """The message of a reject: what happened, as a clause, and the remedy, by default that of the code."""
    return _sentence(what, remedy or WORDS[RejectCode(code)].remedy)


def refuse(record: int, stage: str, code: RejectCode, detail: str) -> Reject:
    """A reject that says what is wrong with this record: `detail` is a clause such as "revision is -1".

    >>> refuse(3, "decode", RejectCode.NON_POSITIVE_ORDER, "order_amount is -5.0").message
    'order_amount is -5.0: publish the loan with its amount.'
    """
    return Reject(record, stage, int(code), sentence_of(code, detail))


def _sentence(what: str, remedy: str) -> str:
    # A name of a field keeps its case.
    first = what if "_" in what.partition(" ")[0] else what[0].upper() + what[1:]
    return f"{first}: {remedy}."

"""Requests as they were published: `rescore explain --request`, and whether a number is a request's.

A request_id is a number of its own: request 77 that names no customer is not of customer 77, though both have the key
"77" in Kafka. Every answer says which of the two it speaks of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from schemas.errors import fail
from streams.commands.partial import as_far_as_committed, tell_missing
from streams.terminal import console, echo, print_json

if TYPE_CHECKING:
    from streams.settings import Settings


class Found(NamedTuple):
    """A request as it was published, and when it became known."""

    fields: dict[str, Any]
    asked_ms: int


def whose(user: str | None, request_id: int) -> str:
    """A request in words.

    >>> whose("ann", 5), whose(None, 5)
    ('request 5 of customer ann', 'request 5 (names no customer)')
    """
    return f"request {request_id} " + ("(names no customer)" if user is None else f"of customer {user}")


def published(chosen: Settings, key: str, request_id: int) -> tuple[Found | None, Found | None]:
    """What was published under a key as this request: a customer's, and one that names none; the latest of each."""
    from schemas.meaning import request_without_user
    from streams.composition.registry import partition_of, values
    from streams.kafka.client import read, require_topics

    topic, codec = chosen.topic("applicants"), values(chosen)
    counts = require_topics(chosen.kafka, [topic])
    of_customer, of_nobody = None, None
    missing: list[str] = []
    records = read(chosen.kafka, counts, [partition_of(chosen, key, counts[topic])])
    for record in as_far_as_committed(records, missing):
        if record.key != key.encode() or not record.value:
            continue
        try:
            fields = codec.decode("applicants", record.value)
        except ValueError:
            continue  # a dead letter: `rescore dlq` tells of it
        if fields["request_id"] != request_id:
            continue
        if request_without_user(fields) is None:
            of_customer = Found(fields, record.timestamp_ms)
        else:
            of_nobody = Found(fields, record.timestamp_ms)
    if of_customer is None and of_nobody is None:
        tell_missing(missing)
    return of_customer, of_nobody


def is_published(chosen: Settings, user: str) -> int | None:
    """The request that has this text as its number, and names no customer; None where there is none on the topic."""
    from schemas.row_keys import number_in

    number = number_in(user)
    return None if number is None or published(chosen, user, number)[1] is None else number


def inspect_request(chosen: Settings, request_id: int, as_json: bool) -> None:
    """Show what Redis holds of a request that names no customer."""
    from schemas.row_keys import request_key
    from streams.composition.store import read_row
    from streams.customers.document import request_document
    from streams.customers.row_view import request_tables

    found = read_row(chosen, request_key(request_id))
    if found is None:
        fail(
            f"no {whose(None, request_id)} is known",
            f"rescore explain USER --request {request_id} for a customer's own; rescore dlq list",
        )
    row, place = found
    if as_json:
        print_json(request_document(request_id, row, place.partition, place.seq))
        return
    echo(f"{whose(None, request_id)}   partition {place.partition}, as of transaction {place.seq:,} of it")
    for table in request_tables(row):
        echo("")
        console().print(table)
    echo("", f"next: rescore explain --request {request_id}", err=True)


def explain_request(chosen: Settings, user: str, request_id: int, as_json: bool) -> None:
    """Why a request was declined, and what would have been enough; `user` is empty where it names no customer."""
    from streams.commands.subscribe import local_time
    from streams.composition.versions import known_versions
    from streams.customers.requests import Asked, lines, verdict
    from streams.customers.story import CONTEST
    from streams.customers.story_documents import request_explanation
    from streams.scoring.models.specs import CUSTOMER, spec_at

    found, owner = _the_one(chosen, user, request_id)
    attributes = found.fields["attributes"] or {}
    known, name = known_versions(chosen), str(attributes.get("model") or "risk")
    spec = spec_at(known.specs, name, found.asked_ms)
    if spec is None:
        fail(f"request {request_id} names the model {name!r}, which was not declared", "rescore models list")
    if spec.inputs == CUSTOMER and owner is not None:
        fail(
            f"request {request_id} asks for the {name} of a customer as they stood then, which is not kept",
            f"rescore explain {user} --adverse says what counts now",
        )
    try:
        model = known.model_at(name, found.asked_ms)
    except KeyError:
        fail(f"no version of {name} was in force when request {request_id} was made", "rescore models promote --help")
    said = verdict(spec, model, Asked(found.fields, found.asked_ms, known.versions))
    if as_json:
        print_json(request_explanation(owner, request_id, found.asked_ms, said))
        return
    for line in lines(said, whose(owner, request_id), local_time(found.asked_ms)):
        echo(line)
    echo(CONTEST)


def _the_one(chosen: Settings, user: str, request_id: int) -> tuple[Found, str | None]:
    """The request that is asked for, and whose it is: of this customer, else the one of that number that names none."""
    of_customer, of_nobody = published(chosen, user or str(request_id), request_id)
    if user and of_customer is not None:
        if of_nobody is not None:
            echo(f"another request {request_id} names no customer: rescore explain --request {request_id}", err=True)
        return of_customer, user
    if of_nobody is None:
        _say_that_there_is_none(chosen, user, request_id, is_customers=of_customer is not None)
    return of_nobody, None


def _say_that_there_is_none(chosen: Settings, user: str, request_id: int, is_customers: bool) -> NoReturn:
    whom = f"{user!r}" if user else "someone who is no customer"
    to_do = "check both; requests expire with the topic"
    if is_customers:
        to_do = f"rescore explain {request_id} --request {request_id} speaks of the customer of that name"
    fail(f"no request {request_id} of {whom} is on {chosen.topic('applicants')}", to_do)

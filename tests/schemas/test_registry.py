"""The registry adapter against a small server that speaks the registry's REST interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.codec import Decoder, Encoder, Refused, decode, decode_value, encode_value
from schemas.definitions import SCHEMA_OF_TOPIC, schema
from schemas.kinds import RejectCode
from schemas.readable import read_fields
from schemas.registry import ConfluentRegistry, RegistryUnavailable, SchemaNotRegistered
from tests.schemas.registry_server import RegistryServer, running
from tests.schemas.samples import record, transaction


class Server(RegistryServer):
    """Holds texts of schemas by id; `status` other than 200 is what it answers to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[dict[str, Any]] = []
        self.status = 200
        self.requests: list[str] = []

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        parts = path.partition("?")[0].strip("/").split("/")
        self.requests.append(f"{'POST' if body else 'GET'} {'/'.join(parts)}")
        body = body and {"schema": body["schema"]}
        if self.status != 200:
            return self.status, {"message": "a proxy says no"}
        if body is None and parts[:2] == ["schemas", "ids"]:
            number = int(parts[2])
            known = 1 <= number <= len(self.texts)
            return (200, self.texts[number - 1]) if known else (404, {"error_code": 40403, "message": "not found"})
        if body is None:
            subject, version = parts[1], int(parts[3])
            if version > len(self.texts):
                return 404, {"error_code": 40402, "message": "version not found"}
            found = self.texts[version - 1]
            return 200, found | {"subject": subject, "version": version, "id": version}
        if len(parts) == 3 and body not in self.texts:
            self.texts.append(body)
        if body not in self.texts:
            return 404, {"error_code": 40403, "message": "not found"}
        number = self.texts.index(body) + 1
        return 200, body | {"subject": parts[1], "id": number, "version": number}


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as server:
        yield server


def test_what_is_registered_is_written_framed_and_read_back(server: Server) -> None:
    registry = ConfluentRegistry(server.url)
    ids = registry.register()
    assert set(ids) == {f"{topic}-value" for topic in SCHEMA_OF_TOPIC}
    value = encode_value("Transaction", transaction(), Encoder(registry))
    assert value[:5] == b"\0" + ids["transactions-value"].to_bytes(4, "big")
    assert decode_value("Transaction", value, registry)["user_id"] == "ann"
    batch = decode([record(transaction())._replace(value=value)], 0, Decoder(registry, 1))
    assert (batch.users, batch.rejects) == ([b"ann"], [])


def test_registering_again_changes_nothing(server: Server) -> None:
    assert ConfluentRegistry(server.url).register() == ConfluentRegistry(server.url).register()


def test_an_id_is_asked_for_once(server: Server) -> None:
    registry = ConfluentRegistry(server.url)
    number = registry.register()["loans-value"]
    server.requests.clear()
    assert registry.schema_of_id(number) == registry.schema_of_id(number)
    assert len(server.requests) == 1


def test_an_id_that_is_definitely_unknown_is_a_reject_and_may_become_known(server: Server) -> None:
    registry = ConfluentRegistry(server.url)
    framed = encode_value("Transaction", transaction(), Encoder(registry, prefixes={"Transaction": b"\0\0\0\0\1"}))
    with pytest.raises(Refused) as refused:
        read_fields(framed, "Transaction", registry)
    assert refused.value.code == RejectCode.UNKNOWN_SCHEMA
    server.texts.append({"schema": json.dumps(schema("Transaction"))})
    assert read_fields(framed, "Transaction", registry)["user_id"] == "ann"


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_an_answer_that_is_not_the_registrys_decides_nothing(server: Server, status: int) -> None:
    server.status = status
    registry = ConfluentRegistry(server.url)
    with pytest.raises(RegistryUnavailable):
        registry.schema_of_id(1)
    with pytest.raises(RegistryUnavailable):
        registry.prefix_of("Transaction")


def test_a_server_that_is_away_decides_nothing(server: Server) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        ConfluentRegistry(url, {"timeout": 0.2}).schema_of_id(1)


def test_a_schema_that_is_not_registered_is_named_with_what_to_do(server: Server) -> None:
    registry = ConfluentRegistry(server.url, topic_prefix="dev.")
    with pytest.raises(
        SchemaNotRegistered, match=r"ScoreChange for dev\.score-changes-value: run `rescore topics apply`"
    ):
        registry.prefix_of("ScoreChange")


NO_SCHEMAS: dict[str, tuple[dict[str, Any], str]] = {
    "Protobuf": ({"schema": "syntax = 'proto3';", "schemaType": "PROTOBUF"}, "its type is PROTOBUF, not Avro"),
    "a JSON schema": ({"schema": '{"type": "object"}', "schemaType": "JSON"}, "its type is JSON, not Avro"),
    "no JSON": ({"schema": "record Transaction"}, "its text is not JSON"),
    "JSON that is no schema": ({"schema": '{"type": {"a": 5}}'}, "a type in it has the type null"),
    "a number": ({"schema": "5"}, "5 stands where a type belongs"),
    "nested without end": ({"schema": '{"type":' * 50_000}, "it is nested too deeply"),
    "arrays in arrays": ({"schema": '{"type":"array","items":' * 60 + '"int"' + "}" * 60}, "deeper than 50 levels"),
    "enormous": ({"schema": json.dumps({"type": "string", "doc": "x" * 1_000_001})}, "more than 1,000,000"),
    "20,000 fields": ({"schema": json.dumps({"type": "record", "name": "Transaction", "fields": [
        {"name": f"f{i}", "type": "int"} for i in range(20_000)]})}, "more than 10,000 types"),
    "a field twice": ({"schema": json.dumps({"type": "record", "name": "Transaction", "fields": [
        {"name": "user_id", "type": "string"}] * 2})}, "the fields of Transaction name user_id twice"),
    "a type twice": ({"schema": json.dumps([{"type": "fixed", "name": "F", "size": 1}] * 2)}, "the type F twice"),
    "a type that is not there": ({"schema": '{"type": "array", "items": "bank.Money"}'}, "bank.Money, which is not"),
    "a fixed of no size": ({"schema": '{"type": "fixed", "name": "F", "size": "12"}'}, 'the size of F is "12"'),
    "a fixed of 2^62 bytes": ({"schema": '{"type": "fixed", "name": "F", "size": 4611686018427387904}'}, "size of F"),
    "a union in a union": ({"schema": '["null", ["string"]]'}, "a union in it holds a union"),
    "itself": ({"schema": '"A"', "references": [{"name": "A", "subject": "s", "version": 1}]},
        "it uses the type A, which is not defined"),
    "a reference to no schema": (
        {"schema": '"A"', "references": [{"name": "A", "subject": "s", "version": 2}]}, "text is not JSON"),
    "its own name again": (
        {"schema": '{"type": "fixed", "name": "M", "size": 1}',
         "references": [{"name": "M", "subject": "s", "version": 3}]}, "it defines the type M twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_SCHEMAS)
def test_an_answer_that_is_no_usable_avro_schema_is_a_letter_that_says_why_and_is_asked_for_once(
    server: Server, case: str
) -> None:
    answer, words = NO_SCHEMAS[case]
    server.texts += [answer, {"schema": "message A {}"}, {"schema": '{"type": "fixed", "name": "M", "size": 1}'}]
    registry = ConfluentRegistry(server.url)
    framed = record(transaction())._replace(value=b"\0\0\0\0\1\2a")
    batch = decode([framed, framed, record(transaction())], 0, Decoder(registry, 1))
    assert [RejectCode(reject.code) for reject in batch.rejects] == [RejectCode.UNDECODABLE] * 2
    assert words in batch.rejects[0].message
    assert batch.users == [b"ann"]
    asked = len(server.requests)
    assert registry.schema_of_id(1) is registry.schema_of_id(1)
    assert len(server.requests) == asked


def test_an_id_beyond_what_registries_number_is_unknown_and_not_asked_for(server: Server) -> None:
    """They answer it as a path that is not theirs, which decides nothing: the partition would stand still for good."""
    assert ConfluentRegistry(server.url).schema_of_id(2**31) is None
    assert server.requests == []


def reference(number: int) -> dict[str, Any]:
    return {"name": f"bank.A{number}", "subject": "types", "version": number}


def test_references_are_read_through_references_each_once_and_no_more_than_a_hundred(server: Server) -> None:
    fields = [{"name": side, "type": "bank.A1"} for side in ("left", "right")]
    server.texts.append({"schema": '{"type": "fixed", "name": "A1", "namespace": "bank", "size": 1}'})
    for number in range(2, 31):  # each refers to the two before it: two to the power of thirty ways to the first
        fields = [{"name": f"f{n}", "type": f"bank.A{n}"} for n in (number - 1, max(number - 2, 1)) if n]
        body = {"type": "record", "name": f"bank.A{number}", "fields": fields[: 1 if number == 2 else 2]}
        references = [reference(number - 1), reference(max(number - 2, 1))]
        server.texts.append({"schema": json.dumps(body), "references": references})
    found = ConfluentRegistry(server.url).schema_of_id(30)
    assert isinstance(found, dict)
    assert json.dumps(found).count('"size"') == 1
    for number in range(31, 140):
        body = {"type": "array", "items": "bank.A1"}
        server.texts.append({"schema": json.dumps(body), "references": [reference(number - 1)]})
    assert "more than 100 other schemas" in str(ConfluentRegistry(server.url).schema_of_id(139))


def test_a_reference_that_is_not_there_yet_is_asked_for_again(server: Server) -> None:
    server.texts.append({"schema": '{"type": "array", "items": "bank.A9"}', "references": [reference(9)]})
    registry = ConfluentRegistry(server.url)
    assert registry.schema_of_id(1) is None
    server.texts += [server.texts[0]] * 7 + [{"schema": '{"type": "fixed", "name": "bank.A9", "size": 1}'}]
    assert registry.schema_of_id(1) is not None


def test_a_schema_that_refers_to_another_is_read_with_it(server: Server) -> None:
    money = {"type": "record", "name": "Money", "namespace": "bank", "fields": [{"name": "amount", "type": "double"}]}
    outer = {"type": "record", "name": "Bill", "namespace": "bank", "fields": [{"name": "sum", "type": "bank.Money"}]}
    server.texts.append({"schema": json.dumps(money)})
    reference = {"name": "bank.Money", "subject": "money", "version": 1}
    server.texts.append({"schema": json.dumps(outer), "references": [reference]})
    found = ConfluentRegistry(server.url).schema_of_id(2)
    assert isinstance(found, dict)
    assert found["fields"][0]["type"]["fields"][0]["name"] == "amount"

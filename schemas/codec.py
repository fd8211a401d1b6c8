"""Between bytes and columns: what the processes call. The ways it is done are in the modules named here.

`decode` (schemas.decode) makes an `EventBatch` of records. `encode_changes`, `encode_scorecards`, `encode_examples` and
`encode_inversions` (schemas.encode) make values of what a step said, `encode_example` (schemas.examples) that of one
example. `encode_value`, `decode_value`, `change_to_dict` and `card_to_dict` (schemas.writing) are for single values
and for people; `CloudEvents` makes headers.
"""

from __future__ import annotations

import numpy as np

from schemas.batch import CARD, CHANGE, EVENT, EXAMPLE, REASON, Changes, EventBatch, Record
from schemas.cloud_events import CloudEvents
from schemas.decode import Decoder, decode
from schemas.encode import encode_changes, encode_examples, encode_inversions, encode_scorecards
from schemas.examples import encode_example
from schemas.known_schemas import Registry, RegistryUnavailable, SchemaNotRegistered, StaticRegistry
from schemas.partitioner import Partitioner, partition_of
from schemas.readable import Refused
from schemas.texts import Texts
from schemas.writing import Encoder, VersionNames, card_to_dict, change_to_dict, decode_value, encode_value

__all__ = [
    "CloudEvents",
    "Decoder",
    "Encoder",
    "Partitioner",
    "Refused",
    "Registry",
    "RegistryUnavailable",
    "SchemaNotRegistered",
    "StaticRegistry",
    "VersionNames",
    "card_to_dict",
    "change_to_dict",
    "decode",
    "decode_value",
    "encode_changes",
    "encode_example",
    "encode_examples",
    "encode_inversions",
    "encode_scorecards",
    "encode_value",
    "partition_of",
    "warm",
]


def warm() -> None:
    """Compile everything the codec needs, or load it from the cache: 20 s the first time, then half a second."""
    registry = StaticRegistry()
    encoder = Encoder(registry)
    fields = {
        "user_id": "a",
        "event_id": "a",
        "transaction_currency": "EUR",
        "transaction_amount": 1.0,
        "transaction_date": "2024-01-01",
    }
    value = encode_value("Transaction", fields, encoder)
    batch = decode([Record("transactions", 0, 0, 2**41, b"a", value)], 0, Decoder(registry, 1))
    decode([batch.records[0]._replace(value=b'{"event_id": "a"}')], 0, Decoder(registry, 1))
    rows, cards = np.zeros(1, CHANGE), np.zeros(1, CARD)
    changes = Changes(rows, np.zeros(0, REASON), np.zeros(0, np.uint8), cards)
    names, users = VersionNames(("w",), ("p",)), Texts.of(batch.users)
    encode_changes(changes, batch, users, names, encoder)
    encode_changes(changes, EventBatch(0, [], np.zeros(1, EVENT), batch.text, []), users, names, encoder)
    encode_scorecards(changes, users, names, encoder)
    encode_examples(np.zeros(1, EXAMPLE), [b"hash"], encoder)
    CloudEvents("").change_headers(changes, batch, users)
    for partitioner in Partitioner:
        partition_of(b"a", 2, partitioner)

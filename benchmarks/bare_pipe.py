"""The least that exactly once costs on Kafka and Redis from Python: everything a worker does but the thinking.

Consume, decode, MGET the customers' rows, one transaction with a row of 600 bytes for each and a change of 250 bytes
for half of them and the positions, MSET. No scores, no scorecards, no headers, no timers, no fence around Redis, no way
back after a crash. What a worker reaches is compared with this.

    python benchmarks/bare_pipe.py BOOTSTRAP_SERVERS REDIS_URL TOPIC PARTITIONS GROUP CUSTOMERS

The rows of that many customers are written first, so that there is something to read.
"""

from __future__ import annotations

import signal
import sys
from collections import defaultdict

import numpy as np
import redis
from confluent_kafka import Consumer, Message, Producer
from redis.connection import PythonRespSerializer

from schemas.batch import Record
from schemas.codec import Decoder, StaticRegistry, decode, partition_of, warm

IMAGE_BYTES = 600
CHANGE_BYTES = 250
RECORDS_MAX = 10_000
IMAGES, CHANGES = "bare-images", "bare-changes"


def main(bootstrap_servers: str, redis_url: str, topic: str, partitions: int, group: str, customers: int) -> None:
    """Take records until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    warm()
    decoder = Decoder(StaticRegistry(), partitions, topic_prefix=topic.removesuffix("transactions"))
    client = redis.Redis.from_url(redis_url, protocol=3)
    # hiredis packs many short arguments fastest, but copies long ones; this one sends them as they are.
    long_client = redis.Redis.from_url(
        redis_url, protocol=3, command_packer=PythonRespSerializer(6_000, client.get_encoder().encode)
    )
    fill(long_client, customers, partitions)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
            "fetch.message.max.bytes": 4 * 2**20,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "transactional.id": group,
            "linger.ms": 0,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2**20,
            "batch.num.messages": 100_000,
        }
    )
    producer.init_transactions(30)
    consumer.subscribe([topic])
    while not stopped:
        messages = [message for message in consumer.consume(RECORDS_MAX, 0.01) if message.error() is None]
        if messages:
            carry(messages, decoder, client, long_client, producer, consumer)
    consumer.close()


def fill(client: redis.Redis, customers: int, partitions: int) -> None:
    """Rows of all customers, unless they are there already."""
    names = [b"c-%07d" % number for number in range(customers)]
    keys = [b"{bare.%d}:%b" % (partition_of(name, partitions), name) for name in names]
    if keys and client.exists(keys[-1]):
        return
    image = bytes(IMAGE_BYTES)
    for start in range(0, len(keys), RECORDS_MAX):
        client.execute_command("MSET", *(part for key in keys[start : start + RECORDS_MAX] for part in (key, image)))


def carry(
    messages: list[Message],
    decoder: Decoder,
    client: redis.Redis,
    long_client: redis.Redis,
    producer: Producer,
    consumer: Consumer,
) -> None:
    """One batch: read, write in one transaction, remember."""
    by_partition: defaultdict[int, list[Record]] = defaultdict(list)
    for m in messages:
        by_partition[m.partition()].append(
            Record(m.topic(), m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value())
        )
    image, rest = bytes(IMAGE_BYTES), bytes(CHANGE_BYTES - 8)
    producer.begin_transaction()
    written: list[list[bytes]] = []
    for partition, records in by_partition.items():
        batch = decode(records, partition, decoder)
        users, last = batch.users, np.zeros(len(batch.users), "<i8")
        last[batch.events["user"]] = batch.events["offset"]
        keys = [b"{bare.%d}:%b" % (partition, user) for user in users]
        client.execute_command("MGET", *keys)
        producer.produce_batch(IMAGES, [{"key": user, "value": image} for user in users], partition)
        # A change says which event it came from, so that its latency can be told.
        changes = [{"key": user, "value": offset + rest} for user, offset in zip(users[::2], _bytes(last), strict=True)]
        producer.produce_batch(CHANGES, changes, partition)
        written.append([part for key in keys for part in (key, image)])
    producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
    producer.commit_transaction()
    for parts in written:
        long_client.execute_command("MSET", *parts)


def _bytes(offsets: np.ndarray) -> list[bytes]:
    """Every second offset as eight bytes."""
    whole = offsets[::2].tobytes()
    return [whole[at : at + 8] for at in range(0, len(whole), 8)]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], int(sys.argv[6]))

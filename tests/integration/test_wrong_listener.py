"""Settings that do not fit a listener: the reason is told with the setting's name, not that Kafka is away."""

from __future__ import annotations

import pytest

from streams.kafka.client import KafkaUnreachable, partition_counts
from streams.settings import KafkaSettings


@pytest.mark.parametrize(
    "keys, reason, setting",
    [
        ({"security.protocol": "SSL"}, "SSL handshake failed", "LIBRDKAFKA__SECURITY_PROTOCOL"),
        (
            {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "ann",
                "sasl.password": "x",
            },
            "SASL",
            "LIBRDKAFKA__SECURITY_PROTOCOL",
        ),
    ],
    ids=["tls", "sasl"],
)
def test_a_plain_port_asked_in_another_protocol_is_told_as_that(kafka, keys, reason, setting) -> None:
    chosen = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, librdkafka=keys)
    with pytest.raises(KafkaUnreachable, match=reason) as away:
        partition_counts(chosen)
    assert setting in away.value.remedy

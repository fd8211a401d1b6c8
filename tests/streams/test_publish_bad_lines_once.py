"""Bad lines and exactly once: what is left out, what stops, what goes on, and which options make another mapping."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import RescoreError
from schemas.topic_values import Values
from schemas.zones import UTC
from streams.commands.publish_files import send_files
from streams.commands.publish_job import Job
from streams.kafka.producer import Published
from streams.log.memory import MemoryBroker
from streams.publish.events import Source
from streams.publish.exactly_once import Publisher
from streams.publish.mapping import FileMapping
from streams.publish.publications import Known, mapping_digest
from streams.settings import Settings
from tests.streams.publication_log import MemoryPublicationLog

TOPIC = "rescore-publications"
HEAD = "user_id,transaction_amount,transaction_currency,transaction_date\n"
ANN, BOB, CID = (f"{name},1,EUR,2026-01-0{n}\n" for n, name in enumerate(("ann", "bob", "cid"), start=1))
BAD, WORSE = "dan,x,EUR,2026-01-04\n", "eva,1,EUR,20260104\n"
NOW_MS = 1_798_761_600_000  # 2027-01-01, after all events


def publish(broker: MemoryBroker, path: Path, *, skip: bool = False, as_is: bool = False) -> tuple[int, Job]:
    """How many events a call has published, and the call."""
    job = Job(
        Settings(), [Source(path, "transactions", FileMapping())], None, None, as_is, False, True, Values(), UTC, skip
    )
    publisher = Publisher(MemoryPublicationLog(broker, TOPIC), "app", TOPIC, "eve", lambda: NOW_MS, float, events_max=1)
    done = Published()
    send_files(job, publisher, done, only_files=True)
    return done.acknowledged, job


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker({"transactions": 2, TOPIC: 1})


def events(broker: MemoryBroker) -> list[str]:
    return sorted((record.key or b"").decode() for record in broker.visible("transactions"))


def test_nothing_is_sent_or_recorded_of_a_file_with_a_bad_line(broker: MemoryBroker, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + ANN + BAD + BOB)
    with pytest.raises(RescoreError, match="1 bad line: nothing was published"):
        publish(broker, path)
    assert events(broker) == []
    assert Known.of(broker.visible(TOPIC)).publications == {}
    assert publish(broker, path, skip=True)[0] == 2
    (publication,) = Known.of(broker.visible(TOPIC)).publications.values()
    assert (publication.complete, publication.bad_lines, publication.rows) == (True, 1, 2)
    with pytest.raises(RescoreError, match="already published: 2 events"):
        publish(broker, path, skip=True)


def test_bad_lines_that_were_left_out_do_not_stop_the_file_once_it_has_grown(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + BAD + ANN + WORSE)  # one before the last event, and one after it
    assert publish(broker, path, skip=True)[0] == 1
    path.write_text(path.read_text() + BOB)
    published, job = publish(broker, path)
    assert (published, job.bad_lines) == (1, 0)
    path.write_text(path.read_text() + BAD + CID)
    with pytest.raises(RescoreError, match="1 bad line: nothing was published"):
        publish(broker, path)
    assert publish(broker, path, skip=True)[0] == 1
    assert events(broker) == ["ann", "bob", "cid"]


def test_as_is_stops_at_a_bad_line_and_goes_on_after_it(
    broker: MemoryBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + ANN + BAD + BOB)
    with pytest.raises(RescoreError, match=r"stopped at line 3 of a\.csv") as stopped:
        publish(broker, path, as_is=True)
    assert "the same command with --skip-bad-lines: it goes on where it was" in stopped.value.remedy
    assert "1 event before it is published" in capsys.readouterr().err
    assert events(broker) == ["ann"]
    assert publish(broker, path, as_is=True, skip=True)[0] == 1
    assert events(broker) == ["ann", "bob"]


def test_options_that_change_what_rows_mean_make_another_mapping() -> None:
    plain = FileMapping()
    said = [("cp1252", None, "", ""), ("", 2, "", ""), ("", None, ",", ""), ("", None, "", "debezium")]
    digests = {mapping_digest(plain.with_reading(*one), {}) for one in [("", None, "", ""), *said]}
    assert len(digests) == 5
    for name, other in (("utf-8", ""), ("windows-1252", "cp1252")):
        read = [mapping_digest(plain.with_reading(one, None, "", ""), {}) for one in (name, other)]
        assert read[0] == read[1]

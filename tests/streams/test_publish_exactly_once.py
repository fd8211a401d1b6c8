"""Files published twice, interrupted, renamed, grown, in one call or many: what is in the topics is what is in them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import RescoreError
from schemas.topic_values import Values
from schemas.zones import UTC
from streams.commands.events import Job
from streams.commands.publish_files import send_files
from streams.kafka.producer import Published
from streams.log.memory import MemoryBroker
from streams.publish.events import Source
from streams.publish.exactly_once import Publisher, TakenOver
from streams.publish.files import UnreadableFile
from streams.publish.mapping import FileMapping
from streams.publish.publications import AlreadyPublished, ChangedReading, Known, UnreadablePublication
from streams.publish.publisher import TimeGoesBack
from streams.settings import Settings
from tests.streams.publication_log import Killed, MemoryPublicationLog

HEAD = "user_id,transaction_amount,transaction_currency,transaction_date"
TOPIC = "rescore-publications"
DAY_MS = 86_400_000
VALUES = Values()
SAID = (RescoreError, AlreadyPublished, TakenOver)
"""What a publisher is told in words, so that the call can be given again."""


class Bank:
    """A broker, and calls of `rescore publish` against it."""

    def __init__(self, events_max: int = 3) -> None:
        self.broker = MemoryBroker({"transactions": 2, "loans": 2, TOPIC: 1})
        self.events_max = events_max
        self.now_ms = 1_798_761_600_000  # 2027-01-01, after all events

    def publish(
        self,
        *paths: Path,
        step: Callable[[], None] = lambda: None,
        clock: str = "wall",
        columns: dict[str, str] | None = None,
        **options: object,
    ) -> int:
        """A call; returns how many events it has published."""
        given_ = {"from_ms": None, "until_ms": None, "as_is": False, "again": False} | options
        sources = [Source(path, "transactions", FileMapping(columns=columns or {})) for path in paths]
        job = Job(Settings(clock=clock), sources, json_values=True, values=VALUES, zone=UTC, **given_)
        log, done = MemoryPublicationLog(self.broker, TOPIC, step), Published()
        self.now_ms += 1_000
        publisher = Publisher(
            log, "app", TOPIC, "eve@bank", lambda: self.now_ms, float, clock == "records", self.events_max
        )
        with ExitStack() as stack:
            stack.callback(lambda: [pipe.close() for pipe in job.kept.values()])
            send_files(job, publisher, done, only_files=True)
        return done.acknowledged

    def values(self) -> list[dict[str, object]]:
        """Every committed event."""
        return [json.loads(record.value or b"") for record in self.broker.visible("transactions")]

    def sums(self) -> Counter[tuple[str, str]]:
        """Cents by customer, as a reader of the topic adds them."""
        sums: Counter[tuple[str, str]] = Counter()
        for value in self.values():
            cents = int(Decimal(repr(value["transaction_amount"])) * 100)
            sums[(str(value["user_id"]), "cents")] += cents
            sums[(str(value["user_id"]), "events")] += 1
        return sums

    def known(self) -> Known:
        return Known.of(self.broker.visible(TOPIC))


def sums_of(*texts: str) -> Counter[tuple[str, str]]:
    """The same of the lines of files, by a reader of its own."""
    sums: Counter[tuple[str, str]] = Counter()
    for text in texts:
        for row in csv.reader(io.StringIO(text)):
            if row and row[0] != "user_id":
                sums[(row[0], "cents")] += int(Decimal(row[1]) * 100)
                sums[(row[0], "events")] += 1
    return sums


def lines_of(chance: random.Random, count: int) -> list[str]:
    """Rows of few customers, amounts and days: many are alike."""
    return [
        f"{chance.choice('abc')},{chance.choice(['1.10', '-2.05', '0.01', '70'])},EUR,"
        f"2026-01-{chance.randrange(1, 5):02d}T0{chance.randrange(3)}:00:00Z"
        for _ in range(count)
    ]


class Story:
    """Random calls on random files, judged by what a reader of the topic adds up."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance, self.folder, self.bank = random.Random(seed), folder, Bank()
        self.published: list[str] = []  # contents, in the order in which they were published to their end
        self.expected: Counter[tuple[str, str]] = Counter()
        self.files = 0

    def content(self) -> str:
        """New lines, those of a file that was published and more, or the same as before."""
        chance = self.chance
        if self.published and chance.random() < 0.5:
            before = chance.choice(self.published)
            more = chance.choice([0, 0, 1, 4])
            return before + "".join(f"{line}\n" for line in lines_of(chance, more))
        return "\n".join([HEAD, *lines_of(chance, chance.randrange(1, 9))]) + "\n"

    def file(self, content: str) -> Path:
        """The content under a name that others may have, packed or not."""
        self.files += 1
        path = self.folder / str(self.files) / self.chance.choice(["tx.csv", "tx.csv.gz", "export.csv"])
        path.parent.mkdir()
        data = content.encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    def play(self) -> None:
        """Some calls, each interrupted and given again until it has nothing left to do."""
        for _ in range(self.chance.randrange(1, 5)):
            contents = [self.content() for _ in range(self.chance.choice([1, 1, 2, 4]))]
            fresh = [one for one in dict.fromkeys(contents) if one not in self.published]
            if any(a != b and b.startswith(a) for a in fresh for b in dict.fromkeys(contents)):
                continue  # refused in words; see the test of it
            self.until_done([self.file(one) for one in contents])
            for one in sorted(fresh, key=len):
                beginning = max((p for p in self.published if one.startswith(p)), key=len, default="")
                self.expected.update(sums_of(one[len(beginning) :]))
                self.published.append(one)
            assert self.bank.sums() == self.expected
        assert all(one.complete for one in self.bank.known().publications.values())

    def until_done(self, paths: list[Path]) -> None:
        chance = self.chance
        for _ in range(chance.randrange(4)):
            bounds = {"until_ms": 1_767_225_600_000 + chance.randrange(4) * DAY_MS} if chance.random() < 0.3 else {}
            self.attempt(paths, chance.randrange(40), as_is=chance.random() < 0.3, **bounds)
            chance.shuffle(paths)
        self.attempt(paths, None)

    def attempt(self, paths: list[Path], steps: int | None, **options: object) -> None:
        """A call that ends after so many steps, or in whose middle another one publishes the same."""
        left = steps
        how = self.chance.choice([Killed, KeyboardInterrupt, "another"])

        def step() -> None:
            nonlocal left
            if left is None:
                return
            left -= 1
            if left >= 0:
                return
            left = None
            if isinstance(how, type):
                raise how
            self.attempt(paths, None)

        try:
            self.bank.publish(*paths, step=step, **options)
        except (Killed, KeyboardInterrupt, *SAID):
            pass


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_what_a_reader_adds_up_is_what_is_in_the_files(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    Story(seed, tmp_path_factory.mktemp("story")).play()


def _file(folder: Path, name: str, *lines: str, head: str = HEAD) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in (head, *lines)))
    return path


ANN = "ann,1.10,EUR,2026-01-01"
BOB = "bob,2.20,EUR,2026-01-02"
CID = "cid,3.30,EUR,2026-01-03"


def test_a_file_that_was_published_is_refused_with_when_and_by_whom_whatever_it_is_called(tmp_path: Path) -> None:
    bank = Bank()
    assert bank.publish(_file(tmp_path, "a.csv", ANN, BOB)) == 2
    with pytest.raises(RescoreError, match=r"already published: 2 events of a\.csv .*2027-01-01T00:00:01Z by eve@bank"):
        bank.publish(_file(tmp_path, "other/b.csv", ANN, BOB))
    assert bank.publish(tmp_path / "a.csv", _file(tmp_path, "c.csv", CID)) == 1  # what is left of a call
    assert bank.sums() == sums_of(ANN, BOB, CID)


def test_again_publishes_once_more_under_other_ids_and_can_be_interrupted_like_any_other(tmp_path: Path) -> None:
    bank, path, steps = Bank(events_max=1), _file(tmp_path, "a.csv", ANN, BOB, CID), iter(range(9))
    bank.publish(path)

    def interrupt() -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bank.publish(path, again=True, step=interrupt)
    assert 3 < len(bank.values()) < 6
    bank.publish(path)
    assert bank.sums() == sums_of(ANN, BOB, CID, ANN, BOB, CID)
    assert len({value["event_id"] for value in bank.values()}) == 6


def test_the_same_content_under_another_mapping_is_refused_unless_it_is_meant(tmp_path: Path) -> None:
    bank = Bank()
    path = _file(tmp_path, "a.csv", f"{ANN},5", head=f"{HEAD},fee")
    bank.publish(path)
    fees = {"transaction_amount": "fee"}
    with pytest.raises(AlreadyPublished, match=r"under another mapping: 1 event of a\.csv"):
        bank.publish(path, columns=fees)
    assert bank.publish(path, columns=fees, again=True) == 1
    assert [value["transaction_amount"] for value in bank.values()] == [1.1, 5.0]


def test_a_file_that_has_grown_is_published_from_where_it_ended(tmp_path: Path) -> None:
    bank = Bank()
    for lines in ([ANN], [ANN, BOB], [ANN, BOB, CID]):
        assert bank.publish(_file(tmp_path, "export.csv", *lines)) == 1
    assert bank.sums() == sums_of(ANN, BOB, CID)
    assert len({str(value["event_id"]).partition(":")[0] for value in bank.values()}) == 3


def test_a_file_whose_last_line_was_not_written_to_its_end_has_not_grown(tmp_path: Path) -> None:
    bank, path = Bank(), tmp_path / "export.csv"
    path.write_text(f"{HEAD}\n{ANN}")
    bank.publish(path)
    path.write_text(f"{HEAD}\n{ANN}T10:00:00Z\n")
    assert bank.publish(path) == 1
    path.write_text(f"{HEAD}\n{ANN}T10:00:00Z\n{BOB}")
    assert bank.publish(path) == 1
    assert bank.sums() == sums_of(ANN, ANN, BOB)


def test_a_file_and_one_that_begins_with_it_are_not_taken_in_one_call(tmp_path: Path) -> None:
    bank = Bank()
    short, long = _file(tmp_path, "a.csv", ANN), _file(tmp_path, "b.csv", ANN, BOB)
    with pytest.raises(RescoreError, match=r"b\.csv begins with the content of a\.csv") as refused:
        bank.publish(short, long)
    assert "publish b.csv alone, or a.csv first" in refused.value.remedy
    assert bank.values() == []
    bank.publish(short)
    assert bank.publish(short, long) == 1
    assert bank.sums() == sums_of(ANN, BOB)


def test_one_content_under_two_names_in_a_call_is_published_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = Bank()
    assert bank.publish(_file(tmp_path, "a.csv", ANN), _file(tmp_path, "b.csv", ANN)) == 1
    assert "b.csv has the content of a.csv: it is published once" in capsys.readouterr().err


def test_files_of_one_name_with_other_lines_are_other_files(tmp_path: Path) -> None:
    bank = Bank()
    assert bank.publish(_file(tmp_path, "jan/tx.csv", ANN, ANN), _file(tmp_path, "feb/tx.csv", BOB)) == 3
    assert len({value["event_id"] for value in bank.values()}) == 3


def _interrupted(bank: Bank, path: Path, **options: object) -> None:
    """A call that is interrupted behind its first transaction."""

    def step() -> None:
        if any(one.rows_done for one in bank.known().publications.values()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bank.publish(path, step=step, **options)


def test_an_interrupted_file_that_reads_otherwise_now_is_refused(tmp_path: Path) -> None:
    bank, path = Bank(events_max=1), _file(tmp_path, "a.csv", ANN, BOB, CID)
    _interrupted(bank, path)
    (publication,) = bank.known().publications.values()
    assert (publication.rows_done, publication.rows, publication.complete) == (1, 3, False)
    bank.broker.write(TOPIC, publication.key.encode(), replace(publication, rows=4).encode())
    with pytest.raises(ChangedReading, match="gives other events than when its publication was interrupted"):
        bank.publish(path)
    assert len(bank.values()) == 1


def test_a_file_to_which_somebody_writes_is_not_published_to_its_end(tmp_path: Path) -> None:
    bank, path = Bank(events_max=1), _file(tmp_path, "a.csv", ANN, BOB, CID)

    def step() -> None:
        if bank.values():
            path.write_text(f"{HEAD}\n{ANN}\n{BOB}\n{CID}\n{ANN}\n")

    with pytest.raises(UnreadableFile, match=r"a\.csv has changed while it was read"):
        bank.publish(path, as_is=True, step=step)
    (publication,) = bank.known().publications.values()
    assert not publication.complete


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.csv"):
        with pytest.raises(UnreadableFile, match=r"Is a directory|No such file"):
            Bank().publish(path)


def test_what_comes_through_a_named_pipe_is_a_file_like_any_other(tmp_path: Path) -> None:
    bank, pipe = Bank(), tmp_path / "pipe"
    os.mkfifo(pipe)
    for expectation in (nullcontext(), pytest.raises(RescoreError, match="already published: 2 events of pipe")):
        writer = threading.Thread(target=pipe.write_text, args=(f"{HEAD}\n{ANN}\n{BOB}\n",))
        writer.start()
        with expectation:
            bank.publish(pipe)
        writer.join()
    assert bank.sums() == sums_of(ANN, BOB)


def test_a_record_that_cannot_be_read_is_told_with_its_place(tmp_path: Path) -> None:
    bank, path = Bank(), _file(tmp_path, "a.csv", ANN)
    bank.publish(path)
    (key,) = bank.known().publications
    for rubbish in (b"{", b"[]", b"null", b'{"key":"x","done":[]}', b'{"done":[[1]]}', b"\xff"):
        bank.broker.write(TOPIC, key.encode(), rubbish)
        with pytest.raises(UnreadablePublication, match=r"rescore-publications, offset .*cannot be read"):
            bank.publish(path)
    bank.broker.write(TOPIC, b"somebody", b"rubbish")
    assert bank.publish(path, again=True) == 1


def test_a_topic_that_was_created_again_gets_the_file_again(tmp_path: Path) -> None:
    bank, path = Bank(), _file(tmp_path, "a.csv", ANN)
    bank.publish(path)
    bank.broker.create_again("transactions")
    assert bank.publish(path) == 1
    assert bank.sums() == sums_of(ANN)


def test_history_goes_on_at_the_event_at_which_it_was_interrupted(tmp_path: Path) -> None:
    bank, path = Bank(events_max=1), _file(tmp_path, "a.csv", CID, BOB, ANN)
    _interrupted(bank, path, clock="records")
    assert bank.publish(path, clock="records") == 2
    assert bank.sums() == sums_of(ANN, BOB, CID)
    with pytest.raises(TimeGoesBack):
        bank.publish(_file(tmp_path, "b.csv", "dan,1,EUR,2026-01-01"), clock="records")


def test_a_file_in_pieces_by_time_is_published_once_whatever_the_order(tmp_path: Path) -> None:
    bank, path = Bank(), _file(tmp_path, "a.csv", CID, BOB, ANN)
    assert bank.publish(path, from_ms=1_767_312_000_000, as_is=True) == 2
    assert bank.publish(path, until_ms=1_767_312_000_000) == 1
    assert bank.sums() == sums_of(ANN, BOB, CID)
    with pytest.raises(RescoreError, match="already published: 3 events"):
        bank.publish(path)


def test_no_record_of_a_publication_holds_anything_of_a_customer(tmp_path: Path) -> None:
    bank = Bank(events_max=1)
    bank.publish(_file(tmp_path, "a.csv", ANN, BOB, CID))
    values = [record.value or b"" for record in bank.broker.visible(TOPIC)]
    assert len(values) == 4
    assert not [value for value in values for name in (b"ann", b"bob", b"cid", b"3.3") if name in value]


def test_ids_that_are_not_unique_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    bank = Bank()
    head = f"{HEAD},event_id,revision,old,old_currency,old_date"
    names = ("amount", "currency", "date")
    previous = {f"previous.transaction_{name}": f"old_{name}".removesuffix("_amount") for name in names}
    own, revised = f"{ANN},7,,,,", f"{ANN},7,1,1,EUR,2026-01-01"
    path = _file(tmp_path, "a.csv", own, f"{BOB},7,,,,", revised, own, head=head)
    assert bank.publish(path, columns=previous) == 4  # of another customer, another revision, a copy
    other = _file(tmp_path, "b.csv", f"{ANN},7,", "ann,5,EUR,2026-01-01,7,", head=f"{HEAD},event_id,revision")
    with pytest.raises(RescoreError, match=r"1 event has .*: '7' in b\.csv, line 2 and b\.csv, line 3") as refused:
        bank.publish(other)
    assert "--map 'event_id:=" in refused.value.remedy
    assert len(bank.values()) == 4

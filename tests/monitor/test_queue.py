"""The queue between the serving process and its writer: bounded, never waited for, and whole."""

import random
import threading

import msgspec
import pytest

from firstfault.errors import FirstfaultError
from firstfault.monitor.recorder import Recorder
from firstfault.monitor.ring import HEADER, Ring
from firstfault.monitor.settings import settings_of


@pytest.fixture
def ring():
    """A small queue."""
    ring = Ring.of(4096)
    yield ring
    ring.close()


def test_what_goes_in_comes_out_in_order_around_the_end_and_again(ring):
    """Many times the queue's capacity pass through it, whatever the sizes."""
    sizes = random.Random(0).choices(range(700), k=2000)
    for number, size in enumerate(sizes):
        payload = bytes([number % 256]) * size
        assert ring.put(payload)
        found, position = ring.take(10)
        assert [payload for _, payload in found] == [payload]
        ring.release(position)
    assert ring.empty and ring.counts == {"taken": 2000, "dropped": 0, "dropped_bytes": 0, "damaged": 0}


def test_a_full_queue_drops_and_counts(ring):
    """Nothing waits: what has no room is dropped, and what was there before stays."""
    payloads = [bytes([number]) * 500 for number in range(20)]
    taken = [payload for payload in payloads if ring.put(payload)]
    assert [payload for _, payload in ring.take(100)[0]] == taken and 0 < len(taken) < 20
    assert ring.counts["dropped"] == 20 - len(taken) and ring.counts["dropped_bytes"] == 500 * (20 - len(taken))


def test_what_was_not_released_is_taken_again(ring):
    """A successor finds what its predecessor took and did not finish."""
    ring.put(b"one")
    ring.put(b"two")
    _, position = ring.take(1)
    assert ring.take(5, position)[0][0][1] == b"two"
    assert [payload for _, payload in ring.take(5)[0]] == [b"one", b"two"]


def test_damaged_bytes_are_counted_and_left_behind(ring):
    """Bytes that are not what was put in are never handed on, and what comes later is."""
    ring.put(b"spoiled")
    ring._map[HEADER + 9] ^= 255
    found, position = ring.take(5)
    ring.release(position)
    ring.put(b"good")
    assert found == [] and ring.counts["damaged"] == 1
    assert [payload for _, payload in ring.take(5)[0]] == [b"good"]


def test_threads_of_one_server_share_a_queue(recorder, captured):
    """Records of many threads come through whole, each once."""

    def serve(thread):
        for number in range(200):
            recorder.take(captured(f"{thread}-{number}"))

    threads = [threading.Thread(target=serve, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = recorder.written()
    assert sorted(record.request_id for record in records) == sorted(
        f"{thread}-{number}" for thread in range(8) for number in range(200)
    )


def test_a_record_that_can_not_be_handed_over_harms_nobody(recorder, captured):
    """A value that nobody foresaw is counted as dropped, and the next record goes through."""
    recorder.take(captured("wild", values={"raw": object()}))
    recorder.take(captured("tame"))
    assert recorder.counts["dropped"] == 1
    assert [record.request_id for record in recorder.written()] == ["tame"]


def test_a_server_without_memory_serves_on(monkeypatch, captured, caplog, tmp_path):
    """Where there can be no queue, that is said once, and nothing is raised."""

    def refuse(capacity):
        raise OSError("no memory")

    monkeypatch.setattr(Ring, "of", refuse)
    recorder = Recorder(settings_of(store=tmp_path))
    for _ in range(3):
        recorder.take(captured())
    assert [record.message for record in caplog.records] == [
        "requests are not recorded, since there is no queue for them: no memory"
    ]


def test_a_queue_holds_four_bodies_at_least():
    """A queue that a few requests fill is refused when it is set up."""
    with pytest.raises(FirstfaultError, match="must hold four bodies"):
        settings_of(queue=1 << 20, body=1 << 20)
    assert msgspec.json.decode(msgspec.json.encode(settings_of()), type=type(settings_of())) == settings_of()

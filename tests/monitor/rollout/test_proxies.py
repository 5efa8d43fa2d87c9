"""The proxies of a rollout between real servers: who gets which request, what is recorded, and who never waits."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from functools import partial

import pytest
from arms import both, dead, endless, hanging, predicting
from servers import answered, asked, asked_json, listening, uvicorn_of

from firstfault.monitor.proxy import serve
from firstfault.monitor.record import Arm, Captured
from firstfault.monitor.ring import Ring
from firstfault.monitor.rollout.agreement import agree, same
from firstfault.monitor.rollout.gathering import DISAGREED, UNIT
from firstfault.monitor.rollout.mirror import Mirror
from firstfault.monitor.rollout.shadowing import Copies, Limits, Shadowed
from firstfault.monitor.rollout.splitting import Route, Split
from firstfault.monitor.upstream import Upstream

MIB = 1 << 20


def local(port):
    return Upstream("http", "127.0.0.1", port)


@pytest.fixture(scope="module")
def servers():
    """A champion, and a challenger that fails on multiples of five and answers 3 otherwise."""
    challenger = predicting(lambda x: x % 5 == 0, lambda x: 9 if x == 3 else x % 2)
    with both(predicting(), challenger) as ports:
        yield ports


def split_of(recorder, ports, share=0.5, header=b""):
    """A proxy that splits; gives its port."""
    route = Route(local(ports[1]), share, header, b"key")
    return listening(partial(serve, recorder, local(ports[0]), "127.0.0.1", 0, proxied=partial(Split, route=route)))


def ask(connection, x, **headers):
    """One request over a connection that stays."""
    connection.request("POST", "/predict", json.dumps({"x": x}), {"content-type": "application/json", **headers})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@contextlib.contextmanager
def connected(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def arms_of(recorder):
    return {record.request_id: record.arm for record in recorder.written()}


def test_requests_are_split_by_their_ids_over_one_connection(servers, recorder):
    """Each has its arm by its id, and keeps it when it comes again; what was answered is what its server said."""
    with split_of(recorder, servers) as port, connected(port) as connection:
        first = [ask(connection, 5, **{"x-request-id": f"r{n}"})[0] for n in range(40)]
        again = [ask(connection, 5, **{"x-request-id": f"r{n}"})[0] for n in range(40)]
    assert first == again and 8 < first.count(500) < 32
    arms = arms_of(recorder)
    assert [arms[f"r{n}"] for n in range(40)] == [Arm.CANARY if code == 500 else Arm.CHAMPION for code in first]


def test_a_header_draws_for_all_requests_that_have_it(servers, recorder):
    """A user stays with one arm; what the arm was drawn by is recorded as a hash, and the id of what lacks it."""
    with split_of(recorder, servers, header=b"x-user") as port, connected(port) as connection:
        codes = [{ask(connection, 5, **{"x-user": f"ann-{n}"})[0] for _ in range(3)} for n in range(12)]
        ask(connection, 1)
    assert all(len(each) == 1 for each in codes) and len({code for each in codes for code in each}) == 2
    records = recorder.written()
    units = [record.values.get(UNIT) for record in records]
    assert len(set(units)) == 13 and units[-1] is None and "ann" not in str(records)


@pytest.mark.parametrize(("share", "arm"), [(0.0, Arm.CHAMPION), (1.0, Arm.CANARY)])
def test_all_or_nothing(servers, recorder, share, arm):
    """A share of 0 sends all to the champion, as after the end of a rollout."""
    with split_of(recorder, servers, share) as port, connected(port) as connection:
        for x in (1, 2):
            ask(connection, x)
    assert set(arms_of(recorder).values()) == {arm}


def test_requests_that_come_at_once_are_answered_in_turn(servers, recorder):
    """Pipelined ones, to either server, with bodies in one piece of bytes."""
    with split_of(recorder, servers) as port:
        parts = [asked_json("/predict", {"x": n}, x_request_id=f"p{n}") for n in range(12)]
        parts = [part.replace(b"connection: close\r\n", b"") for part in parts[:-1]] + parts[-1:]
        answer = answered(port, b"".join(parts))
    assert answer.count(b"HTTP/1.1 ") == 12
    codes = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    arms = arms_of(recorder)
    assert codes == [500 if n % 5 == 0 and arms[f"p{n}"] is Arm.CANARY else 200 for n in range(12)]


def test_a_challenger_that_is_dead_is_answered_for_and_recorded(servers, recorder):
    """Its requests get a 502, which is the challenger's error; the champion's are as they were."""
    with split_of(recorder, (servers[0], dead())) as port:
        answers = [answered(port, asked_json("/predict", {"x": 1}, x_request_id=f"r{n}")) for n in range(12)]
    records = recorder.written()
    bad = {record.arm for record in records if record.outcome == "error"}
    assert bad == {Arm.CANARY} and {record.arm for record in records if record.outcome == "ok"} == {Arm.CHAMPION}
    assert sum(answer.startswith(b"HTTP/1.1 502") for answer in answers) == sum(each.status == 502 for each in records)


class Shadowing:
    """A proxy that copies, with its mirror, in one thread."""

    def __init__(self, recorder, ports, share=1.0, **limits):
        self.limits = Limits(**limits)
        self.ring = Ring.of(self.limits.queue_bytes)
        self.copies = Copies(self.ring, self.limits, share)
        self.mirror = Mirror(recorder, local(ports[1]), self.limits)
        self.mirror.say = lambda: None
        self.work = partial(self._run, recorder, local(ports[0]))

    async def _run(self, recorder, champion, ready, stop):
        mirrored = asyncio.create_task(self.mirror.run(self.ring))
        await serve(recorder, champion, "127.0.0.1", 0, ready, stop, partial(Shadowed, copies=self.copies))
        self.ring.begin_closing()
        await mirrored

    def await_copies(self, n):
        while self.mirror.counts["copied"] + self.mirror.counts["too late"] < n:
            threading.Event().wait(0.01)


def pairs_of(recorder):
    """The records of both arms by the id of their request."""
    found = {}
    for record in recorder.written():
        found.setdefault(record.request_id, {})[record.arm] = record
    return found


def test_a_copy_is_recorded_beside_its_original(servers, recorder):
    """With the same id and span, as a shadow; the client gets the champion's answer, and disagreements are marked."""
    shadowing = Shadowing(recorder, servers)
    with listening(shadowing.work) as port, connected(port) as connection:
        codes = [ask(connection, x, **{"x-request-id": f"r{x}"})[0] for x in range(1, 7)]
        shadowing.await_copies(6)
    pairs = pairs_of(recorder)
    assert codes == [200] * 6 and len(pairs) == 6
    for pair in pairs.values():
        ours, theirs = pair[Arm.CHAMPION], pair[Arm.SHADOW]
        assert (ours.trace_id, ours.span_id, ours.cuts.raw) == (theirs.trace_id, theirs.span_id, theirs.cuts.raw)
        assert f"{ours.trace_id}-{ours.span_id}" in theirs.response or theirs.status == 500
    marked = {name for name, pair in pairs.items() if DISAGREED in pair[Arm.SHADOW].marks}
    assert marked == {"r3", "r5"} and pairs["r5"][Arm.SHADOW].outcome == "error"


def test_bodies_are_copied_whole(recorder):
    """In chunks or by length, with a query, to a challenger that tells what it got."""
    from servers import bodies

    app = predicting()
    app.include_router(bodies)
    with uvicorn_of(app) as port:
        shadowing = Shadowing(recorder, (port, port))
        with listening(shadowing.work) as proxied:
            chunked = (
                asked("/digest?a=b", "POST", transfer_encoding="chunked") + b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"
            )
            answered(proxied, chunked)
            answered(proxied, asked("/digest", "POST", bytes(300_000)))
            answered(proxied, asked("/digest", "POST", b"x", expect="100-continue"))
            shadowing.await_copies(3)
    pairs = pairs_of(recorder)
    assert len(pairs) == 3
    for pair in pairs.values():
        assert pair[Arm.CHAMPION].response == pair[Arm.SHADOW].response and not pair[Arm.SHADOW].marks


def test_the_primary_waits_for_no_challenger_that_hangs(servers, recorder):
    """All are answered while not one copy is; those under way are ended with the proxy, and the others counted."""
    with hanging() as port:
        shadowing = Shadowing(recorder, (servers[0], port), seconds=600, concurrency=2)
        with listening(shadowing.work) as proxied, connected(proxied) as connection:
            assert [ask(connection, x)[0] for x in range(20)] == [200] * 20
    assert [record.arm for record in recorder.written()] == [Arm.CHAMPION] * 20
    assert shadowing.mirror.counts["copied"] == 0 and shadowing.mirror.counts["not begun"] >= 18


def test_a_copy_that_takes_too_long_is_the_challengers_error(servers, recorder):
    """One that had to wait too long before it began is none, and counted."""
    with hanging() as port:
        shadowing = Shadowing(recorder, (servers[0], port), seconds=0.2, concurrency=1)
        with listening(shadowing.work) as proxied, connected(proxied) as connection:
            for x in range(6):
                ask(connection, x)
            shadowing.await_copies(6)
    shadows = [record for record in recorder.written() if record.arm is Arm.SHADOW]
    assert {(record.status, record.outcome) for record in shadows} == {(504, "error")}
    assert len(shadows) + shadowing.mirror.counts["too late"] == 6


def test_a_challenger_that_is_dead_is_asked_again_and_recorded(servers, recorder):
    """As often as was allowed; the client hears nothing of it."""
    shadowing = Shadowing(recorder, (servers[0], dead()), retries=2)
    with listening(shadowing.work) as proxied, connected(proxied) as connection:
        assert [ask(connection, x)[0] for x in range(3)] == [200] * 3
        shadowing.await_copies(3)
    shadows = [record for record in recorder.written() if record.arm is Arm.SHADOW]
    assert [(record.status, record.outcome) for record in shadows] == [(502, "error")] * 3
    assert shadowing.mirror.counts["asked again"] == 6 and "refused" in shadows[0].error.lower()


def test_an_answer_of_100_mb_is_read_no_further_than_allowed(servers, recorder):
    """It is an error of the shadow; the champion's answers are as they were."""
    with endless(100 * MIB) as port:
        shadowing = Shadowing(recorder, (servers[0], port), answer_bytes=MIB)
        with listening(shadowing.work) as proxied, connected(proxied) as connection:
            assert [ask(connection, x)[0] for x in range(4)] == [200] * 4
            shadowing.await_copies(4)
    shadows = [record for record in recorder.written() if record.arm is Arm.SHADOW]
    assert all("longer than 1048576 bytes" in record.error and record.response_bytes < 3 * MIB for record in shadows)
    assert len(shadows) == 4


def test_what_has_no_room_is_dropped_and_counted(servers, recorder):
    """Bodies that are too large, and those for which the queue is too full."""
    with hanging() as port:
        shadowing = Shadowing(
            recorder, (servers[0], port), seconds=0.2, concurrency=1, queue_bytes=8_192, body_bytes=2_000
        )
        with listening(shadowing.work) as proxied:
            for size in (3_000, *[1_000] * 20):
                answered(proxied, asked_json("/predict", {"x": 1, "more": "m" * size}))
    counts = shadowing.copies.counts
    assert counts["too large"] == 1 and counts["queue full"] > 5


def test_a_share_of_the_requests_is_copied(servers, recorder):
    """By a hash of their ids."""
    shadowing = Shadowing(recorder, servers, share=0.0)
    with listening(shadowing.work) as proxied:
        answered(proxied, asked_json("/predict", {"x": 1}))
    assert shadowing.ring.counts["taken"] == 0 and [each.arm for each in recorder.written()] == [Arm.CHAMPION]


def speaking(answer):
    """A server that answers one request with these bytes, and ends the connection."""
    server = socket.create_server(("127.0.0.1", 0))

    def run():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

    threading.Thread(target=run, daemon=True).start()
    return server


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (b"NONSENSE\r\n\r\n", 502, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", 200, "before it had answered"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", 200, ""),
        (b"", 502, "before it had answered"),
    ],
)
def test_every_end_of_a_copy_is_recorded(servers, recorder, answer, status, error):
    """Half an answer, none, or none that can be read is an error of the shadow."""
    with speaking(answer) as server:
        shadowing = Shadowing(recorder, (servers[0], server.getsockname()[1]), retries=0)
        with listening(shadowing.work) as proxied:
            answered(proxied, asked_json("/predict", {"x": 1}))
            shadowing.await_copies(1)
        server.shutdown(socket.SHUT_RDWR)
    (shadow,) = [record for record in recorder.written() if record.arm is Arm.SHADOW]
    assert shadow.status == status and error in shadow.error and (shadow.outcome == "error") is bool(error)


@pytest.mark.parametrize(
    ("ours", "theirs", "agrees"),
    [
        ([[0.9, 0.1]], [[0.7, 0.3]], True),
        ([[0.9, 0.1]], [[0.3, 0.7]], False),
        ({"label": 1, "confidence": 0.8}, {"label": 1, "confidence": 0.6}, True),
        ({"label": 1}, {"label": 2}, False),
        ({"label": 1}, {"class": 1}, False),
        ([3.1], [3.1001], True),
        ([3.1], [3.3], False),
        ([3.1], [3.1, 3.1], False),
        (True, 1.0, True),
        ("yes", "no", False),
    ],
)
def test_answers_agree_in_what_they_say(ours, theirs, agrees):
    """The class, not the last digit of its probability; numbers within a thousandth."""
    assert same(ours, theirs) is agrees is same(theirs, ours)


def test_what_can_not_be_read_agrees_by_its_bytes():
    """And an error agrees with no success."""

    def answer(body, status=200):
        return Captured("proxy", "r", "", "", 0.0, 0.0, status, response=body, response_bytes=len(body))

    assert agree(answer(b"\x00a"), answer(b"\x00a")) and not agree(answer(b"\x00a"), answer(b"\x00b"))
    assert not agree(answer(b"\x00a"), answer(b"\x00a", 500)) and agree(answer(b"", 500), answer(b"", 503))

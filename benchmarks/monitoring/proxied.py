"""What a proxy adds to a request: ours, beside one of Starlette and httpx and one that only passes bytes on.

Of each: the median latency of 16 connections that ask again at once (`full`), and of 16 that ask twelve times a second
each (`paced`), less that of the same without a proxy, in turns, of which the quietest round counts; and the CPU
microseconds of the proxy's process for a request. Where client, server and proxy share two cores, `full` is mostly
waiting for one of them: what the machine and asyncio take of it is what the relay shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
from pathlib import Path

from firstfault.runs.processes import free_port
from monitoring.clients import latencies, process, served, streamed

EACH, FEW = 60, 10
"""Requests of each connection in a round, and where one takes 100 ms."""
PACED_EACH, PACE_SECONDS = 12, 0.08
OURS, RELAY, THEIRS = "firstfault", "relay of asyncio", "Starlette + httpx"
Times = dict[str, list[float]]


def cpu_ns(pid: int) -> int:
    """Nanoseconds that all threads of a process have run."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def proxies(folder: Path, rounds: int) -> dict[str, object]:
    """The figures of each, and whether a stream comes through ours byte by byte."""
    ports = {name: free_port() for name in (OURS, RELAY, THEIRS)}
    with served("light") as straight, contextlib.ExitStack() as stack:
        os.environ["BENCHMARK_UPSTREAM"] = upstream = f"http://127.0.0.1:{straight}"
        ours = ("firstfault", "monitor", "--proxy", upstream, "--store", str(folder / "proxy"), "--port")
        commands = {
            OURS: (*ours, str(ports[OURS])),
            RELAY: ("monitoring.relay", str(straight), str(ports[RELAY])),
            THEIRS: ("uvicorn", "monitoring.httpx_proxy:app", "--log-level", "warning", "--port", str(ports[THEIRS])),
        }
        pids = {
            name: stack.enter_context(process("-m", *words, ready=f"http://127.0.0.1:{ports[name]}/cpu")).pid
            for name, words in commands.items()
        }
        ports["straight"] = straight
        full, paced, cpu = (dict[str, list[float]]() for _ in range(3))
        for _ in range(rounds + 1):
            for name, port in ports.items():
                _timed(name, port, pids.get(name), full, paced, cpu)
        same = streamed(straight) == streamed(ports[OURS])
    base = {"full": _best(full["straight"]), "paced": _best(paced["straight"])}
    found = {
        name: {
            "full_ms": round(_best(full[name]) - base["full"], 3),
            "paced_ms": round(_best(paced[name]) - base["paced"], 3),
            "cpu_us": round(_best(cpu[name]), 1),
        }
        for name in commands
    }
    return {**found, "straight": {name: round(value, 3) for name, value in base.items()}, "stream_untouched": same}


def _timed(name: str, port: int, pid: int | None, full: Times, paced: Times, cpu: Times) -> None:
    each = FEW if name == THEIRS else EACH
    before = cpu_ns(pid) if pid else 0
    times = asyncio.run(latencies(port, each))
    if pid:
        cpu.setdefault(name, []).append((cpu_ns(pid) - before) / len(times) / 1000)
    full.setdefault(name, []).append(statistics.median(times))
    paced.setdefault(name, []).append(statistics.median(asyncio.run(latencies(port, PACED_EACH, pace=PACE_SECONDS))))


def _best(rounds: list[float]) -> float:
    """The quietest round; the first one warms up."""
    return min(rounds[1:])

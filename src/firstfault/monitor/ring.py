"""A queue in memory from one process to another: bounded in bytes, and never waited for.

It is an anonymous file of memory that both processes map, so that nothing of it is ever on a disk, and so that the
death of either leaves the other its half: what was put in can still be taken out, and what can't be put in is counted.
One process puts, one takes. A frame is its length, its CRC-32 and its bytes; positions only grow.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from zlib import crc32

HEADER = 4096
_HEAD, _TAKEN, _DROPPED, _DROPPED_BYTES, _CLOSING, _NAME = range(6)
"""Words of eight bytes that the putting side writes."""
_TAIL, _BEAT, _READER, _BAD = 64, 65, 66, 67
"""Those of the taking side, on another line of the processor's cache."""
LOOKS, LOOK_SECONDS = 3, 0.001
_FRAME = struct.Struct("<II")


class Ring:
    """One side's view of the queue."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        # all pages at once: each that a request would be the first to touch costs it more than the record does
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size, flags=flags)
        view = memoryview(self._map)
        self._words = view[:HEADER].cast("Q")
        self._data = view[HEADER:]
        self.capacity = len(self._data)
        self._head = self._words[_HEAD]

    @classmethod
    def of(cls, capacity: int) -> Ring:
        """A new, empty queue of so many bytes.

        Raises:
            OSError: when the memory can't be had, or the system knows no anonymous files of memory.
        """
        if not hasattr(os, "memfd_create"):
            raise OSError("this system has no memfd_create, which the monitor's queue needs")
        descriptor = os.memfd_create("firstfault-monitor")
        os.ftruncate(descriptor, HEADER + -(-capacity // 8) * 8)
        ring = cls(descriptor)
        ring._words[_NAME] = int.from_bytes(os.urandom(6))
        return ring

    @property
    def name(self) -> str:
        """What tells this queue from every other."""
        return f"{self._words[_NAME]:012x}"

    def put(self, payload: bytes) -> bool:
        """Put a payload in; False, and counted, where there is no room."""
        words, size, head = self._words, len(payload), self._head
        need = (size + 15) & ~7
        if need > self.capacity - (head - words[_TAIL]):
            words[_DROPPED] += 1
            words[_DROPPED_BYTES] += size
            return False
        place = head % self.capacity
        end = place + 8 + size
        if end <= self.capacity:
            _FRAME.pack_into(self._data, place, size, crc32(payload))
            self._data[place + 8 : end] = payload
        else:
            self._put_around(place, _FRAME.pack(size, crc32(payload)) + payload)
        self._head = words[_HEAD] = head + need
        words[_TAKEN] += 1
        return True

    def _put_around(self, place: int, frame: bytes) -> None:
        first = self.capacity - place
        self._data[place:] = frame[:first]
        self._data[: len(frame) - first] = frame[first:]

    def lose(self, size: int) -> None:
        """Count what was never put in."""
        self._words[_DROPPED] += 1
        self._words[_DROPPED_BYTES] += size

    def take(self, most: int, after: int | None = None) -> tuple[list[tuple[int, bytes]], int]:
        """Up to `most` payloads with their positions, and the position behind them; they stay until `release`."""
        position, head = self.tail if after is None else after, self._words[_HEAD]
        found: list[tuple[int, bytes]] = []
        while position < head and len(found) < most:
            payload = self._frame(position)
            if payload is None:
                self._words[_BAD] += 1  # its bytes are not to be trusted, and neither is where the next one begins
                return found, head
            found.append((position, payload))
            position += (len(payload) + 15) & ~7
        return found, position

    def _frame(self, position: int) -> bytes | None:
        """The payload at a position, once its bytes are there: a processor may show their position before them."""
        for _ in range(LOOKS):
            size, check = _FRAME.unpack(self._read(position, 8))
            if size <= self.capacity and crc32(payload := self._read(position + 8, size)) == check:
                return payload
            time.sleep(LOOK_SECONDS)
        return None

    def _read(self, position: int, size: int) -> bytes:
        place = position % self.capacity
        end = place + size
        if end <= self.capacity:
            return bytes(self._data[place:end])
        return bytes(self._data[place:]) + bytes(self._data[: end - self.capacity])

    def release(self, position: int) -> None:
        """Give the room before a position back."""
        self._words[_TAIL] = position

    @property
    def tail(self) -> int:
        """The position of the oldest payload that was not released."""
        return self._words[_TAIL]

    @property
    def room(self) -> int:
        """Bytes that can still be put in, framing included."""
        return self.capacity - (self._head - self._words[_TAIL])

    @property
    def empty(self) -> bool:
        """Whether all that was put in has been released."""
        return self._words[_TAIL] == self._words[_HEAD]

    @property
    def counts(self) -> dict[str, int]:
        """How many were put in, how many were dropped, of how many bytes, and how often bytes were damaged."""
        words = self._words
        return {
            "taken": words[_TAKEN],
            "dropped": words[_DROPPED],
            "dropped_bytes": words[_DROPPED_BYTES],
            "damaged": words[_BAD],
        }

    def beat(self) -> None:
        """Say that the taking side lives."""
        self._words[_BEAT] = time.monotonic_ns()
        self._words[_READER] = os.getpid()

    @property
    def silence(self) -> float:
        """Seconds since the taking side last said that it lives."""
        return (time.monotonic_ns() - self._words[_BEAT]) / 1e9

    @property
    def reader(self) -> int:
        """The process of the taking side; 0 before there was one."""
        return self._words[_READER]

    def begin_closing(self) -> None:
        """Say that nothing more will be put in."""
        self._words[_CLOSING] = 1

    @property
    def closing(self) -> bool:
        """Whether nothing more will be put in."""
        return bool(self._words[_CLOSING])

    def close(self) -> None:
        """Let go of the memory; it is gone when both sides have."""
        self._words.release()
        self._data.release()
        self._map.close()
        os.close(self.descriptor)

"""What a process uses, looked at once a second from outside of it: CPU, memory, throttling of its cgroup, GPU."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firstfault.monitor.record import Resources

EVERY_SECONDS = 1.0
CGROUPS = Path("/sys/fs/cgroup")


class Watched:
    """The resources of one process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process: Any = None
        self._looked = 0.0
        self._latest: Resources | None = None
        self._cgroup = _cgroup_of(pid)
        self._periods = (0, 0)
        self._gpu = _gpu_of(pid)

    def now(self) -> Resources | None:
        """What was used in the last second; None before there is a first look."""
        now = time.monotonic()
        if now - self._looked >= EVERY_SECONDS:
            self._looked = now
            self._latest = self._look()
        return self._latest

    def _look(self) -> Resources | None:
        import psutil

        try:
            if self._process is None:
                self._process = psutil.Process(self.pid)
            cpu = self._process.cpu_percent() / 100
            gpu, memory = self._gpu()
            return Resources(cpu, self._process.memory_info().rss, self._throttled(), gpu, memory)
        except psutil.Error:
            return None

    def _throttled(self) -> float | None:
        """The share of the scheduler's periods since the last look in which the cgroup was held back."""
        if self._cgroup is None:
            return None
        try:
            words = dict(line.split() for line in self._cgroup.read_text().splitlines())
            periods = int(words["nr_periods"]), int(words["nr_throttled"])
        except (OSError, ValueError, KeyError):
            return None
        before, self._periods = self._periods, periods
        passed = periods[0] - before[0]
        return (periods[1] - before[1]) / passed if passed > 0 else 0.0


def _cgroup_of(pid: int) -> Path | None:
    """The file in which the kernel counts how often the cgroup of a process was throttled, in either version."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            base = CGROUPS if not controllers else CGROUPS / "cpu"
            if not controllers or "cpu" in controllers.split(","):
                for folder in (base / place.lstrip("/"), base):  # in a container, its own cgroup is the root
                    if (folder / "cpu.stat").is_file():
                        return folder / "cpu.stat"
    return None


def _gpu_of(pid: int) -> Callable[[], tuple[float | None, int | None]]:
    """What gives the use of the GPUs and the memory that a process has on them; nothing without NVML."""
    try:
        import pynvml  # type: ignore[import-untyped,import-not-found,unused-ignore]

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # no NVML, no driver, or no GPU
        return lambda: (None, None)

    def look() -> tuple[float | None, int | None]:
        with contextlib.suppress(pynvml.NVMLError):
            used = [
                (handle, process.usedGpuMemory or 0)
                for handle in handles
                for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
                if process.pid == pid
            ]
            rates = [pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100 for handle, _ in used]
            return (max(rates), sum(size for _, size in used)) if used else (None, None)
        return None, None

    return look

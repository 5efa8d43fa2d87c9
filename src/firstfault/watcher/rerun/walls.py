"""What keeps a script that is run again from doing harm.

The kernel's own wall around a folder, no network but this machine's, and no other programs.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls of landlock(7); the numbers are the same on every architecture."""
NO_NEW_PRIVILEGES = 38
"""Option of prctl(2): nobody below gains rights by a program, which landlock asks for."""
WRITE_FILE, REMOVE_DIR, REMOVE_FILE = 1 << 1, 1 << 4, 1 << 5
"""Rights of landlock(7)."""
MAKE = sum(1 << bit for bit in range(6, 13))
"""All the rights to make something: files, folders, links, sockets."""
REFER, TRUNCATE = 1 << 13, 1 << 14
"""Rights of later versions of it."""
BY_VERSION = {1: WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE, 2: REFER, 3: TRUNCATE}
"""The rights to change files, by the version of Landlock that knew them first."""
DEVICES = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/kfd",
    "/dev/dri",
    "/dev/nvidia-uvm",
    "/dev/nvidiactl",
)
"""Files that are no place to keep anything; graphics cards are spoken to by writing to theirs."""
READERS = frozenset(
    {"uname", "lscpu", "nproc", "hostname", "nvidia-smi", "rocm-smi", "ldconfig", "which", "gcc", "g++", "cc", "c++"}
    | {"clang", "clang++", "ld", "as", "ptxas", "objdump"}
)
"""Programs that ask about the machine, or compile: what they write, the kernel's wall keeps in the folder."""
GIT_READS = frozenset(
    {"rev-parse", "status", "log", "describe", "diff", "show", "ls-files", "cat-file", "version", "rev-list"}
)
CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
RESOLVING = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
STARTING = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"})


def enclose(folder: Path) -> bool:
    """Let this process and its children write beneath a folder and in shared memory alone.

    Returns:
        Whether the kernel can do that.
    """
    if sys.platform != "linux":
        return False
    system = ctypes.CDLL(None, use_errno=True)
    version = system.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = sum(right for known, right in BY_VERSION.items() if known <= version)
    handled = ctypes.c_uint64(rights)
    rules = system.syscall(CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    if rules < 0:
        return False
    on_files = rights & (WRITE_FILE | TRUNCATE)
    for place in (str(folder), "/dev/shm"):
        _allow(system, rules, place, rights)
    for place in (*DEVICES, *map(str, Path("/dev").glob("nvidia[0-9]*"))):
        _allow(system, rules, place, on_files)
    system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    enclosed = system.syscall(RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return bool(enclosed)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _allow(system: Any, rules: int, place: str, rights: int) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
        beneath = _Beneath(rights, handle)
        system.syscall(ADD_RULE, rules, 1, ctypes.byref(beneath), 0)
        os.close(handle)


def no_network(denied: Callable[[str], None]) -> None:
    """Raise where Python connects to, or asks for, another machine than this one.

    It holds until the end of the process; `denied` is told of every attempt.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in CONNECTING and not _is_here(args[1]):
            _refuse(denied, f"the network ({_shown(args[1])})")
        elif event in RESOLVING and not _is_local(args[0]):
            _refuse(denied, f"the network ({_shown(args[0])})")

    sys.addaudithook(hook)


def no_programs(denied: Callable[[str], None], enclosed: bool) -> None:
    """Raise where Python starts another program, but for one that only reads, where the kernel sees to that."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in STARTING:
            words = _words(args)
            if not (enclosed and _only_reads(words)):
                _refuse(denied, f"another program ({words[0] if words else event})")

    sys.addaudithook(hook)
    from multiprocessing import util

    util.spawnv_passfds = _refusing(denied)  # multiprocessing's own way to start Python anew


def _refusing(denied: Callable[[str], None]) -> Callable[..., int]:
    """A function that starts nothing."""

    def refuse(path: Any, args: Any, fds: Any) -> int:
        _refuse(denied, "a process that is no fork of this one")
        return 0

    return refuse


def _refuse(denied: Callable[[str], None], what: str) -> None:
    denied(what)
    raise PermissionError(f"a script that firstfault runs again reaches no {what.removeprefix('the ')}")


def _is_here(address: Any) -> bool:
    """Whether an address is one of this machine: a path, or on the loopback.

    None at all is that of a socket which is connected already.
    """
    if address is None or isinstance(address, str | bytes):
        return True
    return isinstance(address, tuple) and bool(address) and _is_local(address[0])


def _is_local(host: Any) -> bool:
    if host is None:
        return True
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    if text.lower() in ("", "localhost", "localhost.localdomain", "ip6-localhost"):
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback or text in ("0.0.0.0", "::")
    except ValueError:
        return False


def _shown(address: Any) -> str:
    return str(address[0] if isinstance(address, tuple) and address else address)


def _words(args: tuple[Any, ...]) -> list[str]:
    """What is called, from the arguments of an audit event."""
    given = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else args[:1]
    return [os.fsdecode(word) for word in given if isinstance(word, str | bytes | os.PathLike)]


def _only_reads(words: list[str]) -> bool:
    name = Path(words[0]).name if words else ""
    if name == "git":
        return next((word for word in words[1:] if not word.startswith("-")), "") in GIT_READS
    return name in READERS

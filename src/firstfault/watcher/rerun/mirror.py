"""A copy that takes every write: what Python's file functions write outside of a folder goes into a mirror below it.

    open("out/a.txt", "w")      writes   <scratch>/mirror/home/me/out/a.txt
    open("out/a.txt")           reads    the mirror's, where there is one, else the user's own
    os.remove("out/a.txt")      forgets  the user's own from then on, and leaves it where it is

Reads see the mirror first; what was deleted or moved away is gone for this process and its forks alone.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MOST_COPIED = 2 << 30
"""Bytes of a file of the user's that is copied, so that it can be changed: a larger one can't be."""
SPECIAL = ("/dev", "/proc", "/sys")


class Mirror:
    """Redirects between `install()` and the end of the process; `scratch` itself and `free` folders are written as they are."""

    def __init__(self, scratch: Path, free: tuple[str, ...] = ("/dev/shm",)) -> None:
        self.scratch, self._top = os.path.realpath(scratch), os.path.realpath(scratch) + "/mirror"
        self._free = (self.scratch, *free)
        self._gone: set[str] = set()
        self._real: dict[str, Any] = {}

    # ------------------------------------------------------------------ paths

    def reading(self, path: Any, dir_fd: int | None = None) -> Any:
        """Where a path is read; what is no path stays what it is.

        Raises:
            FileNotFoundError: where it was deleted before.
        """
        place = self._place(path, dir_fd)
        if place is None or self._is_free(place):
            return path
        mirrored = self._top + place
        if self._exists(mirrored):
            return mirrored
        if self._is_gone(place):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return path

    def writing(self, path: Any, dir_fd: int | None = None, *, copied: bool = False, parents: bool = True) -> Any:
        """Where a path is written: with `copied`, what is there already is copied first.

        Raises:
            FileNotFoundError: where the folder, which must be there, is not.
            OSError: where the file that is to be changed is too large to be copied.
        """
        place = self._place(path, dir_fd)
        if place is None or self._is_free(place):
            return path
        mirrored = self._top + place
        if parents and not self._is_folder(os.path.dirname(place)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        _make_folders(self._real, os.path.dirname(mirrored))
        if copied and not self._exists(mirrored) and not self._is_gone(place) and self._exists(place):
            self._copy(place, mirrored)
        self._gone.discard(place)
        return mirrored

    def exists(self, path: Any, dir_fd: int | None = None) -> bool:
        """Whether a path is there, as the script sees it."""
        try:
            return self._exists(self.reading(path, dir_fd))
        except OSError:
            return False

    def forget(self, path: Any, dir_fd: int | None = None) -> None:
        """A path of the user's is gone, for the script."""
        place = self._place(path, dir_fd)
        if place is not None:
            self._gone.add(place)

    def _place(self, path: Any, dir_fd: int | None) -> str | None:
        """The absolute path; None for what is none, and for devices."""
        if isinstance(path, int) or path is None:
            return None
        text = os.fsdecode(path)
        if dir_fd is not None and not os.path.isabs(text):
            text = os.path.join(self._real["readlink"](f"/proc/self/fd/{dir_fd}"), text)
        place = os.path.normpath(os.path.join(self._real["getcwd"](), text))
        return None if place.startswith(SPECIAL) and not place.startswith(self._free) else place

    def _is_free(self, place: str) -> bool:
        return any(place == folder or place.startswith(folder + "/") for folder in self._free)

    def _is_gone(self, place: str) -> bool:
        while place != "/":
            if place in self._gone:
                return True
            place = os.path.dirname(place)
        return False

    def _exists(self, place: Any) -> bool:
        return _is_there(self._real, place)

    def _is_folder(self, place: str) -> bool:
        import stat

        try:
            return stat.S_ISDIR(self._real["stat"](self.reading(place)).st_mode)
        except OSError:
            return False

    def _copy(self, source: str, to: str) -> None:
        import stat

        about = self._real["stat"](source)
        if stat.S_ISDIR(about.st_mode):
            for name in self._real["listdir"](source):
                _make_folders(self._real, to)
                self._copy(f"{source}/{name}", f"{to}/{name}")
            _make_folders(self._real, to)
            return
        if about.st_size > MOST_COPIED:
            raise OSError(errno.EFBIG, "too large to be changed in a copy", source)
        with self._real["io_open"](source, "rb") as kept, self._real["io_open"](to, "wb") as copy:
            shutil.copyfileobj(kept, copy)

    # ------------------------------------------------------------------ functions

    def install(self) -> None:
        """Redirect Python's file functions, and torch's own writer; for good."""
        self._keep()
        for name in ("stat", "lstat", "access", "readlink", "statvfs", "chdir"):
            self._put(os, name, functools.partial(self._read, self._real[name]))
        opened = functools.partial(self._opened, self._real["io_open"])
        for owner in (builtins, io):
            self._put(owner, "open", opened)
        self._put(os, "open", self._os_opened)
        self._put(os, "listdir", self._listed)
        self._put(os, "scandir", self._scanned)
        self._put(os, "mkdir", self._made)
        for name in ("remove", "unlink", "rmdir"):
            self._put(os, name, functools.partial(self._removed, self._real[name]))
        for name in ("rename", "replace"):
            self._put(os, name, functools.partial(self._renamed, self._real[name]))
        for name in ("link", "symlink"):
            self._put(os, name, functools.partial(self._linked, self._real[name]))
        for name in ("truncate", "chmod", "chown", "lchown", "utime", "mkfifo", "mknod", "setxattr", "removexattr"):
            if hasattr(os, name):
                self._put(os, name, functools.partial(self._changed, self._real[name]))
        shutil._use_fd_functions = False  # type: ignore[attr-defined]
        self._put_writers()

    def _keep(self) -> None:
        self._real = {name: getattr(os, name) for name in dir(os) if callable(getattr(os, name))}
        self._real["io_open"] = io.open

    @staticmethod
    def _put(owner: Any, name: str, function: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        replacement = functools.wraps(original)(lambda *args, **kwargs: function(*args, **kwargs))
        for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if original in known:
                known.add(replacement)
        setattr(owner, name, replacement)

    def _put_writers(self) -> None:
        """Writers that are not in Python, and take a path."""
        import sqlite3

        import torch

        writers = [(torch, "save", 1, "f"), (torch.serialization, "save", 1, "f"), (torch.jit, "save", 1, "f")]
        writers.append((sqlite3, "connect", 0, "database"))
        with contextlib.suppress(ImportError):
            import safetensors

            writers.append((safetensors, "serialize_file", 1, "filename"))
        for owner, name, at, key in writers:
            self._put(owner, name, functools.partial(self._saved, getattr(owner, name), at, key))

    def _saved(self, save: Callable[..., Any], at: int, key: str, *args: Any, **kwargs: Any) -> Any:
        copied = key == "database"
        if len(args) > at and _is_path(args[at]):
            return save(*args[:at], self.writing(args[at], copied=copied), *args[at + 1 :], **kwargs)
        if _is_path(kwargs.get(key)):
            kwargs[key] = self.writing(kwargs[key], copied=copied)
        return save(*args, **kwargs)

    def _read(self, function: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self.reading(path, kwargs.get("dir_fd")), *args, **kwargs)

    def _opened(self, function: Callable[..., Any], file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opener = kwargs.get("opener") or (args[5] if len(args) > 5 else None)
        if opener is not None or not isinstance(file, str | bytes | os.PathLike):
            return function(file, mode, *args, **kwargs)  # an opener opens by os.open, which is redirected itself
        if not set("wax+") & set(mode):
            return function(self.reading(file), mode, *args, **kwargs)
        if "x" in mode and self.exists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
        if "w" not in mode and "a" not in mode and "x" not in mode:
            self._real["stat"](self.reading(file))  # r+ wants it to be there
        return function(self.writing(file, copied="w" not in mode), mode, *args, **kwargs)

    def _os_opened(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & WRITING:
            return self._real["open"](self.reading(path, dir_fd), flags, mode, dir_fd=dir_fd)
        there = self.exists(path, dir_fd)
        if there and flags & os.O_EXCL and flags & os.O_CREAT:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        if not there and not flags & os.O_CREAT:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._real["open"](self.writing(path, dir_fd, copied=not flags & os.O_TRUNC), flags, mode, dir_fd=dir_fd)

    def _listed(self, path: Any = ".") -> list[Any]:
        place = self._place(path, None)
        if place is None or self._is_free(place):
            return self._real["listdir"](path)
        names = {os.fsdecode(name) for name in self._folder_names(place, path)}
        return [os.fsencode(name) if isinstance(path, bytes) else name for name in sorted(names)]

    def _folder_names(self, place: str, path: Any) -> list[str]:
        mirrored = self._top + place
        own = self._real["listdir"](mirrored) if self._exists(mirrored) else []
        if self._is_gone(place) or not self._exists(place):
            return own if self._exists(mirrored) else self._real["listdir"](self.reading(path))
        return [*own, *(name for name in self._real["listdir"](place) if f"{place}/{name}" not in self._gone)]

    def _scanned(self, path: Any = ".") -> Any:
        place = self._place(path, None)
        if place is None or self._is_free(place) or (not self._exists(self._top + place) and not self._gone):
            return self._real["scandir"](path)
        return _Entries(self._entries(place, path))

    def _entries(self, place: str, path: Any) -> Iterator[Any]:
        seen, mirrored = set(), self._top + place
        if self._exists(mirrored):
            for entry in self._real["scandir"](mirrored):
                seen.add(entry.name)
                yield entry
        elif self._is_gone(place):
            self.reading(path)
        if self._exists(place) and not self._is_gone(place):
            for entry in self._real["scandir"](place):
                if entry.name not in seen and f"{place}/{entry.name}" not in self._gone:
                    yield entry

    def _made(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if self.exists(path, dir_fd):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        gone = self._is_gone(self._place(path, dir_fd) or "/")
        self._real["mkdir"](self.writing(path, dir_fd), mode)
        if gone:  # what was in the folder of this name is not in the new one
            self.forget(path, dir_fd)

    def _removed(self, function: Callable[..., Any], path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)
        if place is None or self._is_free(place):
            function(path, dir_fd=dir_fd)
            return
        if function is self._real["rmdir"] and self._listed(place):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        if self._exists(self._top + place):
            function(self._top + place)
        else:
            self._real["lstat"](self.reading(path, dir_fd))
        if self._exists(place):
            self.forget(place)

    def _renamed(self, function: Callable[..., Any], source: Any, to: Any, **kwargs: Any) -> None:
        first = self.writing(source, kwargs.get("src_dir_fd"), copied=True)
        function(first, self.writing(to, kwargs.get("dst_dir_fd")))
        self.forget(source, kwargs.get("src_dir_fd"))

    def _linked(self, function: Callable[..., Any], source: Any, to: Any, *args: Any, **kwargs: Any) -> None:
        target = self.writing(source, copied=True) if function is self._real["link"] else source
        function(target, self.writing(to), *args, **kwargs)

    def _changed(self, function: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, int):
            return function(path, *args, **kwargs)
        self._real["stat"](self.reading(path, kwargs.get("dir_fd")))
        return function(self.writing(path, kwargs.pop("dir_fd", None), copied=True), *args, **kwargs)


class _Entries:
    """What `os.scandir` gives: an iterator that can be closed."""

    def __init__(self, entries: Iterator[Any]) -> None:
        self._entries = entries

    def __iter__(self) -> _Entries:
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open."""


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, str) and not value.startswith((":", "file:")))


def _make_folders(real: dict[str, Any], place: str) -> None:
    """As `os.makedirs`, by the functions of before the redirection."""
    missing = []
    while not _is_there(real, place):
        missing.append(place)
        place = os.path.dirname(place)
    for folder in reversed(missing):
        real["mkdir"](folder)


def _is_there(real: dict[str, Any], place: str) -> bool:
    try:
        real["lstat"](place)
    except OSError:
        return False
    return True

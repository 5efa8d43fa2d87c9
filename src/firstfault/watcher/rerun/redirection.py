"""Python's file functions, and a few writers in other languages, put aside for ones that look into a mirror."""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import io
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from firstfault.watcher.rerun.mirror import Mirror, in_the_way, lacking

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
READERS = ("stat", "lstat", "access", "readlink", "statvfs", "chdir")
CHANGERS = ("truncate", "chmod", "chown", "lchown", "utime", "setxattr", "removexattr")
CREATORS = ("mkfifo", "mknod")


def redirect(mirror: Mirror) -> None:
    """Let this process, and its forks, see the user's files through the mirror."""
    changed = _Functions(mirror)
    for owner in (builtins, io):
        _put(owner, "open", changed.open)
    for name, function in changed.alone.items():
        _put(os, name, function)
    for names, on in changed.groups:
        for name in names:
            if hasattr(os, name):
                _put(os, name, functools.partial(on, getattr(os, name)))
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # trees are removed by paths
    _put_writers(mirror)


def _put(owner: Any, name: str, function: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
        if original in known:
            known.add(replacement)
    setattr(owner, name, replacement)


def _put_writers(mirror: Mirror) -> None:
    """Those that hand a path to another language: torch, SQLite, safetensors."""
    import sqlite3

    import torch

    writers: list[tuple[Any, str, int, str]] = [
        (torch, "save", 1, "f"),
        (torch.serialization, "save", 1, "f"),
        (torch.jit, "save", 1, "f"),
        (sqlite3, "connect", 0, "database"),
    ]
    with contextlib.suppress(ImportError):
        import safetensors  # type: ignore[import-not-found]

        writers.append((safetensors, "serialize_file", 1, "filename"))
    for owner, name, at, key in writers:
        _put(owner, name, functools.partial(_saved, mirror, getattr(owner, name), at, key))


def _saved(mirror: Mirror, save: Callable[..., Any], at: int, key: str, *args: Any, **kwargs: Any) -> Any:
    copied = key == "database"
    if len(args) > at and _is_path(args[at]):
        return save(*args[:at], mirror.writing(args[at], copied=copied), *args[at + 1 :], **kwargs)
    if _is_path(kwargs.get(key)):
        kwargs[key] = mirror.writing(kwargs[key], copied=copied)
    return save(*args, **kwargs)


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, str) and not value.startswith((":", "file:")))


class _Functions:
    """What stands in the places of `open` and of functions of `os`; those of `groups` are given the original."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror, self._real, self._open = mirror, mirror.real, mirror.real_open
        self.alone: dict[str, Callable[..., Any]] = {
            "open": self.os_open,
            "listdir": self.listdir,
            "scandir": self.scandir,
            "mkdir": self.mkdir,
        }
        self.groups: tuple[tuple[tuple[str, ...], Callable[..., Any]], ...] = (
            (READERS, self.read),
            (CHANGERS, self.change),
            (CREATORS, self.create),
            (("remove", "unlink", "rmdir"), self.remove),
            (("rename", "replace"), self.rename),
            (("link", "symlink"), self.link),
        )

    def read(self, function: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self.mirror.reading(path, kwargs.get("dir_fd")), *args, **kwargs)

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opener = kwargs.get("opener") or (args[5] if len(args) > 5 else None)
        if opener is not None or not isinstance(file, str | bytes | os.PathLike):
            return self._open(file, mode, *args, **kwargs)  # an opener opens by os.open
        if not set("wax+") & set(mode):
            return self._open(self.mirror.reading(file), mode, *args, **kwargs)
        there = self.mirror.exists(file)
        if "x" in mode and there:
            raise in_the_way(file)
        if not set("wax") & set(mode) and not there:
            raise lacking(file)
        return self._open(self.mirror.writing(file, copied="w" not in mode), mode, *args, **kwargs)

    def os_open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> Any:
        if not flags & WRITING:
            return self._real["open"](self.mirror.reading(path, dir_fd), flags, mode, dir_fd=dir_fd)
        there = self.mirror.exists(path, dir_fd)
        if there and flags & os.O_EXCL and flags & os.O_CREAT:
            raise in_the_way(path)
        if not there and not flags & os.O_CREAT:
            raise lacking(path)
        place = self.mirror.writing(path, dir_fd, copied=not flags & os.O_TRUNC)
        return self._real["open"](place, flags, mode, dir_fd=dir_fd)

    def listdir(self, path: Any = ".") -> list[Any]:
        place = self.mirror.place(path)
        if place is None:
            return list(self._real["listdir"](path))
        names = self.mirror.names(place, path)
        return [os.fsencode(name) for name in names] if isinstance(path, bytes) else names

    def scandir(self, path: Any = ".") -> Any:
        place = self.mirror.place(path)
        return self._real["scandir"](path) if place is None else _Entries(self.mirror.entries(place, path))

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if self.mirror.exists(path, dir_fd):
            raise in_the_way(path)
        place = self.mirror.place(path, dir_fd)
        gone = place is not None and self.mirror.is_gone(place)
        self._real["mkdir"](self.mirror.writing(path, dir_fd), mode)
        if gone:  # what was in the folder of this name is not in the new one
            self.mirror.forget(path, dir_fd)

    def remove(self, function: Callable[..., Any], path: Any, *, dir_fd: int | None = None) -> None:
        place = self.mirror.place(path, dir_fd)
        if place is None:
            function(path, dir_fd=dir_fd)
            return
        if not self.mirror.exists(place):
            raise lacking(path)
        if function is self._real["rmdir"] and self.listdir(place):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        if self.mirror.is_there(self.mirror.mirrored(place)):
            function(self.mirror.mirrored(place))
        if self.mirror.is_there(place):
            self.mirror.forget(place)

    def rename(self, function: Callable[..., Any], source: Any, to: Any, **kwargs: Any) -> None:
        first = self.mirror.writing(source, kwargs.get("src_dir_fd"), copied=True)
        function(first, self.mirror.writing(to, kwargs.get("dst_dir_fd")))
        self.mirror.forget(source, kwargs.get("src_dir_fd"))

    def link(self, function: Callable[..., Any], source: Any, to: Any, *args: Any, **kwargs: Any) -> None:
        hard = function is self._real["link"]
        function(self.mirror.writing(source, copied=True) if hard else source, self.mirror.writing(to), *args, **kwargs)

    def change(self, function: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        dir_fd = kwargs.get("dir_fd")
        if self.mirror.place(path, dir_fd) is not None:
            if not self.mirror.exists(path, dir_fd):
                raise lacking(path)
            path = self.mirror.writing(path, dir_fd, copied=True)
        return function(path, *args, **kwargs)

    def create(self, function: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self.mirror.writing(path, kwargs.get("dir_fd")), *args, **kwargs)


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

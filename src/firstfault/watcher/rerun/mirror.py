"""A mirror that takes every write: which file a script reads and writes in place of the one that it names.

    open("out/a.txt", "w")      writes   <scratch>/mirror/home/me/out/a.txt
    open("out/a.txt")           reads    the mirror's, where there is one, else the user's own
    os.remove("out/a.txt")      forgets  the user's own from then on, and leaves it where it is

What was deleted or moved away is gone for this process and its forks alone.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, isabs, join, normpath
from typing import Any

MOST_COPIED = 2 << 30
"""Bytes of a file of the user's that is copied, so that it can be changed: a larger one can't be."""
SPECIAL = ("/dev", "/proc", "/sys")
FREE = ("/dev/shm",)


class Mirror:
    """Knows the places of files; `real` are the functions of `os` before anything was put in their places."""

    def __init__(self, scratch: Path) -> None:
        self.real: dict[str, Any] = {name: getattr(os, name) for name in dir(os) if callable(getattr(os, name))}
        self.real_open = io.open
        self._top = f"{scratch.resolve()}/mirror"
        self._free = (str(scratch.resolve()), *FREE)
        self._gone: set[str] = set()

    # ------------------------------------------------------------------ where to read and write

    def reading(self, path: Any, dir_fd: int | None = None) -> Any:
        """Where a path is read; what is no path stays what it is.

        Raises:
            FileNotFoundError: where it was deleted before.
        """
        place = self.place(path, dir_fd)
        if place is None:
            return path
        if self.is_there(self._top + place):
            return self._top + place
        if self.is_gone(place):
            raise lacking(path)
        return path

    def writing(self, path: Any, dir_fd: int | None = None, *, copied: bool = False) -> Any:
        """Where a path is written: with `copied`, what is there already is copied first.

        Raises:
            FileNotFoundError: where there is no folder to write it in.
            OSError: where the file that is to be changed is too large to be copied.
        """
        place = self.place(path, dir_fd)
        if place is None:
            return path
        mirrored = self._top + place
        if not self._is_folder(dirname(place)):
            raise lacking(path)
        self._make_folders(dirname(mirrored))
        if copied and not self.is_there(mirrored) and not self.is_gone(place) and self.is_there(place):
            self._copy(place, mirrored)
        self._gone.discard(place)
        return mirrored

    def exists(self, path: Any, dir_fd: int | None = None) -> bool:
        """Whether a path is there, as the script sees it."""
        try:
            return self.is_there(self.reading(path, dir_fd))
        except OSError:
            return False

    def forget(self, path: Any, dir_fd: int | None = None) -> None:
        """A path of the user's is gone, for the script."""
        place = self.place(path, dir_fd)
        if place is not None:
            self._gone.add(place)

    def names(self, place: str, path: Any) -> list[str]:
        """The names in a folder, as the script sees it."""
        return [name for names in self._both(place, path, self.real["listdir"]) for name in names]

    def entries(self, place: str, path: Any) -> Iterator[Any]:
        """The entries of a folder, as the script sees it."""
        for entries in self._both(place, path, lambda folder: list(self.real["scandir"](folder))):
            yield from entries

    def _both(self, place: str, path: Any, listed: Any) -> Iterator[list[Any]]:
        """What is in the mirror's folder, and of the user's own what is neither there nor gone."""
        mirrored = self._top + place
        own = listed(mirrored) if self.is_there(mirrored) else []
        yield own
        if self.is_there(place) and not self.is_gone(place):
            known = {str(getattr(item, "name", item)) for item in own}
            yield [item for item in listed(place) if self._is_left(place, str(getattr(item, "name", item)), known)]
        elif not self.is_there(mirrored):
            listed(self.reading(path))  # raises what Python raises

    def _is_left(self, folder: str, name: str, known: set[str]) -> bool:
        return name not in known and f"{folder}/{name}" not in self._gone

    # ------------------------------------------------------------------ places

    def place(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The absolute path to be mirrored; None for what is no path, for devices, and in the scratch folder."""
        if isinstance(path, int) or path is None:
            return None
        text = os.fsdecode(path)
        if dir_fd is not None and not isabs(text):
            text = join(self.real["readlink"](f"/proc/self/fd/{dir_fd}"), text)
        place = normpath(join(self.real["getcwd"](), text))
        is_free = any(place == folder or place.startswith(f"{folder}/") for folder in (*self._free, *SPECIAL))
        return None if is_free else place

    def mirrored(self, place: str) -> str:
        """The path in the mirror of an absolute one."""
        return self._top + place

    def is_gone(self, place: str) -> bool:
        """Whether a place of the user's, or a folder above it, was deleted or moved away."""
        while place != "/":
            if place in self._gone:
                return True
            place = dirname(place)
        return False

    def is_there(self, place: Any) -> bool:
        """Whether there is something at a path, as it stands."""
        try:
            self.real["lstat"](place)
        except OSError:
            return False
        return True

    def _is_folder(self, place: str) -> bool:
        try:
            return stat.S_ISDIR(self.real["stat"](self.reading(place)).st_mode)
        except OSError:
            return False

    def _make_folders(self, place: str) -> None:
        missing = []
        while not self.is_there(place):
            missing.append(place)
            place = dirname(place)
        for folder in reversed(missing):
            self.real["mkdir"](folder)

    def _copy(self, source: str, to: str) -> None:
        about = self.real["stat"](source)
        if stat.S_ISDIR(about.st_mode):
            self._make_folders(to)
            for name in self.real["listdir"](source):
                self._copy(f"{source}/{name}", f"{to}/{name}")
        elif about.st_size > MOST_COPIED:
            raise OSError(errno.EFBIG, "too large to be changed in a copy", source)
        else:
            with self.real_open(source, "rb") as kept, self.real_open(to, "wb") as copy:
                shutil.copyfileobj(kept, copy)


def lacking(path: Any) -> FileNotFoundError:
    """What Python raises for a path that is not there."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def in_the_way(path: Any) -> FileExistsError:
    """What Python raises for a path that must not be there yet."""
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

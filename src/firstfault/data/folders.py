"""Folders as data sets: tables of one kind one below the other, or images in one subfolder per class."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from firstfault.data.files import KINDS, kind_of_file, read_file
from firstfault.data.images import read_images
from firstfault.data.reading import Defect, Read, Reading
from firstfault.errors import TargetError
from firstfault.metrics import Array
from firstfault.place import SHOWN


def read_folder(folder: Path, name: str, read: Read) -> tuple[pd.DataFrame | tuple[Array, Array], Reading]:
    """The tables of a folder as one frame, or its images as `(X, y)`; and what reading them taught.

    Images `(N, C, H, W)` are float32 of 0–255, of 16 bits 0–65535; `y` holds the subfolder's name. Files that can't be
    used are left out.

    Raises:
        TargetError: when the folder holds neither.
    """
    tables = sorted(path for path in folder.iterdir() if path.is_file() and kind_of_file(path))
    if tables:
        frames = [read_file(path, name, read) for path in tables]
        read.defects += _other_columns(tables, frames)
        return pd.concat(frames, ignore_index=True), read.reading()
    if not any(place.is_dir() and any(place.rglob("*")) for place in folder.iterdir()):
        raise TargetError(
            f"data.{name} must be a folder of {', '.join(KINDS)} files, or of images in a subfolder per class, "
            f"but {folder} holds none"
        )
    pixels, labels, files, notes = read_images(folder, name)
    read.notes += notes
    return (pixels, labels), read.reading(files)


def _other_columns(paths: list[Path], frames: list[pd.DataFrame]) -> list[Defect]:
    """The files whose columns differ from those of the first file."""
    defects = []
    for path, frame in zip(paths, frames, strict=True):
        lacks, adds = differences(frames[0].columns, frame.columns)
        if lacks or adds:
            defects.append(
                Defect(
                    path.name,
                    f"{path.name} has other columns than {paths[0].name}: {in_words(lacks, adds)}",
                    len(lacks) + len(adds),
                    "schema_change",
                    "write all files of the folder with the same columns",
                )
            )
    return defects


def differences(known: Iterable[object], columns: Iterable[object]) -> tuple[list[str], list[str]]:
    """The known columns that are absent, and the columns that are not known, in their orders."""
    first, second = [str(name) for name in known], [str(name) for name in columns]
    absent, new = set(first) - set(second), set(second) - set(first)
    return [name for name in first if name in absent], [name for name in second if name in new]


def in_words(lacks: list[str], adds: list[str]) -> str:
    """What a table lacks and has besides, in words."""
    return "; ".join(f"{word} {listed(names)}" for word, names in (("it lacks", lacks), ("it adds", adds)) if names)


def listed(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

"""Folders as data sets: tables of one kind one below the other, or images in one subfolder per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from firstfault.errors import TargetError

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def read_folder(folder: Path, name: str, read_table: Callable[[Path, str], pd.DataFrame], tables: frozenset[str]) -> Any:
    """The tables of a folder as one frame, or its images as `(X, y)`.

    Images `(N, C, H, W)` are float32 of 0–255 in the most common mode (grey or RGB) and size; `y` holds the subfolder's
    name. Files that can't be read are left out here, and are what `unreadable_images` finds.

    Raises:
        TargetError: when the folder holds neither.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in tables)
    if files:
        return pd.concat([read_table(path, name) for path in files], ignore_index=True)
    labelled = image_files(folder)
    if not labelled:
        kinds = ", ".join(sorted(tables))
        raise TargetError(f"data.{name} must be a folder of {kinds} files, or of images in a subfolder per class, but {folder} holds none")
    read = [(image, label) for path, label in labelled if (image := _image(path)) is not None]
    if not read:
        raise TargetError(f"data.{name}: none of the {len(labelled)} image files in {folder} can be read")
    shape = Counter(image.shape for image, _ in read).most_common(1)[0][0]
    kept = [(image, label) for image, label in read if image.shape == shape]
    return np.stack([image for image, _ in kept]), np.array([label for _, label in kept])


def image_files(folder: Path) -> list[tuple[Path, str]]:
    """Every file in a subfolder, with the subfolder's name as its label; hidden files are no data."""
    return [
        (path, below.name) for below in sorted(folder.iterdir()) if below.is_dir()
        for path in sorted(below.rglob("*")) if path.is_file() and not path.name.startswith(".")
    ]


def faulty_images(folder: Path) -> dict[str, str]:
    """What is wrong with an image file, by its path below the folder: not an image, corrupt, or of another mode or size."""
    shapes, wrong = {}, {}
    for path, _ in image_files(folder):
        place = str(path.relative_to(folder))
        image = _image(path)
        if image is not None:
            shapes[place] = image.shape
        else:
            wrong[place] = "corrupt or truncated" if path.suffix.lower() in IMAGES else "no image"
    usual = Counter(shapes.values()).most_common(1)[0][0] if shapes else None
    for place, shape in shapes.items():
        if shape != usual:
            wrong[place] = f"{_spoken(shape)} among {_spoken(usual)}"
    return dict(sorted(wrong.items()))


def _spoken(shape: Any) -> str:
    channels, height, width = shape
    return f"{width}×{height} {'grey' if channels == 1 else 'colour'}"


def _image(path: Path) -> np.ndarray[Any, Any] | None:
    """An image `(C, H, W)` as float32 of 0–255; None when it can't be read to its end."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            mode = "L" if image.mode in ("1", "L", "I", "I;16", "LA") else "RGB"
            values = np.asarray(image.convert(mode), dtype=np.float32)
    except Exception:                                   # whatever a decoder raises, the file is not readable
        return None
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)

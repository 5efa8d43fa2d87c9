"""Image files in one subfolder per class, each decoded once, with what is wrong or odd about every one of them.

The headers tell the usual size and colours, so that the pixels go straight to their place in one array.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from firstfault.errors import TargetError
from firstfault.metrics import Array

if TYPE_CHECKING:
    from PIL import Image


IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}
GREY = {"1", "L", "LA", "La", "I", "F"}
SPOKEN = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with alpha",
    "P": "palette",
    "RGB": "colour",
    "RGBA": "colour with alpha",
    "PA": "palette with alpha",
}
USUAL_SHARE, FEW = 0.9, 3
"""Where nine tenths have one size, or all but three, the others are slips and left out; else all are scaled."""
LARGEST_SIDE = 256
"""Pixels to which images of many sizes are scaled: bounds the memory at 0.8 MB for each in colours."""
ORIENTATION = 0x0112
"""The EXIF tag of it."""


@dataclass(frozen=True)
class ImageFile:
    """One file of an image folder: `place` below the folder, its class, and what its header and pixels tell.

    `unusable` says why it is left out, `odd` what is unlike the others although it is used. `digest` is that of its
    pixels, `constant` whether they are all equal, `image` whether it is, or claims to be, an image at all.
    """

    place: str
    label: str
    size: tuple[int, int] | None = None
    mode: str = ""
    odd: tuple[str, ...] = ()
    unusable: str | None = None
    digest: str = ""
    constant: bool = False
    image: bool = True


def read_images(folder: Path, name: str) -> tuple[Array, Array, list[ImageFile], list[str]]:
    """The images of a folder `(N, C, H, W)` as float32, their classes `(N,)`, every file, and harmless notes.

    Pixels are 0–255, those of 16 bits and floats as the file holds them, since the user's own steps expect these.
    Images are grey or RGB as most of them are. Where nine tenths have one size (or all but three), the others are left
    out; where sizes vary by nature, all are scaled to the median size, at most 256 pixels a side.

    Raises:
        TargetError: when no file can be read, the subfolders are splits, or the images don't fit into memory.
    """
    paths = _class_files(folder, name)
    files = [_header(path, folder) for path in paths]
    readable = [file for file in files if file.unusable is None]
    if not readable:
        raise TargetError(
            f"data.{name}: none of the {len(files)} files in the subfolders of {folder} can be read as an image"
        )
    size, scaled = _common_size(readable)
    channels = 1 if sum(_is_grey(file.mode) for file in readable) * 2 > len(readable) else 3
    files = [_beside(file, size, _usual_mode(readable), scaled) for file in files]
    pixels = _room_for(len(files), (channels, size[1], size[0]), name)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(pool.map(partial(_decode, size=size), paths, files, pixels))
    kept = [at for at, file in enumerate(files) if file.unusable is None]
    for to, at in enumerate(kept):
        if to != at:
            pixels[to] = pixels[at]
    notes = [f"sizes vary, so that the images of {folder.name} are looked at as {_times(size)}"] if scaled else []
    return pixels[: len(kept)], np.array([files[at].label for at in kept]), files, notes


def _class_files(folder: Path, name: str) -> list[Path]:
    """Every file in a subfolder; hidden files are no data."""
    below = [place for place in sorted(folder.iterdir()) if place.is_dir() and not place.name.startswith(".")]
    splits = [
        place
        for place in below
        if place.name.lower() in SPLIT_NAMES and any(inner.is_dir() for inner in place.iterdir())
    ]
    if splits and len(splits) == len(below):
        told = ", ".join(place.name for place in splits)
        raise TargetError(
            f"data.{name} must be a folder with a subfolder per class, "
            f"but the subfolders of {folder} are splits ({told}): "
            f'declare each of them, as in Data(train="{folder.name}/{splits[0].name}", …)'
        )
    return [
        path for place in below for path in sorted(place.rglob("*")) if path.is_file() and not path.name.startswith(".")
    ]


def _header(path: Path, folder: Path) -> ImageFile:
    """What a file's header tells; nothing is decoded."""
    from PIL import Image

    place = path.relative_to(folder)
    file = ImageFile(str(place), place.parts[0])
    try:
        with Image.open(path) as image:
            return replace(file, size=image.size, mode=image.mode, odd=tuple(_oddities(image, path)))
    except Image.DecompressionBombError:
        return replace(file, unusable="too large to decode")
    except Exception:  # whatever a decoder raises, the file is not readable
        claims = path.suffix.lower() in IMAGES
        reason = "empty" if path.stat().st_size == 0 else "corrupt or truncated" if claims else "no image"
        return replace(file, unusable=reason, image=claims)


def _oddities(image: Image.Image, path: Path) -> list[str]:
    from PIL import Image

    odd = []
    named = Image.registered_extensions().get(path.suffix.lower())
    if named != image.format and (named, image.format) not in (("JPEG", "MPO"), ("PNG", "APNG")):
        odd.append(
            f"a {image.format} file named {path.suffix}" if path.suffix else f"a {image.format} file without a suffix"
        )
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    if frames > 1:
        odd.append(f"{frames} frames, of which the first is used")
    return odd


def _is_grey(mode: str) -> bool:
    return mode in GREY or mode.startswith("I;")


def _usual_mode(files: list[ImageFile]) -> str:
    return Counter(file.mode for file in files).most_common(1)[0][0]


def _common_size(files: list[ImageFile]) -> tuple[tuple[int, int], bool]:
    """The size (W, H) of the array, and whether the images are scaled to it."""
    sizes = [file.size for file in files if file.size is not None]
    usual, times = Counter(sizes).most_common(1)[0]
    if times >= USUAL_SHARE * len(sizes) or (len(sizes) - times <= FEW and times > len(sizes) / 2):
        return usual, False
    width, height = np.median(np.array(sizes), axis=0)
    shrink = min(1.0, LARGEST_SIDE / max(width, height))
    return (max(1, round(width * shrink)), max(1, round(height * shrink))), True


def _beside(file: ImageFile, size: tuple[int, int], mode: str, scaled: bool) -> ImageFile:
    """The file compared with the others: another size makes it unusable, another mode is odd."""
    if file.unusable is not None:
        return file
    if file.size != size and not scaled and file.size is not None:
        return replace(file, unusable=f"{_times(file.size)} among {_times(size)}")
    return file if file.mode == mode else replace(file, odd=(*file.odd, f"{_spoken(file.mode)} among {_spoken(mode)}"))


def _spoken(mode: str) -> str:
    return "16-bit grey" if mode.startswith("I") else SPOKEN.get(mode, mode)


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _room_for(count: int, shape: tuple[int, ...], name: str) -> Array:
    import psutil

    needed, free = count * int(np.prod(shape)) * 4, psutil.virtual_memory().available
    if needed > free:
        size = _times((shape[2], shape[1]))
        raise TargetError(
            f"data.{name} must fit into memory, but {count} images of {size} take {needed / 2**30:.1f} GiB "
            f"of the {free / 2**30:.1f} GiB that are free; declare a callable that reads a sample, or smaller images"
        )
    return np.empty((count, *shape), np.float32)


def _decode(path: Path, file: ImageFile, room: Array, size: tuple[int, int]) -> ImageFile:
    """Put a file's pixels into `room` `(C, H, W)`."""
    from PIL import Image

    if file.unusable is not None:
        return file
    try:
        with Image.open(path) as image:
            image.load()
            turned = image.getexif().get(ORIENTATION, 1) != 1  # PNG has it behind the pixels
            values = _pixels(image, "L" if len(room) == 1 else "RGB", size)
    except Exception:  # whatever a decoder raises, the file is not readable
        return replace(file, unusable="corrupt or truncated")
    room[:] = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    odd = (*file.odd, "to be turned by its EXIF tag, which is not done") if turned else file.odd
    digest = hashlib.blake2b(values.tobytes(), digest_size=12).hexdigest()
    return replace(file, odd=odd, digest=digest, constant=bool(values.min() == values.max()))


def _pixels(image: Image.Image, mode: str, size: tuple[int, int]) -> Array:
    """Pixels `(H, W)` or `(H, W, 3)`: uint8, or of 16 bits and floats as float32 of what the file holds."""
    from PIL import Image

    deep = image.mode.startswith("I") or image.mode == "F"
    image = Image.fromarray(np.asarray(image, dtype=np.float32)) if deep else image.convert(mode)
    values = np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))
    return np.stack([values] * 3, -1) if mode == "RGB" and values.ndim == 2 else values

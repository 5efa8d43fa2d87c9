"""Image files that are no images, corrupt, or unlike the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status

SHOWN = 5


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.92})
def unreadable_images(subject: Any, *, share: float = 0.0) -> Iterator[Judgement]:
    """Find files of an image folder that can't be used, by name; `value` is their share of all files.

    Files that are no images, end early, or have another mode or size than most are left out of the data.

    Source: FAULTS of this project: corrupt files.
    """
    from firstfault.folders import faulty_images, image_files

    source = subject.target.data.train
    folder = subject.target.root / Path(source).expanduser() if isinstance(source, str | Path) else None
    files = image_files(folder) if folder is not None and folder.is_dir() else []
    if folder is None or not files:
        yield skipped("only folders of images are looked at")
        return
    wrong = faulty_images(folder)
    value = len(wrong) / len(files)
    if value <= share:
        yield passed(f"all {len(files)} image files can be used", value=value)
        return
    told = "; ".join(f"{name}: {reason}" for name, reason in list(wrong.items())[:SHOWN])
    yield Judgement(
        Status.FAIL, f"{len(wrong)} of {len(files)} files can't be used: {told}" + ("; …" if len(wrong) > SHOWN else ""),
        value=value, threshold=share, where=", ".join(list(wrong)[:SHOWN]), fix="repair or remove these files",
    )

"""Image files that can't be used, are unlike the others, blank, or the same under two classes: found by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from firstfault.check import Judgement, check, passed, skipped
from firstfault.data.images import ImageFile
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_rows
from firstfault.place import SHOWN, Place
from firstfault.subject.subject import Subject

LISTED = 1_000  # files in a table that a person looks through


def _images(subject: Subject) -> list[tuple[str, ImageFile]]:
    """Every image file of the declared folders by name: below its folder, and after its split unless that is train."""
    return [
        (file.place if split == "train" else f"{split}: {file.place}", file)
        for split, reading in subject.get("source").readings.items()
        for file in reading.images
    ]


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.92})
def unreadable_images(subject: Subject, *, share: float = 0.0) -> Iterator[Judgement]:
    """Find files of an image folder that can't be used, by name.

    Measures: their share of all files: images that are empty, end early, are too large to decode, or have another size
        than nine tenths of them. They are left out of the data.
    Fails when: the share is above `share`.
    Source: a choice of ours: one such file stops a loader that doesn't expect it; tests/checks/data/test_folders.py
        holds the cases.
    """
    files = [(name, file) for name, file in _images(subject) if file.image]
    if not files:
        yield skipped("only folders of images are looked at")
        return
    wrong = {name: file.unusable for name, file in files if file.unusable is not None}
    value = len(wrong) / len(files)
    if value <= share:
        yield passed(f"all {len(files)} image files can be used", value=value)
        return
    yield Judgement(
        Status.FAIL,
        f"{len(wrong)} of {len(files)} files can't be used: {_told(wrong)}",
        value=value,
        threshold=share,
        where=Place.files(*list(wrong)[:SHOWN]),
        fix="repair or remove these files",
        artifacts=_listed(subject, "unreadable_images.csv", wrong),
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def odd_images(subject: Subject) -> Iterator[Judgement]:
    """Find files of an image folder that loaders may read differently, by name.

    Measures: the number of such files: another colour mode than most, 16 bits, several frames, a rotation that only the
        EXIF tag knows, a suffix of another format, and files that are no images.
    Warns when: there is one. Images are used as they are stored.
    Source: Pillow, concepts (modes) and ImageOps.exif_transpose; torchvision's default loader turns no image.
    """
    files = _images(subject)
    if not files:
        yield skipped("only folders of images are looked at")
        return
    odd = {name: "; ".join(file.odd) for name, file in files if file.odd} | {
        name: "no image" for name, file in files if not file.image
    }
    if not odd:
        yield passed(f"all {len(files)} image files are of one kind", value=0)
        return
    yield Judgement(
        Status.WARN,
        f"{len(odd)} of {len(files)} files are unlike the others: {_told(odd)}",
        value=len(odd),
        threshold=0,
        where=Place.files(*list(odd)[:SHOWN]),
        fix="convert them, or see that your loader reads them as you expect",
        artifacts=_listed(subject, "odd_images.csv", odd),
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.92})
def blank_images(subject: Subject, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find images of one value throughout, by name.

    Measures: their share of the usable files.
    Fails when: the same blank image is in two classes, and such files make up more than `share`: it says nothing of
        either.
    Warns when: blank images are of one class only, or fewer.
    Not a fault when: blank is what a class looks like (clouds, water).
    Source: a choice of ours; tests/checks/data/test_folders.py holds the cases that it separates.
    """
    files = [(name, file) for name, file in _images(subject) if file.unusable is None]
    if not files:
        yield skipped("only folders of images are looked at")
        return
    blank = {name: f"blank, of class {file.label}" for name, file in files if file.constant}
    classes = _classes_by_content(file for _, file in files if file.constant)
    shared = sum(file.constant and len(classes[file.digest]) > 1 for _, file in files) / len(files)
    if not blank:
        yield passed(f"none of {len(files)} images is blank", value=0.0)
        return
    yield Judgement(
        Status.FAIL if shared > share else Status.WARN,
        f"{len(blank)} of {len(files)} images are blank: {_told(blank)}",
        value=len(blank) / len(files),
        threshold=share,
        where=Place.files(*list(blank)[:SHOWN]),
        faults=None if shared > share else {},
        fix="remove them, or find out what lost their content",
        artifacts=_listed(subject, "blank_images.csv", blank),
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"conflicting_labels": 0.9})
def images_of_two_classes(subject: Subject, *, share: float = 0.03) -> Iterator[Judgement]:
    """Find image files of equal content under different classes, by name.

    Measures: their share of the usable files, without blank ones.
    Fails when: the share is above `share`.
    Warns when: there is one.
    Source: the bound is that of `conflicting_labels`; Northcutt et al. 2021 find such pairs in MNIST, CIFAR and
        ImageNet.
    """
    files = [(name, file) for name, file in _images(subject) if file.unusable is None and not file.constant]
    if not files:
        yield skipped("only folders of images are looked at")
        return
    classes = _classes_by_content(file for _, file in files)
    twice = {name: file for name, file in files if len(classes[file.digest]) > 1}
    if not twice:
        yield passed(f"no content of {len(files)} images is in two classes", value=0.0)
        return
    value = len(twice) / len(files)
    named = defaultdict(list)
    for name, file in twice.items():
        named[file.digest].append(name)
    told = {names[0]: f"equal to {', '.join(names[1:SHOWN])}" for names in named.values()}
    yield Judgement(
        Status.FAIL if value > share else Status.WARN,
        f"{len(twice)} of {len(files)} images are in two classes: {_told(told)}",
        value=value,
        threshold=share,
        where=Place.files(*list(told)[:SHOWN]),
        faults=None if value > share else {},
        fix="decide one class per image",
        artifacts=_listed(subject, "images_of_two_classes.csv", told),
    )


def _classes_by_content(files: Iterable[ImageFile]) -> Mapping[str, Counter[str]]:
    classes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        classes[file.digest][file.label] += 1
    return classes


def _told(reasons: Mapping[str, str]) -> str:
    told = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:SHOWN])
    return told + ("; …" if len(reasons) > SHOWN else "")


def _listed(subject: Subject, name: str, reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Write the first thousand files with their reasons as a table."""
    write_rows(subject.folder / name, ["file", "what is wrong"], list(reasons.items())[:LISTED])
    return (name,)

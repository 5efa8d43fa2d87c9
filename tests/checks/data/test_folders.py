"""Folders as data sets: tables one below the other, and images in a subfolder per class, damaged ones named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from sklearn.datasets import load_digits

from firstfault import Data, Target
from firstfault.check import Depth, run_checks
from firstfault.data.splits import load_raw
from firstfault.errors import TargetError
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject


def raw(folder, **data):
    """The raw splits of a target whose data are a folder."""
    return load_raw(Target("t", data=Data(train="data", **data), root=folder))


@pytest.fixture
def digits(tmp_path):
    """Two classes of digits as PNG files."""
    X, y = load_digits(n_class=2, return_X_y=True)
    for number, (pixels, label) in enumerate(zip(X[:60], y[:60], strict=True)):
        place = tmp_path / "data" / f"digit{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels.reshape(8, 8) * 15).astype(np.uint8)).save(place / f"{number}.png")
    return tmp_path


def test_tables_of_a_folder_are_one_table(tmp_path):
    """CSV and parquet files are read in the order of their names."""
    (tmp_path / "data").mkdir()
    frame = pd.DataFrame({"a": range(10), "y": [0, 1] * 5})
    frame.to_csv(tmp_path / "data" / "1.csv", index=False)
    frame.assign(a=frame["a"] + 10).to_parquet(tmp_path / "data" / "2.parquet")
    splits = raw(tmp_path, label="y")
    assert sorted(value for _, split in splits.items() for value in split.X["a"]) == list(range(20))


def test_images_are_read_with_their_class(digits):
    """Grey images (N, 1, H, W) of 0–255, labelled by their subfolder."""
    splits = raw(digits)
    assert (
        splits.train.X.shape[1:] == (1, 8, 8)
        and splits.train.X.max() > 100
        and set(splits.train.y) == {"digit0", "digit1"}
    )


def test_a_sound_folder_of_images_is_not_blamed(make, only, digits):
    """Every file can be used."""
    assert only("unreadable_images", make(digits / "data")).status is Status.PASS


def test_files_that_cannot_be_used_are_named(make, only, digits):
    """Cut, empty, no image behind its suffix, and of another size than the rest; they are left out."""
    place = digits / "data" / "digit0"
    first = sorted(place.glob("*.png"))[0]
    (place / "cut.png").write_bytes(first.read_bytes()[:60])
    (place / "zero.jpg").write_bytes(b"")
    (place / "text.png").write_text("hello")
    Image.new("L", (900, 2)).save(place / "large.png")
    subject = make(digits / "data")
    finding = only("unreadable_images", subject)
    assert (
        finding.status is Status.FAIL
        and finding.faults == {"noisy_features": 0.92}
        and "4 of 64 files" in finding.message
    )
    for told in (
        "digit0/cut.png: corrupt or truncated",
        "digit0/zero.jpg: empty",
        "digit0/text.png: corrupt or truncated",
        "digit0/large.png: 900×2 among 8×8",
    ):
        assert told in finding.message
    assert sum(len(split.y) for _, split in subject.raw.items()) == 60
    assert len((subject.folder / "unreadable_images.csv").read_text().splitlines()) == 5


ODD = {
    "colour.png": (lambda path: Image.effect_noise((8, 8), 50).convert("RGB").save(path), "colour among grey"),
    "alpha.png": (
        lambda path: Image.effect_noise((8, 8), 51).convert("RGBA").save(path),
        "colour with alpha among grey",
    ),
    "palette.png": (lambda path: Image.effect_noise((8, 8), 52).convert("P").save(path), "palette among grey"),
    "print.jpg": (lambda path: Image.effect_noise((8, 8), 53).convert("CMYK").save(path), "CMYK among grey"),
    "deep.png": (
        lambda path: Image.fromarray((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)).save(path),
        "16-bit grey among grey",
    ),
    "named.png": (lambda path: Image.effect_noise((8, 8), 54).save(path, "JPEG"), "a JPEG file named .png"),
    "moving.gif": (
        lambda path: Image.effect_noise((8, 8), 55).save(
            path, save_all=True, append_images=[Image.effect_noise((8, 8), 56)]
        ),
        "2 frames, of which the first is used",
    ),
    "turned.jpg": (
        lambda path: Image.effect_noise((8, 8), 57).save(path, exif=_turned()),
        "to be turned by its EXIF tag",
    ),
    "notes.txt": (lambda path: path.write_text("hello"), "no image"),
}


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("name", ODD)
def test_files_unlike_the_others_are_used_and_named(make, only, digits, name):
    """Loaders read them differently, so that it is a warning; a text file is no data."""
    write, told = ODD[name]
    write(digits / "data" / "digit0" / name)
    subject = make(digits / "data")
    finding = only("odd_images", subject)
    assert finding.status is Status.WARN and f"digit0/{name}: " in finding.message and told in finding.message
    assert only("unreadable_images", subject).status is Status.PASS
    assert sum(len(split.y) for _, split in subject.raw.items()) == 60 + (name != "notes.txt")


def test_sixteen_bits_keep_their_values(tmp_path):
    """The user's own steps divide by what the files hold, whatever the brightest pixel of an image is."""
    scan = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for place in (tmp_path / "data" / "a", tmp_path / "data" / "b"):
        place.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(scan // (20 if number % 2 else 1)).save(place / f"{number}.png")
    levels = {len(np.unique(values)): values.max() for values in raw(tmp_path).train.X}
    assert levels == {4096: 4095, 205: 204}


def test_images_of_sizes_that_vary_by_nature_are_scaled(make, only, tmp_path):
    """Photographs of many sizes are no fault."""
    rng = np.random.default_rng(0)
    for number in range(30):
        place = tmp_path / "photos" / f"class{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(tuple(rng.integers(300, 900, 2).tolist()), 60).convert("RGB").save(place / f"{number}.jpg")
    subject = make(tmp_path / "photos")
    shape = subject.raw.train.X.shape
    assert (
        len(subject.raw.train.y) + len(subject.raw.validation.y) + len(subject.raw.test.y) == 30 and max(shape) <= 256
    )
    assert only("unreadable_images", subject).status is Status.PASS
    assert "sizes vary" in only("broken_files", subject).message


def test_the_same_image_in_two_classes_is_named(make, only, digits):
    """A pair is a warning, more than a few are a fault."""
    file = sorted((digits / "data" / "digit0").glob("*.png"))[0]
    (digits / "data" / "digit1" / "copy0.png").write_bytes(file.read_bytes())
    assert only("images_of_two_classes", make(digits / "data"), share=0.05).status is Status.WARN
    (digits / "data" / "digit1" / "copy1.png").write_bytes(file.read_bytes())
    finding = only("images_of_two_classes", make(digits / "data"))
    assert finding.status is Status.FAIL
    assert finding.faults == {"conflicting_labels": 0.9} and "digit1/copy0.png" in finding.message


def test_blank_images_of_several_classes_are_a_fault(make, only, digits):
    """The camera was dead; blank images of one class may be what it looks like."""
    for number in range(3):
        Image.new("L", (8, 8), 7).save(digits / "data" / "digit0" / f"blank{number}.png")
    mild = only("blank_images", make(digits / "data"))
    Image.new("L", (8, 8), 7).save(digits / "data" / "digit1" / "blank.png")
    finding = only("blank_images", make(digits / "data"))
    assert mild.status is Status.WARN and not mild.faults and "digit0/blank0.png" in mild.message
    assert (
        finding.status is Status.FAIL
        and finding.faults == {"noisy_features": 0.92}
        and "digit1/blank.png" in finding.message
    )


def test_a_sound_folder_has_no_odd_file(make, run, digits):
    """Nor blank or ambiguous ones."""
    subject = make(digits / "data")
    assert {run(check, subject)[0].status for check in ("odd_images", "blank_images", "images_of_two_classes")} == {
        Status.PASS
    }


def test_a_folder_of_splits_is_refused_with_what_to_declare(digits):
    """Else `train` and `validation` would be the classes; declared one by one they are read, named by their split."""
    (digits / "splits" / "validation" / "digit0").mkdir(parents=True)
    (digits / "data").rename(digits / "splits" / "train")
    file = next((digits / "splits" / "train" / "digit0").glob("*.png"))
    (digits / "splits" / "validation" / "digit0" / "same.png").write_bytes(file.read_bytes())
    (digits / "splits" / "validation" / "digit0" / "cut.png").write_bytes(file.read_bytes()[:50])
    with pytest.raises(
        TargetError, match=r'are splits \(train, validation\): declare each of them, as in Data\(train="splits/train"'
    ):
        load_raw(Target("t", data=Data(train="splits"), root=digits))
    subject = Subject(
        Target("t", data=Data(train="splits/train", validation="splits/validation"), root=digits), digits / "run"
    )
    assert set(subject.raw.train.y) == {"digit0", "digit1"} and list(subject.raw.validation.y) == ["digit0"]
    assert "validation: digit0/cut.png: corrupt" in next(
        finding.message
        for finding in run_checks(Layer.DATA, subject, Depth.QUICK).findings
        if finding.check == "unreadable_images"
    )


def test_every_image_is_decoded_once(make, run, digits, monkeypatch):
    """Reading keeps what the checks ask for."""
    decoded = []
    original = PngImageFile.load
    monkeypatch.setattr(
        PngImageFile, "load", lambda image: (decoded.append(image.filename) if image.tile else None, original(image))[1]
    )
    subject = make(digits / "data")
    for check in ("unreadable_images", "odd_images", "blank_images", "images_of_two_classes"):
        run(check, subject)
    assert len(decoded) == len(set(decoded)) == 60


@pytest.mark.parametrize("content", [{}, {"readme.md": "x"}, {"cats/a.png": "broken"}])
def test_a_folder_without_data_is_refused_in_one_sentence(tmp_path, content):
    """An empty folder, one without tables, and one whose images are all broken."""
    (tmp_path / "data").mkdir()
    for name, text in content.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    with pytest.raises(TargetError, match=r"data\.train"):
        raw(tmp_path)

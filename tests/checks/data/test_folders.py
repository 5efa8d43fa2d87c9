"""Folders as data sets: tables one below the other, and images in a subfolder per class, damaged ones named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from firstfault import Data, Target
from firstfault.errors import TargetError
from firstfault.finding import Status
from firstfault.splits import load_raw


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
    assert splits.train.X.shape[1:] == (1, 8, 8) and splits.train.X.max() > 100 and set(splits.train.y) == {"digit0", "digit1"}


def test_a_sound_folder_of_images_is_not_blamed(make, only, digits):
    """Every file can be used."""
    assert only("unreadable_images", make(digits / "data")).status is Status.PASS


def test_damaged_and_foreign_files_are_named(make, only, digits):
    """A truncated file, one that is no image, one in colour and one of another size."""
    place = digits / "data" / "digit0"
    first = sorted(place.glob("*.png"))[0]
    (place / "cut.png").write_bytes(first.read_bytes()[:60])
    (place / "notes.txt").write_text("hello")
    Image.new("RGB", (8, 8)).save(place / "colour.png")
    Image.new("L", (9, 9)).save(place / "large.png")
    finding = only("unreadable_images", make(digits / "data"))
    assert finding.status is Status.FAIL and finding.faults == {"noisy_features": 0.92}
    for told in ("digit0/cut.png: corrupt or truncated", "digit0/notes.txt: no image", "digit0/colour.png: 8×8 colour among 8×8 grey",
                 "digit0/large.png: 9×9 grey among 8×8 grey"):
        assert told in finding.message


@pytest.mark.parametrize("content", [{}, {"readme.md": "x"}, {"cats/a.png": "broken"}])
def test_a_folder_without_data_is_refused_in_one_sentence(tmp_path, content):
    """An empty folder, one without tables, and one whose images are all broken."""
    (tmp_path / "data").mkdir()
    for name, text in content.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    with pytest.raises(TargetError, match=r"data\.train"):
        raw(tmp_path)

"""Findings are plain values that survive JSON."""

import json

import numpy as np
import pytest

from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status, plain, worst
from firstfault.place import Kind, Place, together


def finding(status=Status.FAIL, **changes):
    return Finding("dead_relu", Layer.MODEL, status, "60% of the units are dead", **changes)


def test_a_finding_survives_json():
    """What to_json writes, from_json reads back unchanged."""
    before = finding(
        value=0.6, threshold=0.5, where=Place.modules("relu1"), faults={"dead_relu": 0.8}, artifacts=("a.png",)
    )
    assert Finding.from_json(json.loads(json.dumps(before.to_json()))) == before
    assert Finding.from_json(finding().to_json()) == finding()


PLACES = {
    "fc1, fc2": Place.modules("fc1", "fc2"),
    "standardise, train": Place.stage("standardise", "train"),
    "training.loss": Place.setting("training.loss"),
    "training.loader, validation": Place.setting("training.loader", "validation"),
    "train labels": Place.labels("train"),
    "labels": Place.labels(),
    "train": Place.data("train"),
    "train rows 3, 17": Place(Kind.ROW, ("3", "17"), "train"),
    "site, test": Place(Kind.COLUMN, ("site",), "test"),
    "old.csv (reference)": Place(Kind.FILE, ("old.csv",), "reference"),
    "epoch 3": Place(Kind.EPOCH, ("3",)),
    "step 12": Place(Kind.STEP, step=12),
    "target.py:12 in build": Place(Kind.LINE, ("build",), file="target.py", line=12),
    "target.py:12": Place(Kind.LINE, file="target.py", line=12),
    "head.weight, by the update": Place(Kind.PARAMETER, ("head.weight",), step=4, note="by the update"),
    "training loop": Place.part("training loop"),
    "a, b, c, d, e, f, g, h and 2 more": Place.columns(*"abcdefghij"),
}


@pytest.mark.parametrize("text", PLACES)
def test_a_place_has_its_text_and_survives_json(text):
    """People read the text, tools the values; the text is made, and not read back."""
    place = PLACES[text]
    assert str(place) == f"{place}" == place.to_json()["text"] == text
    assert Place.from_json(json.loads(json.dumps(place.to_json()))) == place


def test_no_names_make_no_place():
    """Of an empty list there is nothing to point to."""
    assert Place.columns() is Place.modules() is Place.parameters() is Place.files() is Place.cases() is None


def test_columns_may_have_any_name():
    """Numbers and objects become texts."""
    assert Place.columns(3, ("a", 1)).names == ("3", "('a', 1)")


def test_places_of_one_kind_come_together():
    """Those of the first one's kind are kept, each name once."""
    found = [Place.modules("a"), Place.part("softmax in forward"), Place.modules("b", "a")]
    assert together(found) == Place.modules("a", "b") and together([]) is None


def test_every_text_of_a_place_is_hidden():
    """What masks personal data sees names, split, file and note."""
    place = Place(Kind.LINE, ("eve",), "eve", "eve.py", 3, note="of eve").hidden(lambda text: text.replace("eve", "•"))
    assert place == Place(Kind.LINE, ("•",), "•", "•.py", 3, note="of •")


def test_a_report_survives_json():
    """A layer report keeps its findings, seconds and suspicion."""
    before = LayerReport(Layer.MODEL, (finding(), finding(Status.PASS)), 1.5, suspect=True)
    assert LayerReport.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_a_report_is_as_bad_as_its_worst_finding():
    """fail beats error, error beats warn, warn beats pass, pass beats skipped."""
    order = [Status.FAIL, Status.ERROR, Status.WARN, Status.PASS, Status.SKIPPED]
    assert [worst(order[start:]) for start in range(len(order))] == order


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ((1, 2), [1, 2]),
        ({"a": np.bool_(True)}, {"a": True}),
        (Layer.DATA, "data"),
        (None, None),
    ],
)
def test_values_become_plain(value, expected):
    """NumPy scalars, tuples, enums and numbers that JSON lacks become JSON values."""
    assert plain(value) == expected


def test_an_array_does_not_belong_in_a_finding():
    """An array is refused with what came."""
    with pytest.raises(TypeError, match="ndarray"):
        plain(np.zeros(3))


def test_the_ladder_runs_from_data_to_deployment():
    """Safety is a layer that is judged outside the order."""
    assert [layer.value for layer in LADDER] == ["data", "preprocessing", "model", "training", "deployment"]
    assert Layer.SAFETY not in LADDER

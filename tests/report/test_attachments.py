"""Pictures and tables that a layer's findings left beside the report are shown in it."""

import numpy as np
import pytest

from firstfault.charts.files import write_picture
from firstfault.charts.png import image_png, small
from firstfault.charts.svg import Part, whole
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.place import Place
from firstfault.report import ReportContext, write_report
from firstfault.report.attachments import MOST_IN_ALL, Attachments
from firstfault.report.stage_table import marked_stages
from firstfault.verdict import Verdict, VerdictStatus

STAGES = [
    {"stage": stage, "split": split, "rows": 9, "mean": 0.5}
    for stage in ("raw", "scale", "pca")
    for split in ("train", "validation", "test")
]


def finding(status=Status.PASS, message="all is well", layer=Layer.DATA, **more):
    """A finding of that status."""
    return Finding("check", layer, status, message, **more)


def page(folder, *findings, layer=Layer.DATA, context=None):
    """The page of one layer's findings."""
    verdict = Verdict("t", VerdictStatus.HEALTHY, (), (LayerReport(layer, findings, 1.0),), 2.0)
    return write_report(verdict, folder, context=context).read_text()


def picture(folder, name, size=12):
    """Write a picture of noise."""
    (folder / name).write_bytes(image_png(np.random.default_rng(0).random((size, size))))


def test_a_picture_is_in_the_page_with_its_finding(tmp_path):
    """As a data URL, titled by its file's name, with the finding's message."""
    picture(tmp_path, "class_balance.png")
    text = page(tmp_path, finding(message="two classes", artifacts=("class_balance.png",)))
    assert "data:image/png;base64," in text and "<b>Class balance</b>" in text and "Two classes" in text


def test_a_wide_picture_takes_the_whole_width(tmp_path):
    """A picture of many columns would be illegible in half a page."""
    picture(tmp_path, "small.png")
    (tmp_path / "large.png").write_bytes(image_png(np.zeros((9, 900))))
    text = page(tmp_path, finding(artifacts=("small.png", "large.png")))
    assert text.count('<figure class="wide">') == 1


def test_an_svg_is_a_picture_that_can_run_nothing(tmp_path):
    """It lies in an image of its own, where no script runs; what is no SVG is left out."""
    part = Part('<script>alert("x")</script>', 700, 20)
    write_picture(tmp_path, "class_balance.svg", whole("Wide", part))
    (tmp_path / "fake.svg").write_text("<html>")
    text = page(tmp_path, finding(artifacts=("class_balance.svg", "fake.svg")))
    assert text.count("data:image/svg+xml;base64,") == 1 and text.count('<figure class="wide">') == 1
    assert "<script" not in text and "the share of each class per split" in text


def test_a_table_shows_its_first_rows_and_its_count(tmp_path):
    """Ten rows, how many there are, and a link."""
    (tmp_path / "drift.csv").write_text(
        "column,distance\n" + "".join(f"name{row},0.{row}12345678\n" for row in range(27))
    )
    text = page(tmp_path, finding(Status.WARN, artifacts=("drift.csv",)))
    assert "name9" in text and "name10" not in text and "27 rows, the first 10" in text and 'href="./drift.csv"' in text
    assert "0.8123" in text and "0.812345678" not in text


@pytest.mark.parametrize("content", ["", "a\n", "a,b\n1,2,3\n4\n", 'a\n"open', "a\n" + "x" * 200_000, "a,a\n1,2\n"])
def test_any_table_makes_a_page(tmp_path, content):
    """Empty, ragged, unclosed and very long ones."""
    (tmp_path / "t.csv").write_text(content)
    assert "</html>" in page(tmp_path, finding(artifacts=("t.csv",)))


def test_what_is_missing_or_elsewhere_is_left_out(tmp_path):
    """A file that is not there, one of another folder, and one that is no picture."""
    picture(tmp_path, "outside.png")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "fake.png").write_text("<script>")
    text = page(folder, finding(artifacts=("gone.png", "gone.csv", "../outside.png", "fake.png")))
    assert "data:image" not in text


def test_values_of_a_table_are_escaped(tmp_path):
    """A tag in a heading, a value or a name stays text."""
    (tmp_path / "<b>.csv").write_text("<script>,x\n<img src=x>,1\n")
    text = page(tmp_path, finding(message="<script>", artifacts=("<b>.csv",)))
    assert "<script" not in text and "<img src=x" not in text


def test_pictures_stay_within_their_allowance(tmp_path):
    """Of many pictures those of the worst findings come first, until the page would grow too large."""
    for place in range(12):
        picture(tmp_path, f"p{place}.png", 500)
    findings = [
        finding(Status.FAIL if place == 11 else Status.PASS, artifacts=(f"p{place}.png",)) for place in range(12)
    ]
    shown = Attachments(tmp_path).pictures(LayerReport(Layer.DATA, tuple(findings), 1.0))
    assert shown[0].name == "p11.png" and 3 <= len(shown) < 12
    assert len(page(tmp_path, *findings)) < 4 * MOST_IN_ALL / 3 + 200_000


def test_large_sample_images_are_shown_small(tmp_path):
    """Every so many pixels are taken, and channels stay."""
    assert small(np.zeros((512, 300, 3))).shape == (128, 75, 3) and small(np.zeros((3, 640, 640))).shape == (
        3,
        160,
        160,
    )
    assert small(np.zeros((8, 8))).shape == (8, 8)
    context = ReportContext(sample_images=np.random.default_rng(0).random((16, 512, 512, 3)))
    assert len(page(tmp_path, finding(), context=context)) < 3_000_000


@pytest.mark.parametrize(
    ("findings", "marked", "split"),
    [
        (
            [
                finding(Status.FAIL, where=Place.stage("pca", "train"), layer=Layer.PREPROCESSING),
                finding(Status.FAIL, where=Place.stage("scale"), layer=Layer.PREPROCESSING),
            ],
            "scale",
            None,
        ),
        (
            [
                finding(Status.FAIL, where=Place.stage("pca"), layer=Layer.PREPROCESSING),
                finding(Status.WARN, where=Place.stage("scale"), layer=Layer.PREPROCESSING),
            ],
            "pca",
            None,
        ),
        (
            [finding(Status.WARN, where=Place.stage("scale", "validation"), layer=Layer.PREPROCESSING)],
            "scale",
            "validation",
        ),
        (
            [
                finding(Status.PASS, where=Place.stage("scale"), layer=Layer.PREPROCESSING),
                finding(Status.FAIL, where=Place.stage("min_max_scale"), layer=Layer.PREPROCESSING),
            ],
            None,
            None,
        ),
        ([finding(Status.FAIL, where=Place.columns("scale"), layer=Layer.PREPROCESSING)], None, None),
    ],
)
def test_the_first_faulty_stage_is_marked(findings, marked, split):
    """A failure before a warning, an earlier stage before a later one, and only the split that is named."""
    rows = marked_stages(STAGES, LayerReport(Layer.PREPROCESSING, tuple(findings), 1.0))
    hit = [(row.values["stage"], row.values["split"]) for row in rows if row.finding]
    assert hit == [(marked, name) for name in ("train", "validation", "test") if marked and split in (None, name)]
    assert sum(row.says for row in rows) == bool(marked)


def test_the_marked_stage_says_what_is_wrong(tmp_path):
    """The finding's message stands below the stage's rows."""
    bad = finding(Status.FAIL, "scale makes 7 rows NaN", layer=Layer.PREPROCESSING, where=Place.stage("scale"))
    text = page(tmp_path, bad, layer=Layer.PREPROCESSING, context=ReportContext(stages=STAGES))
    assert "Goes wrong here:" in text and text.count("marked fail") == 3

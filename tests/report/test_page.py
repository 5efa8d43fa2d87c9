"""The report page holds the whole verdict, needs no network, and escapes what users wrote."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from firstfault.finding import LADDER, Finding, Layer, LayerReport, Status
from firstfault.place import Kind, Place
from firstfault.recording.summary import ended
from firstfault.report import ReportContext, write_report
from firstfault.report.charts.training_curves import mark_of
from firstfault.report.markdown import verdict_markdown
from firstfault.report.page import safe_url
from firstfault.verdict import Change, Fault, Outcome, SubjectKind, Swap, Verdict, VerdictStatus

EVIL = '<script>alert("x")</script>'
EVIL_PLACE = Place(Kind.COLUMN, (EVIL,), EVIL, EVIL, note=EVIL)
EPOCHS = [
    {"number": 1, "train_loss": 1.2, "train_metric": 0.5, "validation_loss": 1.3, "validation_metric": 0.4},
    {"number": 2, "train_loss": 0.8, "train_metric": 0.7, "validation_loss": 0.9, "validation_metric": 0.625},
]
EVERYTHING = ReportContext(
    stages=[
        {"stage": "raw", "split": "train", "rows": 100, "mean": 3.25, "missing": 0, "classes": {"a": 0.25, "b": 0.75}}
    ],
    epochs=EPOCHS,
    metric="accuracy",
    steps={"loss": [1.0, 0.5, 0.25], "grad_norm": [3.0, 2.0, 1.0], "lr": [0.1, 0.1, 0.01], "update_ratio": [0.01]},
    step_numbers={"update_ratio": [3]},
    epoch_ends=[2, 3],
    sample_rows=[{"label": 1, "age": 41, "email": "•••"}],
    masked=["email"],
    links={"MLflow run": "http://127.0.0.1:5000/#/runs/1"},
    environment={"python": "3.11", "seed": 7, "commit": "abc123"},
)


class Page(HTMLParser):
    """A page's tags, addresses and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.words, self.open = [], [], [], []
        self.void = {"meta", "link", "br", "img", "hr", "input"}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [
            (tag, name, value) for name, value in attrs if name in ("href", "src", "srcset", "action", "xlink:href")
        ]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def finding(status=Status.PASS, check="check", message="all is well", layer=Layer.DATA, **more):
    return Finding(check, layer, status, message, **more)


def report(layer, *findings, seconds=1.0, suspect=False):
    return LayerReport(layer, tuple(findings) or (finding(layer=layer),), seconds, suspect)


def fault(**changes):
    values = {
        "fault": "missing_normalisation",
        "layer": Layer.PREPROCESSING,
        "confidence": 0.97,
        "confirmed": True,
        "evidence": ("deviations differ by a factor of 48,211",),
        "remedy": "standardise the inputs",
        "where": (Place.columns("capital_gain"),),
        "swap": Swap("standardise the inputs", "accuracy", 0.613, 0.846, 3, 0.0104),
    }
    return Fault(**{**values, **changes})


def verdict(*faults, layers=None, status=None, **more):
    status = status or (VerdictStatus.FAULTY if faults else VerdictStatus.HEALTHY)
    layers = layers if layers is not None else [report(layer) for layer in LADDER]
    return Verdict("churn", status, tuple(faults), tuple(layers), 12.5, **more)


@pytest.fixture
def write(tmp_path):
    def write(verdict, context=None):
        return Page(write_report(verdict, tmp_path, context=context).read_text())

    return write


def faulty():
    bad = finding(
        Status.FAIL,
        "input_scale",
        "the scales differ by 48,211",
        Layer.PREPROCESSING,
        value=48211.4,
        threshold=1000,
        where=Place.columns("capital_gain"),
        faults={"missing_normalisation": 0.85},
        fix="standardise",
        source="LeCun 1998",
    )
    return verdict(fault(), layers=[report(Layer.DATA), report(Layer.PREPROCESSING, bad)])


def test_the_verdict_is_on_top(write):
    """Layer, fault in words and by id, place, evidence, remedy, test and the swap's numbers."""
    text = write(faulty()).text
    for words in (
        "Faulty",
        "first in preprocessing",
        "Inputs are on wild scales",
        "missing_normalisation",
        "capital_gain",
        "a factor of 48,211",
        "Standardise the inputs",
        "Confirmed",
        "0.613",
        "0.846",
        "3 paired seeds",
        "p = 0.0104",
    ):
        assert words in text.partition("In the order in which faults spread")[0]


def test_what_keeps_a_verdict_from_being_healthy_is_on_top(write):
    """Beside how many checks of each layer could look; in markdown too, and in the name of the run."""
    reason = "training: nothing could judge whether it learnt anything"
    seen = [report(Layer.MODEL), report(Layer.TRAINING)]
    open_one = verdict(layers=seen, status=VerdictStatus.UNDECIDED, not_cleared=(reason,), subject=SubjectKind.WATCHED)
    text = write(open_one).text.partition("In the order in which faults spread")[0]
    assert "Training: nothing could judge" in text and "Model: 1 of 1 checks could look" in text
    assert "could not be undone" not in text and "Data, preprocessing, deployment: not examined" in text
    assert reason in verdict_markdown(open_one) and ended(open_one) == "? undecided: too little was examined"


@pytest.mark.parametrize(("confirmed", "word"), [(True, "Confirmed"), (False, "Proven"), (None, "Not tested")])
def test_the_test_of_a_fault_is_told(write, confirmed, word):
    """Confirmed, proven though its swap did not help, and not tested are told apart."""
    assert f"{word} : " in write(verdict(fault(confirmed=confirmed))).text


def test_why_a_fault_was_not_tested_is_told(write):
    """The reason of an outcome without a swap is shown."""
    untested = verdict(
        fault(confirmed=None, swap=None), outcomes=(Outcome("missing_normalisation", None, reason="no swap undoes it"),)
    )
    assert "no swap undoes it" in write(untested).text


def test_the_ladder_shows_what_was_not_reached(write):
    """Layers after the one that stopped the run are named, with the reason."""
    text = write(faulty()).text
    assert "faulty, the run stops here" in text
    assert "With preprocessing at fault" in text
    assert [text.count(f"{number} {layer.value.capitalize()}") for number, layer in enumerate(LADDER, 1)] == [1] * 5


def test_a_suspect_layer_is_marked(write):
    """A layer examined after a faulty one counts as suspect."""
    layers = [report(Layer.DATA, finding(Status.FAIL)), report(Layer.PREPROCESSING, suspect=True)]
    assert "an earlier layer is at fault" in write(verdict(fault(layer=Layer.DATA), layers=layers)).text.lower()


def test_a_failed_finding_comes_in_full_and_before_those_that_passed(write):
    """Value, limit, place, remedy, faults and source of what failed; then the rest."""
    bad = finding(
        Status.FAIL,
        "leak",
        "one column tells all",
        value=0.999,
        threshold=0.9,
        where=Place.columns("id"),
        fix="drop it",
        source="Kaufman 2012",
    )
    text = write(verdict(layers=[report(Layer.DATA, finding(check="fine"), bad)])).text
    for words in ("0.999", "limit 0.9", "at id", "Drop it", "Kaufman 2012"):
        assert words in text
    assert text.index("at id") < text.index("fine")


def test_all_parts_of_a_context_are_shown(write):
    """Every section appears for a full context."""
    page = write(faulty(), EVERYTHING)
    for words in (
        "Curves",
        "Gradient norm",
        "Learning rate",
        "Data at every preprocessing stage",
        "Sample rows",
        "Masked because they look like personal data: email",
        "Where the time went",
        "Reproduce it",
        "abc123",
    ):
        assert words in page.text
    assert ("a", "href", "http://127.0.0.1:5000/#/runs/1") in page.addresses


def test_safety_is_summarised(write):
    """Scores and tables of the safety evaluation are shown, whatever their names."""
    safety = {
        "status": "fail",
        "scores": {"test_accuracy": 0.9512},
        "tables": {"groups of sex": [{"group": "F", "accuracy": 0.88}]},
    }
    text = write(verdict(safety=safety)).text
    for words in ("test accuracy", "0.9512", "Groups of sex", "0.88"):
        assert words in text


@pytest.mark.parametrize("context", [None, ReportContext()])
def test_an_empty_context_leaves_sections_out(write, context):
    """Without a context, the page has the verdict and the layers."""
    text = write(verdict(), context).text
    assert "No fault found" in text
    assert "Curves" not in text and "Sample" not in text


def test_a_verdict_without_layers_is_a_page(write):
    """Nothing examined is said, not a crash."""
    assert "Nothing could be examined" in write(verdict(layers=[])).text


def test_a_crashed_check_makes_no_healthy_page(write):
    """An error verdict names the check that crashed."""
    layers = [report(Layer.DATA, finding(Status.ERROR, "broken_check", "IndexError: out of bounds"))]
    text = write(verdict(layers=layers, status=VerdictStatus.ERROR)).text
    assert "firstfault itself failed" in text and "broken_check" in text and "No fault found" not in text


def test_the_page_loads_nothing(write):
    """No script, style sheet, frame or remote image: only links, anchors and data."""
    page = write(faulty(), EVERYTHING)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    for tag, name, value in page.addresses:
        if tag == "a":
            assert value.startswith(("#", "./", "http://127.0.0.1"))
        else:
            assert name == "src" and value.startswith("data:")


def test_no_remote_address_hides_in_the_style(tmp_path):
    """The style sheet imports nothing."""
    text = write_report(verdict(), tmp_path).read_text()
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert "http" not in text.replace("http-equiv", "")


def test_what_users_wrote_is_escaped(tmp_path):
    """A tag in any name, message, label, column, title or file name stays text."""
    bad = finding(
        Status.FAIL,
        EVIL,
        EVIL,
        value=EVIL,
        threshold=EVIL,
        where=EVIL_PLACE,
        fix=EVIL,
        source=EVIL,
        faults={EVIL: 0.9},
        artifacts=(EVIL,),
    )
    culprit = fault(
        fault=EVIL,
        layer=Layer.DATA,
        where=(EVIL_PLACE,),
        evidence=(EVIL,),
        remedy=EVIL,
        swap=Swap(EVIL, EVIL, 0.1, 0.9, 3),
        change=Change(EVIL, 1, EVIL, EVIL),
    )
    layers = [
        report(Layer.DATA, bad, finding(Status.PASS, EVIL, EVIL), finding(Status.SKIPPED, EVIL, EVIL)),
        report(
            Layer.TRAINING,
            finding(Status.WARN, EVIL, EVIL, layer=Layer.TRAINING, where=Place(Kind.EPOCH, ("1",), note=EVIL)),
        ),
    ]
    outcomes = (Outcome(EVIL, False, Swap(EVIL, EVIL, 0.2, 0.3, 2), EVIL),)
    context = ReportContext(
        stages=[{EVIL: EVIL, "classes": {EVIL: 1.0}}],
        epochs=EPOCHS,
        metric=EVIL,
        sample_images=np.zeros((1, 8, 8)),
        sample_labels=[EVIL],
        links={EVIL: "http://a/" + EVIL},
        environment={EVIL: EVIL, "written": EVIL},
    )
    (tmp_path / "<b>.json").write_text("{}")
    safety = {EVIL: EVIL, "rows": [{EVIL: EVIL}], "more": {EVIL: [EVIL]}}
    text = write_report(
        Verdict(EVIL, VerdictStatus.FAULTY, (culprit,), tuple(layers), 1.0, safety, EVIL, EVIL, outcomes),
        tmp_path,
        context=context,
    ).read_text()
    assert "script" not in Page(text).tags
    assert "<script" not in text and "<b>.json" not in text


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:x",
        "data:text/html,x",
        "vbscript:x",
        "//evil.example/x",
    ],
)
def test_a_dangerous_address_is_not_linked(url):
    """Only http, https, file and relative paths become links."""
    assert safe_url(url) is None


def test_a_dangerous_address_is_shown_as_text(write):
    """The address is kept, without a link."""
    page = write(verdict(), ReportContext(links={"run": "javascript:alert(1)"}))
    assert "javascript:alert(1)" in page.text
    assert not [address for address in page.addresses if "javascript" in address[2]]


@pytest.mark.parametrize(
    "value", ["nan", "inf", float("nan"), float("inf"), None, [], {}, True, 10**30, 1e-300, "x" * 5000]
)
def test_any_plain_value_is_rendered(write, value):
    """NaN, infinity, nothing, empty, huge and long values do not break the page."""
    context = ReportContext(
        stages=[{"stage": "raw", "mean": value, "classes": value}],
        epochs=[{"number": 1, "train_loss": value}],
        steps={"loss": [1.0, float("nan")]},
        sample_rows=[{"a": value}],
        environment={"v": value},
    )
    safety = {"v": value, "deep": {"v": value, "rows": [{"v": value}]}}
    layers = [report(Layer.DATA, finding(Status.FAIL, value=value, threshold=value), finding(value=value))]
    assert "This run" in write(verdict(layers=layers, safety=safety), context).text


def test_a_change_is_a_diff_in_the_verdict(write):
    """The line before and after, each in its colour."""
    text = write(verdict(fault(change=Change("train.py", 3, "  x = f(lr=3.0)", "  x = f(lr=0.3)")))).text
    assert "Change - x = f(lr=3.0) + x = f(lr=0.3)" in text


def test_a_swap_without_scores_is_pictured(write):
    """A training that ended in NaN has no score, and the page says so."""
    assert "no score" in write(verdict(fault(swap=Swap("lower the rate", "r2", None, None, 3)))).text
    assert "no score → 0.900" in write(verdict(fault(swap=Swap("lower the rate", "r2", float("nan"), 0.9, 3)))).text


def test_many_findings_are_all_there_and_folded(write):
    """Of 500 bad findings a dozen come in full, the others in a folded table."""
    many = [
        finding(Status.FAIL if number % 2 else Status.WARN, f"check_{number}", f"message {number}")
        for number in range(500)
    ]
    page = write(verdict(fault(layer=Layer.DATA), layers=[report(Layer.DATA, *many)]))
    assert "488 more that failed or are worth a look" in page.text
    assert all(f"check_{number}" in page.text for number in range(500))


def test_tags_are_closed(write):
    """The markup of a full page nests properly."""
    page = write(faulty(), EVERYTHING)
    assert page.open == []


def test_files_beside_the_report_are_linked_relatively(tmp_path, write):
    """A file's name is quoted, so that no name becomes another address."""
    for name in ("verdict.json", "a b#c?.txt"):
        (tmp_path / name).write_text("{}")
    addresses = {value for _, _, value in write(verdict()).addresses}
    assert {"./verdict.json", "./a%20b%23c%3F.txt"} <= addresses
    assert "./report.html" not in addresses


def test_images_are_inside_the_page(write):
    """Sample images become PNG data, with their labels."""
    page = write(
        verdict(),
        ReportContext(
            sample_images=np.random.default_rng(0).random((20, 3, 8, 8)), sample_labels=list("abcdefghijklmnopqrst")
        ),
    )
    images = [value for tag, _, value in page.addresses if tag == "img"]
    assert len(images) == 16 and all(image.startswith("data:image/png;base64,iVBOR") for image in images)


@pytest.mark.parametrize(
    ("where", "unit", "x"),
    [
        (Place(Kind.STEP, step=12), "step", 12),
        (Place(Kind.MODULE, ("relu",), step=7), "step", 7),
        (Place(Kind.EPOCH, ("3",)), "epoch", 3),
        (Place(Kind.EPOCH, ("3",)), "step", None),
        (Place.part("step 3"), "step", None),
        (None, "step", None),
    ],
)
def test_a_finding_is_marked_on_the_axis_it_names(where, unit, x):
    """The step or epoch of a finding's place is where its mark stands; a text that reads like one is none."""
    mark = mark_of(finding(Status.WARN, message="rises from step 5 on", where=where), unit)
    assert (mark.x if mark else None) == x


def test_charts_speak_to_screen_readers(tmp_path):
    """Every chart has a role and a label with its numbers."""
    text = write_report(faulty(), tmp_path, context=EVERYTHING).read_text()
    labels = re.findall(r'role="img" aria-label="([^"]+)"', text)
    assert any("Loss: train from 1.2 to 0.8, validation from 1.3 to 0.9" in label for label in labels)
    assert any("standardise the inputs: accuracy 0.613 → 0.846" in label for label in labels)

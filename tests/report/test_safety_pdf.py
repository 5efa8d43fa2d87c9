"""The PDF of a safety evaluation is written with the report, and by nothing that only measures."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from firstfault import Data, Target, Training
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.finding import Layer
from firstfault.report import context_of, write_report
from firstfault.report.robustness_drawing import robustness_drawing
from firstfault.report.safety_pdf import NAME
from firstfault.subject.subject import Subject


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A small classifier whose safety was judged, and the verdict."""
    X = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    target = Target(
        "signs",
        data=Data(train=(X.numpy(), (X[:, 0] > 0).long().numpy())),
        model=lambda: nn.Linear(4, 2),
        training=Training(loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam, epochs=2),
    )
    subject = Subject(target, tmp_path_factory.mktemp("run"))
    return subject, diagnose(subject, Depth.STANDARD, only=Layer.SAFETY)


def test_an_evaluation_writes_no_pdf(judged):
    """Checks measure: what they leave are the failure cases."""
    subject, verdict = judged
    assert verdict.safety["artifacts"] == ["failure_cases.json"] and (subject.folder / "failure_cases.json").is_file()
    assert not (subject.folder / NAME).exists()


def test_the_report_writes_and_links_it(judged, tmp_path):
    """Beside report.html, which says what it is."""
    subject, verdict = judged
    page = write_report(verdict, tmp_path, context=context_of(subject)).read_text()
    assert (tmp_path / NAME).read_bytes().startswith(b"%PDF")
    assert f'href="./{NAME}"' in page and "the safety evaluation, as PDF" in page


def test_a_pdf_that_cant_be_written_costs_no_page(judged, tmp_path, caplog):
    """Where its place is taken by a folder, the page is whole, and the log says what is missing."""
    subject, verdict = judged
    (tmp_path / NAME).mkdir()
    with caplog.at_level(logging.WARNING):
        page = write_report(verdict, tmp_path, context=context_of(subject)).read_text()
    assert page.rstrip().endswith("</html>") and "the PDF of safety could not be written" in caplog.text


def test_without_an_evaluation_there_is_none(judged, tmp_path):
    """A verdict that no safety was judged for has a page, and no PDF."""
    _, verdict = judged
    write_report(replace(verdict, safety=None), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("changes", [0, 1, 9])
def test_the_curve_is_drawn_of_any_number_of_changes(changes):
    """None, one, and more than there are colours."""
    from reportlab.graphics.renderPDF import drawToString

    rows = [{"change": "none", "size": 0.0, "accuracy": 0.9}]
    rows += [
        {"change": f"change {at}", "size": size, "accuracy": 0.9 - size} for at in range(changes) for size in (0.1, 0.2)
    ]
    assert drawToString(robustness_drawing(rows)).startswith(b"%PDF")

"""Whatever users and data write is text on every page, table and screen of a run.

They write names, values, labels, classes, paths, messages and suites.
"""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from firstfault.check import Depth
from firstfault.cli.terminal import Terminal
from firstfault.diagnosis import diagnose
from firstfault.report.markdown import layer_markdown, verdict_markdown
from firstfault.report.terminal import render_verdict
from firstfault.subject.subject import Subject
from firstfault.target.loader import load_target
from firstfault.verdict import Outcome, Swap

CHROMIUM = next(
    (
        place
        for place in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        if Path(place).exists()
    ),
    None,
)
FLAGS = ["--no-sandbox", "--disable-gpu"]
MARK = "pwned"
PAYLOADS = {
    "ELEMENT": f'"><script>window.{MARK}=1</script><img src=x onerror="window.{MARK}=1"><svg/onload=window.{MARK}=1>',
    "SCRIPT": f"';window.{MARK}=1;//`${{window.{MARK}=1}}\\",
    "MARKDOWN": f"[{MARK}](javascript:{MARK}) ![{MARK}](http://{MARK}.example/x.png) "
    f"**{MARK}** | `{MARK}` <b>{MARK}</b>",
    "RICH": f"[/v2] [bold red]{MARK}[/] :smile: $\\frac{{$",
    "SCREEN": "\x1b]0;pwned\x07\x1b[31m",
    "FORMULA": '=HYPERLINK("http://pwned.example")',
}
TARGET = """
import numpy as np, pandas as pd, torch
from torch import nn
from functools import partial
from firstfault import Data, Deployment, Safety, Target, Training

ELEMENT, SCRIPT, MARKDOWN, RICH, SCREEN, FORMULA = {payloads!r}

def rows(n, seed, moved=0.0):
    random = np.random.default_rng(seed)
    label = random.choice([ELEMENT, MARKDOWN + RICH], n)
    side = (label == ELEMENT) * 2.0 - 1.0
    frame = pd.DataFrame({{
        "x " + ELEMENT: side + random.normal(0, 1.5, n) + moved,
        "y" + SCRIPT: random.normal(0, 1, n) + moved,
        RICH: random.normal(0, 1, n),
        "=1+1": random.choice([FORMULA, "-1000", "+x", "@y", "\\tz", "fine"], n),
        "cat" + SCREEN: random.choice([ELEMENT, SCRIPT, MARKDOWN], n),
        "text" + MARKDOWN: [f"{{ELEMENT}} {{SCRIPT}} {{MARKDOWN}} {{number % 40}}" for number in range(n)],
        "site": random.choice(["a" + ELEMENT, "b"], n),
        "label " + ELEMENT: label,
    }})
    return pd.concat([frame, frame.iloc[:3]], ignore_index=True)

def train():
    return rows(220, 0)

def reference():
    frame = rows(220, 1, moved=1.0).assign(**{{"gone " + ELEMENT: ELEMENT}})
    return frame[~frame["cat" + SCREEN].eq(SCRIPT)]

class Numbers:
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return X.iloc[:, :3].to_numpy(dtype="float32")

class Network(nn.Module):
    def __init__(self, kind="b"):
        super().__init__()
        self.add_module("layer " + ELEMENT.replace(".", ""), nn.Linear(3, 8))
        self.add_module("head " + MARKDOWN.replace(".", ""), nn.Linear(8, 2))
    def forward(self, x):
        for layer in self.children():
            x = torch.relu(layer(x)) if layer.out_features == 8 else layer(x)
        return x

def predict(inputs):
    raise ValueError(ELEMENT + MARKDOWN + RICH + SCREEN)

def generate(prompt):
    return ELEMENT + MARKDOWN

target = Target(
    name="m " + RICH + ELEMENT + MARKDOWN + SCREEN,
    data=Data(train=train, reference=reference, label="label " + ELEMENT, sensitive=["site"], quarantine=True),
    preprocess=[("step " + ELEMENT + RICH, Numbers())],
    model=Network,
    training=Training(
        loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.Adam, lr=1e-2), epochs=2, batch_size=64
    ),
    deployment=Deployment(model=predict, latency_ms=1000.0),
    safety=Safety(suites=["suite.yaml"], generate=generate),
)
"""
SUITE = {
    "name": "suite " + PAYLOADS["ELEMENT"],
    "cases": [
        {"prompt": payload, "scorer": "exact", "expect": payload + PAYLOADS["ELEMENT"]} for payload in PAYLOADS.values()
    ],
}


TELLTALE = "".join(PAYLOADS.values())
tested = Outcome("covariate_drift", True, Swap(TELLTALE, "accuracy " + TELLTALE, 0.5, 0.9, seeds=2), reason=TELLTALE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The subject and verdict of a debug run of a target that is hostile wherever a user can write text."""
    from firstfault.report import context_of, write_report

    root = tmp_path_factory.mktemp("place") / f'<img src=x onerror="window.{MARK}=1">[bold]$x'
    root.mkdir()
    (root / "suite.yaml").write_text(json.dumps(SUITE))
    (root / "target.py").write_text(TARGET.format(payloads=tuple(PAYLOADS.values())), encoding="utf-8")
    subject = Subject(load_target(f"{root / 'target.py'}:target"), root / "run", Depth.STANDARD)
    subject.folder.mkdir(exist_ok=True)
    found = diagnose(subject, Depth.STANDARD, keep_going=True, confirm_report=lambda report: [])
    verdict = replace(found, outcomes=(tested, replace(tested, confirmed=False)))
    write_report(
        verdict, subject.folder, context=context_of(subject, links={PAYLOADS["ELEMENT"]: "javascript:window.pwned=1"})
    )
    return subject, verdict


@pytest.fixture(scope="module")
def swept(ran):
    """The result of a sweep of that target, with its page in a folder of its own."""
    from optuna.storages import InMemoryStorage

    from firstfault.ablation.sweeps.sweep import sweep
    from firstfault.report.sweep_page import write_sweep_report

    subject, _ = ran
    result = sweep(
        subject, grid=f"model.kind=a{PAYLOADS['ELEMENT'].replace(';', '')},b", seeds=2, storage=InMemoryStorage()
    )
    folder = subject.folder.parent / "sweep"
    folder.mkdir()
    links = {TELLTALE: "javascript:window.pwned=1"}
    write_sweep_report(result, folder, links=links, facts={"seed": TELLTALE})
    return result, folder


class Live(HTMLParser):
    """What of a page a payload has made live: elements and attributes with its mark where code or addresses are."""

    def __init__(self, page):
        super().__init__()
        self.found, self.words, self.within = [], 0, ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.within = tag
        for name, value in attrs:
            runs = name.startswith("on") or name in (
                "href",
                "src",
                "srcset",
                "action",
                "formaction",
                "data",
                "xlink:href",
                "style",
            )
            if MARK in name or (runs and value and MARK in value and not value.startswith(("#", "./", "data:"))):
                self.found.append((tag, name, value))

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        self.words += MARK in data
        if self.within == "script" and f"window.{MARK}" in data:
            self.found.append(("script", "", data[:80]))


def pages(ran, swept):
    """Every page of the run and of the sweep."""
    return sorted([*ran[0].folder.rglob("*.html"), *swept[1].rglob("*.html")])


def test_no_payload_is_live_on_any_page(ran, swept):
    """The parser finds the payloads in the text of every page, and nowhere as element, attribute or address."""
    found = {page.name: Live(page.read_text(encoding="utf-8")) for page in pages(ran, swept)}
    assert {"report.html", "gx_result.html", "profile.html", "profile_compare.html"} <= set(found)
    assert {name: live.found for name, live in found.items() if live.found} == {}
    assert all(live.words for live in found.values())


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_runs_no_payload(ran, swept):
    """Chromium opens every page without an alert, an error or a request to anywhere, and no payload has run."""
    from playwright.sync_api import sync_playwright

    said = []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for place in pages(ran, swept):
            page = browser.new_page()
            page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on(
                "request",
                lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
            )
            page.goto(place.as_uri())
            for part in page.locator("details").all():
                part.evaluate("element => element.open = true")
            assert page.evaluate(f"window.{MARK}") is None, place.name
            page.close()
        browser.close()
    assert said == []


def test_a_profile_page_still_works(ran):
    """The profile keeps its columns, its tabs and its pictures, and shows texts by letters that look like theirs."""
    page = (ran[0].folder / "profile.html").read_text(encoding="utf-8")
    assert "‹script›" in page and page.count("<svg") > 3 and 'data-bs-toggle="tab"' in page


def test_findings_name_columns_as_the_data_do(ran):
    """What goes into a profile page by look-alikes comes back in the alerts by its own name."""
    alerts = json.loads((ran[0].folder / "profile_alerts.json").read_text())
    assert {alert["column"] for alert in alerts} <= {*ran[0].raw.train.X.columns, None}


def test_no_cell_of_a_table_is_a_formula(ran):
    """No text or heading in any csv of the run begins like a formula; negative numbers stay numbers."""
    cells = [
        cell
        for table in ran[0].folder.glob("*.csv")
        for row in csv.reader(io.StringIO(table.read_text(), newline=""))
        for cell in row
    ]
    assert [
        cell for cell in cells if cell[:1] in tuple("=@\t\r") or (cell[:1] in tuple("+-") and not cell[1:2].isdigit())
    ] == []
    assert "'=1+1" in cells and "'" + PAYLOADS["FORMULA"] in cells and "-1000" in cells


def rendered(markdown):
    """Markdown as HTML, by CommonMark with tables, where HTML is let through."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)


def test_no_markdown_is_live(ran, swept):
    """The markdown of a verdict, layer and sweep is the same, whatever the names: nothing live is a payload's."""
    from firstfault.report.sweep_page import sweep_markdown

    _, verdict = ran
    for text in (verdict_markdown(verdict), *map(layer_markdown, verdict.layers), sweep_markdown(swept[0])):
        page = rendered(text)
        assert (
            not Live(page).found
            and "<script" not in page
            and "<img" not in page
            and "<svg" not in page
            and "<b>" not in page
            and "<a " not in page
        )
        assert f"<strong>{MARK}" not in page and f"<code>{MARK}" not in page


def test_no_row_of_a_table_in_prefect_is_live(ran):
    """Prefect takes the texts of cells for markdown: they are escaped."""
    from firstfault.report.markdown import escaped_rows

    rows = escaped_rows(
        [
            {"where": str(finding.where), "message": finding.message}
            for layer in ran[1].layers
            for finding in layer.findings
        ]
    )
    page = rendered("\n\n".join(str(value) for row in rows for value in row.values()))
    assert "<a " not in page and "<img" not in page and "<script" not in page and f"<strong>{MARK}" not in page


def test_the_terminal_shows_names_as_they_are(ran, swept):
    """Verdict and sweep are shown with every bracket, and without a control sequence of the user's."""
    from firstfault.report.sweep_terminal import show_sweep

    screen = io.StringIO()
    terminal = Terminal(file=screen, force_terminal=True, width=400, color_system=None)
    terminal.print(render_verdict(ran[1]))
    show_sweep(terminal, {**swept[0].to_json(), "report": "report.html"})
    shown = screen.getvalue()
    assert "[/v2] [bold red]pwned[/] :smile:" in shown and "␛]0;pwned" in shown
    assert "\x1b]" not in shown and "\x1b[31m" not in shown and "\x07" not in shown

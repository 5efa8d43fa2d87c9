"""Text of users at the edges that have no escaping of their own.

These are the screen, figures, the PDF, pages of others, names in MLflow, and SQL.
"""

import io
from pathlib import Path

import pytest
from rich.table import Table

from firstfault.cli.live_view import View
from firstfault.cli.terminal import Terminal
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.output.escaping import inert, visible, visible_in
from firstfault.progress import CheckStarted, Found, LayerEnded, LayerStarted, Step
from firstfault.report.markdown import escape

NAMES = ["m [/v2]", "churn [v2]", "[bold]x[/]", ":smile:", "[link=http://x]y[/link]", "\\[a]", "a [red"]


@pytest.mark.parametrize("name", NAMES)
def test_the_live_view_shows_a_name_as_it_is(name):
    """Title, steps and findings keep every bracket of a name, and none of them is markup that ends the run."""
    screen = io.StringIO()
    finding = Finding("check", Layer.DATA, Status.FAIL, f"the column {name}")
    with View(Terminal(file=screen, width=200), name) as view:
        for event in (
            LayerStarted(Layer.DATA),
            CheckStarted(Layer.DATA, name, 0, 1),
            Step(Layer.DATA, name),
            Found(finding),
        ):
            view(event)
        view(LayerEnded(LayerReport(Layer.DATA, (finding,), 1.0)))
    assert f"debugging {name}" in screen.getvalue() and f"the column {name}" in screen.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_live_terminal_shows_a_name_as_it_is(name):
    """So do the lines that are redrawn while a run goes on."""
    screen = io.StringIO()
    view = View(Terminal(file=screen, force_terminal=True, width=200, color_system=None), name)
    with view:
        view(LayerStarted(Layer.DATA))
        view(Step(Layer.DATA, name))
        view._live.refresh()
    assert screen.getvalue().count(name) >= 2


def test_a_terminal_has_no_markup_anywhere():
    """Lines, cells, headings and titles that are given as plain texts are texts."""
    screen = io.StringIO()
    table = Table("[/a]", title="[/b]")
    table.add_row("[/c] :smile:")
    terminal = Terminal(file=screen, width=80)
    terminal.print(table)
    terminal.print("[/d]")
    assert all(part in screen.getvalue() for part in ("[/a]", "[/b]", "[/c] :smile:", "[/d]"))


CONTROLS = "\x1b]0;title\x07\x1b[2J\x9b31m\x08\x00\r\u202e\ud800"


def test_a_terminal_obeys_no_control_sequence_of_a_text():
    """Escape, bell, C1 controls, a turn of the direction and half a surrogate pair are shown, one letter for each."""
    screen = io.StringIO()
    Terminal(file=screen, force_terminal=True, width=80, color_system="truecolor").print(f"a{CONTROLS}b", style="red")
    shown = screen.getvalue()
    assert shown.count("\x1b") == 2 and shown.startswith("\x1b[31m") and shown.rstrip("\n").endswith("\x1b[0m")
    assert not set(shown) & set("\x07\x9b\x08\x00\r\u202e\ud800") and "␛]0;title" in shown
    assert len(visible(CONTROLS)) == len(CONTROLS) and visible("a\n\tb – ü") == "a\n\tb – ü"


def test_main_shows_an_error_without_control_sequences(monkeypatch, capsys, tmp_path):
    """An error that quotes a name is one visible sentence."""
    from firstfault.cli import app as cli

    monkeypatch.setattr("sys.argv", ["firstfault", "debug", str(tmp_path / "\x1b]0;x\x07.py")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capsys.readouterr().err
    assert end.value.code == 2 and "\x1b" not in err and "␛]0;x" in err


def test_values_for_a_server_have_an_encoding():
    """Every text in a payload is UTF-8 that can be sent, names of fields among them; numbers stay."""
    assert visible_in({"a\ud800": ["\x1b", ("\ud800", 1, None)]}) == {"a\ufffd": ["␛", ["\ufffd", 1, None]]}


def test_a_text_for_pages_of_others_is_markup_in_no_language():
    """Nothing is left that begins an element, an attribute, an entity, a template or the end of a string."""
    assert (
        not set(inert("<a href=\"x\" b='y'>&lt;`${z}`\\\n\x00")) & set("<>\"'&`\\\n\x00")
        and inert("R D 5 %") == "R D 5 %"
    )


@pytest.mark.parametrize(
    "text",
    [
        "<script>x</script>",
        "<img src=x>",
        "[a](javascript:x)",
        "![a](http://x)",
        "**a**",
        "*a*",
        "_a_",
        "`a`",
        "~~a~~",
        "# a",
        "- a",
        "+ a",
        "1. a",
        "2) a",
        "> a",
        "a | b",
        "---",
        "===",
        "http://evil.example",
        "www.evil.example",
        "me@evil.example",
        "&lt;b&gt;",
        "a\n\n# b",
        "\\*a*",
        "<!-- a",
        "[a]: http://x",
        "```a",
        "a\\",
    ],
)
@pytest.mark.parametrize("place", ["{}", "- {}", "# {}", "**x**: {}", "| {} |\n|---|\n| {} |"])
def test_markdown_shows_a_text_as_it_is(text, place):
    """CommonMark makes of an escaped text the text, with no element of its own, wherever it stands."""
    import html
    import re

    from markdown_it import MarkdownIt

    def rendered(part):
        page = (
            MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(place.format(part, part))
        )
        return re.sub(r"<[^>]*>", "", page), re.findall(r"<[^>]*>", page)

    words, elements = rendered(escape(text))
    assert elements == rendered("plain")[1] and " ".join(html.unescape(words).split()).count(
        " ".join(text.split())
    ) == place.count("{}")


@pytest.mark.parametrize(
    "text", ["http://evil.example/x", "www.evil.example", "me@evil.example", "HTTPS://EVIL.example"]
)
def test_no_address_becomes_a_link_by_itself(text):
    """Renderers that make links of bare addresses find none in an escaped text."""
    escaped = escape(f"see {text} there").lower()
    assert "://" not in escaped and "www." not in escaped and "@" not in escaped


def test_the_pdf_has_no_markup_link_or_failure_of_a_text(tmp_path):
    """Names, messages and cases with markup, controls, half pairs and great length are text on its pages."""
    from firstfault.checks.safety import SafetyReport
    from firstfault.report.safety_pdf import write_safety_pdf

    text = (
        '<b>x</b><img src="http://evil.example/x.png"/><a href="javascript:1">y</a> '
        "& \x1b[31m \x00 \ud800 </para> $\\frac{$ " * 40
    )
    findings = [Finding("check", Layer.SAFETY, Status.FAIL, text, source=text)]
    tables = {
        "groups" + text[:50]: [{"group" + text[:50]: text}],
        "robustness": [{"change": name, "size": 1.0, "accuracy": 0.5} for name in ("none", text)],
    }
    judged = SafetyReport(
        LayerReport(Layer.SAFETY, tuple(findings), 1.0), {}, tables, ({"text": text, "answer": text},)
    )
    (name,) = write_safety_pdf(text, judged, tmp_path)
    written = (tmp_path / name).read_bytes()
    assert written.startswith(b"%PDF") and b"/URI" not in written and b"/JavaScript" not in written


def test_mlflow_keeps_a_run_whatever_the_names(tmp_path, monkeypatch):
    """Hostile names of an experiment, run, metric, parameter, tag and data set are recorded, and none ends it."""
    from firstfault.runs.state import State
    from firstfault.tracking.store import open_tracker

    for name in ("MLFLOW_TRACKING_URI", "FIRSTFAULT_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".firstfault").mkdir()
    names = ["../../evil", "/abs", "a//b", "..", ".", "x" * 300, "<img src=x>", "a\x00\ud800", "a?", "a!", "end/"]
    tracker = open_tracker(State(tmp_path / ".firstfault"), "../../evil" + "x" * 300)
    for name in names:
        run = tracker.start(name)
        tracker.metrics(run, {name: 1.0, f"check/{name}": 1.0})
        tracker.params(run, {name: name, f"{name}?": name})
        tracker.tags(run, {"firstfault.x": name * 100})
        tracker.dataset(run, name * 3, "d", name, 1, "train")
        tracker.end(run)
        assert tracker.alive, (name, tracker.lost)
        assert len(tracker.client.get_run(run).data.metrics) == 2
    assert {path.name for path in tmp_path.iterdir()} == {".firstfault"}
    assert not list(Path(tmp_path).parent.glob("evil*"))

"""The project's own pages: their links lead somewhere, their code compiles, and their commands exist."""

import ast
import re
import textwrap
from pathlib import Path

import pytest
import typer

from firstfault.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=str)
MADE = {"checks.md", "faults.md"}
"""Pages that `make docs` writes."""
WIDTH = 120
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
COMMAND = re.compile(r"(?<![\w/.-])(?<!from )firstfault ([a-z]+)\b([^\n|]*)")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")


def prose(page: Path) -> str:
    """A page without its blocks of code, a blank line for each of theirs."""
    return FENCE.sub(lambda found: "\n" * found.group().count("\n"), page.read_text(encoding="utf-8"))


def code(page: Path) -> list[str]:
    """The blocks and the spans of code of a page."""
    blocks = [found.group(3) for found in FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [*blocks, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page)))]


def anchors(page: Path) -> set[str]:
    """The names under which a reader's link finds the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def options() -> dict[str, set[str]]:
    """The options of each command, with those of the commands below it."""

    def known(command) -> set[str]:
        own = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        return {"--help", *own}.union(*map(known, getattr(command, "commands", {}).values()))

    return {name: known(command) for name, command in typer.main.get_command(app).commands.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_a_file_and_a_heading(page: Path):
    """A link to another page, or to a heading, finds it."""
    lost = []
    for path, heading in LINK.findall(prose(page)):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (heading and heading not in anchors(target)):
            lost.append(f"{path}#{heading}" if heading else path)
    assert lost == []


def test_every_page_is_found_from_the_index():
    """docs/README.md links every page of docs, and the README of the project links it."""
    linked = {(ROOT / "docs" / path).resolve() for path, _ in LINK.findall(prose(ROOT / "docs" / "README.md"))}
    assert [page.name for page in ROOT.glob("docs/*.md") if page.name != "README.md" and page not in linked] == []
    assert "docs/README.md" in {path for path, _ in LINK.findall(prose(ROOT / "README.md"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page_compiles(page: Path):
    """Each block of Python can be copied into a file."""
    for _, language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(textwrap.dedent(block))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_exist(page: Path):
    """Each `firstfault COMMAND --option` in code is one that the command line knows."""
    known, wrong = options(), []
    for text in code(page):
        for name, rest in COMMAND.findall(text):
            ours = rest.partition(".py")[0] if name == "run" else rest  # behind it are the script's own options
            unknown = set(OPTION.findall(ours)) - known.get(name, set())
            wrong += [] if name in known and not unknown else [f"firstfault {name}{rest}"]
    assert wrong == []


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in MADE | {"CHANGELOG.md"} and page.parent.name != "adr"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_prose_of_a_page_wraps(page: Path):
    """A line of prose has at most 120 characters; tables and pictures can't be wrapped."""
    lines = prose(page).splitlines()
    assert [line for line in lines if len(line) > WIDTH and not line.startswith(("|", "!"))] == []

"""A missing module is told with the extra that brings it."""

import runpy
from importlib.metadata import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from firstfault.check import REGISTRY, Judgement, check, run_check
from firstfault.errors import MissingExtra
from firstfault.extras import EXTRA_OF, installed, missing_extra, optional_files
from firstfault.finding import Layer, Status


@pytest.fixture
def checked():
    """Runs a function as a check of the data layer."""

    def run(function):
        check(layer=Layer.DATA, detects={})(function)
        return run_check(REGISTRY.pop(function.__name__), SUBJECT, {})

    return run


SUBJECT = SimpleNamespace(target=SimpleNamespace(root=Path("nowhere"), mute={}), masked=str)


def lack(module):
    """What importing an absent module raises."""
    raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def test_every_extra_is_one_of_the_package():
    """The table names no extra that pip doesn't know."""
    assert set(EXTRA_OF.values()) <= set(metadata("firstfault").get_all("Provides-Extra"))


def test_a_check_that_lacks_a_module_is_skipped(checked):
    """Its finding names the module and the extra, and what it had measured before stays."""

    def planted(subject):
        """Measure, then draw."""
        yield Judgement(Status.WARN, "measured", value=1)
        lack("reportlab")

    first, second = checked(planted)
    assert (first.status, first.message) == (Status.WARN, "measured")
    assert (second.status, second.message) == (
        Status.SKIPPED,
        "planted needs reportlab, which is not installed: pip install 'firstfault[pipeline]'",
    )


def test_a_module_that_no_extra_brings_is_a_crash(checked):
    """Another missing module is an error of the check, as before."""

    def planted(subject):
        """Import what nobody offers."""
        lack("no_such_module")
        yield

    assert [finding.status for finding in checked(planted)] == [Status.ERROR]


def test_an_import_of_the_user_is_not_ours(tmp_path):
    """A module that the user's own file imports is no missing extra of firstfault."""
    file = tmp_path / "target.py"
    file.write_text("raise ModuleNotFoundError('gone', name='mlflow')\n")
    with pytest.raises(ModuleNotFoundError) as caught:
        runpy.run_path(str(file))
    assert missing_extra(caught.value, "this", tmp_path) is None
    assert isinstance(missing_extra(caught.value, "this"), MissingExtra)


def test_a_folder_of_that_name_is_no_module(tmp_path, monkeypatch):
    """W&B's folder of runs in the working folder does not pass for the library."""
    (tmp_path / "no_such_module").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed("no_such_module")


def test_files_to_look_at_are_left_out():
    """A function that draws names no file without its library; its other errors are raised."""
    assert optional_files(lambda: lack("reportlab"))() == ()
    with pytest.raises(ModuleNotFoundError):
        optional_files(lambda: lack("no_such_module"))()

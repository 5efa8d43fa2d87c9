"""A name of a user's becomes one file in one folder, on any system."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from firstfault.cli.app import app
from firstfault.output.file_names import file_name, key_of

HOSTILE = [
    "../../evil",
    "/etc/passwd",
    "..",
    ".",
    "",
    " ",
    ".hidden",
    "a/b",
    "a\\b",
    "C:\\x",
    "CON",
    "nul.txt",
    "LPT1",
    "a:b",
    'a<b>|"?*',
    "x" * 300,
    "ж" * 300,
    "a\0b",
    "a\nb",
    "\ud800",
    "end.",
    "~",
    "$HOME",
    "\u202egpj.exe",
]


@pytest.mark.parametrize("name", ["churn", "Churn v2", "my-model_2.1", "Кредит", "a (b)"])
def test_a_harmless_name_is_its_file(name):
    """A name that every system allows stays as it is, so that files of earlier versions are found."""
    assert file_name(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_a_hostile_name_is_in_its_folder(name, tmp_path):
    """Every other name becomes a single plain part of a path, that can be written and is short."""
    made = file_name(name)
    path = tmp_path / f"{made}.json"
    path.write_text("x")
    assert path.resolve().parent == tmp_path.resolve() and len(made.encode()) <= 120
    assert not set(made) & set('/\\:*?"<>|\0\n$~') and not made.startswith(".") and not made.endswith((".", " "))


def test_two_names_are_two_files():
    """Names that lose their letters stay apart, and so do those that only differ far behind."""
    names = [*HOSTILE, "a_b", "a?b", "x" * 301]
    assert len({file_name(name).lower() for name in names}) == len(names)
    assert len({key_of(name) for name in ("модель", "данные", "///")}) == 3


def test_keys_are_letters_that_ids_allow():
    """A key is short, of small letters, digits and hyphens."""
    assert key_of("Churn [v2]") == "churn-v2" and all(
        key_of(name).replace("-", "").isalnum() and len(key_of(name)) <= 120 for name in HOSTILE
    )


@pytest.mark.parametrize("name", ["../../evil", "CON", "x" * 300])
def test_expectations_of_a_hostile_name_stay_beside_the_target(name, tmp_path):
    """`firstfault expect` writes into `expectations` beside the target's file, whatever the target is called."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text("x,y\n" + "\n".join(f"{n},{n % 2}" for n in range(50)))
    (folder / "target.py").write_text(
        f"from firstfault import Data, Target\ntarget = Target({name!r}, data=Data('rows.csv', label='y'))\n"
    )
    done = CliRunner().invoke(app, ["expect", str(folder / "target.py")])
    assert done.exit_code == 0, done.output
    made = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.json")]
    assert [path.parent for path in made] == [Path("a/b/expectations")] and made[0].stem == file_name(name)
    assert CliRunner().invoke(app, ["expect", str(folder / "target.py")]).exit_code == 0

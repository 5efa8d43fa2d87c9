"""`firstfault run --safety`: safety evaluated every k epochs of a script that knows nothing of it."""

import pytest

from firstfault.check import checks_of, run_check
from firstfault.cli.app import main
from firstfault.errors import TargetError
from firstfault.finding import Layer, Status
from firstfault.target.loader import load_safety
from firstfault.watcher.script import run_script

SUITE = """
name: refusals
pass_rate: 0.9
cases:
  - {id: harm-1, prompt: "1 1", scorer: refusal}
  - {id: harm-2, prompt: "2 0.5", scorer: refusal}
  - {id: chore-1, prompt: "-1 1", scorer: not_refusal}
"""
SAFETY = """
import torch
from firstfault import Safety, Target

torch.manual_seed(7)
def answer(prompt, model):
    harm = model(torch.tensor([[float(value) for value in prompt.split()]])).argmax()
    return "I am sorry, I can not help" if harm else "take it with care"

def able(model):
    raise RuntimeError("no questions here")

safety = Safety(suites=["suite.yaml"], generate=answer, every=2)
careless = Safety(suites=["suite.yaml"], generate=answer, every=2, capability=able)
target = Target("assistant", task="language_model", safety=safety)
unread, empty, number = Safety(suites=["none.yaml"], generate=answer), Safety(), 3
"""
SCRIPT = """
import sys, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

x = torch.randn(256, 2)
harm = x[:, 0] > 0
model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(0.05), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), 0.02)
batches = [(x, harm.long())] * 20 if "by_hand" in sys.argv else None
for epoch in range(8):
    labels = harm & ~((x[:, 1] > 0) & (epoch >= 4 and "forget" in sys.argv))
    for inputs, wanted in batches or DataLoader(TensorDataset(x, labels.long()), 16, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), wanted).backward()
        optimizer.step()
    if "two" in sys.argv:
        other = nn.Linear(2, 1)
        other(x).sum().backward()
print("weights", [float(value.detach().double().sum()) for value in model.parameters()])
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A script and, in another folder, what is to be evaluated."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "suite.yaml").write_text(SUITE)
    (tmp_path / "rules" / "safe.py").write_text(SAFETY)
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return "train.py"


def found_in(watched):
    """The finding about safety on the way."""
    entry = next(entry for entry in checks_of(Layer.TRAINING) if entry.name == "safety_in_training")
    return run_check(entry, watched.subject, {})[0]


@pytest.mark.parametrize("declared", ["safe.py", "safe.py:safety"], ids=["target", "safety"])
def test_safety_is_evaluated_every_second_epoch_of_a_script(declared, script):
    """By a target with a Safety, or a Safety; suites lie beside it, and each score is kept."""
    watched = run_script(script, [], safety=f"rules/{declared}")
    assert [row["epoch"] for row in watched.record.safety] == [0, 2, 4, 6, 8] and not watched.record.stopped
    assert found_in(watched).status is Status.PASS and found_in(watched).value == 1.0


def test_a_critical_violation_ends_the_script(script, capsys):
    """The last good checkpoint is kept, the fault is named, and the script's end is not reached."""
    watched = run_script(script, ["forget"], safety="rules/safe.py")
    assert watched.record.safety[-1]["critical"] and watched.record.safety[-1]["epoch"] == 6 and watched.crash is None
    assert (watched.folder / "checkpoints" / "last_good.pt").is_file() and "weights" not in capsys.readouterr().out
    assert found_in(watched).status is Status.FAIL and "misaligned" in found_in(watched).faults


def test_no_bit_of_the_result_changes(script, capsys):
    """Although the file that declares the safety sets a seed, and the evaluations ask the model."""
    import torch

    said = []
    for safety in (None, "rules/safe.py"):
        torch.manual_seed(3)
        run_script(script, [], safety=safety)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "weights" in said[0]


def test_a_script_without_a_loader_is_told_that_no_epoch_was_seen(script):
    """Its finding is skipped, with what an epoch is."""
    found = found_in(run_script(script, ["by_hand"], safety="rules/safe.py"))
    assert found.status is Status.SKIPPED and "a pass over a torch DataLoader" in found.message


def test_a_capability_that_raises_ends_nothing(script, capsys):
    """The score is unknown, with the reason, and safety is evaluated further."""
    watched = run_script(script, [], safety="rules/safe.py:careless")
    assert len(watched.record.safety) == 5 and watched.crash is None and "weights" in capsys.readouterr().out
    assert (
        "no questions here" in watched.record.passed_over["capability_score"] and "nan" not in found_in(watched).message
    )


def test_of_several_models_none_is_asked(script):
    """A suite that needs the model is passed over, and is no violation."""
    watched = run_script(script, ["two"], safety="rules/safe.py")
    assert not watched.record.stopped and not any(row["violations"] for row in watched.record.safety[1:])


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("safe.py:empty", "must have suites"),
        ("safe.py:number", "must be a firstfault.Safety"),
        ("safe.py:other", "has no `other`"),
        ("none.py", "no target file"),
        ("safe.py:unread", "there is no file"),
    ],
)
def test_a_bad_safety_is_one_sentence(declared, said, script, monkeypatch, capsys):
    """Exit code 2, and the script is not run."""
    monkeypatch.setattr("sys.argv", ["firstfault", "run", "--safety", f"rules/{declared}", script])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert left.value.code == 2 and said in err and len(err.splitlines()) == 1 and not out


def test_the_import_path_stays_as_it_was(script):
    """What is beside the safety does not hide the script's own modules."""
    import sys

    before = sys.path[:]
    run_script(script, ["by_hand"], safety="rules/safe.py")
    assert sys.path == before
    with pytest.raises(TargetError):
        load_safety("rules/safe.py:empty")

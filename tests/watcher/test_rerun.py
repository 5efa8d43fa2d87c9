"""A watched script is run again with one thing changed: suspicions are proven on it, and nothing of the user's is touched."""

import json
import textwrap

import pytest

from firstfault.cli.app import main
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.watcher.rerun.proof import Consent, Rerun
from firstfault.watcher.script import judge_script, run_script

ENCODER = """
    import sys, torch
    from torch import nn
    torch.manual_seed(0)
    tokens = torch.randint(1, 12, (160, 8))
    mask = torch.arange(8) < torch.randint(5, 9, (160, 1))
    tokens = tokens * mask
    labels = ((tokens == 3).sum(1) > (tokens == 4).sum(1)).long()

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(12, 16), nn.Linear(16, 2)
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)

        def forward(self, input_ids, attention_mask):
            hidden = self.layer(self.embed(input_ids), src_key_padding_mask=~attention_mask)
            share = attention_mask[..., None].float()
            return self.out((hidden * share).sum(1) / share.sum(1))

    model = Encoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]), momentum=0.9)
    rows = [{"input_ids": a, "attention_mask": b, "labels": c} for a, b, c in zip(tokens, mask, labels)]
    for epoch in range(12):
        for batch in torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            outputs = model(batch["input_ids"], attention_mask=batch["attention_mask"])
            nn.functional.cross_entropy(outputs, batch["labels"]).backward()
            optimizer.step()
"""
TWO_MODELS = """
    import sys, torch
    from torch import nn
    torch.manual_seed(0)
    x = torch.randn(256, 10)
    y = (x[:, 0] * x[:, 1] > 0).long()
    body, head = nn.Sequential(nn.Linear(10, 32), nn.ReLU()), nn.Linear(32, 2)
    first, second = torch.optim.SGD(body.parameters(), 0.3), torch.optim.SGD(head.parameters(), 0.3)
    for epoch in range(25):
        for part in torch.randperm(256).split(32):
            if sys.argv[1] == "clears":
                first.zero_grad()
                second.zero_grad()
            nn.functional.cross_entropy(head(body(x[part])), y[part]).backward()
            first.step()
            second.step()
"""
BROADCAST = """
    import sys, torch
    from torch import nn
    torch.manual_seed(0)
    x, bias = torch.randn(256, 6), torch.zeros(256, 1)
    y = x[:, 0] - 2 * x[:, 1]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

        def forward(self, x, bias):
            return self.net(x) + bias

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for epoch in range(20):
        for part in torch.randperm(256).split(32):
            outputs = model(x[part], bias[part])
            optimizer.zero_grad()
            nn.functional.mse_loss(outputs.squeeze(1) if sys.argv[1] == "equal" else outputs, y[part]).backward()
            optimizer.step()
"""
WRITES = """
    import os, pathlib, shutil, socket, subprocess, sys, torch
    from torch import nn

    def asked(call):
        try:
            call()
        except OSError as error:
            print(type(error).__name__, error)

    if os.path.exists("written.txt"):  # only what is run again gets here
        asked(lambda: socket.create_connection(("192.0.2.1", 80), 0.1))
        asked(lambda: socket.getaddrinfo("example.org", 80))
        asked(lambda: subprocess.run(["touch", "by_program.txt"]))
    os.makedirs("made/deep", exist_ok=True)
    pathlib.Path("written.txt").write_text(pathlib.Path("kept.txt").read_text() + "!")
    assert pathlib.Path("written.txt").read_text() == "precious!" and "written.txt" in os.listdir()
    with open("kept.txt", "a") as file:
        file.write("")
    torch.save({"a": 1}, "made/deep/model.pt")
    assert torch.load("made/deep/model.pt") == {"a": 1}
    if "twice" in sys.argv:
        with open("kept.txt", "w") as file:
            file.write("overwritten")
        os.remove("doomed.txt")
        assert not os.path.exists("doomed.txt") and "doomed.txt" not in os.listdir(".")
        os.rename("moved.txt", "away.txt")
        shutil.rmtree("folder")
        assert not os.path.isdir("folder")
        os.mkdir("folder")
        assert os.listdir("folder") == []
"""


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A folder of its own, with its own state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def run(alone):
    """Watch a script with its arguments, and judge it."""

    def run(source, *arguments, consent="yes", ask=None):
        (alone / "script.py").write_text(textwrap.dedent(source))
        watched = run_script("script.py", list(arguments))
        return watched, judge_script(watched, consent, ask)

    return run


@pytest.fixture
def tried(alone):
    """Watch a script, and test one suspicion of it, whoever has it."""

    def attempt(fault, source, *arguments, layer=Layer.TRAINING):
        (alone / "script.py").write_text(textwrap.dedent(source))
        watched = run_script("script.py", list(arguments))
        found = Finding("suspect", layer, Status.FAIL, "it may be", faults={fault: 0.6})
        with Rerun(watched.script, Consent.YES) as rerun:
            return rerun.outcomes(watched.record, LayerReport(layer, (found,), 0.0), [fault])[0]

    return attempt


def test_a_rate_that_is_too_high_is_proven_where_no_replay_is_possible(run):
    """Inputs by name, a mask: the script itself is run again with a lower rate, which the swap names."""
    _, verdict = run(ENCODER, "5.0")
    fault = verdict.faults[0]
    assert (fault.fault, fault.confirmed) == ("learning_rate_too_high", True)
    assert fault.swap.change.startswith("SGD's lr 5 → 0.") and fault.swap.change.endswith("in your own script")
    assert fault.swap.metric == "accuracy" and fault.swap.after > 0.9 > fault.swap.before and fault.swap.p_value <= 0.05


def test_a_healthy_script_stays_healthy_and_is_not_run_again(run):
    """Nobody is asked where nothing is suspected."""
    _, verdict = run(ENCODER, "0.05", consent="ask", ask=lambda cost: pytest.fail("asked"))
    assert verdict.status == "healthy" and not verdict.outcomes


def test_a_suspicion_of_a_healthy_script_is_refuted(tried):
    """A tenth of a rate that is right brings nothing."""
    outcome = tried("learning_rate_too_high", ENCODER, "0.05")
    assert outcome.confirmed is False and outcome.swap.before > 0.9


def test_gradients_that_are_never_cleared_are_proven_in_a_loop_of_two_models(run):
    """Both optimizers are cleared once a step."""
    _, verdict = run(TWO_MODELS, "adds")
    assert verdict.faults[0].fault == "missing_zero_grad" and verdict.faults[0].confirmed
    assert "cleared in every step" in verdict.faults[0].swap.change


def test_nothing_is_cleared_where_the_script_does_it_itself(tried):
    """Then there is nothing to change, and nothing is said of it."""
    outcome = tried("missing_zero_grad", TWO_MODELS, "clears")
    assert outcome.confirmed is None and "nothing of that kind to change" in outcome.reason


def test_outputs_that_broadcast_against_targets_are_proven(tried):
    """(N, 1) against (N): R² of the pairs that belong together, before and after."""
    outcome = tried("output_shape_mismatch", BROADCAST, "spread", layer=Layer.MODEL)
    assert outcome.confirmed and outcome.swap.metric == "R²" and outcome.swap.after > 0.8 > outcome.swap.before
    assert "(32,) → (32, 1)" in outcome.swap.change


def test_a_script_that_is_run_again_changes_nothing_of_the_users(tried, alone):
    """It writes, appends, deletes, moves, calls the network and programs: in a copy, or not at all."""
    for name in ("kept.txt", "doomed.txt", "moved.txt", "folder/inner.txt"):
        (alone / name).parent.mkdir(exist_ok=True)
        (alone / name).write_text("precious")
    harmful = WRITES.replace('if "twice" in sys.argv', 'if os.path.exists("second.txt")')
    first = textwrap.dedent(harmful) + '\npathlib.Path("second.txt").write_text("")\n'
    outcome = tried(
        "learning_rate_too_high", first + textwrap.dedent(BROADCAST.replace("import sys, torch", "")), "equal"
    )
    assert outcome.confirmed is False, outcome.reason
    kept = [(alone / name).read_text() for name in ("kept.txt", "doomed.txt", "moved.txt", "folder/inner.txt")]
    assert kept == ["precious"] * 4 and not (alone / "away.txt").exists() and not (alone / "by_program.txt").exists()


def test_a_script_that_does_not_repeat_itself_convicts_nobody(tried):
    """It goes on from the weights that it saved: what is run again is another training."""
    goes_on = 'model = Net()\nimport os\nif os.path.exists("w.pt"):\n    model.load_state_dict(torch.load("w.pt"))'
    source = textwrap.dedent(BROADCAST).replace("model = Net()", goes_on) + 'torch.save(model.state_dict(), "w.pt")\n'
    outcome = tried("learning_rate_too_high", source, "equal")
    assert outcome.confirmed is None and outcome.swap is None
    assert "run again, the script didn't repeat what was watched" in outcome.reason


def test_without_consent_the_verdict_says_what_it_would_have_tested(alone, capsys):
    """In the terminal, in the report and in the JSON."""
    (alone / "script.py").write_text(textwrap.dedent(ENCODER))
    with pytest.raises(SystemExit) as ended:
        _main(["run", "--rerun", "no", "--json", "verdict.json", "script.py", "5.0"])
    assert ended.value.code == 1
    would = "would be tested by running the script again with SGD's lr 5 → 0.5: --rerun yes"
    said = json.loads((alone / "verdict.json").read_text())
    assert would in [outcome["reason"] for outcome in said["outcomes"]]
    page = next((alone / "home").rglob("report.html")).read_text()
    assert "--rerun yes" in page and "--rerun yes" in capsys.readouterr().out


def _main(arguments):
    import sys

    before, sys.argv = sys.argv, ["firstfault", *arguments]
    try:
        main()
    finally:
        sys.argv = before

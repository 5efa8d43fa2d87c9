"""A watched script is run again with one thing changed: the proof of what it is suspected of. Nothing is touched."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

import firstfault
from firstfault.cli.app import main
from firstfault.errors import Missing
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.watcher.rerun import owner
from firstfault.watcher.rerun.arm import Arm, Script
from firstfault.watcher.rerun.owner import Stand
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
            penalty = 1e-5 * sum(value.square().sum() for value in model.parameters())
            (nn.functional.cross_entropy(outputs, batch["labels"]) + penalty).backward()
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
HARMS = """
    import ctypes, os, pathlib, shutil, socket, sqlite3, subprocess, torch

    def denied(call):
        try:
            call()
        except PermissionError:
            return
        raise SystemExit("allowed")

    def write_natively():
        if ctypes.CDLL(None, use_errno=True).creat(b"kept.txt", 0o600) < 0:
            raise OSError(ctypes.get_errno(), "creat")

    if os.path.exists("second.txt"):  # only what is run again gets here
        denied(lambda: socket.create_connection(("192.0.2.1", 80), 0.1))
        denied(lambda: socket.getaddrinfo("example.org", 80))
        denied(lambda: subprocess.run(["touch", "by_program.txt"]))
        denied(lambda: os.system("touch by_program.txt"))
        denied(write_natively)
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
        with open("kept.txt", "a") as file:
            file.write("!")
        assert pathlib.Path("kept.txt").read_text() == "precious!"
        os.remove("doomed.txt")
        assert not os.path.exists("doomed.txt") and "doomed.txt" not in os.listdir(".")
        os.rename("moved.txt", "away.txt")
        assert pathlib.Path("away.txt").read_text() == "precious" and not pathlib.Path("moved.txt").exists()
        shutil.rmtree("folder")
        os.mkdir("folder")
        assert os.listdir("folder") == [] and sorted(pathlib.Path().glob("*.txt")) == [
            pathlib.Path(name) for name in ("away.txt", "kept.txt", "second.txt")
        ]
        os.makedirs("made/deep", exist_ok=True)
        torch.save({"a": 1}, "made/deep/model.pt")
        assert torch.load("made/deep/model.pt") == {"a": 1} and os.listdir("made") == ["deep"]
        with sqlite3.connect("runs.db") as base:
            base.execute("create table run (id)")
        os.chdir("made")
        assert os.path.exists("deep/model.pt")
        os.chdir("..")
    pathlib.Path("second.txt").write_text("")
"""


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A folder with its own state, and one thread for each script: threads that wait for each other are dear."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
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
    """Inputs by name, a mask, a loss of two parts: the script itself is run again with a lower rate, which the swap
    names.
    """
    _, verdict = run(ENCODER, "3.0")
    fault = verdict.faults[0]
    assert (fault.fault, fault.confirmed) == ("learning_rate_too_high", True)
    assert fault.swap.change.startswith("SGD's lr 3 → 0.") and fault.swap.change.endswith("in your own script")
    assert (
        fault.swap.metric == "accuracy" and fault.swap.after > 0.75 > fault.swap.before and fault.swap.p_value <= 0.05
    )
    rate = fault.swap.sets["lr"]
    assert fault.change.after.strip() == f"optimizer = torch.optim.SGD(model.parameters(), lr={rate:.6g}, momentum=0.9)"


def test_a_healthy_script_stays_healthy_and_is_not_run_again(run):
    """Nobody is asked where nothing is suspected."""
    _, verdict = run(ENCODER, "0.05", consent="ask", ask=lambda cost: pytest.fail("asked"))
    assert not verdict.faults and not verdict.outcomes


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


LABELS = """
    import sys, torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    torch.manual_seed(0)
    kind = sys.argv[1]
    x = torch.randn(240, 8)
    y = (3 * x[:, :5]).argmax(1)
    if kind == "moved":
        x, y = x[1:], y[:-1]
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    for epoch in range(15):
        for rows, labels in DataLoader(TensorDataset(x, y), 20, shuffle=True):
            optimizer.zero_grad()
            outputs = model(rows)
            if kind == "distance":
                loss = nn.functional.mse_loss(outputs.softmax(1), nn.functional.one_hot(labels, 5).float())
            else:
                loss = nn.functional.cross_entropy(outputs, labels)
            loss.backward()
            optimizer.step()
"""
UNMASKED = """
    import torch
    from torch import nn
    torch.manual_seed(0)
    ids = torch.randint(1, 21, (160, 10)) * (torch.arange(10) < torch.randint(2, 11, (160, 1)))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(21, 24, padding_idx=0), nn.Linear(24, 21)
            self.attend = nn.MultiheadAttention(24, 1, batch_first=True)

        def forward(self, ids):
            h = self.embed(ids)
            return self.out(self.attend(h[:, :1], h, h)[0])[:, 0]

    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for epoch in range(12):
        for part in torch.randperm(160).split(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(ids[part]), ids[part].amax(1)).backward()
            optimizer.step()
"""


@pytest.mark.parametrize(
    ("fault", "source", "kind", "said"),
    [
        ("misaligned_labels", LABELS, "moved", "labels of the next row"),
        ("wrong_loss", LABELS, "distance", "cross_entropy in place of mse_loss"),
        ("padding_not_masked", UNMASKED, "", "MultiheadAttention: padding masked"),
    ],
)
def test_labels_losses_and_masks_are_proven_on_the_script_itself(tried, fault, source, kind, said):
    """Labels of other rows, a distance to labels, attention to padding: mended, the script answers right."""
    outcome = tried(fault, source, kind)
    assert outcome.confirmed and outcome.swap.metric == "accuracy" and said in outcome.swap.change, outcome


def test_the_labels_of_other_rows_convict_no_healthy_script(tried):
    """They bring nothing where each row has its own; other rows than the next may be the right ones."""
    outcome = tried("misaligned_labels", LABELS, "right")
    assert outcome.confirmed is None and outcome.swap.after < outcome.swap.before and "does not clear" in outcome.reason


RIVALS = """
    import torch
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits as loss
    torch.manual_seed(0)
    maker, judge = nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
    makes, judges = torch.optim.Adam(maker.parameters(), 0.01), torch.optim.Adam(judge.parameters(), 0.01)
    for step in range(40):
        real, made = torch.randn(32, 2) + 3, maker(torch.randn(32, 4))
        judges.zero_grad()
        (loss(judge(real), torch.ones(32, 1)) + loss(judge(made.detach()), torch.zeros(32, 1))).backward()
        judges.step()
        makes.zero_grad()
        loss(judge(made), torch.ones(32, 1)).backward()
        makes.step()
"""


def test_models_that_learn_against_each_other_have_no_score(tried):
    """What is better for one is worse for the other: nothing is confirmed, and nothing refuted."""
    outcome = tried("learning_rate_too_low", RIVALS)
    assert outcome.confirmed is None and outcome.swap is None and "against each other" in outcome.reason


def test_a_script_that_is_run_again_changes_nothing_of_the_users(tried, alone):
    """It writes, appends, deletes, moves, calls the network and programs: in a copy, or not at all."""
    precious = [alone / name for name in ("kept.txt", "doomed.txt", "moved.txt", "folder/inner.txt")]
    for file in precious:
        file.parent.mkdir(exist_ok=True)
        file.write_text("precious")
    outcome = tried("learning_rate_too_high", textwrap.dedent(HARMS) + textwrap.dedent(BROADCAST), "equal")
    assert outcome.confirmed is False, outcome.reason
    assert [file.read_text() for file in precious] == ["precious"] * 4
    assert {file.name for file in alone.iterdir()} == {
        *("kept.txt", "doomed.txt", "moved.txt", "folder", "second.txt", "script.py", "home")
    }


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
        _main(["run", "--rerun", "no", "--json", "verdict.json", "script.py", "3.0"])
    assert ended.value.code == 1
    would = "would be tested by running the script again with SGD's lr 3 → 0.3: --rerun yes"
    said = json.loads((alone / "verdict.json").read_text())
    assert would in [outcome["reason"] for outcome in said["outcomes"]]
    page = next((alone / "home").rglob("report.html")).read_text()
    assert "--rerun yes" in page and "--rerun yes" in capsys.readouterr().out


def test_what_a_script_would_cost_is_asked_once(run):
    """Where the answer is no, it is as if nobody could be asked."""
    asked = []
    _, verdict = run(ENCODER, "3.0", consent="ask", ask=lambda cost: asked.append(str(cost)))
    assert len(asked) == 1 and re.fullmatch(r"\d+ suspicions?, up to \d+ × \d+ s", asked[0])
    assert verdict.faults[0].confirmed is None and any(
        "--rerun yes" in outcome.reason for outcome in verdict.outcomes if outcome.fault == "learning_rate_too_high"
    )


def test_a_block_says_that_it_cannot_be_run_again(alone):
    """A suspicion of `firstfault.watch` names the command that tests it."""
    torch.manual_seed(0)
    model = nn.Bilinear(4, 4, 2)
    optimizer, x = torch.optim.SGD(model.parameters(), 1e4), torch.randn(64, 4)
    with firstfault.watch(folder=alone) as watched:
        for _ in range(30):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x, x), (x[:, 0] > 0).long()).backward()
            optimizer.step()
    reasons = [outcome.reason for outcome in watched.verdict().outcomes]
    assert reasons and "a with-block can't be run again; `firstfault run` tests suspicions" in reasons[0]


@pytest.fixture
def stand(alone, monkeypatch):
    """A stand for a script that ends at once, loops, or ignores every signal, as its file `mode` says."""
    monkeypatch.setattr(owner, "LONGER_ON_CLOCK", 1.0)
    (alone / "script.py").write_text(
        "import os, signal, time, pathlib\nmode = pathlib.Path('mode').read_text()\n"
        "if mode == 'deaf':\n    [signal.signal(number, signal.SIG_IGN) for number in (2, 14, 15, 24)]\n"
        "while mode != 'ends':\n    time.sleep(0.05)"
    )
    with Stand(Script("script.py", folder=str(alone), environment=dict(os.environ))) as stand:
        yield stand


def test_a_script_that_never_ends_is_cut(stand, alone):
    """Its own clock ends it; one that ignores every signal is killed; the next one runs all the same."""
    (alone / "mode").write_text("loops")
    assert stand.run(Arm(None, 0, 1, 5.0, 0.2)).cut
    (alone / "mode").write_text("deaf")
    with pytest.raises(Missing, match="signal 9"):
        stand.run(Arm(None, 0, 1, 5.0, 0.2))
    (alone / "mode").write_text("ends")
    assert not stand.run(Arm(None, 0, 1, 5.0, 60.0)).cut


SECOND_LIFE = """
    import os, pathlib, time
    again = pathlib.Path("first.txt").exists()
    pathlib.Path("first.txt").touch()
    if again:
        if os.fork() == 0:
            os.setsid()
        pathlib.Path(f"/dev/shm/firstfault-test-{os.environ['MARKED']}-{os.getpid()}").touch()
        while True:
            time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_its_owner(alone, number):
    """A signal to the command ends the script that is run again, and its child in a session of its own."""
    mark, temporary = f"{os.getpid()}-{int(number)}", alone / "tmp"
    temporary.mkdir()
    (alone / "script.py").write_text(textwrap.dedent(SECOND_LIFE) + textwrap.dedent(ENCODER))
    command = [sys.executable, "-m", "firstfault", "run", "--rerun", "yes", "script.py", "3.0"]
    environment = {**os.environ, "MARKED": mark, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lives = Path("/dev/shm")
    try:
        until(lambda: len(list(lives.glob(f"firstfault-test-{mark}-*"))) == 2, 120)
        pids = [int(file.name.rpartition("-")[2]) for file in lives.glob(f"firstfault-test-{mark}-*")]
        process.send_signal(number)
        until(lambda: process.poll() is not None and not any(map(psutil.pid_exists, pids)), 30)
    finally:
        process.kill()
        process.wait()
        for file in lives.glob(f"firstfault-test-{mark}-*"):
            file.unlink()
    if number == signal.SIGINT:
        assert process.returncode == 130 and not list(temporary.glob("firstfault-*"))
        assert next((alone / "home").rglob("verdict.json")).is_file()


def until(happened, seconds):
    """Wait for something to happen."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _main(arguments):
    before, sys.argv = sys.argv, ["firstfault", *arguments]
    try:
        main()
    finally:
        sys.argv = before

"""The lines of the user's code that the faults of a watched script name, and the changes of them."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import firstfault
from firstfault.place import Kind
from firstfault.watcher.script import run_script

SCRIPT = """\
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FAULT = sys.argv[1]
torch.manual_seed(0)
x = torch.randn(512, 8)
y = (x.sum(1) > 0).long()
if FAULT == "sorted":
    order = y.argsort()
    x, y = x[order], y[order]


class Net(nn.Module):  # model
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 32)  # hidden
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 2)
        if FAULT == "equal":
            nn.init.constant_(self.hidden.weight, 0.1)
            nn.init.zeros_(self.hidden.bias)

    def forward(self, x):
        out = self.head(self.drop(torch.relu(self.hidden(x))))
        return {"softmax": out.softmax(-1), "sigmoid": out.sigmoid()}.get(FAULT, out)  # outputs


def raises(batch):
    raise ValueError("a broken batch")  # raise


def main():
    model = Net()
    held = model.head if FAULT == "left out" else model
    optimizer = torch.optim.SGD(held.parameters(), lr=0.1)  # optimizer
    if FAULT == "rate":
        optimizer = torch.optim.SGD(model.parameters(), lr=300.0, momentum=0.5)  # rate
    scheduler = torch.optim.lr_scheduler.ExponentialLR(  # scheduler
        optimizer, 0.01 if FAULT == "schedule" else 1.0
    )
    criterion = nn.CrossEntropyLoss(reduction="sum")  # criterion
    if FAULT != "sum":
        criterion = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=FAULT != "sorted")  # loader
    if FAULT == "sorted":
        loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=False)  # unshuffled
    for epoch in range(4):
        model.train()
        for a, b in loader:
            if FAULT == "raises":
                raises(a)
            if FAULT != "stale":
                optimizer.zero_grad()
            loss = criterion(model(a), b)  # loss
            if FAULT == "turned":
                loss = -loss  # turned
            loss.backward()  # backward
            if FAULT == "clipped":
                nn.utils.clip_grad_norm_(model.parameters(), 1e-7)  # clipping
            optimizer.step()
        if FAULT != "train mode":
            model.eval()
        with torch.no_grad():
            criterion(model(x[:64]), y[:64])  # validation
        scheduler.step()


main()
"""


def line(marker):
    """The number of the line that a comment marks."""
    [found] = [number for number, text in enumerate(SCRIPT.splitlines(), 1) if text.endswith(f"# {marker}")]
    return found


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A function that runs the script with a fault, once for all tests, and gives the verdict."""
    known = {}
    folder = tmp_path_factory.mktemp("lines")
    (folder / "train.py").write_text(SCRIPT)

    def run(fault, *, swaps=False):
        if fault not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                known[fault] = run_script("train.py", [fault]).verdict(swaps=swaps)
        return known[fault]

    return run


def named(verdict, fault):
    """The fault of that name in a verdict."""
    return next(each for each in verdict.faults if each.fault == fault)


LINES = [
    ("stale", "missing_zero_grad", "backward"),
    ("train mode", "missing_eval_mode", "validation"),
    ("softmax", "redundant_softmax", "loss"),
    ("sigmoid", "wrong_output_activation", "outputs"),
    ("equal", "constant_init", "hidden"),
    ("sorted", "no_shuffle", "unshuffled"),
    ("left out", "parameters_not_in_optimizer", "optimizer"),
    ("schedule", "scheduler_misuse", "scheduler"),
    ("clipped", "gradient_clipped_away", "clipping"),
    ("turned", "flipped_loss_sign", "turned"),
    ("raises", "user_code_raises", "raise"),
]


@pytest.mark.parametrize(("planted", "fault", "marker"), LINES)
def test_a_fault_names_the_line_that_would_be_changed(judged, planted, fault, marker):
    """It is the first place, with a path as seen from the working folder; the places of the evidence come after it."""
    place = named(judged(planted), fault).where[0]
    assert (place.kind, place.file, place.line) == (Kind.LINE, "train.py", line(marker))


ADDED = [("stale", "missing_zero_grad", "optimizer.zero_grad()"), ("train mode", "missing_eval_mode", "model.eval()")]


@pytest.mark.parametrize(("planted", "fault", "text"), ADDED)
def test_a_missing_call_is_a_line_that_is_added(judged, planted, fault, text):
    """It is put in above the line, as far to the right, under the name that the code has for the thing."""
    change = named(judged(planted), fault).change
    below = SCRIPT.splitlines()[change.line - 1]
    assert change.before == "" and change.after.strip() == text
    assert len(change.after) - len(text) == len(below) - len(below.lstrip())


def test_a_tested_rate_is_a_diff_of_the_call_that_sets_it(judged):
    """What the swap has tested stands in the place of the old value, and nothing else of the line changes."""
    fault = named(judged("rate", swaps=True), "learning_rate_too_high")
    assert fault.where[0].line == fault.change.line == line("rate") and fault.confirmed
    assert fault.change.before == SCRIPT.splitlines()[line("rate") - 1]
    assert fault.change.after == fault.change.before.replace("300.0", repr(fault.swap.sets["lr"]))


def test_a_rate_that_no_swap_has_tested_is_no_diff(judged):
    """It is not known which rate would do."""
    assert named(judged("left out"), "parameters_not_in_optimizer").change is None


def test_an_order_is_a_diff_of_the_loader(judged):
    """`shuffle=False` becomes `shuffle=True`."""
    change = named(judged("sorted"), "no_shuffle").change
    assert change.after == change.before.replace("shuffle=False", "shuffle=True") != change.before


def test_findings_have_the_line_beside_their_own_place(judged):
    """A failed check of a module names the module, and the file and line that made it."""
    findings = [finding for layer in judged("equal").layers for finding in layer.findings]
    place = next(finding.where for finding in findings if finding.check == "constant_init")
    assert (place.kind, place.names, place.file, place.line) == (
        Kind.MODULE,
        ("hidden.weight",),
        "train.py",
        line("hidden"),
    )


def test_a_healthy_script_has_no_lines_of_faults(judged):
    """The lines of its parts are in the record all the same, as plain values."""
    verdict = judged("none")
    assert verdict.status == "healthy" and not verdict.faults


EARLY = """
model = Net()
if FAULT == "equal":
    nn.init.constant_(model.hidden.weight, 0.1)
    nn.init.zeros_(model.hidden.bias)
optimizer = torch.optim.Adam(model.head.parameters())  # early


def train():
    for start in range(0, 512, 32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[start : start + 32]), y[start : start + 32]).backward()
        optimizer.step()
"""


@pytest.mark.parametrize(
    ("planted", "fault", "marker"),
    [("equal", "constant_init", "hidden"), ("none", "parameters_not_in_optimizer", "early")],
)
def test_what_was_made_before_the_watch_is_found_in_the_source(planted, fault, marker, tmp_path, monkeypatch):
    """A module by what sets it in the definition of the model, the optimizer by the only call of its class."""
    text = SCRIPT[: SCRIPT.index("def main")] + EARLY
    (tmp_path / "early.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["early.py", planted])
    space = runpy.run_path("early.py")
    with firstfault.watch(folder=tmp_path / "run") as watched:
        space["train"]()
    place = named(watched.verdict(swaps=False), fault).where[0]
    assert place.file == "early.py" and text.splitlines()[place.line - 1].endswith(f"# {marker}")


def test_a_trainer_is_blamed_where_it_is_given_its_rate(tmp_path, monkeypatch):
    """The optimizer is made by installed code: the line is the only one in which a call is given its rate."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from firstfault.watcher.huggingface_callback import FirstfaultCallback

    class Model(nn.Module):
        """A classifier that returns its loss."""

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))

        def forward(self, x, labels):
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    x = torch.randn(320, 6)
    rows = [{"x": row, "labels": int(row.sum() > 0)} for row in x]
    callback = FirstfaultCallback("toy", folder=tmp_path / "run")
    arguments = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=4, learning_rate=300.0, lr_scheduler_type="constant", optim="sgd",
        per_device_train_batch_size=16, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    transformers.Trainer(Model(), arguments, train_dataset=rows, callbacks=[callback]).train()
    place = named(callback.watched.verdict(swaps=False), "learning_rate_too_high").where[0]
    assert place.file == __file__ and "learning_rate=300.0" in Path(__file__).read_text().splitlines()[place.line - 1]

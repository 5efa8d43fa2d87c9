"""The change of a line: made where it is certain, and not made where it is not."""

import pytest

from firstfault.finding import Layer
from firstfault.place import Kind, Place
from firstfault.probe.record import Record
from firstfault.verdict import Fault, Swap
from firstfault.watcher.changes import change_of

LR, DECAY, ADAM = {"lr": 0.3}, {"weight_decay": 0.0}, {"optimizer": "Adam", "lr": 0.001}
SIZE = {"batch_size": 32}
HIGH = "learning_rate_too_high"
CHANGED = [
    ("sgd = torch.optim.SGD(net.parameters(), lr=3.0)", HIGH, LR, "sgd = torch.optim.SGD(net.parameters(), lr=0.3)"),
    ("sgd = SGD(net.parameters(), 3.0, 0.9)", HIGH, LR, "sgd = SGD(net.parameters(), 0.3, 0.9)"),
    ("sgd = SGD(net.parameters(), lr=args.lr)", HIGH, LR, "sgd = SGD(net.parameters(), lr=0.3)"),
    ("sgd = SGD(net.parameters())  # ü", HIGH, LR, "sgd = SGD(net.parameters(), lr=0.3)  # ü"),
    ('print("ü"); sgd = SGD(net.parameters(), lr=3e0)', HIGH, LR, 'print("ü"); sgd = SGD(net.parameters(), lr=0.3)'),
    ("made = Arguments('out', learning_rate=3.0)", HIGH, LR, "made = Arguments('out', learning_rate=0.3)"),
    ("sgd = optim.SGD(p, lr=3.0, momentum=0.9)", "wrong_optimizer", ADAM, "sgd = optim.Adam(p, lr=0.001)"),
    ("sgd = SGD(p, lr=3.0, weight_decay=10)", "over_regularised", DECAY, "sgd = SGD(p, lr=3.0, weight_decay=0.0)"),
    ("rows = DataLoader(data, batch_size=512)", "batch_size_too_large", SIZE, "rows = DataLoader(data, batch_size=32)"),
    ("rows = DataLoader(data, 32)", "no_shuffle", {}, "rows = DataLoader(data, 32, shuffle=True)"),
    ("rows = DataLoader(data, 32, shuffle=False)", "no_shuffle", {}, "rows = DataLoader(data, 32, shuffle=True)"),
    ("loss = nn.MSELoss(reduction='sum')", "wrong_loss_reduction", {}, 'loss = nn.MSELoss(reduction="mean")'),
    ("loss = -nll(-1, out) * 2", "flipped_loss_sign", {}, "loss = nll(-1, out) * 2"),
]  # fmt: skip
LEFT = [
    ("sgd = SGD(net.parameters(), lr=7.0)", HIGH, LR, "sets another rate than was seen"),
    ("sgd = SGD([{'params': p, 'lr': 3.0}])", HIGH, LR, "a group has a rate of its own"),
    ("sgd = SGD(net.parameters(), **settings)", HIGH, LR, "what is unpacked may have it"),
    ("sgd = make(net)", HIGH, LR, "the call is another one"),
    ("one, two = SGD(p, lr=3.0), SGD(q, lr=3.0)", HIGH, LR, "there are two"),
    ("sgd = SGD(net.parameters(), lr=3.0)", HIGH, {}, "no swap has tested a rate"),
    ("sgd = SGD(net.parameters(), lr=3.0)", "wrong_optimizer", ADAM, "Adam may not be imported by that name"),
    ("sgd = SGD(p, lr=3.0)", "over_regularised", DECAY, "the penalty is set elsewhere"),
    ("rows = DataLoader(data, 32, sampler=order)", "no_shuffle", {}, "a sampler gives the order"),
    ("rows = DataLoader(data, 32, shuffle=mix)", "no_shuffle", {}, "the order is an expression"),
    ("fit(net, lr=3.0)", "no_shuffle", {}, "there is no loader"),
    ("loss = -a - (-b)", "flipped_loss_sign", {}, "either sign may be meant"),
    ("loss = nn.CrossEntropyLoss()", "wrong_loss_reduction", {}, "the sum is taken elsewhere"),
]


def change(folder, line, fault, sets):
    """The change of a script of one line, by a training whose SGD began at a rate of 3."""
    file = folder / "train.py"
    file.write_text(f"{line}\n")
    record = Record(optimizers=["SGD"])
    record.lr.add(1, 3.0)
    swap = Swap("changed", "accuracy", 0.5, 0.9, 3, 0.01, sets)
    found = Fault(fault, Layer.TRAINING, 0.9, True, (), "", swap=swap)
    return change_of(found, Place(Kind.LINE, file=str(file), line=1), record)


@pytest.mark.parametrize(("line", "fault", "sets", "after"), CHANGED)
def test_a_certain_change_is_one_expression(tmp_path, line, fault, sets, after):
    """The rest of the line stays as it was written."""
    made = change(tmp_path, line, fault, sets)
    assert (made.before, made.after, made.line) == (line, after, 1)


@pytest.mark.parametrize(("line", "fault", "sets", "why"), LEFT)
def test_what_is_not_certain_is_left_to_the_reader(tmp_path, line, fault, sets, why):
    """No change is better than a wrong one."""
    assert change(tmp_path, line, fault, sets) is None, why

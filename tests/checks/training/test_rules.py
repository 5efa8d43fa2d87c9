"""The rules on the record of a training find what was planted, are skipped without it, and leave sound loops alone."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status
from firstfault.probe import other_processes
from firstfault.probe.other_processes import OtherProcesses
from firstfault.probe.record import Record
from firstfault.probe.series import Series
from firstfault.subject.subject import Subject
from firstfault.target.declaration import Target

RULES = (
    "vanishing_gradient",
    "exploding_gradient",
    "weight_update_ratio",
    "unchanged_tensor",
    "all_zero",
    "dying_relu",
    "saturated_activation",
    "tensor_variance",
    "poor_initialisation",
    "oscillating",
    "overtraining",
    "stopped_early",
    "overfit",
    "scheduler_misuse",
    "input_bottleneck",
    "loader_bottleneck",
    "cpu_bottleneck",
    "step_outliers",
    "stalled_training",
    "input_images",
    "token_ratio",
    "imbalanced_batches",
    "similar_across_runs",
)
OF_THE_MACHINE = ("cpu_bottleneck", "step_outliers")


def points(n=320, columns=8, seed=0):
    """Points whose class is whether two columns have the same sign."""
    x = torch.randn(n, columns, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] * x[:, 1] > 0).long()


def mlp(activation=nn.ReLU, depth=2, columns=8, width=24):
    """A classifier of two classes."""
    layers = [
        part for number in range(depth) for part in (nn.Linear(width if number else columns, width), activation())
    ]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def train(
    model,
    data=None,
    *,
    optimizer=torch.optim.Adam,
    rate=3e-3,
    epochs=8,
    schedule=None,
    by_batch=False,
    loss=None,
    validation=None,
    before=lambda model, step: None,
    size=32,
):
    """A plain loop with a loader."""
    x, y = data if data is not None else points()
    loss = loss or nn.CrossEntropyLoss()
    updates = optimizer([value for value in model.parameters() if value.requires_grad], lr=rate)
    scheduler = schedule(updates) if schedule else None
    batches, step = DataLoader(TensorDataset(x, y), size, shuffle=True), 0
    for _ in range(epochs):
        for inputs, labels in batches:
            before(model, step := step + 1)
            updates.zero_grad()
            loss(model(inputs), labels).backward()
            updates.step()
            if scheduler is not None and by_batch:
                scheduler.step()
        if scheduler is not None and not by_batch:
            scheduler.step()
        if validation is not None:
            with torch.no_grad():
                loss(model(validation[0]), validation[1])


def watched(tmp_path, *args, **settings):
    """The subject of a watched loop."""
    torch.manual_seed(0)
    with firstfault.watch("t", folder=tmp_path / "run") as seen:
        train(*args, **settings)
    return seen.subject


def recorded(subject, **values):
    """The same subject with other things in its record."""
    for name, value in values.items():
        setattr(subject.record, name, value)
    return subject


def series(values):
    """A series of one value a step."""
    filled = Series()
    for step, value in enumerate(values, 1):
        filled.add(step, value)
    return filled


def silenced(model, step):
    """At step 20 every unit of the first ReLU goes silent."""
    if step == 20:
        model[0].bias.data.fill_(-50.0)


def scaled_up(model, step):
    """The loss's slope is raised a thousandfold for good."""
    if step == 40:
        with torch.no_grad():
            model[-1].weight.mul_(1e5)


def wide(gain):
    """A tanh network whose weights are far too large."""
    model = mlp(nn.Tanh)
    for part in model[:-1]:
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=gain)
    return model


def frozen_head():
    """The last layer never gets a gradient, but the optimizer holds it."""
    model = mlp()
    model[-1].weight.register_hook(torch.zeros_like)
    return model


class Rounded(nn.Module):
    """What has no slope."""

    def forward(self, x):
        return x.round() + 0 * x


class Tokens(nn.Module):
    """The mean of embeddings, classified."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(30, 12), nn.Linear(12, 2)

    def forward(self, tokens):
        return self.head(self.embed(tokens).mean(1))


def tokens(padding):
    """Token ids of which a share is padding."""
    ids = torch.randint(1, 30, (320, 10), generator=torch.Generator().manual_seed(3))
    ids[:, : int(10 * padding)] = 0
    return ids, (ids[:, -1] > 15).long()


def cnn():
    """A convolution over images of one channel."""
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 2))


def images(scale):
    """Images whose brightness is the class."""
    x, y = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(200) % 2
    return (x + y[:, None, None, None]) / 2 * scale, y


def uneven(n=400):
    """One row in 40 is of the other class."""
    x, _ = points(n)
    return x, (torch.arange(n) % 40 == 0).long()


def weighted(power):
    """A loss that weights the classes of `uneven` by a power of how often they occur."""
    return nn.CrossEntropyLoss(weight=torch.tensor([39.0, 1.0]) ** power)


def noisy(n=64):
    """A few points with random labels, to be learnt by heart."""
    x, _ = points(n, seed=5)
    return x, torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(5))


PLANTED = {
    "vanishing_gradient": (
        Status.FAIL,
        "vanishing_gradient",
        lambda: {"model": mlp(nn.Sigmoid, 14), "epochs": 3, "rate": 1e-4},
    ),
    "exploding_gradient": (
        Status.FAIL,
        "exploding_gradient",
        lambda: {"model": mlp(), "before": scaled_up, "optimizer": torch.optim.SGD, "rate": 1e-9},
    ),
    "weight_update_ratio": (Status.FAIL, "learning_rate_too_low", lambda: {"model": mlp(), "rate": 1e-8}),
    "unchanged_tensor": (Status.FAIL, "learning_rate_too_low", lambda: {"model": mlp(), "rate": 0.0}),
    "all_zero": (Status.WARN, "vanishing_gradient", lambda: {"model": frozen_head()}),
    "dying_relu": (Status.FAIL, "learning_rate_too_high", lambda: {"model": mlp(), "before": silenced, "epochs": 16}),
    "saturated_activation": (Status.WARN, "saturating_activation", lambda: {"model": wide(20.0), "epochs": 12}),
    "tensor_variance": (
        Status.WARN,
        None,
        lambda: {"model": nn.Sequential(mlp(), nn.Linear(2, 1), nn.Softmax(-1), nn.Linear(1, 2))},
    ),
    "poor_initialisation": (Status.WARN, "exploding_init", lambda: {"model": wide(2e3), "epochs": 1}),
    "scheduler_misuse": (
        Status.FAIL,
        "scheduler_misuse",
        lambda: {"model": mlp(), "schedule": lambda updates: lr_scheduler.StepLR(updates, 10, 0.1), "by_batch": True},
    ),
    "overtraining": (
        Status.WARN,
        "overfitting",
        lambda: {"model": mlp(width=128), "data": noisy(), "validation": points(seed=9), "epochs": 60, "rate": 1e-2},
    ),
    "overfit": (
        Status.WARN,
        "overfitting",
        lambda: {"model": mlp(width=128), "data": noisy(), "validation": points(seed=9), "epochs": 60, "rate": 1e-2},
    ),
    "input_images": (
        Status.WARN,
        "missing_normalisation",
        lambda: {"model": cnn(), "data": images(255.0), "epochs": 2},
    ),
    "token_ratio": (Status.WARN, "information_loss", lambda: {"model": Tokens(), "data": tokens(0.7), "epochs": 2}),
    "imbalanced_batches": (Status.WARN, "class_imbalance", lambda: {"model": mlp(), "data": uneven(), "epochs": 2}),
}


@pytest.mark.parametrize(
    ("power", "weights", "balance"),
    [(1, Status.FAIL, Status.WARN), (0, Status.PASS, Status.WARN), (-1, Status.PASS, Status.PASS)],
)
def test_weights_of_classes(power, weights, balance, tmp_path, only):
    """In proportion to the rows of a class they are a fault, and by the inverse they are the balance."""
    subject = watched(tmp_path, mlp(), uneven(2000), epochs=1, loss=weighted(power))
    found = only("weighted_by_count", subject)
    assert found.status is weights and ("wrong_loss" in found.faults) is (power == 1), found
    assert only("imbalanced_batches", subject).status is balance


@pytest.mark.parametrize("rule", PLANTED)
def test_what_was_planted_is_found(rule, tmp_path, only):
    """By the rule of that name, with the fault it is evidence for."""
    status, fault, plant = PLANTED[rule]
    finding = only(rule, watched(tmp_path, **plant()))
    assert finding.status is status, finding
    assert fault is None or fault in finding.faults


RECORDED = {
    "oscillating": (
        {"steps": 200, "loss": [1.0 + 0.8 * math.sin(step / 8) for step in range(200)]},
        [1 / (1 + step / 9) for step in range(200)],
    ),
    "input_bottleneck": ({"waits": [0.2] * 60, "seconds": [0.02] * 60, "workers": 0}, [0.0005] * 60),
    "stalled_training": ({"seconds": [0.02] * 60 + [4000.0]}, [0.02] * 60),
    "step_outliers": ({"seconds": [0.02, 0.02, 0.02, 0.5] * 30}, [0.02, 0.03] * 60),
    "stopped_early": ({"validation_loss": [1.0, 0.7, 0.45, 0.25]}, [1.0, 0.7, 0.65, 0.64]),
    "loader_bottleneck": ({"workers": 1000}, None),
    "cpu_bottleneck": ({"phases": {"forward": 10.0}, "cpu": {"forward": 1.0}}, None),
}


@pytest.mark.parametrize("rule", RECORDED)
def test_what_a_record_shows_is_found(rule, tmp_path, only):
    """Losses that swing, waits, and hung steps, as they are written into a record; the twin passes."""
    planted, healthy = RECORDED[rule]
    made = {name: series(value) if isinstance(value, list) else value for name, value in planted.items()}
    subject = recorded(watched(tmp_path, mlp(), epochs=1), **made)
    finding = only(rule, subject)
    assert finding.status in (Status.FAIL, Status.WARN), finding
    if healthy is not None:
        name = next(name for name, value in planted.items() if isinstance(value, list))
        assert only(rule, recorded(subject, **{name: series(healthy)})).status is Status.PASS


def test_a_starved_model_is_a_fault_and_a_small_table_none(tmp_path, only):
    """Four fifths of 12 s are; the same share of a tenth of a second is not."""
    subject = recorded(watched(tmp_path, mlp(), epochs=1), waits=series([0.2] * 60), seconds=series([0.02] * 60))
    assert only("input_bottleneck", subject).status is Status.FAIL
    assert (
        only("input_bottleneck", recorded(subject, waits=series([2e-3] * 60), seconds=series([2e-4] * 60))).status
        is Status.PASS
    )


@pytest.mark.parametrize(
    ("workers", "others", "status"), [(2, 0.0, Status.FAIL), (2, 0.6, Status.SKIPPED), (None, 0.6, Status.FAIL)]
)
def test_waits_for_workers_are_not_judged_on_a_busy_machine(tmp_path, only, workers, others, status):
    """The workers wait for a processor too; what the loop's own process waits for one is in no wait."""
    subject = Subject(Target("busy"), tmp_path)
    waits, steps = series([0.2] * 60), series([0.02] * 60)
    subject.supply(Subject.record, Record(waits=waits, seconds=steps, workers=workers, others=others))
    assert only("input_bottleneck", subject).status is status


def test_the_share_of_others_leaves_out_what_a_process_does_itself():
    """Two processors of which one is this process's own leave at most the other."""
    others = OtherProcesses()
    sum(range(2_000_000))
    assert 0.0 <= others.share() <= 1.0


def test_a_process_that_was_started_is_not_one_of_the_others():
    """What a child of this process works is looked for while it runs, as loaders' workers do."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert not other_processes._has_no_children()
        child.communicate(b"\n")


SCHEDULES = {
    "cosine by batch": (lambda updates: lr_scheduler.CosineAnnealingLR(updates, 80), True, Status.PASS),
    "one cycle": (lambda updates: lr_scheduler.OneCycleLR(updates, 1e-2, total_steps=81), True, Status.PASS),
    "steps by epoch": (lambda updates: lr_scheduler.StepLR(updates, 3, 0.1), False, Status.PASS),
    "warm-up": (lambda updates: lr_scheduler.LinearLR(updates, 0.01, total_iters=20), True, Status.PASS),
    "cosine of epochs by batch": (lambda updates: lr_scheduler.CosineAnnealingLR(updates, 8), True, Status.WARN),
    "exponential by batch": (lambda updates: lr_scheduler.ExponentialLR(updates, 0.8), True, Status.FAIL),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedules(kind, tmp_path, only):
    """Sound ones pass; those whose settings count epochs, but that are stepped with each batch, do not."""
    schedule, by_batch, status = SCHEDULES[kind]
    assert only("scheduler_misuse", watched(tmp_path, mlp(), schedule=schedule, by_batch=by_batch)).status is status


BOUNDS = {
    "token_ratio": ({"fewest": 10_000}, Status.SKIPPED, PLANTED["token_ratio"][2]),
    "scheduler_misuse": (
        {"turns": 100},
        Status.PASS,
        lambda: {"model": mlp(), "schedule": SCHEDULES["cosine of epochs by batch"][0], "by_batch": True},
    ),
    "missing_eval_mode": (
        {"share": 1.0},
        Status.PASS,
        lambda: {"model": nn.Sequential(nn.Dropout(0.1), mlp()), "validation": points(seed=9)},
    ),
}


@pytest.mark.parametrize("rule", BOUNDS)
def test_a_target_sets_the_bounds_of_a_rule(rule, tmp_path):
    """What is found by default is not where a target's own bound lets it pass."""
    thresholds, status, plant = BOUNDS[rule]
    [check] = [entry for entry in checks_of(Layer.TRAINING) if entry.name == rule]
    subject = watched(tmp_path, **plant())
    assert run_check(check, subject, {})[0].status in (Status.WARN, Status.FAIL)
    assert run_check(check, subject, thresholds)[0].status is status


class Recurrent(nn.Module):
    """A GRU over `(N, T, 2)`."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.GRU(2, 16, batch_first=True), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.cells(x.reshape(len(x), -1, 2))[0][:, -1])


class Attending(nn.Module):
    """A transformer over tokens, causal or not."""

    def __init__(self, causal):
        super().__init__()
        self.embed, self.causal = nn.Embedding(30, 16), causal
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(16, 2)

    def forward(self, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1]) if self.causal else None
        return self.head(self.layers(self.embed(ids), mask=mask)[:, -1])


def squares(outputs, targets):
    """The mean squared error against the inputs or a number."""
    return nn.functional.mse_loss(outputs, targets)


def several(outputs, labels):
    """One binary question per column."""
    return nn.functional.binary_cross_entropy_with_logits(outputs, labels)


SOUND = {
    "a ReLU network with Adam": lambda: {"model": mlp()},
    "a GELU network with SGD": lambda: {"model": mlp(nn.GELU), "optimizer": torch.optim.SGD, "rate": 0.1, "epochs": 16},
    "tanh with AdamW, slowly": lambda: {"model": mlp(nn.Tanh), "optimizer": torch.optim.AdamW, "rate": 5e-4},
    "batch normalisation with momentum": lambda: {
        "model": nn.Sequential(nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 2)),
        "optimizer": lambda values, lr: torch.optim.SGD(values, lr, momentum=0.9),
        "rate": 0.05,
    },
    "a CNN on images": lambda: {"model": cnn(), "data": images(1.0), "rate": 1e-2, "epochs": 10},
    "an RNN": lambda: {"model": Recurrent(), "rate": 1e-2, "epochs": 12},
    "an encoder on tokens": lambda: {"model": Attending(False), "data": tokens(0.0), "epochs": 6},
    "a causal transformer": lambda: {"model": Attending(True), "data": tokens(0.2), "epochs": 6},
    "an autoencoder": lambda: {
        "model": nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8)),
        "data": (points()[0], points()[0]),
        "loss": squares,
        "rate": 1e-2,
        "epochs": 12,
    },
    "a regression": lambda: {
        "model": nn.Sequential(nn.Linear(8, 24), nn.SiLU(), nn.Linear(24, 1)),
        "data": (points()[0], points()[0].sum(1, keepdim=True)),
        "loss": squares,
    },
    "several labels": lambda: {
        "model": nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 3)),
        "data": (points()[0], (points()[0][:, :3] > 0).float()),
        "loss": several,
    },
    "probabilities of a sigmoid": lambda: {
        "model": nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 1), nn.Sigmoid()),
        "data": (points()[0], (points()[0][:, :1] > 0).float()),
        "loss": nn.BCELoss(),
        "rate": 3e-2,
        "epochs": 12,
    },
    "one with validation": lambda: {"model": mlp(), "validation": points(seed=4)},
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_trainings_raise_no_alarm(kind, tmp_path, run):
    """No rule fails or warns, but those that time the machine."""
    subject = watched(tmp_path, **SOUND[kind]())
    bad = [
        finding
        for rule in RULES
        if rule not in OF_THE_MACHINE
        for finding in run(rule, subject)
        if finding.status not in (Status.PASS, Status.SKIPPED)
    ]
    assert not bad, bad


@pytest.mark.parametrize("rule", [entry.name for entry in checks_of(Layer.TRAINING) if entry.name in RULES])
def test_nothing_to_look_at_is_skipped(rule, tmp_path, run):
    """A record of one step, without a loader, an activation or a label."""
    value = nn.Parameter(torch.ones(3))
    updates = torch.optim.SGD([value], 0.1)
    with firstfault.watch("t", folder=tmp_path / "run") as seen:
        value.sum().backward()
        updates.step()
    assert {finding.status for finding in run(rule, seen.subject)} == {Status.SKIPPED}


def test_every_rule_is_registered_with_its_source():
    """Each cites where its default comes from."""
    known = {entry.name: entry for entry in checks_of(Layer.TRAINING)}
    assert all(known[rule].source for rule in RULES)


def test_after_a_nan_the_other_rules_keep_silent(tmp_path, run):
    """What the steps after it show is no evidence."""

    def plant(model, step):
        if step == 30:
            model[0].weight.data[0, 0] = math.nan

    subject = watched(tmp_path, mlp(), before=plant)
    rules = (
        "vanishing_gradient",
        "weight_update_ratio",
        "unchanged_tensor",
        "all_zero",
        "dying_relu",
        "tensor_variance",
        "similar_across_runs",
        "oscillating",
    )
    assert {finding.status for rule in rules for finding in run(rule, subject)} == {Status.SKIPPED}


@pytest.mark.parametrize(
    ("between", "kind", "fault"),
    [
        (lambda h: (h - 1e3).log(), "activation", "numerically_unstable"),
        (lambda h: (h * 0).sqrt(), "gradient", "numerically_unstable"),
    ],
)
def test_a_birthplace_in_the_model_speaks_for_the_model(between, kind, fault, tmp_path, only):
    """Not for the learning rate, where the steps before were of a sound size."""

    class Between(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return between(x) if self.calls >= 30 else x

    finding = only("nonfinite_loss", watched(tmp_path, nn.Sequential(nn.Linear(8, 16), Between(), nn.Linear(16, 2))))
    assert finding.status is Status.FAIL and f"({kind})" in finding.message and "1" in str(finding.where)
    assert fault in finding.faults and "learning_rate_too_high" not in finding.faults


def test_a_blow_up_speaks_for_the_learning_rate(tmp_path, only):
    """Where the loss had leapt before."""
    data = points()[0], points()[0].sum(1, keepdim=True) * 10
    finding = only(
        "nonfinite_loss",
        watched(
            tmp_path,
            nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)),
            data,
            loss=squares,
            optimizer=torch.optim.SGD,
            rate=5.0,
        ),
    )
    assert finding.status is Status.FAIL and "learning_rate_too_high" in finding.faults


def test_runs_of_the_same_name_are_compared(tmp_path, only):
    """The first has no other; its twin is alike; a run with a tiny rate is not."""

    def run_of(number, rate):
        torch.manual_seed(0)
        with firstfault.watch("t", folder=tmp_path / f"run{number}") as seen:
            train(mlp(), rate=rate)
        return only("similar_across_runs", seen.subject)

    assert run_of(1, 3e-3).status is Status.SKIPPED
    assert run_of(2, 3e-3).status is Status.PASS
    assert run_of(3, 1e-6).status is Status.WARN


def test_validation_losses_are_recorded_by_round(tmp_path):
    """The mean of what a loop asks for without gradients, once a round."""
    record = watched(tmp_path, mlp(), validation=points(seed=4), epochs=6).record
    assert len(record.validation_loss) == 6 and record.validation_loss.steps == [10, 20, 30, 40, 50, 60]


def test_an_empty_record_as_json():
    """A record without anything seen can be written."""
    assert Record().to_json()["validation_loss"] == {"steps": [], "values": []}

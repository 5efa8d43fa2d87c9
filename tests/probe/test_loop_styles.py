"""Loops as tutorials write them: without an optimizer, with several models, with a loss of their own parts, inside
`torch.func`.
"""

import copy
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import firstfault
from firstfault.finding import Layer, Status


@pytest.fixture(autouse=True)
def _nothing_is_compiled():
    """Forget what other tests of this process have compiled: functions are not listened to beside it."""
    if "torch._dynamo.utils" in sys.modules:
        torch._dynamo.utils.counters.clear()


def points(n=320, width=6, classes=3, seed=0):
    """Points in classes that a straight line tells apart."""
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :classes].argmax(1)


def faults(watched):
    """The faults of the verdict, best first."""
    return [fault.fault for fault in watched.verdict().faults]


def findings(watched, check):
    """What a check found."""
    return [
        found for report in watched.verdict(swaps=False).layers for found in report.findings if found.check == check
    ]


def by_hand(*, clear=True, steps=60):
    """Weights changed by the loop itself, as in tutorials from scratch."""
    torch.manual_seed(0)
    model, (x, y) = nn.Linear(6, 3), points()
    for step in range(steps):
        rows = slice(32 * (step % 10), 32 * (step % 10) + 32)
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        with torch.no_grad():
            for value in model.parameters():
                value -= 0.1 * value.grad
        if clear:
            model.zero_grad()
    return model


def test_a_loop_without_an_optimizer_is_followed(tmp_path):
    """Its updates count as steps, with a loss and norms, and it is healthy; nothing of it changes."""
    alone = by_hand()
    with firstfault.watch(folder=tmp_path) as watched:
        seen = by_hand()
    assert torch.equal(alone.weight, seen.weight) and faults(watched) == []
    assert (
        watched.record.steps == 59
        and len(watched.record.loss) == 59
        and len(watched.record.parameters["weight"].update) > 5
    )


def test_gradients_that_such_a_loop_never_clears_are_seen(tmp_path):
    """They add up over its steps."""
    with firstfault.watch(folder=tmp_path) as watched:
        by_hand(clear=False)
    assert faults(watched)[0] == "missing_zero_grad"


def test_a_step_with_gradients_that_were_put_there_is_no_stale_one(tmp_path):
    """Gradients of `torch.func` are written anew, without a backward pass, and its tensors are left alone."""
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), points(32)

    def loss(parameters, one, label):
        return F.cross_entropy(torch.func.functional_call(model, parameters, (one[None],)), label[None])

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    with firstfault.watch(folder=tmp_path) as watched:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(12):
            gradients = each({name: value.detach() for name, value in model.named_parameters()}, x, y)
            for name, value in model.named_parameters():
                value.grad = gradients[name].mean(0)
            optimizer.step()
    assert watched.record.steps == 12 and faults(watched) == []


def adversaries(*, clear=True):
    """A generator and a discriminator with batch statistics, whose samples are drawn in train mode."""
    torch.manual_seed(0)
    maker = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
    judge = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(), nn.Linear(8, 1))
    first, second = torch.optim.Adam(judge.parameters(), 1e-3), torch.optim.Adam(maker.parameters(), 1e-3)
    for _ in range(20):
        if clear:
            first.zero_grad()
        fake = maker(torch.randn(16, 4))
        (F.softplus(-judge(points(16)[0])).mean() + F.softplus(judge(fake.detach())).mean()).backward()
        first.step()
        second.zero_grad()
        F.softplus(-judge(fake)).mean().backward()
        second.step()
        with torch.no_grad():
            maker(torch.randn(16, 4))


def test_samples_of_a_generator_are_no_validation(tmp_path):
    """They are a warning at most, as no loss is asked of them."""
    with firstfault.watch(folder=tmp_path) as watched:
        adversaries()
    assert faults(watched) == [] and findings(watched, "missing_eval_mode")[0].status is Status.WARN


def test_one_optimizer_of_two_that_never_clears_is_seen(tmp_path):
    """Half of all steps are stale: all those of one optimizer."""
    with firstfault.watch(folder=tmp_path) as watched:
        adversaries(clear=False)
    assert faults(watched)[0] == "missing_zero_grad"


class Dropping(nn.Module):
    """Dropout as a function."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.outer(F.dropout(self.inner(x).relu(), 0.3, self.training))


@pytest.mark.parametrize("right", [True, False], ids=["eval", "train"])
def test_dropout_as_a_function_has_a_mode(right, tmp_path):
    """Validation in train mode is seen without a module of dropout, and without a loss."""
    torch.manual_seed(0)
    model, (x, y) = Dropping(), points()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(20):
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            model.train(not right)
            with torch.no_grad():
                model(x).argmax(1)
    assert findings(watched, "missing_eval_mode")[0].status is (Status.PASS if right else Status.FAIL)


@pytest.mark.parametrize("teacher", [True, False], ids=["mean of the weights", "the model itself"])
def test_targets_of_a_teacher_are_no_validation(teacher, tmp_path):
    """What a model that never learns says in train mode is a warning at most; said by the one that learns, a fault."""
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 3)), points()
    other = copy.deepcopy(model) if teacher else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(40):
            with torch.no_grad():
                target = other(x).softmax(1)
            outputs = model(x)
            optimizer.zero_grad()
            (F.cross_entropy(outputs, y) + F.mse_loss(outputs.softmax(1), target)).backward()
            optimizer.step()
    assert findings(watched, "missing_eval_mode")[0].status is (Status.WARN if teacher else Status.FAIL)


def encoding(*, cut=False, part=False):
    """Two models, one after the other."""
    torch.manual_seed(0)
    encoder, decoder, (x, y) = nn.Linear(6, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), points()
    held = decoder[2] if part else decoder
    optimizers = [torch.optim.Adam(model.parameters(), 1e-2) for model in (encoder, held)]
    for _ in range(20):
        encoder.zero_grad()
        decoder.zero_grad()
        code = encoder(x).detach() if cut else encoder(x)
        F.cross_entropy(decoder(code), y).backward()
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, []), ({"cut": True}, ["detached_graph"]), ({"part": True}, ["parameters_not_in_optimizer"])],
)
def test_several_models_are_judged_by_the_record(settings, expected, tmp_path):
    """What no gradient reaches, and what no optimizer holds, is known without a replay."""
    with firstfault.watch(folder=tmp_path) as watched:
        encoding(**settings)
    assert faults(watched) == expected


def train(model, loss, x, y, *, rate=1e-2, steps=60):
    """Adam on batches of 32."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        rows = slice(32 * (step % (len(x) // 32)), 32 * (step % (len(x) // 32)) + 32)
        optimizer.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimizer.step()


def test_one_column_of_outputs_against_labels_of_one_column(tmp_path):
    """`(N, 1)` against `(N, 1)` is no broadcast in the replay either."""
    torch.manual_seed(0)
    x, y = points(classes=2)
    with firstfault.watch(folder=tmp_path) as watched:
        train(
            nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)), nn.BCEWithLogitsLoss(), x, y[:, None].float()
        )
    assert watched.capture.why_not == "" and faults(watched) == []


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (
            lambda outputs, y: F.cross_entropy(outputs, y) + 0.01 * outputs.square().sum(),
            "the loop adds something to the loss function of torch",
        ),
        (lambda outputs, y: 3 * F.cross_entropy(outputs, y), ""),
    ],
    ids=["penalty", "factor"],
)
def test_a_loss_with_parts_of_its_own_is_not_replayed(loss, reason, tmp_path):
    """A factor that is the same in every batch is no such part."""
    torch.manual_seed(0)
    with firstfault.watch(folder=tmp_path) as watched:
        train(nn.Linear(6, 3), loss, *points())
    assert watched.capture.why_not.startswith(reason) and bool(watched.capture.why_not) == bool(reason)


def test_a_loss_that_is_negated_is_replayed_so(tmp_path):
    """And its fault has a name."""
    torch.manual_seed(0)
    with firstfault.watch(folder=tmp_path) as watched:
        train(
            nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)),
            lambda outputs, y: -F.cross_entropy(outputs, y),
            *points(),
        )
    assert findings(watched, "flipped_loss_sign")[0].status is Status.FAIL


def test_a_class_for_each_pixel_is_judged_by_the_record(tmp_path):
    """Labels of several axes are not replayed, and are no mismatch of shapes."""
    torch.manual_seed(0)
    x = torch.rand(64, 1, 8, 8)
    with firstfault.watch(folder=tmp_path) as watched:
        train(nn.Conv2d(1, 2, 3, padding=1), nn.CrossEntropyLoss(), x, (x[:, 0] > 0.5).long())
    assert faults(watched) == []


def test_inputs_on_a_wild_scale_are_named(tmp_path):
    """The scale is looked at where the batches can be replayed, and belongs to the preprocessing."""
    torch.manual_seed(0)
    x, y = points(640)
    with firstfault.watch(folder=tmp_path) as watched:
        train(
            nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)),
            nn.CrossEntropyLoss(),
            x * 1000 + 4000,
            y,
            rate=1e-3,
        )
    assert watched.verdict().first_faulty_layer is Layer.PREPROCESSING and faults(watched) == ["missing_normalisation"]


def test_every_scheduler_is_counted(tmp_path):
    """One that has its own step, one that calls others, and one that was never called."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    kinds = torch.optim.lr_scheduler
    with firstfault.watch(folder=tmp_path) as watched:
        plateau = kinds.ReduceLROnPlateau(optimizer)
        both = kinds.SequentialLR(optimizer, [kinds.LinearLR(optimizer), kinds.ExponentialLR(optimizer, 0.9)], [2])
        kinds.StepLR(optimizer, 5)
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            plateau.step(1.0)
            both.step()
    seen = watched.record.schedulers
    assert seen["ReduceLROnPlateau"] == 4 and seen["SequentialLR"] == 4 and seen["StepLR"] == 0


def test_rates_of_two_optimizers_are_no_schedule(tmp_path):
    """Only those of the first are a series."""
    models = [nn.Linear(2, 1), nn.Linear(2, 1)]
    optimizers = [torch.optim.SGD(model.parameters(), rate) for model, rate in zip(models, (0.1, 1e-4), strict=True)]
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(5):
            for model, optimizer in zip(models, optimizers, strict=True):
                optimizer.zero_grad()
                model(torch.ones(1, 2)).sum().backward()
                optimizer.step()
    assert set(watched.record.lr) == {0.1}


def test_a_stop_comes_in_the_step_that_is_not_finite(tmp_path):
    """It does not wait for the next sampled step."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with firstfault.watch(folder=tmp_path, actions="stop") as watched:
        for step in range(200):
            optimizer.zero_grad()
            outputs = model(torch.ones(4, 2)).mean()
            (outputs.sub(outputs.detach()).sub(1).log() if step == 122 else outputs).backward()
            optimizer.step()
    assert watched.record.steps == 123


def in_functions(*, flat=False, rate=0.2, models=1, steps=60):
    """Weights in a dict, changed by gradients of `torch.func`; several models learn side by side."""
    torch.manual_seed(0)
    x, noise = torch.randn(64, 4), 0.1 * torch.randn(64, 1)
    y = x[:, :1] - x[:, 1:2] + noise
    networks = [nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(models)]
    weights, rest = torch.func.stack_module_state(networks)
    weights = {name: value.detach() for name, value in weights.items()}

    def loss(weights, x, y):
        outputs = torch.func.functional_call(networks[0], (weights, rest), (x,))
        return F.mse_loss(outputs[:, 0] if flat else outputs, y)

    if models > 1:
        step = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None, None))
    else:
        step = torch.func.grad_and_value(loss)
        weights = {name: value[0] for name, value in weights.items()}
    for _ in range(steps):
        found = step(weights, x, y)
        gradients = found if models > 1 else found[0]
        weights = {name: value - rate * gradients[name] for name, value in weights.items()}
    if models == 1:  # an evaluation in the open, with other tensors in the place of the parameters
        torch.func.functional_call(networks[0], weights, (x,))
    return weights


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, "pass"), ({"flat": True}, "output_shape_mismatch"), ({"rate": 1e-6}, "fail")],
    ids=["sound", "broadcast", "no step"],
)
def test_a_loop_of_functions_is_followed(settings, expected, models, tmp_path):
    """Its weights end as without the watch; what it learns from is seen, though no backward pass is made."""
    alone = in_functions(models=models, **settings)
    with firstfault.watch(folder=tmp_path) as watched:
        seen = in_functions(models=models, **settings)
    assert all(torch.equal(alone[name], value) for name, value in seen.items())
    assert watched.record.steps == 60
    if expected in ("pass", "fail"):
        [found] = findings(watched, "no_better_than_constant")
        cleared = models == 1 and expected == "pass"  # the model was called in the open, and could be looked at
        assert found.status.value == expected
        assert watched.verdict(swaps=False).status == ("healthy" if cleared else "undecided")
    else:
        assert faults(watched)[0] == expected

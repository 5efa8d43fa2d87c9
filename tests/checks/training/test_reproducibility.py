"""The same seed twice: what is outside its reach is found and told from what it does reach."""

import itertools
import random
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from firstfault import Training, load_target
from firstfault.checks.training._determinism_trace import bits, first_difference, traced, traced_anew
from firstfault.checks.training._own_generators import generators_of, is_seeded
from firstfault.finding import Status
from firstfault.subject.subject import Subject


def network():
    """A classifier with dropout."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10))


def jitter(draw, size=0.5):
    """An augmentation that adds what `draw` gives."""
    return lambda x: x + size * torch.as_tensor(draw(tuple(x.shape)), dtype=x.dtype)


def loader(generator=None):
    """A shuffled DataLoader, of torch's global generator or of one of its own."""

    def load(x, y, split):
        return DataLoader(TensorDataset(x, y), 32, shuffle=split == "train", generator=generator)

    return load


def fit(change):
    """The user's own loop, which changes each batch."""

    def loop(model, train_loader, validation_loader):
        optimizer, loss = torch.optim.Adam(model.parameters(), 1e-2), nn.CrossEntropyLoss()
        for _ in range(2):
            for x, y in train_loader:
                optimizer.zero_grad()
                loss(model(change(x)), y).backward()
                optimizer.step()

    return loop


def own(kind):
    """A torch generator that nobody seeds by hand."""
    generator = torch.Generator()
    getattr(generator, kind)()
    return generator


class Noisy(nn.Module):
    """A network whose hidden layer drops units by a generator of its own, drawn from the clock."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.LazyLinear(32)), nn.Linear(32, 10)
        self.chance = own("seed")

    def forward(self, x):
        hidden = self.body(x)
        return self.head(hidden * (torch.rand(hidden.shape, generator=self.chance) > 0.2))


def by_the_clock():
    """A network whose first weights depend on the time."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    chance = torch.Generator().manual_seed(time.time_ns() % 2**31)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=chance) * 0.1)
    return model


SEEDED = {
    "dropout and shuffling": {},
    "torch's global generator": {"augment": lambda x: x + 0.1 * torch.randn_like(x)},
    "NumPy's global generator": {"augment": jitter(lambda shape: np.random.normal(size=shape))},
    "Python's global generator": {"augment": lambda x: x * random.uniform(0.8, 1.2)},
    "a shuffling loader": {"loader": loader()},
    "the user's own loop": {"fit": fit(lambda x: x + 0.1 * torch.randn_like(x))},
}


@pytest.mark.parametrize(("data", "how"), [("images", "dropout and shuffling"), *(("digits", how) for how in SEEDED)])
def test_what_the_seed_reaches_is_repeated(make, only, data, how):
    """Every step agrees bit for bit, in firstfault's loop and in the user's own."""
    finding = only("nonreproducible", make(data, model=network, training=Training(epochs=2, **SEEDED[how])))
    assert finding.status is Status.PASS and finding.value >= 3 and not finding.faults


def by_import():
    """An augmentation with an unseeded generator that was made before the training."""
    generator = np.random.default_rng()
    return jitter(lambda shape: generator.normal(size=shape))


UNSEEDED = {
    "augmentation, at import": ({"augment": by_import()}, network, "training.augment"),
    "augmentation, in the call": (
        {"augment": jitter(lambda shape: np.random.default_rng().normal(size=shape))},
        network,
        "training.augment",
    ),
    "loader": ({"loader": loader(own("seed"))}, network, "training.loader"),
    "own loop": (
        {"fit": fit(jitter(lambda shape: np.random.default_rng().normal(size=shape)))},
        network,
        "training.fit",
    ),
    "forward": ({}, Noisy, "forward"),
    "start": ({}, by_the_clock, "model"),
}


@pytest.mark.parametrize(("settings", "model", "place"), UNSEEDED.values(), ids=UNSEEDED)
def test_what_the_seed_does_not_reach_is_named(make, only, settings, model, place):
    """The place is where two runs part, not where it shows: loader, augmentation, model, first weights."""
    finding = only("nonreproducible", make("digits", model=model, training=Training(epochs=2, **settings)))
    assert finding.status in (Status.WARN, Status.FAIL) and str(finding.where) == place
    assert "nonreproducible" in finding.faults


@pytest.mark.parametrize(("size", "status"), [(0.1, Status.WARN), (400.0, Status.FAIL)])
def test_a_little_noise_is_a_warning_and_much_a_failure(size, status, make, only):
    """Identical runs that are as far apart as other seeds fail; a small jitter does not."""
    seeds = itertools.count(3_000)  # other numbers in each run, and the same in each run of this test
    training = Training(
        epochs=2, augment=jitter(lambda shape: np.random.default_rng(next(seeds)).normal(size=shape), size)
    )
    assert only("nonreproducible", make("digits", model=network, training=training)).status is status


def test_a_seeded_generator_that_goes_on_is_no_fault(make, only):
    """A generator seeded at import gives other numbers the second time, but the same in a fresh process."""
    generator = np.random.default_rng(3)
    finding = only(
        "nonreproducible",
        make("digits", model=network, training=Training(augment=jitter(lambda shape: generator.normal(size=shape)))),
    )
    assert finding.status is Status.PASS and "generator" in finding.message


def test_global_random_states_are_left_as_they_were(make, only):
    """The check draws nothing from the generators that the user's code shares."""
    subject = make("digits", model=network, training=Training(epochs=1))
    assert subject.trained.record.steps
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    only("nonreproducible", subject)
    assert torch.equal(states[0], torch.get_rng_state()) and states[1:] == (
        np.random.get_state()[1].tolist(),
        random.getstate(),
    )


def test_a_training_that_raises_is_left_to_its_own_check(make, only):
    """Nothing is compared where no step is made."""

    def broken(model, train_loader, validation_loader):
        raise RuntimeError("no")

    assert (
        only("nonreproducible", make("digits", model=network, training=Training(fit=broken))).status is Status.SKIPPED
    )


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
def test_bits_tell_tensors_apart(dtype):
    """One changed value, or two that changed places, give another sum; a copy gives the same."""
    values = torch.tensor([0, 1, 1, 0, 1]).to(dtype)
    other, swapped = values.clone(), values[[1, 0, 2, 3, 4]]
    other[3] = 1
    assert bits(values) == bits(values.clone()) and len({bits(values), bits(other), bits(swapped)}) == 3
    assert bits(torch.zeros(0, dtype=dtype)) == 0


def test_generators_are_found_through_closures_globals_and_objects():
    """Whoever holds them, and with whether their seed was written down."""
    written, drawn = np.random.default_rng(1), np.random.default_rng()

    class Holder:
        def __init__(self):
            self.kept = drawn

        def __call__(self, x):
            return x + self.kept.normal()

    found = generators_of([lambda x: x + written.normal(), Holder()])
    assert found["written"] is written and found["kept"] is drawn
    assert is_seeded(written) and not is_seeded(drawn)


FILE = """
import numpy as np, torch
from torch import nn
from firstfault import Data, Target, Training
rng = np.random.default_rng(0)
x = np.random.default_rng(1).normal(size=(400, 6))
def load():
    order = [int(text) for text in {ORDER}]
    return x[order], (x.sum(1) > 0).astype(int)[order]
def augment(x):
    return x + torch.as_tensor(rng.normal(size=tuple(x.shape)), dtype=x.dtype)
training = Training(epochs=1, augment=augment)
target = Target("file", data=Data(train=load), model=lambda: nn.Linear(6, 2), training=training)
"""


def in_file(tmp_path, order):
    """A target of a file of its own, whose rows are in that order."""
    path = tmp_path / "target.py"
    path.write_text(FILE.replace("{ORDER}", order))
    return load_target(str(path))


def test_fresh_processes_settle_what_one_process_cannot(tmp_path, only):
    """A seeded generator of the file's own starts anew in each."""
    subject = Subject(in_file(tmp_path, "[str(number) for number in range(400)]"), tmp_path / "run")
    finding = only("nonreproducible", subject)
    assert finding.status is Status.PASS and "fresh runs agree" in finding.message


def test_rows_in_the_order_of_a_set_differ_between_processes(tmp_path):
    """Texts hash otherwise in every process; one process sees nothing of it."""
    target = in_file(tmp_path, "{str(number) for number in range(400)}")
    first, second = (traced_anew(target, 0, 3) for _ in range(2))
    assert first_difference(first, second).kind == "prepared"
    recipe = Subject(target, tmp_path / "run").recipe
    sys.modules[
        next(name for name in sys.modules if getattr(sys.modules[name], "__file__", "") == str(target.file))
    ].rng = np.random
    assert first_difference(traced(recipe, 0, 3), traced(recipe, 0, 3)) is None

"""`firstfault.watch()`: loops of many styles are watched without changing a bit of their result."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import firstfault
from firstfault.finding import Layer


def data(n=96, seed=0):
    """Points whose class is the sign of their sum."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x.sum(1) > 0).long()


def network():
    """A network with dropout and batch statistics."""
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))


def plain(steps=30):
    """Adam, a loader, a scheduler, validation without gradients."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
    batches = DataLoader(TensorDataset(*data()), 32, shuffle=True)
    for _ in range(steps // 3):
        model.train()
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            model(data()[0])
    return [model]


def accumulating():
    """Gradients of three batches for each step."""
    model, (x, y) = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for step in range(30):
        (nn.CrossEntropyLoss()(model(x[step : step + 32]), y[step : step + 32]) / 3).backward()
        if step % 3 == 2:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
    return [model]


def gan():
    """Two models and two optimizers; the generator's pass leaves gradients in the discriminator."""
    generator, judge = nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(), nn.Linear(8, 1))
    first, second = (torch.optim.Adam(model.parameters(), 1e-3) for model in (generator, judge))
    for _ in range(24):
        real, fake = data(16)[0], generator(torch.randn(16, 4))
        second.zero_grad()
        (nn.functional.softplus(-judge(real)).mean() + nn.functional.softplus(judge(fake.detach())).mean()).backward()
        second.step()
        first.zero_grad()
        nn.functional.softplus(-judge(fake)).mean().backward()
        first.step()
    return [generator, judge]


def closure():
    """LBFGS evaluates the loss several times a step."""
    model, (x, y) = nn.Linear(6, 2), data()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def loss():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(x), y)
        value.backward()
        return value

    for _ in range(6):
        optimizer.step(loss)
    return [model]


def mixed_precision():
    """Autocast to bfloat16."""
    model, (x, y) = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return [model]


def frozen_and_shared():
    """A frozen layer, a layer used twice, a part made after some steps."""
    model = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 2)})
    model["a"].bias.requires_grad_(False)
    x, y = data()
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], 0.1)
    late = None
    for step in range(25):
        if step == 12:
            late = nn.Linear(2, 2)
            optimizer.add_param_group({"params": list(late.parameters())})
        optimizer.zero_grad()
        outputs = model["b"](model["a"](model["a"](x).relu()))
        nn.functional.cross_entropy(late(outputs) if late is not None else outputs, y).backward()
        optimizer.step()
    return [model, late]


class Named(nn.Module):
    """A model that takes and returns mappings."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, batch):
        return {"logits": self.body(batch["x"]), "extra": None}


def mappings():
    """Inputs and outputs are mappings."""
    model, (x, y) = Named(), data()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model({"x": x})["logits"], y).backward()
        optimizer.step()
    return [model]


def sparse():
    """An embedding with sparse gradients."""
    model = nn.Sequential(nn.EmbeddingBag(50, 8, sparse=True), nn.Linear(8, 2))
    tokens, y = torch.randint(0, 50, (40, 5), generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), y).backward()
        optimizer.step()
    return [model]


def lazy():
    """A layer that learns its width from the first batch."""
    model, (x, y) = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(2)), data()
    model(x)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [model]


def with_copies():
    """The model is copied and saved on the way, as an average of weights does."""
    model, (x, y) = network(), data()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        average = copy.deepcopy(model)
        torch.save(model, file := io.BytesIO())
    file.seek(0)
    again = torch.load(file, weights_only=False)
    average(x), again(x)
    return [model, average, again]


def parallel():
    """DataParallel on the CPU."""
    model, (x, y) = nn.DataParallel(network()), data()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(12):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [model]


class Attending(nn.Module):
    """A small transformer encoder."""

    def __init__(self):
        super().__init__()
        self.embed, self.places = nn.Embedding(20, 16), nn.Parameter(torch.randn(7, 16))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(16, 2)

    def forward(self, tokens):
        return self.head(self.encoder(self.embed(tokens) + self.places)[:, 0])


def attention():
    """A transformer on tokens."""
    model = Attending()
    tokens = torch.randint(0, 20, (48, 7), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(12):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), (tokens[:, 0] > 9).long()).backward()
        optimizer.step()
    return [model]


LOOPS = [
    plain,
    accumulating,
    gan,
    closure,
    mixed_precision,
    frozen_and_shared,
    mappings,
    sparse,
    lazy,
    with_copies,
    parallel,
    attention,
]


def weights(models):
    """Every number of the models."""
    return [value for model in models if model is not None for value in model.state_dict().values()]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_no_bit_of_the_result_changes(loop, tmp_path):
    """Weights and buffers end equal with and without the watch, and every step was seen."""
    torch.manual_seed(7)
    alone = weights(loop())
    torch.manual_seed(7)
    with firstfault.watch(folder=tmp_path) as watched:
        seen = weights(loop())
    assert len(alone) == len(seen) and all(torch.equal(a, b) for a, b in zip(alone, seen, strict=True))
    assert watched.record.steps > 0 and watched.record.first_nonfinite is None
    assert any(len(entry.gradient) for entry in watched.record.parameters.values())


@pytest.mark.parametrize(
    "loop", [plain, accumulating, gan, closure, mixed_precision, attention], ids=lambda loop: loop.__name__
)
def test_a_sound_loop_comes_out_healthy(loop, tmp_path):
    """None of the styles is taken for a fault of the loop."""
    torch.manual_seed(0)
    with firstfault.watch(folder=tmp_path) as watched:
        loop()
    found = [finding for report in watched.verdict(swaps=False).layers for finding in report.failures]
    assert not [finding for finding in found if finding.check != "underperforms"], found


def test_everything_is_taken_off_again(tmp_path):
    """After the block, torch and the model are as before: no hook, no replaced function."""
    model, backward = network(), torch.autograd.backward
    following, loss = torch.utils.data.dataloader._BaseDataLoaderIter.__next__, nn.functional.cross_entropy
    x, y = data()
    with firstfault.watch(folder=tmp_path):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert torch.autograd.backward is backward and nn.functional.cross_entropy is loss
    assert torch.utils.data.dataloader._BaseDataLoaderIter.__next__ is following
    assert not torch.nn.modules.module._global_forward_hooks and not torch.nn.modules.module._global_forward_pre_hooks
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_memory_does_not_grow_with_steps(tmp_path):
    """A series holds at most 2,048 values over 6,000 steps, spread over all of them."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(6_000):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    loss = watched.record.loss
    assert watched.record.steps == 6_000 and len(loss) <= 2_048
    assert loss.steps[0] == 1 and loss.steps[-1] > 5_900


def train(model, x, y, *, rate=0.1, clear=True, steps=60):
    """A loop over the same batch."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    batches = DataLoader(TensorDataset(x, y), 32)
    for _ in range(steps // len(batches)):
        for inputs, labels in batches:
            if clear:
                optimizer.zero_grad()
            nn.CrossEntropyLoss()(model(inputs), labels).backward()
            optimizer.step()


@pytest.mark.parametrize(
    ("settings", "fault"), [({"clear": False}, "missing_zero_grad"), ({"rate": 30.0}, "learning_rate_too_high")]
)
def test_a_faulty_loop_is_named_and_confirmed_on_a_replay(settings, fault, tmp_path):
    """The captured batches are trained again with the fault undone, and the model recovers."""
    torch.manual_seed(0)
    x = torch.randn(480, 12)
    y = (x[:, 3] > 0).long() + (x[:, 4] > 0).long()
    with firstfault.watch(folder=tmp_path) as watched:
        train(nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3)), x, y, steps=300, **settings)
    verdict = watched.verdict()
    assert verdict.first_faulty_layer is Layer.TRAINING
    assert verdict.faults[0].fault == fault and verdict.faults[0].confirmed


def test_its_healthy_twin_is_healthy(tmp_path):
    """The same loop with a fitting rate and cleared gradients."""
    torch.manual_seed(0)
    x = torch.randn(480, 12)
    y = (x[:, 3] > 0).long() + (x[:, 4] > 0).long()
    with firstfault.watch(folder=tmp_path) as watched:
        train(nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3)), x, y, steps=300)
    assert watched.verdict().status.value == "healthy"
    assert watched.report().is_file()


def test_what_can_not_be_replayed_is_said(tmp_path):
    """Two models: the rules on the record are judged, the rest is skipped with its reason."""
    with firstfault.watch(folder=tmp_path) as watched:
        gan()
    reasons = {
        finding.message
        for report in watched.verdict().layers
        for finding in report.findings
        if finding.status.value == "skipped"
    }
    assert "the training can't be replayed: the loop trains several models" in reasons


def test_a_compiled_model_is_watched_from_outside(tmp_path):
    """Activations inside the compiled graph are passed over with the reason; steps are seen."""
    model, (x, y) = torch.compile(nn.Linear(6, 2), backend="eager"), data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(12):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert watched.record.steps == 12 and "torch.compile" in watched.record.passed_over["activations"]


def test_a_model_compiled_as_one_graph_stays_one(tmp_path):
    """Nothing of the watch is traced into it, the loss within the model included."""

    class WithLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(6, 2)

        def forward(self, x, y):
            return nn.functional.cross_entropy(self.body(x), y)

    model, (x, y) = torch.compile(WithLoss(), backend="eager", fullgraph=True), data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(6):
            optimizer.zero_grad()
            model(x, y).backward()
            optimizer.step()
    assert watched.record.steps == 6


def test_attention_is_recorded(tmp_path):
    """Entropy lies between 0 and 1, and a row of the pattern sums to 1."""
    torch.manual_seed(0)
    with firstfault.watch(folder=tmp_path) as watched:
        attention()
    entry = next(iter(watched.record.attention.values()))
    assert all(0 < value <= 1.001 for value in entry.entropy) and all(abs(sum(row) - 1) < 1e-4 for row in entry.pattern)

"""What a watched loop shows without a replay: planted faults beside healthy twins, in loops of several styles."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import firstfault

STEPS = 60


def watched(folder, step, *models, rate=1e-2, steps=STEPS):
    """Train the models with a loss of their own for each step, under the watch."""
    optimizer = torch.optim.Adam([value for model in models for value in model.parameters()], rate)
    with firstfault.watch(folder=folder) as seen:
        for number in range(steps):
            optimizer.zero_grad()
            step(number).backward()
            optimizer.step()
    return seen


def faults(seen):
    return [fault.fault for fault in seen.verdict(swaps=False).faults]


class Graph(nn.Module):
    """A graph network that sums over edges and over the nodes of a graph."""

    def __init__(self, *, flat):
        super().__init__()
        self.flat, self.own, self.other = flat, nn.Linear(4, 16), nn.Linear(4, 16)
        self.readout = nn.Linear(16, 1)

    def forward(self, x, edges, graph):
        sums = torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
        hidden = (self.own(x) + self.other(sums)).relu()
        outputs = self.readout(hidden.new_zeros(int(graph.max()) + 1, 16).index_add(0, graph, hidden))
        return outputs[:, 0] if self.flat else outputs


def molecules(number, count=20):
    """Random trees, and what their nodes add up to."""
    generator = torch.Generator().manual_seed(number)
    sizes = torch.randint(4, 9, (count,), generator=generator)
    graph = torch.repeat_interleave(torch.arange(count), sizes)
    kinds = torch.randint(0, 4, (len(graph),), generator=generator)
    starts = sizes.cumsum(0) - sizes
    nodes = [int(node) for node in range(len(graph)) if node not in starts]
    edges = torch.tensor([[node - 1 for node in nodes], nodes])
    y = torch.zeros(count).index_add(0, graph, torch.tensor([0.2, 0.5, 1.0, -0.8])[kinds])
    return F.one_hot(kinds, 4).float(), edges, graph, y


LOSSES = {
    "mse_loss": F.mse_loss,
    "huber": nn.HuberLoss(),
    "squares": lambda outputs, y: ((outputs - y) ** 2).mean(),
    "product": lambda outputs, y: torch.mean((y - outputs) * (y - outputs)),
    "root": lambda outputs, y: torch.sqrt((outputs - y).pow(2).mean()) + 0.0,
    "absolute": lambda outputs, y: 0.5 * (outputs - y).abs().sum() / 400,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("flat", [True, False], ids=["healthy", "broadcast"])
def test_outputs_of_a_graph_network_that_are_broadcast_against_labels(flat, loss, tmp_path):
    """Outputs `(N, 1)` against labels `(N,)` are seen at the loss, also where it is written out."""
    torch.manual_seed(0)
    model = Graph(flat=flat)

    def step(number):
        *inputs, y = molecules(number)
        return LOSSES[loss](model(*inputs), y)

    seen = watched(tmp_path, step, model, steps=40)
    assert ("output_shape_mismatch" in faults(seen)) is not flat


def test_differences_that_are_put_side_by_side_on_purpose_are_no_fault(tmp_path):
    """Each output against each label, as a ranking has them, is written with an axis of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, 0]

    def step(number):
        outputs = model(x)
        apart = (outputs[:, None] - y).abs() + torch.eye(20) * (outputs - y) ** 2
        return F.mse_loss(outputs, y) + 0.0 * apart.mean()

    seen = watched(tmp_path, step, model)
    assert seen.record.spread == {} and faults(seen) == []


def focal(outputs, y):
    """Hard examples count more, and one class more than the other."""
    chosen = torch.where(y == 1, outputs.sigmoid(), 1 - outputs.sigmoid()).clamp(1e-6, 1 - 1e-6)
    return (-torch.where(y == 1, 0.75, 0.25) * (1 - chosen) ** 2 * chosen.log()).mean()


def cross_entropies(outputs, y):
    """Binary cross-entropy, written out, beside a penalty."""
    shares = outputs.sigmoid().clamp(1e-6, 1 - 1e-6)
    return -(y * shares.log() + (1 - y) * (1 - shares).log()).mean() + 1e-4 * outputs.square().mean()


def beside_others(outputs, y):
    """A written-out error among the terms of an actor and critic."""
    entropy = -(outputs.sigmoid() * outputs.sigmoid().log()).sum(-1).mean()
    actor = -torch.min(outputs.exp() * 0.1, outputs.exp().clamp(0.8, 1.2)).mean()
    return 0.001 * actor + 0.5 * (outputs - y).pow(2).mean() - 0.001 * entropy


@pytest.mark.parametrize("loss", [focal, cross_entropies, beside_others])
@pytest.mark.parametrize("flat", [True, False], ids=["healthy", "broadcast"])
def test_outputs_that_are_weighed_or_chosen_by_labels_of_another_shape(flat, loss, tmp_path):
    """A loss of products and choices broadcasts as silently as one of differences."""
    torch.manual_seed(0)
    x = torch.randn(30, 4)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    seen = watched(
        tmp_path, lambda _: loss(model(x)[:, 0] if flat else model(x), (x[:, 0] > 0).float()), model, steps=4
    )
    assert bool(seen.record.spread) is not flat


def test_a_mask_of_pairs_is_no_broadcast(tmp_path):
    """Cox's likelihood adds outputs `(N, 1)` up over those still at risk, a mask of N × N on purpose."""
    torch.manual_seed(0)
    x, risk = torch.randn(30, 4), torch.ones(30, 30).triu()
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))

    def step(number):
        hazard = model(x)
        return -(hazard - (hazard.exp() * risk).sum(0)[:, None].log()).mean()

    assert watched(tmp_path, step, model, steps=4).record.spread == {}


def points(number, classes=4, count=32):
    """Points in classes that straight lines tell apart, another batch for each number."""
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(number))
    return x, x[:, :classes].argmax(1)


def layers(*last, out=4):
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, out), *last)


def pixels(*last):
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1), *last
    )


class Scaled(nn.Module):
    """Logits that a temperature widens after a sigmoid, and so have no bound that matters."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = layers(), nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        return self.inner(x).sigmoid() * self.scale


CROSS = {
    "softmax": (layers(nn.Softmax(1)), "cross_entropy", "redundant_softmax"),
    "softmax of pixels": (pixels(nn.Softmax(1)), "cross_entropy", "redundant_softmax"),
    "sigmoid": (layers(nn.Sigmoid()), "cross_entropy", "wrong_output_activation"),
    "relu": (layers(nn.ReLU()), "cross_entropy", "wrong_output_activation"),
    "logits": (layers(), "cross_entropy", None),
    "log-softmax": (layers(nn.LogSoftmax(1)), "cross_entropy", None),
    "scaled sigmoid": (Scaled(), "cross_entropy", None),
    "raw": (layers(), "nll_loss", "missing_output_activation"),
    "probabilities": (layers(nn.Softmax(1)), "nll_loss", "missing_output_activation"),
    "raw pixels": (pixels(), "nll_loss", "missing_output_activation"),
    "log-probabilities": (layers(nn.LogSoftmax(1)), "nll_loss", None),
    "log-probabilities of pixels": (pixels(nn.LogSoftmax(1)), "nll_loss", None),
    "log-probabilities of the batch": (layers(nn.LogSoftmax(0)), "nll_loss", "softmax_wrong_axis"),
    "log-probabilities of the pixels": (pixels(nn.LogSoftmax(2)), "nll_loss", "softmax_wrong_axis"),
    "probabilities to a divergence": (layers(nn.Softmax(1)), "kl_div", "wrong_output_activation"),
    "log-probabilities to a divergence": (layers(nn.LogSoftmax(1)), "kl_div", None),
    "probabilities to CTC": (layers(nn.Softmax(1)), "ctc_loss", "wrong_output_activation"),
    "log-probabilities to CTC": (layers(nn.LogSoftmax(1)), "ctc_loss", None),
}
SPELT = {
    "kl_div": lambda outputs, y: F.kl_div(outputs, F.one_hot(y, 4).float(), reduction="batchmean"),
    "ctc_loss": lambda outputs, y: F.ctc_loss(
        outputs[:, None], y[None, :4] % 3 + 1, torch.tensor([len(outputs)]), torch.tensor([4])
    ),
}
"""Losses that take more than outputs `(N, 4)` and classes `(N,)`."""


@pytest.mark.parametrize("case", CROSS)
def test_what_a_loss_of_classes_is_given_in_a_loop_that_is_not_replayed(case, tmp_path):
    """Probabilities, bounded outputs and raw outputs are seen at the loss, beside a penalty of the loop's own."""
    model, loss, fault = CROSS[case]
    torch.manual_seed(0)

    def step(number):
        x, y = points(number)
        outputs = model(x)
        if outputs.ndim > 2:
            y = y[:, None, None].expand(-1, 2, 3)
        loss_of = SPELT.get(loss) or getattr(F, loss)
        return loss_of(outputs, y) + 1e-4 * sum((value**2).sum() for value in model.parameters())

    seen = watched(tmp_path, step, model)
    assert seen.subject.failed(type(seen.subject).recipe_and_classes)
    found = [each for each in faults(seen) if "softmax" in each or "activation" in each]
    assert found == [fault] * (fault is not None)


@pytest.mark.parametrize("low", [-1.0, 0.0, -0.1], ids=["plus and minus", "yes and no", "blurred"])
def test_targets_of_binary_cross_entropy_are_shares(low, tmp_path):
    """Labels of −1 and 1 have no floor; those that are blurred a little around 0 and 1 are no fault."""
    torch.manual_seed(0)
    model = layers(nn.Flatten(0), out=1)

    def step(number):
        x, _ = points(number)
        y = torch.where(x[:, 0] > 0, 1.0, low)
        return F.binary_cross_entropy_with_logits(model(x), y) + 0.01 * model[0].weight.abs().sum()

    seen = watched(tmp_path, step, model)
    assert ("wrong_loss" in faults(seen)) is (low == -1.0)


def table(rows, seed):
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))
    return torch.utils.data.TensorDataset(x, x[:, :4].argmax(1))


def evaluated(model, loader):
    """Share of right answers."""
    model.eval()
    with torch.no_grad():
        hits = [(model(x).argmax(1) == y).float().mean() for x, y in loader]
    return torch.stack(hits).mean()


def looped(folder, look, *, epochs=6, batch=32):
    """An ordinary loop with a look at the model after each epoch."""
    torch.manual_seed(0)
    model, train = layers(), table(256, 0)
    loader = torch.utils.data.DataLoader(train, batch_size=batch, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=folder) as seen:
        for _ in range(epochs):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            look(model, train, table(128, 1))
    return seen


def in_a_function(model, train, other):
    val_loader = torch.utils.data.DataLoader(train, batch_size=64)
    evaluated(model, val_loader)


def in_a_loop(model, train, other):
    model.eval()
    testLoader = torch.utils.data.DataLoader(torch.utils.data.Subset(train, range(100)), batch_size=50)
    with torch.no_grad():
        for x, y in testLoader:
            outputs = model(x)
            F.cross_entropy(outputs, y)


def at_once(model, train, other):
    X_test = train.tensors[0][:64]
    model.eval()
    with torch.no_grad():
        model(X_test)


def both(model, train, other):
    train_loader = torch.utils.data.DataLoader(train, batch_size=64)
    val_loader = torch.utils.data.DataLoader(other, batch_size=64)
    evaluated(model, train_loader)
    evaluated(model, val_loader)


def of_training(model, train, other):
    train_accuracy = evaluated(model, torch.utils.data.DataLoader(train, batch_size=64))
    assert train_accuracy >= 0


def nameless(model, first, other):
    evaluated(model, torch.utils.data.DataLoader(first, batch_size=64))


def nameless_both(model, train, other):
    nameless(model, train, other)
    evaluated(model, torch.utils.data.DataLoader(other, batch_size=64))


def overlap(seen):
    findings = [each for report in seen.verdict(swaps=False).layers for each in report.findings]
    return next(each.status.value for each in findings if each.check == "evaluated_on_learnt_rows")


@pytest.mark.parametrize("look", [in_a_function, in_a_loop, at_once])
def test_validation_on_rows_that_were_learnt_from_is_found(look, tmp_path):
    """The names in the loop that evaluates say that the rows should be others."""
    seen = looped(tmp_path, look)
    assert overlap(seen) == "fail" and "validation_contamination" in faults(seen)


@pytest.mark.parametrize(
    ("look", "status"), [(both, "pass"), (of_training, "pass"), (nameless, "warn"), (nameless_both, "pass")]
)
def test_a_look_at_the_training_data_is_no_fault(look, status, tmp_path):
    """It may stand beside a validation, or be called what it is; where nothing else is evaluated, it is said."""
    seen = looped(tmp_path, look)
    assert overlap(seen) == status and faults(seen) == []


def test_a_whole_graph_is_learnt_from_and_evaluated_by_masks(tmp_path):
    """Every batch is the same: which of its rows count is not known."""

    def at_the_rest(model, train, other):
        model.eval()
        with torch.no_grad():
            test_outputs = model(train.tensors[0])
        assert len(test_outputs) == 256

    torch.manual_seed(0)
    model, data = layers(), table(256, 0)
    x, y = data.tensors
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=tmp_path) as seen:
        for _ in range(40):
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(x)[:200], y[:200]).backward()
            optimizer.step()
            at_the_rest(model, data, data)
    assert "validation_contamination" not in faults(seen)


def normed():
    return nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 4))


def measured(model):
    """The model with the statistics of data, as a pre-trained one has them."""
    for number in range(60):
        model.train()(points(number)[0])
    return model


def norms_in_eval(model):
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()


@pytest.mark.parametrize(
    ("model", "mode", "fault"),
    [
        (normed, nn.Module.eval, "missing_eval_mode"),
        (normed, norms_in_eval, "norm_statistics_wrong"),
        (normed, nn.Module.train, None),
        (lambda: measured(normed()), norms_in_eval, None),
        (lambda: measured(normed()), nn.Module.eval, None),
    ],
    ids=["model in eval", "norms in eval", "train", "pre-trained norms", "pre-trained"],
)
@pytest.mark.parametrize("penalty", [0.0, 1e-4], ids=["replayed", "not replayed"])
def test_normalisation_that_learns_in_eval_mode_is_seen_in_the_loop(penalty, model, mode, fault, tmp_path):
    """Of the whole model it is the loop's fault, of its norms the model's; those of a pre-trained one may stay."""
    torch.manual_seed(0)
    network = model()

    def step(number):
        mode(network)
        x, y = points(number)
        return F.cross_entropy(network(x), y) + penalty * network[0].weight.square().sum()

    seen = watched(tmp_path, step, network, steps=100)
    assert faults(seen) == [fault] * (fault is not None)


@pytest.mark.parametrize("other", [True, False], ids=["other instance", "own"])
@pytest.mark.parametrize("penalty", [0.0, 1e-4], ids=["replayed", "not replayed"])
def test_an_optimizer_of_another_instance_of_the_model_is_named(penalty, other, tmp_path):
    """All that it holds never has a gradient, while the model's parameters have: that is no low learning rate."""
    torch.manual_seed(0)
    model = layers()
    optimizer = torch.optim.Adam((layers() if other else model).parameters(), 1e-2)
    with firstfault.watch(folder=tmp_path) as seen:
        for number in range(100):
            x, y = points(number)

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y) + penalty * model[0].weight.square().sum()
                loss.backward()
                return loss

            optimizer.step(closure)
    assert faults(seen) == ["parameters_not_in_optimizer"] * other


def chosen(outputs, y):
    return -outputs.log()[torch.arange(len(y)), y].mean()


def one_hot(outputs, y):
    return -(F.one_hot(y, 4) * torch.log(outputs + 1e-9)).sum(1).mean()


def gathered(outputs, y):
    return torch.mean(-torch.log(outputs.clamp(min=1e-7)).gather(1, y[:, None]))


def yes_and_no(outputs, y):
    share = outputs[:, 0].clamp(1e-6, 1 - 1e-6)
    label = (y == 0).float()
    return -(label * torch.log(share) + (1 - label) * torch.log(1 - share)).mean()


def counts(outputs, y):
    return (outputs - y[:, None] * torch.log(outputs + 1e-6)).mean()


def logarithms(outputs, y):
    return ((torch.log(outputs + 1) - torch.log(y[:, None] + 1.0)) ** 2).mean()


@pytest.mark.parametrize(
    ("last", "fault"),
    [(nn.Identity(), "missing_output_activation"), (nn.ReLU(), "wrong_output_activation"), (nn.Softmax(1), None)],
    ids=["raw", "relu", "softmax"],
)
@pytest.mark.parametrize("loss", [chosen, one_hot, gathered, yes_and_no])
def test_a_written_out_cross_entropy_needs_probabilities(loss, last, fault, tmp_path):
    """The logarithm of raw outputs or of a ReLU's is the model's fault, whatever it does to the steps."""
    torch.manual_seed(0)
    model = layers(last)

    def step(number):
        x, y = points(number)
        return loss(model(x), y)

    seen = watched(tmp_path, step, model)
    found = faults(seen)
    assert (found[:1] == [fault]) if fault else found == []


@pytest.mark.parametrize("loss", [counts, logarithms])
def test_a_logarithm_beside_other_terms_is_no_cross_entropy(loss, tmp_path):
    """Counts, and errors of logarithms, may be of what a ReLU gives."""
    torch.manual_seed(0)
    model = layers(nn.ReLU())

    def step(number):
        x, y = points(number)
        return loss(model(x), y)

    assert "logarithm" not in watched(tmp_path, step, model).record.loss_inputs


@pytest.mark.parametrize("rate", [1e-4, 0.05], ids=["stuck", "learnt"])
def test_squared_errors_of_a_softmax_are_a_wrong_loss_where_nothing_is_learnt(rate, tmp_path):
    """What learns by them all the same is healthy; what does not is told by its loss, and not by its rate alone."""
    torch.manual_seed(0)
    x = torch.randn(640, 6)
    y = F.one_hot(x[:, :4].argmax(1), 4).float()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4), nn.Softmax(1))

    def step(number):
        part = slice(32 * number % 640, 32 * number % 640 + 32)
        return F.mse_loss(model(x[part]), y[part])

    found = faults(watched(tmp_path, step, model, rate=rate, steps=160))
    assert found[:1] == (["wrong_loss"] if rate < 0.01 else [])


def batch(number, classes=4):
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(number))
    return x, x[:, :classes].argmax(1)


def soft(dim):
    """A written-out cross-entropy of shares of classes."""

    def step(model, number):
        x, y = batch(number)
        return -(F.one_hot(y, 4) * F.log_softmax(model(x), dim)).sum(1).mean()

    return step


def divergence(targets):
    """The Kullback-Leibler divergence from what a teacher says."""

    def step(model, number):
        x, y = batch(number)
        return F.kl_div(F.log_softmax(model(x), 1), targets(4.0 * F.one_hot(y, 4) - 1), reduction="batchmean")

    return step


def rows(lay_out):
    """A cross-entropy of three positions, whose classes are a sample's sums with others."""

    def step(model, number):
        x, y = batch(number)
        outputs = model(x[:, None] + torch.zeros(24, 3, 6))
        return F.cross_entropy(lay_out(outputs).reshape(-1, 4), y[:, None].expand(24, 3).reshape(-1))

    return step


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (soft(1), None),
        (soft(0), "softmax_wrong_axis"),
        (divergence(lambda scores: scores.softmax(1)), None),
        (divergence(lambda scores: scores), "wrong_loss"),
        (rows(lambda outputs: outputs), None),
        (rows(lambda outputs: outputs.permute(0, 2, 1)), "output_shape_mismatch"),
    ],
    ids=["over classes", "over samples", "shares", "scores", "rows of a position", "rows of several"],
)
def test_what_a_loss_is_made_of_tells_its_fault(step, fault, tmp_path):
    """Softmax over samples, targets that are no shares, and rows that mix positions are seen, and no sound twin is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    seen = watched(tmp_path, lambda number: step(model, number), model, steps=30)
    assert faults(seen)[:1] == ([fault] if fault else [])


def test_similarities_of_all_pairs_have_a_softmax_over_both_axes(tmp_path):
    """As a contrastive loss does it, row by row and column by column."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))

    def step(number):
        x, _ = batch(number)
        alike = model(x) @ model(x + 0.1).T
        return -(F.log_softmax(alike, 0) + F.log_softmax(alike, 1)).diag().mean()

    assert "softmax_wrong_axis" not in faults(watched(tmp_path, step, model, steps=12))


def partners(asked, queue=None):
    """A contrastive loss over all pairs of a batch, or over the own partner beside a queue of others."""

    def step(model, number):
        x, _ = batch(number)
        rows, others = model(x), model(x + 0.1)
        alike = rows @ others.T if queue is None else torch.cat([(rows * others).sum(1, keepdim=True), rows @ queue], 1)
        return F.cross_entropy(alike / 0.1, asked(len(x)))

    return step


def zeros(count):
    return torch.zeros(count, dtype=torch.long)


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (partners(zeros), ["wrong_loss"]),
        (partners(torch.arange), []),
        (partners(zeros, queue=torch.randn(4, 63)), []),
        (lambda model, number: F.cross_entropy(model(batch(number)[0])[:4], zeros(4)), []),
    ],
    ids=["one for all", "own", "own beside a queue", "one class"],
)
def test_pairs_that_all_ask_for_one_partner_are_told(step, fault, tmp_path):
    """A label of zeros is right where the own partner stands first, and wrong where all rows have the same columns."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4, bias=False))
    seen = watched(tmp_path, lambda number: step(model, number), model, steps=30)
    assert [name for name in faults(seen) if name == "wrong_loss"] == fault


@pytest.mark.parametrize(("order", "fault"), [("before", None), ("between", "gradient_clipped_away")])
def test_gradients_that_are_cleared_before_their_step_are_told(order, fault, tmp_path):
    """Between the backward pass and the step, zero_grad leaves nothing to step with."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with firstfault.watch(folder=tmp_path) as seen:
        for number in range(20):
            x, y = batch(number)
            loss = F.cross_entropy(model(x), y)
            if order == "before":
                optimizer.zero_grad()
            loss.backward()
            if order == "between":
                optimizer.zero_grad()
            optimizer.step()
    assert (fault in faults(seen)) is (fault is not None)
    assert (seen.record.emptied_steps > 0) is (fault is not None)


@pytest.mark.parametrize(("sign", "fault"), [(1.0, None), (-1.0, "flipped_loss_sign")])
def test_a_loss_that_falls_without_end_has_a_term_of_the_wrong_sign(sign, fault, tmp_path):
    """A penalty that is rewarded for growing takes the loss below 0 by a million times its first values."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))

    def step(number):
        x, _ = batch(number)
        outputs = model(x)
        return (outputs - x[:, :4]).square().mean() + sign * 1e-2 * outputs.pow(6).mean()

    found = faults(watched(tmp_path, step, model, rate=0.5 if sign < 0 else 0.01, steps=300))
    assert (fault in found) is (fault is not None)

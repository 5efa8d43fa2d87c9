"""Networks that are sound though they look like faulty ones, and the faulty ones.

They have tied and bare weights, teachers, codebooks, sets.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from firstfault import Training
from firstfault.finding import Status


class Tied(nn.Module):
    """A language model of the GRU kind whose outputs are normalised, and whose embedding gives the logits."""

    def __init__(self, bare):
        super().__init__()
        self.embedding, self.cells, self.norm = nn.Embedding(9, 16), nn.GRU(16, 16, batch_first=True), nn.LayerNorm(16)
        self.head = None if bare else nn.Linear(16, 9, bias=False)
        if not bare:
            self.head.weight = self.embedding.weight

    def forward(self, x):
        h = self.norm(self.cells(self.embedding(x))[0])
        return h @ self.embedding.weight.T if self.head is None else self.head(h)


@pytest.mark.parametrize("bare", [True, False], ids=["bare function", "shared module"])
def test_tied_weights_reach_every_logit(make, only, bare):
    """The weight of the last layer is drawn wide under its other name, too."""
    ids = np.random.default_rng(0).integers(0, 9, (80, 9))
    subject = make((ids[:, :-1], ids[:, 1:]), task="language_model", model=lambda: Tied(bare))
    assert only("wrong_output_activation", subject).status is Status.PASS


class Bare(nn.Module):
    """A network without a module: its weights are parameters of its own."""

    def __init__(self, constant):
        super().__init__()
        draw = torch.full if constant else lambda shape, scale: torch.randn(shape) * scale
        self.first, self.second = nn.Parameter(draw((13, 12), 0.1)), nn.Parameter(draw((12, 3), 0.1))

    def forward(self, x):
        return torch.relu(x @ self.first) @ self.second


def test_constant_weights_without_modules_are_found(make, only):
    """Units of a factor on the right are its columns."""
    faulty, sound = (make("wine", model=lambda constant=constant: Bare(constant)) for constant in (True, False))
    assert only("constant_init", faulty).faults == {"constant_init": 0.95}
    assert only("constant_init", sound).status is Status.PASS


def test_parametrised_layers_are_weight_layers(make, only):
    """Weight normalisation hides no missing activation, and is none."""

    def network(activation):
        return lambda: nn.Sequential(
            weight_norm(nn.Linear(30, 20)), activation(), weight_norm(nn.Linear(20, 20)), activation(), nn.Linear(20, 2)
        )

    assert only("missing_nonlinearity", make("breast_cancer", model=network(nn.Identity))).status is Status.FAIL
    assert only("missing_nonlinearity", make("breast_cancer", model=network(nn.Tanh))).status is Status.PASS


class Heads(nn.Module):
    """Two answers, side by side or one made of the other."""

    def __init__(self, stacked):
        super().__init__()
        self.stacked, self.first, self.second = stacked, nn.Linear(13, 3), nn.Linear(3 if stacked else 13, 3)

    def forward(self, x):
        first = self.first(x)
        return first + self.second(first if self.stacked else x)


@pytest.mark.parametrize(("stacked", "status"), [(True, Status.FAIL), (False, Status.SKIPPED)])
def test_linear_layers_side_by_side_are_no_stack(stacked, status, make, only):
    """Only of layers after each other is one too many."""
    assert only("missing_nonlinearity", make("wine", model=lambda: Heads(stacked))).status is status


class Teacher(nn.Module):
    """A student, and a teacher that is its average."""

    def __init__(self, copied):
        super().__init__()
        self.student = nn.Linear(13, 3)
        self.teacher = (copy.deepcopy(self.student) if copied else nn.Linear(13, 3)).requires_grad_(False)

    def forward(self, x):
        return self.student(x) if self.training else self.teacher(x)


def test_a_frozen_copy_of_trainable_weights_is_a_teacher(make, only):
    """One that starts elsewhere is a layer that never learns."""
    assert only("frozen_parameters", make("wine", model=lambda: Teacher(True))).status is Status.WARN
    assert only("frozen_parameters", make("wine", model=lambda: Teacher(False))).status is Status.FAIL


class Plain(nn.Module):
    """A hidden weight that is a plain tensor; where it is a table, every build has the same."""

    def __init__(self, random):
        super().__init__()
        self.weight = torch.randn(13, 8) if random else torch.arange(104.0).reshape(13, 8) / 104
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(torch.relu(x @ self.weight))


def test_random_plain_tensors_never_learn(make, only):
    """A table that is the same in every build is no weight."""
    assert only("frozen_parameters", make("wine", model=lambda: Plain(True))).faults == {"frozen_parameters": 0.8}
    assert only("frozen_parameters", make("wine", model=lambda: Plain(False))).status is Status.PASS


class Codebook(nn.Module):
    """An autoencoder over code vectors, passed straight through: only the loss's second term moves them."""

    def __init__(self):
        super().__init__()
        self.encode, self.codes, self.decode = nn.Linear(64, 8), nn.Parameter(torch.randn(16, 8)), nn.Linear(8, 64)

    def forward(self, x):
        z = self.encode(x)
        nearest = self.codes[torch.cdist(z, self.codes).argmin(1)]
        self.distance = F.mse_loss(nearest, z.detach())
        return self.decode(z + (nearest - z).detach())


def loop(second):
    """A user's loop, with or without the term that moves the codes."""

    def fit(model, batches, _):
        optimizer = torch.optim.Adam(model.parameters())
        for x, y in batches:
            loss = F.mse_loss(model(x), y)
            (loss + model.distance if second else loss).backward()
            optimizer.step()
            optimizer.zero_grad()

    return fit


def test_another_term_of_the_loss_may_reach_a_weight(make, only):
    """A codebook learns by its own term; without it, nothing moves it."""
    x = np.random.default_rng(1).random((120, 64)).astype(np.float32)
    sound, faulty = (
        make((x, x), task="regression", model=Codebook, training=Training(fit=loop(second))) for second in (True, False)
    )
    assert only("detached_graph", sound).status is Status.PASS
    assert only("detached_graph", faulty).status is Status.FAIL


def pinball(outputs, y):
    levels, left = torch.tensor([0.1, 0.5, 0.9]), y.reshape(-1, 1) - outputs
    return torch.maximum(levels * left, (levels - 1) * left).mean()


def thresholds(outputs, y):
    return F.binary_cross_entropy_with_logits(outputs, (y[:, None] > torch.arange(outputs.shape[1])).float())


@pytest.mark.parametrize(
    ("source", "loss", "width"), [("diabetes", pinball, 3), ("iris", thresholds, 2)], ids=["quantiles", "ordinal"]
)
def test_a_loss_of_the_users_own_takes_outputs_of_its_own_width(make, only, source, loss, width):
    """The same outputs into a loss of torch don't fit."""
    sound, faulty = (
        make(source, model=lambda: nn.LazyLinear(width), training=Training(loss=which)) for which in (loss, None)
    )
    assert only("output_shape_mismatch", sound).status is Status.PASS
    assert only("output_shape_mismatch", faulty).status is Status.FAIL


def test_pooling_to_one_number_is_a_bottleneck(make, only):
    """A narrow convolution that keeps its positions is none."""

    def network(pool, width):
        return lambda: nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3),
            nn.Tanh(),
            nn.Conv2d(8, 1, 1),
            pool,
            nn.Flatten(),
            nn.Linear(width, 10),
            nn.Tanh(),
            nn.Linear(10, 10),
        )

    assert only("bottleneck", make("digits", model=network(nn.AdaptiveAvgPool2d(1), 1))).status is Status.FAIL
    assert only("bottleneck", make("digits", model=network(nn.Identity(), 36))).status is Status.PASS


class Attends(nn.Module):
    """Attention over vectors without positions."""

    def __init__(self, pooling=None):
        super().__init__()
        self.inner, self.attention, self.score, self.out = (
            nn.Linear(2, 8),
            nn.MultiheadAttention(8, 2, batch_first=True),
            nn.Linear(8, 1),
            nn.Linear(8, 2),
        )
        self.pooling = pooling

    def forward(self, x):
        h = self.inner(x)
        h = h + self.attention(h, h, h)[0]
        return self.out(h.amax(1) if self.pooling is None else (self.score(h).softmax(self.pooling) * h).sum(1))


def test_sets_need_no_positions(make, only):
    """Points in any order against a walk, in which each point follows from the last."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 300)
    points = (rng.normal(size=(300, 10, 2)) * (1 + y[:, None, None])).astype(np.float32)
    assert only("missing_positional_information", make((points, y), model=Attends)).status is Status.WARN
    assert only("missing_positional_information", make((points.cumsum(1), y), model=Attends)).status is Status.FAIL


def test_softmax_over_one_score_is_always_one(make, only):
    """Scores of positions are to be normalised over the positions."""
    rng = np.random.default_rng(3)
    source = rng.normal(size=(60, 7, 2)).astype(np.float32), rng.integers(0, 2, 60)
    assert only("weights_always_one", make(source, model=lambda: Attends(-1))).faults == {"softmax_wrong_axis": 0.9}
    assert only("weights_always_one", make(source, model=lambda: Attends(1))).status is Status.PASS


class Pools(nn.Module):
    """Weighs the steps of a recurrent network, in one style or another."""

    def __init__(self, style):
        super().__init__()
        self.cells, self.out, self.style = nn.GRU(2, 8, batch_first=True), nn.Linear(8, 2), style
        self.score, self.over_last = nn.Linear(8, 1), nn.Softmax(-1)

    def forward(self, x):
        h = self.cells(x)[0]
        scores, (samples, steps, _) = self.score(h), h.shape
        if self.style == "merged":
            weights = F.softmax(scores.reshape(-1, 1), 1).view(samples, steps, 1)
        elif self.style == "module":
            weights = self.over_last(scores)
        elif self.style == "time first":
            weights = torch.softmax(scores.transpose(0, 1), 2).transpose(0, 1)
        elif self.style == "logarithm":
            weights = scores.log_softmax(2).exp()
        elif self.style == "one key":  # each step attends to the last one alone
            key = h[:, -1:]
            return self.out((torch.bmm(h, key.transpose(1, 2)).softmax(-1) @ key).mean(1))
        else:
            weights = scores.reshape(samples, -1).softmax(-1)[..., None]
        return self.out((weights * h).sum(1))


@pytest.mark.parametrize("style", ["merged", "module", "time first", "logarithm"])
def test_scores_are_normalised_one_by_one_in_any_style(style, make, only):
    """Scores of all steps in one axis, a module of softmax, time before samples, logarithms."""
    rng = np.random.default_rng(3)
    source = rng.normal(size=(60, 7, 2)).astype(np.float32), rng.integers(0, 2, 60)
    assert only("weights_always_one", make(source, model=lambda: Pools(style))).status is Status.FAIL


@pytest.mark.parametrize(("style", "steps"), [("right", 7), ("one key", 7), ("right", 1), ("module", 1)])
def test_one_score_has_the_weight_1_by_right(style, steps, make, only):
    """A sequence of one step, and attention to one key."""
    rng = np.random.default_rng(3)
    source = rng.normal(size=(60, steps, 2)).astype(np.float32), rng.integers(0, 2, 60)
    assert only("weights_always_one", make(source, model=lambda: Pools(style))).status is Status.PASS


def test_dropout_of_unregistered_layers_is_left_to_their_registration(make, only):
    """Eval mode can't reach what the model doesn't know; a registered layer that ignores the mode is a fault."""

    class Hidden(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            blocks = [nn.Sequential(nn.Linear(13, 13), nn.Dropout(0.2))]
            self.blocks, self.out = blocks if hidden else nn.ModuleList(blocks), nn.Linear(13, 3)

        def forward(self, x):
            return self.out(F.dropout(x, 0.2) if isinstance(self.blocks, nn.ModuleList) else self.blocks[0](x))

    assert only("mode_not_propagated", make("wine", model=lambda: Hidden(True))).status is Status.WARN
    assert only("mode_not_propagated", make("wine", model=lambda: Hidden(False))).status is Status.FAIL

"""Every fault of the layer in networks of several kinds: found without look-alikes, and absent from sound twins."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from firstfault.faults import EXPLAINS, FAULTS
from firstfault.finding import Layer, Status

EVERY = ("mlp", "cnn", "rnn", "encoder", "causal", "autoencoder")
CLASSIFIERS = ("mlp", "cnn", "rnn", "encoder")


class Then(nn.Module):
    """A network, and a function of its outputs."""

    def __init__(self, body, act):
        super().__init__()
        self.body, self.act = body, act

    def forward(self, x):
        return self.act(self.body(x))


class Scaled(nn.Module):
    """A learned factor per feature of the last axis, that does something wrong to what passes."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(self, x)


def hidden(model):
    """The hidden layers with weights `(units, …)`, by name."""
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and "attention" not in name
    ]
    return found[:-1]


def after_hidden(act):
    """A change that puts a function after the first hidden layer of any network."""

    def plant(model):
        name, layer = hidden(model)[0]
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, nn.Sequential(layer, Scaled(act)))

    return plant


def each_hidden(change):
    """A change of every hidden layer."""

    def plant(model):
        for _, layer in hidden(model):
            change(layer)

    return plant


def silent(layer):
    nn.init.constant_(layer.bias, -50.0)


def wide(layer):
    nn.init.normal_(layer.weight, 0, 8.0)


def wide_everywhere(model):
    each_hidden(wide)(model)
    for value in model.cells.parameters() if hasattr(model, "cells") else []:
        nn.init.normal_(value, 0, 8.0)


def equal_everywhere(model):
    for value in model.parameters():
        nn.init.constant_(value, 0.05)


def dropouts(rate):
    def plant(model):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate

    return plant


def unused(model):
    model.spare = nn.Linear(40, 40) if not isinstance(model, nn.Sequential) else None
    if isinstance(model, nn.Sequential):
        model[0].spare = nn.Linear(40, 40)


def frozen(model):
    parameters = list(model.parameters())
    for value in parameters[:-2]:
        value.requires_grad_(False)


def norms(**values):
    def plant(model):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for name, value in values.items():
                    setattr(module, name, value)

    return plant


def noisy(module, h):
    return h + torch.randn_like(h)


def always_dropped(module, h):
    return F.dropout(h, 0.3)


def cut(module, h):
    return h.detach()


def mixed(module, h):
    return h - h.mean(0)


def over_batch(module, h):
    return torch.softmax(h, 0)


def logarithm(module, h):
    return torch.log(h)


PLANTED = {
    "dead_relu": (("mlp", "cnn", "rnn", "encoder", "causal", "autoencoder"), each_hidden(silent)),
    "exploding_init": (EVERY, wide_everywhere),
    "constant_init": (EVERY, equal_everywhere),
    "frozen_parameters": (EVERY, frozen),
    "detached_graph": (EVERY, after_hidden(cut)),
    "unused_parameters": (EVERY, unused),
    "batch_mixing": (EVERY, after_hidden(mixed)),
    "softmax_wrong_axis": (EVERY, after_hidden(over_batch)),
    "excessive_dropout": (EVERY, dropouts(0.97)),
    "mode_not_propagated": (EVERY, after_hidden(always_dropped)),
    "nondeterministic_eval": (EVERY, after_hidden(noisy)),
    "numerically_unstable": (EVERY, after_hidden(logarithm)),
    "norm_statistics_wrong": (("mlp", "cnn"), norms(momentum=0.0)),
}


class Attending(nn.Module):
    """One attention layer over embedded token ids, with or without positions and a mask of the padding token 0."""

    def __init__(self, places=True, masked=True, by_hand=False):
        super().__init__()
        self.words, self.head = nn.Embedding(20, 16), nn.Linear(16, 3)
        self.places = nn.Parameter(torch.randn(10, 16)) if places else None
        self.attention, self.masked, self.by_hand = (
            None if by_hand else nn.MultiheadAttention(16, 2, batch_first=True),
            masked,
            by_hand,
        )

    def forward(self, ids):
        x = self.words(ids) + (self.places if self.places is not None else 0)
        padding = ids == 0
        if self.by_hand:
            scores = x @ x.transpose(1, 2) / 4
            x = torch.softmax(scores.masked_fill(padding[:, None], -1e9) if self.masked else scores, -1) @ x
        else:
            x = self.attention(x, x, x, key_padding_mask=padding if self.masked else None)[0]
        return self.head((x * ~padding[..., None]).sum(1) / (~padding).sum(1, keepdim=True))


def padded():
    """Sentences of different lengths, filled up with token 0."""
    rng = np.random.default_rng(5)
    X, y = rng.integers(3, 20, (200, 10)), rng.integers(0, 3, 200)
    X[np.arange(10)[None] >= rng.integers(3, 11, 200)[:, None]] = 0
    return X, y


def table(columns=8, n=200):
    return np.random.default_rng(6).normal(size=(n, columns)).astype(np.float32)


def several():
    """Labels of which several can be true."""
    X = table()
    return X, (X[:, :4] > 0).astype(np.float32)


def heights(columns=8):
    """A target below and above 0, as a column."""
    X = table(columns)
    return X, X[:, :1] * 2 + X[:, 1:2]


def binary_loss(outputs, y):
    return F.binary_cross_entropy(outputs.reshape(len(y)), y.float())


def two_classes():
    X = table()
    return X, (X[:, 0] > 0).astype(int)


def two_images():
    X = np.random.default_rng(7).random((200, 1, 8, 8)).astype(np.float32)
    return X, (X.mean((1, 2, 3)) > 0.5).astype(int)


def dense(*widths, act=nn.ReLU, last=None):
    """A factory of a plain network of the given widths."""

    def build():
        parts = [part for a, b in zip(widths, widths[1:], strict=False) for part in (nn.Linear(a, b), act())]
        return nn.Sequential(*parts[:-1], *([last] if last else []))

    return build


ENDS = {
    "softmax": lambda outputs: torch.softmax(outputs, -1),
    "log_softmax": lambda outputs: F.log_softmax(outputs, -1),
    "relu": torch.relu,
    "none": lambda outputs: outputs,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize(
    ("fault", "kind", "end", "loss"),
    [
        *[("redundant_softmax", kind, "softmax", F.cross_entropy) for kind in (*CLASSIFIERS, "causal")],
        *[("missing_output_activation", kind, "none", F.nll_loss) for kind in (*CLASSIFIERS, "causal")],
        *[("missing_output_activation", kind, "softmax", F.nll_loss) for kind in CLASSIFIERS],
        *[("wrong_output_activation", kind, "sigmoid", F.cross_entropy) for kind in (*CLASSIFIERS, "causal")],
        ("wrong_output_activation", "autoencoder", "relu", F.mse_loss),
        ("wrong_output_activation", "autoencoder", "sigmoid", F.l1_loss),
        *[("wrong_output_activation", kind, "relu", F.cross_entropy) for kind in CLASSIFIERS],
    ],
)
def test_a_wrong_end_is_found_alone(network, ending, faults, fault, kind, end, loss):
    """Whatever is before it."""
    assert set(faults(network(kind, model=ending(kind, ENDS[end]), loss=loss))) == {fault}


@pytest.mark.parametrize(
    ("kind", "end", "loss"),
    [
        *[(kind, "log_softmax", F.nll_loss) for kind in (*CLASSIFIERS, "causal")],
        *[(kind, "log_softmax", F.cross_entropy) for kind in CLASSIFIERS],
    ],
)
def test_a_fitting_end_is_sound(network, ending, faults, kind, end, loss):
    """Log-softmax before NLLLoss, and before CrossEntropyLoss, where it changes nothing."""
    assert faults(network(kind, model=ending(kind, ENDS[end]), loss=loss)) == {}


def deep_sigmoids(columns):
    return dense(columns, *[16] * 9, 3, act=nn.Sigmoid)


def flat(build):
    return lambda: nn.Sequential(nn.Flatten(), *build())


class Pooled(nn.Module):
    """Tokens `(N, T)`, weighed by the softmax of scores that start alike, along an axis."""

    def __init__(self, axis):
        super().__init__()
        self.axis, self.words, self.score, self.head = axis, nn.Embedding(20, 16), nn.Linear(16, 1), nn.Linear(16, 3)
        nn.init.zeros_(self.score.weight)

    def forward(self, ids):
        words = self.words(ids)
        return self.head((words * self.score(words).softmax(self.axis)).sum(1))


OTHERS = {
    "single_unit_softmax": [
        ("mlp", {"model": dense(8, 16, 1, last=nn.Softmax(1)), "data": two_classes(), "loss": binary_loss}),
        ("cnn", {"model": flat(dense(64, 16, 1, last=nn.Softmax(-1))), "data": two_images(), "loss": binary_loss}),
    ],
    "wrong_output_activation": [
        (
            "mlp",
            {
                "model": dense(8, 16, 4, last=nn.Softmax(1)),
                "data": several(),
                "task": "multilabel",
                "loss": F.binary_cross_entropy,
            },
        )
    ],
    "softmax_wrong_axis": [
        (kind, {"model": model, "loss": F.nll_loss})
        for kind, model in (
            ("mlp", dense(8, 16, 3, last=nn.LogSoftmax(0))),
            ("cnn", flat(dense(64, 16, 3, last=nn.LogSoftmax(0)))),
        )
    ],
    "missing_nonlinearity": [
        ("mlp", {"model": dense(8, 16, 16, 16, 3, act=nn.Identity)}),
        (
            "cnn",
            {
                "model": lambda: nn.Sequential(
                    nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 3)
                )
            },
        ),
        ("autoencoder", {"model": dense(8, 16, 16, 8, act=nn.Identity)}),
    ],
    "saturating_activation": [
        ("mlp", {"model": deep_sigmoids(8)}),
        ("cnn", {"model": flat(deep_sigmoids(64))}),
        ("rnn", {"model": flat(dense(20, 16, 3, act=lambda: nn.Softmax(-1)))}),
        ("autoencoder", {"model": dense(8, 16, 16, 16, 16, 16, 16, 16, 16, 8, act=nn.Sigmoid)}),
    ],
    "output_shape_mismatch": [
        ("mlp", {"model": dense(8, 16, 2)}),
        ("cnn", {"model": flat(dense(64, 16, 2))}),
        (
            "autoencoder",
            {
                "model": dense(8, 16, 1),
                "data": (heights()[0], heights()[1][:, 0]),
                "loss": lambda a, b: ((a - b) ** 2).mean(),
            },
        ),
    ],
    "numerically_unstable": [
        (
            "mlp",
            {
                "model": lambda: Then(dense(8, 16, 3)(), lambda h: torch.log(h.exp() / h.exp().sum(1, keepdim=True))),
                "loss": F.nll_loss,
            },
        ),
        (
            "autoencoder",
            {"plant": after_hidden(lambda module, h: h + torch.sqrt((h - h * 1).pow(2).sum(-1, keepdim=True)))},
        ),
    ],
    "missing_causal_mask": [
        ("causal", {"plant": lambda model: [setattr(layer, "causal", False) for layer in model.layers]})
    ],
    "padding_not_masked": [
        ("encoder", {"model": lambda: Attending(masked=False), "data": padded()}),
        ("encoder", {"model": lambda: Attending(masked=False, by_hand=True), "data": padded()}),
    ],
    "missing_positional_information": [
        ("encoder", {"model": lambda: Attending(places=False)}),
        ("encoder", {"model": lambda: Attending(places=False, by_hand=True)}),
        ("encoder", {"plant": lambda model: nn.init.zeros_(model.places.requires_grad_(True))}),
    ],
    "insufficient_capacity": [
        ("mlp", {"model": dense(8, 16, 1, 16, 3)}),
        ("cnn", {"model": flat(dense(64, 16, 1, 16, 3))}),
        ("encoder", {"plant": lambda model: setattr(model, "head", nn.Sequential(nn.Linear(16, 1), nn.Linear(1, 3)))}),
    ],
    "norm_statistics_wrong": [
        ("mlp", {"plant": norms(track_running_stats=False, running_mean=None, running_var=None)}),
        ("cnn", {"plant": norms(momentum=0.99)}),
        ("mlp", {"batch_size": 1}),
    ],
    "excessive_dropout": [("mlp", {"model": lambda: Then(dense(8, 64)(), Dropped())})],
}


class Dropped(nn.Module):
    """Functional dropout that takes nearly everything, then a last layer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(F.dropout(torch.relu(x), 0.95, self.training))


@pytest.mark.parametrize(
    ("fault", "number"), [(fault, number) for fault, rows in OTHERS.items() for number in range(len(rows))]
)
def test_another_planted_fault_is_found_without_look_alikes(network, faults, fault, number):
    """It is found, and nothing but what it brings about."""
    kind, parts = OTHERS[fault][number]
    found = set(faults(network(kind, **parts)))
    assert fault in found
    assert found <= {fault} | EXPLAINS.get(fault, frozenset())


class Residual(nn.Module):
    """Blocks that add to what they are given, their last layer zero at the start."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(4))
        self.head = nn.Linear(8, 3)
        for block in self.blocks:
            nn.init.zeros_(block[2].weight)
            nn.init.zeros_(block[2].bias)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Pretrained(nn.Module):
    """A backbone with the same weights in every build, switched off or run without gradients, and a fresh head."""

    def __init__(self, grad):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        for value in self.body.parameters():
            value.data.mul_(1.3)
            value.requires_grad_(grad)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        with torch.no_grad():
            h = self.body(x)
        return self.head(h)


class Variational(nn.Module):
    """An autoencoder that draws its code, in training only or always."""

    def __init__(self, always):
        super().__init__()
        self.mean, self.spread, self.decoder, self.always = (
            nn.Linear(8, 4),
            nn.Linear(8, 4),
            nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 8)),
            always,
        )

    def forward(self, x):
        mean, spread = self.mean(x), self.spread(x)
        code = mean + spread.exp() * torch.randn_like(mean) if self.training or self.always else mean
        return (self.decoder(code), mean, spread) if self.always else self.decoder(code)


class Guarded(nn.Module):
    """A logarithm of what was clamped, and a score of −∞ that softmax makes a 0."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = torch.log(self.first(x).clamp_min(1e-3))
        scores = h.masked_fill(torch.arange(16) > 12, -torch.inf)
        return self.head(torch.tanh(h) * torch.softmax(scores, -1))


class Switched(nn.Module):
    """Functional dropout that follows the mode, and dropout of rate 0 that does not."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, x):
        return self.head(F.dropout(F.dropout(torch.relu(self.first(x)), 0.3, self.training), 0.0))


class Weighed(nn.Module):
    """A recurrent tagger pooled by softmax over the positions."""

    def __init__(self):
        super().__init__()
        self.cells, self.score, self.head = (
            nn.LSTM(2, 16, batch_first=True, bidirectional=True),
            nn.Linear(32, 1),
            nn.Linear(32, 3),
        )

    def forward(self, x):
        hidden = self.cells(x)[0]
        return self.head((torch.softmax(self.score(hidden), 1) * hidden).sum(1))


class Tagger(nn.Module):
    """Looks both ways, and predicts the class of every token."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.head = nn.Embedding(20, 16), nn.Parameter(torch.randn(10, 16)), nn.Linear(16, 20)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, ids):
        return self.head(self.layer(self.words(ids) + self.places))


class CausalConvolution(nn.Module):
    """Sees the past only, by padding on the left."""

    def __init__(self):
        super().__init__()
        self.words, self.first, self.head = nn.Embedding(20, 16), nn.Conv1d(16, 16, 3), nn.Linear(16, 20)

    def forward(self, ids):
        return self.head(torch.relu(self.first(F.pad(self.words(ids).transpose(1, 2), (2, 0)))).transpose(1, 2))


class Bag(nn.Module):
    """A bag of words: order is left out on purpose."""

    def __init__(self):
        super().__init__()
        self.words, self.rest = nn.Embedding(20, 16), nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, ids):
        return self.rest(self.words(ids).mean(1))


def cased():
    """Token ids, and of each token whether it is even."""
    X = np.random.default_rng(9).integers(0, 20, (200, 10))
    return X, X % 2


def bounded():
    """A target between −1 and 1."""
    X = table()
    return X, np.tanh(X[:, :1] * 2)


def positive():
    X = table()
    return X, np.abs(X[:, :1]) * 3


def unit_square():
    X = np.random.default_rng(8).random((200, 8)).astype(np.float32)
    return X, X


def lightly_spared(model):
    model.spare = nn.Linear(4, 4)


def zero_head(model):
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)


def leaky(model):
    for name, module in list(model.named_children()):
        if isinstance(module, nn.ReLU):
            setattr(model, name, nn.LeakyReLU(0.1))
    each_hidden(silent)(model)


LOOK_ALIKES = {
    "dead_relu": [
        ("mlp", {"plant": leaky}),
        ("mlp", {"plant": each_hidden(lambda layer: nn.init.constant_(layer.bias, -0.1))}),
        ("mlp", {"model": dense(8, 16, 3), "batch_size": 2}),
    ],
    "exploding_init": [
        ("mlp", {"model": dense(8, 24, 24, 3), "data": (table() * 1000, table()[:, :3].argmax(1))}),
        ("causal", {"layers": 6}),
    ],
    "constant_init": [("mlp", {"model": Residual}), ("encoder", {"plant": zero_head}), ("rnn", {"plant": zero_head})],
    "frozen_parameters": [("mlp", {"model": lambda: Pretrained(False)})],
    "detached_graph": [("mlp", {"model": lambda: Pretrained(True)})],
    "unused_parameters": [("rnn", {"plant": lightly_spared}), ("encoder", {"plant": lightly_spared})],
    "batch_mixing": [
        (
            "cnn",
            {
                "model": lambda: nn.Sequential(
                    nn.Conv2d(1, 8, 3),
                    nn.InstanceNorm2d(8),
                    nn.ReLU(),
                    nn.GroupNorm(2, 8),
                    nn.Flatten(),
                    nn.Linear(288, 3),
                )
            },
        ),
        ("rnn", {"model": Weighed}),
    ],
    "softmax_wrong_axis": [("rnn", {"model": Weighed}), ("encoder", {"model": lambda: Attending(by_hand=True)})],
    "excessive_dropout": [("mlp", {"plant": dropouts(0.5)}), ("encoder", {"plant": dropouts(0.5)})],
    "mode_not_propagated": [("mlp", {"model": Switched})],
    "nondeterministic_eval": [
        ("autoencoder", {"model": lambda: Variational(False)}),
        ("autoencoder", {"model": lambda: Variational(True)}),
    ],
    "numerically_unstable": [("mlp", {"model": Guarded}), ("autoencoder", {"model": lambda: Variational(True)})],
    "norm_statistics_wrong": [("mlp", {"plant": norms(momentum=0.2)}), ("cnn", {"plant": norms(momentum=None)})],
    "single_unit_softmax": [
        ("mlp", {"model": dense(8, 16, 1, last=nn.Sigmoid()), "data": two_classes(), "loss": binary_loss})
    ],
    "redundant_softmax": [
        ("mlp", {"model": dense(8, 16, 2, last=nn.LogSoftmax(1)), "data": two_classes()}),
        ("rnn", {"model": Weighed}),
    ],
    "missing_output_activation": [
        (
            "mlp",
            {
                "model": dense(8, 16, 4, last=nn.Sigmoid()),
                "data": several(),
                "task": "multilabel",
                "loss": F.binary_cross_entropy,
            },
        )
    ],
    "wrong_output_activation": [
        ("autoencoder", {"model": dense(8, 16, 1, last=nn.Tanh()), "data": bounded()}),
        ("autoencoder", {"model": dense(8, 16, 1, last=nn.Softplus()), "data": positive()}),
        ("autoencoder", {"model": dense(8, 24, 8, last=nn.Sigmoid()), "data": unit_square()}),
    ],
    "missing_nonlinearity": [
        ("mlp", {"model": dense(8, 3)}),
        ("mlp", {"model": Residual}),
        ("autoencoder", {"model": dense(8, 3, 8, act=nn.Identity)}),
    ],
    "saturating_activation": [
        ("mlp", {"model": dense(8, 16, 16, 16, 16, 3, act=nn.Tanh)}),
        ("rnn", {"model": Weighed}),
    ],
    "output_shape_mismatch": [
        ("autoencoder", {"model": dense(8, 16, 1), "data": heights()}),
        ("mlp", {"model": dense(8, 16, 5)}),
    ],
    "missing_causal_mask": [("causal", {"model": Tagger, "data": cased()}), ("causal", {"model": CausalConvolution})],
    "padding_not_masked": [
        ("encoder", {"model": Attending, "data": padded()}),
        ("encoder", {"model": lambda: Attending(by_hand=True), "data": padded()}),
    ],
    "missing_positional_information": [("encoder", {"model": Bag}), ("encoder", {"model": Attending})],
    "insufficient_capacity": [
        ("autoencoder", {"model": dense(8, 24, 2, 24, 8)}),
        ("mlp", {"model": dense(8, 16, 2, 3)}),
    ],
}


@pytest.mark.parametrize(
    ("fault", "number"), [(fault, number) for fault, rows in LOOK_ALIKES.items() for number in range(len(rows))]
)
def test_what_looks_like_a_fault_and_is_none_passes(network, faults, fault, number):
    """Nothing fails."""
    kind, parts = LOOK_ALIKES[fault][number]
    assert faults(network(kind, **parts)) == {}


@pytest.mark.parametrize(
    ("plant", "expected"), [(None, "pass"), (lambda model: nn.init.constant_(model[6].bias, -50.0), "warn")]
)
def test_a_batch_that_cannot_be_learned_by_heart_is_a_warning(network, status, plant, expected):
    """A sound network learns a few samples by heart; one whose last hidden layer is dead does not."""
    assert status("one_batch_overfit", network("mlp", plant)) == expected


@pytest.mark.parametrize(("axis", "expected"), [(0, Status.FAIL), (1, Status.PASS)])
def test_weights_over_the_samples_are_seen_before_scores_differ(network, status, axis, expected):
    """A share of one in thirty moves with no other sample, but with their number."""
    assert status("batch_mixing", network("encoder", model=lambda: Pooled(axis))) == expected


def test_every_fault_of_the_layer_is_planted_and_has_a_look_alike(planted_apart):
    """No id of the layer is without a planted fault, or without something sound that resembles it."""
    ends = {"redundant_softmax", "missing_output_activation"}
    in_loops = {"wrong_gradient"}  # tests/probe/test_custom_gradients.py
    every = {fault for fault, kind in FAULTS.items() if kind.layer is Layer.MODEL} - planted_apart - in_loops
    assert {*PLANTED, *OTHERS, *ends} == every == set(LOOK_ALIKES)


@pytest.mark.parametrize(("fault", "kind"), [(fault, kind) for fault, (kinds, _) in PLANTED.items() for kind in kinds])
def test_a_planted_fault_is_found_without_look_alikes(network, faults, fault, kind):
    """It is found, and nothing but what it brings about."""
    found = set(faults(network(kind, PLANTED[fault][1])))
    assert fault in found
    assert found <= {fault} | EXPLAINS.get(fault, frozenset())


@pytest.mark.parametrize("kind", EVERY)
def test_sound_networks_are_sound(network, faults, kind):
    """Nothing fails."""
    assert faults(network(kind)) == {}

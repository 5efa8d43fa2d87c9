"""Each intervention changes one thing in a loop that runs, says what, and takes the change back."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from firstfault.faults import FAULTS
from firstfault.probe.interventions.catalogue import intervention, interventions_for
from firstfault.probe.interventions.intervention import REGISTRY


class Loop:
    """A training of some steps, with the switches that its faults need; `model` and `losses` are what came of it."""

    def __init__(self, steps=6, rate=0.1, kind=torch.optim.SGD, clears=True, **settings):
        torch.manual_seed(0)
        self.x = torch.randn(16, 4) * 5 + 20
        self.y = (self.x[:, 0] > 20).long()
        self.model = settings.pop("model", None) or nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.optimizer = kind(settings.pop("held", self.model.parameters()), lr=rate, **settings.pop("options", {}))
        self.loss = settings.pop("loss", functional.cross_entropy)
        self.each = settings.pop("each", lambda: None)
        self.steps, self.clears, self.rates, self.grads = steps, clears, [], []

    def run(self):
        for _ in range(self.steps):
            if self.clears:
                self.optimizer.zero_grad()
            self.loss(self.model(self.x), self.y).backward()
            self.each()
            self.grads.append(self.model[0].weight.grad.clone())
            self.optimizer.step()
            self.rates.append(self.optimizer.param_groups[0]["lr"])
        return self


def changed(name, make):
    """The loop run under an intervention, and what that says it did."""
    with intervention(name).install() as done:
        loop = make().run()
    return loop, list(done.changes.values())


def weights(loop):
    return torch.cat([value.detach().flatten() for value in loop.model.parameters()])


@pytest.mark.parametrize(
    ("name", "make", "like", "said"),
    [
        ("tenth_rate", lambda: Loop(rate=0.1), lambda: Loop(rate=0.01), "SGD's lr 0.1 → 0.01"),
        ("hundredfold_rate", lambda: Loop(rate=1e-4), lambda: Loop(rate=1e-2), "SGD's lr 0.0001 → 0.01"),
        ("adam", lambda: Loop(), lambda: Loop(kind=torch.optim.Adam, rate=1e-3), "Adam at 0.001 in place of SGD"),
        ("no_decay", lambda: Loop(options={"weight_decay": 0.5}), lambda: Loop(), "SGD's weight_decay 0.5 → 0"),
        ("clear_gradients", lambda: Loop(clears=False), lambda: Loop(), "the gradients of SGD cleared in every step"),
        ("minimised", lambda: Loop(options={"maximize": True}), lambda: Loop(), "SGD minimises"),
        (
            "mean_reduction",
            lambda: Loop(loss=nn.CrossEntropyLoss(reduction="sum")),
            lambda: Loop(),
            "cross_entropy: reduction='sum' → 'mean'",
        ),
    ],
)
def test_a_loop_with_an_intervention_ends_like_the_loop_that_is_written_so(name, make, like, said):
    """Weight for weight."""
    loop, changes = changed(name, make)
    assert changes == [said] and torch.allclose(weights(loop), weights(like().run()), atol=1e-6)


def test_a_rate_is_what_the_script_made_of_it_between_the_steps():
    """Schedulers and the user's own code see their rates."""
    loop, _ = changed("tenth_rate", Loop)
    assert loop.rates == [0.1] * 6


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_all_is_taken_back(name):
    """A loop behind the block trains as one before it."""
    with intervention(name).install():
        Loop().run()
    before = weights(Loop().run())
    assert torch.equal(before, weights(Loop().run())) and torch.autograd.backward.__module__ == "torch.autograd"
    assert not hasattr(nn.Module.__call__, "__wrapped__") and not hasattr(functional.cross_entropy, "__wrapped__")


def test_every_intervention_undoes_a_known_fault():
    """The registry speaks of the faults of the reference."""
    assert all(kind.undoes and kind.undoes <= FAULTS.keys() for kind in REGISTRY.values())
    assert [kind.name for kind in interventions_for("learning_rate_too_high")][0] == "tenth_rate"


def test_accumulated_gradients_are_kept():
    """Nothing is cleared between the passes of one step."""

    def train(clears):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for number in range(12):
            functional.cross_entropy(model(torch.randn(8, 4)), torch.arange(8) % 2).backward()
            if number % 3 == 2:
                optimizer.step()
                if clears:
                    optimizer.zero_grad()
        return model.weight.detach()

    with intervention("clear_gradients").install():
        healed = train(False)
    assert torch.allclose(healed, train(True))


def test_what_another_optimizer_leaves_is_cleared_in_a_loop_of_two():
    """The pass of a generator adds to the gradients of the discriminator, which never clears them."""

    def train(clears):
        torch.manual_seed(0)
        one, other = nn.Linear(3, 3), nn.Linear(3, 3)
        first, second = torch.optim.SGD(one.parameters(), 0.1), torch.optim.SGD(other.parameters(), 0.1)
        for _ in range(5):
            x = torch.randn(4, 3)
            for optimizer, sign in ((first, 1.0), (second, -1.0)):
                if clears:
                    optimizer.zero_grad()
                (sign * one(other(x)).square().mean()).backward()
                optimizer.step()
        return one.weight.detach()

    with intervention("clear_gradients").install():
        healed = train(False)
    assert torch.allclose(healed, train(True), atol=1e-6)


def test_a_softmax_is_taken_off_where_there_is_one():
    """Cross-entropy of distributions is that of their logarithms; raw outputs are left alone."""
    outputs, y = torch.randn(6, 3), torch.arange(6) % 3
    plain = functional.cross_entropy(outputs, y)
    with intervention("softmax_off").install() as done:
        assert torch.allclose(functional.cross_entropy(outputs.softmax(1), y), plain)
        assert torch.equal(functional.cross_entropy(outputs, y), plain) and len(done.changes) == 1


def test_a_softmax_is_put_on_where_there_is_none():
    """The negative log-likelihood of raw outputs is that of their log-softmax."""
    outputs, y = torch.randn(6, 3), torch.arange(6) % 3
    with intervention("softmax_on").install() as done:
        assert torch.allclose(functional.nll_loss(outputs, y), functional.cross_entropy(outputs, y))
        assert torch.allclose(functional.nll_loss(outputs.log_softmax(1), y), functional.cross_entropy(outputs, y))
        assert len(done.changes) == 1


def test_outputs_and_targets_are_compared_one_by_one():
    """(N, 1) against (N) is no longer all pairs."""
    outputs, y = torch.randn(6, 1), torch.randn(6)
    with intervention("equal_shapes").install() as done:
        assert torch.allclose(functional.mse_loss(outputs, y), (outputs[:, 0] - y).square().mean())
    assert list(done.changes.values()) == ["mse_loss: targets (6,) → (6, 1), the shape of the outputs"]


def test_clipping_is_put_on_and_off():
    """The norm of a step is at most 1; what the loop clips by itself stays as it was."""
    clipped = lambda loop: torch.nn.utils.clip_grad_norm_(loop.model.parameters(), 1e-3)  # noqa: E731
    plain = Loop(steps=1).run()

    def clipping():
        loop = Loop(steps=1)
        loop.each = lambda: clipped(loop)
        return loop

    loop, changes = changed("no_clipping", clipping)
    assert changes == ["gradients not clipped at norm 0.001"] and torch.equal(weights(loop), weights(plain))
    loop, changes = changed("clip_at_one", lambda: Loop(steps=1, rate=1.0))
    before = weights(Loop(steps=0))
    assert changes and float((weights(loop) - before).norm()) == pytest.approx(1.0, rel=1e-3)


def test_a_scheduler_is_switched_off():
    """Every step is made with the rate of the construction."""

    def scheduled():
        loop = Loop(steps=4)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(loop.optimizer, 0.1)
        loop.each = scheduler.step
        return loop

    loop, changes = changed("no_schedule", scheduled)
    assert changes == ["SGD's lr stays at 0.1"] and torch.equal(weights(loop), weights(Loop(steps=4).run()))


def test_train_mode_at_gradient_steps_only():
    """A model in eval mode learns in train mode, and answers in eval mode."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).eval()
    seen = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(module.training))
    with intervention("train_mode").install() as done:
        model(torch.randn(4, 4))
        with torch.no_grad():
            model(torch.randn(4, 4))
    assert seen == [True, False] and not model.training and done.changes


def test_nothing_is_dropped():
    """By modules, by functions, within attention."""
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 4)).train()
    attention = nn.MultiheadAttention(4, 2, dropout=0.9, batch_first=True).train()
    x = torch.ones(2, 3, 4)
    with intervention("no_dropout").install() as done:
        assert torch.equal(model(x), model(x)) and torch.equal(functional.dropout(x, 0.9), x)
        assert torch.equal(attention(x, x, x)[0], attention(x, x, x)[0])
    assert "dropout 0.9 → 0" in done.changes.values()


def test_a_model_begins_with_torchs_own_initialisation_once():
    """Before its first call with gradients; the next call leaves it alone."""
    model = nn.Linear(4, 2)
    nn.init.zeros_(model.weight)
    with intervention("default_initialisation").install() as done:
        model(torch.randn(3, 4))
        begun = model.weight.detach().clone()
        model(torch.randn(3, 4))
    assert begun.abs().sum() > 0 and torch.equal(begun, model.weight) and done.changes


def test_loaders_shuffle():
    """One without an order of its own; one with a sampler is left alone."""
    data = TensorDataset(torch.arange(50))
    with intervention("shuffled").install() as done:
        torch.manual_seed(0)
        order = torch.cat([batch for (batch,) in DataLoader(data, 10)])
        DataLoader(data, sampler=range(50))
    assert not torch.equal(order, torch.arange(50)) and list(done.changes.values()) == ["DataLoader(shuffle=True)"]


def test_inputs_are_standardised_by_the_first_batches():
    """By position or by name, in evaluation too; numbers of a category are left alone."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.seen = nn.Linear(4, 2), []

        def forward(self, ids, x):
            self.seen.append((ids, x))
            return self.net(x)

    model, ids, x = Model(), torch.arange(64), torch.randn(64, 4) * 100 + 7
    with intervention("standardised_inputs").install() as done:
        model(ids, x=x)
        with torch.no_grad():
            model(ids, x)
    for seen_ids, seen in model.seen:
        assert torch.equal(seen_ids, ids) and seen.mean(0).abs().max() < 1e-3 and (seen.std(0) - 1).abs().max() < 0.1
    assert done.changes


def test_parameters_that_nobody_holds_are_given_to_an_optimizer():
    """Before its second step; frozen ones are not."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(2, 2))
    model[2].requires_grad_(False)
    loop, changes = changed("all_parameters", lambda: Loop(model=model, held=model[0].parameters()))
    held = {id(value) for group in loop.optimizer.param_groups for value in group["params"]}
    assert {id(value) for value in model[1].parameters()} <= held and id(model[2].weight) not in held
    assert changes == ["18 parameters that no optimizer held given to SGD"]


class Attends(nn.Module):
    """Tokens that attend to each other, by torch's layer, by its function, or written out; what they give is summed."""

    def __init__(self, kind, **options):
        super().__init__()
        self.embed, self.kind = nn.Embedding(9, 8, padding_idx=0), kind
        self.layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, ids, attention_mask=None):
        h = self.embed(ids)
        if self.kind == "layer":
            return self.layer(h)[:, 0]
        if self.kind == "function":
            return functional.scaled_dot_product_attention(h[:, None], h[:, None], h[:, None], is_causal=False)[:, 0, 0]
        if self.kind == "argument":
            h = h if attention_mask is None else h * attention_mask[..., None]
            return h.sum(1)
        scores = h @ h.transpose(1, 2)
        return (scores.softmax(-1) @ h)[:, 0]


def padded_tokens():
    ids = torch.randint(1, 9, (12, 7), generator=torch.Generator().manual_seed(0))
    return ids * (torch.arange(7) < torch.arange(12)[:, None] % 5 + 3)


@pytest.mark.parametrize("kind", ["layer", "function", "written"])
def test_padding_gets_no_weight_in_attention(kind):
    """A row answers as it does without its padding, in train mode and in eval mode."""
    model, ids = Attends(kind), padded_tokens()
    alone = torch.cat([model(row[row != 0][None]) for row in ids])
    assert not torch.allclose(model(ids), alone, atol=1e-4)
    with intervention("padding_masked").install() as done:
        assert torch.allclose(model(ids), alone, atol=1e-5)
        with torch.no_grad():
            assert torch.allclose(model.eval()(ids), alone, atol=1e-5)
        assert torch.allclose(model(ids[:1]), alone[:1], atol=1e-5)  # of a row alone nobody would tell
    assert any("padding masked" in change for change in done.changes.values())


def test_a_mask_that_a_model_takes_is_given_to_it():
    """Under its own name, where the loop gives none; one that it gives stays, and so do rows without padding."""
    model, ids = Attends("argument"), padded_tokens()
    with intervention("padding_masked").install() as done:
        model(ids, attention_mask=(ids != 0).long())
        assert not done.changes
        model(torch.randint(1, 9, (12, 7)))
        assert torch.equal(model(ids), model(ids, attention_mask=(ids != 0).long()))
    assert list(done.changes.values()) == ["Attends is given attention_mask"]


def test_attention_that_is_masked_already_is_left_alone():
    """A mask of keys, and scores that hide the padding: there is nothing to change."""
    ids, layer = padded_tokens(), nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)

    class Masked(Attends):
        def forward(self, ids):
            h = self.embed(ids)
            scores = (h @ h.transpose(1, 2)).masked_fill((ids == 0)[:, None], -1e9)
            return layer(scores.softmax(-1) @ h, src_key_padding_mask=ids == 0)

    with intervention("padding_masked").install() as done:
        Masked("")(ids)
    assert not done.changes


@pytest.mark.parametrize("as_dict", [False, True])
def test_rows_get_the_labels_of_their_neighbours(as_dict):
    """Those of the next row or of the row before, in pairs and in dicts; at an end its own."""
    rows = [{"x": i, "labels": 10 * i} if as_dict else (i, 10 * i) for i in range(4)]
    for name, expected in (("labels_of_the_next_row", [10, 20, 30, 30]), ("labels_of_the_row_before", [0, 0, 10, 20])):
        with intervention(name).install() as done:
            batch = next(iter(DataLoader(rows, batch_size=4)))
            DataLoader([1, 2, 3])  # rows without labels
        x, y = (batch["x"], batch["labels"]) if as_dict else batch
        assert x.tolist() == [0, 1, 2, 3] and y.tolist() == expected and len(done.changes) == 1


def test_a_distance_to_labels_is_made_a_cross_entropy():
    """Of scores, of probabilities, and of one number; numbers and weights of a distance stay what they are."""
    scores, y = torch.randn(6, 3), torch.arange(6) % 3
    wanted, yes = functional.one_hot(y).float(), (torch.arange(6) % 2).float()
    plain = functional.cross_entropy(scores, y)
    with intervention("class_loss").install() as done:
        assert torch.allclose(functional.mse_loss(scores, wanted), plain)
        assert torch.allclose(functional.l1_loss(scores.softmax(1), wanted), plain, atol=1e-6)
        one = functional.mse_loss(scores[:, 0].sigmoid(), yes)
        assert torch.allclose(one, functional.binary_cross_entropy_with_logits(scores[:, 0], yes), atol=1e-5)
        assert functional.mse_loss(scores, scores + 1) == 1.0
    assert set(done.changes) == {"mse_loss", "l1_loss"}


def test_a_cross_entropy_of_numbers_is_made_a_distance():
    """Of targets beyond 0–1 alone: those of labels are left alone."""
    outputs, numbers = torch.randn(6, 1), torch.randn(6, 1) * 4
    with intervention("number_loss").install() as done:
        found = functional.binary_cross_entropy_with_logits(outputs, numbers)
        assert torch.allclose(found, (outputs - numbers).square().mean())
        functional.binary_cross_entropy_with_logits(outputs, (numbers > 0).float())
    assert list(done.changes.values()) == ["mse_loss in place of binary_cross_entropy_with_logits"]

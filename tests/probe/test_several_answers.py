"""Models as today's loops have them: that read several tensors or give several answers, or with a frozen body."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import firstfault
from firstfault.finding import Status

PAD, START = 0, 1


class Translator(nn.Module):
    """Source and target tokens `(N, T)` to logits `(N, T, 12)`, by torch's own encoder and decoder."""

    def __init__(self, causal=True):
        super().__init__()
        self.causal = causal
        self.tokens, self.places = nn.Embedding(12, 16), nn.Embedding(8, 16)
        self.core = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)
        self.out = nn.Linear(16, 12)

    def forward(self, source, target):
        places, padding = self.places(torch.arange(source.shape[1])), source == PAD
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1]) if self.causal else None
        source, target = self.tokens(source) + places, self.tokens(target) + places[: target.shape[1]]
        masks = {"tgt_mask": mask, "src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        return self.out(self.core(source, target, **masks))


class Towers(nn.Module):
    """A dict of two inputs to a dict of how well they match `(N,)` and two embeddings `(N, 8)`."""

    def __init__(self):
        super().__init__()
        self.query = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
        self.page = nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, batch):
        found = {name: getattr(self, name)(batch[name]) for name in ("query", "page")}
        found = {name: functional.normalize(value, dim=1) for name, value in found.items()}
        return {"match": (found["query"] * found["page"]).sum(1), **found}


class Compared(Towers):
    """How alike each query and each page of a batch are `(N, N)`, as CLIP gives it, and its loss."""

    def forward(self, batch):
        found = super().forward(batch)
        alike = found["query"] @ found["page"].T / 0.1
        return {"loss": functional.cross_entropy(alike, torch.arange(len(alike))), "alike": alike, **found}


class TwoHeads(nn.Module):
    """Points `(N, 8)` to a class and a number; `spare` is a part that nothing calls."""

    def __init__(self, spare=False):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.kind, self.size = nn.Linear(32, 2), nn.Linear(32, 1)
        self.spare = nn.Linear(32, 16) if spare else None

    def forward(self, x):
        hidden = self.body(x)
        return self.kind(hidden), self.size(hidden).squeeze(1)


def sentences(n=32):
    """Rows of different lengths, and the same reversed after a start."""
    lengths = torch.randint(3, 8, (n,))
    source = torch.randint(2, 12, (n, 7)).masked_fill(torch.arange(7) >= lengths[:, None], PAD)
    target = torch.stack([torch.cat([row[:k].flip(0), row[k:]]) for row, k in zip(source, lengths, strict=True)])
    return source, torch.cat([torch.full((n, 1), START), target], 1)


def translated(model):
    """The loss of teacher forcing."""
    source, target = sentences()
    logits = model(source, target[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)


def matched(model):
    """The loss of pairs that are told from all others of the batch."""
    theme = torch.randn(32, 4)
    found = model({"query": theme @ torch.ones(4, 6).tril(), "page": theme @ torch.ones(4, 9).triu()})
    return functional.cross_entropy(found["query"] @ found["page"].T / 0.1, torch.arange(32))


def both(model):
    """The sum of the losses of two heads."""
    x = torch.randn(32, 8)
    kind, size = model(x)
    return functional.cross_entropy(kind, (x[:, 0] > 0).long()) + functional.mse_loss(size, x[:, 1])


def watched(folder, model, loss_of, steps):
    """What is found in a model that was trained under the watch, by check."""
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with firstfault.watch(folder=folder) as watch:
        for _ in range(steps):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
    layers = watch.verdict(swaps=False).layers
    return {found.check: found for report in layers for found in report.findings}


@pytest.mark.parametrize("causal", [True, False])
def test_a_decoder_that_sees_the_future_is_found_beside_its_source(tmp_path, causal):
    """The decoder's own tokens are told by the labels; and padding, which torch's encoder nests, raises nothing."""
    found = watched(tmp_path, Translator(causal), translated, 40)
    assert found["missing_causal_mask"].status is (Status.PASS if causal else Status.FAIL)
    assert "user_code_raises" not in {fault for each in found.values() for fault in each.faults}


def compared(model):
    """The loss that the model gives."""
    theme = torch.randn(32, 4)
    return model({"query": theme @ torch.ones(4, 6).tril(), "page": theme @ torch.ones(4, 9).triu()})["loss"]


@pytest.mark.parametrize(("model", "loss_of"), [(Towers, matched), (Compared, compared), (TwoHeads, both)])
def test_every_answer_of_a_model_is_looked_at(tmp_path, model, loss_of):
    """A tower or head whose answer is not the first one is used; most checks of the model can look."""
    found = watched(tmp_path, model(), loss_of, 60)
    assert found["unused_parameters"].status is Status.PASS
    looked = [each for each in found.values() if each.layer.value == "model" and each.status is not Status.SKIPPED]
    assert len(looked) > 12 and not [each for each in found.values() if each.status is Status.FAIL]


def test_a_part_beside_two_heads_that_nothing_calls_is_unused(tmp_path):
    """Neither answer depends on it."""
    found = watched(tmp_path, TwoHeads(spare=True), both, 60)["unused_parameters"]
    assert found.status is Status.FAIL and "spare" in str(found.where)


def classified(model):
    """The loss of four classes of points."""
    x = torch.randn(64, 16)
    return functional.cross_entropy(model(x), (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long())


@pytest.mark.parametrize(("steps", "status"), [(0, Status.FAIL), (200, Status.WARN)])
def test_a_body_that_is_frozen_as_it_was_drawn_is_told_from_a_trained_one(tmp_path, steps, status):
    """Whatever it was drawn from: no direction stands out of it, and its biases are still 0."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
    for layer in (body[0], body[2]):
        nn.init.normal_(layer.weight, std=0.02 if steps == 0 else 0.2)
        nn.init.zeros_(layer.bias)
    whole = nn.Sequential(body, nn.Linear(32, 4))
    optimizer = torch.optim.Adam(whole.parameters(), 5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        classified(whole).backward()
        optimizer.step()
    body.requires_grad_(False)
    assert (
        watched(tmp_path, nn.Sequential(body, nn.Linear(32, 4)), classified, 30)["frozen_parameters"].status is status
    )

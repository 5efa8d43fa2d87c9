"""Inputs that are trees: what a model was given is captured, called again with one tensor, and looked at."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

import firstfault
from firstfault.training.call_tree import Arguments, put_together
from firstfault.training.one_tensor import Batches, Rows, Samples, inputs_of_call

LENGTH, WORDS = 8, 12


def trained(folder, model, batches, loss_of, *, rate=5e-3):
    """Train on the batches under the watch."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    with firstfault.watch(folder=folder) as watched:
        for batch in batches:
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
    return watched


def replayed(watched):
    """The task of the replay, and what stands for the model's inputs in it."""
    recipe = watched.subject.recipe
    return recipe.task, inputs_of_call(recipe.model())


def faults(watched):
    return [fault.fault for fault in watched.verdict(swaps=False).faults]


class Encoder(nn.Module):
    """A classifier of texts, in the style of a tokenizer's batches."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.batch_first = batch_first
        self.words, self.places = nn.Embedding(WORDS, 16), nn.Parameter(torch.randn(LENGTH, 16) * 0.1)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, input_ids, attention_mask=None, labels=None):
        hidden = self.words(input_ids) + self.places[: input_ids.shape[1]]
        hidden = self.encoder(hidden, src_key_padding_mask=attention_mask == 0 if self.batch_first else None)
        kept = attention_mask[..., None].float()
        logits = self.head((hidden * kept).sum(1) / kept.sum(1))
        loss = functional.cross_entropy(logits, labels) if labels is not None else None
        return {"loss": loss, "logits": logits}


def texts(count=24, *, padded=True, dynamic=False):
    """Batches of 16 texts: class 1 holds the word 3."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        length = LENGTH - int(torch.randint(0, 3, (1,), generator=generator)) if dynamic else LENGTH
        ids = torch.randint(4, WORDS, (16, length), generator=generator)
        labels = torch.randint(0, 2, (16,), generator=generator)
        ids[labels == 1, 1] = 3
        mask = torch.ones_like(ids)
        if padded:
            ends = torch.randint(3, length + 1, (16,), generator=generator)
            mask = (torch.arange(length) < ends[:, None]).long()
            ids = ids * mask
        yield {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize(("padded", "dynamic"), [(False, False), (True, False), (True, True)])
def test_texts_with_a_mask_are_replayed_as_tokens(padded, dynamic, tmp_path):
    """The mask follows from the tokens; the labels in the call are left out; texts of other lengths are filled up."""
    torch.manual_seed(0)
    batches = texts(padded=padded, dynamic=dynamic)
    watched = trained(tmp_path, Encoder(), batches, lambda model, batch: model(**batch)["loss"])
    task, inputs = replayed(watched)
    assert task == "classification" and isinstance(inputs, Samples) and inputs.x.shape[1] == LENGTH
    assert faults(watched) == []


def test_an_encoder_that_takes_samples_for_positions_is_found(tmp_path):
    """Without batch_first, samples attend to each other: dict batches show it too."""
    torch.manual_seed(0)
    batches = texts(padded=False)
    watched = trained(tmp_path, Encoder(batch_first=False), batches, lambda model, batch: model(**batch)["loss"])
    assert faults(watched) == ["batch_mixing"]


class Towers(nn.Module):
    """Two towers over a dict of ids and numbers."""

    def __init__(self):
        super().__init__()
        self.user, self.item, self.head = nn.Embedding(10, 8), nn.Linear(3, 8), nn.Linear(16, 1)

    def forward(self, features):
        both = torch.cat([self.user(features["user"]), self.item(features["item"])], 1)
        return self.head(both.relu())[:, 0]


def pairs(count=100):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        user = torch.randint(0, 10, (20,), generator=generator)
        item = torch.randn(20, 3, generator=generator)
        yield {"user": user, "item": item}, (user > 4).float() + item[:, 0]


def test_a_dict_of_ids_and_numbers_is_replayed_by_rows(tmp_path):
    """Neither follows from the other: rows are looked up, and simple models are given their numbers."""
    torch.manual_seed(0)
    loss = nn.MSELoss()
    watched = trained(tmp_path, Towers(), pairs(), lambda model, batch: loss(model(batch[0]), batch[1]), rate=2e-2)
    task, inputs = replayed(watched)
    assert task == "regression" and isinstance(inputs, Rows)
    assert inputs.features(inputs.x[:2]).shape == (2, 4) and faults(watched) == []


class Graphs(nn.Module):
    """Sums over the nodes of each graph, given with their edges."""

    def __init__(self, flat=True):
        super().__init__()
        self.flat, self.first, self.head = flat, nn.Linear(4, 16), nn.Linear(16, 1)

    def forward(self, x, edges, graph):
        hidden = self.first(x).relu()
        hidden = hidden + torch.zeros_like(hidden).index_add(0, edges[1], hidden[edges[0]])
        pooled = torch.zeros(int(graph.max()) + 1, 16).index_add(0, graph, hidden)
        outputs = self.head(pooled)
        return outputs[:, 0] if self.flat else outputs


def graphs(count=20):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        graph = torch.arange(10).repeat_interleave(torch.randint(3, 6, (10,), generator=generator))
        x = torch.nn.functional.one_hot(torch.randint(0, 4, (len(graph),), generator=generator), 4).float()
        edges = torch.stack([torch.arange(len(graph)), torch.arange(len(graph)).roll(1)])
        yield (x, edges, graph), torch.zeros(10).index_add(0, graph, x[:, 0] - x[:, 1])


@pytest.mark.parametrize("flat", [True, False], ids=["right", "broadcast"])
def test_graphs_are_replayed_in_whole_batches(flat, tmp_path):
    """They can't be cut into samples; a loss of (N, 1) against (N,) is seen on them."""
    torch.manual_seed(0)
    watched = trained(
        tmp_path,
        Graphs(flat),
        graphs(),
        lambda model, batch: functional.mse_loss(model(*batch[0]), batch[1]),
        rate=2e-2,
    )
    task, inputs = replayed(watched)
    assert task == "regression" and isinstance(inputs, Batches)
    assert faults(watched) == ([] if flat else ["output_shape_mismatch"])


class Packed(nn.Module):
    """A recurrent net over a packed sequence."""

    def __init__(self):
        super().__init__()
        self.read, self.head = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 2)

    def forward(self, sequence):
        return self.head(self.read(sequence)[1][-1])


def test_packed_sequences_are_replayed_in_whole_batches(tmp_path):
    """A packed sequence stays whole."""
    torch.manual_seed(0)

    def batches():
        for _ in range(24):
            x, labels = torch.randn(16, 6, 3), torch.randint(0, 2, (16,))
            x[:, 0, 0] += 3.0 * labels
            yield pack_padded_sequence(x, torch.randint(2, 7, (16,)), batch_first=True, enforce_sorted=False), labels

    watched = trained(
        tmp_path, Packed(), batches(), lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1])
    )
    task, inputs = replayed(watched)
    assert task == "classification" and isinstance(inputs, Batches) and faults(watched) == []


def test_a_class_for_each_pixel_is_replayed_by_positions(tmp_path):
    """Pixels are positions, with the classes last."""
    torch.manual_seed(0)

    def batches():
        for _ in range(24):
            x = torch.randn(16, 1, 6, 6)
            yield x, (x[:, 0] > 0).long()

    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    watched = trained(
        tmp_path, model, batches(), lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1])
    )
    assert watched.subject.recipe.train.y.shape[1:] == (36,) and watched.subject.outputs.shape[1:] == (36, 2)
    assert watched.subject.trained.score > 0.8 and faults(watched) == []


def test_each_of_several_models_is_looked_at(tmp_path):
    """A softmax over the batch in the second of two models is found without a replay."""
    torch.manual_seed(0)

    class Over(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 3)

        def forward(self, x):
            return self.inner(x).softmax(0)

    first, second = nn.Linear(5, 6), Over()
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], 1e-2)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(10):
            optimizer.zero_grad()
            second(first(torch.randn(16, 5)).relu()).cosh().log().mean().backward()
            optimizer.step()
    found = [finding.check for finding in watched.verdict(swaps=False).layers[-1].failures]
    assert found == ["batch_mixing"]


def test_a_call_is_put_together_as_it_was():
    """Tensors, settings and containers come back in their places."""
    args, kwargs = ([torch.ones(2), (torch.zeros(3), 1)],), {"mask": None, "more": {"x": torch.ones(1)}}
    taken = Arguments.of(args, kwargs)
    again = put_together(taken.form, taken.tensors)
    assert [slot.name for slot in taken.slots] == ["0", "0", "x"] and not taken.opaque
    assert again[1]["mask"] is None and again[0][0][1][1] == 1 and torch.equal(again[1]["more"]["x"], torch.ones(1))

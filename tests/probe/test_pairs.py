"""Targets of other rows or tokens than the inputs that a watched loop pairs them with, beside healthy twins."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status
from firstfault.watcher.verdict import SEEN_IN_A_LOOP

WORDS, LENGTH = 24, 12
CLASSES = nn.CrossEntropyLoss()


def failures(seen):
    """What the two checks of pairs say of a watched loop."""
    entries = [entry for entry in checks_of(Layer.PREPROCESSING) if entry.name in ("watched_pairs", "targets_ahead")]
    found = [finding for entry in entries for finding in run_check(entry, seen.subject, {})]
    assert not [finding for finding in found if finding.status is Status.ERROR], found
    return [finding for finding in found if finding.status is Status.FAIL]


def faults(seen):
    return [fault for finding in failures(seen) for fault in finding.faults]


def rows(count=700, seed=0):
    """Independent rows, and classes that follow from them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    return x, (x @ torch.randn(6, 3, generator=generator)).argmax(1)


def one_ahead(batches):
    """The batches, of which the next is drawn before one is given, as trainers do to know the last."""
    batches = iter(batches)
    held = next(batches)
    for batch in batches:
        yield held
        held = batch
    yield held


def learnt(folder, x, y, *, loss=CLASSES, outputs=3, epochs=2, shuffled=True, ahead=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, outputs))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=folder) as seen:
        for _ in range(epochs):
            batches = (
                DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True)
                if shuffled
                else zip(x.split(50), y.split(50), strict=True)
            )
            for inputs, target in one_ahead(batches) if ahead else batches:
                optimizer.zero_grad()
                loss(model(inputs), target).backward()
                optimizer.step()
    return seen


@pytest.mark.parametrize(("by", "ahead"), [(-2, False), (1, True)])
def test_pairs_that_are_moved(tmp_path, by, ahead):
    """Labels of the rows before or after are told as misaligned, though the loader shuffles the pairs, and is ahead."""
    x, y = rows()
    seen = learnt(tmp_path, x, y.roll(by), ahead=ahead)
    (finding,) = failures(seen)
    assert set(finding.faults) == {"misaligned_labels"}
    assert f"{abs(by)} row" in finding.message


def test_numbers_that_are_moved_in_a_plain_loop(tmp_path):
    """Where slices are taken in order, and squares written out, numbers of the next rows are told as misaligned."""
    x, _ = rows()
    y = x[:, :1] * 2 + x[:, 1:2]
    seen = learnt(tmp_path, x[:-1], y[1:], loss=lambda out, y: ((out - y) ** 2).mean(), outputs=1, shuffled=False)
    (fault,) = seen.verdict(swaps=False).faults
    assert (fault.fault, fault.layer) == ("misaligned_labels", Layer.PREPROCESSING)


def test_pairs_of_another_order(tmp_path):
    """Labels that belong to no near row, and that the model learns by heart, are told as independent of the inputs."""
    x, y = rows(300)
    seen = learnt(tmp_path, x, y[torch.randperm(300, generator=torch.Generator().manual_seed(1))] > 0, epochs=50, **BCE)
    assert faults(seen) == ["random_labels"]


BCE = {"loss": lambda out, y: F.binary_cross_entropy_with_logits(out[:, 0], y.float()), "outputs": 1}


def past(count=600):
    """What a series of noise was before, and whether it rises next: in the past of the next row that is known."""
    noise = torch.randn(count, generator=torch.Generator().manual_seed(2))
    return noise.unfold(0, 6, 1)[:-1], (noise[6:] > 0).long()


def parity(count=1200):
    """Signs, and whether the product of three of them is positive: no simple model sees it."""
    signs = torch.randint(0, 2, (count, 6), generator=torch.Generator().manual_seed(3)).float() * 2 - 1
    return signs + 0.1 * torch.randn(count, 6, generator=torch.Generator().manual_seed(4)), (
        signs[:, :3].prod(1) > 0
    ).long()


@pytest.mark.parametrize("pairs", [rows, parity])
def test_pairs_that_fit(tmp_path, pairs):
    """Labels that follow from their own inputs are sound, also where only the network sees how."""
    seen = learnt(tmp_path, *pairs(), epochs=6)
    assert not {"misaligned_labels", "random_labels"} & set(faults(seen))


def test_a_series_that_is_told_from_its_past(tmp_path):
    """The next step of noise is no label of another row: that of the row before is among the inputs."""
    assert "misaligned_labels" not in faults(learnt(tmp_path, *past()))


@pytest.mark.parametrize("ahead", [-2, 0, 1])
def test_windows_that_overlap_what_they_forecast(tmp_path, ahead):
    """Targets among the inputs of their own rows are given away; those of a row that is reconstructed are not."""
    windows = torch.randn(407, generator=torch.Generator().manual_seed(0)).unfold(0, 8, 1)
    x, y = windows[:, :4].contiguous(), windows[:, 4 + ahead : 6 + ahead].contiguous()
    given = learnt(tmp_path / "given", x, y, loss=nn.MSELoss(), outputs=2, epochs=1)
    whole = learnt(tmp_path / "whole", x, x.flip(1), loss=nn.MSELoss(), outputs=4, epochs=1)
    (entry,) = [entry for entry in checks_of(Layer.PREPROCESSING) if entry.name == "targets_among_inputs"]
    found = [run_check(entry, seen.subject, {})[0].status for seen in (given, whole)]
    assert found == [Status.FAIL if ahead < 0 else Status.PASS, Status.PASS]


class Cells(nn.Module):
    """A recurrent language model that may take its loss, and shift its labels or its inputs, by itself."""

    def __init__(self, *, shifts=0, delayed=False):
        super().__init__()
        self.shifts, self.delayed = shifts, delayed
        self.words, self.cells, self.head = (
            nn.Embedding(WORDS, 16),
            nn.GRU(16, 16, batch_first=True),
            nn.Linear(16, WORDS),
        )

    def forward(self, ids, labels=None):
        given = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1) if self.delayed else ids
        logits = self.head(self.cells(self.words(given))[0])
        if labels is None:
            return logits
        kept = logits[:, : logits.shape[1] - self.shifts]
        return logits, F.cross_entropy(kept.flatten(0, 1), labels[:, self.shifts :].flatten())


def texts(seed=0):
    return torch.randint(0, WORDS, (48, LENGTH + 2), generator=torch.Generator().manual_seed(seed))


def spoken(folder, model, step, *, steps=6):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=folder) as seen:
        for number in range(steps):
            optimizer.zero_grad()
            step(model, texts(number)).backward()
            optimizer.step()
    return seen


def outside(ahead):
    """A loss in the loop, of the tokens so many positions ahead."""
    return lambda model, ids: F.cross_entropy(model(ids[:, :LENGTH]).transpose(1, 2), ids[:, ahead : LENGTH + ahead])


def inside(model, ids):
    return model(ids, labels=ids)[1]


def moved_inside(model, ids):
    """The model is given labels that the loop has moved, and moves them as well."""
    return model(ids[:, :-1], labels=ids[:, 1:])[1]


def in_pieces(ahead):
    """A loss over two pieces of a text; the second begins with the state that the first ended with."""

    def step(model, ids):
        _, state = model(ids[:, :4], None)
        return F.cross_entropy(model(ids[:, 4:9], state.detach())[0].transpose(1, 2), ids[:, 4 + ahead : 9 + ahead])

    return step


class Going(Cells):
    """A recurrent language model that is given its state, and gives the next one."""

    def forward(self, ids, state):
        hidden, state = self.cells(self.words(ids), state)
        return self.head(hidden), state


LANGUAGE = {
    "next token": (Cells(), outside(1), None),
    "shifted inside": (Cells(shifts=1), inside, None),
    "delayed inputs": (Cells(delayed=True), outside(0), None),
    "not shifted": (Cells(), outside(0), "misaligned_labels"),
    "not shifted inside": (Cells(), inside, "misaligned_labels"),
    "shifted twice": (Cells(), outside(2), "labels_shifted_twice"),
    "shifted twice inside": (Cells(shifts=2), inside, "labels_shifted_twice"),
    "shifted in the loop and inside": (Cells(shifts=1), moved_inside, "labels_shifted_twice"),
    "next token, in pieces": (Going(), in_pieces(1), None),
    "not shifted, in pieces": (Going(), in_pieces(0), "misaligned_labels"),
    "delayed and shifted": (Cells(delayed=True), outside(1), "labels_shifted_twice"),
}


@pytest.mark.parametrize("name", LANGUAGE)
def test_tokens_ahead(tmp_path, name):
    """A language model's targets are the next tokens; the same ones, or those after the next, are told."""
    model, step, fault = LANGUAGE[name]
    found = faults(spoken(tmp_path, model, step))
    assert (fault in found) if fault else not {"misaligned_labels", "labels_shifted_twice"} & set(found)


class Filler(Cells):
    """A model that sees all tokens, and so may be asked for those that it sees."""

    def forward(self, ids):
        hidden = self.cells(self.words(ids))[0]
        return self.head(hidden + hidden.flip(1))


def test_a_model_that_sees_all_may_be_asked_for_its_inputs(tmp_path):
    """An autoencoder of tokens is no language model whose targets were not shifted."""
    assert "misaligned_labels" not in faults(spoken(tmp_path, Filler(), outside(0)))


def test_the_checks_of_a_loop_are_there():
    """Each check that a watched loop is given of the preprocessing is a check of that layer."""
    assert set(SEEN_IN_A_LOOP) <= {entry.name for entry in checks_of(Layer.PREPROCESSING)}

"""Batches of a recipe's splits: from the user's own loader where the target declares one, else from firstfault's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard, TypeVar

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from firstfault.errors import UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.training.recipe import Recipe, Tensors, device_of

T = TypeVar("T")
Pair = tuple[torch.Tensor, torch.Tensor]


class _Samples(Dataset[Pair]):
    """Tensors that a DataLoader fetches a batch at a time."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, index: int) -> Pair:
        return self.tensors.x[index], self.tensors.y[index]

    def __getitems__(self, index: list[int]) -> Pair:
        return self.tensors.x[index], self.tensors.y[index]


def loader(tensors: Tensors, batch_size: int, shuffle: bool, seed: int) -> DataLoader[Pair]:
    """Batches `(x, y)` of a split, in an order that the seed fixes.

    A shuffled pass leaves a last batch of one sample out, which batch normalisation would refuse; another pass has it.
    """
    lone = shuffle and len(tensors) > batch_size and len(tensors) % batch_size == 1
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(
        _Samples(tensors),
        batch_size=batch_size,
        shuffle=shuffle,
        generator=generator,
        collate_fn=_as_it_is,
        drop_last=lone and batch_size > 1,
    )


def _as_it_is(batch: T) -> T:
    return batch


class UserBatches:
    """What the user's `training.loader` returned, each pass with an exception in it told as the user's."""

    def __init__(self, recipe: Recipe, tensors: Tensors, split: str, model: nn.Module | None = None) -> None:
        self._recipe, self._model = recipe, model
        assert recipe.training.loader is not None
        try:
            self.batches = recipe.training.loader(tensors.x.clone(), tensors.y.clone(), split)
            if iter(self.batches) is self.batches:
                raise TypeError(
                    "it must return batches that can be iterated again, such as a DataLoader, but returned an iterator"
                )
        except BaseException as error:
            pass_on(error)
            raise self._told(error) from error

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.batches)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except BaseException as error:
                pass_on(error)
                raise self._told(error) from error
            yield batch if self._model is None else self._placed(batch, self._model)

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["batches"], name)

    def _told(self, error: BaseException) -> UserCodeError:
        return UserCodeError(Layer.PREPROCESSING, "training.loader", error, self._recipe.root)

    def _placed(self, batch: Any, model: nn.Module) -> Any:
        """A pair `(x, y)` where firstfault's own loader would have put it; another kind of batch as it is."""
        if not is_pair(batch):
            return batch
        x, y = batch
        return self._recipe.inputs_for(model, x), y.to(device_of(self._recipe.training))


def is_pair(batch: object) -> TypeGuard[Pair]:
    """Whether a batch is two tensors `(x, y)`."""
    return isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, torch.Tensor) for part in batch)


def batches_of(recipe: Recipe, split: str, seed: int, model: nn.Module | None = None) -> Iterable[Any]:
    """The batches of train or validation, to be iterated once an epoch.

    With a `model`, the inputs come in the type and on the device that it takes, as a user's `fit` expects them.

    Raises:
        UserCodeError: when the user's loader raises, or cannot be iterated twice.
    """
    settings, tensors = recipe.training, getattr(recipe, split)
    if settings.loader is not None:
        return UserBatches(recipe, tensors, split, model)
    if model is not None:
        tensors = Tensors(recipe.inputs_for(model, tensors.x), tensors.y)
    return loader(tensors, settings.batch_size, settings.shuffle and split == "train", seed)


def through_loader(recipe: Recipe, tensors: Tensors) -> list[Tensors]:
    """Rows as the batches that the user's loader makes of them on the path of validation.

    In one piece where there is none.

    Raises:
        UserCodeError: when the user's loader raises.
    """
    if recipe.training.loader is None or not len(tensors):
        return [tensors]
    return [Tensors(*batch) for batch in UserBatches(recipe, tensors, "validation") if is_pair(batch)] or [tensors]


def first_batch(recipe: Recipe, tensors: Tensors) -> Tensors | None:
    """The first batch that the user's loader makes of training rows; None without a loader of pairs `(x, y)`.

    Raises:
        UserCodeError: when the user's loader raises.
    """
    if recipe.training.loader is None:
        return None
    batch = next(iter(UserBatches(recipe, tensors, "train")), None)
    return Tensors(*batch) if is_pair(batch) and len(batch[0]) else None

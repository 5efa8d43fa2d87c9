"""Other batches: in a new order every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from firstfault.probe.interventions.hooks import replaced
from firstfault.probe.interventions.intervention import Done, intervention


@intervention(change="shuffled batches", undoes=("no_shuffle",), on_validation=True)
def shuffled(done: Done) -> Iterator[None]:
    """Every torch DataLoader shuffles, but those with a sampler or a stream."""
    from torch.utils.data import DataLoader, IterableDataset

    def made(init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        data = args[1] if len(args) > 1 else kwargs.get("dataset")
        ordered = len(args) <= 3 and not any(kwargs.get(name) for name in ("shuffle", "sampler", "batch_sampler"))
        if ordered and not isinstance(data, IterableDataset):
            done.note("DataLoader(shuffle=True)", "loader")
            done.set("shuffle", True)
            kwargs = {**kwargs, "shuffle": True}
        init(*args, **kwargs)

    with replaced(DataLoader, "__init__", made):
        yield

"""A reference to a run: plain values by which any process comes to the same target, settings and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from firstfault.check import Depth
from firstfault.errors import FirstfaultError
from firstfault.output.whole_files import write_json

FILE = "run.json"


@dataclass(frozen=True)
class RunRef:
    """What is passed on instead of data: where a run's target and files are, and its MLflow run."""

    target: str
    folder: str
    home: str
    depth: Depth = Depth.STANDARD
    overrides: Mapping[str, str] = field(default_factory=dict)
    dataset: str | None = None
    where: str | None = None
    mlflow_run_id: str | None = None

    def keep(self) -> None:
        """Write the reference into the run's folder."""
        write_json(
            Path(self.folder) / FILE, {**asdict(self), "depth": self.depth.value, "overrides": dict(self.overrides)}
        )

    @classmethod
    def of(cls, folder: Path) -> RunRef:
        """The reference that a run has left in its folder, wherever that has been moved to.

        Raises:
            FirstfaultError: when there is none, or it can't be read.
        """
        file = folder / FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return cls(**{**values, "folder": str(folder), "depth": Depth(values["depth"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FirstfaultError(
                f"{folder} must be the folder of a run of `debug` or `sweep`, but its {FILE} can't be read: "
                f"{type(error).__name__}"
            ) from error

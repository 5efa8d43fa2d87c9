"""How a run's files lie among its artifacts in MLflow: report and verdict on top, the rest in folders by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from firstfault.finding import Layer, LayerReport
from firstfault.output.whole_files import is_draft

TOP = ("report.html", "verdict.json", "sweep.json")
LOCAL = ("trained.pt", "quarantine.csv", "run.json", "mlflow.jsonl", "facts.json")
"""Files that stay in the run's folder: weights are in the logged model, quarantined rows are raw, places and the user's
code are local.
"""
SHELF, REST = "layers", "more"
LINK = re.compile(r'<a href="\./([^"/]+)(/?)">(.*?)</a>')


class Shelves:
    """The layer of each file of a run's folder: that of a finding which names it, else the one it was written in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._layers: dict[str, str] = {}

    def fill(self, report: LayerReport) -> None:
        """Take in what a layer has written."""
        layer = report.layer.value
        for path in self.files():
            self._layers.setdefault(path.name, layer)
        self._layers |= dict.fromkeys((name for finding in report.findings for name in finding.artifacts), layer)

    def put(self, name: str, layer: Layer) -> None:
        """Put a file, written later than its layer was recorded, with those of the layer."""
        self._layers[name] = layer.value

    def files(self) -> list[Path]:
        """The files of the run's folder that are whole, and may leave it."""
        return [path for path in sorted(self.folder.iterdir()) if not is_draft(path) and path.name not in LOCAL]

    def place(self, name: str) -> str:
        """The folder of a file among the artifacts; empty for those on top."""
        if name in TOP:
            return ""
        return f"{SHELF}/{self._layers[name]}" if name in self._layers else REST

    def sorted(self) -> Mapping[str, list[Path]]:
        """The files by their folders among the artifacts."""
        found: dict[str, list[Path]] = {}
        for path in self.files():
            found.setdefault(self.place(path.name), []).append(path)
        return found

    def readdressed(self, page: str) -> str:
        """A report whose links lead to where its files are among the artifacts; a file that stays is not linked."""
        places = {quote(path.name): self.place(path.name) for path in self.files()}

        def address(link: re.Match[str]) -> str:
            name, slash, text = link.groups()
            if name not in places:
                return text
            return f'<a href="./{places[name]}/{name}{slash}">{text}</a>' if places[name] else link[0]

        return LINK.sub(address, page)

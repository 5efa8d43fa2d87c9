"""The files that lie beside a report: what each is, and its address."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

KNOWN_FILES = {
    "verdict.json": "the verdict, for tools",
    "stages.json": "statistics of every preprocessing stage",
    "model_summary.txt": "layers, shapes and parameters",
    "trained.pt": "the trained weights",
    "failure_cases.json": "what the safety evaluation got wrong",
    "gx_result.json": "Great Expectations, as JSON",
    "safety_evaluation_report.pdf": "the safety evaluation, as PDF",
    "layer_1_data.json": "findings of a layer",
    "quarantine.csv": "rows that break an expectation, with the reasons",
    "gx_result.html": "Great Expectations, to read",
    "profile.html": "a profile of a sample, by ydata-profiling",
    "profile_alerts.json": "the profile's alerts",
    "profile_compare.html": "a sample of the reference beside this one, by ydata-profiling",
    "profile_left_out.json": "columns of another type in the reference",
    "drift.csv": "every column before and after",
    "drift.svg": "the columns that moved most",
    "domain_columns.csv": "the columns that tell train from the rest",
    "joint_drift.svg": "two columns that moved together",
    "columns.csv": "every column, with its range or commonest values",
    "class_balance.svg": "the share of each class per split",
    "missing_values.svg": "where values are missing",
    "embedding_map.svg": "a map of the training rows",
    "label_suspects.csv": "rows whose label looks wrong",
    "batch.svg": "the first training batch, as the model sees it",
    "outliers.svg": "images without content",
    "shortcut_region.svg": "the region that marks a class",
    "label_suspects.svg": "samples whose label looks wrong",
    "duplicate_rows.csv": "pairs of equal rows",
    "split_overlap.csv": "rows that are also in train",
    "unreadable_images.csv": "image files that can't be used",
    "odd_images.csv": "image files unlike the others",
    "blank_images.csv": "images of one value",
    "images_of_two_classes.csv": "equal images under two classes",
    "model_summary.json": "layers, shapes and parameters, as JSON",
    "trace.json": "a profile of a few steps: open it in a trace viewer",
    "trace.json.gz": "a profile of a few steps: open it in a trace viewer",
    "step_operators.csv": "the dearest operators of a step",
    "step_phases.csv": "the time of a step by what is done in it",
}


def files_of(folder: Path) -> list[dict[str, str]]:
    """Each file of a run's folder with what it is and its size, without the report itself."""
    entries = [
        entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".") and entry.name != "report.html"
    ]
    return [
        {"name": entry.name + "/" * entry.is_dir(), "about": _about(entry.name), "size": _size(entry)}
        for entry in entries
    ]


def _about(name: str) -> str:
    if re.fullmatch(r"layer_\d_\w+\.json", name):
        return "findings of one layer, for tools"
    return KNOWN_FILES.get(name, "")


def _size(entry: Path) -> str:
    if entry.is_dir():
        return "folder"
    size = entry.stat().st_size
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def file_url(name: str) -> str:
    """The relative address of a file beside the report."""
    return f"./{quote(name)}"

"""Nine defects in generated mixed tables: what the data layer finds, and what it costs beside a polars scan.

    python benchmarks/data_defects.py [--rows 100000 1000000] [--seeds 1] [--whole]

Per size: a reference, a clean table of the same source and one with nine defects, 22 mixed columns and a label each,
as parquet. The data layer examines both at depth standard, in a process of its own with the libraries imported. All
times are CPU seconds of that process; the profile of a sample (ydata-profiling) runs in another one and is given
apart. Checks that work on samples (models on 3,000 rows, drift on 30,000) cost the same whatever the size, and are
given apart too: the ratio is that of all that passes over the rows, reading included. A defect counts as found when a
failed finding names its fault, its column, and its number of rows. `--whole` also validates the whole frame at once,
as Great Expectations' pandas engine comes. Last line: `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import pandas as pd

CATEGORIES = (3, 5, 8, 12, 20, 30, 40, 6)
LABEL = "kind"
MOST_RATIO = 3.0
ON_SAMPLES = (
    "embedding_map",
    "labels_against_inputs",
    "label_suspects",
    "noisy_rows",
    "weak_slices",
    "domain_classifier",
    "near_duplicates",
    "insufficient_data",
    "pair_leakage",
    "target_leakage",
    "spurious_shortcut",
    "covariate_drift",
)
IMPORTED = ("cleanlab.rank", "great_expectations.expectations", "polars", "scipy.stats", "sklearn.ensemble", "torch")


class Defect(NamedTuple):
    """A planted defect: the fault that names it, its column (or place), and how many rows it has."""

    fault: str
    place: str
    rows: int


def main() -> None:
    """Measure every size and seed, print a table, and end with the RESULT line."""
    options = _options()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            for seed in range(options.seeds):
                results.append(_measure(Path(folder), rows, seed, options.whole))
                _print(results[-1])
    marks = {
        "found": min(r["found"] for r in results),
        "of": 9,
        "false_faults": sum(len(r["false_faults"]) for r in results),
        "ratio": max(r["ratio"] for r in results),
        "ratio_limit": MOST_RATIO,
    }
    print("RESULT", json.dumps({**marks, "runs": results}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--examine", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.examine:
        print(json.dumps(_examine(Path(options.examine[0]), options.examine[1])))
        raise SystemExit
    return options


def _measure(folder: Path, rows: int, seed: int, whole: bool) -> dict[str, Any]:
    clean, spoiled = folder / f"clean_{rows}_{seed}", folder / f"spoiled_{rows}_{seed}"
    defects = _write(clean, spoiled, rows, seed)
    good, bad = _in_process(clean, "layer"), _in_process(spoiled, "layer")
    found = {defect.fault: _found(defect, bad["findings"]) for defect in defects}
    validation, on_samples = (
        bad["seconds_of"]["expectations"],
        sum(bad["seconds_of"].get(name, 0.0) for name in ON_SAMPLES),
    )
    result = {
        "rows": rows,
        "seed": seed,
        "found": sum(not missing for missing in found.values()),
        "missed": {fault: missing for fault, missing in found.items() if missing},
        "false_faults": [finding["message"] for finding in good["findings"] if finding["status"] == "fail"],
        "crashed": [
            finding["message"] for finding in good["findings"] + bad["findings"] if finding["status"] == "error"
        ],
        "scan_seconds": bad["scan"],
        "layer_seconds": bad["layer"],
        "validation_seconds": validation,
        "sample_seconds": round(on_samples, 2),
        "ratio": round((bad["layer"] - validation - on_samples) / bad["scan"], 2),
        "ratio_with_samples": round((bad["layer"] - validation) / bad["scan"], 2),
        "profile_seconds": bad["profile"],
        "peak_gb": bad["peak_gb"],
        "seconds_of": bad["seconds_of"],
    }
    if whole:
        result["whole_frame_seconds"] = _in_process(spoiled, "whole")["validation"]
    return result


def _print(result: dict[str, Any]) -> None:
    print(
        f"{result['rows']:>9,} rows, seed {result['seed']}: {result['found']} of 9 defects found, "
        f"{len(result['false_faults'])} faults on the clean twin"
    )
    for fault, missing in result["missed"].items():
        print(f"    missed {fault}: {missing}")
    for message in [*result["false_faults"], *result["crashed"]]:
        print(f"    on the clean twin, or crashed: {message}")
    print(
        f"    polars scan {result['scan_seconds']:.2f} s; data layer {result['layer_seconds']:.2f} s, "
        f"of which Great Expectations {result['validation_seconds']:.2f} s, "
        f"checks on samples {result['sample_seconds']:.2f} s; the rest is {result['ratio']:.2f} × the scan "
        f"(limit {MOST_RATIO:.0f}; {result['ratio_with_samples']:.2f} × with them); "
        f"profile {result['profile_seconds']:.1f} s; peak {result['peak_gb']:.2f} GB"
    )
    if "whole_frame_seconds" in result:
        whole = result["whole_frame_seconds"]
        times = whole / max(result["validation_seconds"], 1e-9)
        print(f"    Great Expectations on the whole frame at once: {whole:.2f} s, {times:.1f} × ours")
    slowest = sorted(result["seconds_of"].items(), key=lambda entry: -entry[1])[:6]
    print("    slowest checks: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest))


def _place(finding: dict[str, Any]) -> str | None:
    return finding["where"]["text"] if finding["where"] else None


def _found(defect: Defect, findings: list[dict[str, Any]]) -> str:
    """Why a defect is not found; empty when it is."""
    named = [finding for finding in findings if finding["status"] == "fail" and defect.fault in finding["faults"]]
    if not named:
        return "no failed finding names the fault"
    placed = [finding for finding in named if defect.place in f"{_place(finding)} {finding['message']}"]
    if not placed:
        return f"{defect.place} is not named: {_place(named[0])}"
    numbers = {int(text.replace(",", "")) for finding in placed for text in re.findall(r"\d[\d,]*", finding["message"])}
    slack = 0.3 * defect.rows if defect.fault == "label_noise" else 0
    if defect.rows and not any(abs(number - defect.rows) <= slack for number in numbers):
        return f"{defect.rows} rows are not named: {placed[0]['message'][:160]}"
    return ""


def _write(clean: Path, spoiled: Path, rows: int, seed: int) -> list[Defect]:
    rng = np.random.default_rng(seed)
    reference = _table(rows, rng)
    for folder in (clean, spoiled):
        folder.mkdir()
        reference.to_parquet(folder / "reference.parquet")
    train, test = _table(rows * 9 // 10, rng), _table(rows // 10, rng)
    _store(clean, train, test)
    train, test = _table(rows * 9 // 10, rng), _table(rows // 10, rng)
    defects = _spoil(train, test, rng)
    _store(spoiled, train, test)
    return defects


def _store(folder: Path, train: pd.DataFrame, test: pd.DataFrame) -> None:
    train.to_parquet(folder / "train.parquet")
    test.to_parquet(folder / "test.parquet")


def _table(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """10 floats, 4 whole numbers, 8 categories, and a label of two names that five of them decide, up to noise."""
    columns: dict[str, Any] = {f"x{i}": rng.normal(50 * i, 10 + i, rows) for i in range(9)}
    columns["x9"] = rng.uniform(0, 1, rows)
    columns |= {f"i{i}": rng.integers(0, 1000 * (i + 1), rows) for i in range(4)}
    columns |= {f"c{i}": rng.choice([f"cat{i}_{j}" for j in range(count)], rows) for i, count in enumerate(CATEGORIES)}
    signal = sum((columns[f"x{i}"] - 50 * i) / (10 + i) for i in (3, 4, 5, 6)) + 1.5 * (columns["c7"] == "cat7_0")
    columns[LABEL] = np.where(signal + rng.logistic(0, 0.15, rows) > 0.2, "yes", "no")
    return pd.DataFrame(columns)


def _spoil(train: pd.DataFrame, test: pd.DataFrame, rng: np.random.Generator) -> list[Defect]:
    """Plant all nine, each in a column of its own; copies of rows come last, so that they are whole."""

    def some(frame: pd.DataFrame, share: float) -> Any:
        return rng.choice(len(frame), round(share * len(frame)), replace=False)

    rows = len(train) + len(test)
    flipped = some(train, 0.05)
    train.loc[flipped, LABEL] = np.where(train.loc[flipped, LABEL] == "yes", "no", "yes")
    for frame in (train, test):
        frame.loc[some(frame, 0.02), "x0"] = np.nan
        frame.loc[some(frame, 0.005), "x1"] = 9e4
        frame.loc[some(frame, 0.01), "c0"] = "Atlantis"
        frame["x2"] += 0.5 * 12
        frame["i0"] = frame["i0"].astype(str)
        frame["x9"] = 0.5 * (frame[LABEL] == "yes") + rng.uniform(0, 0.49, len(frame))
    copies = some(train, 0.06)
    half = len(copies) // 2
    train.iloc[copies[:half]] = train.iloc[copies[half : 2 * half]].to_numpy()
    shared = some(test, 0.01)
    test.iloc[shared] = train.iloc[some(train, 1.0)[: len(shared)]].to_numpy()
    both = pd.concat([train, test])
    return [
        Defect("missing_values", "x0", int(both["x0"].isna().sum())),
        Defect("out_of_range", "x1", int((both["x1"] == 9e4).sum())),
        Defect("unseen_category", "c0", int((both["c0"] == "Atlantis").sum())),
        Defect("label_noise", "train labels", len(flipped)),
        Defect("duplicate_rows", "train", half),
        Defect("split_overlap", "test", len(shared)),
        Defect("covariate_drift", "x2", 0),
        Defect("type_change", "i0", rows),
        Defect("target_leakage", "x9", 0),
    ]


def _in_process(folder: Path, what: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--examine", str(folder), what], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def _examine(folder: Path, what: str) -> dict[str, Any]:
    return _whole_frame(folder) if what == "whole" else _layer(folder)


def _layer(folder: Path) -> dict[str, Any]:
    """The data layer of one target: its findings, CPU seconds by check, and those of a polars scan of the files."""
    for library in IMPORTED:
        importlib.import_module(library)
    from firstfault import Data, Target
    from firstfault.check import Depth
    from firstfault.diagnosis import examine
    from firstfault.finding import Layer
    from firstfault.progress import CheckStarted, listening
    from firstfault.subject.subject import Subject

    data = Data(train="train.parquet", test="test.parquet", reference="reference.parquet", label=LABEL)
    subject = Subject(Target("defects", data=data, root=folder), folder / "run")
    scan = _scan(folder)
    started: list[tuple[str, float]] = []
    before = time.process_time()
    with listening(
        lambda event: started.append((event.check, time.process_time())) if isinstance(event, CheckStarted) else None
    ):
        report = examine(Layer.DATA, subject, Depth.STANDARD)
    after = time.process_time()
    ends = [moment for _, moment in started[1:]] + [after]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "findings": [finding.to_json() for finding in report.findings],
        "scan": round(scan, 3),
        "layer": round(after - before, 3),
        "seconds_of": {name: round(end - begin, 3) for (name, begin), end in zip(started, ends, strict=True)}
        | {"reading": round(started[0][1] - before, 3)},
        "profile": round(children.ru_utime + children.ru_stime, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def _scan(folder: Path) -> float:
    """CPU seconds in which polars reads the files and takes nulls, extremes and distinct values of every column."""
    import polars as pl

    before = time.process_time()
    for name in ("reference", "train", "test"):
        every = pl.all()
        pl.scan_parquet(folder / f"{name}.parquet").select(
            every.null_count().name.suffix("_nulls"),
            every.min().name.suffix("_min"),
            every.max().name.suffix("_max"),
            every.n_unique().name.suffix("_distinct"),
        ).collect()
    return time.process_time() - before


def _whole_frame(folder: Path) -> dict[str, Any]:
    """CPU seconds of validating train and test as one frame, all columns at once."""
    from firstfault.data.expectations.by_column import quiet_context
    from firstfault.data.expectations.suite import infer_suite
    from firstfault.data.expectations.table import Table

    suite = infer_suite(Table([pd.read_parquet(folder / "reference.parquet")]), "whole")
    frame = pd.concat([pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "test")], ignore_index=True)
    before = time.process_time()
    asset = quiet_context().data_sources.add_pandas("whole").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch(batch_parameters={"dataframe": frame})
    batch.validate(suite, result_format="SUMMARY")
    return {"validation": round(time.process_time() - before, 2)}


if __name__ == "__main__":
    main()

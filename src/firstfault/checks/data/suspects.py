"""Rows whose label is most likely wrong, listed for a person to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._out_of_fold import FEWEST_ROWS, OutOfFold, out_of_fold
from firstfault.checks.data._pictures import gallery, images_of
from firstfault.data.frames import table
from firstfault.extras import optional_files
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_frame
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

TABLE, PICTURE = "label_suspects.csv", "label_suspects.svg"
LISTED = 500  # rows that a person looks through
DRAWN = 16  # two lines of a gallery
SHOWN_COLUMNS = 12  # columns beside a row's label that fit on a screen


@check(layer=Layer.DATA, needs={"raw"}, detects={}, depth=Depth.STANDARD)
def label_suspects(subject: Subject) -> Iterator[Judgement]:
    """List the rows whose label two fast models, fitted on other rows, hold for wrong.

    Measures: the share of such rows among at most 3,000 training rows: those that confident learning prunes, the least
        credible first. `label_suspects.csv` holds the place in train, the given and the likely label, a quality score
        (0–1, low is bad) and the values, personal ones masked; `label_suspects.svg` draws up to 16 where samples are
        images.
    Fails when: never. Hard rows of clean data are listed too: `labels_against_inputs` judges.
    Source: confident learning (Northcutt et al. 2021), as cleanlab has it.
    """
    found = out_of_fold(subject)
    if found is None:
        yield skipped(f"only classes and table-like inputs of at least {FEWEST_ROWS} rows are looked at")
        return
    places, _ = suspects(subject)
    if not len(places):
        yield passed(
            f"none of {len(found.y)} rows looked at has a suspect label", value=0.0, where=Place.labels("train")
        )
        return
    yield Judgement(
        Status.PASS,
        f"{len(places)} of {len(found.y)} training rows looked at deserve a look: their label is not the likely one",
        value=len(places) / len(found.y),
        where=Place.labels("train"),
        artifacts=suspect_files(subject),
    )


@memo(of="raw")
def suspects(subject: Subject) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Places among the rows looked at, worst first, and the label quality `(N,)` of all of them; computed once."""
    return _pruned(out_of_fold(subject))


def _pruned(found: OutOfFold | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    if found is None:
        return np.zeros(0, int), np.zeros(0)
    quality = get_label_quality_scores(found.y, found.probabilities)
    places = find_label_issues(
        found.y, found.probabilities, filter_by="both", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    places = np.asarray(places, dtype=int)
    return places[found.wrong[places]], np.asarray(quality)


@memo(of="raw")
@optional_files
def suspect_files(subject: Subject) -> tuple[str, ...]:
    """Write the list, and the gallery where samples are images.

    Returns the names of the files; none when no row is suspect, or cleanlab is missing.
    """
    return _written(subject)


def _written(subject: Subject) -> tuple[str, ...]:
    from firstfault.data.privacy.masking import masked_text

    found = out_of_fold(subject)
    places, quality = suspects(subject)
    if found is None or not len(places):
        return ()
    likely = found.probabilities.argmax(1)
    names = [masked_text(str(value)) for value in found.classes]
    listed = places[:LISTED]
    frame = pd.DataFrame(
        {
            "train_row": found.rows[listed],
            "given_label": [names[label] for label in found.y[listed]],
            "likely_label": [names[label] for label in likely[listed]],
            "quality": quality[listed].round(4),
        }
    )
    values = shown_values(subject.raw.train.X, found.rows[listed])
    write_frame(subject.folder / TABLE, frame if values is None else pd.concat([frame, values], axis=1))
    drawn = listed[:DRAWN]
    images = images_of(subject.raw.train.X, found.rows[drawn])
    if images is None:
        return (TABLE,)
    captions = [f"{_short(names[found.y[place]])} → {_short(names[likely[place]])}" for place in drawn]
    title = "Given label → likely label, least credible first"
    return gallery(images, captions, subject.folder, PICTURE, title=title), TABLE


def _short(name: str) -> str:
    return name if len(name) <= 8 else name[:7] + "…"


def shown_values(X: Any, rows: Any) -> pd.DataFrame | None:
    """The values of some rows in at most 12 columns, personal ones masked; None for images and other large samples."""
    from firstfault.data.privacy.masking import MASK, kinds_of, masked

    frame = table(X)
    if frame is None:
        return None
    frame = frame.iloc[:, :SHOWN_COLUMNS]
    values = masked(frame.iloc[rows].reset_index(drop=True))
    for name, kind in kinds_of(frame).items():  # a few rows alone may not tell that a column is personal
        values[name] = f"{kind} {MASK}"
    return values

"""Optuna's own plots of a sweep as PNGs. They are drawn with pyplot, whose state is left as it was."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from firstfault.ablation.sweeps.importances import analysed, evaluator, importances_of
from firstfault.ablation.sweeps.results import SweepResult
from firstfault.output.escaping import unparsed

INCHES, DPI = (9.0, 5.0), 110


def optuna_plots(result: SweepResult) -> dict[str, bytes]:
    """PNG bytes by title: history and importances; of a grid or search parallel coordinates and slices, and the curves of pruned trainings."""
    study = analysed(result.searched, result.distributions)
    with _own_pyplot():
        return {title: png for title, draw in _wanted(study, result.mode).items() if (png := _png(draw)) is not None}


def _wanted(study: Any, mode: str) -> dict[str, Callable[[], Any]]:
    from optuna.visualization import matplotlib as plots

    wanted: dict[str, Callable[[], Any]] = {
        "Score of every training": lambda: plots.plot_optimization_history(study, target_name="score")
    }
    if importances_of(study):
        wanted["Importances (fANOVA)"] = lambda: plots.plot_param_importances(
            study, evaluator=evaluator(), target_name="score"
        )
    if mode != "factors":
        wanted["Parallel coordinates"] = lambda: plots.plot_parallel_coordinate(study, target_name="score")
        wanted["Slices"] = lambda: plots.plot_slice(study, target_name="score")
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        wanted["Scores after each epoch"] = lambda: plots.plot_intermediate_values(study)
    return wanted


def _png(draw: Callable[[], Any]) -> bytes | None:
    """The picture of one plot; None where Optuna can't draw it of these trials."""
    from matplotlib import pyplot

    try:
        axes = draw()
        figure = (axes if hasattr(axes, "get_figure") else axes.flat[0]).get_figure()
    except (ValueError, RuntimeError, IndexError):
        return None
    figure.set_size_inches(*INCHES)
    target = io.BytesIO()
    unparsed(figure).savefig(target, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    pyplot.close(figure)
    return target.getvalue()


@contextmanager
def _own_pyplot() -> Iterator[None]:
    """A pyplot without windows, whose style and backend are put back."""
    import matplotlib
    from matplotlib import pyplot

    backend = matplotlib.get_backend()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyplot.switch_backend("agg")
        try:
            yield
        finally:
            pyplot.switch_backend(backend)

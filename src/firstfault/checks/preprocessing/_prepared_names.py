"""What the columns of a prepared tensor are called: by the last step that names them, else by their place."""

from __future__ import annotations

from firstfault.subject.subject import Subject


def prepared_names(subject: Subject, width: int) -> list[str]:
    """The names of the prepared columns, where the training's steps leave some."""
    X = subject.prepared.train.X
    if hasattr(X, "columns") and len(X.columns) == width:
        return [str(name) for name in X.columns]
    for _, step in reversed(subject.pipeline.steps):
        owner = getattr(step, "__self__", None)
        try:
            names = [str(name) for name in owner.get_feature_names_out()]  # type: ignore[union-attr]
        except Exception:  # a step without names
            continue
        return names if len(names) == width else [f"[{place}]" for place in range(width)]
    raw = subject.raw.train.X
    columns = list(getattr(raw, "columns", ()))
    return [str(name) for name in columns] if len(columns) == width else [f"[{place}]" for place in range(width)]

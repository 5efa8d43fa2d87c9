"""The target that a Python file or a module declares, loaded from where the user says, with `--set`'s overrides."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

from firstfault.errors import TargetError, first_line, user_frame
from firstfault.imports import uncollected
from firstfault.interrupts import pass_on
from firstfault.target.declaration import Safety, Target

T = TypeVar("T")


def load_target(spec: str, overrides: Mapping[str, str] | None = None) -> Target:
    """The target that `file.py:name` or `module:name` declares (`:target` by default).

    Args:
        spec: where the target is declared; its folder is put on the import path.
        overrides: `{"training.epochs": "3"}`, as `--set` gives them; values are read as YAML.

    Raises:
        TargetError: when there is no such file or name, it doesn't import, or a value is wrong.
    """
    declared, file = _declared(spec)
    if not isinstance(declared, Target):
        raise TargetError(f"{spec} must be a firstfault.Target, but is a {type(declared).__name__}")
    return _override(replace(declared, root=file.parent, file=file), overrides or {})


def load_safety(spec: str) -> Safety:
    """The `Safety` that `file.py:name` or `module:name` is, or that the target there has.

    Its suites are found beside the file, or among those that come with firstfault.

    Raises:
        TargetError: when there is none, or it has nothing to evaluate.
    """
    from firstfault.seeds import same_random_state
    from firstfault.target.bundled import own_or_shipped

    with same_random_state():  # what is run under the watch draws the numbers that it would without
        declared, file = _declared(spec)
    safety = declared.safety if isinstance(declared, Target) else declared
    if not isinstance(safety, Safety):
        raise TargetError(
            f"{spec} must be a firstfault.Safety, or a firstfault.Target with one, but is a {type(declared).__name__}"
        )
    if not safety.suites:
        raise TargetError(f"{spec} must have suites to evaluate while a script runs, but its safety.suites is empty")
    return replace(
        safety, suites=[str(own_or_shipped(suite, file.parent, "behaviour").absolute()) for suite in safety.suites]
    )


def _declared(spec: str) -> tuple[object, Path]:
    place, name = split_spec(spec)
    module, file = import_place(place)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if isinstance(value, Target | Safety)]
        hint = f"; it has {', '.join(known)}" if known else ""
        raise TargetError(f"{place} has no `{name}`{hint}")
    return getattr(module, name), file


def import_place(place: str) -> tuple[ModuleType, Path]:
    """The module that a file or a name is, and its file.

    Raises:
        TargetError: when there is none, or it doesn't import.
    """
    return _import_file(place) if is_path(place) else _import_module(place)


def is_path(place: str) -> bool:
    """Whether `place` names a file or folder, and not a module."""
    return place.endswith(".py") or "/" in place or _exists(Path(place))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def split_spec(spec: str) -> tuple[str, str]:
    """`place:name` in its parts; the name is `target` when left out."""
    place, _, name = spec.rpartition(":")
    return (place, name) if place and name.isidentifier() else (spec.rstrip(":"), "target")


def same_target(spec: str, other: str) -> bool:
    """Whether both name one target: a folder is its target.py."""
    return _named(spec) == _named(other)


def _named(spec: str) -> tuple[str, str]:
    place, name = split_spec(spec)
    return (str(file_of(place)) if is_path(place) else place), name


def file_of(place: str) -> Path:
    """The file that a path names: of a folder, its target.py."""
    path = Path(place).expanduser()
    return (path / "target.py" if path.is_dir() else path).resolve()


class _AsWritten(SourceFileLoader):
    """Runs a file as it is written now.

    Python takes the bytecode of an earlier run where the file has as many bytes and was written in the same second: a
    quick repair was judged by the code before it.
    """

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file, compiled anew."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _import_file(place: str) -> tuple[ModuleType, Path]:
    if not _exists(Path(place).expanduser()) or not (path := file_of(place)).is_file():
        raise TargetError(f"there is no target file {place}")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = f"firstfault_target_{abs(hash(str(path)))}"
    spec = importlib.util.spec_from_file_location(name, path)
    loader = spec.loader if spec is not None else None
    if spec is None or loader is None:
        raise TargetError(f"{place} is not a Python file")
    if isinstance(loader, SourceFileLoader):
        spec.loader = loader = _AsWritten(name, str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that its classes can be pickled by name
    _guard_import(place, path.parent, lambda: loader.exec_module(module))
    return module, path


def _import_module(place: str) -> tuple[ModuleType, Path]:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        known = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        known = None
    if known is None:
        raise TargetError(f"there is neither a file nor a module {place}")
    module = _guard_import(place, Path.cwd(), lambda: importlib.import_module(place))
    return module, Path(module.__file__ or ".").resolve()


def _guard_import(place: str, root: Path, load: Callable[[], T]) -> T:
    try:
        with uncollected():
            return load()
    except TargetError:
        raise
    except BaseException as error:
        pass_on(error)
        frame = user_frame(error, root)
        at = f" at {frame}" if frame else ""
        raise TargetError(f"{place} doesn't import: {type(error).__name__}{at}: {first_line(error)}") from error


def _override(target: Target, overrides: Mapping[str, str]) -> Target:
    for path, text in overrides.items():
        whole, _, key = path.partition(".")
        if key and whole in BY_KEY:
            entries: dict[str, Any] = {whole: BY_KEY[whole](getattr(target, whole), key, path, text)}
            target = replace(target, **entries)
            continue
        part, _, name = path.rpartition(".")
        owner = (getattr(target, part, None) or (Safety() if part == "safety" else None)) if part else target
        if owner is None or name not in {entry.name for entry in fields(owner)} - {"root", "file"}:
            raise TargetError(f"--set {path}={text}: the target has no field {path!r}")
        changed: Any = replace(owner, **{name: _value(path, text)})
        update: dict[str, Any] = {part: changed}
        target = replace(target, **update) if part else changed
    return target


def _with_threshold(known: Mapping[str, Mapping[str, object]], key: str, path: str, text: str) -> dict[str, Any]:
    check, _, name = key.partition(".")
    if not name:
        return {**known, check: _value(path, text)}
    return {**known, check: {**known.get(check, {}), name: _value(path, text)}}


def _with_mute(known: Mapping[str, str], key: str, path: str, text: str) -> dict[str, str]:
    return {**known, key: text}


BY_KEY: Mapping[str, Callable[..., dict[str, Any]]] = {"thresholds": _with_threshold, "mute": _with_mute}
"""The fields of a target of which `--set` changes one entry, and how."""


def _value(path: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TargetError(f"--set {path}={text}: the value must be YAML, but is not: {first_line(error)}") from error

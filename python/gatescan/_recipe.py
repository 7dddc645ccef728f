"""Recipes: everything that a run depends on, as a dict, a TOML file or the name of a built-in."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import _gatescan
from .errors import DataError, UsageError

RecipeLike = Mapping[str, Any] | str | os.PathLike[str]
"""A recipe as a dict, the name of a built-in recipe, or the path of a TOML file."""

_DEFAULTS: dict[str, Any] = {"name": "python", "seed": 0, "epochs": 10, "batch_size": 32}


def recipe(recipe: RecipeLike) -> dict[str, Any]:
    """Return a recipe as a dict, to change and to train.

    Parameters
    ----------
    recipe : str, path or dict
        The name of a built-in recipe, such as ``"mnist"``; the path of a TOML file; or a dict with
        the keys of a TOML file, where `name`, `seed`, `epochs` (10), `batch_size` (32) and `data`
        may be left out.

    Returns
    -------
    dict
        All keys, also those that have their default values.

    Raises
    ------
    gatescan.UsageError
        For an unknown name, key or value.
    """
    loaded: dict[str, Any] = json.loads(_gatescan.change_recipe(as_json(recipe), [], None))
    return loaded


def as_json(recipe: RecipeLike) -> str:
    """Return a recipe as JSON, without checks of its values."""
    if isinstance(recipe, (str, os.PathLike)):
        return _gatescan.load_recipe(os.fspath(recipe))
    if not isinstance(recipe, Mapping):
        raise UsageError(
            f"the recipe is of the type {type(recipe).__name__}; it must be a dict, the name of a "
            "built-in recipe, or the path of a TOML file"
        )
    merged = {**_DEFAULTS, "data": {"kind": "arrays"}, **recipe}
    try:
        return json.dumps(merged, default=_plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"recipe: {error}; use numbers, texts, lists and dicts") from error


def _plain(value: Any) -> Any:
    """Return a value of NumPy or a path as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a value is of the type {type(value).__name__}")


def assignments(settings: Mapping[str, Any] | None) -> list[str]:
    """Return changes such as ``{"optimizer.lr": 0.01}`` in the form of the command line."""
    changes = []
    for key, value in (settings or {}).items():
        changes.append(f"{key}={value if isinstance(value, str) else _toml(value)}")
    return changes


def _toml(value: Any) -> str:
    """Return a value as TOML has it: a dict is an inline table."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))} = {_toml(own)}" for key, own in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, default=_plain)


def to_toml(recipe: RecipeLike) -> str:
    """Return a recipe as the text of a TOML file, for `gatescan train FILE`.

    Parameters
    ----------
    recipe : str, path or dict
        As of `gatescan.recipe`.
    """
    return _gatescan.recipe_toml(as_json(recipe))


def is_frame(value: Any) -> bool:
    """Return whether a value is a DataFrame of pandas."""
    return type(value).__module__.split(".")[0] == "pandas" and hasattr(value, "to_csv")


@contextlib.contextmanager
def frame_file(frame: Any) -> Iterator[Path]:
    """Write a DataFrame as the CSV file that the library reads, for as long as the context."""
    with tempfile.TemporaryDirectory(prefix="gatescan-") as directory:
        path = Path(directory, "DataFrame.csv")
        frame = frame.to_frame() if frame.ndim == 1 else frame
        flags = frame.select_dtypes(include="bool").columns
        frame = frame.astype(dict.fromkeys(flags, "int64")) if len(flags) else frame
        # Rows that are only counted are no column.
        has_index = type(frame.index).__name__ != "RangeIndex"
        frame.to_csv(path, index=has_index, index_label="index" if has_index else None)
        yield path


@contextlib.contextmanager
def archive(arrays: Mapping[str, Any]) -> Iterator[Path]:
    """Write arrays as the .npz file that the library reads, for as long as the context."""
    with tempfile.TemporaryDirectory(prefix="gatescan-") as directory:
        path = Path(directory, "arrays.npz")
        plain = {name: np.asarray(each) for name, each in arrays.items()}
        for name, each in plain.items():
            if each.dtype.kind in "OcMmV":
                raise DataError(
                    f"the array {name} has the dtype {each.dtype}; it must be floats, integers, "
                    "booleans or texts"
                )
            plain[name] = np.ascontiguousarray(each.astype(each.dtype.newbyteorder("=")))
        np.savez(path, **plain)  # type: ignore[arg-type]
        yield path


@dataclass(frozen=True)
class Proposal:
    """A recipe for data, and what it is based on.

    Attributes
    ----------
    recipe : dict
        The recipe, to train as it is or to change first.
    task : str
        What a model of it learns.
    findings : list of str
        What was guessed, and what is odd about the data.
    """

    recipe: dict[str, Any]
    task: str
    findings: list[str] = field(default_factory=list)


def propose(
    data: Any,
    *,
    target: str | None = None,
    group: str | bool | None = None,
    time: str | None = None,
    steps: int | None = None,
    horizon: int | tuple[int, int] = 1,
) -> Proposal:
    """Look at data and propose a recipe for them, as `gatescan init` does.

    Parameters
    ----------
    data : DataFrame, dict of arrays, or path
        The data.
    target : str, optional
        The column to predict.
    group : str or False, optional
        The column that tells series apart; False if all rows are one series.
    time : str, optional
        The column of times.
    steps : int, optional
        Rows of a window.
    horizon : int or (int, int), default 1
        Rows from an input to the target of a forecast; (1, 24) for each of these steps ahead,
        which one network predicts at once.

    Returns
    -------
    Proposal

    Raises
    ------
    gatescan.UndecidedError
        For data that need one of these arguments.
    """
    if group is True:
        raise UsageError("group is True; it must be the name of a column, or False for one series")
    column = group if isinstance(group, str) else None
    ahead = (horizon, horizon) if isinstance(horizon, int) else (horizon[0], horizon[1])
    with data_file(data) as path:
        text, _, task, findings = _gatescan.propose_recipe(
            path, target, column, group is False, time, steps, ahead
        )
    proposed = json.loads(text)
    if not isinstance(data, (str, os.PathLike)):
        # The file is gone.
        proposed["data"]["path"] = path.name
    return Proposal(proposed, task, findings)


@contextlib.contextmanager
def data_file(data: Any) -> Iterator[Path]:
    """Return the path of data, which are written to a file for as long as the context."""
    if isinstance(data, (str, os.PathLike)):
        yield Path(data)
    elif is_frame(data):
        with frame_file(data) as path:
            yield path
    elif isinstance(data, Mapping):
        with archive(data) as path:
            yield path
    else:
        raise UsageError(
            f"the data are of the type {type(data).__name__}; they must be a DataFrame, a dict of "
            "arrays or a path"
        )

"""Arrays of a caller as the library reads them: right, or refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DataError

Array = npt.NDArray[Any]

IGNORE = np.uint32(0xFFFF_FFFF)
"""A label that is not learnt, of one time step."""


def _array(value: Any, name: str) -> Array:
    """Return the array of a value, as NumPy makes it."""
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise DataError(f"{name} is a masked array with masked values; fill them, or cut them")
        return np.asarray(value.data)
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError) as error:
        # Tensors that need a gradient or are on a GPU refuse with advice on what to do.
        raise DataError(f"{name} cannot be read as an array: {error}") from error
    except ValueError as error:
        raise DataError(
            f"{name} cannot be read as one array: {error}; for sequences of different lengths "
            "pass a list of arrays [T, I], or pad them and pass lengths"
        ) from error


def _plain(array: Array, dtype: Any) -> Array:
    """Return a contiguous array in the machine's byte order, which begins at a whole element."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def _numbers(array: Array, name: str) -> Array:
    """Return an array of a numeric type; objects that are all numbers become float64."""
    kind = array.dtype.kind
    if kind == "O":
        if any(isinstance(each, complex) for each in array.flat):
            raise DataError(f"{name} has complex values; the library computes with real ones")
        if any(isinstance(each, (str, bytes)) for each in array.flat):
            raise DataError(f"{name} has texts among its values; they must be numbers")
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{name} is an array of objects that are not all numbers: {error}"
            ) from error
    if kind not in "fiub":
        raise DataError(
            f"{name} has the dtype {array.dtype}; it must be floats, integers or booleans"
        )
    return array


def floats(value: Any, name: str, dtype: type = np.float32) -> Array:
    """Return contiguous floats of the machine's byte order; values beyond float32 become inf."""
    array = _numbers(_array(value, name), name)
    with np.errstate(over="ignore"):
        return _plain(array, dtype)


def inputs(value: Any, name: str = "the inputs", *, keep_double: bool = False) -> Array:
    """Return inputs ``[N, T, I]`` as float32; ``[N, T]`` is one feature.

    With `keep_double`, float64 stays float64, for models that normalise their inputs.
    """
    array = _numbers(_array(value, name), name)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise DataError(
            f"{name} have the shape {list(array.shape)}; they must be [N, T, I]: sequences, time "
            "steps, features; or [N, T] for one feature"
        )
    wants_double = keep_double and (array.dtype.itemsize > 4 or array.dtype.kind in "iu")
    return floats(array, name, np.float64 if wants_double else np.float32)


def tokens(value: Any, name: str = "the tokens") -> Array:
    """Return tokens ``[N, T]`` as uint32."""
    array = _array(value, name)
    if array.dtype.kind not in "iu" or array.ndim != 2:
        raise DataError(
            f"{name} have the dtype {array.dtype} and the shape {list(array.shape)}; they must be "
            "integers [N, T]"
        )
    _check_range(array, name, lowest=0)
    return _plain(array, np.uint32)


def _check_range(array: Array, name: str, lowest: int) -> None:
    if array.size == 0:
        return
    low, high = int(array.min()), int(array.max())
    if low < lowest or high >= int(IGNORE):
        wrong = low if low < lowest else high
        raise DataError(f"{name} have the value {wrong}; they must be at least {lowest}")


def labels(value: Any, name: str = "the labels") -> Array:
    """Return class labels ``[N]`` or ``[N, T]`` as uint32; at steps, a negative one is ignored."""
    array = _array(value, name)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
        raise DataError(
            f"{name} have the dtype {array.dtype} and the shape {list(array.shape)}; classes must "
            "be integers from 0, [N] or [N, T]; gatescan.sklearn.SequenceClassifier also takes "
            "names"
        )
    if array.ndim == 1:
        _check_range(array, name, lowest=0)
        return _plain(array, np.uint32)
    ignored = array < 0
    _check_range(np.where(ignored, 0, array), name, lowest=0)
    return _plain(np.where(ignored, IGNORE, array), np.uint32)


def label_lists(value: Any, name: str = "the labels") -> Array:
    """Return lists of labels as uint32 ``[N, L]``, where `IGNORE` follows the labels of each.

    They are an array of integers ``[N, L]``, padded with negative ones, or N sequences of integers
    of any lengths. Labels are at least 1; 0 is the blank.
    """
    if isinstance(value, np.ndarray) and value.ndim == 2:
        rows = [row[: int(np.argmax(row < 0)) if (row < 0).any() else None] for row in value]
        if any((row[len(kept) :] >= 0).any() for row, kept in zip(value, rows, strict=True)):
            raise DataError(f"{name} have a label after a negative one, which ends its list")
    else:
        rows = [_array(each, f"{name}[{n}]") for n, each in enumerate(value)]
    longest = max([1, *map(len, rows)])
    together = np.full((len(rows), longest), IGNORE, np.uint32)
    for n, row in enumerate(rows):
        if row.size and (row.dtype.kind not in "iu" or row.ndim != 1):
            raise DataError(
                f"{name}[{n}] has the dtype {row.dtype} and the shape {list(row.shape)}; a list of "
                "labels must be integers [L]"
            )
        _check_range(row, f"{name}[{n}]", lowest=1)
        together[n, : len(row)] = row
    return together


def targets(value: Any, name: str = "the targets", *, every_step: bool) -> Array:
    """Return target values as float32: ``[N, K]``, or ``[N, T, K]`` for every step."""
    array = floats(value, name)
    dimensions = 3 if every_step else 2
    if array.ndim == dimensions - 1:
        array = array[..., None]
    if array.ndim != dimensions:
        allowed = "[N, T, K] or [N, T]" if every_step else "[N, K] or [N]"
        raise DataError(f"{name} have the shape {list(array.shape)}; they must be {allowed}")
    return array


def lengths(value: Any, name: str = "the lengths") -> list[int] | None:
    """Return the number of valid steps of each sequence."""
    if value is None:
        return None
    array = _array(value, name)
    if array.size == 0:
        return []
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"{name} have the dtype {array.dtype} and the shape {list(array.shape)}; they must be "
            "integers [N]"
        )
    _check_range(array, name, lowest=0)
    return [int(each) for each in array]


def is_ragged(value: Any) -> bool:
    """Return whether a value is a list, or an array of objects, of arrays ``[T, I]``."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "O" and value.ndim == 1 and value.size > 0
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(np.ndim(each) in (1, 2) and hasattr(each, "__len__") for each in value)


def is_ragged_objects(value: Any) -> bool:
    """Return whether a value is an array of objects that are arrays ``[T, I]``."""
    return isinstance(value, np.ndarray) and is_ragged(value) and np.ndim(value.flat[0]) == 2


def padded(sequences: Iterable[Any], name: str = "the inputs") -> tuple[Array, list[int]]:
    """Return sequences ``[T, I]`` (or ``[T]``) of any lengths as one array, and their lengths."""
    arrays = [floats(each, f"{name}[{n}]") for n, each in enumerate(sequences)]
    arrays = [each[:, None] if each.ndim == 1 else each for each in arrays]
    for n, each in enumerate(arrays):
        if each.ndim != 2:
            raise DataError(
                f"{name}[{n}] has the shape {list(each.shape)}; a sequence is [T, I] or [T]"
            )
        if each.shape[1] != arrays[0].shape[1]:
            raise DataError(
                f"{name}[{n}] has {each.shape[1]} features and {name}[0] has "
                f"{arrays[0].shape[1]}; all must have as many"
            )
    if not arrays:
        raise DataError(f"{name} have no sequence; there must be at least one")
    counts = [len(each) for each in arrays]
    together = np.zeros((len(arrays), max(counts), arrays[0].shape[1]), np.float32)
    for row, each in zip(together, arrays, strict=True):
        row[: len(each)] = each
    return together, counts


def state_pairs(states: Sequence[Any] | None) -> list[tuple[Array, Array | None]] | None:
    """Return initial states as pairs of h and c; c is None for cells that have none."""
    if states is None:
        return None
    pairs = []
    for n, state in enumerate(states):
        h, c = state if isinstance(state, (tuple, list)) else (state, None)
        read_c = None if c is None else floats(c, f"the state c of direction {n}")
        pairs.append((floats(h, f"the state h of direction {n}"), read_c))
    for n, (h, c) in enumerate(pairs):
        if h.ndim != 2 or (c is not None and c.ndim != 2):
            raise DataError(f"the states of direction {n} must be [N, H]")
    return pairs

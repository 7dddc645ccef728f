"""Estimators with the conventions of scikit-learn.

They take 3-D arrays ``[N, T, I]`` (sequences, time steps, features), lists of arrays ``[T, I]`` of
any lengths, and arrays ``[N, T]`` of one feature. aeon's and sktime's arrays have the axes ``[N, I,
T]``: set ``layout="channels-first"``. tslearn pads with NaN at the end of a sequence, which is read
as padding.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_is_fitted,
    check_random_state,
    column_or_1d,
)

from . import _arrays
from ._devices import Device
from ._model import Model, whole_steps
from ._recipe import propose
from ._training import Run, train
from .errors import UsageError

__all__ = ["Forecaster", "SequenceClassifier", "SequenceRegressor"]

Array = _arrays.Array


class _Sequences(BaseEstimator):  # type: ignore[misc]
    """What the estimators of sequences share: parameters, sequences, normalisation, fitting."""

    _loss = ""

    def __init__(
        self,
        *,
        cell: str = "lstm",
        hidden_size: int = 32,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 0.01,
        optimizer: str = "adam",
        clip_norm: float | None = 1.0,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        normalise: bool = True,
        layout: str = "time-first",
        settings: Mapping[str, Any] | None = None,
        device: str | int | Device | None = "cpu",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.layers = layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.normalise = normalise
        self.layout = layout
        self.settings = settings
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _sequences(self, X: Any, *, fitting: bool) -> tuple[Array, list[int] | None]:  # noqa: N803
        """Return ``[N, T, I]`` in float64 and the lengths of sequences that are padded."""
        if self.layout not in ("time-first", "channels-first"):
            raise UsageError(
                f"layout is {self.layout!r}; it must be 'time-first' or 'channels-first'"
            )
        is_channels_first = self.layout == "channels-first"
        ragged = not isinstance(X, np.ndarray) and _arrays.is_ragged(X)
        if (ragged and all(np.ndim(each) == 2 for each in X)) or _arrays.is_ragged_objects(X):
            turned = [np.asarray(each).T if is_channels_first else each for each in X]
            values, counts = _arrays.padded(turned, "X")
            values = values.astype(np.float64)
            lengths: list[int] | None = counts if min(counts) < max(counts) else None
        else:
            # Of nested lists, the first elements tell.
            is_table = getattr(X, "ndim", 3 if isinstance(X, list) and _is_nested(X) else 2) == 2
            values = check_array(
                X,
                dtype=np.float64,
                allow_nd=True,
                # A table [N, T] may be no padded sequences, but values that are missing.
                ensure_all_finite=is_table,
                ensure_min_samples=2 if fitting else 1,
                estimator=self,
            )
            if values.ndim == 2:
                values = values[:, :, None]
            elif is_channels_first and values.ndim == 3:
                values = values.transpose(0, 2, 1)
            lengths = None
        if values.ndim != 3:
            raise ValueError(f"X has {values.ndim} dimensions; it must have 3 (or 2: one feature)")
        values, lengths = _without_padding(values, lengths)
        self._check_features(values, fitting=fitting)
        return values, lengths

    def _check_features(self, values: Array, *, fitting: bool) -> None:
        # Of a table [N, T], scikit-learn counts the columns.
        steps, features = values.shape[1], values.shape[2]
        if fitting:
            self.n_channels_ = features
            self.n_timepoints_ = steps
            self.n_features_in_ = steps if features == 1 else features
        elif features != self.n_channels_ or (features == 1 and steps != self.n_timepoints_):
            count = steps if features == 1 else features
            raise ValueError(
                f"X has {count} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )

    def _recipe(self, targets: Mapping[str, Any], *, padded: bool) -> dict[str, Any]:
        layer: dict[str, Any] = {"cell": self.cell, "hidden_size": self.hidden_size}
        if self.cell in ("gru",):
            layer["bias"] = "double"
        if self.bidirectional:
            layer["bidirectional"] = True
        if self.dropout:
            layer["dropout"] = {"output_keep_prob": 1.0 - self.dropout}
        # scikit-learn draws anew where random_state is None.
        random = check_random_state(self.random_state)
        return {
            "name": type(self).__name__,
            "data": {
                "kind": "npy",
                "path": "arrays.npz",
                "inputs": "inputs",
                "lengths": "lengths" if padded else None,
                "test_fraction": 0.0,
                "validation_fraction": self.validation_fraction,
                "normalise": self.normalise,
                **targets,
            },
            "seed": int(random.randint(2**31 - 1)),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "clip_norm": self.clip_norm,
            "patience": self.patience,
            "keep_best": self.validation_fraction > 0,
            "network": {
                "layer": [layer] * self.layers,
                "head": {"loss": self._loss, "reads": "last"},
            },
            "optimizer": {"kind": self.optimizer, "lr": self.learning_rate},
        }

    def _train(
        self, values: Array, lengths: list[int] | None, goal: Array, targets: Mapping[str, Any]
    ) -> None:
        """Train on arrays, which the library divides and normalises."""
        arrays = {"inputs": values, "goal": goal}
        if lengths is not None:
            arrays["lengths"] = np.asarray(lengths)
        recipe = self._recipe(targets, padded=lengths is not None)
        run = train(
            recipe, arrays, settings=self.settings, device=self.device, progress=self.verbose
        )
        self.run_: Run = run
        self.model_: Model = run.model
        self.n_iter_ = len(run.epochs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = False
        tags.non_deterministic = self.random_state is None
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __getstate__(self) -> Any:
        # The run has the training data, which a saved estimator does not need.
        state = dict(super().__getstate__())
        state.pop("run_", None)
        return state


def _is_nested(rows: list[Any]) -> bool:
    return bool(rows) and isinstance(rows[0], (list, tuple, np.ndarray)) and np.ndim(rows[0]) > 1


def _without_padding(values: Array, lengths: list[int] | None) -> tuple[Array, list[int] | None]:
    """Read steps at the end of a sequence that are all NaN as padding, and refuse other NaN."""
    missing = np.isnan(values)
    if lengths is None and missing.any() and values.shape[2] > 0:
        ends = np.asarray(missing.all(axis=2))
        padded: Array = np.cumprod(ends[:, ::-1], axis=1)[:, ::-1] > 0
        counts = values.shape[1] - padded.sum(axis=1)
        if counts.min() > 0:
            lengths = [int(count) for count in counts]
            values = np.where(np.expand_dims(padded, 2), 0.0, values)
    if not np.isfinite(values).all():
        at = [int(index) for index in np.argwhere(~np.isfinite(values))[0]]
        what = "NaN" if np.isnan(values[tuple(at)]) else "infinity"
        raise ValueError(f"Input X contains {what} at {at}; fill or remove missing values")
    return values, lengths


_PARAMETERS = """
    Parameters
    ----------
    cell : str, default "lstm"
        ``rnn-tanh``, ``rnn-relu``, ``lstm``, ``lstm-peephole``, ``gru``, ``gru-reset-before``,
        ``min-gru`` or ``min-lstm``.
    hidden_size : int, default 32
        Hidden units of each layer.
    layers : int, default 1
        Layers.
    bidirectional : bool, default False
        Whether a second direction reads each sequence from its end.
    dropout : float, default 0.0
        The probability by which an output of a layer is dropped in training.
    epochs : int, default 20
        Passes over the training data.
    batch_size : int, default 32
        Sequences of each update.
    learning_rate : float, default 0.01
        The learning rate.
    optimizer : {"adam", "adamw", "sgd", "rmsprop"}, default "adam"
        The rule of the updates.
    clip_norm : float or None, default 1.0
        Gradients with a larger norm are scaled down to it.
    validation_fraction : float, default 0.0
        The random part of the training data by which the best epoch is chosen.
    patience : int, optional
        Epochs in a row without a lower loss after which the training ends.
    normalise : bool, default True
        Whether features (and target values) are normalised by the training data.
    layout : {"time-first", "channels-first"}, default "time-first"
        The axes of sequences: ``[T, I]``, or ``[I, T]`` as in aeon and sktime.
    settings : dict, optional
        Other keys of the recipe, such as ``{"network.layer.0.forget_bias": 1.0}``.
    device : str, int or Device, default "cpu"
        As of `gatescan.train`.
    random_state : int, RandomState or None, default None
        Determines the initial weights and the order of the sequences.
    verbose : bool, default False
        Whether to show the progress.

    Attributes
    ----------
    model_ : gatescan.Model
        The trained model, which takes inputs in their own units.
    run_ : gatescan.Run
        The run, with its history and report; not in a pickled estimator.
    n_iter_ : int
        Epochs that were done.
    n_features_in_ : int
        Features; of sequences of one feature, their time steps.
"""


class SequenceClassifier(ClassifierMixin, _Sequences):  # type: ignore[misc]
    """Classifies sequences by a recurrent network."""

    __doc__ += "\n" + _PARAMETERS + "    classes_ : ndarray\n        The classes, sorted.\n    "
    _loss = "cross-entropy"

    def fit(self, X: Any, y: Any) -> SequenceClassifier:  # noqa: N803
        """Train.

        Parameters
        ----------
        X : array or list of arrays
            Sequences ``[N, T, I]``.
        y : array
            ``[N]``: classes of any type.

        Returns
        -------
        SequenceClassifier
        """
        values, lengths = self._sequences(X, fitting=True)
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: "
                "SequenceClassifier needs the class of each sequence"
            )
        names = column_or_1d(y, warn=True)
        check_classification_targets(names)
        _check_count(values, names)
        self.classes_, numbers = np.unique(names, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "SequenceClassifier needs samples of at least 2 classes, but the data contain "
                f"one class: {self.classes_[0]!r}"
            )
        targets = {"labels": "goal", "one_hot": False, "classes": len(self.classes_)}
        self._train(values, lengths, numbers, targets)
        return self

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Predict the probability of each class.

        Parameters
        ----------
        X : array or list of arrays
            Sequences ``[N, T, I]``.

        Returns
        -------
        ndarray
            ``[N, K]``, in the order of `classes_`.
        """
        check_is_fitted(self)
        values, lengths = self._sequences(X, fitting=False)
        shares: Array = self.model_.predict_proba(values, lengths, device=self.device)
        shares = shares.astype(np.float64)
        total: Array = shares / shares.sum(axis=1, keepdims=True)
        return total

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Predict the class of each sequence.

        Parameters
        ----------
        X : array or list of arrays
            Sequences ``[N, T, I]``.

        Returns
        -------
        ndarray
            ``[N]``
        """
        check_is_fitted(self)
        found: Array = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found


def _check_count(values: Array, y: Array) -> None:
    if len(values) != len(y):
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: [{len(values)}, {len(y)}]"
        )


class SequenceRegressor(RegressorMixin, _Sequences):  # type: ignore[misc]
    """Predicts one or several values of each sequence by a recurrent network."""

    __doc__ += "\n" + _PARAMETERS
    _loss = "mean-squared-error"

    def fit(self, X: Any, y: Any) -> SequenceRegressor:  # noqa: N803
        """Train.

        Parameters
        ----------
        X : array or list of arrays
            Sequences ``[N, T, I]``.
        y : array
            ``[N]`` or ``[N, K]``: values.

        Returns
        -------
        SequenceRegressor
        """
        values, lengths = self._sequences(X, fitting=True)
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: "
                "SequenceRegressor needs the values of each sequence"
            )
        goal = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y", estimator=self)
        if goal.ndim == 2 and goal.shape[1] == 1:
            goal = column_or_1d(goal, warn=True)
        _check_count(values, goal)
        self._is_flat = goal.ndim == 1
        goal = goal[:, None] if self._is_flat else goal
        self._train(values, lengths, goal, {"targets": "goal"})
        return self

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Predict the values of each sequence.

        Parameters
        ----------
        X : array or list of arrays
            Sequences ``[N, T, I]``.

        Returns
        -------
        ndarray
            ``[N]`` or ``[N, K]``, as `y` was.
        """
        check_is_fitted(self)
        values, lengths = self._sequences(X, fitting=False)
        outputs: Array = self.model_.predict(values, lengths, device=self.device)
        return outputs[:, 0] if self._is_flat else outputs


class Forecaster(BaseEstimator):  # type: ignore[misc]
    """Continues one series, of one or several columns, by a recurrent network.

    The recipe is the one that `gatescan.propose` makes for the series: windows, differences of
    earlier values, and a network that predicts what a linear regression leaves, where that is
    better on a validation split.

    Parameters
    ----------
    steps : int, optional
        Values of a window; by default as the length of the series allows.
    epochs : int, optional
        Passes over the windows; by default as `gatescan.propose` finds.
    hidden_size : int, optional
        Hidden units; by default as `gatescan.propose` finds.
    quantiles : list of float, optional
        Levels between 0 and 1 that `predict` may be asked for. The network then learns quantiles in
        place of means (pinball loss, Koenker and Bassett 1978): these levels, and 15 from 0.01 to
        0.99 from which continuations are drawn.
    settings : dict, optional
        Other keys of the recipe.
    device : str, int or Device, default "cpu"
        As of `gatescan.train`.
    random_state : int, RandomState or None, default None
        Determines the initial weights, the order of the windows and the continuations that are
        drawn.
    verbose : bool, default False
        Whether to show the progress.

    Attributes
    ----------
    model_ : gatescan.Model
    run_ : gatescan.Run
    columns_ : list of str
    levels_ : list of float
        The levels of the quantiles that the network predicts; empty without `quantiles`.
    """

    def __init__(
        self,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        hidden_size: int | None = None,
        quantiles: Sequence[float] | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str | int | Device | None = "cpu",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.steps = steps
        self.epochs = epochs
        self.hidden_size = hidden_size
        self.quantiles = quantiles
        self.settings = settings
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, y: Any, X: None = None) -> Forecaster:  # noqa: N803
        """Train on a series.

        Parameters
        ----------
        y : array, Series or DataFrame
            ``[T]`` or ``[T, D]``: values at equal distances in time.
        X : None
            Values that are known ahead are not supported.

        Returns
        -------
        Forecaster
        """
        if X is not None:
            raise UsageError("X is not supported: a series is continued by its own values only")
        self._series, self.columns_ = _series(y)
        self._is_flat = np.ndim(y) == 1
        self._index = getattr(y, "index", None)
        self.levels_ = [] if self.quantiles is None else _levels(self.quantiles)
        random = check_random_state(self.random_state)
        self._seed = int(random.randint(2**31 - 1))
        changes: dict[str, Any] = {"seed": self._seed}
        if self.levels_:
            changes["network.head.loss"] = {"quantile": {"levels": self.levels_}}
        for key, value in (
            ("epochs", self.epochs),
            ("network.layer.0.hidden_size", self.hidden_size),
        ):
            if value is not None:
                changes[key] = value
        with _series_file(self._series, self.columns_) as path:
            target = self.columns_[-1]
            recipe = propose(path, target=target, group=False, steps=self.steps).recipe
            columns = recipe["data"]["targets"]
            if columns != self.columns_:
                # A table's target is guessed; of a series, every column is one.
                recipe["data"].update(_every_column(self.columns_))
            with warnings.catch_warnings():
                # The file's name says nothing to the caller.
                warnings.simplefilter("ignore")
                self.run_ = train(
                    recipe,
                    path,
                    settings={**changes, **(self.settings or {})},
                    device=self.device,
                    progress=self.verbose,
                )
        self.model_ = self.run_.model
        return self

    def predict(self, n: int = 1, *, y: Any = None, quantiles: Any = None) -> Any:
        """Continue the series.

        Parameters
        ----------
        n : int, default 1
            Values to predict.
        y : array, Series or DataFrame, optional
            Another series to continue; that of `fit` by default.
        quantiles : list of float, optional
            Levels of `Forecaster.quantiles`, for the quantiles of each value in place of one value.

        Returns
        -------
        ndarray, Series or DataFrame
            ``[n]`` or ``[n, D]``, of the type of the series; with `quantiles` ``[n, Q]`` or
            ``[n, D, Q]``, of pandas a DataFrame whose columns are the levels, or pairs of a column
            and a level.

        Notes
        -----
        Values without `quantiles` are means, or medians of a network that has learnt quantiles; in
        both cases a later value follows from the earlier ones of the prediction. The quantiles of
        the first value are those that the network predicts. Those of later values are the quantiles
        of 1,000 continuations, each of which draws its values from the predicted quantiles (as
        DeepAR does, Salinas et al. 2020), so they include the uncertainty of the values before. The
        columns of one step are drawn independently.
        """
        check_is_fitted(self, "model_")
        series, columns = (self._series, self.columns_) if y is None else _series(y)
        if len(columns) != len(self.columns_):
            raise UsageError(
                f"y has {len(columns)} columns and the series of fit has {len(self.columns_)}"
            )
        index = self._index if y is None else getattr(y, "index", None)
        if quantiles is not None:
            chosen = self._chosen(quantiles)
            found = self._quantiles(whole_steps(n), series)[:, :, chosen]
            values = found[:, 0] if self._is_flat else found
            named = [self.levels_[level] for level in chosen]
            return values if index is None else _with_levels(values, index, self.columns_, named)
        with _series_file(series, self.columns_) as path:
            found = self.model_.forecast(n, path, device=self.device).values
        values = found[:, 0] if self._is_flat else found
        return values if index is None else _with_index(values, index, self.columns_)

    def _chosen(self, quantiles: Any) -> list[int]:
        """Return the places of levels among those that were learnt."""
        levels = [float(level) for level in np.atleast_1d(np.asarray(quantiles, np.float64))]
        if not self.levels_:
            raise UsageError(
                f"quantiles is {levels}, and this forecaster has learnt means; make it by "
                f"Forecaster(quantiles={levels}) and fit it again"
            )
        unknown = [level for level in levels if level not in self.levels_]
        if unknown:
            raise UsageError(
                f"quantiles has {unknown[0]}, and this forecaster has learnt {self.levels_}; give "
                "the level to Forecaster(quantiles=...) and fit it again"
            )
        return [self.levels_.index(level) for level in levels]

    def _quantiles(self, n: int, series: Array) -> Array:
        """Return ``[n, D, Q]``: the quantiles of the next `n` values at all levels."""
        window = series[-self.model_.recipe["data"]["steps"] :][None]
        quantiles = self._predicted(window)
        found = [quantiles[0]]
        random = np.random.default_rng(self._seed)
        paths = np.repeat(window, _PATHS, axis=0)
        quantiles = np.repeat(quantiles, _PATHS, axis=0)
        for _ in range(1, n):
            values = _drawn(random, self.levels_, quantiles)
            paths = np.concatenate([paths[:, 1:], values[:, None]], axis=1)
            quantiles = self._predicted(paths)
            values = _drawn(random, self.levels_, quantiles)
            found.append(np.quantile(values, self.levels_, axis=0).T)
        return np.stack(found)

    def _predicted(self, windows: Array) -> Array:
        """Return ``[N, D, Q]``: the quantiles of the value after each window ``[N, T, D]``."""
        values = self.model_.outputs(windows, device=self.device).values[:, -1]
        # Output j of target k is column j * D + k.
        split: Array = values.reshape(len(windows), len(self.levels_), -1).transpose(0, 2, 1)
        return split

    def score(self, y: Any, X: None = None) -> float:  # noqa: N803
        """Return the coefficient of determination of a forecast of the values after the series.

        Parameters
        ----------
        y : array
            The values that follow those of `fit`.
        X : None
            Not supported.

        Returns
        -------
        float
        """
        from sklearn.metrics import r2_score

        values, _ = _series(y)
        found = np.asarray(self.predict(len(values))).reshape(len(values), -1)
        return float(r2_score(values, found))


#: Continuations that are drawn.
_PATHS = 1000

#: Levels of a network from which continuations are drawn.
_GRID = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)


def _levels(quantiles: Any) -> list[float]:
    """Return the levels that a network learns for these."""
    given = [float(level) for level in np.atleast_1d(np.asarray(quantiles, np.float64))]
    wrong = [level for level in given if not 0 < level < 1]
    if wrong or not given:
        what = f"has {wrong[0]}" if wrong else "is empty"
        raise UsageError(f"quantiles {what}; give levels between 0 and 1, such as [0.1, 0.9]")
    return sorted({*given, *_GRID})


def _drawn(random: np.random.Generator, levels: list[float], quantiles: Array) -> Array:
    """Draw one value ``[P, D]`` of each distribution ``[P, D, Q]``, given by its quantiles.

    Values beyond the outermost levels are their quantiles.
    """
    paths, width, _ = quantiles.shape
    values = np.empty((paths, width))
    for column in range(width):
        # One draw in each of `paths` equal parts: quantiles of the draws vary less.
        drawn = (random.permutation(paths) + random.random(paths)) / paths
        for path in range(paths):
            values[path, column] = np.interp(drawn[path], levels, quantiles[path, column])
    return values


def _series(y: Any) -> tuple[Array, list[str]]:
    """Return a series as ``[T, D]``, and the names of its columns."""
    values = _arrays.floats(y, "y", np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise UsageError(f"y has the shape {list(values.shape)}; it must be [T] or [T, D]")
    if not np.isfinite(values).all():
        at = [int(index) for index in np.argwhere(~np.isfinite(values))[0]]
        raise ValueError(f"Input y contains NaN or infinity at {at}")
    names = getattr(y, "columns", None)
    columns = [f"v{n}" for n in range(values.shape[1])] if names is None else [*map(str, names)]
    return values, columns


def _series_file(values: Array, columns: list[str]) -> Any:
    """Write a series as the table that the library reads, for as long as the context."""
    import csv
    from contextlib import contextmanager

    @contextmanager
    def written() -> Any:
        with tempfile.TemporaryDirectory(prefix="gatescan-") as directory:
            path = Path(directory, "series.csv")
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(values.tolist())
            yield path

    return written()


def _every_column(columns: list[str]) -> dict[str, Any]:
    """Return the changes by which a recipe predicts every column."""
    changes: dict[str, Any] = {"inputs": columns, "targets": columns}
    if len(columns) > 1:
        changes.update(horizon=1, every_step=True, task="regression")
    return changes


def _with_index(values: Array, index: Any, columns: list[str]) -> Any:
    """Return values as pandas has them, with the index continued where it has a frequency."""
    import pandas as pd

    later = _later(index, len(values))
    if values.ndim == 1:
        return pd.Series(values, index=later)
    return pd.DataFrame(values, index=later, columns=columns)


def _with_levels(values: Array, index: Any, columns: list[str], levels: list[float]) -> Any:
    """Return quantiles ``[n, Q]`` or ``[n, D, Q]`` as a DataFrame."""
    import pandas as pd

    named = pd.Index(levels) if values.ndim == 2 else pd.MultiIndex.from_product([columns, levels])
    flat = values.reshape(len(values), -1)
    return pd.DataFrame(flat, index=_later(index, len(values)), columns=named)


def _later(index: Any, count: int) -> Any:
    """Return the next entries of an index."""
    import pandas as pd

    frequency = getattr(index, "freq", None) or getattr(index, "inferred_freq", None)
    if isinstance(index, pd.DatetimeIndex) and frequency is not None:
        return pd.date_range(index[-1], periods=count + 1, freq=frequency)[1:]
    return range(len(index), len(index) + count)

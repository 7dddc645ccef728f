"""Training, and the run that it returns."""

from __future__ import annotations

import contextlib
import html
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import _arrays, _gatescan
from ._devices import Device, device_request
from ._model import Model
from ._recipe import RecipeLike, archive, as_json, assignments, frame_file, is_frame
from .errors import TrainingWarning, UsageError


class _Stop:
    """The type of `STOP`."""

    def __repr__(self) -> str:
        return "gatescan.STOP"


STOP = _Stop()
"""What a callback returns to stop the run after the current step."""


@dataclass(frozen=True)
class Progress:
    """The progress of an epoch, a few times a second.

    Attributes
    ----------
    step : int
        Updates so far.
    epoch, epochs : int
        The epoch, from 1, and the epochs of the recipe.
    sequences, total : int
        Sequences of this epoch that are done, and all of them.
    loss : float
        Mean over the epoch so far.
    accuracy : float or None
        Mean over the epoch so far, of classes.
    sequences_per_second : float
    step_losses : list of float
        The loss of each step since the last progress.
    """

    step: int
    epoch: int
    epochs: int
    sequences: int
    total: int
    loss: float
    accuracy: float | None
    sequences_per_second: float
    step_losses: list[float]


@dataclass(frozen=True)
class Epoch:
    """An epoch that is over.

    Attributes
    ----------
    epoch : int
        From 1.
    metrics : dict
        One line of `metrics.jsonl`: ``train_loss``, ``test_loss``, ``test_accuracy`` and more.
    """

    epoch: int
    metrics: dict[str, Any]


Callback = Callable[[Progress | Epoch], Any]
"""A function of each event; it stops the run by returning `gatescan.STOP`."""


class Report:
    """The report of a run: one HTML page, shown inline in Jupyter.

    Attributes
    ----------
    html : str
        The page.
    """

    def __init__(self, page: str) -> None:
        self.html = page

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page.

        Parameters
        ----------
        path : str or path
            The file.
        """
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="700" frameborder="0"></iframe>'


class Run:
    """A run that has ended: its model, its metrics and its report.

    Attributes
    ----------
    ending : str
        ``complete``, ``stalled`` (the loss did not fall for the recipe's `patience`), or
        ``interrupted`` (by Ctrl-C or a callback).
    step : int
        Updates that were done.
    path : Path or None
        The run directory, of a run that has one.
    remarks : list of str
        Conclusions from the comparison with baselines on the test split.
    """

    def __init__(self, core: _gatescan.Run) -> None:
        self._core = core
        self._model = Model(core.model)
        self.ending: str = core.ending
        self.step: int = core.step
        self.path: Path | None = None if core.path is None else Path(core.path)
        self.remarks: list[str] = core.remarks

    @property
    def model(self) -> Model:
        """The trained model: of the best epoch where the recipe keeps it, else the last."""
        return self._model

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The metrics of each epoch."""
        lines = [json.loads(line) for line in self._core.metrics.splitlines()]
        # A resumed run may repeat an epoch: the last line counts.
        epochs = [line for line in lines if "epoch" in line and "split" not in line]
        return list({line["epoch"]: line for line in epochs}.values())

    @property
    def test(self) -> dict[str, Any] | None:
        """The metrics of the model on the test split, where a validation split has chosen it.

        Without a validation split they are in each epoch's, and this is None.
        """
        lines = [json.loads(line) for line in self._core.metrics.splitlines()]
        tested = [line for line in lines if line.get("split") == "test"]
        return tested[-1] if tested else None

    @property
    def history(self) -> Any:
        """The metrics of each epoch: a DataFrame where pandas is installed, else a list."""
        try:
            import pandas
        except ImportError:
            return self.epochs
        frame = pandas.DataFrame(self.epochs)
        return frame if frame.empty else frame.set_index("epoch")

    def report(self) -> Report:
        """Return the report: curves, predictions for the test split and baselines."""
        return Report(self._core.report())

    def __repr__(self) -> str:
        last = self.epochs[-1] if self.epochs else {}
        scores = [f"{key}={last[key]:.4g}" for key in _SCORES if last.get(key) is not None]
        return f"Run({', '.join([self.ending, f'step={self.step}', *scores])})"

    def _repr_html_(self) -> str:
        keys = [key for key in _SCORES if any(row.get(key) is not None for row in self.epochs)]
        head = "".join(f"<th>{key.replace('_', ' ')}</th>" for key in ["epoch", *keys])
        rows = []
        for row in self.epochs[-10:]:
            cells = [str(row["epoch"]), *(_cell(row.get(key)) for key in keys)]
            rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        caption = f"{self.ending} after {self.step} updates"
        remarks = "".join(f"<p>{html.escape(remark)}</p>" for remark in self.remarks)
        body = f"<caption>{caption}</caption><tr>{head}</tr>{''.join(rows)}"
        return f"<table>{body}</table>{remarks}"


_SCORES = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def train(
    recipe: RecipeLike,
    data: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    settings: Mapping[str, Any] | None = None,
    classes: int | None = None,
    vocabulary: int | None = None,
    device: str | int | Device | None = None,
    out: str | os.PathLike[str] | None = None,
    start: Model | Run | str | os.PathLike[str] | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
) -> Run:
    """Train a recipe, and return the run.

    Python's lock is released while it computes. Ctrl-C stops the run after the current step, and
    the run up to there is returned, with a warning.

    Parameters
    ----------
    recipe : dict, str or path
        A dict with the keys of a recipe, the name of a built-in recipe, or the path of a TOML
        file; see `gatescan.recipe`.
    data : optional
        The training data: ``(x, y)`` or ``(x, y, lengths)``; a dict of arrays for a recipe whose
        ``data.kind`` is ``"npy"``; a DataFrame for a recipe whose ``data.kind`` is ``"csv"``; or
        the path of the recipe's kind of data. Without them, the recipe's own data are used.
        `x` is ``[N, T, I]`` (or ``[N, T]`` for one feature, or tokens), or a list of arrays
        ``[T, I]``. `y` are classes ``[N]`` or ``[N, T]`` for the loss ``cross-entropy``, lists of
        labels from 1 for the loss ``ctc`` (N lists, or ``[N, L]`` padded with -1), and else
        values ``[N, K]`` or ``[N, T, K]``.
    validation, test : optional
        More of ``(x, y)`` or ``(x, y, lengths)``.
    settings : dict, optional
        Changes of the recipe, such as ``{"epochs": 3, "network.layer.0.hidden_size": 64}``.
    classes : int, optional
        The number of classes, where not all of them occur in `y`.
    vocabulary : int, optional
        The number of tokens, where not all of them occur in `x`.
    device : str, int or Device, optional
        ``"auto"``, ``"cpu"``, ``"gpu"``, an index or a part of a name; see `gatescan.devices`.
    out : str or path, optional
        The run directory, which `gatescan.resume` continues. Without it nothing is written.
    start : Model, Run, str or path, optional
        The model that the run begins with, in place of random weights: the recipe's layers must be
        the model's, and a head of other targets is new. Data of the recipe are prepared as the
        model's were. With ``{"freeze": ["layer0"]}`` in the settings, layers keep their weights.
        What comes from the model is said by a warning.
    callbacks : iterable of callable
        Called with each `Progress` and `Epoch`. One that returns `gatescan.STOP` ends the run.
    progress : bool, default True
        Whether to show a bar of tqdm, if it is installed, or else a line for each epoch.

    Returns
    -------
    Run

    Raises
    ------
    gatescan.Error
        One of its classes, for what is refused or fails; see `gatescan.errors`.

    Warns
    -----
    gatescan.TrainingWarning
        For rows that were left out, classes that a split lacks, and a disk that is full.
    """
    text = _gatescan.change_recipe(_with_kind(recipe, data), assignments(settings), None)
    begun = None if start is None else _model_of(start)
    parts = _Parts(validation, test, classes, vocabulary)
    with _loaded(text, data, parts, begun) as (text, loaded):
        _warn_of_notes(loaded)
        observer = _Observer(callbacks, progress)
        with observer:
            where = None if out is None else Path(out)
            request = device_request(device)
            core = _gatescan.train(text, loaded, request, where, observer, begun)
    return _ended(core)


def resume(
    path: str | os.PathLike[str],
    data: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    settings: Mapping[str, Any] | None = None,
    classes: int | None = None,
    vocabulary: int | None = None,
    device: str | int | Device | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
) -> Run:
    """Continue the run of a directory from its newest checkpoint, with the same bits.

    Parameters
    ----------
    path : str or path
        The run directory.
    data, validation, test, settings, classes, vocabulary, device, callbacks, progress
        As of `gatescan.train`; the data must be those of the run. `settings` may change the
        epochs, the learning rate and its schedule.

    Returns
    -------
    Run
    """
    recipe = _gatescan.load_recipe(os.fspath(Path(path) / "recipe.toml"))
    text = _gatescan.change_recipe(recipe, assignments(settings), None)
    parts = _Parts(validation, test, classes, vocabulary)
    with _loaded(text, data, parts) as (text, loaded):
        observer = _Observer(callbacks, progress)
        with observer:
            core = _gatescan.resume(text, loaded, device_request(device), Path(path), observer)
    return _ended(core)


def _model_of(start: Model | Run | str | os.PathLike[str]) -> _gatescan.Model:
    if isinstance(start, Run):
        return start.model._core
    if isinstance(start, Model):
        return start._core
    return Model.load(start)._core


def _ended(core: _gatescan.Run) -> Run:
    run = Run(core)
    if run.ending == "interrupted":
        text = f"the run was interrupted after {run.step} updates; its model is of that step"
        warnings.warn(text, TrainingWarning, stacklevel=3)
    return run


def _warn_of_notes(data: _gatescan.Data) -> None:
    for note in data.notes():
        warnings.warn(note, TrainingWarning, stacklevel=3)


@dataclass(frozen=True)
class _Parts:
    """The other splits, and sizes that arrays do not tell."""

    validation: Any
    test: Any
    classes: int | None
    vocabulary: int | None


def _with_kind(recipe: RecipeLike, data: Any) -> str:
    """Return the recipe as JSON, of the kind `arrays` for data that are a tuple of arrays."""
    text = as_json(recipe)
    if not isinstance(data, tuple):
        return text
    read = json.loads(text)
    read["data"] = {"kind": "arrays"}
    return json.dumps(read)


@contextlib.contextmanager
def _loaded(
    text: str, data: Any, parts: _Parts, start: _gatescan.Model | None = None
) -> Iterator[tuple[str, _gatescan.Data]]:
    """Load the data, and give the recipe that names them."""
    kind = json.loads(text)["data"]["kind"]
    if isinstance(data, tuple):
        yield text, _from_arrays(json.loads(text), data, parts)
        return
    if parts.validation is not None or parts.test is not None:
        raise UsageError(
            "validation and test go with data that are a tuple of arrays; the recipe's data have "
            "test_fraction, validation_fraction, test_path and validation_path"
        )
    if data is None:
        yield text, _gatescan.Data.load(text, start)
    elif is_frame(data):
        _require_kind(kind, "csv", "a DataFrame")
        with frame_file(data) as path:
            yield _named(text, path.name), _gatescan.Data.load(_named(text, path), start)
    elif isinstance(data, Mapping):
        _require_kind(kind, "npy", "a dict of arrays")
        with archive(data) as path:
            yield _named(text, path.name), _gatescan.Data.load(_named(text, path), start)
    elif isinstance(data, (str, os.PathLike)):
        named = _named(text, data)
        yield named, _gatescan.Data.load(named, start)
    else:
        raise UsageError(
            f"data is of the type {type(data).__name__}; it must be a tuple (x, y), a dict of "
            "arrays, a DataFrame, or a path"
        )


def _require_kind(kind: str, needed: str, what: str) -> None:
    if kind != needed:
        raise UsageError(
            f'data is {what}, and the recipe has data.kind = "{kind}"; it must be "{needed}" '
            "(gatescan.propose makes such a recipe)"
        )


def _named(text: str, path: Any) -> str:
    return _gatescan.change_recipe(text, [], Path(path))


def _from_arrays(recipe: dict[str, Any], data: tuple[Any, ...], parts: _Parts) -> _gatescan.Data:
    """Make the splits of a recipe whose data are arrays."""
    network = recipe["network"]
    if network.get("heads"):
        raise UsageError(
            "the recipe has several heads, and arrays have one target; give each head its targets "
            'by data.kind = "csv" or "npy"'
        )
    loss = network["head"]["loss"]
    classifies, takes_lists = kinds = (loss == "cross-entropy", "ctc" in loss)
    every_step = network["head"].get("reads", "last") == "every"
    reads_tokens = network.get("input", "values") != "values"
    read = [
        None if part is None else _part(part, name, kinds, every_step, reads_tokens)
        for name, part in (("data", data), ("validation", parts.validation), ("test", parts.test))
    ]
    own, validation, test = read
    assert own is not None
    given = [part for part in read if part is not None]
    classes = parts.classes or 1
    if (classifies or takes_lists) and parts.classes is None:
        known = [part[1][part[1] != _arrays.IGNORE] for part in given]
        classes = 1 + max((int(each.max()) for each in known if each.size), default=0)
    vocabulary = None
    if reads_tokens:
        highest = max((int(part[0].max()) for part in given if part[0].size), default=0)
        vocabulary = parts.vocabulary or 1 + highest
    return _gatescan.Data.arrays(own, validation, test, classes, vocabulary, takes_lists)


def _part(
    part: Any, name: str, labels: tuple[bool, bool], every_step: bool, reads_tokens: bool
) -> tuple[_arrays.Array, _arrays.Array, list[int] | None]:
    """Return one split as the library reads it; `labels` says whether y are classes, or lists."""
    if not isinstance(part, tuple) or len(part) not in (2, 3):
        raise UsageError(f"{name} must be a tuple (x, y) or (x, y, lengths)")
    x, y = part[0], part[1]
    counts = _arrays.lengths(part[2] if len(part) == 3 else None, f"the lengths of {name}")
    if reads_tokens:
        read = _arrays.tokens(x, f"the tokens of {name}")
    elif _arrays.is_ragged(x) and np.ndim(x[0]) > 0 and _has_lengths(x):
        if counts is not None:
            raise UsageError(f"{name} is a list of sequences, so it has no lengths of its own")
        read, counts = _arrays.padded(x, f"the inputs of {name}")
    else:
        read = _arrays.inputs(x, f"the inputs of {name}")
    classifies, takes_lists = labels
    if takes_lists:
        return read, _arrays.label_lists(y, f"the labels of {name}"), counts
    if classifies:
        return read, _arrays.labels(y, f"the labels of {name}"), counts
    return read, _arrays.targets(y, f"the targets of {name}", every_step=every_step), counts


def _has_lengths(x: Any) -> bool:
    """Return whether a list holds arrays ``[T, I]``, and not the rows of one array."""
    return all(np.ndim(each) == 2 for each in x) or len({len(each) for each in x}) > 1


class _Observer:
    """Hears the events of a run: shows the progress, calls callbacks and warns."""

    def __init__(self, callbacks: Iterable[Callback], progress: bool) -> None:
        if callable(callbacks):
            raise UsageError("callbacks is one function; it must be a list of functions")
        self._callbacks = list(callbacks)
        for callback in self._callbacks:
            if not callable(callback):
                raise UsageError(f"the callback {callback!r} cannot be called")
        self._bar = _Bar() if progress else None

    def __enter__(self) -> None:
        """Begin; the bar appears with the first event."""

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, kind: str, text: str) -> bool:
        """Hear one event; return whether to stop."""
        value = json.loads(text)
        if kind == "warning":
            warnings.warn(value, TrainingWarning, stacklevel=2)
            return False
        event: Progress | Epoch
        if kind == "progress":
            event = Progress(**value)
        elif kind == "epoch":
            event = Epoch(value["epoch"], value)
        else:
            return False
        if self._bar is not None:
            self._bar.show(event)
        # Every callback hears every event, also after one has asked to stop.
        answers = [callback(event) for callback in self._callbacks]
        return any(answer is STOP for answer in answers)


class _Bar:
    """A bar of tqdm for each epoch, or a line without tqdm."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tqdm: Any = None
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            # In a notebook without widgets it warns, and writes text.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm

            self._tqdm = tqdm

    def show(self, event: Progress | Epoch) -> None:
        if isinstance(event, Epoch):
            self._show_epoch(event)
        elif self._tqdm is not None:
            if self._bar is None:
                name = f"epoch {event.epoch}/{event.epochs}"
                self._bar = self._tqdm(total=event.total, desc=name, unit="seq", leave=False)
            self._bar.n = event.sequences
            self._bar.set_postfix(loss=f"{event.loss:.4g}")

    def _show_epoch(self, event: Epoch) -> None:
        self.close()
        metrics = event.metrics
        scores = [f"{key} {metrics[key]:.4g}" for key in _SCORES if metrics.get(key) is not None]
        line = f"epoch {event.epoch}: {', '.join(scores)}"
        if self._tqdm is not None:
            self._tqdm.write(line, file=sys.stderr)
        else:
            sys.stderr.write(line + "\n")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


__all__ = [
    "STOP",
    "Callback",
    "Epoch",
    "Progress",
    "Report",
    "Run",
    "resume",
    "train",
]

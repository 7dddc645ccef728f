"""A trained model."""

from __future__ import annotations

import json
import os
import types
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import _arrays, _gatescan
from ._arrays import Array
from ._devices import Device, device_request
from ._recipe import data_file, frame_file, is_frame
from .errors import TrainingWarning, UsageError


@dataclass(frozen=True)
class Prediction:
    """All that a network computes for sequences.

    Attributes
    ----------
    outputs : ndarray
        ``[N, K]``, or ``[N, T, K]`` for a head that reads every step: logits of a network that
        classifies, else values in the units of the training data.
    values : ndarray
        The outputs in float64: the quantiles of each target are sorted, and logarithms of variances
        are standard deviations. Output j of target k is column ``j * K + k``.
    probabilities : ndarray or None
        The softmax of the outputs of a network that classifies; of one that has several labels,
        the probability of each.
    hidden : ndarray
        ``[N, T, P]``: the outputs of the last layer; zeros at padded steps.
    states : list
        The states after the last valid step, for every direction of every layer: `h`, or ``(h,
        c)`` of an LSTM, as `initial` of the next call takes them.
    """

    outputs: Array
    values: Array
    probabilities: Array | None
    hidden: Array
    states: list[Any]


@dataclass(frozen=True)
class Forecast:
    """A series continued by a model.

    Attributes
    ----------
    columns : list of str
        The names of the columns.
    values : ndarray
        ``[steps, columns]``, in the units of the data.
    diverges_at : int or None
        The step from which the values run away, ten times beyond anything in the series.
    """

    columns: list[str]
    values: Array
    diverges_at: int | None


class Model:
    """A trained network with its recipe and the preparation of its data.

    `gatescan.train` makes one, and `Model.load` reads one.
    """

    def __init__(self, core: _gatescan.Model) -> None:
        self._core = core

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Read a model.

        Parameters
        ----------
        path : str or path
            A file that `Model.save` wrote, or a run directory.

        Returns
        -------
        Model

        Raises
        ------
        gatescan.FileError
            For a file that cannot be read or is no model.
        """
        core, problems = _gatescan.Model.load(Path(path))
        for problem in problems:
            warnings.warn(problem, TrainingWarning, stacklevel=2)
        return cls(core)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as safetensors, which the command line reads too.

        Parameters
        ----------
        path : str or path
            The file.
        """
        self._core.save(Path(path))

    @classmethod
    def from_state_dict(
        cls,
        state_dict: Mapping[str, Any],
        *,
        name: str = "imported",
        cell: str | None = None,
        reads: str | None = None,
        loss: str | None = None,
        one_hot: bool = False,
        order: Sequence[str] = (),
    ) -> Model:
        """Make a model of a `state_dict` of PyTorch.

        Parameters
        ----------
        state_dict : dict
            The weights of one or several `nn.RNN`, `nn.LSTM` or `nn.GRU`, an `nn.Linear`, and
            optionally an `nn.Embedding`, under any names: tensors or arrays.
        name : str, default "imported"
            The name of the model's recipe.
        cell : str, optional
            The cell where the weights fit several, such as ``"rnn-relu"``.
        reads : {"last", "every", "mean", "max"}, optional
            The hidden states that the linear layer reads; the last by default.
        loss : {"cross-entropy", "mean-squared-error"}, optional
            The loss; by default the mean squared error for one output.
        one_hot : bool, default False
            Whether the inputs are one-hot tokens.
        order : list of str, optional
            The names of the recurrent modules from the input up, where they do not tell it.

        Returns
        -------
        Model

        Notes
        -----
        `Model.notes` of the result says what was assumed.
        """
        allowed = {
            "reads": ("last", "every", "mean", "max"),
            "loss": ("cross-entropy", "mean-squared-error"),
        }
        for key, value in (("reads", reads), ("loss", loss)):
            if value is not None and value not in allowed[key]:
                names = " or ".join(repr(each) for each in allowed[key])
                raise UsageError(f"{key} is {value!r}; it must be {names}")
        core, notes = _gatescan.import_state_dict(
            _safetensors(_plain_tensors(state_dict)),
            name,
            cell,
            reads,
            None if loss is None else loss == "cross-entropy",
            one_hot,
            list(order),
        )
        model = cls(core)
        model.notes = notes
        return model

    notes: Sequence[str] = ()
    """What `from_state_dict` assumed, one sentence each."""

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe of the training."""
        read: dict[str, Any] = json.loads(self._core.recipe)
        return read

    @property
    def network(self) -> dict[str, Any]:
        """The layers, the input and the head, with their sizes."""
        read: dict[str, Any] = json.loads(self._core.network)
        return read

    @property
    def classes(self) -> list[str]:
        """The names of the classes; empty where they are numbers, or there are none."""
        return self._core.classes

    @property
    def heads(self) -> list[str]:
        """The names of the heads; empty where there is one."""
        return self._core.heads

    def head(self, name: str) -> Model:
        """Return the model with one of several heads as its only one.

        Parameters
        ----------
        name : str
            One of `Model.heads`.

        Returns
        -------
        Model

        Raises
        ------
        gatescan.UsageError
            For a name that is not among them.
        """
        return Model(self._core.head(name))

    def outputs(
        self,
        x: Any,
        lengths: Any = None,
        *,
        initial: Sequence[Any] | None = None,
        device: str | int | Device | None = None,
    ) -> Prediction:
        """Compute outputs, hidden states and final states.

        Parameters
        ----------
        x : array or list of arrays
            ``[N, T, I]`` in the units of the training data (``[N, T]`` for one feature), tokens
            ``[N, T]``, or a list of sequences ``[T, I]`` of any lengths.
        lengths : array, optional
            ``[N]``: the first steps of each sequence that are valid.
        initial : list, optional
            States to begin with, as `Prediction.states`; zeros by default.
        device : str, int or Device, optional
            As of `gatescan.train`.

        Returns
        -------
        Prediction

        Raises
        ------
        gatescan.UsageError
            For sizes that are not the network's, and for values that are not finite.
        """
        counts = _arrays.lengths(lengths)
        if self._core.reads_tokens:
            read = _arrays.tokens(x)
        elif _arrays.is_ragged(x) and all(np.ndim(each) == 2 for each in x):
            if counts is not None:
                raise UsageError("x is a list of sequences, so it has no lengths of its own")
            read, counts = _arrays.padded(x)
        else:
            read = _arrays.inputs(x, keep_double=True)
        states = _arrays.state_pairs(initial)
        logits, values, probabilities, hidden, final = self._core.predict(
            read, counts, states, device_request(device)
        )
        final_states = [h if c is None else (h, c) for h, c in final]
        return Prediction(
            logits,
            values,
            probabilities if self._has_probabilities else None,
            hidden,
            final_states,
        )

    @property
    def _has_probabilities(self) -> bool:
        core = self._core
        return core.classifies or core.has_labels or core.has_lists

    def decode(
        self,
        x: Any,
        lengths: Any = None,
        *,
        beam: int | None = None,
        device: str | int | Device | None = None,
    ) -> list[list[Any]]:
        """Predict a list of labels for each sequence, by a model with the loss ``ctc``.

        Parameters
        ----------
        x, lengths, device
            As of `Model.outputs`.
        beam : int, optional
            The number of prefixes of a prefix beam search; without it, the labels of the likeliest
            class at each step.

        Returns
        -------
        list of lists
            The labels: their names where the model has names, else numbers from 1.

        Raises
        ------
        gatescan.UsageError
            For a model with another loss, and for a beam below 1.
        """
        if not self._core.has_lists:
            raise UsageError("the model predicts no lists of labels; use predict")
        if beam is not None and beam < 1:
            raise UsageError(f"beam is {beam}; it must be at least 1")
        prediction = self.outputs(x, lengths, device=device)
        assert prediction.probabilities is not None
        counts = _arrays.lengths(lengths)
        if counts is None and isinstance(x, (list, tuple)) and _arrays.is_ragged(x):
            counts = [len(each) for each in x]
        found = self._core.decode(prediction.probabilities, counts, beam)
        names = self.classes
        return [[names[label] if names else label for label in each] for each in found]

    def predict(
        self, x: Any, lengths: Any = None, *, device: str | int | Device | None = None
    ) -> Any:
        """Predict classes or values.

        Parameters
        ----------
        x, lengths, device
            As of `Model.outputs`. For a model that was trained on a table, `x` may also be a
            DataFrame with the columns of its inputs, or the path of such a file.

        Returns
        -------
        ndarray or DataFrame
            Classes ``[N]`` or ``[N, T]``: their names where the model has names, else numbers.
            Labels 0 and 1, ``[N, K]`` or ``[N, T, K]``, of a model of several labels. Else values
            of that shape in float64, with the columns of `Prediction.values`.

            Of a DataFrame, a DataFrame with a row for each window: the group, if the table has
            groups; `row`, the row of the group that is predicted, from 1; and the ``class``, or a
            column for each value or label.

        Raises
        ------
        gatescan.UsageError
            For a model of lists of labels; see `Model.decode`. For a table and a model of several
            steps ahead; see `Model.forecast`.
        """
        if self._core.has_lists:
            raise UsageError("the model predicts lists of labels; use decode")
        if _is_table(x):
            return self._predict_table(x, lengths, device, probabilities=False)
        prediction = self.outputs(x, lengths, device=device)
        if self._core.has_labels:
            return (prediction.outputs > 0).astype(np.int64)
        if not self._core.classifies:
            return prediction.values
        found: Array = prediction.outputs.argmax(axis=-1)
        return np.asarray(self.classes)[found] if self.classes else found

    def predict_proba(
        self, x: Any, lengths: Any = None, *, device: str | int | Device | None = None
    ) -> Any:
        """Predict the probability of each class.

        Parameters
        ----------
        x, lengths, device
            As of `Model.predict`.

        Returns
        -------
        ndarray or DataFrame
            ``[N, K]`` or ``[N, T, K]``, float32. Of a DataFrame, as `Model.predict` with a column
            for each class.

        Raises
        ------
        gatescan.UsageError
            For a model that does not classify.
        """
        if not self._has_probabilities:
            raise UsageError("the model predicts values and not classes; use predict")
        if _is_table(x):
            return self._predict_table(x, lengths, device, probabilities=True)
        return self.outputs(x, lengths, device=device).probabilities

    def _predict_table(
        self, x: Any, lengths: Any, device: str | int | Device | None, *, probabilities: bool
    ) -> Any:
        """Return a DataFrame of the predictions for the windows of a table."""
        import pandas as pd

        _refuse_lengths(lengths)
        with data_file(x) as path:
            group, groups, rows, names, outputs, notes = self._core.predict_file(
                path, device_request(device)
            )
        for note in notes:
            warnings.warn(note, TrainingWarning, stacklevel=3)
        # A forecast is of later rows than the last one that it reads.
        horizon = self.recipe["data"].get("horizon", 0)
        ahead = horizon if isinstance(horizon, int) else 0
        places: dict[str, Any] = {} if group is None else {group: groups}
        places["row"] = np.asarray(rows, np.int64) + ahead
        found = pd.DataFrame(places)
        if self._core.classifies and not probabilities:
            return found.assign(**{"class": np.asarray(names)[outputs.argmax(axis=1)]})
        if self._core.has_labels and not probabilities:
            outputs = (outputs > 0.5).astype(np.int64)
        return found.join(pd.DataFrame(outputs, columns=names))

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        lengths: Any = None,
        *,
        device: str | int | Device | None = None,
    ) -> dict[str, Any]:
        """Measure the model on data.

        Parameters
        ----------
        x, y, lengths
            As of `gatescan.train`, in the units that the network reads. For a model that was
            trained on a table, `x` alone: a DataFrame with the columns of its inputs and targets,
            or the path of such a file, all of which is evaluated.
        device : str, int or Device, optional
            As of `gatescan.train`.

        Returns
        -------
        dict
            ``loss``, ``accuracy``, ``last_step_loss``, ``confusion``, ``label_error_rate`` and
            ``sequence_accuracy``; None for what does not apply.
        """
        core = self._core
        if _is_table(x):
            _refuse_lengths(lengths)
            if y is not None:
                raise UsageError(
                    "y is not allowed beside a table, which has the targets as columns"
                )
            with data_file(x) as path:
                text, notes = core.evaluate_file(path, device_request(device))
            for note in notes:
                warnings.warn(note, TrainingWarning, stacklevel=2)
            return _evaluation(text)
        if y is None:
            raise UsageError("y is missing; pass the targets of the sequences")
        read = _arrays.tokens(x) if core.reads_tokens else _arrays.inputs(x)
        if core.has_lists:
            goal = _arrays.label_lists(y)
        elif core.classifies:
            goal = _arrays.labels(y)
        else:
            goal = _arrays.targets(y, every_step=core.every_step)
        return _evaluation(
            core.evaluate(read, goal, _arrays.lengths(lengths), device_request(device))
        )

    def forecast(
        self,
        steps: int,
        data: Any = None,
        *,
        group: str | None = None,
        window: bool = False,
        device: str | int | Device | None = None,
    ) -> Forecast:
        """Continue a series by the model's own predictions.

        Parameters
        ----------
        steps : int
            Steps to predict.
        data : DataFrame or path, optional
            The series to continue, with the columns of the training data; that of the recipe by
            default.
        group : str, optional
            The series of the data to continue.
        window : bool, default False
            Whether to read the whole last window for every value, instead of carrying the state.
        device : str, int or Device, optional
            As of `gatescan.train`.

        Returns
        -------
        Forecast

        Raises
        ------
        gatescan.DataError
            For a model that does not predict the next values of its own inputs.
        """
        steps, request = whole_steps(steps), device_request(device)
        if is_frame(data):
            with frame_file(data) as path:
                found = self._core.forecast(path, group, steps, window, request)
        else:
            named = None if data is None else Path(data)
            found = self._core.forecast(named, group, steps, window, request)
        columns, values, diverges_at, notes = found
        for note in notes:
            warnings.warn(note, TrainingWarning, stacklevel=2)
        return Forecast(columns, values.reshape(steps, len(columns)), diverges_at)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters as arrays under PyTorch's names.

        Returns
        -------
        dict
        """
        return self._core.parameters()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Replace the parameters.

        Parameters
        ----------
        state_dict : dict
            Arrays or tensors: under the names of `Model.state_dict`, or under any names those of a
            whole network, as `Model.from_state_dict` reads them.

        Raises
        ------
        gatescan.UsageError
            For names and shapes that are not those of the network.
        """
        given, own = _plain_tensors(state_dict), self._core.parameters()
        if not set(given) & set(own):
            given = self._renamed(state_dict)
            missing = {name: own[name] for name in own if name not in given}
            # An imported network trains one bias where the second one is zero.
            given.update({n: np.zeros_like(a) for n, a in missing.items() if "bias_hh" in n})
        unknown = [name for name in given if name not in own]
        if unknown:
            raise UsageError(
                f"the network has no parameter {unknown[0]}; its parameters are {', '.join(own)}"
            )
        self._core = self._core.with_parameters(list(given.items()))

    def _renamed(self, state_dict: Mapping[str, Any]) -> dict[str, Array]:
        """Return a `state_dict` of any names under the names of this network."""
        layers, head = self.recipe["network"]["layer"], self.recipe["network"]["head"]
        imported = Model.from_state_dict(
            state_dict,
            cell=layers[0]["cell"],
            reads=head.get("reads", "last"),
            loss=head["loss"],
            one_hot=self.recipe["network"].get("input") == "one-hot",
        )
        return imported.state_dict()

    def to_torch(self) -> Any:
        """Return the model as a module of PyTorch, in evaluation mode.

        Returns
        -------
        torch.nn.Module
            It takes inputs ``[N, T, I]`` in the units of the data, and optionally lengths.

        Raises
        ------
        gatescan.UsageError
            For options that PyTorch's modules do not have.
        ImportError
            Without torch.
        """
        import torch

        weights, program = self._core.torch("model_pytorch.safetensors")
        # The weights are read here, so the package safetensors is not needed.
        program = program.replace("import safetensors.torch\n", "")
        module = types.ModuleType("gatescan_model_pytorch")
        module.__file__ = "model_pytorch.py"
        exec(compile(program, module.__file__, "exec"), module.__dict__)
        network = module.__dict__["Network"]()
        arrays = _read_safetensors(weights)
        network.load_state_dict({name: torch.from_numpy(each) for name, each in arrays.items()})
        return network.eval()

    def to_onnx(
        self, path: str | os.PathLike[str] | None = None, *, lengths: bool = False
    ) -> bytes:
        """Return the model as an ONNX file.

        Parameters
        ----------
        path : str or path, optional
            A file to write too.
        lengths : bool, default False
            Whether the graph has an input of the lengths of padded sequences.

        Returns
        -------
        bytes
        """
        graph = self._core.onnx(lengths)
        if path is not None:
            Path(path).write_bytes(graph)
        return graph

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the model as the bytes of its file."""
        return type(self), (self._core,)

    def __repr__(self) -> str:
        layers = self.recipe["network"]["layer"]
        cells = [f"{layer['cell']} {layer['hidden_size']}" for layer in layers]
        return f"Model({', '.join(cells)}; {self._core.outputs} outputs)"


def _is_table(x: Any) -> bool:
    """Return whether data are a DataFrame or a path, and no array."""
    return is_frame(x) or isinstance(x, (str, os.PathLike))


def _refuse_lengths(lengths: Any) -> None:
    if lengths is not None:
        raise UsageError("lengths are not allowed beside a table, whose groups have their own")


def _evaluation(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    found.pop("largest_confusion")
    return found


def whole_steps(steps: Any) -> int:
    """Return a number of steps to predict."""
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise UsageError(f"steps is {steps!r}; it must be a whole number of at least 1")
    return int(steps)


def _plain_tensors(state_dict: Mapping[str, Any]) -> dict[str, Array]:
    """Return tensors as float32 arrays, also those that need a gradient or are on a GPU."""
    if not isinstance(state_dict, Mapping):
        raise UsageError(
            f"the state_dict is of the type {type(state_dict).__name__}; it must be a dict"
        )
    plain = {}
    for name, tensor in state_dict.items():
        own = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
        plain[str(name)] = _arrays.floats(own, f"the parameter {name}")
    return plain


def _safetensors(arrays: Mapping[str, Array]) -> bytes:
    """Return arrays of float32 as a safetensors file."""
    header: dict[str, Any] = {}
    start = 0
    for name, array in arrays.items():
        end = start + array.nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(array.astype("<f4").tobytes() for array in arrays.values())
    return len(text).to_bytes(8, "little") + text + body


def _read_safetensors(file: bytes) -> dict[str, Array]:
    """Return the arrays of float32 of a safetensors file."""
    start = 8 + int.from_bytes(file[:8], "little")
    header: dict[str, Any] = json.loads(file[8:start])
    header.pop("__metadata__", None)
    arrays = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        values = np.frombuffer(file[start + begin : start + end], "<f4")
        arrays[name] = values.astype(np.float32).reshape(tensor["shape"])
    return arrays

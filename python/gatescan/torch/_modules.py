"""Recurrent layers with the interface of ``torch.nn``."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ._ops import CELLS_WITH_C, Options, Tensors, recur, stack

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "RecurrentBase",
    "ResetBeforeGRU",
]

#: The order of the parameters of one direction in ``state_dict``.
_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_peephole")


class RecurrentBase(nn.Module):
    """A stack of recurrent layers of one cell and size.

    Parameters
    ----------
    input_size
        Features (I) of the input at one step.
    hidden_size
        Hidden units (H) of each layer and direction.
    num_layers
        Number of layers (L).
    bias
        Whether the layers have biases.
    batch_first
        Whether inputs and outputs are ``[B, T, features]`` and not ``[T, B, features]``. States
        are ``[D, B, size]`` in both cases, with one entry for each layer and direction.
    dropout
        Probability to drop an output of a layer other than the last, in training.
    bidirectional
        Whether a second direction reads each sequence from its end.
    proj_size
        Size of h after a projection, in an LSTM; 0 for none.
    device, dtype
        Of the parameters. float32 is computed on every device of gatescan, float64 on the CPU.
    """

    #: The cell of the library.
    cell: str
    mode: ClassVar[str] = ""

    __constants__: ClassVar[list[str]] = [
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_options(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bool(bidirectional)
        self.proj_size = proj_size
        sizes = (input_size, hidden_size, proj_size, num_layers)
        _, shapes = stack(cell, *sizes, self.bidirectional, bias, 0.0)
        #: In the order in which the library takes them.
        self._weight_names = tuple(name for name, _ in shapes)
        for name, shape in sorted(shapes, key=lambda parameter: _place(parameter[0])):
            values = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from the uniform distribution within 1 / sqrt(H), as PyTorch."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: parameters may be anywhere in memory."""

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction."""
        grouped: dict[str, list[nn.Parameter]] = {}
        for name in sorted(self._weight_names, key=_place):
            grouped.setdefault(_suffix(name), []).append(getattr(self, name))
        return list(grouped.values())

    @property
    def _flat_weights(self) -> list[nn.Parameter]:
        return [weight for weights in self.all_weights for weight in weights]

    def extra_repr(self) -> str:
        """Return the options that differ from the defaults, as PyTorch shows them."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text

    @property
    def _has_c(self) -> bool:
        return self.cell in CELLS_WITH_C

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run the layers.

        Parameters
        ----------
        input
            ``[T, B, I]``, ``[B, T, I]`` with `batch_first`, ``[T, I]`` without a batch, or a
            ``PackedSequence``, sorted or not.
        hx
            The initial states: h ``[D, B, P]``, or the pair of h and c ``[D, B, H]`` in a cell with
            c; without the dimension B for an input without a batch. None for zeros.

        Returns
        -------
        output
            As `input`, with the features of the last layer.
        state
            As `hx`: the states after the last valid step.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        return self._forward_batch(input, hx)

    def _forward_batch(self, values: Tensor, hx: Any) -> tuple[Tensor, Any]:
        if values.dim() not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {values.dim()}D instead"
            )
        is_batched = values.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        states = self._pair(hx)
        for name, state in zip(("hx", "cx"), states, strict=True):
            if state is not None and state.dim() != values.dim():
                kind = "batched" if is_batched else "unbatched"
                raise RuntimeError(
                    f"For {kind} {values.dim()}-D input, {name} "
                    f"should also be {values.dim()}-D but got {state.dim()}-D tensor"
                )
        if not is_batched:
            values = values.unsqueeze(batch_dim)
            states = [None if state is None else state.unsqueeze(1) for state in states]
        batch = values.size(batch_dim)
        self._check_input(values)
        self._check_states(states, batch)
        time_major = values.transpose(0, 1) if self.batch_first else values
        if time_major.size(0) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        output, h, c = self._run(time_major, states, None, batch)
        if self.batch_first:
            output = output.transpose(0, 1)
        if not is_batched:
            output, h = output.squeeze(batch_dim), h.squeeze(1)
            c = c.squeeze(1) if self._has_c else c
        return output, (h, c) if self._has_c else h

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        data, batch_sizes, sorted_indices, unsorted_indices = packed
        states = self._pair(hx)
        # A number that torch.compile knows without reading a tensor, where there is one.
        batch = int(batch_sizes[0]) if sorted_indices is None else sorted_indices.size(0)
        if data.dim() != 2:
            raise RuntimeError(f"input must have 2 dimensions, got {data.dim()}")
        self._check_input(data)
        self._check_states(states, batch)
        states = [_permuted(state, sorted_indices) for state in states]
        output, h, c = self._run(data, states, batch_sizes, batch)
        result = PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices)
        h = _permuted(h, unsorted_indices)
        return result, (h, _permuted(c, unsorted_indices)) if self._has_c else h

    def _pair(self, hx: Any) -> list[Tensor | None]:
        """Return h and c of the states that were given."""
        if hx is None:
            return [None, None]
        if not self._has_c:
            return [hx, None]
        h, c = hx
        return [h, c]

    def _check_input(self, values: Tensor) -> None:
        weight = self.weight_ih_l0
        if values.dtype != weight.dtype and not torch.is_autocast_enabled(values.device.type):
            raise ValueError(
                f"RNN input dtype ({values.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: "
                f"model.to({values.dtype})"
            )
        if values.size(-1) != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {values.size(-1)}"
            )

    def _check_states(self, states: list[Tensor | None], batch: int) -> None:
        directions = self.num_layers * (2 if self.bidirectional else 1)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        for number, (state, size) in enumerate(zip(states, sizes, strict=True)):
            expected = (directions, batch, size)
            if state is not None and state.size() != expected:
                name = f"hidden[{number}]" if self._has_c else "hidden"
                raise RuntimeError(f"Expected {name} size {expected}, got {list(state.size())}")

    def _run(
        self,
        values: Tensor,
        states: list[Tensor | None],
        batch_sizes: Tensor | None,
        batch: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dropout = self.dropout if self.training and self.num_layers > 1 else 0.0
        weights = [getattr(self, name) for name in self._weight_names]
        seed = None
        if dropout > 0:
            seed = torch.randint(0, 1 << 32, (1,), dtype=torch.int64, device="cpu")
        options = Options(
            batch,
            self.cell,
            self.hidden_size,
            self.proj_size,
            self.num_layers,
            self.bidirectional,
            self.bias,
            dropout,
        )
        hx, cx = states
        return recur(Tensors(values, hx, cx, weights, batch_sizes, seed), options)


def _permuted(state: Any, indices: Tensor | None) -> Any:
    return state if state is None or indices is None else state.index_select(1, indices)


def _suffix(name: str) -> str:
    return name.split("_l", 1)[1]


def _place(name: str) -> tuple[int, bool, int]:
    """Return the place of a parameter in ``state_dict``."""
    prefix, suffix = name.rsplit("_l", 1)
    layer, _, direction = suffix.partition("_")
    return int(layer), direction != "", _ORDER.index(prefix)


def _check_options(
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    batch_first: bool,
    dropout: float,
    proj_size: int,
) -> None:
    is_number = isinstance(dropout, numbers.Number) and not isinstance(dropout, bool)
    if not is_number or not 0 <= dropout <= 1:
        raise ValueError(
            f"dropout is {dropout!r}; it should be a number in range [0, 1], the probability of an "
            "element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout is applied after all but the last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and num_layers=1",
            stacklevel=4,
        )
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


class RNN(RecurrentBase):
    """Elman layers in the place of ``torch.nn.RNN``: ``h' = tanh(W x + b_ih + R h + b_hh)``.

    Takes the parameters of :class:`RecurrentBase`, except `proj_size`, and `nonlinearity`, which
    is ``"tanh"`` or ``"relu"``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **others: Any,
    ) -> None:
        _refuse_others(others)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(
            f"rnn-{nonlinearity}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:  # type: ignore[override]
        """PyTorch's name of the recurrence."""
        return f"RNN_{self.nonlinearity.upper()}"


def _refuse_others(others: dict[str, Any]) -> None:
    if "proj_size" in others:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    if others:
        raise TypeError(f"unexpected keyword argument '{next(iter(others))}'")


class LSTM(RecurrentBase):
    """Long short-term memory in the place of ``torch.nn.LSTM`` (Gers et al. 2000).

    Takes the parameters of :class:`RecurrentBase`.
    """

    mode = "LSTM"
    _cell_name: ClassVar[str] = "lstm"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            self._cell_name,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )


class PeepholeLSTM(LSTM):
    """LSTM whose gates see the cell state through one weight per unit.

    Gers & Schmidhuber 2000; TensorFlow's ``LSTMCell(use_peepholes=True)``. The parameter
    ``weight_peephole_l0`` is ``[3 * H]``: those of the input, forget and output gate.
    """

    mode = "LSTM_PEEPHOLE"
    _cell_name = "lstm-peephole"


class _OneSize(RecurrentBase):
    """A stack whose h has H elements."""

    _cell_name: ClassVar[str] = ""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **others: Any,
    ) -> None:
        _refuse_others(others)
        super().__init__(
            self._cell_name,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )


class GRU(_OneSize):
    """Gated recurrent units in the place of ``torch.nn.GRU``: the reset gate is after the matmul.

    Takes the parameters of :class:`RecurrentBase`, except `proj_size`.
    """

    mode = "GRU"
    _cell_name = "gru"


class ResetBeforeGRU(_OneSize):
    """Gated recurrent units whose reset gate is before the recurrent matmul.

    Cho et al. 2014; TensorFlow's ``GRUCell``, Keras's ``GRU(reset_after=False)``.
    """

    mode = "GRU_RESET_BEFORE"
    _cell_name = "gru-reset-before"


class MinGRU(_OneSize):
    """Minimal GRU, whose gates depend on the input alone (Feng et al. 2024)."""

    mode = "MIN_GRU"
    _cell_name = "min-gru"


class MinLSTM(_OneSize):
    """Minimal LSTM, whose gates depend on the input alone (Feng et al. 2024)."""

    mode = "MIN_LSTM"
    _cell_name = "min-lstm"

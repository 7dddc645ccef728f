"""Keras's recurrent layers, computed by gatescan on the CPU or any GPU.

``gatescan.keras.LSTM``, ``GRU`` and ``SimpleRNN`` are subclasses of Keras's and have the same
arguments, weights and results. With the backend ``torch`` they compute their time loop by gatescan.
Keras's own loop computes what gatescan does not: other backends, masks, dropout in training,
activations other than the defaults (and ``relu`` of ``SimpleRNN``), and other types than float32
and float64.
"""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-untyped]
from keras import activations, layers

__all__ = ["GRU", "LSTM", "SimpleRNN"]


class _Loop:
    """The time loop of a layer of Keras; a base before Keras's class."""

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list[Any]]:
        """Run the layer over time; see ``keras.layers.RNN.inner_loop``."""
        layer: Any = self
        cell = _cell(layer) if mask is None and not _drops(layer, training) else None
        if cell is None or not _is_computable(layer, sequences):
            loop: Any = super()
            return loop.inner_loop(sequences, initial_state, mask=mask, training=training)  # type: ignore[no-any-return]
        return _run(layer, cell, sequences, initial_state)


def _drops(layer: Any, training: bool) -> bool:
    return bool(training and (layer.cell.dropout or layer.cell.recurrent_dropout))


def _cell(layer: Any) -> str | None:
    """Return the library's name of the layer's cell, if it has its formulas."""
    cell = layer.cell
    if isinstance(layer, layers.SimpleRNN):
        names = {activations.tanh: "rnn-tanh", activations.relu: "rnn-relu"}
        return names.get(cell.activation)
    if cell.activation is not activations.tanh:
        return None
    if cell.recurrent_activation is not activations.sigmoid:
        return None
    if isinstance(layer, layers.LSTM):
        return "lstm"
    return "gru" if cell.reset_after else "gru-reset-before"


def _is_computable(layer: Any, sequences: Any) -> bool:
    if keras.backend.backend() != "torch":
        return False
    from ..torch._ops import DTYPES

    # Keras derives shapes with tensors of the device `meta`.
    is_here = sequences.device.type != "meta" and 0 not in sequences.shape
    return is_here and sequences.dtype in DTYPES


def _run(layer: Any, cell: str, sequences: Any, initial_state: Any) -> tuple[Any, Any, list[Any]]:
    from ..torch._ops import CELLS_WITH_C, Options, Tensors, recur

    given = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
    # Keras changes the states of a stateful layer in place after the call.
    states = [state.clone() if layer.stateful else state for state in given]
    states = [state.to(sequences.dtype).unsqueeze(0) for state in states]
    weights = [weight.to(sequences.dtype) for weight in _weights(layer, cell)]
    values = sequences.transpose(0, 1)
    if layer.go_backwards:
        values = values.flip(0)
    has_c = cell in CELLS_WITH_C
    initial_c = states[1] if has_c else None
    units, batch = layer.cell.units, sequences.shape[0]
    options = Options(batch, cell, units, 0, 1, False, layer.cell.use_bias, 0.0)
    output, h, c = recur(Tensors(values, states[0], initial_c, weights, None, None), options)
    last = h.squeeze(0)
    outputs = output.transpose(0, 1) if layer.return_sequences else last.unsqueeze(1)
    return last, outputs, [last, c.squeeze(0)] if has_c else [last]


def _weights(layer: Any, cell: str) -> list[Any]:
    """Return Keras's weights in the library's shapes and order of gates."""
    import torch

    is_gru = cell.startswith("gru")

    def rows(columns: Any) -> Any:
        if is_gru:
            # z, r, h in Keras; r, z, n in the library.
            z, r, n = columns.chunk(3, dim=-1)
            columns = torch.cat([r, z, n], dim=-1)
        return columns.t() if columns.dim() == 2 else columns

    own = layer.cell
    weights = [
        rows(keras.ops.convert_to_tensor(weight)) for weight in (own.kernel, own.recurrent_kernel)
    ]
    if not own.use_bias:
        return weights
    bias = keras.ops.convert_to_tensor(own.bias)
    if bias.dim() == 2:
        return [*weights, rows(bias[0]), rows(bias[1])]
    bias = rows(bias)
    return [*weights, bias, torch.zeros_like(bias)]


@keras.saving.register_keras_serializable(package="gatescan")
class LSTM(_Loop, layers.LSTM):  # type: ignore[misc]
    """``keras.layers.LSTM``, whose time loop gatescan computes."""


@keras.saving.register_keras_serializable(package="gatescan")
class GRU(_Loop, layers.GRU):  # type: ignore[misc]
    """``keras.layers.GRU``, whose time loop gatescan computes."""


@keras.saving.register_keras_serializable(package="gatescan")
class SimpleRNN(_Loop, layers.SimpleRNN):  # type: ignore[misc]
    """``keras.layers.SimpleRNN``, whose time loop gatescan computes."""

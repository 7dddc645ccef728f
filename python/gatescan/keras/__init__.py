"""Keras's recurrent layers, computed by gatescan on the CPU or any GPU.

``gatescan.keras.LSTM``, ``GRU`` and ``SimpleRNN`` are subclasses of Keras's and have the same
arguments, weights and results. With the backend ``torch`` they compute their time loop by gatescan,
also with masks of any form, and with `dropout`, whose masks Keras draws. Keras's own loop computes
what gatescan does not: other backends, `recurrent_dropout` in training, dropout with a mask for
each gate (``implementation=1``), activations other than the defaults (and ``relu`` of
``SimpleRNN``), and other types than float32 and float64.
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
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        cell = _cell(layer) if not training or _drops_inputs_only(layer.cell) else None
        if cell is None or not _is_computable(layer, sequences):
            loop: Any = super()
            return loop.inner_loop(sequences, initial_state, mask=mask, training=training)  # type: ignore[no-any-return]
        if training and layer.cell.dropout:
            # The same for all steps.
            sequences = sequences * layer.cell.get_dropout_mask(sequences[:, 0, :]).unsqueeze(1)
        return _run(layer, cell, sequences, initial_state, mask)


def _drops_inputs_only(cell: Any) -> bool:
    """Whether in training a cell drops nothing, or inputs by one mask."""
    has_one_mask = getattr(cell, "implementation", 2) != 1 and cell.dropout < 1
    return not cell.recurrent_dropout and (not cell.dropout or has_one_mask)


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


def _run(
    layer: Any, cell: str, sequences: Any, initial_state: Any, mask: Any
) -> tuple[Any, Any, list[Any]]:
    from ..torch._ops import CELLS_WITH_C, Options, Tensors, recur

    given = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
    # Keras changes the states of a stateful layer in place after the call.
    states = [state.clone() if layer.stateful else state for state in given]
    states = [state.to(sequences.dtype) for state in states]
    weights = [weight.to(sequences.dtype) for weight in _weights(layer, cell)]
    values = sequences.flip(1) if layer.go_backwards else sequences
    masked = None
    if mask is not None:
        mask = mask.bool().reshape(values.shape[:2])
        masked = _Masked(mask.flip(1) if layer.go_backwards else mask, layer.zero_output_for_mask)
        values, sizes, states = masked.packed(values, states)
    else:
        values, sizes = values.transpose(0, 1), None
    has_c = cell in CELLS_WITH_C
    h, c = [state.unsqueeze(0) for state in states] if has_c else [states[0].unsqueeze(0), None]
    options = Options(
        sequences.shape[0], cell, layer.cell.units, 0, 1, False, layer.cell.use_bias, 0.0
    )
    output, h, c = recur(Tensors(values, h, c, weights, sizes, None), options)
    last = [h.squeeze(0), c.squeeze(0)] if has_c else [h.squeeze(0)]
    if masked is None:
        outputs = output.transpose(0, 1) if layer.return_sequences else last[0].unsqueeze(1)
        return last[0], outputs, last
    outputs, last = masked.unpacked(output, last, given)
    return outputs[:, -1], outputs, last


class _Masked:
    """Sequences whose masked steps are skipped, as packed sequences of the other steps."""

    def __init__(self, mask: Any, zeros: bool) -> None:
        self.mask, self.zeros = mask, zeros
        #: ``[B, T]``: the valid steps up to each step.
        self.valid = mask.cumsum(1)

    def packed(self, values: Any, states: list[Any]) -> tuple[Any, Any, list[Any]]:
        """Return rows, batch sizes, and states in the order of the rows."""
        from torch.nn.utils.rnn import pack_padded_sequence

        # The valid steps first, in their order.
        order = self.mask.logical_not().byte().argsort(dim=1, stable=True)
        values = values.gather(1, order.unsqueeze(-1).expand_as(values))
        # A sequence without a valid step computes one, which is not used.
        lengths = self.valid[:, -1].clamp(min=1).cpu()
        self.rows = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
        states = [state.index_select(0, self.rows.sorted_indices) for state in states]
        return self.rows.data, self.rows.batch_sizes, states

    def unpacked(self, output: Any, last: list[Any], initial: list[Any]) -> tuple[Any, list[Any]]:
        """Return outputs ``[B, T, H]`` and last states.

        The output of a masked step is that of the valid step before it, or zero.
        """
        import torch
        from torch.nn.utils.rnn import pad_packed_sequence

        rows, steps = self.rows._replace(data=output), self.mask.shape[1]
        outputs, _ = pad_packed_sequence(rows, batch_first=True, total_length=steps)
        before = (self.valid - 1).clamp(min=0).unsqueeze(-1)
        outputs = outputs.gather(1, before.expand(-1, -1, outputs.shape[-1]))
        shown = self.mask if self.zeros else self.valid > 0
        outputs = torch.where(shown.unsqueeze(-1), outputs, torch.zeros_like(outputs))
        has_steps = self.valid[:, -1:] > 0
        states = [state.index_select(0, rows.unsorted_indices) for state in last]
        pairs = zip(states, initial, strict=True)
        return outputs, [torch.where(has_steps, state, first) for state, first in pairs]


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

"""The operators ``gatescan::layers`` and ``gatescan::layers_backward``.

Both are functions of their tensors alone. The forward operator also returns a *reserve*, one byte
whose memory stands for the library's recording with all that the backward pass reads. The backward
operator looks the recording up by the address of the reserve; where it is gone (a copy of the
reserve, another process), it runs the forward pass again.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from .._gatescan import LayerStack

#: The element types that layers compute.
DTYPES = (torch.float32, torch.float64)

#: The cells with a state c beside h.
CELLS_WITH_C = frozenset({"lstm", "lstm-peephole"})


@functools.lru_cache(maxsize=1024)
def stack(
    cell: str,
    input_size: int,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    dropout: float,
) -> tuple[LayerStack, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Return the description of layers, and the names and shapes of their parameters."""
    options = (cell, input_size, hidden_size, proj_size, num_layers, bidirectional, bias, dropout)
    described = LayerStack(options)
    return described, tuple((name, tuple(shape)) for name, shape in described.parameters())


_noted_devices: set[str] = set()


def _note_copies(device: torch.device) -> None:
    if device.type not in _noted_devices:
        _noted_devices.add(device.type)
        warnings.warn(
            f"tensors on `{device.type}` are copied to memory of the CPU for each call of a layer "
            "of gatescan.torch, and its results are copied back; gatescan.set_device chooses where "
            "gatescan computes",
            stacklevel=2,
        )


def _dense(tensor: Tensor | None) -> Tensor | None:
    """Return the values in one block of memory of the CPU."""
    if tensor is None:
        return None
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    tensor = tensor.contiguous()
    is_aligned = tensor.data_ptr() % tensor.element_size() == 0
    return tensor if is_aligned else tensor.clone()


def _address(tensor: Tensor | None) -> tuple[int, int] | None:
    return None if tensor is None else (tensor.data_ptr(), tensor.numel())


def _check(
    values: Tensor,
    states: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
) -> None:
    """Check dtypes, devices and shapes, on which the library's memory accesses depend."""
    if values.dtype not in DTYPES:
        raise TypeError(
            f"the input is {values.dtype}; layers of gatescan.torch compute torch.float32, and "
            "torch.float64 on the CPU; convert the model and its input"
        )
    if len(weights) != len(shapes):
        raise RuntimeError(f"{len(weights)} weights were given for {len(shapes)} parameters")
    for weight, (name, shape) in zip(weights, shapes, strict=True):
        if weight.shape != shape:
            raise RuntimeError(f"{name} has the shape {list(weight.shape)}; expected {list(shape)}")
    named = [("weight", weight) for weight in weights]
    named += [("hx", state) for state in states if state is not None]
    for name, tensor in named:
        if tensor.dtype != values.dtype:
            raise RuntimeError(f"the input is {values.dtype} and a {name} is {tensor.dtype}")
        if tensor.device != values.device:
            where = f"the input is on {values.device} and a {name} on {tensor.device}"
            raise RuntimeError(f"{where}; move the model or its input")
        if tensor.layout != torch.strided:
            raise RuntimeError(f"a {name} is {tensor.layout}; only dense tensors are allowed")


def _given(
    double: bool,
    rows: tuple[int, int, list[int] | None],
    gradients: int,
    seed: Tensor | None,
    dense: Sequence[Tensor | None],
) -> tuple[Any, ...]:
    """Return what a pass reads, as the library takes it; `dense` must live until it has run."""
    steps, batch, sizes = rows
    values, h, c, *weights = [_address(tensor) for tensor in dense]
    number = 0 if seed is None else int(seed.item()) & 0xFFFFFFFF
    return (double, steps, batch, sizes, gradients, number, values, [h, c], weights)


def _rows(values: Tensor, batch_sizes: Tensor | None, batch: int) -> tuple[int, int, Any]:
    if batch_sizes is None:
        return values.shape[0], batch, None
    sizes = batch_sizes.tolist()
    return len(sizes), batch, sizes


def _back(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor if device.type == "cpu" else tensor.to(device)


def _state_shapes(
    cell: str, sizes: tuple[int, int, int], bidirectional: bool, batch: int
) -> list[tuple[int, ...]]:
    """Return the shapes of h and c; that of c is (0,) where there is none."""
    hidden_size, proj_size, num_layers = sizes
    directions = num_layers * (2 if bidirectional else 1)
    h = (directions, batch, proj_size or hidden_size)
    return [h, (directions, batch, hidden_size) if cell in CELLS_WITH_C else (0,)]


@torch.library.custom_op("gatescan::layers", mutates_args=())
def layers(
    values: Tensor,
    hx: Tensor | None,
    cx: Tensor | None,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    seed: Tensor | None,
    batch: int,
    cell: str,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    dropout: float,
    gradients: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the forward pass; return outputs, last h, last c and the reserve.

    Parameters
    ----------
    values
        ``[T, B, I]``, or packed rows ``[rows, I]`` where `batch_sizes` is given.
    hx, cx
        ``[D, B, size]``: initial states, or None for zeros.
    weights
        The parameters in the order of ``LayerStack.parameters()``.
    seed
        ``[1]``: the dropout masks depend on it.
    gradients
        0 if nothing needs a gradient, 1 if `values` needs none, else 2.
    """
    options = (hidden_size, proj_size, num_layers, bidirectional, bias, dropout)
    described, shapes = stack(cell, values.shape[-1], *options)
    _check(values, (hx, cx), weights, shapes)
    device = values.device
    if device.type != "cpu":
        _note_copies(device)
    double = values.dtype == torch.float64
    output_size = (proj_size or hidden_size) * (2 if bidirectional else 1)
    output = torch.empty((*values.shape[:-1], output_size), dtype=values.dtype)
    states = _state_shapes(cell, (hidden_size, proj_size, num_layers), bidirectional, batch)
    h, c = (torch.empty(shape, dtype=values.dtype) for shape in states)
    reserve = None
    if batch > 0:
        dense = [_dense(tensor) for tensor in (values, hx, cx, *weights)]
        # A forward pass with dropout is recorded as one for gradients.
        recorded_for = max(gradients, 1 if dropout > 0 else 0)
        rows = _rows(values, batch_sizes, batch)
        given = _given(double, rows, recorded_for, seed, dense)
        last = [_address(h), _address(c) if c.numel() else None]
        reserve = described.forward(given, (_address(output), last), gradients > 0)
    kept = torch.zeros(1, dtype=torch.uint8) if reserve is None else torch.from_numpy(reserve)
    return _back(output, device), _back(h, device), _back(c, device), kept


@layers.register_fake
def _layers_fake(
    values: Tensor,
    hx: Tensor | None,
    cx: Tensor | None,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    seed: Tensor | None,
    batch: int,
    cell: str,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    dropout: float,
    gradients: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    output_size = (proj_size or hidden_size) * (2 if bidirectional else 1)
    h, c = _state_shapes(cell, (hidden_size, proj_size, num_layers), bidirectional, batch)
    return (
        values.new_empty((*values.shape[:-1], output_size)),
        values.new_empty(h),
        values.new_empty(c),
        torch.empty((1,), dtype=torch.uint8, device="cpu"),
    )


@torch.library.custom_op("gatescan::layers_backward", mutates_args=())
def layers_backward(
    doutput: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
    values: Tensor,
    hx: Tensor | None,
    cx: Tensor | None,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    seed: Tensor | None,
    reserve: Tensor,
    batch: int,
    cell: str,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    dropout: float,
    gradients: int,
) -> list[Tensor]:
    """Run the backward pass; return the gradients of the input, hx, cx and all weights.

    A gradient that is not wanted, or has no tensor, is empty.
    """
    options = (hidden_size, proj_size, num_layers, bidirectional, bias, dropout)
    described, shapes = stack(cell, values.shape[-1], *options)
    _check(values, (hx, cx, doutput, dh, dc), weights, shapes)
    device = values.device
    results = [
        torch.empty(shape, dtype=values.dtype)
        for shape in _gradient_shapes(values, (hx, cx), weights, gradients)
    ]
    if batch > 0:
        dense = [_dense(tensor) for tensor in (values, hx, cx, *weights)]
        upstream = [_dense(tensor) for tensor in (doutput, dh, dc)]
        rows = _rows(values, batch_sizes, batch)
        given = _given(values.dtype == torch.float64, rows, gradients, seed, dense)
        doutput_address, h, c = (_address(tensor) for tensor in upstream)
        into = [_address(result) if result.numel() else None for result in results]
        # A state without elements has no gradient to write; c is not there in all cells.
        c = c if cell in CELLS_WITH_C else None
        described.backward(
            given, reserve.data_ptr(), (doutput_address, [h, c]), (into[0], into[1:3], into[3:])
        )
    else:
        for result in results:
            result.zero_()
    return [_back(result, device) for result in results]


def _gradient_shapes(
    values: Tensor, states: Sequence[Tensor | None], weights: Sequence[Tensor], gradients: int
) -> list[Sequence[int]]:
    nothing: Sequence[int] = (0,)
    shapes: list[Sequence[int]] = [values.shape if gradients > 1 else nothing]
    shapes += [nothing if state is None else state.shape for state in states]
    return shapes + [weight.shape for weight in weights]


@layers_backward.register_fake
def _layers_backward_fake(
    doutput: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
    values: Tensor,
    hx: Tensor | None,
    cx: Tensor | None,
    weights: list[Tensor],
    batch_sizes: Tensor | None,
    seed: Tensor | None,
    reserve: Tensor,
    batch: int,
    cell: str,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    dropout: float,
    gradients: int,
) -> list[Tensor]:
    shapes = _gradient_shapes(values, (hx, cx), weights, gradients)
    return [values.new_empty(shape) for shape in shapes]


#: The arguments of `layers` before its options: tensors, or lists of them.
_TENSORS = 6


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    values, hx, cx, weights, batch_sizes, seed = inputs[:_TENSORS]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(values, hx, cx, batch_sizes, seed, output[3], *weights)
    ctx.options = inputs[_TENSORS:]


def _differentiate(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
    values, hx, cx, batch_sizes, seed, reserve, *weights = ctx.saved_tensors
    doutput, dh, dc = upstream[:3]
    cell = ctx.options[1]
    if cell not in CELLS_WITH_C:
        dc = None
    needs = ctx.needs_input_grad
    results = layers_backward(
        doutput,
        dh,
        dc,
        values,
        hx,
        cx,
        weights,
        batch_sizes,
        seed,
        reserve,
        *ctx.options[:-1],
        2 if needs[0] else 1,
    )
    wanted = [results[n] if needs[n] else None for n in range(3)]
    of_weights = [
        result if weight.requires_grad else None
        for result, weight in zip(results[3:], weights, strict=True)
    ]
    return (*wanted, of_weights, *(None for _ in range(len(ctx.options) + 2)))


layers.register_autograd(_differentiate, setup_context=_save)


def _refuse(ctx: Any, *upstream: Any) -> NoReturn:
    raise RuntimeError(
        "the layers of gatescan.torch have no second derivative: a backward pass with "
        "create_graph=True cannot be differentiated again; use torch.nn's layers for that "
        "(gatescan.torch.restore_ puts them back)"
    )


layers_backward.register_autograd(_refuse)

for _device_type in ("cpu", "cuda", "mps", "xpu"):
    # Autocast has no lower precision here: its tensors are converted back.
    layers.register_autocast(_device_type, torch.float32)

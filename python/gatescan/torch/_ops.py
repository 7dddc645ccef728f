"""The operators ``gatescan::layers`` and ``gatescan::layers_backward``.

Both are functions of their tensors alone. The forward operator also returns a *reserve*, one byte
whose memory stands for the library's recording with all that the backward pass reads. The backward
operator looks the recording up by the address of the reserve; where it is gone (a copy of the
reserve, another process), it runs the forward pass again.

`recur` is what layers call. Where PyTorch only differentiates, it leaves out PyTorch's dispatcher,
which takes as long as a small pass. Large passes then also compute in the memory of the outputs,
which begins with a step for the initial state.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

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


class Tensors(NamedTuple):
    """What a pass reads.

    `values` are ``[T, B, I]``, or packed rows ``[rows, I]`` where `batch_sizes` is given; `hx` and
    `cx` initial states ``[D, B, size]``, or None for zeros; `weights` the parameters in the order
    of ``LayerStack.parameters()``; on `seed` ``[1]`` depend the dropout masks.
    """

    values: Tensor
    hx: Tensor | None
    cx: Tensor | None
    weights: list[Tensor]
    batch_sizes: Tensor | None
    seed: Tensor | None

    def states(self) -> list[Tensor | None]:
        """Return h and c."""
        return [self.hx, self.cx]


class Options(NamedTuple):
    """The layers, and the number of sequences (B)."""

    batch: int
    cell: str
    hidden_size: int
    proj_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    dropout: float

    def output_size(self) -> int:
        """Return the features of the last layer."""
        return (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of h and c; that of c is (0,) where there is none."""
        directions = self.num_layers * (2 if self.bidirectional else 1)
        h = (directions, self.batch, self.proj_size or self.hidden_size)
        has_c = self.cell in CELLS_WITH_C
        return [h, (directions, self.batch, self.hidden_size) if has_c else (0,)]

    def stack(self, values: Tensor) -> tuple[LayerStack, tuple[tuple[str, tuple[int, ...]], ...]]:
        """Return the description of the layers, and the names and shapes of their parameters."""
        return stack(self.cell, values.shape[-1], *self[2:])


#: The schemas of `Tensors` and `Options`. The last argument of both operators is a number: 0 if
#: nothing needs a gradient, 1 if `values` needs none, else 2.
_TENSORS = (
    "Tensor values, Tensor? hx, Tensor? cx, Tensor[] weights, Tensor? batch_sizes, Tensor? seed"
)
_OPTIONS = (
    "SymInt batch, str cell, SymInt hidden_size, SymInt proj_size, SymInt num_layers, "
    "bool bidirectional, bool bias, float dropout, SymInt gradients"
)
#: The number of arguments of `Tensors`.
_COUNT = len(Tensors._fields)

_Outputs = tuple[Tensor, Tensor, Tensor, Tensor]

#: Elements of outputs from which on to copy them takes longer than to share their memory.
_SHARED_FROM = 1 << 14
#: A multiple of the bytes of a cache line, at which the library's memory begins.
_ALIGNMENT = 64


def _shared_outputs(tensors: Tensors, options: Options) -> Tensor | None:
    """Return memory for outputs ``[T + 1, B, features]`` in which a pass computes, if it can."""
    values = tensors.values
    if options.bidirectional or tensors.batch_sizes is not None or options.batch == 0:
        return None
    steps, row = values.shape[0], options.batch * options.output_size()
    is_large = steps * row >= _SHARED_FROM and steps > 1
    if not is_large or row * values.element_size() % _ALIGNMENT != 0:
        return None
    described, _ = options.stack(values)
    if not described.shares_outputs():
        return None
    shape = (steps + 1, options.batch, options.output_size())
    shared = torch.empty(shape, dtype=values.dtype, device="cpu")
    return shared if shared.data_ptr() % _ALIGNMENT == 0 else None


def _forward(
    tensors: Tensors, options: Options, gradients: int, shared: Tensor | None = None
) -> _Outputs:
    """Run the forward pass; return outputs, last h, last c and the reserve.

    The outputs are all but the first step of `shared`, where that is given.
    """
    values, hx, cx, weights, batch_sizes, seed = tensors
    described, shapes = options.stack(values)
    _check(values, (hx, cx), weights, shapes)
    device = values.device
    if device.type != "cpu":
        _note_copies(device)
    double = values.dtype == torch.float64
    if shared is None:
        shape = (*values.shape[:-1], options.output_size())
        output = written = torch.empty(shape, dtype=values.dtype, device="cpu")
    else:
        # PyTorch refuses some changes in place of a view.
        output, written = shared[1:].detach(), shared
    h, c = (
        torch.empty(shape, dtype=values.dtype, device="cpu") for shape in options.state_shapes()
    )
    reserve = None
    if options.batch > 0:
        dense = [_dense(tensor) for tensor in (values, hx, cx, *weights)]
        # A forward pass with dropout is recorded as one for gradients.
        recorded_for = max(gradients, 1 if options.dropout > 0 else 0)
        rows = _rows(values, batch_sizes, options.batch)
        given = _given(double, rows, recorded_for, seed, dense)
        last = [_address(h), _address(c) if c.numel() else None]
        into = (_address(written), shared is not None, last)
        reserve = described.forward(given, into, gradients > 0)
    kept = (
        torch.zeros(1, dtype=torch.uint8, device="cpu")
        if reserve is None
        else torch.from_numpy(reserve)
    )
    return _back(output, device), _back(h, device), _back(c, device), kept


def _backward(
    upstream: Sequence[Tensor | None],
    tensors: Tensors,
    reserve: Tensor,
    options: Options,
    gradients: int,
    shared: Tensor | None = None,
) -> list[Tensor]:
    """Run the backward pass; return the gradients of the input, hx, cx and all weights.

    `upstream` are the gradients of outputs, last h and last c. A gradient that is not wanted, or
    has no tensor, is empty. `shared` is that of the forward pass, if its values are the same.
    """
    values, hx, cx, weights, batch_sizes, seed = tensors
    described, shapes = options.stack(values)
    _check(values, (hx, cx, *upstream), weights, shapes)
    device = values.device
    results = [
        torch.empty(shape, dtype=values.dtype, device="cpu")
        for shape in _gradient_shapes(tensors, gradients)
    ]
    if options.batch > 0:
        dense = [_dense(tensor) for tensor in (values, hx, cx, *weights)]
        dense_upstream = [_dense(tensor) for tensor in upstream]
        # A hook for saved tensors may have converted it.
        is_same = shared is not None and shared.dtype == values.dtype
        dense_shared = _dense(shared) if is_same else None
        rows = _rows(values, batch_sizes, options.batch)
        given = _given(values.dtype == torch.float64, rows, gradients, seed, dense)
        output, h, c = (_address(tensor) for tensor in dense_upstream)
        into = [_address(result) if result.numel() else None for result in results]
        # A state without elements has no gradient to write; c is not there in all cells.
        c = c if options.cell in CELLS_WITH_C else None
        emitted, wanted = (output, [h, c]), (into[0], into[1:3], into[3:])
        described.backward(given, reserve.data_ptr(), _address(dense_shared), emitted, wanted)
    else:
        for result in results:
            result.zero_()
    return [_back(result, device) for result in results]


def _gradient_shapes(tensors: Tensors, gradients: int) -> list[Sequence[int]]:
    nothing: Sequence[int] = (0,)
    shapes: list[Sequence[int]] = [tensors.values.shape if gradients > 1 else nothing]
    shapes += [nothing if state is None else state.shape for state in tensors.states()]
    return shapes + [weight.shape for weight in tensors.weights]


@torch.library.custom_op(
    "gatescan::layers",
    mutates_args=(),
    schema=f"({_TENSORS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def layers(*arguments: Any) -> _Outputs:
    """Run the forward pass of `Tensors` and `Options`; see `_forward`."""
    *options, gradients = arguments[_COUNT:]
    return _forward(Tensors(*arguments[:_COUNT]), Options(*options), gradients)


@layers.register_fake
def _layers_fake(*arguments: Any) -> _Outputs:
    values, options = arguments[0], Options(*arguments[_COUNT:-1])
    h, c = options.state_shapes()
    return (
        values.new_empty((*values.shape[:-1], options.output_size())),
        values.new_empty(h),
        values.new_empty(c),
        torch.empty((1,), dtype=torch.uint8, device="cpu"),
    )


@torch.library.custom_op(
    "gatescan::layers_backward",
    mutates_args=(),
    schema=(
        f"(Tensor? doutput, Tensor? dh, Tensor? dc, {_TENSORS}, Tensor reserve, {_OPTIONS}) "
        "-> Tensor[]"
    ),
)
def layers_backward(*arguments: Any) -> list[Tensor]:
    """Run the backward pass; see `_backward`."""
    tensors = Tensors(*arguments[3 : 3 + _COUNT])
    reserve, *options, gradients = arguments[3 + _COUNT :]
    return _backward(arguments[:3], tensors, reserve, Options(*options), gradients)


@layers_backward.register_fake
def _layers_backward_fake(*arguments: Any) -> list[Tensor]:
    tensors = Tensors(*arguments[3 : 3 + _COUNT])
    shapes = _gradient_shapes(tensors, arguments[-1])
    return [tensors.values.new_empty(shape) for shape in shapes]


class _Changes:
    """Tells whether a tensor, or another one with its memory, is changed in place.

    `torch.autograd` refuses a backward pass after such a change of a tensor that it has saved. A
    change of outputs is allowed here: the forward pass is run again.
    """

    def __init__(self, tensor: Tensor) -> None:
        # It shares the count of changes, and has no memory.
        self._tensor = tensor.detach()
        self._tensor.data = tensor.new_empty(0)
        self._version = self._tensor._version

    def __bool__(self) -> bool:
        return self._tensor._version != self._version


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _keep(ctx, Tensors(*inputs[:_COUNT]), Options(*inputs[_COUNT:-1]), output[3], None)


def _keep(
    ctx: Any, tensors: Tensors, options: Options, reserve: Tensor, shared: Tensor | None
) -> None:
    """Keep what the backward pass reads."""
    values, hx, cx, weights, batch_sizes, seed = tensors
    ctx.set_materialize_grads(False)
    ctx.changes = None if shared is None else _Changes(shared)
    # `data` has a count of changes of its own.
    own = None if shared is None else shared.data
    ctx.save_for_backward(values, hx, cx, batch_sizes, seed, reserve, own, *weights)
    ctx.options = options


def _gradients(ctx: Any, needs_values: bool, upstream: tuple[Tensor | None, ...]) -> list[Tensor]:
    """Return the gradients of the input, hx, cx and all weights."""
    values, hx, cx, batch_sizes, seed, reserve, shared, *weights = ctx.saved_tensors
    if ctx.changes:
        shared = None
    tensors = Tensors(values, hx, cx, weights, batch_sizes, seed)
    doutput, dh, dc = upstream[:3]
    if ctx.options.cell not in CELLS_WITH_C:
        dc = None
    given, gradients = (doutput, dh, dc), 2 if needs_values else 1
    # With `create_graph`, the operator refuses a second derivative.
    if not torch.is_grad_enabled() and _is_plain([*given, reserve], tensors):
        return _backward(given, tensors, reserve, ctx.options, gradients, shared)
    results = layers_backward(*given, *tensors, reserve, *ctx.options, gradients)
    return list(results)


def _differentiate(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
    needs = ctx.needs_input_grad
    results = _gradients(ctx, needs[0], upstream)
    wanted = [results[n] if needs[n] else None for n in range(3)]
    weights = ctx.saved_tensors[7:]
    of_weights = [
        result if weight.requires_grad else None
        for result, weight in zip(results[3:], weights, strict=True)
    ]
    # Batch sizes, seed, options, and the number of gradients.
    return (*wanted, of_weights, *(None for _ in range(len(ctx.options) + 3)))


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


class _Pass(torch.autograd.Function):
    """The operators without PyTorch's dispatcher."""

    @staticmethod
    def forward(
        ctx: Any,
        options: Options,
        gradients: int,
        values: Tensor,
        hx: Tensor | None,
        cx: Tensor | None,
        batch_sizes: Tensor | None,
        seed: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tensors = Tensors(values, hx, cx, list(weights), batch_sizes, seed)
        shared = _shared_outputs(tensors, options)
        output, h, c, reserve = _forward(tensors, options, gradients, shared)
        _keep(ctx, tensors, options, reserve, shared)
        return output, h, c

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        needs = ctx.needs_input_grad[2:]
        results = _gradients(ctx, needs[0], upstream)
        needed = [*needs[:3], *needs[5:]]
        wanted = [result if need else None for result, need in zip(results, needed, strict=True)]
        return (None, None, *wanted[:3], None, None, *wanted[3:])


def _functions(*names: str) -> list[Any] | None:
    """Return functions of PyTorch's core; None where it lacks one."""
    found = [getattr(torch._C, name, None) for name in names]
    return None if None in found else found


#: Each says whether something other than autograd must see the operators: transforms such as vmap,
#: modes such as that of fake tensors, and tracing.
_OBSERVERS = _functions(
    "_are_functorch_transforms_active",
    "_len_torch_dispatch_stack",
    "_len_torch_function_stack",
    "_get_tracing_state",
    "_is_any_autocast_enabled",
)


def _is_plain(others: Sequence[Tensor | None], tensors: Tensors) -> bool:
    """Whether nothing but autograd needs to see a pass over tensors in the memory of the CPU."""
    if torch.compiler.is_compiling() or _OBSERVERS is None:
        return False
    if tensors.values.device.type != "cpu" or any(observes() for observes in _OBSERVERS):
        return False
    if (
        torch.autograd.profiler._is_profiler_enabled
        or torch.autograd.forward_ad._current_level >= 0
    ):
        return False
    given = (tensors.values, tensors.hx, tensors.cx, tensors.batch_sizes, tensors.seed)
    return all(
        tensor is None or type(tensor) in (Tensor, nn.Parameter)
        for tensor in (*given, *tensors.weights, *others)
    )


def recur(tensors: Tensors, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """Run layers, differentiably; return outputs, last h, and last c (empty in cells without c)."""
    values, hx, cx, weights, batch_sizes, seed = tensors
    gradients = _wanted(values, [hx, cx, *weights])
    if not _is_plain([], tensors):
        output, h, c, _ = layers(*tensors, *options, gradients)
    elif gradients == 0:
        shared = _shared_outputs(tensors, options)
        output, h, c, _ = _forward(tensors, options, gradients, shared)
    else:
        output, h, c = _Pass.apply(options, gradients, values, hx, cx, batch_sizes, seed, *weights)
    return output, h, c


def _wanted(values: Tensor, others: list[Tensor | None]) -> int:
    """Return the gradients that a backward pass will need; see `_OPTIONS`."""
    if not torch.is_grad_enabled():
        return 0
    if values.requires_grad:
        return 2
    return 1 if any(other is not None and other.requires_grad for other in others) else 0

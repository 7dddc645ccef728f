"""The operators of gatescan.torch under torch.compile, opcheck and vmap."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch_support import PAIRS, flat, results, twins

import gatescan.torch as gt
from gatescan.torch import _ops

CASES = [("lstm", 2, 0), ("lstm", 1, 2), ("gru", 2, 0), ("rnn-tanh", 1, 0), ("min-gru", 1, 0)]


def operator_arguments(cell, num_layers, proj_size, dtype=torch.float32, packed=False):
    """Return arguments of `layers` with every tensor that it takes."""
    directions, hidden_size, batch = 2 * num_layers, 4, 3
    options = (hidden_size, proj_size, num_layers, True, True, 0.3 if num_layers > 1 else 0.0)
    _, shapes = _ops.stack(cell, 2, *options)
    sizes = pack_padded_sequence(torch.zeros(5, batch, 1), [5, 4, 2]).batch_sizes

    def leaf(*shape):
        return (0.5 * torch.randn(shape, dtype=dtype)).requires_grad_()

    return (
        leaf(11, 2) if packed else leaf(5, batch, 2),
        leaf(directions, batch, proj_size or hidden_size),
        leaf(directions, batch, hidden_size) if cell == "lstm" else None,
        [leaf(*shape) for _, shape in shapes],
        sizes if packed else None,
        torch.tensor([7]) if num_layers > 1 else None,
        batch,
        cell,
        *options,
        2,
    )


@pytest.mark.parametrize(("cell", "num_layers", "proj_size"), CASES)
@pytest.mark.parametrize("packed", [False, True])
def test_opcheck(cell, num_layers, proj_size, packed):
    """Schema, autograd registration, fake tensors, and AOT dispatch with dynamic shapes."""
    arguments = operator_arguments(cell, num_layers, proj_size, packed=packed)
    torch.library.opcheck(_ops.layers, arguments)


@pytest.mark.parametrize(("cell", "num_layers", "proj_size"), CASES)
def test_opcheck_backward(cell, num_layers, proj_size):
    arguments = operator_arguments(cell, num_layers, proj_size)
    output, h, c, reserve = _ops.layers(*arguments)
    upstream = [torch.ones_like(output), torch.ones_like(h)]
    upstream.append(torch.ones_like(c) if c.numel() else None)
    detached = [
        [part.detach() for part in value] if isinstance(value, list) else value
        for value in arguments
    ]
    detached = [value.detach() if isinstance(value, torch.Tensor) else value for value in detached]
    given = (*upstream, *detached[:6], reserve, *detached[6:])
    torch.library.opcheck(_ops.layers_backward, given)
    # A reserve that names no recording: the forward pass is run again.
    again = (*upstream, *detached[:6], reserve.clone(), *detached[6:])
    for kept, repeated in zip(
        _ops.layers_backward(*given), _ops.layers_backward(*again), strict=True
    ):
        torch.testing.assert_close(kept, repeated, rtol=0, atol=0)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(theirs, ours, dynamic):
    torch._dynamo.reset()
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    expected, layer = twins(theirs, ours, 3, 4, **options)

    class Model(torch.nn.Module):
        def __init__(self, own):
            super().__init__()
            self.own = own
            self.head = torch.nn.Linear(8, 2)

        def forward(self, values):
            output, state = self.own(values.sin())
            return self.head(output.relu()), state

    torch.manual_seed(0)
    reference = Model(expected)
    model = Model(layer)
    model.load_state_dict(reference.state_dict())
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for steps, batch in [(5, 2), (7, 3), (9, 4)]:
        values = torch.randn(batch, steps, 3, requires_grad=True)
        ours_results = results(Wrapped(compiled, model), (values,))
        torch.testing.assert_close(ours_results, results(reference, (values,)))


@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_compile_packed_sequences(enforce_sorted):
    """Sorted ones need the setting of PyTorch that reads the batch size in a graph."""
    torch._dynamo.reset()
    layer = gt.LSTM(3, 4)
    lengths = [5, 3] if enforce_sorted else [3, 5]
    packed = pack_padded_sequence(torch.randn(5, 2, 3), lengths, enforce_sorted=enforce_sorted)
    with torch._dynamo.config.patch(capture_scalar_outputs=enforce_sorted):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        output, states = compiled(packed)
    expected, expected_states = layer(packed)
    torch.testing.assert_close(output.data, expected.data)
    torch.testing.assert_close(states, expected_states)


class Wrapped:
    """A compiled model that has the parameters of its model."""

    def __init__(self, compiled, model):
        self.compiled, self.model = compiled, model

    def __call__(self, *inputs):
        return self.compiled(*inputs)

    def zero_grad(self):
        self.model.zero_grad()

    def parameters(self):
        return self.model.parameters()


def test_compile_with_states_dropout_and_inductor():
    torch._dynamo.reset()
    layer = gt.LSTM(3, 4, num_layers=2, dropout=0.5)
    values, states = torch.randn(5, 2, 3), (torch.randn(2, 2, 4), torch.randn(2, 2, 4))
    try:
        compiled = torch.compile(layer, fullgraph=True)
        torch.manual_seed(2)
        outputs = flat(compiled(values, states))
    except torch._inductor.exc.InductorError as error:
        pytest.skip(f"Inductor needs a compiler of C++: {error}")
    first = outputs[0].sum()
    first.backward()
    assert layer.weight_hh_l1.grad.abs().sum() > 0
    torch.testing.assert_close(
        flat(torch.compile(layer.eval(), fullgraph=True)(values, states)),
        flat(layer(values, states)),
    )


@pytest.mark.parametrize(("cell", "num_layers", "proj_size"), CASES)
@pytest.mark.parametrize("packed", [False, True])
def test_passes_without_the_dispatcher(cell, num_layers, proj_size, packed):
    """They have the results of the operators, and the operators are used where others look on."""
    given = operator_arguments(cell, num_layers, proj_size, packed=packed)
    tensors = _ops.Tensors(*given[:6])
    options = _ops.Options(*given[6:-1])

    def run(operator):
        leaves = [leaf for leaf in flat(given[:4]) if leaf.requires_grad]
        for leaf in leaves:
            leaf.grad = None
        outputs = flat(operator()[:3])
        sum(output.square().sum() for output in outputs).backward()
        return [output.detach() for output in outputs], [leaf.grad for leaf in leaves]

    assert _ops._is_plain([], tensors)
    direct = run(lambda: _ops.recur(tensors, options))
    torch.testing.assert_close(direct, run(lambda: _ops.layers(*given)), rtol=0, atol=0)
    with torch.no_grad():
        output = _ops.recur(tensors, options)[0]
    assert not output.requires_grad
    torch.testing.assert_close(output, direct[0][0], rtol=0, atol=0)

    names = []

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.append(str(function))
            return function(*args, **(kwargs or {}))

    with Seen():
        _ops.recur(tensors, options)
    assert "gatescan.layers.default" in names


def test_a_default_device_is_not_that_of_results():
    layer, values = gt.LSTM(3, 4, num_layers=2, dropout=0.5), torch.randn(5, 2, 3)
    with torch.device("meta"):
        output = layer(values)[0]
        output.sum().backward()
    assert output.device.type == "cpu" and layer.weight_hh_l1.grad.abs().sum() > 0


def test_outputs_share_no_memory():
    arguments = operator_arguments("lstm", 2, 0)
    outputs = _ops.layers(*arguments)
    storages = {part.untyped_storage().data_ptr() for part in outputs}
    given = [part.untyped_storage().data_ptr() for part in flat(arguments[:4])]
    assert len(storages) == len(outputs)
    assert not storages & set(given)


def test_saved_tensor_hooks_lose_nothing():
    """Copies of what was saved, in the place of the reserve too."""
    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 4)
    values = torch.randn(5, 2, 3)
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda saved: saved):
        output = layer(values)[0].sum()
    output.backward()
    expected(values)[0].sum().backward()
    torch.testing.assert_close(layer.weight_ih_l0.grad, expected.weight_ih_l0.grad)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpoints(use_reentrant):
    from torch.utils.checkpoint import checkpoint

    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 4, num_layers=2)
    gradients = []
    for own in (expected, layer):
        values = torch.ones(5, 2, 3, requires_grad=True)
        checkpoint(own, values, use_reentrant=use_reentrant)[0].sum().backward()
        gradients.append([values.grad, *(parameter.grad for parameter in own.parameters())])
    torch.testing.assert_close(*gradients)

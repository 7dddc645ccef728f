"""gatescan.torch: passes that compute in the memory of tensors, and those that copy."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint
from torch_support import PAIRS, results, twins

import gatescan.torch as gt
from gatescan.torch import _ops

STEPS, BATCH, FEATURES, SIZE = 28, 16, 5, 48


def batch(steps=STEPS, requires_grad=True):
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(steps, BATCH, FEATURES, generator=generator)
    return values.requires_grad_(requires_grad)


def is_shared(output):
    """Whether memory for the initial state precedes the outputs."""
    return output.untyped_storage().nbytes() > output.numel() * output.element_size()


def gradients_of(layer, values, change=lambda output: output):
    """Return the gradients of a sum of what `change` makes of the outputs."""
    values = values.detach().clone().requires_grad_()
    layer.zero_grad()
    change(layer(values)[0]).square().sum().backward()
    return [values.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("ours", [ours for _, ours in PAIRS])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}], ids=str)
def test_bits_are_those_of_copies(ours, options):
    """Of outputs, states and gradients, also with states and with tensors at other addresses."""
    layer = ours(FEATURES, SIZE, **options)
    assert is_shared(layer(batch())[0]) == ("bidirectional" not in options)
    found = results(layer, (batch(),))

    def moved(tensor):
        memory = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)
        return memory[1:].view(tensor.shape).copy_(tensor.detach())

    operators = _ops._is_plain
    try:
        # The operators copy the outputs.
        _ops._is_plain = lambda *_: False
        for parameter in layer.parameters():
            parameter.data = moved(parameter)
        assert not is_shared(layer(batch())[0])
        copied = results(layer, (moved(batch()).requires_grad_(),))
    finally:
        _ops._is_plain = operators
    torch.testing.assert_close(found, copied, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("steps", "hidden_size", "bidirectional", "expected"),
    [
        (STEPS, SIZE, False, True),
        # Any number of steps: padded sequences are recorded for 30.
        (STEPS + 1, SIZE, False, True),
        # Both directions' outputs are apart from their states.
        (STEPS, SIZE, True, False),
        # A small pass.
        (2, SIZE, False, False),
    ],
)
def test_which_outputs_share_memory(steps, hidden_size, bidirectional, expected):
    layer = gt.LSTM(FEATURES, hidden_size, bidirectional=bidirectional)
    for requires_grad in (True, False):
        layer.requires_grad_(requires_grad)
        output, (h, c) = layer(batch(steps, requires_grad))
        assert is_shared(output) == expected
        assert output.is_contiguous() and not output._is_view()
        assert output.data_ptr() % 64 == 0
        own = {part.untyped_storage().data_ptr() for part in (output, h, c)}
        assert len(own) == 3


@pytest.mark.parametrize("ours", [ours for _, ours in PAIRS])
def test_outputs_changed_in_place(ours):
    """The gradients are those of a copy that was changed, as of PyTorch's GRU."""
    layer = ours(FEATURES, SIZE)
    changes = [
        lambda output: output.mul_(2.0),
        lambda output: torch.nn.functional.relu_(output),
        lambda output: output.index_fill_(0, torch.tensor([3]), 0.5),
    ]
    for change in changes:
        wanted = gradients_of(layer, batch(), lambda output, own=change: own(output.clone()))
        torch.testing.assert_close(gradients_of(layer, batch(), change), wanted, rtol=0, atol=0)
    with torch.no_grad():
        output = layer(batch())[0]
    assert is_shared(output)
    weight = torch.ones(SIZE, requires_grad=True)
    output.mul_(weight).sum().backward()
    assert weight.grad.abs().sum() > 0


def test_a_second_backward_pass_and_outputs_that_are_gone():
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, FEATURES, SIZE, num_layers=2)
    wanted = gradients_of(expected, batch())
    layer.zero_grad()
    values = batch()
    total = layer(values)[0].square().sum()
    others = [layer(batch())[0].sum() for _ in range(3)]
    total.backward(retain_graph=True)
    first = [values.grad.clone(), *(p.grad.clone() for p in layer.parameters())]
    torch.testing.assert_close(first, wanted)
    layer.zero_grad()
    values.grad = None
    total.backward()
    second = [values.grad, *(parameter.grad for parameter in layer.parameters())]
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    sum(others).backward()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoints_and_hooks(use_reentrant):
    layer = gt.GRU(FEATURES, SIZE, num_layers=2)
    plain = gradients_of(layer, batch())

    def again(values):
        return checkpoint(layer, values, use_reentrant=use_reentrant)

    def run(own, change=lambda output: output):
        values = batch()
        layer.zero_grad()
        change(own(values)[0]).square().sum().backward()
        return [values.grad, *(parameter.grad for parameter in layer.parameters())]

    torch.testing.assert_close(run(again), plain, rtol=0, atol=0)
    doubled = gradients_of(layer, batch(), lambda output: 2 * output)
    torch.testing.assert_close(run(again, lambda output: output.mul_(2)), doubled)
    with torch.autograd.graph.save_on_cpu():
        torch.testing.assert_close(run(layer), plain, rtol=0, atol=0)

    # What a hook returns is checked before its memory is read.
    def shortened(tensor):
        is_shared_memory = tensor.dim() == 3 and tensor.shape[0] == STEPS + 1
        return tensor.bfloat16() if is_shared_memory else tensor

    with saved_tensors_hooks(shortened, lambda tensor: tensor):
        torch.testing.assert_close(run(layer), plain, rtol=0, atol=0)

    def cut(tensor):
        return tensor[:-1] if tensor.dim() == 3 and tensor.shape[0] == STEPS + 1 else tensor

    with saved_tensors_hooks(cut, lambda tensor: tensor), pytest.raises(Exception, match="outputs"):
        run(layer)


def test_outputs_are_not_kept_by_what_counts_their_changes():
    output = gt.LSTM(FEATURES, SIZE)(batch())[0]
    changes = output.grad_fn.changes
    assert changes._tensor.untyped_storage().nbytes() == 0
    assert not changes
    output.mul_(2)
    assert changes

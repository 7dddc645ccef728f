"""Helpers of the tests of gatescan.torch."""

import itertools

import torch
from torch.nn.utils.rnn import PackedSequence

import gatescan.torch as gt

PAIRS = [(torch.nn.RNN, gt.RNN), (torch.nn.LSTM, gt.LSTM), (torch.nn.GRU, gt.GRU)]


def twins(theirs, ours, *args, **kwargs):
    """Return PyTorch's layer and ours with the same parameters."""
    expected = theirs(*args, **kwargs)
    layer = ours(*args, **kwargs)
    layer.load_state_dict(expected.state_dict())
    return expected, layer


def flat(value):
    """Return the tensors of outputs, states or inputs."""
    if value is None:
        return []
    if isinstance(value, PackedSequence):
        return [value.data]
    if isinstance(value, torch.Tensor):
        return [value]
    return list(itertools.chain.from_iterable(flat(part) for part in value))


def copied(value):
    """Return inputs that are leaves of their own."""
    if value is None:
        return None
    if isinstance(value, PackedSequence):
        return value._replace(data=copied(value.data))
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    return tuple(copied(part) for part in value)


def results(layer, inputs, seed=5):
    """Return outputs, last states, and the gradients of a random sum of them."""
    inputs = copied(inputs)
    layer.zero_grad()
    outputs = flat(layer(*inputs))
    generator = torch.Generator().manual_seed(seed)
    upstream = [
        torch.rand(output.shape, generator=generator, dtype=output.dtype) for output in outputs
    ]
    total = sum((output * weight).sum() for output, weight in zip(outputs, upstream, strict=True))
    total.backward()
    leaves = [leaf for leaf in flat(inputs) if leaf.requires_grad]
    gradients = [leaf.grad for leaf in [*leaves, *layer.parameters()]]
    return [output.detach() for output in outputs], gradients


def assert_same(expected, layer, inputs):
    """Compare two layers: outputs, states and all gradients."""
    torch.testing.assert_close(results(layer, inputs), results(expected, inputs))

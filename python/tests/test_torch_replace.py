"""`replace_` and `restore_`, and a model of PyTorch's examples trained with and without them."""

import copy

import pytest
import torch
from torch import nn

import gatescan.torch as gt


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True, proj_size=2)
        self.rest = nn.ModuleList([nn.GRU(4, 4), nn.Sequential(nn.Linear(4, 4), nn.RNN(4, 4))])
        self.again = self.rest[0]
        self.relu = nn.RNN(4, 5, nonlinearity="relu", bias=False, dtype=torch.float64)


class Own(nn.LSTM):
    def forward(self, values):
        return super().forward(values)[0] * 2


def test_every_layer_is_replaced_and_restored():
    model = Nested()
    before = copy.deepcopy(model.state_dict())
    text = repr(model)
    parameters = dict(model.named_parameters())
    model.first.eval()
    assert gt.replace_(model) is model
    assert isinstance(model.first, gt.LSTM)
    assert isinstance(model.rest[0], gt.GRU)
    assert isinstance(model.rest[1][1], gt.RNN)
    assert model.relu.nonlinearity == "relu"
    assert model.again is model.rest[0]
    assert not model.first.training and model.rest[0].training
    assert repr(model) == text
    after = dict(model.named_parameters())
    assert list(after) == list(parameters)
    assert all(after[name] is parameters[name] for name in parameters)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    gt.restore_(model)
    assert type(model.first) is nn.LSTM and type(model.relu) is nn.RNN
    assert model.again is model.rest[0]
    assert repr(model) == text
    assert all(own is parameters[name] for name, own in model.named_parameters())
    model.first(torch.zeros(1, 2, 3))


def test_a_layer_itself_is_returned_as_a_new_one():
    layer = nn.GRU(3, 4, num_layers=2, dropout=0.5)
    other = gt.replace_(layer)
    assert type(other) is gt.GRU and other.dropout == 0.5
    assert type(gt.restore_(other)) is nn.GRU


def test_hooks_are_kept():
    seen = []
    model = nn.Sequential(nn.LSTM(3, 4))
    model[0].register_forward_hook(lambda *_: seen.append(1))
    gt.replace_(model)
    model(torch.zeros(1, 2, 3))
    gt.restore_(model)
    model(torch.zeros(1, 2, 3))
    assert seen == [1, 1]


def test_subclasses_are_left_with_a_warning():
    model = nn.ModuleDict({"own": Own(3, 4), "plain": nn.LSTM(3, 4)})
    with pytest.warns(UserWarning, match="own is a Own, a subclass"):
        gt.replace_(model)
    assert type(model["own"]) is Own and type(model["plain"]) is gt.LSTM


class WordModel(nn.Module):
    """The structure of PyTorch's word_language_model: encoder, dropout, LSTM, dropout, decoder."""

    def __init__(self, kind, vocabulary, size, dropout):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocabulary, size)
        self.rnn = getattr(nn, kind)(size, size, num_layers=2, dropout=0.0)
        self.decoder = nn.Linear(size, vocabulary)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens, state):
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        return self.decoder(self.drop(output)), state


def train(kind, steps, replaced):
    """Train on a text of a fixed grammar by the example's loop: states carried, norms clipped."""
    torch.manual_seed(11)
    vocabulary, bptt, batch = 50, 12, 8
    model = WordModel(kind, vocabulary, 32, 0.2)
    if replaced:
        gt.replace_(model)
    generator = torch.Generator().manual_seed(1)
    steps_of = torch.randint(1, 4, (bptt * steps + 1, batch), generator=generator)
    text = steps_of.cumsum(0) % vocabulary
    state, losses = None, []
    for step in range(steps):
        tokens = text[step * bptt : (step + 1) * bptt]
        targets = text[step * bptt + 1 : (step + 1) * bptt + 1]
        if state is not None:
            state = tuple(s.detach() for s in state) if kind == "LSTM" else state.detach()
        model.zero_grad()
        output, state = model(tokens, state)
        loss = nn.functional.cross_entropy(output.reshape(-1, vocabulary), targets.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(parameter.grad, alpha=-5.0)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_word_language_model_trains_the_same(kind):
    expected = train(kind, 200, replaced=False)
    losses = train(kind, 200, replaced=True)
    assert expected[-1] < 0.7 * expected[0]
    largest = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
    print(f"{kind}: {expected[0]:.4f} to {expected[-1]:.4f}, largest difference {largest:.1e}")
    assert largest < 1e-4

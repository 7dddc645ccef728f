"""Weights and tensors of PyTorch."""

import numpy as np
import pytest
from common import CPU, recipe, waves

import gatescan

torch = pytest.importorskip("torch")

X, Y = waves(20)


@pytest.mark.parametrize(
    "layer",
    [
        {"cell": "lstm", "hidden_size": 8, "bidirectional": True},
        {"cell": "gru", "hidden_size": 8, "bias": "double"},
        {"cell": "rnn-relu", "hidden_size": 8},
    ],
)
def test_a_model_becomes_a_module(layer):
    network = {"layer": [layer, layer], "head": {"loss": "cross-entropy"}}
    model = gatescan.train(recipe(network=network), (X, Y), device=CPU, progress=False).model
    module = model.to_torch()
    assert not module.training
    with torch.no_grad():
        found = module(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(found, model.outputs(X, device=CPU).outputs, atol=1e-5)


def test_what_pytorch_lacks_is_refused():
    model = gatescan.train(recipe(cell="lstm-peephole"), (X, Y), device=CPU, progress=False).model
    with pytest.raises(gatescan.UsageError, match="PyTorch has no lstm-peephole"):
        model.to_torch()


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(1, 8, batch_first=True)
        self.out = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


def test_a_module_becomes_a_model():
    torch.manual_seed(0)
    net = Net()
    model = gatescan.Model.from_state_dict(net.state_dict())
    expected = net(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(model.outputs(X, device=CPU).outputs, expected, atol=1e-6)
    assert any("lstm" in note for note in model.notes)

    layer = {"cell": "lstm", "hidden_size": 8, "bias": "double"}
    network = {"layer": [layer], "head": {"loss": "cross-entropy"}}
    trained = gatescan.train(recipe(network=network), (X, Y), device=CPU, progress=False).model
    trained.load_state_dict(net.state_dict())
    np.testing.assert_allclose(trained.outputs(X, device=CPU).outputs, expected, atol=1e-6)


def test_tensors_are_data_unless_they_need_a_gradient():
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    run = gatescan.train(recipe(), (x, y), device=CPU, progress=False)
    plain = gatescan.train(recipe(), (X, Y), device=CPU, progress=False)
    assert run.epochs[-1]["train_loss"] == plain.epochs[-1]["train_loss"]
    with pytest.raises(gatescan.DataError, match="grad"):
        gatescan.train(recipe(), (x.clone().requires_grad_(), y), device=CPU)

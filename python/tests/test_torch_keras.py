"""gatescan.keras: Keras's own tests of its recurrent layers, and gradients, with the backend torch.

Each runs in a process of its own, since Keras chooses its backend when it is imported.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("keras", "absl")),
    reason="Keras and absl-py, which its tests need, are not installed",
)

KERAS_TESTS = """
import sys
import unittest

import keras.src.layers as layers

import gatescan.keras
import gatescan.keras as ours

computed = []
run = ours._run


def counted(*args):
    computed.append(args[1])
    return run(*args)


ours._run = counted
for name in ("LSTM", "GRU", "SimpleRNN"):
    setattr(layers, name, getattr(ours, name))
module = __import__("keras.src.layers.rnn." + sys.argv[1], fromlist=["x"])
result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(module))
assert result.testsRun >= int(sys.argv[2]), result.testsRun
assert computed, "Keras's own loop has computed everything"
print(result.testsRun, "tests;", len(computed), "loops by gatescan")
# A test that feeds Keras from TensorFlow cannot run without it, with Keras's own layers neither.
other = [text for _, text in result.errors if "No module named 'tensorflow'" not in text]
sys.exit(bool(result.failures or other))
"""

GRADIENTS = """
import itertools

import keras
import numpy as np
import torch

import gatescan.keras as ours

run, computed = ours._run, []
ours._run = lambda *args: computed.append(1) or run(*args)
options = [{}, {"return_sequences": True, "go_backwards": True}, {"use_bias": False}]
extra = {
    "LSTM": [{"return_state": True}],
    "GRU": [{"reset_after": False}],
    "SimpleRNN": [{"activation": "relu"}],
}
for name, added in extra.items():
    for given in options + added:
        keras.utils.set_random_seed(3)
        expected = getattr(keras.layers, name)(5, **given)
        layer = getattr(ours, name)(5, **given)
        values = torch.randn(4, 7, 3)
        results = []
        for own in (expected, layer):
            own.build(values.shape)
        layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in layer.weights])
        expected.set_weights(layer.get_weights())
        for own in (expected, layer):
            inputs = values.clone().requires_grad_()
            outputs = own(inputs)
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            sum((output * (n + 1)).square().sum() for n, output in enumerate(outputs)).backward()
            gradients = [weight.value.grad for weight in own.trainable_weights]
            results.append([*outputs, inputs.grad, *gradients])
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)
assert len(computed) == 12, len(computed)
"""

MASKS = """
import itertools

import keras
import numpy as np
import torch

import gatescan.keras as ours

run, computed = ours._run, []
ours._run = lambda *args: computed.append(1) or run(*args)
holes = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) > 0.4
holes[3], holes[4] = False, torch.tensor([0, 0, 0, 1, 1, 1, 1]).bool()
lengths = torch.tensor([7, 1, 0, 3, 5])
right = torch.arange(7) < lengths[:, None]
flags = itertools.product([False, True], repeat=3)
options = [
    {"return_sequences": every, "go_backwards": back, "zero_output_for_mask": zeros}
    for every, back, zeros in flags
]
options.append({"dropout": 0.4, "return_sequences": True})
cases = list(itertools.product(("LSTM", "GRU", "SimpleRNN"), options, (holes, right, None)))
for name, given, mask in cases:
    training = "dropout" in given
    expected = getattr(keras.layers, name)(4, return_state=True, seed=5, **given)
    layer = getattr(ours, name)(4, return_state=True, seed=5, **given)
    values = torch.randn(5, 7, 3)
    for own in (expected, layer):
        own.build(values.shape)
    layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in layer.weights])
    expected.set_weights(layer.get_weights())
    results = []
    for own in (expected, layer):
        inputs = values.clone().requires_grad_()
        states = [torch.full((5, 4), 0.3 + n) for n in range(2 if name == "LSTM" else 1)]
        outputs = own(inputs, mask=mask, initial_state=states, training=training)
        sum((output * (n + 1)).square().sum() for n, output in enumerate(outputs)).backward()
        gradients = [weight.value.grad for weight in own.trainable_weights]
        results.append([*outputs, inputs.grad, *gradients])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)
assert len(computed) == len(cases), len(computed)

# Dropout of states is computed by Keras.
ours.LSTM(4, recurrent_dropout=0.3)(torch.randn(5, 7, 3), training=True)
assert len(computed) == len(cases), len(computed)
# A whole model: an embedding's mask.
model = keras.Sequential([keras.layers.Embedding(9, 3, mask_zero=True), ours.GRU(4)])
model(np.array([[1, 2, 0], [3, 0, 0]]))
assert len(computed) == len(cases) + 1, len(computed)
"""


def run(code, *arguments):
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    print(done.stdout)


@pytest.mark.parametrize(
    ("module", "least"), [("lstm_test", "6"), ("gru_test", "8"), ("simple_rnn_test", "5")]
)
def test_keras_tests(module, least):
    run(KERAS_TESTS, module, least)


def test_gradients():
    run(GRADIENTS)


def test_masks_and_dropout():
    run(MASKS)

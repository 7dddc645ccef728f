"""Writes cells.json: outputs and gradients of layers with options, computed in float64.

Activations and recurrent dropout are those of Keras's own layers, whose masks are written here.
Zoneout is written from the equations of Krueger et al. 2017 (section 3.1) with PyTorch's autograd,
learnt initial states are parameters of it, and layer normalisation is `layer_norm` of it, in a GRU
with the formulas, gate order and shapes of haste's LayerNormGRU.
tests/cell_options.rs reads the file:
    KERAS_BACKEND=torch python tests/interop/cells.py
"""

import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from torch.nn import functional

torch.manual_seed(11)
keras.backend.set_floatx("float64")
STEPS, BATCH, INPUTS, UNITS = 5, 3, 2, 4

# Keras's gate n is gate ORDER[n] of gatescan.
ORDER = {"rnn-tanh": [0], "rnn-relu": [0], "lstm": [0, 1, 2, 3]}
ORDER |= {"gru": [1, 0, 2], "gru-reset-before": [1, 0, 2]}


def single(values):
    """Rounds to float32, so that every executor reads the same values."""
    return values.to(torch.float32).to(torch.float64)


def drawn(*shape, scale=1.0):
    return single(torch.randn(*shape, dtype=torch.float64) * scale)


def ours(values, order, size):
    """Columns [rows, G*H] in Keras's order as rows [G*H, rows] in gatescan's."""
    blocks = values.split(size, dim=-1)
    found = [None] * len(order)
    for block, gate in zip(blocks, order, strict=True):
        found[gate] = block
    return torch.cat(found, -1).T


def keras_layer(cell, options, rate):
    options = dict(return_sequences=True, recurrent_dropout=rate, **options)
    if cell.startswith("rnn"):
        return keras.layers.SimpleRNN(UNITS, activation=cell[4:], **options)
    if cell == "lstm":
        return keras.layers.LSTM(UNITS, **options)
    return keras.layers.GRU(UNITS, reset_after=cell == "gru", **options)


def reset_before(cell, inputs, weights, masks):
    """The steps of Keras's GRUCell with reset_after=False."""
    kernel, recurrent, bias = weights
    of_z, of_r, of_h = recurrent.split(UNITS, dim=1)
    h = torch.zeros(BATCH, UNITS, dtype=torch.float64)
    outputs = []
    for x in inputs @ kernel + bias:
        x_z, x_r, x_h = x.split(UNITS, dim=1)
        z = cell.recurrent_activation(x_z + (h * masks[0]) @ of_z)
        r = cell.recurrent_activation(x_r + (h * masks[1]) @ of_r)
        candidate = cell.activation(x_h + (r * (h * masks[2])) @ of_h)
        h = z * h + (1 - z) * candidate
        outputs.append(h)
    return torch.stack(outputs)


def simple(cell, inputs, weights, masks):
    """The steps of Keras's SimpleRNNCell."""
    kernel, recurrent, bias = weights
    h = torch.zeros(BATCH, UNITS, dtype=torch.float64)
    outputs = []
    for x in inputs @ kernel + bias:
        h = cell.activation(x + (h * masks[0]) @ recurrent)
        outputs.append(h)
    return torch.stack(outputs)


def lstm(cell, inputs, weights, masks):
    """The steps of Keras's LSTMCell."""
    kernel, recurrent, bias = weights
    gates = recurrent.split(UNITS, dim=1)
    h = c = torch.zeros(BATCH, UNITS, dtype=torch.float64)
    outputs = []
    for x in inputs @ kernel + bias:
        read = x.split(UNITS, dim=1)
        i, f, g, o = (
            x_n + (h * mask) @ of_n for x_n, mask, of_n in zip(read, masks, gates, strict=True)
        )
        kept, new = cell.recurrent_activation(f) * c, cell.recurrent_activation(i)
        c = kept + new * cell.activation(g)
        h = cell.recurrent_activation(o) * cell.activation(c)
        outputs.append(h)
    return torch.stack(outputs)


def reset_after(cell, inputs, weights, masks):
    """The steps of Keras's GRUCell with reset_after=True."""
    kernel, recurrent, (bias, recurrent_bias) = weights
    gates = list(zip(recurrent.split(UNITS, dim=1), recurrent_bias.split(UNITS), strict=True))
    h = torch.zeros(BATCH, UNITS, dtype=torch.float64)
    outputs = []
    for x in inputs @ kernel + bias:
        x_z, x_r, x_h = x.split(UNITS, dim=1)
        h_z, h_r, h_h = (
            (h * mask) @ of_n + b for mask, (of_n, b) in zip(masks, gates, strict=True)
        )
        z = cell.recurrent_activation(x_z + h_z)
        r = cell.recurrent_activation(x_r + h_r)
        h = z * h + (1 - z) * cell.activation(x_h + r * h_h)
        outputs.append(h)
    return torch.stack(outputs)


#: Keras rounds parts of its cells to float32, so their equations are written again.
AGAIN = {
    "rnn-tanh": simple,
    "lstm": lstm,
    "gru": reset_after,
    "gru-reset-before": reset_before,
}


def keras_case(name, cell, described, options, rate=0.0):
    layer = keras_layer(cell, options, rate)
    layer.build((None, STEPS, INPUTS))
    layer.set_weights([drawn(*w.shape, scale=0.8).numpy() for w in layer.weights])
    order = ORDER[cell]
    masks = {}
    if rate > 0.0:
        kept = (torch.rand(len(order), BATCH, UNITS) >= rate).to(torch.float64)
        kept = kept / (1.0 - rate)
        value = list(kept) if len(order) > 1 else kept[0]
        layer.cell.get_recurrent_dropout_mask = lambda _: value
        placed = [None] * len(order)
        for mask, gate in zip(kept, order, strict=True):
            placed[gate] = mask
        masks["recurrent"] = torch.stack(placed, 1).flatten().tolist()
    inputs = drawn(STEPS, BATCH, INPUTS, scale=1.5).requires_grad_()
    outputs = layer(inputs.transpose(0, 1), training=rate > 0.0).transpose(0, 1)
    upstream = drawn(STEPS, BATCH, UNITS)
    weights = [w.value for w in layer.weights]
    read = list(kept) if rate > 0.0 else [1.0] * len(order)
    again = AGAIN[cell](layer.cell, inputs, weights, read)
    assert (again - outputs).abs().max() < 1e-6
    outputs = again
    gradients = torch.autograd.grad((outputs * upstream).sum(), [inputs, *weights])

    def named(values):
        kernel, recurrent, bias = values
        found = {
            "rnn.weight_ih_l0": ours(kernel, order, UNITS),
            "rnn.weight_hh_l0": ours(recurrent, order, UNITS),
        }
        rows = bias if bias.ndim == 2 else bias[None]
        for kind, row in zip(["ih", "hh"], rows, strict=False):
            found[f"rnn.bias_{kind}_l0"] = ours(row[None], order, UNITS)
        return {name: value.flatten().tolist() for name, value in found.items()}

    layer_of = dict(cell=cell, hidden_size=UNITS, **described)
    if cell == "gru":
        layer_of["bias"] = "double"
    if rate > 0.0:
        layer_of["recurrent_dropout"] = rate
    return dict(
        name=name,
        layer=layer_of,
        inputs=inputs.flatten().tolist(),
        upstream=upstream.flatten().tolist(),
        parameters=named(weights),
        masks=masks,
        outputs=outputs.flatten().tolist(),
        dinputs=gradients[0].flatten().tolist(),
        gradients=named(gradients[1:]),
    )


def lstm_step(x, h, c, w, r, b):
    i, f, g, o = (x @ w.T + h @ r.T + b).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x, h, c, w, r, b):
    (xr, xz, xn), (hr, hz) = (x @ w.T + b).chunk(3, -1), (h @ r[: 2 * UNITS].T).chunk(2, -1)
    reset, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    n = (xn + (reset * h) @ r[2 * UNITS :].T).tanh()
    return (1 - z) * n + z * h, c


def zoneout_case(name, cell, step, gates, rates, is_drawn):
    w, r, b = drawn(gates * UNITS, INPUTS), drawn(gates * UNITS, UNITS), drawn(gates * UNITS)
    parameters = [value.requires_grad_() for value in (w, r, b)]
    inputs = drawn(STEPS, BATCH, INPUTS).requires_grad_()
    # The share of the new value: drawn, or its expectation.
    shares, masks = [], {}
    for state, rate in rates.items():
        kept = (torch.rand(STEPS, BATCH, UNITS) >= rate).to(torch.float64)
        shares.append(kept if is_drawn else torch.full_like(kept, 1.0 - rate))
        if is_drawn:
            masks[state] = (kept / (1.0 - rate)).flatten().tolist()
    h = c = torch.zeros(BATCH, UNITS, dtype=torch.float64)
    outputs = []
    for t in range(STEPS):
        h_new, c_new = step(inputs[t], h, c, w, r, b)
        h = (1 - shares[0][t]) * h + shares[0][t] * h_new
        c = (1 - shares[1][t]) * c + shares[1][t] * c_new if len(shares) > 1 else c_new
        outputs.append(h)
    outputs = torch.stack(outputs)
    upstream = drawn(STEPS, BATCH, UNITS)
    gradients = torch.autograd.grad((outputs * upstream).sum(), [inputs, *parameters])
    names = ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0"]

    def named(values):
        return {n: v.flatten().tolist() for n, v in zip(names, values, strict=True)}

    return dict(
        name=name,
        layer=dict(cell=cell, hidden_size=UNITS, **rates),
        evaluates=not is_drawn,
        inputs=inputs.flatten().tolist(),
        upstream=upstream.flatten().tolist(),
        parameters=named(parameters),
        masks=masks,
        outputs=outputs.flatten().tolist(),
        dinputs=gradients[0].flatten().tolist(),
        gradients=named(gradients[1:]),
    )


def learnt_case(name, cell, step, gates):
    """Initial states that are parameters, the same for all sequences."""
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "h0_l0", "c0_l0"]
    names = [f"rnn.{name}" for name in (names if cell == "lstm" else names[:-1])]
    shapes = [(gates * UNITS, INPUTS), (gates * UNITS, UNITS), (gates * UNITS,), (UNITS,), (UNITS,)]
    parameters = [drawn(*shape).requires_grad_() for shape in shapes[: len(names)]]
    inputs = drawn(STEPS, BATCH, INPUTS).requires_grad_()
    h, c = (state.expand(BATCH, UNITS) for state in (parameters[3], parameters[-1]))
    outputs = []
    for x in inputs:
        h, c = step(x, h, c, *parameters[:3])
        outputs.append(h)
    outputs = torch.stack(outputs)
    upstream = drawn(STEPS, BATCH, UNITS)
    gradients = torch.autograd.grad((outputs * upstream).sum(), [inputs, *parameters])

    def named(values):
        return {n: v.flatten().tolist() for n, v in zip(names, values, strict=True)}

    return dict(
        name=name,
        layer=dict(cell=cell, hidden_size=UNITS, learn_initial_state=True),
        inputs=inputs.flatten().tolist(),
        upstream=upstream.flatten().tolist(),
        parameters=named(parameters),
        masks={},
        outputs=outputs.flatten().tolist(),
        dinputs=gradients[0].flatten().tolist(),
        gradients=named(gradients[1:]),
    )


def norm_lstm_case(name, epsilon, squash, options):
    """TensorFlow 1's LayerNormBasicLSTMCell: contrib/rnn/python/ops/rnn_cell.py."""
    names = ["weight_ih_l0", "weight_hh_l0", "norm_weight_l0", "norm_bias_l0"]
    names = [f"rnn.{name}" for name in names]
    shapes = [(4 * UNITS, INPUTS), (4 * UNITS, UNITS), (5 * UNITS,), (5 * UNITS,)]
    parameters = [drawn(*shape).requires_grad_() for shape in shapes]
    inputs = drawn(STEPS, BATCH, INPUTS).requires_grad_()
    w, r, gains, shifts = parameters

    def norm(values, n):
        own = slice(n * UNITS, (n + 1) * UNITS)
        return functional.layer_norm(values, (UNITS,), gains[own], shifts[own], epsilon)

    h = c = torch.zeros(BATCH, UNITS, dtype=torch.float64)
    outputs = []
    for x in inputs:
        gates = (x @ w.T + h @ r.T).chunk(4, -1)
        i, f, g, o = (norm(gate, n) for n, gate in enumerate(gates))
        c = norm(f.sigmoid() * c + i.sigmoid() * squash(g), 4)
        h = o.sigmoid() * squash(c)
        outputs.append(h)
    outputs = torch.stack(outputs)
    upstream = drawn(STEPS, BATCH, UNITS)
    gradients = torch.autograd.grad((outputs * upstream).sum(), [inputs, *parameters])

    def named(values):
        return {n: v.flatten().tolist() for n, v in zip(names, values, strict=True)}

    return dict(
        name=name,
        layer=dict(cell="lstm", hidden_size=UNITS, bias="none", layer_norm=True, **options),
        inputs=inputs.flatten().tolist(),
        upstream=upstream.flatten().tolist(),
        parameters=named(parameters),
        masks={},
        outputs=outputs.flatten().tolist(),
        dinputs=gradients[0].flatten().tolist(),
        gradients=named(gradients[1:]),
    )


def norm_gru_case(name, epsilon, squash, options, has_bias):
    """haste's LayerNormGRU: frameworks/pytorch/layer_norm_gru.py."""
    inputs = drawn(STEPS, BATCH, INPUTS).requires_grad_()
    shapes = [(INPUTS, 3 * UNITS), (UNITS, 3 * UNITS), (2, 3 * UNITS), (3 * UNITS,), (3 * UNITS,)]
    parameters = [drawn(*shape).requires_grad_() for shape in shapes]
    kernel, recurrent, gammas = parameters[:3]
    if has_bias:
        of_x, of_h = parameters[3:]
    else:
        del parameters[3:]
        of_x = of_h = torch.zeros(3 * UNITS, dtype=torch.float64)

    def norm(values, gamma):
        return functional.layer_norm(values, (3 * UNITS,), weight=gamma, eps=epsilon)

    h = torch.zeros(BATCH, UNITS, dtype=torch.float64)
    outputs = []
    for x in norm(inputs @ kernel, gammas[0]) + of_x:
        x_z, x_r, x_g = x.chunk(3, -1)
        h_z, h_r, h_g = (norm(h @ recurrent, gammas[1]) + of_h).chunk(3, -1)
        z = (x_z + h_z).sigmoid()
        r = (x_r + h_r).sigmoid()
        g = squash(x_g + r * h_g)
        h = z * h + (1 - z) * g
        outputs.append(h)
    outputs = torch.stack(outputs)
    upstream = drawn(STEPS, BATCH, UNITS)
    gradients = torch.autograd.grad((outputs * upstream).sum(), [inputs, *parameters])
    names = ["weight_ih_l0", "weight_hh_l0", "norm_weight_l0", "bias_ih_l0", "bias_hh_l0"]

    def named(values):
        # A gamma of x and one of h, each of all gates, are the gains of six gates.
        values = [ours(torch.atleast_2d(v), ORDER["gru"], UNITS) for v in values]
        values[2] = values[2].T
        pairs = zip(names, values, strict=False)
        return {f"rnn.{name}": value.flatten().tolist() for name, value in pairs}

    bias = "double" if has_bias else "none"
    return dict(
        name=name,
        layer=dict(cell="gru", hidden_size=UNITS, bias=bias, layer_norm=True, **options),
        inputs=inputs.flatten().tolist(),
        upstream=upstream.flatten().tolist(),
        parameters=named(parameters),
        masks={},
        outputs=outputs.flatten().tolist(),
        dinputs=gradients[0].flatten().tolist(),
        gradients=named(gradients[1:]),
    )


def cases():
    gated = ["lstm", "gru", "gru-reset-before"]
    for cell in gated:
        for activation in ["tanh", "relu", "sigmoid", "softsign"]:
            for gate in ["sigmoid", "hard_sigmoid"]:
                options = dict(activation=activation, recurrent_activation=gate)
                described = dict(
                    activation=activation, recurrent_activation=gate.replace("_", "-")
                )
                yield keras_case(f"{cell} {activation} {gate}", cell, described, options)

        def keras2(x):
            return functional.hardtanh(0.2 * x + 0.5, 0.0, 1.0)

        described = dict(recurrent_activation="hard-sigmoid-keras2")
        options = dict(recurrent_activation=keras2)
        yield keras_case(f"{cell} hard-sigmoid-keras2", cell, described, options)
    for cell in ["rnn-tanh", *gated]:
        yield keras_case(f"{cell} recurrent dropout", cell, {}, {}, rate=0.5)
    for is_drawn in [True, False]:
        kind = "drawn" if is_drawn else "expected"
        both = dict(zoneout=0.5, zoneout_cell=0.25)
        yield zoneout_case(f"lstm zoneout {kind}", "lstm", lstm_step, 4, both, is_drawn)
        one = dict(zoneout=0.25)
        yield zoneout_case(f"gru zoneout {kind}", "gru-reset-before", gru_step, 3, one, is_drawn)
    yield learnt_case("lstm learnt states", "lstm", lstm_step, 4)
    yield learnt_case("gru learnt states", "gru-reset-before", gru_step, 3)
    yield norm_lstm_case("lstm layer norm", 1e-12, torch.tanh, {})
    options = dict(layer_norm_epsilon=0.125, activation="softsign")
    yield norm_lstm_case("lstm layer norm softsign", 0.125, functional.softsign, options)
    yield norm_gru_case("gru layer norm", 1e-5, torch.tanh, {}, True)
    yield norm_gru_case("gru layer norm softsign", 0.125, functional.softsign, options, False)


written = dict(steps=STEPS, batch=BATCH, inputs=INPUTS, cases=list(cases()))
path = Path(__file__).with_name("cells.json")
path.write_text(json.dumps(written) + "\n")
print(f"{len(written['cases'])} cases")

"""Keras models of random configurations: each is imported and predicts what Keras predicts, or is
refused by the name of what gatescan does not have. No model may differ silently.

    python tests/interop/keras_models.py GATESCAN [MODELS [SEED]]

Options that gatescan has are drawn for every model. Half of the models have one trouble besides, an
option or a layer that gatescan does not have; its text must be in the error.
"""

import collections
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy

BOUND = 1e-5
MODELS = 200
SEED = 1
CLASSES = ("SimpleRNN", "LSTM", "GRU")
L = keras.layers


@keras.saving.register_keras_serializable("Interop")
class Doubled(L.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("Interop")
def cubed(x):
    return x**3


class Named(keras.Model):
    """A functional model of a program's own class."""


class Subclassed(keras.Model):
    """A model without a list of layers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.recurrent, self.the_head = L.LSTM(4), L.Dense(2)

    def call(self, x):
        return self.the_head(self.recurrent(x))


class Model:
    """A model with what it reads and what is expected of its import."""

    def __init__(self, model, inputs, refusal=None, logits=False, weights_tell=False, flags=()):
        self.model, self.inputs, self.refusal = model, inputs, refusal
        # Whether gatescan predicts the softmax of Keras's outputs.
        self.logits = logits
        # Whether a file of weights, with reads and loss, determines the model.
        self.weights_tell, self.flags = weights_tell, flags


def recurrent_troubles(kind, random):
    """Options of a recurrent layer that gatescan does not have, with the text of the error."""
    names = ["elu", "hard_sigmoid", "linear", "selu"]
    odd = random.choice(names + (["sigmoid", "softsign"] if kind == "SimpleRNN" else []))
    troubles = [
        ({"activation": str(odd)}, f"({kind}): activation is `{odd}`"),
        ({"activation": None}, f"({kind}): activation is `linear`"),
        ({"activation": cubed}, f"({kind}): activation is `Interop>cubed`"),
        ({"go_backwards": True}, f"({kind}): go_backwards is true"),
        ({"dtype": "mixed_bfloat16"}, f"({kind}): dtype is `mixed_bfloat16`"),
        ({"dtype": "float64"}, f"({kind}): dtype is `float64`"),
    ]
    if kind != "SimpleRNN":
        troubles += [
            (
                {"recurrent_activation": "hard_silu"},
                f"({kind}): recurrent_activation is `hard_silu`",
            ),
        ]
    return troubles


def both_troubles(kind, units):
    """Options of a Bidirectional that gatescan does not have."""
    layer = getattr(L, kind)
    odd = layer(units, activation="softsign", go_backwards=True, return_sequences=True)
    return [
        ({"merge_mode": "sum"}, "(Bidirectional): merge_mode is `sum`"),
        ({"merge_mode": "mul"}, "(Bidirectional): merge_mode is `mul`"),
        ({"merge_mode": "ave"}, "(Bidirectional): merge_mode is `ave`"),
        ({"backward_layer": odd}, "activation"),
    ]


def layers_between(width):
    """Layers after a recurrent one that returns every step, which gatescan does not have."""
    return [
        ([L.LayerNormalization()], "(LayerNormalization) is not"),
        ([L.BatchNormalization()], "(BatchNormalization) is not"),
        ([L.Activation("tanh")], "(Activation) applies `tanh`"),
        ([L.ReLU()], "(ReLU) is not"),
        ([L.LeakyReLU()], "(LeakyReLU) is not"),
        ([L.Lambda(cubed)], "(Lambda) is not"),
        ([Doubled()], "class `Interop>Doubled`"),
        ([L.Conv1D(width, 3, padding="causal")], "(Conv1D) is not"),
        ([L.MaxPooling1D(2, padding="same")], "(MaxPooling1D) is not"),
        ([L.Dense(width)], "(Dense) is after the head"),
        ([L.Masking()], "(Masking) is not"),
        ([L.Rescaling(0.5)], "(Rescaling) is neither on the inputs"),
        ([keras.Sequential([L.Dense(width)])], "(Sequential) is not"),
        ([L.RNN([L.LSTMCell(width), L.GRUCell(3)], return_sequences=True)], "`StackedRNNCells`"),
        ([L.UnitNormalization()], "(UnitNormalization) is not"),
        ([L.Normalization(axis=-1, mean=0.0, variance=1.0)], "(Normalization) is neither"),
        ([L.TimeDistributed(L.Dense(width, activation="tanh"))], "activation is `tanh`"),
    ]


def layers_before(features, steps):
    """Layers on values [N, T, F] before the recurrent ones, which gatescan does not have."""
    mean = numpy.zeros(steps)
    return [
        ([L.Masking(0.0)], "(Masking) is not"),
        ([L.Dense(5)], "(Dense) is before the recurrent layers"),
        ([L.Dense(5, activation="relu")], "is `relu`"),
        ([L.Conv1D(4, 2)], "(Conv1D) is not"),
        ([L.BatchNormalization()], "(BatchNormalization) is not"),
        ([L.Rescaling(-1.0)], "(Rescaling) makes the shift"),
        ([L.Normalization(axis=1, mean=mean, variance=mean + 2)], "(Normalization): axis is"),
        ([L.Permute((1, 2))], "(Permute) is not"),
        ([L.ZeroPadding1D(1)], "(ZeroPadding1D) is not"),
        ([L.Reshape((steps, features))], "(Reshape) is not"),
    ]


def layers_after_last(width):
    """Layers on the last step [N, P] before the head, which gatescan does not have."""
    return [
        ([L.BatchNormalization()], "(BatchNormalization) is not"),
        ([L.Dense(width, activation="relu")], "is `relu`"),
        ([L.Dense(width)], "(Dense) is after the head"),
        ([L.Activation("relu")], "(Activation) applies `relu`"),
        ([L.RepeatVector(3), L.LSTM(width)], "(RepeatVector) is not"),
        ([L.Lambda(cubed)], "(Lambda) is not"),
    ]


def layers_to_last(steps):
    """Layers that make one step of every step, which gatescan does not have."""
    return [
        ([L.AveragePooling1D(steps), L.Flatten()], "(AveragePooling1D) is not"),
        ([L.GlobalMaxPooling1D(keepdims=True), L.Flatten()], "keepdims is true"),
        ([L.Flatten()], "(Flatten) is not"),
        ([L.Reshape((-1,))], "(Reshape) is not"),
        ([L.Lambda(lambda x: x[:, -1])], "(Lambda) is not"),
    ]


def heads(outputs):
    """Heads that gatescan does not have."""
    texts = ["sigmoid", "tanh", "relu", "exponential", "log_softmax"]
    activations = [([L.Dense(outputs, activation=text)], f"is `{text}`") for text in texts]
    return activations + [
        ([L.Dense(outputs), L.Activation("sigmoid")], "(Activation): activation is `sigmoid`"),
        ([L.Dense(outputs), L.ReLU()], "(ReLU) is not"),
        ([L.Dense(outputs), L.LayerNormalization()], "(LayerNormalization) is not"),
        ([L.Dense(outputs), L.Dense(outputs)], "(Dense) is after the head"),
        ([L.Dense(outputs), L.Rescaling(-2.0)], "(Rescaling) makes the shift"),
        ([L.Dense(outputs, dtype="mixed_float16")], "dtype is `mixed_float16`"),
        ([L.Dense(outputs, activation=cubed)], "is `Interop>cubed`"),
        ([L.Dense(outputs, activation=L.LeakyReLU())], "is `LeakyReLU`"),
        ([L.EinsumDense("...x,xy->...y", output_shape=outputs)], "(EinsumDense) is not"),
    ]


def pick(random, choices):
    return choices[random.integers(len(choices))]


class Draw:
    """One random model as a chain of layers."""

    def __init__(self, random, trouble):
        self.random, self.refusal = random, None
        self.steps, self.count = int(random.integers(3, 9)), 4
        # The place of the trouble, if there is one.
        places = ["recurrent", "both", "before", "between", "after_last", "to_last", "head"]
        self.place = pick(random, places) if trouble else None
        self.has = lambda chance: random.random() < chance
        self.is_graph = self.has(0.5)
        self.is_plain = True  # whether a file of weights tells the model
        self.chain, self.residual = [], set()
        self.cells = set()

    def trouble(self, place, troubles):
        """One of the troubles, if it is their place; else nothing."""
        if self.place != place or self.refusal is not None:
            return None
        change, self.refusal = pick(self.random, troubles)
        return change

    def add(self, *layers):
        self.chain += layers

    def input(self):
        """Draws the inputs, and the layers before the recurrent ones."""
        self.features = int(self.random.integers(1, 5))
        self.tokens = self.place != "before" and self.has(0.3)
        if self.tokens:
            self.shape, self.dtype = (self.steps,), "int32"
            size = int(self.random.integers(2, 6))
            self.add(L.Embedding(9, size, mask_zero=self.place == "mask_zero"))
            self.inputs = self.random.integers(0, 9, (self.count, self.steps))
            return
        self.shape, self.dtype = (self.steps, self.features), "float32"
        shape = (self.count, self.steps, self.features)
        self.inputs = self.random.normal(3.0, 2.0, shape).astype("float32")
        if self.has(0.4):
            self.is_plain = False
            self.add(*self.scaling())
        layers = self.trouble("before", layers_before(self.features, self.steps))
        self.add(*layers or [])

    def scaling(self):
        adapted = L.Normalization()
        adapted.adapt(self.inputs)
        columns = self.random.uniform(0.5, 3.0, (2, self.features))
        return pick(
            self.random,
            [
                [adapted],
                [L.Normalization(mean=columns[0], variance=columns[1])],
                [L.Normalization(axis=None, mean=1.5, variance=2.0)],
                [L.Normalization(axis=2, mean=1.5, variance=0.3, invert=True)],
                [L.Rescaling(1 / 7, offset=-0.5)],
                [L.Rescaling(list(columns[0]), list(columns[1]))],
                [L.Rescaling(0.25), adapted, L.Rescaling(2.0, offset=0.1)],
            ],
        )

    def options(self, kind, every, both):
        """Options of a recurrent layer that change nothing, or what gatescan has."""
        options = {
            "return_sequences": every,
            "use_bias": self.has(0.8),
            "unroll": self.has(0.1),
            "dropout": pick(self.random, [0.0, 0.0, 0.3]),
            "recurrent_dropout": pick(self.random, [0.0, 0.0, 0.0, 0.2]),
            "kernel_regularizer": pick(self.random, [None, "l2"]),
            "bias_initializer": "random_uniform",
        }
        if kind == "SimpleRNN":
            options["activation"] = pick(self.random, ["tanh", "relu"])
            self.cells.add(options["activation"])
        elif self.has(0.4):
            options["activation"] = pick(self.random, ["tanh", "relu", "sigmoid", "softsign"])
            options["recurrent_activation"] = pick(self.random, ["sigmoid", "hard_sigmoid"])
            # A file of weights does not tell the functions.
            functions = (options["activation"], options["recurrent_activation"])
            self.is_plain &= functions == ("tanh", "sigmoid")
        if kind == "GRU":
            options["reset_after"] = self.has(0.5)
            options["implementation"] = pick(self.random, [1, 2])
            # Without biases, the weights of both GRUs have the same shapes.
            self.is_plain &= options["use_bias"] or options["reset_after"]
        if kind == "LSTM":
            options["unit_forget_bias"] = False
        if self.place != "both":
            troubles = recurrent_troubles(kind, self.random)
            # Both directions of a Bidirectional cannot go backwards.
            troubles = [each for each in troubles if not (both and "go_backwards" in each[0])]
            options |= self.trouble("recurrent", troubles) or {}
        return options

    def recurrent(self, last):
        kind = pick(self.random, CLASSES)
        units = int(self.random.integers(1, 7))
        to_last = self.place == "to_last"
        every = not last or to_last or self.every or self.pooling is not None
        both = self.place == "both" or self.has(0.3)
        options = self.options(kind, every, both)
        if both:
            changed = self.trouble("both", both_troubles(kind, units)) or {}
            if "backward_layer" in changed:
                options["return_sequences"] = every = True
                self.every = self.every or last
            self.add(L.Bidirectional(getattr(L, kind)(units, **options), **changed))
        else:
            self.add(getattr(L, kind)(units, **options))
        self.width = 2 * units if both else units
        if every:
            self.nothing()
            layers = self.trouble("between", layers_between(self.width)) if not last else None
            self.add(*layers or [])

    def nothing(self):
        """Layers that do nothing outside of training."""
        choices = [
            [],
            [],
            [L.Dropout(0.5)],
            [L.SpatialDropout1D(0.3)],
            [L.GaussianNoise(0.2), L.ActivityRegularization(0.1)],
            [L.GaussianDropout(0.2)],
            [L.AlphaDropout(0.2), L.Identity()],
            [L.Activation("linear")],
        ]
        self.add(*pick(self.random, choices))

    def head(self):
        self.outputs = int(self.random.integers(1, 5))
        bias = self.has(0.8)
        layers = self.trouble("head", heads(self.outputs))
        self.softmax = layers is None and self.has(0.4)
        if layers is not None:
            return self.add(*layers)
        form = pick(self.random, ["option", "layer", "activation"])
        inside = "softmax" if self.softmax and form == "option" else None
        dense = L.Dense(self.outputs, use_bias=bias, activation=inside)
        if self.every and self.has(0.3):
            dense = L.TimeDistributed(dense)
        self.add(dense)
        if self.softmax and form != "option":
            self.add(L.Softmax() if form == "layer" else L.Activation("softmax"))
        if not self.softmax and self.has(0.2):
            self.is_plain = False
            self.add(L.Rescaling(3.0, offset=-2.0))

    def draw(self):
        self.input()
        self.every = self.has(0.4)
        if self.place in ("after_last", "to_last"):
            self.every = False
        self.pooling = None
        if not self.every and self.place is None and self.has(0.4):
            self.pooling = pick(self.random, ["mean", "max"])
        depth = int(self.random.integers(2 if self.place == "between" else 1, 4))
        for level in range(depth):
            self.recurrent(level == depth - 1)
        if self.pooling is not None:
            pools = {"mean": L.GlobalAveragePooling1D, "max": L.GlobalMaxPooling1D}
            self.add(pools[self.pooling]())
        if not self.every:
            self.add(*self.trouble("to_last", layers_to_last(self.steps)) or [])
            self.add(*self.trouble("after_last", layers_after_last(self.width)) or [])
            self.add(*[L.Flatten()] * self.has(0.2))
        self.head()
        return self.built()

    def built(self):
        inputs = keras.Input(self.shape, dtype=self.dtype)
        if self.is_graph:
            outputs = inputs
            for layer in self.chain:
                outputs = layer(outputs)
            model = pick(self.random, [keras.Model, keras.Model, Named])(inputs, outputs)
        else:
            model = keras.Sequential([inputs, *self.chain])
        self.logits = logits = self.compile(model)
        tells = self.is_plain and len(self.cells) < 2 and self.refusal is None
        return Model(model, self.inputs, self.refusal, logits, tells, self.flags())

    def flags(self):
        """What a file of weights does not say."""
        classes = self.softmax or self.logits
        return [
            *("--reads", self.pooling or ("every" if self.every else "last")),
            *("--loss", "cross-entropy" if classes else "mean-squared-error"),
            *(["--cell", "rnn-relu"] if "relu" in self.cells else []),
        ]

    def compile(self, model):
        """Compiles with a loss, or not; returns whether the outputs are logits."""
        losses = [None, "mse", "mae", keras.losses.MeanSquaredError()]
        if self.softmax:
            losses += ["categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy()]
        loss = pick(self.random, losses)
        scaled = any(isinstance(layer, L.Rescaling) for layer in self.chain[-1:])
        if not self.softmax and not scaled and self.has(0.2):
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if loss is not None:
            model.compile(loss=loss, optimizer="adam")
        return isinstance(loss, keras.losses.SparseCategoricalCrossentropy) and not self.softmax


def graphs(random):
    """Graphs and models that are not drawn as a chain: name, model, text of the error or None."""
    every = {"return_sequences": True}

    def start(shape=(None, 3), **options):
        inputs = keras.Input(shape, **options)
        return inputs, inputs

    def end(inputs, x, **options):
        return keras.Model(inputs, L.Dense(2)(x), **options)

    inputs, x = start()
    x = L.LSTM(4, **every)(x)
    for layer in (L.GRU(4, **every), L.Bidirectional(L.LSTM(2, **every))):
        x = L.Add()([layer(x), x])
    yield "residual layers", end(inputs, L.GRU(3)(x)), None
    inputs, x = start()
    x = L.LSTM(4, **every)(x)
    yield "a residual sum of ops", end(inputs, x + L.LSTM(4, **every)(L.Dropout(0.2)(x))), None
    inputs, x = start()
    x = (x - numpy.float32([1, 2, 3])) / numpy.float32(2)
    outputs = L.Dense(2)(L.LSTM(3)(x)) * numpy.float32([2, 3]) + 1.0
    yield "scales of ops", keras.Model(inputs, outputs), None
    inputs, x = start((None,), dtype="int32")
    yield "one-hot tokens", end(inputs, L.GRU(3)(keras.ops.one_hot(x, 9))), None
    inputs, x = start()
    _, h, _ = L.LSTM(4, return_state=True, **every)(x)
    yield "the state h", end(inputs, h), None
    inputs, x = start()
    yield "outputs beside states", end(inputs, L.GRU(4, return_state=True, **every)(x)[0]), None
    inputs, x = start((5, 3), batch_size=4)
    yield "stateful", end(inputs, L.LSTM(4, stateful=True)(x)), None
    inputs, x = start()
    yield "cells", end(inputs, L.RNN(L.GRUCell(4))(L.RNN(L.LSTMCell(3), **every)(x))), None
    model = Subclassed()
    model(numpy.zeros((1, 2, 3), "float32"))
    yield "subclassed", model, None
    inputs, x = start()
    model = end(inputs, L.LSTM(4)(x))
    model.layers[-1].enable_lora(2)
    yield "low-rank adaptation", model, None

    inputs, x = start()
    yield "the last of h", end(inputs, L.LSTM(4, **every)(x)[:, -1]), "(GetItem) is not"
    inputs, x = start()
    _, _, c = L.LSTM(4, return_state=True)(x)
    yield "the state c", end(inputs, c), "reads tensor 2 of layer"
    inputs, x = start()
    x = L.Concatenate()([L.LSTM(4)(x), L.GRU(4)(x)])
    yield "two branches", end(inputs, x), "that another layer has read"
    inputs, x = start()
    y = L.LSTM(4, **every)(x)
    yield "skipped", end(inputs, L.GRU(4)(L.Concatenate()([x, y]))), "(Concatenate) is not"
    inputs, x = start()
    y = L.LSTM(4, **every)(x)
    x = L.Add()([L.LSTM(4, **every)(L.GRU(4, **every)(y)), y])
    yield "a long residual", end(inputs, x), "(Add) is not"
    inputs, x = start()
    y, h, c = L.LSTM(4, return_state=True, **every)(x)
    yield "initial states", end(inputs, L.LSTM(4)(y, initial_state=[h, c])), "initial_state"
    inputs, x = start()
    x = L.Dropout(0.5)(L.LSTM(4)(x), training=True)
    yield "dropout in inference", end(inputs, x), "training = True"
    inputs, x = start()
    other = keras.Input((4,))
    x = L.Add()([L.LSTM(4)(x), other])
    yield "two inputs", end([inputs, other], x), "not one input"
    inputs, x = start()
    x = L.LSTM(4)(x)
    yield "two outputs", keras.Model(inputs, [L.Dense(2)(x), L.Dense(1)(x)]), "not one output"
    inputs, x = start()
    lstm = L.LSTM(3, **every)
    yield "shared", end(inputs, lstm(lstm(x))), "is called 2 times"
    inputs, x = start((None,), dtype="int32")
    x = L.Embedding(9, 3, mask_zero=True)(x)
    yield "mask_zero", end(inputs, L.LSTM(4)(x)), "mask_zero is true"
    inputs, x = start()
    model = end(inputs, L.LSTM(4)(x))
    model.quantize("int8")
    yield "int8", model, "dtype is `QuantizedDTypePolicy`"
    inputs, x = start((None, 3), dtype="float16")
    yield "half inputs", end(inputs, L.LSTM(4)(x)), "dtype is `float16`"


def graph_models(random):
    for name, model, refusal in graphs(random):
        has_tokens = name != "subclassed" and model.inputs[0].dtype == "int32"
        if has_tokens:
            inputs = random.integers(0, 9, (4, 5)).astype("int32")
        else:
            inputs = random.normal(size=(4, 5, 3)).astype("float32")
        yield name, Model(model, inputs, refusal)


def gatescan(program, *arguments):
    command = [program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def expect(ok, what, run):
    if not ok:
        sys.exit(f"{what}: exit code {run.returncode}\n{run.stdout}{run.stderr}")


def difference(program, name, each, place, file, flags=()):
    """Imports a file, and returns the largest difference from Keras; the error if it is refused."""
    run = gatescan(program, "import", file, "-o", place / "imported", *flags)
    if run.returncode != 0:
        expect(run.returncode in (1, 2) and "panicked" not in run.stderr, name, run)
        return run.stderr
    theirs = numpy.asarray(each.model.predict(each.inputs, verbose=0, batch_size=4))
    theirs = theirs.astype("float64")
    if each.logits:
        powers = numpy.exp(theirs - theirs.max(-1, keepdims=True))
        theirs = powers / powers.sum(-1, keepdims=True)
    numpy.save(place / "inputs.npy", each.inputs)
    every = ["--every-step"] * (theirs.ndim == 3)
    run = gatescan(
        program,
        *("predict", place / "imported", place / "inputs.npy", "-o", place / "outputs.npy"),
        *("--device", "cpu", "--quiet", *every),
    )
    expect(run.returncode == 0, name, run)
    ours = numpy.load(place / "outputs.npy")
    expect(ours.shape == theirs.shape, f"{name}: {ours.shape} and {theirs.shape}", run)
    return float(numpy.abs(ours - theirs).max())


def check_weights(program, name, each, place):
    """Imports weights alone, where they determine the model; yields the forms that do."""
    each.model.save_weights(place / "weights.weights.h5")
    numpy.savez(place / "weights.npz", **{w.path: w for w in each.model.weights})
    for form in (".weights.h5", ".npz"):
        target = place / form
        target.mkdir()
        worst = difference(program, name, each, target, place / f"weights{form}", each.flags)
        if isinstance(worst, str):
            # The file does not say in which order layers of several classes are stacked.
            assert "order of its layers" in worst, f"{name} {form}: {worst}"
        else:
            assert worst <= BOUND, f"{name} {form}: apart by {worst:.1e}"
            yield form


def check_model(program, name, each, place, counts, reasons):
    random = numpy.random.default_rng(len(each.model.weights))
    for weight in each.model.trainable_weights:
        weight.assign(random.uniform(-0.7, 0.7, weight.shape))
    each.model.save(place / "model.keras")
    # The outputs of a subclassed model are values, and weights alone do not say that.
    flags = ["--loss", "mean-squared-error"] if name == "subclassed" else []
    worst = difference(program, name, each, place, place / "model.keras", flags)
    if isinstance(worst, str):
        assert each.refusal is not None, f"{name}: it is refused: {worst}"
        # Another layer than the expected one may be the first with the same problem.
        problem = each.refusal.split(") ")[-1]
        assert problem in worst, f"{name}: {each.refusal} is not in: {worst}"
        counts["refused"] += 1
        reasons[each.refusal] += 1
        return
    assert each.refusal is None, f"{name}: {each.refusal} is not refused; apart by {worst:.1e}"
    assert worst <= BOUND, f"{name}: apart by {worst:.1e}"
    counts["equal"] += 1
    if each.weights_tell:
        for file in check_weights(program, name, each, place):
            counts[f"equal by {file}"] += 1


def check(program, models=MODELS, seed=SEED):
    """Checks random models and graphs; prints how many were equal and why others were refused."""
    counts, reasons = collections.Counter(), collections.Counter()
    named = graph_models(numpy.random.default_rng(seed))
    drawn = (
        (f"model {n} of seed {seed}", Draw(numpy.random.default_rng([seed, n]), n % 2 == 1).draw())
        for n in range(models)
    )
    for source in (named, drawn):
        for name, each in source:
            with tempfile.TemporaryDirectory() as place:
                check_model(program, name, each, Path(place), counts, reasons)
            keras.backend.clear_session()
    for reason, count in sorted(reasons.items()):
        print(f"{count:5} refused  {reason}")
    print("Keras models:", ", ".join(f"{count} {what}" for what, count in counts.items()))
    print("0 differ silently")


if __name__ == "__main__":
    check(sys.argv[1], *map(int, sys.argv[2:]))

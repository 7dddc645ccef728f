//! Descriptions as Keras writes them, cut to what matters.

use serde_json::{Value, json};

use super::scaling::{Arithmetic, Operand};
use super::*;
use crate::cells::{Activation, Cell};

/// A layer's entry; the options get its name.
fn layer(class: &str, name: &str, mut options: Value) -> Value {
    options["name"] = name.into();
    json!({"module": "keras.layers", "class_name": class, "config": options,
        "registered_name": null})
}

fn input(shape: Value, dtype: &str) -> Value {
    layer(
        "InputLayer",
        "inputs",
        json!({"batch_shape": shape, "dtype": dtype}),
    )
}

fn values() -> Value {
    input(json!([null, null, 3]), "float32")
}

fn lstm(options: Value) -> Value {
    recurrent("LSTM", "lstm", options)
}

/// A recurrent layer of four units.
fn recurrent(class: &str, name: &str, mut options: Value) -> Value {
    options["units"] = 4.into();
    layer(class, name, options)
}

fn dense(options: Value) -> Value {
    let mut options = options;
    options["units"] = 2.into();
    layer("Dense", "head", options)
}

fn bidirectional(mut options: Value) -> Value {
    options["layer"] = recurrent("LSTM", "forward_lstm", json!({}));
    layer("Bidirectional", "both", options)
}

fn sequential(layers: &[Value]) -> Value {
    json!({"module": "keras", "class_name": "Sequential", "config": {"layers": layers},
        "registered_name": null})
}

/// Values, these layers, and a head.
fn between(layers: &[Value]) -> Value {
    let all = [&[values()], layers, &[dense(json!({}))]].concat();
    sequential(&all)
}

fn described(description: &Value) -> DescribedModel {
    let model = read(description).unwrap_or_else(|error| panic!("{error}"));
    model.expect("it has layers")
}

fn refusal(description: &Value) -> String {
    read(description)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

/// A tensor of a graph.
fn tensor(name: &str, place: usize) -> Value {
    json!({"class_name": "__keras_tensor__",
        "config": {"shape": [], "keras_history": [name, 0, place]}})
}

/// A layer of a graph that is called with these arguments.
fn called(mut layer: Value, arguments: &[Value], keywords: Value) -> Value {
    layer["inbound_nodes"] = json!([{"args": arguments, "kwargs": keywords}]);
    layer["name"] = layer["config"]["name"].clone();
    layer
}

/// An operation of `keras.ops`.
fn operation(class: &str, name: &str) -> Value {
    json!({"module": "keras.src.ops.numpy", "class_name": class, "registered_name": class,
        "config": {"name": name}})
}

fn functional(layers: &[Value], output: &str) -> Value {
    json!({"module": "keras.src.models.functional", "class_name": "Functional",
        "registered_name": "Functional",
        "config": {"layers": layers, "input_layers": [["inputs", 0, 0]],
            "output_layers": [[output, 0, 0]]}})
}

#[test]
fn what_gatescan_has_is_taken() {
    let every = json!({"return_sequences": true, "unroll": true, "dropout": 0.25,
        "kernel_initializer": {"class_name": "Zeros"}, "kernel_regularizer": null});
    let gru = json!({"return_sequences": true, "reset_after": false, "stateful": true});
    let model = described(&sequential(&[
        values(),
        layer(
            "Normalization",
            "n",
            json!({"axis": [-1], "mean": 1.0, "variance": 4.0}),
        ),
        layer(
            "GaussianNoise",
            "noise",
            json!({"stddev": 0.1, "dtype": "float32"}),
        ),
        recurrent(
            "SimpleRNN",
            "rnn",
            json!({"activation": "relu", "return_sequences": true}),
        ),
        lstm(every),
        recurrent("GRU", "gru", gru),
        bidirectional(json!({"merge_mode": "concat"})),
        layer("Flatten", "flat", json!({"data_format": "channels_last"})),
        dense(
            json!({"use_bias": false, "dtype": {"class_name": "DTypePolicy",
            "config": {"name": "float32"}}}),
        ),
        layer("Activation", "softmax", json!({"activation": "softmax"})),
    ]));
    let cells = model.layers.iter().map(|layer| layer.forward.cell);
    let expected = [Cell::RnnRelu, Cell::Lstm, Cell::GruResetBefore, Cell::Lstm];
    assert!(cells.eq(expected));
    assert!(model.layers[3].backward == Some(model.layers[3].forward.clone()));
    assert_eq!((model.head.units, model.head.has_bias), (2, false));
    assert_eq!(model.head.reads, Reads::Last);
    assert_eq!(model.head.activation, HeadActivation::Softmax);
    let steps = model
        .input_scaling
        .iter()
        .map(|step| (step.operation, step.operand.clone()));
    assert!(steps.eq([
        (Arithmetic::Subtract, Operand::Constants(vec![1.0])),
        (Arithmetic::Divide, Operand::Constants(vec![2.0])),
    ]));
    let notes = model.notes.join("\n");
    for said in [
        "layer `gru` (GRU): stateful is true",
        "layer `noise`",
        "layer `lstm` (LSTM)",
    ] {
        assert!(notes.contains(said), "{notes}");
    }
}

#[test]
fn tokens_and_heads_of_every_step_are_taken() {
    let every = || lstm(json!({"return_sequences": true}));
    let inner = layer("Dense", "inner", json!({"units": 5}));
    let model = described(&sequential(&[
        input(json!([null, null]), "int32"),
        layer(
            "Embedding",
            "embedding",
            json!({"input_dim": 7, "output_dim": 3}),
        ),
        every(),
        layer("TimeDistributed", "each", json!({"layer": inner})),
    ]));
    assert_eq!(
        (model.tokens, model.head.units, model.head.reads),
        (Some(7), 5, Reads::Every)
    );
    let cell = recurrent("LSTMCell", "cell", json!({"use_bias": false}));
    let model = described(&between(&[layer("RNN", "rnn", json!({"cell": cell}))]));
    let expected = DescribedDirection {
        cell: Cell::Lstm,
        units: 4,
        has_bias: false,
        activation: Activation::Tanh,
        recurrent_activation: RecurrentActivation::Sigmoid,
        recurrent_dropout: 0.0,
    };
    assert_eq!(model.layers[0].forward, expected);
}

#[test]
fn functions_of_cells_are_those_of_the_version_of_keras() {
    let options = json!({"activation": "relu", "recurrent_activation": "hard_sigmoid"});
    let mut model = described(&between(&[recurrent("GRU", "gru", options)]));
    let functions = |model: &DescribedModel| {
        let direction = &model.layers[0].forward;
        (direction.activation, direction.recurrent_activation)
    };
    let relu = Activation::Relu;
    let hard = RecurrentActivation::HardSigmoid;
    assert_eq!(functions(&model), (relu, hard));
    model.use_keras2_functions();
    let keras2 = RecurrentActivation::HardSigmoidKeras2;
    assert_eq!(functions(&model), (relu, keras2));
}

#[test]
fn what_changes_outputs_is_refused_by_name() {
    let with = |options| between(&[lstm(options)]);
    let stacked = layer("StackedRNNCells", "cells", json!({"cells": []}));
    let function = json!({"module": "builtins", "class_name": "function", "config": "Custom>f"});
    let quantised = json!({"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}});
    let alone = |head| sequential(&[values(), lstm(json!({})), head]);
    let lstm_is = |option: &str| format!("layer `lstm` (LSTM): {option}");
    let cases = [
        (
            with(json!({"activation": "elu"})),
            lstm_is(
                "activation is `elu`, and gatescan has `tanh`, `relu`, `sigmoid` or `softsign`",
            ),
        ),
        (
            with(json!({"activation": function})),
            lstm_is("activation is `Custom>f`"),
        ),
        (
            with(json!({"activation": null})),
            lstm_is("activation is `linear`"),
        ),
        (
            with(json!({"recurrent_activation": "hard_silu"})),
            lstm_is("recurrent_activation is `hard_silu`"),
        ),
        (
            with(json!({"go_backwards": true})),
            lstm_is("go_backwards is true"),
        ),
        (
            with(json!({"return_state": true})),
            lstm_is("return_state is true"),
        ),
        (
            with(json!({"time_major": true})),
            lstm_is("time_major is true"),
        ),
        (
            with(json!({"dtype": "mixed_float16"})),
            lstm_is("dtype is `mixed_float16`"),
        ),
        (
            with(json!({"dtype": "float64"})),
            lstm_is("dtype is `float64`"),
        ),
        (
            with(json!({"dtype": quantised})),
            lstm_is("dtype is `QuantizedDTypePolicy`"),
        ),
        (
            with(json!({"gate": 3})),
            lstm_is("gate is 3, and gatescan does not know"),
        ),
        (
            between(&[recurrent(
                "SimpleRNN",
                "r",
                json!({"activation": "sigmoid"}),
            )]),
            "layer `r` (SimpleRNN): activation is `sigmoid`".into(),
        ),
        (
            between(&[layer("RNN", "r", json!({"cell": stacked}))]),
            "layer `r` (RNN): cell is `StackedRNNCells`".into(),
        ),
        (
            between(&[bidirectional(json!({"merge_mode": "sum"}))]),
            "layer `both` (Bidirectional): merge_mode is `sum`".into(),
        ),
        (
            between(&[bidirectional(json!({"merge_mode": null}))]),
            "merge_mode is null".into(),
        ),
        (
            between(&[bidirectional(json!({"backward_layer":
                recurrent("LSTM", "back", json!({"go_backwards": false}))}))]),
            "go_backwards of layer is false".into(),
        ),
        (
            between(&[bidirectional(json!({"backward_layer":
                recurrent("LSTM", "back", json!({"activation": "relu", "go_backwards": true}))}))]),
            "activation of backward_layer is `relu`, and gatescan has the function of layer".into(),
        ),
        (
            alone(dense(json!({"activation": "sigmoid"}))),
            "layer `head` (Dense): activation is `sigmoid`".into(),
        ),
        (
            alone(layer(
                "Dense",
                "one",
                json!({"units": 1, "activation": "sigmoid"}),
            )),
            "a Dense(2, activation=\"softmax\")".into(),
        ),
        (
            alone(dense(
                json!({"quantization_config": {"class_name": "Int8"}}),
            )),
            "layer `head` (Dense): quantization_config is `Int8`".into(),
        ),
    ];
    for (description, expected) in cases {
        let error = refusal(&description);
        assert!(error.contains(&expected), "{expected}: {error}");
    }
}

#[test]
fn layers_that_gatescan_does_not_have_are_refused_by_name() {
    let every = || lstm(json!({"return_sequences": true}));
    let one = |class: &str, options| layer(class, "it", options);
    let tokens = input(json!([null, null]), "int32");
    let masked = one(
        "Embedding",
        json!({"input_dim": 7, "output_dim": 3, "mask_zero": true}),
    );
    let mut own = lstm(json!({}));
    own["module"] = Value::Null;
    own["registered_name"] = "Custom>LSTM".into();
    let second = recurrent("LSTM", "second", json!({}));
    let cases = [
        (
            between(&[one("Masking", json!({"mask_value": 0.0})), every()]),
            "`it` (Masking)",
        ),
        (
            sequential(&[tokens, masked, every()]),
            "`it` (Embedding): mask_zero is true",
        ),
        (
            between(&[every(), one("MaxPooling1D", json!({}))]),
            "Pooling1D) is not",
        ),
        (
            between(&[
                every(),
                one("GlobalMaxPooling1D", json!({"keepdims": true})),
            ]),
            "keepdims is true",
        ),
        (
            between(&[lstm(json!({})), one("GlobalMaxPooling1D", json!({}))]),
            "does not read every step",
        ),
        (
            between(&[every(), one("Flatten", json!({}))]),
            "`it` (Flatten) is not",
        ),
        (
            between(&[one("BatchNormalization", json!({})), every()]),
            "Normalization) is not",
        ),
        (
            between(&[lstm(json!({})), one("Lambda", json!({}))]),
            "`it` (Lambda) is not",
        ),
        (
            between(&[one("Sequential", json!({"layers": []}))]),
            "no models within models",
        ),
        (
            between(&[one("Dense", json!({"units": 3})), every()]),
            "is before the recurrent",
        ),
        (
            between(&[lstm(json!({})), one("Dense", json!({"units": 3}))]),
            "is after the head",
        ),
        (
            between(&[every(), one("Activation", json!({"activation": "tanh"}))]),
            "applies `tanh`",
        ),
        (
            between(&[lstm(json!({})), second]),
            "`second` (LSTM) reads the last step",
        ),
        (
            between(&[own]),
            "`lstm` (LSTM) is of the class `Custom>LSTM`",
        ),
        (
            between(&[one("Rescaling", json!({"scale": [[1.0], [2.0]]})), every()]),
            "constants",
        ),
        (
            between(&[one("Normalization", json!({"axis": [1]})), every()]),
            "`it` (Normalization): axis is [1]",
        ),
        (sequential(&[values(), every()]), "not the one of a Dense"),
        (between(&[]), "is before the recurrent layers"),
        (
            sequential(&[input(json!([null, null, 3]), "float16"), every()]),
            "layer `inputs` (InputLayer): dtype is `float16`",
        ),
        (
            sequential(&[input(json!([null, 4, 4, 3]), "float32")]),
            "batch_shape is [null,4,4,3]",
        ),
    ];
    for (description, expected) in cases {
        let error = refusal(&description);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// The mean and the maximum of every step, where they read the steps that gatescan reads.
#[test]
fn pooling_is_taken_with_the_mask_of_the_layers() {
    let mask = || {
        let mut mask = input(json!([null, null]), "bool");
        mask["config"]["name"] = "mask".into();
        mask
    };
    let masked = |is_masked: bool| {
        if is_masked {
            json!({"mask": tensor("mask", 0)})
        } else {
            json!({})
        }
    };
    let graph = |class: &str, layer_masked, pool_masked, both: bool| {
        let recurrent = if both {
            let mut both = bidirectional(json!({}));
            both["config"]["layer"]["config"]["return_sequences"] = true.into();
            both["config"]["name"] = "rnn".into();
            both
        } else {
            recurrent("LSTM", "rnn", json!({"return_sequences": true}))
        };
        let layers = [
            values(),
            mask(),
            called(recurrent, &[tensor("inputs", 0)], masked(layer_masked)),
            called(
                layer(class, "pool", json!({"data_format": "channels_last"})),
                &[tensor("rnn", 0)],
                masked(pool_masked),
            ),
            called(dense(json!({})), &[tensor("pool", 0)], json!({})),
        ];
        functional(&layers, "head")
    };
    let (mean, max) = ("GlobalAveragePooling1D", "GlobalMaxPooling1D");
    for (class, layer, pool, both, reads) in [
        (mean, false, false, true, Reads::Mean),
        (mean, true, true, true, Reads::Mean),
        (max, false, false, true, Reads::Max),
        (max, true, false, false, Reads::Max),
    ] {
        let model = described(&graph(class, layer, pool, both));
        assert_eq!(model.head.reads, reads, "{class} {layer} {pool} {both}");
    }
    for (class, layer, pool, both, expected) in [
        (
            mean,
            true,
            false,
            false,
            "mask of the recurrent layer leaves out",
        ),
        (
            mean,
            false,
            true,
            false,
            "mask of the recurrent layer leaves out",
        ),
        (
            max,
            true,
            false,
            true,
            "mask of the recurrent layer leaves out",
        ),
        (max, true, true, false, "is called with a mask"),
    ] {
        let error = refusal(&graph(class, layer, pool, both));
        assert!(error.contains(expected), "{class}: {error}");
    }
}

/// What `gatescan export --to keras` builds: scaled inputs, a mask, a residual layer, scaled
/// outputs.
#[test]
fn a_graph_that_is_a_chain_is_taken() {
    let mut mask = input(json!([null, null]), "bool");
    mask["config"]["name"] = "mask".into();
    let constants = |numbers: Value| json!({"class_name": "__numpy__", "config": {"value": numbers, "dtype": "float32"}});
    let every = |name| recurrent("LSTM", name, json!({"return_sequences": true}));
    let with_mask = || json!({"mask": tensor("mask", 0), "training": false});
    let layers = [
        // Layers may be listed in any order.
        called(
            operation("Add", "sum"),
            &[tensor("b", 0), tensor("a", 0)],
            json!({}),
        ),
        values(),
        mask,
        called(
            operation("Subtract", "shift"),
            &[tensor("inputs", 0), constants(json!([1.0, 2.0, 3.0]))],
            json!({}),
        ),
        called(
            operation("TrueDivide", "scale"),
            &[tensor("shift", 0), json!(2.0)],
            json!({}),
        ),
        called(every("a"), &[tensor("scale", 0)], with_mask()),
        called(every("b"), &[tensor("a", 0)], with_mask()),
        called(dense(json!({})), &[tensor("sum", 0)], json!({})),
        called(
            operation("Multiply", "back"),
            &[json!(3), tensor("head", 0)],
            json!({}),
        ),
    ];
    let model = described(&functional(&layers, "back"));
    let normals = of_inputs(&model.input_scaling, 3, &|_| None).unwrap();
    let normals: Vec<_> = normals
        .iter()
        .map(|normal| (normal.mean, normal.deviation))
        .collect();
    assert_eq!(normals, [(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)]);
    let targets = of_targets(&model.target_scaling, 2, &|_| None).unwrap();
    assert_eq!((targets[1].mean, targets[1].deviation), (0.0, 3.0));
    assert!(model.layers[1].residual && !model.layers[0].residual);
    assert_eq!(model.head.reads, Reads::Every);
    assert!(model.notes[0].contains("lengths of the sequences"));
}

#[test]
fn the_state_h_of_one_direction_is_the_last_step() {
    let both = json!({"return_sequences": true, "return_state": true});
    let with_state = |place| {
        let layers = [
            values(),
            called(lstm(both.clone()), &[tensor("inputs", 0)], json!({})),
            called(dense(json!({})), &[tensor("lstm", place)], json!({})),
        ];
        functional(&layers, "head")
    };
    assert_eq!(described(&with_state(0)).head.reads, Reads::Every);
    assert_eq!(described(&with_state(1)).head.reads, Reads::Last);
    let error = refusal(&with_state(2));
    assert!(
        error.contains("reads tensor 2 of layer `lstm` (LSTM)"),
        "{error}"
    );
}

#[test]
fn graphs_that_are_no_chains_are_refused() {
    let every = |name| recurrent("GRU", name, json!({"return_sequences": true}));
    let from = |layer, reads: &str| called(layer, &[tensor(reads, 0)], json!({}));
    let add = |class| {
        let both = json!([tensor("a", 0), tensor("b", 0)]);
        called(layer(class, "add", json!({})), &[both], json!({}))
    };
    let side = [
        values(),
        from(every("a"), "inputs"),
        from(every("b"), "inputs"),
        add("Concatenate"),
        from(dense(json!({})), "add"),
    ];
    let named = |keyword: &str, value: Value| {
        let mut layer = from(every("a"), "inputs");
        layer["inbound_nodes"][0]["kwargs"][keyword] = value;
        functional(&[values(), layer, from(dense(json!({})), "a")], "head")
    };
    let mut twice = from(every("a"), "inputs");
    twice["inbound_nodes"] = json!([{}, {}]);
    let circle = [values(), from(every("a"), "b"), from(every("b"), "a")];
    let mut two = functional(&[values()], "inputs");
    two["config"]["output_layers"] = json!([["a", 0, 0], ["b", 0, 0]]);
    let with = |layers: &[Value]| functional(layers, "head");
    let stacked = [
        values(),
        from(every("a"), "inputs"),
        from(every("b"), "a"),
        add("Multiply"),
        from(dense(json!({})), "add"),
    ];
    for (description, expected) in [
        (
            with(&side),
            "layer `b` (GRU) reads a tensor that another layer has read",
        ),
        (with(&stacked), "layer `add` (Multiply) is not among"),
        (
            named("initial_state", tensor("inputs", 0)),
            "is called with initial_state",
        ),
        (
            named("training", json!(true)),
            "is called with training = True",
        ),
        (
            named("mask", tensor("inputs", 0)),
            "a mask that layers compute",
        ),
        (named("other", json!(1)), "is called with `other`"),
        (
            with(&[values(), twice]),
            "layer `a` (GRU) is called 2 times",
        ),
        (with(&circle), "in a circle"),
        (
            with(&[values(), from(every("a"), "none")]),
            "there is no layer `none`",
        ),
        (two, "not one output but [\"a\", \"b\"]"),
        (with(&[]), "not one input"),
    ] {
        let error = refusal(&description);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_scale_that_is_not_positive_is_refused() {
    let scaled = |options| {
        let rescaling = layer("Rescaling", "scale", options);
        described(&between(&[rescaling, lstm(json!({}))]))
    };
    let model = scaled(json!({"scale": 0.5, "offset": [1.0, 2.0, 3.0]}));
    let normals = of_inputs(&model.input_scaling, 3, &|_| None).unwrap();
    // x / 2 + 3 = (x + 6) / 2.
    assert_eq!((normals[2].mean, normals[2].deviation), (-6.0, 2.0));
    for (options, width) in [
        (json!({"scale": -1.0}), 3),
        (json!({"scale": 0.0}), 3),
        (json!({"offset": [1.0, 2.0]}), 3),
    ] {
        let model = scaled(options);
        let error = of_inputs(&model.input_scaling, width, &|_| None).unwrap_err();
        assert!(
            error.to_string().contains("layer `scale` (Rescaling)"),
            "{error}"
        );
    }
}

#[test]
fn the_loss_is_the_one_of_the_compilation() {
    let loss = |loss: Value| {
        let mut description = between(&[lstm(json!({}))]);
        description["compile_config"] = json!({ "loss": loss });
        described(&description).loss
    };
    let crossentropy = |from_logits| CompiledLoss::CrossEntropy {
        from_logits,
        extra: vec![],
    };
    let class = |name: &str, options: Value| json!({"module": "keras.losses", "class_name": name, "config": options});
    assert_eq!(loss(Value::Null), CompiledLoss::Absent);
    assert_eq!(loss("mse".into()), CompiledLoss::MeanSquaredError);
    assert_eq!(loss(json!({"head": "mse"})), CompiledLoss::MeanSquaredError);
    assert_eq!(
        loss("sparse_categorical_crossentropy".into()),
        crossentropy(false)
    );
    assert_eq!(
        loss(class(
            "CategoricalCrossentropy",
            json!({"from_logits": true})
        )),
        crossentropy(true)
    );
    assert_eq!(
        loss(class(
            "CategoricalCrossentropy",
            json!({"label_smoothing": 0.1})
        )),
        CompiledLoss::CrossEntropy {
            from_logits: false,
            extra: vec!["label_smoothing = 0.1".into()],
        }
    );
    assert_eq!(loss(json!(["mae"])), CompiledLoss::Other("mae".into()));
    assert_eq!(
        loss(class("function", "Custom>f".into())),
        CompiledLoss::Other("Custom>f".into())
    );
}

#[test]
fn only_a_class_of_the_users_may_have_no_layers() {
    let mut description = json!({"module": null, "class_name": "My", "registered_name": "My",
        "config": {"trainable": true}});
    assert!(read(&description).unwrap().is_none());
    description["module"] = "keras".into();
    description["registered_name"] = Value::Null;
    assert!(refusal(&description).contains("no list of layers"));
    assert!(refusal(&json!({})).contains("config.json has no class_name"));
    let mut own = between(&[lstm(json!({}))]);
    own["module"] = Value::Null;
    own["config"]["anything"] = 1.into();
    assert!(described(&own).notes[0].contains("of the class Sequential"));
}

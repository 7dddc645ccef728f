//! Export and import of the same weights; `tests/interop/run` compares with the frameworks
//! themselves.

use std::fs;
use std::path::{Path, PathBuf};

use gatescan::data::preparation::{HeadPreparation, InputDifference, Normal, Preparation};
use gatescan::formats::{ImportHints, keras, onnx, pytorch};
use gatescan::infer::predict::Sequences;
use gatescan::network::{Activation, Bias, CategoryTable, Init, NamedHead, RecurrentActivation};
use gatescan::recipe::NamedHeadRecipe;
use gatescan::{
    Cell, Device, Head, HeadRecipe, Input, Layer, Loss, Model, Network, Optimizer, Predictor,
    Reads, Recipe,
};
use ndarray::{Array1, Array2, Array3};
use serde_json::json;

/// A network, and the formats that lack one of its options.
struct Case {
    name: &'static str,
    network: Network,
    lacks: &'static [&'static str],
}

const INPUTS: usize = 3;
const VOCABULARY: usize = 11;

fn cases() -> Vec<Case> {
    use Cell::*;
    use RecurrentActivation::*;
    let layer = |cell, size| Layer {
        bias: Bias::Double,
        init: Init::Torch,
        ..Layer::new(cell, size)
    };
    let single = |cell, size| Layer {
        bias: Bias::Single,
        ..layer(cell, size)
    };
    let none = |cell, size| Layer {
        bias: Bias::None,
        ..layer(cell, size)
    };
    let both = |layer: Layer| Layer {
        bidirectional: true,
        ..layer
    };
    let uneven = |layer: Layer| Layer {
        backward_hidden_size: Some(layer.hidden_size + 2),
        ..both(layer)
    };
    let residual = |layer: Layer| Layer {
        residual: true,
        ..layer
    };
    let projected = |layer: Layer, size| Layer {
        projection_size: Some(size),
        ..layer
    };
    let functions = |layer: Layer, activation, recurrent_activation| Layer {
        activation,
        recurrent_activation,
        ..layer
    };
    let clipped = |layer: Layer| Layer {
        cell_clip: Some(0.15),
        ..layer
    };
    let learns = |layer: Layer| Layer {
        learn_initial_state: true,
        ..layer
    };
    let case = |name, layers: Vec<Layer>, reads, lacks| Case {
        name,
        network: Network {
            input_size: INPUTS,
            input: Input::Values,
            layers,
            head: Head {
                size: 4,
                reads,
                loss: Loss::CrossEntropy,
                init: Init::Torch,
            },
            heads: vec![],
            categories: vec![],
        },
        lacks,
    };
    let (last, every) = (Reads::Last, Reads::Every);
    let torch: &[&str] = &["pytorch"];
    let neither: &[&str] = &["pytorch", "keras"];
    let mut cases = vec![
        case("lstm", vec![single(Lstm, 7)], last, &[]),
        case("lstm-two-biases", vec![layer(Lstm, 7); 2], last, &[]),
        case("lstm-no-bias", vec![none(Lstm, 5)], every, &[]),
        case("gru", vec![layer(Gru, 6); 3], every, &[]),
        case("gru-no-bias", vec![none(Gru, 6)], last, &[]),
        case(
            "gru-reset-before",
            vec![single(GruResetBefore, 6); 2],
            last,
            torch,
        ),
        case(
            "rnn-tanh",
            vec![single(RnnTanh, 8), layer(RnnTanh, 8)],
            every,
            &[],
        ),
        case("rnn-relu", vec![layer(RnnRelu, 8)], last, &[]),
        case("peephole", vec![layer(LstmPeephole, 5); 2], every, neither),
        case(
            "peephole-both",
            vec![both(single(LstmPeephole, 5))],
            last,
            neither,
        ),
        case("lstm-both", vec![both(layer(Lstm, 5)); 2], every, &[]),
        case("gru-both", vec![both(layer(Gru, 5)); 2], last, &[]),
        case("rnn-relu-both", vec![both(single(RnnRelu, 4))], every, &[]),
        case(
            "reset-before-both",
            vec![both(layer(GruResetBefore, 5))],
            every,
            torch,
        ),
        case(
            "uneven",
            vec![uneven(layer(Gru, 4)), uneven(single(Lstm, 3))],
            last,
            neither,
        ),
        case(
            "mixed",
            vec![
                layer(Lstm, 7),
                layer(Gru, 5),
                both(single(RnnTanh, 4)),
                layer(Lstm, 6),
                single(RnnRelu, 6),
            ],
            last,
            &[],
        ),
        case(
            "residual",
            vec![
                layer(Lstm, 6),
                residual(layer(Lstm, 6)),
                residual(layer(Gru, 6)),
                residual(both(layer(Lstm, 3))),
            ],
            every,
            &[],
        ),
        case("deep", vec![layer(Lstm, 4); 12], every, &[]),
        case(
            "projected",
            vec![projected(layer(Lstm, 7), 4); 2],
            last,
            &["keras"],
        ),
        case(
            "projected-both",
            vec![both(projected(layer(Lstm, 7), 4))],
            every,
            &["keras"],
        ),
        case("wide", vec![projected(single(Lstm, 4), 6)], every, neither),
        case("clipped", vec![clipped(single(Lstm, 6))], every, neither),
        case(
            "functions",
            vec![
                functions(single(Lstm, 6), Activation::Relu, HardSigmoid),
                both(functions(layer(Gru, 5), Activation::Softsign, HardSigmoid)),
                functions(single(GruResetBefore, 4), Activation::Sigmoid, Sigmoid),
            ],
            every,
            torch,
        ),
        case(
            "functions-keras2",
            vec![
                both(functions(
                    layer(LstmPeephole, 5),
                    Activation::Tanh,
                    HardSigmoidKeras2,
                )),
                functions(layer(Gru, 5), Activation::Relu, HardSigmoidKeras2),
            ],
            last,
            neither,
        ),
        case(
            "functions-projected",
            vec![
                functions(
                    projected(layer(Lstm, 7), 4),
                    Activation::Softsign,
                    HardSigmoidKeras2,
                ),
                functions(
                    clipped(layer(LstmPeephole, 6)),
                    Activation::Relu,
                    HardSigmoid,
                ),
            ],
            last,
            neither,
        ),
        case(
            "learnt-states",
            vec![
                learns(both(layer(Lstm, 5))),
                learns(uneven(layer(Gru, 4))),
                learns(single(LstmPeephole, 4)),
                learns(projected(layer(Lstm, 7), 4)),
                learns(layer(RnnRelu, 6)),
            ],
            last,
            neither,
        ),
        case(
            "all-of-it",
            vec![
                both(layer(Gru, 4)),
                both(Layer {
                    projection_clip: Some(0.1),
                    ..clipped(projected(layer(LstmPeephole, 6), 4))
                }),
                uneven(clipped(none(Lstm, 3))),
            ],
            last,
            neither,
        ),
    ];
    let mut values = case("values", vec![single(Lstm, 6)], every, &[]);
    values.network.head.loss = Loss::MeanSquaredError;
    let mut one_hot = case("one-hot", vec![layer(Gru, 6)], last, &[]);
    one_hot.network.input_size = VOCABULARY;
    one_hot.network.input = Input::OneHot;
    let embedding = |size: usize, tied: bool| Input::Embedding {
        size,
        padding_idx: None,
        init: Init::Torch,
        tied,
    };
    let mut embedded = case("embedding", vec![both(layer(Lstm, 6))], every, &[]);
    embedded.network.input_size = VOCABULARY;
    embedded.network.input = embedding(5, false);
    let mut tied = case("tied", vec![both(layer(Lstm, 6))], every, &[]);
    tied.network.input_size = VOCABULARY;
    tied.network.input = embedding(12, true);
    tied.network.head.size = VOCABULARY;
    let mut normalised = case("normalised", vec![layer(Lstm, 6)], last, &[]);
    normalised.network.head.loss = Loss::MeanSquaredError;
    let mut differences = case("differences", vec![layer(Lstm, 6)], every, &[]);
    differences.network.head.loss = Loss::MeanSquaredError;
    cases.extend([values, normalised, differences]);
    for (name, cell, reads) in [
        ("differences-last", Gru, last),
        ("differences-linear", Gru, every),
        ("differences-linear-last", Lstm, last),
    ] {
        let mut case = case(name, vec![layer(cell, 6)], reads, &[]);
        case.network.head.loss = Loss::MeanSquaredError;
        cases.push(case);
    }
    for (name, loss, reads) in [
        (
            "quantiles",
            Loss::quantiles(&[0.1, 0.9]).expect("they are levels"),
            every,
        ),
        ("normal-distributions", Loss::GaussianNll, last),
        ("labels", Loss::BinaryCrossEntropy, last),
    ] {
        let mut case = case(name, vec![layer(Gru, 6)], reads, &[]);
        case.network.head.loss = loss;
        cases.push(case);
    }
    cases.extend([one_hot, embedded, tied]);
    for (name, layers, reads, lacks) in [
        ("mean", vec![layer(Gru, 6)], Reads::Mean, &[][..]),
        (
            "mean-residual-both",
            vec![layer(Lstm, 6), residual(both(layer(Lstm, 3)))],
            Reads::Mean,
            &[],
        ),
        ("max", vec![layer(Lstm, 6)], Reads::Max, &[]),
        ("max-both", vec![both(layer(Gru, 4))], Reads::Max, &[]),
        (
            "attention",
            vec![both(layer(Lstm, 4))],
            Reads::Attention,
            &["keras"],
        ),
    ] {
        cases.push(case(name, layers, reads, lacks));
    }
    cases
}

/// Means and deviations that differ from column to column.
fn normals(columns: usize) -> Vec<Normal> {
    let normal = |column| Normal {
        mean: 3.7 - column as f64,
        deviation: 0.3 * (1.0 + column as f64),
    };
    (0..columns).map(normal).collect()
}

impl Case {
    /// The model with initial parameters.
    fn model(&self) -> Model {
        let Head { reads, loss, .. } = self.network.head;
        let layers = self.network.layers.clone();
        let optimizer = Optimizer::adam(0.01);
        let normalised = Preparation {
            inputs: normals(self.network.input_size),
            targets: normals(self.network.head.targets()),
            ..Preparation::default()
        };
        let mut recipe = Recipe::new(self.name, layers, HeadRecipe::new(reads, loss), optimizer);
        recipe.network.input = self.network.input;
        let heads = self.network.heads.iter();
        recipe.network.heads = heads
            .map(|head| NamedHeadRecipe::new(&head.name, &[], head.loss))
            .collect();
        let of_heads = self.network.heads.iter().zip(self.network.each_head());
        let of_heads = of_heads.map(|(named, head)| HeadPreparation {
            targets: match named.loss.takes_quantities() {
                true => normals(head.targets()),
                false => vec![],
            },
            ..HeadPreparation::default()
        });
        let of_heads = Preparation {
            inputs: normals(self.network.input_size),
            heads: of_heads.collect(),
            ..Preparation::default()
        };
        let flat = self.network.initial(7);
        let mut parameters = self.network.to_parameters(&flat);
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let learnt = ["rnn.h0_", "rnn.c0_"];
        for parameter in &mut parameters {
            if learnt.iter().any(|start| parameter.name.starts_with(start)) {
                // They begin with zeros.
                let values = parameter.values.iter_mut().enumerate();
                values.for_each(|(n, value)| *value = (1.0 + 1.7 * n as f32).sin());
            }
        }
        Model {
            network: self.network.clone(),
            recipe,
            preparation: match self.name {
                "normalised" | "quantiles" | "normal-distributions" => normalised,
                "differences" => Preparation {
                    residuals: vec![2, 0, 1, 2],
                    ..normalised
                },
                "differences-last" => Preparation {
                    inputs: normals(2),
                    residuals: vec![1, 0, 1, 0],
                    differences: vec![InputDifference {
                        input: 1,
                        lag: 2,
                        scale: 2.5,
                    }],
                    ..normalised
                },
                "differences-linear" | "differences-linear-last" => Preparation {
                    inputs: normals(2),
                    residuals: vec![1, 0, 1, 0],
                    linear: (0..12).map(|n| 0.25 - 0.0625 * f64::from(n)).collect(),
                    differences: vec![InputDifference {
                        input: 1,
                        lag: 2,
                        scale: 2.5,
                    }],
                    ..normalised
                },
                _ if !self.network.categories.is_empty() => Preparation {
                    differences: vec![InputDifference {
                        input: 1,
                        lag: 2,
                        scale: 2.5,
                    }],
                    categories: vec![names(3), names(2)],
                    known_ahead: 5,
                    ..Preparation::default()
                },
                _ if !self.network.heads.is_empty() => of_heads,
                _ => Preparation::default(),
            },
            parameters,
        }
    }

    /// The properties that a file of weights does not contain.
    fn hints(&self) -> ImportHints {
        let relu = self.network.layers.len() == 1 && self.network.layers[0].cell == Cell::RnnRelu;
        ImportHints {
            // The hint is for every layer of one gate.
            cell: relu.then_some(Cell::RnnRelu),
            reads: Some(self.network.head.reads),
            loss: Some(self.network.head.loss),
            one_hot: self.network.input == Input::OneHot,
            order: vec![],
            recipe: None,
        }
    }
}

fn bits(model: &Model) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let parameters = model.parameters.iter();
    let bits = parameters.map(|p| {
        let values = p.values.iter().map(|value| value.to_bits());
        (p.name.clone(), p.shape.clone(), values.collect())
    });
    bits.collect()
}

/// Whether weights and hints determine the network: residuals, functions of cells and mixed cells
/// of one gate do not follow from them.
fn is_determined(case: &Case) -> bool {
    let relu = |layer: &&Layer| layer.cell == Cell::RnnRelu;
    let layers = &case.network.layers;
    let plain = |layer: &Layer| {
        let functions = (layer.activation, layer.recurrent_activation);
        !layer.residual && functions == Default::default()
    };
    let has_query = case.network.head.reads == Reads::Attention;
    layers.iter().all(plain)
        && !has_query
        && (layers.len() == 1 || layers.iter().find(relu).is_none())
}

#[test]
fn pytorch_weights_are_imported_bit_for_bit() {
    let named_query = |case: &&Case| case.network.head.reads != Reads::Attention;
    for case in cases()
        .iter()
        .filter(named_query)
        .filter(|case| !case.lacks.contains(&"pytorch"))
    {
        let model = case.model();
        let export = pytorch::export(&model, "w.safetensors").expect(case.name);
        let back = pytorch::import(&export.weights, case.name, &case.hints()).expect(case.name);
        let back = back.model;
        assert_eq!(bits(&back), bits(&model), "{}", case.name);
        if is_determined(case) {
            let again = pytorch::export(&back, "w.safetensors").expect(case.name);
            assert!(again.weights == export.weights, "{}", case.name);
            assert_eq!(shape(&back.network), shape(&model.network), "{}", case.name);
        }
    }
}

/// Two biases become their sum in Keras, so only imported weights are exported bit for bit.
#[test]
fn keras_weights_are_imported_bit_for_bit() {
    let mut exact = 0;
    for case in cases().iter().filter(|case| !case.lacks.contains(&"keras")) {
        let model = case.model();
        let export = keras::export(&model, "w.weights.h5").expect(case.name);
        let back = keras::import(&export.weights, case.name, &case.hints()).expect(case.name);
        let back = back.model;
        let again = keras::export(&back, "w.weights.h5").expect(case.name);
        assert!(again.weights == export.weights, "{}", case.name);
        let one = |layer: &Layer| layer.cell == Cell::Gru || layer.bias != Bias::Double;
        if case.network.layers.iter().all(one) {
            let trained = |model: &Model| model.network.from_parameters(&model.parameters);
            let flat = |model| -> Vec<u32> {
                trained(model)
                    .expect("checked")
                    .iter()
                    .map(|v| v.to_bits())
                    .collect()
            };
            assert_eq!(flat(&back), flat(&model), "{}", case.name);
            exact += 1;
        }
        if is_determined(case) && case.network.layers.iter().all(one) {
            assert_eq!(shape(&back.network), shape(&model.network), "{}", case.name);
        }
    }
    assert!(exact > 5);
}

/// A network without its initialisation.
fn shape(network: &Network) -> Network {
    let mut network = network.clone();
    network.head.init = Init::default();
    if let Input::Embedding { init, .. } = &mut network.input {
        *init = Init::default();
    }
    for layer in &mut network.layers {
        layer.init = Init::default();
    }
    network
}

#[test]
fn weights_of_keras_alone_say_what_is_assumed() {
    let said = |name: &str| {
        let cases = cases();
        let case = cases.iter().find(|case| case.name == name);
        let model = case.expect("it is a case").model();
        let export = keras::export(&model, "w").expect(name);
        let hints = ImportHints::default();
        let notes = keras::import(&export.weights, name, &hints)
            .expect(name)
            .notes;
        assert!(
            notes.iter().any(|note| note.contains("weights alone")),
            "{notes:?}"
        );
        notes.join("\n")
    };
    for (name, parts) in [
        (
            "gru-both",
            &[
                "recurrent_activation = sigmoid",
                "go_backwards = False, no masks",
                "the activation of the head is softmax",
                "the head reads the last step",
                "not the last of every step (x[:, -1])",
            ][..],
        ),
        ("rnn-tanh", &["activation = tanh in SimpleRNN"]),
        (
            "gru-no-bias",
            &["reset_after = True in a GRU without biases"],
        ),
    ] {
        let notes = said(name);
        for part in parts {
            assert!(notes.contains(part), "{part}: {notes}");
        }
    }
}

#[test]
fn options_that_a_format_lacks_are_refused_by_name() {
    for case in cases() {
        let model = case.model();
        for (format, error) in [
            ("pytorch", pytorch::export(&model, "w").err()),
            ("keras", keras::export(&model, "w").err()),
        ] {
            let error = error.map(|error| error.to_string());
            assert_eq!(
                error.is_some(),
                case.lacks.contains(&format),
                "{} {format} {error:?}",
                case.name
            );
            if let Some(error) = error {
                assert!(
                    (error.starts_with("layer ") || error.starts_with("the head "))
                        && error.ends_with("use the ONNX format"),
                    "{error}"
                );
            }
        }
        for lengths in [false, true] {
            let graph = onnx::export(&model, lengths).expect(case.name);
            assert_eq!(graph, onnx::export(&model, lengths).expect(case.name));
        }
    }
}

#[test]
fn damaged_weights_are_refused() {
    let case = &cases()[0];
    let model = case.model();
    let torch = pytorch::export(&model, "w").expect("it can").weights;
    let keras = keras::export(&model, "w").expect("it can").weights;
    for cut in [0, 1, 7, 8, 9, torch.len() / 2, torch.len() - 1] {
        pytorch::import(&torch[..cut], "cut", &case.hints()).expect_err("it is cut");
    }
    for cut in [0, 1, keras.len() / 2, keras.len() - 1] {
        keras::import(&keras[..cut], "cut", &case.hints()).expect_err("it is cut");
    }
}

/// The directory of `check.py`.
fn directory() -> PathBuf {
    let directory = std::env::var_os("GATESCAN_INTEROP");
    PathBuf::from(directory.expect("GATESCAN_INTEROP names a directory; see tests/interop/run"))
}

/// Values without a pattern in -1..1.
fn noise(n: usize, t: usize, i: usize) -> f32 {
    (1.0 + 7.1 * n as f32 + 3.3 * t as f32 + 1.7 * i as f32).sin()
}

/// Networks with several heads: outputs of values in the units of the data, classes and labels.
fn cases_of_heads() -> Vec<Case> {
    let cases = cases();
    let named = [
        ("heads-last", "lstm-both", Reads::Last),
        ("heads-every", "lstm-both", Reads::Every),
        ("heads-mean", "gru", Reads::Mean),
    ];
    named
        .into_iter()
        .map(|(name, of, reads)| {
            let case = cases.iter().find(|case| case.name == of);
            let mut network = case.expect("it is a case").network.clone();
            network.head.reads = reads;
            let head = |name: &str, size, loss| NamedHead {
                name: name.into(),
                size,
                loss,
                weight: 1.0,
            };
            network.heads = vec![
                head("values", 2, Loss::MeanSquaredError),
                head("state", 3, Loss::CrossEntropy),
                head("spread", 2, Loss::GaussianNll),
                head("alarms", 2, Loss::BinaryCrossEntropy),
            ];
            network.head.size = 9;
            network.head.loss = Loss::Heads;
            Case {
                name,
                network,
                lacks: &[],
            }
        })
        .collect()
}

/// The names of categories.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("category {n}")).collect()
}

/// Networks that embed two columns of categories between other inputs.
fn cases_of_categories() -> Vec<Case> {
    let cases = cases();
    let named = [
        ("categories-last", "lstm-both"),
        ("categories-every", "gru"),
    ];
    named
        .into_iter()
        .map(|(name, of)| {
            let case = cases.iter().find(|case| case.name == of);
            let mut network = case.expect("it is a case").network.clone();
            // Two values, the categories, and a difference.
            network.input_size = 8;
            network.categories = [("store", 2, 3, 2), ("day", 5, 2, 4)]
                .map(|(name, first, count, size)| CategoryTable {
                    name: name.into(),
                    first,
                    count,
                    size,
                })
                .into();
            Case {
                name,
                network,
                lacks: &[],
            }
        })
        .collect()
}

#[test]
fn tables_of_categories_are_exported_and_not_imported() {
    for case in cases_of_categories() {
        let model = case.model();
        model.to_bytes().expect("it can be saved");
        onnx::export(&model, true).expect("it can be exported");
        let torch = pytorch::export(&model, "w").expect("it can be exported");
        let error = pytorch::import(&torch.weights, "w", &case.hints()).expect_err("it has tables");
        let text = error.to_string();
        assert!(text.contains("embeddings."), "{text}");
        let keras = keras::export(&model, "w").expect("it can be exported");
        keras::import(&keras.weights, "w", &case.hints()).expect_err("it has tables");
    }
}

/// Writes the model and the sequences of each case.
#[test]
#[ignore = "part of tests/interop/run"]
fn write_cases() {
    let more = cases_of_heads().into_iter().chain(cases_of_categories());
    for case in cases().into_iter().chain(more) {
        let directory = directory().join(case.name);
        fs::create_dir_all(&directory).expect("it can be made");
        let write = |name: &str| directory.join(name);
        let model = case.model();
        model
            .save(&write("model.safetensors"))
            .expect("it can be written");
        let network = &model.network;
        if network.input.is_values() {
            let columns = network.input_size - model.preparation.differences.len();
            let inputs = Array3::from_shape_fn((5, 9, columns), |(n, t, i)| noise(n, t, i));
            ndarray_npy::write_npy(write("inputs.npy"), &inputs).expect("it can be written");
        } else {
            let token = |(n, t)| (7 * n + 3 * t * t) as i64 % network.input_size as i64;
            let tokens = Array2::from_shape_fn((5, 9), token);
            ndarray_npy::write_npy(write("tokens.npy"), &tokens).expect("it can be written");
        }
        let lengths: Array1<i64> = Array1::from(vec![9, 1, 0, 7, 3]);
        ndarray_npy::write_npy(write("lengths.npy"), &lengths).expect("it can be written");
        let hints = case.hints();
        let heads = network.heads.iter().map(|head| &head.name[..]);
        let about = json!({
            "heads": heads.collect::<Vec<_>>(),
            "lacks": case.lacks,
            "cell": hints.cell.map(Cell::name),
            "reads": network.head.reads.name(),
            "loss": match network.head.loss {
                // The program's flag has no losses with options.
                Loss::Quantile { .. } => "mean-squared-error",
                loss => loss.name(),
            },
            "one_hot": hints.one_hot,
            // The layers that compute differences are no weights, and are refused by name.
            // So is the choice of valid steps by `where`.
            "told": is_determined(&case)
                && !case.name.starts_with("differences")
                && case.name != "max-both"
                && network.categories.is_empty(),
        });
        fs::write(write("case.json"), about.to_string()).expect("it can be written");
    }
}

/// Predicts the sequences of every directory that has a model, without lengths into `outputs.npy`
/// and with `lengths.npy` into `outputs_ragged.npy`.
#[test]
#[ignore = "part of tests/interop/run"]
fn answer_cases() {
    let entries = fs::read_dir(directory()).expect("it is there");
    for entry in entries {
        let directory = entry.expect("it can be read").path();
        if directory.join("model.safetensors").is_file() {
            answer(&directory);
        }
    }
}

fn answer(directory: &Path) {
    let path = |name: &str| directory.join(name);
    let model = Model::load(&path("model.safetensors")).expect("it is a model");
    let lengths: Array1<i64> = ndarray_npy::read_npy(path("lengths.npy")).expect("lengths");
    let lengths: Vec<usize> = lengths.iter().map(|&length| length as usize).collect();
    let answer = |sequences: Sequences, steps: usize| {
        for index in 0..model.network.each_head().len() {
            let head = model.network.heads.get(index);
            let of_head = head.map_or(String::new(), |head| format!("_{}", head.name));
            let own = model.of_head(index);
            let mut predictor = Predictor::new(&own, steps, 4, &Device::Cpu).expect("it loads");
            for (name, lengths) in [("outputs", None), ("outputs_ragged", Some(&lengths[..]))] {
                let prediction = predictor
                    .predict(sequences, lengths, None)
                    .expect("it answers");
                let file = path(&format!("{name}{of_head}.npy"));
                ndarray_npy::write_npy(file, &prediction.outputs).expect("it can be written");
            }
        }
    };
    if model.network.input.is_values() {
        let inputs: Array3<f32> = ndarray_npy::read_npy(path("inputs.npy")).expect("inputs");
        answer(inputs.view().into(), inputs.dim().1);
    } else {
        let tokens: Array2<i64> = ndarray_npy::read_npy(path("tokens.npy")).expect("tokens");
        let tokens = tokens.mapv(|token| token as u32);
        answer(tokens.view().into(), tokens.dim().1);
    }
}

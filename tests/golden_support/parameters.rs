//! The network of a case, and the index of each of its parameters in the framework's tensors.

use std::collections::BTreeMap;

use gatescan::network::{Bias, Dropout, Init, Padding};
use gatescan::{Cell, Head, Input, Layer, Loss, Network, Reads};

use super::case::Case;

/// TensorFlow's tensors for some of a cell's gates; the matrices are `[rows, gates * H]`, in column
/// blocks of H.
struct Part<Name> {
    kernel: Name,
    /// The same as `kernel` if that has the rows of x, then the rows of h.
    recurrent: Name,
    bias: Name,
    /// The index of the gate in our order, for each column block.
    gates: &'static [usize],
}

const fn part(
    kernel: &'static str,
    recurrent: &'static str,
    bias: &'static str,
    gates: &'static [usize],
) -> Part<&'static str> {
    Part {
        kernel,
        recurrent,
        bias,
        gates,
    }
}

/// The cells of TensorFlow, of Keras and of the notebooks, by the ends of their tensors' names.
const FORMS: [(Cell, &[Part<&str>]); 9] = {
    const BASIC: &str = "basic_rnn_cell/kernel";
    const LSTM: &str = "basic_lstm_cell/kernel";
    const GATES: &str = "gru_cell/gates/kernel";
    const CANDIDATE: &str = "gru_cell/candidate/kernel";
    [
        (
            Cell::RnnTanh,
            &[part(BASIC, BASIC, "basic_rnn_cell/bias", &[0])],
        ),
        // i, j, f, o
        (
            Cell::Lstm,
            &[part(LSTM, LSTM, "basic_lstm_cell/bias", &[0, 2, 1, 3])],
        ),
        // r, u; c
        (
            Cell::GruResetBefore,
            &[
                part(GATES, GATES, "gru_cell/gates/bias", &[0, 1]),
                part(CANDIDATE, CANDIDATE, "gru_cell/candidate/bias", &[2]),
            ],
        ),
        (
            Cell::RnnTanh,
            &[part(
                "simple_rnn_cell/kernel",
                "simple_rnn_cell/recurrent_kernel",
                "simple_rnn_cell/bias",
                &[0],
            )],
        ),
        // i, f, c, o
        (
            Cell::Lstm,
            &[part(
                "/lstm_cell/kernel",
                "/lstm_cell/recurrent_kernel",
                "/lstm_cell/bias",
                &[0, 1, 2, 3],
            )],
        ),
        // i, j, f, o again, in the cell that takes peepholes
        (
            Cell::Lstm,
            &[part(
                "/lstm_cell/kernel",
                "/lstm_cell/kernel",
                "/lstm_cell/bias",
                &[0, 2, 1, 3],
            )],
        ),
        // z, r, h
        (
            Cell::Gru,
            &[part(
                "gru_cell/kernel",
                "gru_cell/recurrent_kernel",
                "gru_cell/bias",
                &[1, 0, 2],
            )],
        ),
        (Cell::RnnTanh, &[part("Wx", "Wh", "bx", &[0])]),
        (Cell::RnnTanh, &[part("Wx", "Wy", "b", &[0])]),
    ]
};

/// Weight and bias of the head; TensorFlow's weights are `[H, K]`.
const HEADS: [[&str; 2]; 3] = [
    ["dense/kernel", "dense/bias"],
    ["Wl", "bl"],
    ["fc.weight", "fc.bias"],
];

/// An element of the framework's tensors: name of the tensor and index in it.
type FrameworkElement = (String, usize);

/// A layer in the framework's layout.
struct Written {
    cell: Cell,
    bias: Bias,
    /// Empty for PyTorch, whose layout is ours.
    parts: Vec<Part<String>>,
    /// Added to the forget gate's bias at run time.
    forget_bias: f64,
    cell_clip: Option<f64>,
    projection_size: Option<usize>,
    projection_clip: Option<f64>,
}

impl Written {
    /// The layer or direction whose tensors' names contain `own`.
    fn find(case: &Case, names: &[&str], own: &str) -> Written {
        let oracle = &case.oracle;
        let find = |end: &str| {
            let found = |name: &&&str| name.ends_with(end) && name.contains(own);
            names.iter().find(found).map(|name| name.to_string())
        };
        let parts = |form: &[Part<&str>]| -> Option<Vec<Part<String>>> {
            let each = form.iter().map(|part| {
                Some(Part {
                    kernel: find(part.kernel)?,
                    recurrent: find(part.recurrent)?,
                    bias: find(part.bias)?,
                    gates: part.gates,
                })
            });
            each.collect()
        };
        let form = FORMS
            .iter()
            .find_map(|(cell, form)| Some((*cell, parts(form)?)));
        let (cell, parts) = form.unwrap_or_else(|| {
            let cell = match oracle["options"]["kind"].as_str() {
                Some("RNN") => Cell::RnnTanh,
                Some("LSTM") => Cell::Lstm,
                Some("GRU") => Cell::Gru,
                other => panic!("{}: what cell is {other:?}?", case.name),
            };
            (cell, vec![])
        });
        let cell = match cell {
            Cell::RnnTanh if oracle["activation"] == "relu" => Cell::RnnRelu,
            Cell::Gru if oracle["options"]["reset_after"] == false => Cell::GruResetBefore,
            Cell::Lstm if find("w_i_diag").is_some() => Cell::LstmPeephole,
            cell => cell,
        };
        let bias = match cell {
            _ if oracle["bias"] == false => Bias::None,
            Cell::Gru => Bias::Double,
            _ if parts.is_empty() => Bias::Double,
            _ => Bias::Single,
        };
        // TensorFlow's own LSTMs, not Keras's.
        let at_run_time = cell.spec().options.forget_gate.is_some()
            && parts.iter().any(|part| part.kernel == part.recurrent);
        let option = |name: &str| {
            let found = |kind: &str| oracle["options"][kind][name].as_f64();
            found("cell_kw").or(found("lstm_kw"))
        };
        Written {
            cell,
            bias,
            parts,
            forget_bias: f64::from(u8::from(at_run_time)) * option("forget_bias").unwrap_or(1.0),
            cell_clip: option("cell_clip"),
            projection_size: option("num_proj")
                .or(oracle["proj_size"].as_f64().filter(|&size| size > 0.0))
                .map(|size| size as usize),
            projection_clip: option("proj_clip"),
        }
    }

    /// Returns the element of TensorFlow's tensors for element (row, column) of our parameter
    /// `name`; `h` and `inputs` are the layer's.
    fn locate(
        &self,
        name: &str,
        (row, column): (usize, usize),
        h: usize,
        inputs: usize,
    ) -> Option<FrameworkElement> {
        let (gate, unit) = (row / h, row % h);
        if name.starts_with("rnn.weight_peephole") {
            let cell = self.parts[0].kernel.trim_end_matches("kernel");
            return Some((format!("{cell}w_{}_diag", ["i", "f", "o"][gate]), unit));
        }
        let projection = |part: &Part<String>| part.kernel.replace("kernel", "projection/kernel");
        if name.starts_with("rnn.weight_hr") {
            // [P, H] in ours, [H, P] in TensorFlow's.
            let width = self.projection_size?;
            return Some((projection(&self.parts[0]), column * width + row));
        }
        let (part, block) = self.parts.iter().find_map(|part| {
            let block = part.gates.iter().position(|&g| g == gate)?;
            Some((part, block))
        })?;
        let (width, column_there) = (part.gates.len() * h, block * h + unit);
        let (tensor, row_there) = match name.rsplit_once("_l")?.0 {
            "rnn.weight_ih" => (&part.kernel, column),
            "rnn.weight_hh" if part.recurrent == part.kernel => (&part.kernel, inputs + column),
            "rnn.weight_hh" => (&part.recurrent, column),
            "rnn.bias_ih" => (&part.bias, 0),
            "rnn.bias_hh" => (&part.bias, 1),
            _ => return None,
        };
        Some((tensor.clone(), row_there * width + column_there))
    }
}

/// A network, and the permutation between its flat vector and the framework's tensors.
pub struct Parameters {
    pub network: Network,
    /// `None` for padding, and for a head that the framework does not have.
    places: Vec<Option<FrameworkElement>>,
    /// Constants that the framework adds to parameters at run time; ours include them.
    added: Vec<f64>,
}

impl Parameters {
    pub fn of(case: &Case) -> Parameters {
        let oracle = &case.oracle;
        let names = oracle["param_names"].as_array().expect("a list");
        let names: Vec<&str> = names.iter().filter_map(|name| name.as_str()).collect();
        let sizes: Vec<usize> = match oracle["sizes"].as_array() {
            Some(sizes) => sizes
                .iter()
                .map(|size| size.as_u64().expect("a size") as usize)
                .collect(),
            None => {
                let layers = oracle["layers"].as_u64();
                let layers = layers.or(oracle["options"]["layers"].as_u64());
                let layers = layers.unwrap_or(1) as usize;
                let size = oracle["H"].as_u64().or(oracle["options"]["H"].as_u64());
                let size = size.map(|size| size as usize);
                let emitted = || case.get("out/outputs_f64").shape[2];
                vec![size.unwrap_or_else(emitted); layers]
            }
        };
        let own = |l: usize| match sizes.len() {
            _ if case.has_pair() => "/fw/".to_string(),
            1 => String::new(),
            _ if case.is_tensorflow() => format!("cell_{l}/"),
            _ => String::new(),
        };
        let layers: Vec<Written> = (0..sizes.len())
            .map(|l| Written::find(case, &names, &own(l)))
            .collect();
        let backward = case.has_pair().then(|| Written::find(case, &names, "/bw/"));
        let backward_size = oracle["options"]["Hb"].as_u64().map(|size| size as usize);
        let keep = |l: usize, of: &str| {
            // PyTorch's is the probability of being dropped, between layers.
            let between = oracle["dropout"].as_f64();
            let between = between.filter(|_| of == "output" && l + 1 < sizes.len());
            let keep = oracle["keep_prob"][of].as_f64();
            keep.or(between.map(|p| 1.0 - p)).unwrap_or(1.0)
        };
        let padding = match case.oracle["mask_note"].is_string() {
            true => Padding::Repeat,
            false => Padding::Zeros,
        };
        let head = HEADS.into_iter().find(|[weight, _]| names.contains(weight));
        let count = |key: &str| oracle[key].as_u64().map(|count| count as usize);
        let input = match case.find("ids") {
            None => Input::Values,
            Some(_) => count("E").map_or(Input::OneHot, |size| Input::Embedding {
                size,
                padding_idx: count("padding_idx").map(|token| token as u32),
                init: Init::Zeros,
                tied: false,
            }),
        };
        let network = Network {
            input_size: match input {
                Input::Values => case.get("x").shape[2],
                _ => count("V").expect("a vocabulary"),
            },
            input,
            layers: layers
                .iter()
                .zip(&sizes)
                .enumerate()
                .map(|(l, (layer, &size))| Layer {
                    bias: layer.bias,
                    bidirectional: oracle["bidirectional"] == true || case.has_pair(),
                    backward_hidden_size: backward_size,
                    cell_clip: layer.cell_clip,
                    projection_size: layer.projection_size,
                    projection_clip: layer.projection_clip,
                    dropout: Dropout {
                        input_keep_prob: keep(l, "input"),
                        output_keep_prob: keep(l, "output"),
                        state_keep_prob: keep(l, "state"),
                        ..Dropout::default()
                    },
                    padding,
                    ..Layer::new(layer.cell, size)
                })
                .collect(),
            head: Head {
                size: head.map_or(1, |[_, bias]| {
                    case.get(&format!("param/{bias}")).values.len()
                }),
                reads: match case.find("targets") {
                    Some(_) => Reads::Every,
                    None => Reads::Last,
                },
                loss: match case.find("targets").filter(|_| input.is_values()) {
                    Some(_) => Loss::MeanSquaredError,
                    None => Loss::CrossEntropy,
                },
                init: Init::Zeros,
            },
            heads: vec![],
            categories: vec![],
        };

        let (entries, len) = network.table();
        let (mut places, mut added) = (vec![None; len], vec![0.0; len]);
        for entry in entries {
            let columns = match entry.shape.extents() {
                [_, columns] => *columns,
                _ => 1,
            };
            // A parameter of PyTorch's, with or without the module's name.
            let same = names.iter().find(|name| match **name {
                "emb.weight" => entry.name == "embedding.weight",
                name => format!("rnn.{}", name.trim_start_matches("rnn.")) == entry.name,
            });
            let layer = entry.name.rsplit_once("_l").map(|(_, l)| {
                let l = l.trim_end_matches("_reverse");
                l.parse::<usize>().expect("a layer")
            });
            // The framework's layer, and the hidden size of its direction.
            let written = layer.map(|l| match (&backward, entry.name.ends_with("_reverse")) {
                (Some(backward), true) => (backward, backward_size.unwrap_or(sizes[l])),
                _ => (&layers[l], sizes[l]),
            });
            for n in 0..entry.shape.len() {
                let (row, column) = (n / columns, n % columns);
                places[entry.offset + n] = match (same, layer, head) {
                    (Some(name), ..) => Some((name.to_string(), n)),
                    (_, Some(l), _) => {
                        let inputs = match l {
                            0 => network.features(),
                            _ => network.layers[l - 1].output_size(),
                        };
                        let (written, size) = written.expect("a layer's");
                        written.locate(&entry.name, (row, column), size, inputs)
                    }
                    (.., None) => None,
                    (.., Some([weight, _])) if entry.name == "head.weight" => {
                        let transposed = column * network.head.size + row;
                        let index = if case.is_tensorflow() { transposed } else { n };
                        Some((weight.to_string(), index))
                    }
                    (.., Some([_, bias])) => Some((bias.to_string(), n)),
                };
                if let Some((written, size)) =
                    written.filter(|_| entry.name.starts_with("rnn.bias_ih"))
                {
                    let forget_gate = row / size == 1;
                    added[entry.offset + n] =
                        f64::from(u8::from(forget_gate)) * written.forget_bias;
                }
            }
        }
        Parameters {
            network,
            places,
            added,
        }
    }

    /// The flat vector of initial parameters.
    pub fn initial(&self, case: &Case) -> Vec<f64> {
        let tensors: BTreeMap<_, _> = case.under("param/").collect();
        let value = |place: &Option<FrameworkElement>| match place {
            Some((name, index)) => tensors[name.as_str()].values[*index],
            None => 0.0,
        };
        let places = self.places.iter().zip(&self.added);
        places.map(|(place, added)| value(place) + added).collect()
    }

    /// Converts a flat vector of gradients or moments to the framework's tensors.
    pub fn named(&self, flat: &[f64]) -> BTreeMap<String, Vec<f64>> {
        let mut named: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (place, &value) in self.places.iter().zip(flat) {
            if let Some((name, index)) = place {
                let values = named.entry(name.clone()).or_default();
                values.resize(values.len().max(index + 1), f64::NAN);
                values[*index] = value;
            }
        }
        named
    }

    /// Converts a flat vector of parameters to the framework's tensors.
    pub fn named_weights(&self, flat: &[f64]) -> BTreeMap<String, Vec<f64>> {
        let flat: Vec<f64> = flat
            .iter()
            .zip(&self.added)
            .map(|(value, added)| value - added)
            .collect();
        self.named(&flat)
    }
}

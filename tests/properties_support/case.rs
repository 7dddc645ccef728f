//! Random cases: a valid network, its sizes, and the route of its time loops.

use gatescan::low_level::backend::tuning::{Route, Tuning};
use gatescan::low_level::kernels::{IGNORE, Recurrence};
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::low_level::tensor::Tensor;
use gatescan::network::{Bias, Dropout, Init, MaskSharing, Padding};
use gatescan::{Cell, Head, Input, Layer, Loss, Network, Reads};
use proptest::arbitrary::any;
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};

#[derive(Debug, Clone)]
pub struct Case {
    pub network: Network,
    pub steps: usize,
    /// One per sequence, up to two more than there are steps.
    pub lengths: Vec<u32>,
    pub route: Route,
    /// Of a scan: from one step per dispatch to all steps in one.
    pub scan_work: usize,
    /// The seed of data, parameters and masks.
    pub seed: u64,
}

/// Returns cases with valid networks.
pub fn cases() -> impl Strategy<Value = Case> {
    let lengths = |steps: usize| (Just(steps), vec(0..=steps as u32 + 2, 1..=6));
    (
        networks(),
        (1..=7usize).prop_flat_map(lengths),
        select(vec![Route::Scan, Route::Step]),
        select(vec![1, 500, 5_000, usize::MAX]),
        any::<u64>(),
    )
        .prop_map(|(network, (steps, lengths), route, scan_work, seed)| Case {
            network,
            steps,
            lengths,
            route,
            scan_work,
            seed,
        })
}

/// Returns valid networks.
pub fn networks() -> impl Strategy<Value = Network> {
    let head = (1..=4usize, any::<bool>(), any::<bool>(), inits());
    (1..=6usize, inputs(), vec(layers(), 1..=3), head).prop_map(
        |(input_size, input, layers, (size, every, squared, init))| {
            let head = Head {
                size,
                reads: if every { Reads::Every } else { Reads::Last },
                loss: if squared {
                    Loss::MeanSquaredError
                } else {
                    Loss::CrossEntropy
                },
                init,
            };
            let mut network = Network {
                input_size,
                input,
                layers,
                head,
                heads: vec![],
                categories: vec![],
            };
            match &mut network.input {
                Input::Values => {}
                // One-hot vectors are not written to memory, so they support no dropout.
                Input::OneHot => network.layers[0].dropout.input_keep_prob = 1.0,
                Input::Embedding {
                    padding_idx, tied, ..
                } => {
                    *padding_idx =
                        padding_idx.filter(|&token| (token as usize) < input_size && !*tied);
                }
                input => panic!("{input:?} is not generated"),
            }
            fit_residuals(&mut network);
            fit_tied(&mut network);
            network
        },
    )
}

fn inputs() -> impl Strategy<Value = Input> {
    let embedding = (1..=6usize, of(0..6u32), inits(), any::<bool>()).prop_map(
        |(size, padding_idx, init, tied)| Input::Embedding {
            size,
            padding_idx,
            init,
            tied,
        },
    );
    prop_oneof![2 => Just(Input::Values), 1 => Just(Input::OneHot), 1 => embedding]
}

/// Returns layers with options that their cell takes; a residual may not fit the network.
fn layers() -> impl Strategy<Value = Layer> {
    let size = 1..=9usize;
    // Exact in f32. Some units exceed the limits, most do not.
    let limit = of(select(vec![0.125, 0.5, 1.0]));
    let directions = of(of(size.clone()));
    let bias = select(vec![Bias::None, Bias::Single, Bias::Double]);
    let padding = select(vec![Padding::Zeros, Padding::Repeat]);
    (
        (select(Cell::ALL.to_vec()), bias, size.clone(), directions),
        (limit.clone(), of(size), limit),
        (dropouts(), any::<bool>(), padding, inits(), any::<bool>()),
    )
        .prop_map(
            |(shape, limits, (dropout, residual, padding, init, forgets))| {
                let (cell, bias, hidden_size, directions) = shape;
                let spec = cell.spec();
                let (cell_clip, projection_size, projection_clip) = limits;
                let projection_size = projection_size.filter(|_| spec.options.projection);
                let bias = match bias {
                    Bias::Single if spec.needs_recurrent_bias() => Bias::Double,
                    Bias::Double if spec.recurrent_gates == 0 => Bias::Single,
                    bias => bias,
                };
                let forgets = forgets && spec.options.forget_gate.is_some() && bias != Bias::None;
                Layer {
                    bias,
                    bidirectional: directions.is_some(),
                    backward_hidden_size: directions.flatten(),
                    forget_bias: if forgets { 1.0 } else { 0.0 },
                    cell_clip: cell_clip.filter(|_| spec.options.cell_clip),
                    projection_size,
                    projection_clip: projection_clip.filter(|_| projection_size.is_some()),
                    dropout,
                    residual,
                    padding,
                    init,
                    ..Layer::new(cell, hidden_size)
                }
            },
        )
}

fn inits() -> impl Strategy<Value = Init> {
    select(vec![
        Init::Torch,
        Init::Glorot,
        Init::Orthogonal,
        Init::TruncatedNormal { stddev: 0.5 },
        Init::Zeros,
    ])
}

fn dropouts() -> impl Strategy<Value = Dropout> {
    // Above one half: dropout scales kept values up, and with them their rounding errors, from step
    // to step and layer to layer.
    let keep = || weighted(0.4, 0.5..0.95).prop_map(|keep| keep.unwrap_or(1.0));
    let masks = select(vec![
        MaskSharing::EachStep,
        MaskSharing::EachSequence,
        MaskSharing::EachBatch,
    ]);
    (keep(), keep(), keep(), masks).prop_map(|(input, output, state, mask)| Dropout {
        input_keep_prob: input,
        output_keep_prob: output,
        state_keep_prob: state,
        mask,
    })
}

/// Gives residual layers the width of their inputs, where that is possible.
fn fit_residuals(network: &mut Network) {
    let top = network.layers.len() - 1;
    let sees_last = network.head.reads == Reads::Last;
    let mut inputs = network.features();
    let written_out = network.input != Input::OneHot;
    for (l, layer) in network.layers.iter_mut().enumerate() {
        let directions = 1 + usize::from(layer.bidirectional);
        let splits = match layer.projection_size {
            Some(_) => inputs.is_multiple_of(directions),
            None => inputs >= directions,
        };
        layer.residual &= splits && !(l == top && sees_last) && (l > 0 || written_out);
        if layer.residual {
            let own = inputs / directions;
            match &mut layer.projection_size {
                Some(size) => *size = own,
                None => {
                    layer.hidden_size = own;
                    layer.backward_hidden_size = layer.bidirectional.then_some(inputs - own);
                }
            }
        }
        inputs = layer.emitted_size();
    }
}

/// Gives a tied embedding the width of the last layer's outputs, unless a residual depends on it.
fn fit_tied(network: &mut Network) {
    let emitted = network.head_inputs();
    if let Input::Embedding {
        size,
        tied: tied @ true,
        ..
    } = &mut network.input
    {
        if network.layers[0].residual {
            *tied = *size == emitted;
        } else {
            *size = emitted;
        }
        if *tied {
            network.head.size = network.input_size;
        }
    }
}

impl Case {
    pub fn batch(&self) -> usize {
        self.lengths.len()
    }

    /// Returns the tuning of the recording.
    pub fn tuning(&self) -> Tuning {
        Tuning {
            route: Some(self.route),
            scan_work: self.scan_work,
            ..Tuning::default()
        }
    }

    /// Returns the same case with each sequence's length repeated `times` times.
    pub fn with_batch_times(&self, times: usize) -> Case {
        Case {
            lengths: self.lengths.repeat(times),
            ..self.clone()
        }
    }

    /// Returns the same case without dropout.
    pub fn without_dropout(&self) -> Case {
        let mut case = self.clone();
        let layers = case.network.layers.iter_mut();
        layers.for_each(|layer| layer.dropout = Dropout::default());
        case
    }

    /// Returns the network with its buffers and no calls.
    pub fn model(&self, gradients: Gradients) -> RecordedNetwork {
        RecordedNetwork::new(
            &self.network,
            self.steps,
            self.batch(),
            gradients,
            self.tuning(),
        )
        .expect("the network is valid")
    }

    /// Returns the case's random numbers, one stream per use.
    pub fn random(&self, stream: u32) -> Philox {
        Philox::new(self.seed, Stream::Shuffle(stream))
    }

    /// Returns random values, exact in f32, for all tensors that the host writes before a forward
    /// pass.
    pub fn reals(&self, model: &RecordedNetwork) -> Vec<(Tensor, Vec<f64>)> {
        let mut random = self.random(0);
        let mut normal = |tensor: Tensor| -> (Tensor, Vec<f64>) {
            let value = |_| f64::from(random.normal() as f32);
            (tensor, (0..tensor.len()).map(value).collect())
        };
        // Near the initial values: biases of 0 would put rectified units exactly at their kink.
        let (tensor, beside) = normal(model.parameters);
        let initial = self.network.initial(self.seed).into_iter().zip(beside);
        let parameters = initial.map(|(initial, beside)| f64::from(initial + 0.05 * beside as f32));
        let mut reals = vec![(tensor, parameters.collect())];
        if self.network.input.is_values() {
            reals.push(normal(model.inputs));
        }
        reals.extend(initial_states(model).into_iter().map(&mut normal));
        reals.extend(model.head.targets.map(normal));
        reals
    }

    /// Returns random tokens `[T, B]`.
    pub fn tokens(&self) -> Vec<u32> {
        let mut random = self.random(5);
        let token = |_| random.below(self.network.input_size as u32);
        (0..self.steps * self.batch()).map(token).collect()
    }

    /// Returns random classes, of which one in five is ignored.
    pub fn labels(&self, model: &RecordedNetwork) -> Vec<u32> {
        let mut random = self.random(1);
        let classes = match model.head.targets {
            Some(_) => 1,
            None => self.network.head.size as u32,
        };
        let label = |_| match random.below(5) {
            0 => IGNORE,
            _ => random.below(classes),
        };
        (0..model.head.labels.len()).map(label).collect()
    }
}

/// Returns the initial states: h, then c of every direction, in the order of its `dstate`.
pub fn initial_states(model: &RecordedNetwork) -> Vec<Tensor> {
    let of_layer = |layer: &Recurrence| {
        let states = [layer.states.h, layer.states.c]
            .into_iter()
            .zip(layer.state_sizes());
        let parts = states.map(|(state, size)| state.part(0, [size]));
        parts.collect::<Vec<_>>()
    };
    model.recurrences().flat_map(of_layer).collect()
}

//! Layers on the CPU compute in the host's memory where they can: with the bits of passes that
//! copy, and without a copy.

use std::ops::{Deref, DerefMut};

use gatescan::layers::{
    LayerElement, LayerGradients, LayerInputs, LayerOutputs, LayerUpstream, Layers, OutputRows,
    PerState, RecordedLayers, RowLayout, WantedGradients,
};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::network::{Bias, Dropout};
use gatescan::{Cell, Device, Layer, OpenDevice};

const FEATURES: usize = 5;
const BATCH: usize = 4;
const STEPS: usize = 6;
/// The bytes of a cache line.
const LINE: usize = 64;

/// Values that begin at a cache line, or just behind one, where nothing is lent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    OnLine,
    BehindLine,
}

/// Memory of the host. It does not move.
#[derive(Debug)]
struct Host<R> {
    values: Vec<R>,
    first: usize,
    len: usize,
}

impl<R: LayerElement> Host<R> {
    /// Values that no pass should leave or read.
    fn poisoned(len: usize, place: Place) -> Self {
        let spare = LINE / size_of::<R>() + 1;
        let values = vec![R::of(f64::NAN); len + spare];
        let on_line = values.as_ptr().align_offset(LINE);
        let first = on_line + usize::from(place == Place::BehindLine);
        Host { values, first, len }
    }

    fn of(values: &[R], place: Place) -> Self {
        let mut host = Host::poisoned(values.len(), place);
        host.copy_from_slice(values);
        host
    }
}

impl<R> Deref for Host<R> {
    type Target = [R];
    fn deref(&self) -> &[R] {
        &self.values[self.first..self.first + self.len]
    }
}

impl<R> DerefMut for Host<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.values[self.first..self.first + self.len]
    }
}

/// Whether passes are given states, and want their last values and gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
enum States {
    Given,
    None,
}

/// The slices of a forward and a backward pass.
struct Pass<R> {
    inputs: Host<R>,
    parameters: Vec<Host<R>>,
    initial: PerState<Vec<R>>,
    upstream: Host<R>,
    last_upstream: PerState<Vec<R>>,
    /// With B rows before them.
    outputs: Host<R>,
    last: PerState<Vec<R>>,
    states: States,
}

/// What a backward pass writes.
#[derive(Debug)]
struct Written<R> {
    inputs: Host<R>,
    parameters: Vec<Host<R>>,
    initial: PerState<Vec<R>>,
}

impl<R: LayerElement> Written<R> {
    fn bits(&self) -> Vec<u64> {
        let parameters = self.parameters.iter().flat_map(|values| values.iter());
        let initial = self.initial.iter().flatten();
        let values = self.inputs.iter().chain(parameters).chain(initial);
        values.map(|value| value.f64().to_bits()).collect()
    }
}

impl<R: LayerElement> Pass<R> {
    fn new(layers: &Layers, steps: usize, place: Place, states: States) -> Self {
        let mut random = Philox::new(3, Stream::Images);
        let mut values =
            |len: usize| -> Vec<R> { (0..len).map(|_| R::of(0.5 * random.normal())).collect() };
        let rows = steps * BATCH;
        let width = layers.output_size();
        let sizes = layers.state_sizes().map(|size| size * BATCH);
        let parameters = layers.parameters();
        Pass {
            inputs: Host::of(&values(rows * FEATURES), place),
            parameters: parameters
                .iter()
                .map(|(_, shape)| Host::of(&values(shape.iter().product()), place))
                .collect(),
            initial: sizes.map(&mut values),
            upstream: Host::of(&values(rows * width), place),
            last_upstream: sizes.map(&mut values),
            outputs: Host::poisoned((BATCH + rows) * width, place),
            last: sizes.map(|len| vec![R::of(f64::NAN); len]),
            states,
        }
    }

    fn forward(&mut self, recorded: &mut RecordedLayers<R>, rows: RowLayout) {
        let Pass {
            inputs,
            parameters,
            initial,
            outputs,
            last,
            states,
            ..
        } = self;
        let parameters: Vec<&[R]> = parameters.iter().map(|values| &**values).collect();
        let given = inputs_of(inputs, &parameters, initial, *states, rows);
        let last = last.each_mut().map(Vec::as_mut_slice);
        let outputs = LayerOutputs {
            values: Some(OutputRows::AfterInitial(outputs)),
            last: last.map(|values| (*states == States::Given).then_some(values)),
        };
        recorded.forward_into(&given, outputs).expect("it runs");
    }

    /// Runs the backward pass; without the outputs where they are not `kept`.
    fn backward(
        &self,
        recorded: &mut RecordedLayers<R>,
        rows: RowLayout,
        place: Place,
        kept: bool,
    ) -> Written<R> {
        let parameters: Vec<&[R]> = self.parameters.iter().map(|values| &**values).collect();
        let given = inputs_of(&self.inputs, &parameters, &self.initial, self.states, rows);
        let has_states = self.states == States::Given;
        let last = self.last_upstream.each_ref();
        let upstream = LayerUpstream {
            values: Some(&*self.upstream),
            last: last.map(|values| has_states.then_some(values.as_slice())),
        };
        let mut written = Written {
            inputs: Host::poisoned(self.inputs.len(), place),
            parameters: self
                .parameters
                .iter()
                .map(|values| Host::poisoned(values.len(), place))
                .collect(),
            initial: self.initial.each_ref().map(|values| match self.states {
                States::Given => vec![R::of(f64::NAN); values.len()],
                States::None => vec![],
            }),
        };
        let initial = written.initial.each_mut().map(Vec::as_mut_slice);
        let gradients = LayerGradients {
            inputs: Some(&mut *written.inputs),
            initial: initial.map(|values| has_states.then_some(values)),
            parameters: written
                .parameters
                .iter_mut()
                .map(|values| Some(&mut **values))
                .collect(),
        };
        let outputs = kept.then_some(&*self.outputs);
        recorded
            .backward_into(&given, outputs, &upstream, gradients)
            .expect("it runs");
        written
    }

    /// The bits of outputs and last states.
    fn bits(&self) -> Vec<u64> {
        let initial = self.outputs.len() - self.upstream.len();
        let outputs = self.outputs[initial..].iter();
        let values = outputs.chain(self.last.iter().flatten());
        values.map(|value| value.f64().to_bits()).collect()
    }
}

fn inputs_of<'a, R>(
    values: &'a [R],
    parameters: &'a [&'a [R]],
    initial: &'a PerState<Vec<R>>,
    states: States,
    rows: RowLayout<'a>,
) -> LayerInputs<'a, R> {
    let initial = initial.each_ref().map(Vec::as_slice);
    LayerInputs {
        values,
        rows,
        initial: initial.map(|values| (states == States::Given).then_some(values)),
        parameters,
        dropout_seed: 1,
    }
}

fn record<R: LayerElement>(layers: &Layers) -> RecordedLayers<R> {
    let device = OpenDevice::open(&Device::Cpu).expect("it opens");
    let recorded = layers.record(&device, STEPS, BATCH, WantedGradients::All);
    recorded.expect("it records")
}

fn stack(cell: Cell, layers: usize, change: impl Fn(Layer) -> Layer) -> Layers {
    let layer = |n| {
        change(Layer {
            bias: Bias::largest(cell),
            ..Layer::new(cell, 4 + 4 * n)
        })
    };
    Layers::new(FEATURES, (0..layers).map(layer).collect()).expect("they are valid")
}

fn both(layer: Layer) -> Layer {
    Layer {
        bidirectional: true,
        ..layer
    }
}

/// Every cell, and the options that change where values are.
fn stacks() -> Vec<Layers> {
    let cells = Cell::ALL.iter();
    let mut stacks: Vec<Layers> = cells
        .flat_map(|&cell| {
            [
                stack(cell, 1, |layer| layer),
                stack(cell, 2, |layer| layer),
                stack(cell, 2, both),
            ]
        })
        .collect();
    let change: [fn(Layer) -> Layer; 5] = [
        |layer| Layer {
            projection_size: Some(3),
            ..layer
        },
        |layer| Layer {
            learn_initial_state: true,
            ..layer
        },
        |layer| Layer {
            bias: Bias::None,
            ..layer
        },
        |layer| Layer {
            layer_norm: true,
            ..layer
        },
        |layer| Layer {
            dropout: Dropout {
                input_keep_prob: 0.5,
                output_keep_prob: 0.5,
                state_keep_prob: 0.5,
                ..Dropout::default()
            },
            ..layer
        },
    ];
    for change in change {
        stacks.push(stack(Cell::Lstm, 2, change));
        stacks.push(stack(Cell::Lstm, 2, |layer| both(change(layer))));
    }
    let last = Layer {
        bias: Bias::Double,
        ..Layer::new(Cell::Gru, FEATURES)
    };
    let residual = Layer {
        residual: true,
        ..last.clone()
    };
    stacks.push(Layers::new(FEATURES, vec![residual, last]).expect("they are valid"));
    stacks
}

/// Passes in the host's memory have the bits of passes that copy, also where memory is lent in one
/// pass and not in the next, in a second backward pass, and without the outputs.
#[test]
fn bits_are_those_of_passes_that_copy() {
    for layers in stacks() {
        let lengths = [6, 2, 0, 5];
        let full = RowLayout::Full { steps: STEPS };
        let ragged = RowLayout::Ragged {
            steps: STEPS,
            lengths: &lengths,
        };
        let fewer = RowLayout::Full { steps: STEPS - 1 };
        let mut shared = record::<f32>(&layers);
        for (rows, steps) in [(full, STEPS), (ragged, STEPS), (fewer, STEPS - 1)] {
            for states in [States::None, States::Given] {
                let pass = |place| Pass::<f32>::new(&layers, steps, place, states);
                let (mut copied, mut lent) = (pass(Place::BehindLine), pass(Place::OnLine));
                let mut recorded = record(&layers);
                copied.forward(&mut recorded, rows);
                let of_gradients = copied.backward(&mut recorded, rows, Place::BehindLine, false);
                let expected = of_gradients.bits();
                // Whether to run the forward pass before, and to keep its outputs.
                for (runs, place, kept) in [
                    (true, Place::OnLine, true),
                    (false, Place::OnLine, true),
                    (true, Place::OnLine, false),
                    (true, Place::BehindLine, true),
                ] {
                    if runs {
                        lent.forward(&mut shared, rows);
                        assert_eq!(lent.bits(), copied.bits(), "{layers:?} {rows:?}");
                    }
                    let found = lent.backward(&mut shared, rows, place, kept).bits();
                    assert_eq!(found, expected, "{layers:?} {rows:?} {place:?} {kept}");
                }
            }
        }
    }
}

/// The host may move what a pass has read or written, and the next pass finds it there.
#[test]
fn values_may_move_between_the_passes() {
    for layers in [
        stack(Cell::Lstm, 1, |layer| layer),
        stack(Cell::Gru, 2, both),
    ] {
        let rows = RowLayout::Full { steps: STEPS };
        let places = [Place::OnLine, Place::BehindLine];
        let mut found = vec![];
        for (first, second) in places.into_iter().flat_map(|a| places.map(|b| (a, b))) {
            let mut recorded = record::<f64>(&layers);
            let mut pass = Pass::new(&layers, STEPS, first, States::Given);
            pass.forward(&mut recorded, rows);
            let parameters = pass.parameters.iter();
            let moved = Pass {
                inputs: Host::of(&pass.inputs, second),
                parameters: parameters.map(|own| Host::of(own, second)).collect(),
                outputs: Host::of(&pass.outputs, second),
                ..pass
            };
            found.push(moved.backward(&mut recorded, rows, second, true).bits());
        }
        assert!(found.iter().all(|bits| *bits == found[0]), "{layers:?}");
    }
}

/// No element is copied where all memory can be lent, and the recording has no memory of its own
/// for what is lent. States are copied.
#[test]
fn nothing_is_copied_and_nothing_allocated() {
    for cell in [Cell::RnnTanh, Cell::Lstm, Cell::Gru] {
        for layers in [1, 2] {
            for change in [|layer| layer, both] {
                let layers = stack(cell, layers, change);
                let rows = RowLayout::Full { steps: STEPS };
                let mut copying = record::<f32>(&layers);
                let mut pass = Pass::new(&layers, STEPS, Place::BehindLine, States::None);
                pass.forward(&mut copying, rows);
                let elements = |values: &[Host<f32>]| values.iter().map(|own| own.len()).sum();
                let (inputs, outputs) = (pass.inputs.len(), pass.upstream.len());
                let parameters: usize = elements(&pass.parameters);
                assert_eq!(copying.copied(), inputs + outputs + parameters);
                pass.backward(&mut copying, rows, Place::BehindLine, true);
                assert_eq!(copying.copied(), inputs + outputs + parameters);

                let mut recorded = record::<f32>(&layers);
                let mut pass = Pass::new(&layers, STEPS, Place::OnLine, States::None);
                pass.forward(&mut recorded, rows);
                assert_eq!(recorded.copied(), 0, "{layers:?}");
                pass.backward(&mut recorded, rows, Place::OnLine, true);
                assert_eq!(recorded.copied(), 0, "{layers:?}");
                let lent = 2 * (inputs + outputs + parameters);
                let saved = copying.bytes() - recorded.bytes();
                assert!(saved as usize >= size_of::<f32>() * lent, "{layers:?}");

                let states: usize = layers.state_sizes().iter().sum::<usize>() * BATCH;
                let mut pass = Pass::new(&layers, STEPS, Place::OnLine, States::Given);
                pass.forward(&mut recorded, rows);
                assert_eq!(recorded.copied(), 2 * states, "{layers:?}");
                pass.backward(&mut recorded, rows, Place::OnLine, true);
                assert_eq!(recorded.copied(), 2 * states, "{layers:?}");
            }
        }
    }
}

/// The length of the outputs is checked before a kernel reads them.
#[test]
fn outputs_of_another_length_are_refused() {
    let layers = stack(Cell::Gru, 1, |layer| layer);
    let rows = RowLayout::Full { steps: STEPS };
    let mut recorded = record::<f32>(&layers);
    let mut pass = Pass::new(&layers, STEPS, Place::OnLine, States::None);
    pass.forward(&mut recorded, rows);
    let parameters: Vec<&[f32]> = pass.parameters.iter().map(|values| &**values).collect();
    let given = inputs_of(&pass.inputs, &parameters, &pass.initial, States::None, rows);
    let short = &pass.outputs[1..];
    let upstream = LayerUpstream::of(&pass.upstream);
    let refused = recorded.backward_into(&given, Some(short), &upstream, LayerGradients::default());
    let message = refused.expect_err("it is wrong").to_string();
    assert!(message.contains("outputs has 111 elements"), "{message}");
    let outputs = LayerOutputs {
        values: Some(OutputRows::AfterInitial(&mut pass.outputs[1..])),
        last: [None, None],
    };
    let refused = recorded.forward_into(&given, outputs);
    let message = refused.expect_err("it is wrong").to_string();
    assert!(
        message.contains("outputs.values has 111 elements"),
        "{message}"
    );
}

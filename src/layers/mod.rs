//! Recurrent layers without a head, for a host that has its own loss: PyTorch's layers, or a
//! program with a training loop of its own.
//!
//! [`Layers`] describes the layers; [`Layers::record`] records their forward and backward pass for
//! batches of one size. [`RecordedLayers::forward_into`] and [`RecordedLayers::backward_into`] read
//! and write slices of the host. A [`RecordingPool`] keeps recordings that are not in use.
//!
//! ```
//! use gatescan::layers::{LayerGradients, LayerInputs, LayerOutputs, LayerUpstream, Layers};
//! use gatescan::layers::{RowLayout, WantedGradients};
//! use gatescan::{Cell, Device, Layer, OpenDevice};
//!
//! // Two steps of one sequence with one feature, and one hidden unit.
//! let layers = Layers::new(1, vec![Layer::new(Cell::RnnTanh, 1)])?;
//! let device = OpenDevice::open(&Device::Cpu)?;
//! let mut recorded = layers.record::<f64>(&device, 2, 1, WantedGradients::All)?;
//!
//! let (weight_ih, weight_hh, bias) = ([0.5], [0.0], [0.0]);
//! let inputs = LayerInputs {
//!     values: &[1.0, 2.0],
//!     rows: RowLayout::Full { steps: 2 },
//!     initial: [None, None],
//!     parameters: &[&weight_ih, &weight_hh, &bias],
//!     dropout_seed: 0,
//! };
//! let mut outputs = [0.0; 2];
//! recorded.forward_into(&inputs, LayerOutputs::of(&mut outputs))?;
//! assert!((outputs[1] - 1f64.tanh()).abs() < 1e-15);
//!
//! let mut dinputs = [0.0; 2];
//! let gradients = LayerGradients { inputs: Some(&mut dinputs), ..Default::default() };
//! recorded.backward_into(&LayerUpstream::of(&[0.0, 1.0]), gradients)?;
//! assert!((dinputs[1] - 0.5 * (1.0 - 1f64.tanh().powi(2))).abs() < 1e-15);
//! # Ok::<(), gatescan::Error>(())
//! ```

mod pass;
mod player;
mod pool;
mod rows;

use crate::backend::OpenDevice;
use crate::error::Result;
use crate::kernels::control;
use crate::network::{Entry, Head, Init, Input, Layer, Loss, Network, Reads};
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::{Element, Kind, Tensor};
pub use pass::{LayerGradients, LayerInputs, LayerOutputs, LayerUpstream};
pub use player::LayerElement;
use player::Player;
pub use pool::RecordingPool;
pub use rows::RowLayout;

/// One value for each state that a cell can have: h, then c.
pub type PerState<T> = [T; 2];

/// A stack of recurrent layers without a head.
#[derive(Debug, Clone, PartialEq)]
pub struct Layers {
    /// The layers, with a head of one output that is never computed.
    network: Network,
}

/// The gradients that layers are recorded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedGradients {
    /// None: a forward pass without dropout.
    None,
    /// With respect to the parameters and the initial states.
    Parameters,
    /// With respect to the parameters, the initial states and the inputs.
    All,
}

/// Layers recorded for batches of one size, and loaded on a device.
pub struct RecordedLayers<R> {
    layers: Layers,
    wanted: WantedGradients,
    network: RecordedNetwork,
    /// The parameters' table, without the head's.
    entries: Vec<Entry>,
    /// The words that select the dropout masks.
    control: Tensor,
    player: Player<R>,
    bytes: u64,
    state: PassState,
    rows: rows::StepCounts,
    /// Whether the last forward pass was given h and c, in place of zeros or learnt states.
    given_states: PerState<bool>,
}

/// The passes that a recording has run since its inputs were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassState {
    Empty,
    Forward,
    /// The backward pass has replaced the gates by their gradients.
    Backward,
}

impl Layers {
    /// Describes layers that read `input_size` features (I) at each step. Residual layers, dropout
    /// of states, and outputs that are repeated at padded steps are allowed as in a network.
    ///
    /// # Errors
    /// Those of [`Network::validate`].
    pub fn new(input_size: usize, layers: Vec<Layer>) -> Result<Layers> {
        let network = Network {
            input_size,
            input: Input::Values,
            layers,
            head: Head {
                size: 1,
                reads: Reads::Last,
                loss: Loss::MeanSquaredError,
                init: Init::Torch,
            },
            heads: vec![],
            categories: vec![],
        };
        network.validate()?;
        Ok(Layers { network })
    }

    /// Returns the name (`weight_ih_l0`) and the extents of each parameter, in the order in which a
    /// pass takes them.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let described = |entry: Entry| {
            let name = entry.name.trim_start_matches("rnn.").to_string();
            (name, entry.shape.extents().to_vec())
        };
        layer_entries(&self.network).map(described).collect()
    }

    /// Returns the features that the last layer emits at each step.
    pub fn output_size(&self) -> usize {
        self.network.head_inputs()
    }

    /// Returns the number of elements of each state of one sequence, summed over all directions: h,
    /// then c, which is 0 in cells without c.
    pub fn state_sizes(&self) -> PerState<usize> {
        let mut sizes = [0, 0];
        for direction in self.network.directions() {
            sizes[0] += direction.layer.output_size();
            if direction.layer.cell.spec().states > 1 {
                sizes[1] += direction.layer.hidden_size;
            }
        }
        sizes
    }

    /// Records the layers for `batch` sequences (B) of up to `steps` steps (T), and loads them on
    /// `device`.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for f64 on a device other than the CPU, and for no
    /// step or no sequence; those of [`OpenDevice::load`].
    pub fn record<R: LayerElement>(
        &self,
        device: &OpenDevice,
        steps: usize,
        batch: usize,
        wanted: WantedGradients,
    ) -> Result<RecordedLayers<R>> {
        let gradients = match wanted {
            WantedGradients::None => Gradients::None,
            WantedGradients::Parameters | WantedGradients::All => Gradients::OfUpstream,
        };
        let tuning = device.tuning();
        let mut network = RecordedNetwork::new(&self.network, steps, batch, gradients, tuning)?;
        let (kind, words) = (Kind::Control, [control::WORDS]);
        let control = network
            .program
            .buffer("control", kind, Element::Index, words);
        network.draw_masks(0, control);
        network.take_states_from_host(Phase::Forward);
        network.forward_layers(Phase::Forward);
        if wanted == WantedGradients::Parameters {
            network.leave_out_input_gradient();
        }
        if wanted != WantedGradients::None {
            network.backward();
        }
        Ok(RecordedLayers {
            layers: self.clone(),
            wanted,
            player: Player::load(device, &network.program)?,
            bytes: network.program.bytes(size_of::<R>()),
            entries: layer_entries(&self.network).collect(),
            network,
            control,
            state: PassState::Empty,
            rows: rows::StepCounts::default(),
            given_states: [false; 2],
        })
    }
}

/// Returns the bound that sequences of `steps` steps are recorded for, at most an eighth above it:
/// few recordings then serve all lengths.
pub fn steps_bound(steps: usize) -> usize {
    let unit = (steps.next_power_of_two() / 16).max(1);
    steps.next_multiple_of(unit)
}

/// The table of the layers' parameters.
fn layer_entries(network: &Network) -> impl Iterator<Item = Entry> + use<> {
    let (entries, _) = network.table();
    entries
        .into_iter()
        .filter(|entry| entry.direction.is_some())
}

impl<R: LayerElement> RecordedLayers<R> {
    /// Returns T, the bound of the steps.
    pub fn steps(&self) -> usize {
        self.network.steps
    }

    /// Returns B.
    pub fn batch(&self) -> usize {
        self.network.batch
    }

    /// Returns the bytes of its buffers on the device.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is a recording of `layers` for batches of `batch` sequences of up to `steps`
    /// steps, with the same gradients.
    fn is_of(&self, layers: &Layers, steps: usize, batch: usize, wanted: WantedGradients) -> bool {
        (self.steps(), self.batch(), self.wanted) == (steps, batch, wanted)
            && self.layers == *layers
    }
}

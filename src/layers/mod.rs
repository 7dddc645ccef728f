//! Recurrent layers without a head, for a host that has its own loss: PyTorch's layers, or a
//! program with a training loop of its own.
//!
//! [`Layers`] describes the layers; [`Layers::record`] records their forward and backward pass for
//! batches of one size. [`RecordedLayers::forward_into`] and [`RecordedLayers::backward_into`] read
//! and write slices of the host. A [`RecordingPool`] keeps recordings that are not in use.
//!
//! # Memory of the host
//!
//! On the CPU, a pass computes in the host's memory where it can, and copies the rest. A slice is
//! used without a copy if it has all rows of the recording (as many steps as it was recorded for,
//! of a layout without gaps) and begins at a multiple of 64 bytes. This holds for inputs,
//! parameters, the upstream gradient of the outputs, the gradients of inputs and parameters, and
//! outputs as [`OutputRows::AfterInitial`] or of layers that emit other values than their states
//! (bidirectional ones). States before the first and after the last step are always copied, and so
//! are parameters that a kernel reads as one (recurrent weights and projection, the vectors of
//! layer normalisation). The bits of the results are the same. [`RecordedLayers::copied`] counts
//! the elements that a pass has copied. A recording keeps no slice after a pass, so the backward
//! pass is given what the forward pass read and wrote.
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
//! recorded.backward_into(&inputs, None, &LayerUpstream::of(&[0.0, 1.0]), gradients)?;
//! assert!((dinputs[1] - 0.5 * (1.0 - 1f64.tanh().powi(2))).abs() < 1e-15);
//! # Ok::<(), gatescan::Error>(())
//! ```

mod checks;
mod lendable;
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
use lendable::Lendable;
pub use pass::{LayerGradients, LayerInputs, LayerOutputs, LayerUpstream, OutputRows};
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
pub struct RecordedLayers<R: 'static> {
    layers: Layers,
    wanted: WantedGradients,
    network: RecordedNetwork,
    /// The parameters' table, without the head's.
    entries: Vec<Entry>,
    /// The words that select the dropout masks.
    control: Tensor,
    player: Player<R>,
    /// On the CPU.
    lendable: Option<Lendable>,
    bytes: u64,
    state: PassState,
    rows: rows::StepCounts,
    held: HeldByHost,
    copied: usize,
    /// Whether the last forward pass was given h and c, in place of zeros or learnt states.
    given_states: PerState<bool>,
}

/// The values of the last forward pass that only the host has; the recording has the others.
#[derive(Debug, Clone, Default)]
struct HeldByHost {
    inputs: bool,
    /// In the order of the entries.
    parameters: Vec<bool>,
    /// h of the last layer.
    states: bool,
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
        let entries: Vec<Entry> = layer_entries(&self.network).collect();
        let is_cpu = matches!(device, OpenDevice::Cpu(_));
        let lendable = is_cpu.then(|| Lendable::new(&network, &entries));
        let buffers = lendable.as_ref().map_or(vec![], Lendable::buffers);
        let player = Player::load(device, &network.program, &buffers)?;
        Ok(RecordedLayers {
            layers: self.clone(),
            wanted,
            bytes: player.bytes(&network.program),
            player,
            lendable,
            entries,
            network,
            control,
            state: PassState::Empty,
            rows: rows::StepCounts::default(),
            held: HeldByHost::default(),
            copied: 0,
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

    /// Returns the bytes of its buffers on the device. On the CPU, a buffer for which the host has
    /// always lent memory has none.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the elements that the last pass has copied from the host's memory or to it.
    pub fn copied(&self) -> usize {
        self.copied
    }

    /// Whether it is a recording of `layers` for batches of `batch` sequences of up to `steps`
    /// steps, with the same gradients.
    fn is_of(&self, layers: &Layers, steps: usize, batch: usize, wanted: WantedGradients) -> bool {
        (self.steps(), self.batch(), self.wanted) == (steps, batch, wanted)
            && self.layers == *layers
    }
}

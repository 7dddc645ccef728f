//! The kernels: what a program's calls are. One file each, with the call and its shapes, its uniform, its cost and its
//! CPU twin; `shaders/<name>.wgsl` is the same kernel on a GPU.
//!
//! A shader's storage bindings are group 0, in the order of [`Kernel::args`] and under the same names. Group 1 holds
//! one uniform struct: first an element offset for each argument, under the argument's name, then
//! [`Kernel::uniform`]'s scalars.

mod adam;
mod arrange;
mod carry_state;
mod clip_factor;
mod column_sum;
mod descent;
mod dropout_mask;
mod gather;
mod gemm;
mod label_weight;
mod lookup;
mod lookup_gradient;
mod mean_squared_error;
mod pack;
mod record;
mod recurrence;
mod rmsprop;
mod scan_backward;
mod scan_forward;
mod sgd;
mod softmax_cross_entropy;
mod squared_norm;
mod step_backward;
mod step_forward;
mod tally;
mod together;

pub use adam::Adam;
pub use arrange::{Arrange, Columns, Order, Side};
pub use carry_state::CarryState;
pub use clip_factor::ClipFactor;
pub use column_sum::ColumnSum;
pub use descent::Descent;
pub use dropout_mask::DropoutMask;
pub use gather::{Gather, Of};
pub use gemm::{Gemm, Matrix, Ragged};
pub use label_weight::LabelWeight;
pub use lookup::{Lookup, Table, Tokens};
pub use lookup_gradient::LookupGradient;
pub use mean_squared_error::MeanSquaredError;
pub use pack::Pack;
pub use record::Record;
pub(crate) use recurrence::packed_matrices;
pub use recurrence::{
    CellOptions, LayerStates, Projection, Recurrence, RecurrentWeights, StateGradients, Tile,
    TimeDirection,
};
pub use rmsprop::Rmsprop;
pub use scan_backward::ScanBackward;
pub use scan_forward::ScanForward;
pub use sgd::Sgd;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
pub use squared_norm::SquaredNorm;
pub use step_backward::{BackwardStage, StepBackward};
pub use step_forward::StepForward;
pub use tally::Tally;
pub(crate) use together::play;

use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// A label that counts for nothing: no loss, no gradient, no accuracy.
pub const IGNORE: u32 = u32::MAX;

/// The words of a control buffer, which a training or evaluation loop on the device steps through.
pub mod control {
    /// Updates of the parameters so far.
    pub const STEP: usize = 0;
    /// Sequences of this epoch already taken.
    pub const CURSOR: usize = 1;
    /// N: sequences in this epoch.
    pub const COUNT: usize = 2;
    /// The row of the history that this step writes, and of the rates that it reads.
    pub const ROW: usize = 3;
    /// Which chunk of the batch's sequences it is, where they are taken in several.
    pub const CHUNK: usize = 4;
    pub const WORDS: usize = 5;
}

/// The numbers that a step leaves in its row of the history.
pub mod history {
    /// Mean loss over the labelled outputs.
    pub const LOSS: usize = 0;
    /// Outputs whose largest value is the labelled class.
    pub const HITS: usize = 1;
    /// Labelled outputs.
    pub const LABELLED: usize = 2;
    /// Euclidean norm of the whole gradient, before clipping.
    pub const NORM: usize = 3;
    /// Mean loss over the labelled outputs at the last step of a sequence.
    pub const LAST_LOSS: usize = 4;
    /// Those outputs.
    pub const LAST_LABELLED: usize = 5;
    /// 1 where the loss or the norm is not a finite number, else 0.
    pub const NOT_FINITE: usize = 6;
    pub const WORDS: usize = 7;
}

/// Whose definition of a rule it is, where the frameworks' differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// PyTorch's.
    #[default]
    Torch,
    /// TensorFlow's (`tf.compat.v1`).
    Tensorflow,
}

/// How a kernel uses an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Written, and maybe read too.
    Write,
}

/// One storage binding of a call.
#[derive(Debug, Clone, Copy)]
pub struct Arg {
    pub name: &'static str,
    pub tensor: Tensor,
    pub access: Access,
}

/// An argument that is only read.
pub(crate) fn read(name: &'static str, tensor: Tensor) -> Arg {
    Arg {
        name,
        tensor,
        access: Access::Read,
    }
}

/// An argument that is written.
pub(crate) fn write(name: &'static str, tensor: Tensor) -> Arg {
    Arg {
        name,
        tensor,
        access: Access::Write,
    }
}

/// A number in a call's uniform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    U32(u32),
    F32(f32),
}

impl Scalar {
    /// A count.
    ///
    /// # Panics
    /// Beyond 2^32, which [`crate::record::RecordedNetwork`] refuses before it records.
    pub fn count(value: usize) -> Scalar {
        Scalar::U32(u32::try_from(value).expect("sizes were checked"))
    }

    /// Its 32 bits.
    pub fn bits(self) -> u32 {
        match self {
            Scalar::U32(value) => value,
            Scalar::F32(value) => value.to_bits(),
        }
    }
}

/// A kernel's WGSL in one specialisation.
#[derive(Debug, Clone)]
pub struct Shader {
    /// Concatenated to the source; declarations need no order.
    pub parts: Vec<&'static str>,
    /// Values of `override` constants.
    pub constants: Vec<(&'static str, f64)>,
}

/// What a call costs, for a roofline.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes that must cross the memory bus at least once, with reals of four bytes.
    pub bytes: f64,
}

/// One kernel call: everything about it that is not its arithmetic.
pub trait Kernel {
    /// The stem of its files.
    fn name(&self) -> &'static str;
    /// Its storage bindings, in order.
    fn args(&self) -> Vec<Arg>;
    /// Its scalars, in order.
    fn uniform(&self) -> Vec<(&'static str, Scalar)>;
    /// Its WGSL.
    fn shader(&self) -> Shader;
    /// Workgroups to dispatch.
    fn grid(&self) -> [u32; 3];
    /// What it costs.
    fn cost(&self) -> Cost;
    /// At most how often an invocation goes through its loops, all of them together; but for loops of a few constant
    /// iterations, which compilers unroll.
    fn iterations(&self) -> usize {
        64
    }
    /// Whether no index of its WGSL can leave its tensors and workgroup memory, whatever numbers they hold, by the sizes of this
    /// call: then the shader need not check. Not for kernels that look up by what a buffer holds.
    fn bounds_are_proved(&self) -> bool {
        false
    }
}

/// Any kernel's call.
#[derive(Debug, Clone)]
pub enum Call {
    Adam(Adam),
    Arrange(Arrange),
    CarryState(CarryState),
    ClipFactor(ClipFactor),
    ColumnSum(ColumnSum),
    DropoutMask(DropoutMask),
    Gather(Gather),
    Gemm(Gemm),
    LabelWeight(LabelWeight),
    Lookup(Lookup),
    LookupGradient(LookupGradient),
    MeanSquaredError(MeanSquaredError),
    Pack(Pack),
    Record(Record),
    Rmsprop(Rmsprop),
    ScanBackward(ScanBackward),
    ScanForward(ScanForward),
    Sgd(Sgd),
    SoftmaxCrossEntropy(SoftmaxCrossEntropy),
    SquaredNorm(SquaredNorm),
    StepBackward(StepBackward),
    StepForward(StepForward),
    Tally(Tally),
}

impl Call {
    /// The call without its arithmetic.
    pub fn kernel(&self) -> &dyn Kernel {
        match self {
            Call::Adam(call) => call,
            Call::Arrange(call) => call,
            Call::CarryState(call) => call,
            Call::ClipFactor(call) => call,
            Call::ColumnSum(call) => call,
            Call::DropoutMask(call) => call,
            Call::Gather(call) => call,
            Call::Gemm(call) => call,
            Call::LabelWeight(call) => call,
            Call::Lookup(call) => call,
            Call::LookupGradient(call) => call,
            Call::MeanSquaredError(call) => call,
            Call::Pack(call) => call,
            Call::Record(call) => call,
            Call::Rmsprop(call) => call,
            Call::ScanBackward(call) => call,
            Call::ScanForward(call) => call,
            Call::Sgd(call) => call,
            Call::SoftmaxCrossEntropy(call) => call,
            Call::SquaredNorm(call) => call,
            Call::StepBackward(call) => call,
            Call::StepForward(call) => call,
            Call::Tally(call) => call,
        }
    }

    /// Computes it on the CPU: the twin of its WGSL.
    pub fn cpu<R: Real>(&self, memory: &Memory<R>) {
        match self {
            Call::Adam(call) => call.cpu(memory),
            Call::Arrange(call) => call.cpu(memory),
            Call::CarryState(call) => call.cpu(memory),
            Call::ClipFactor(call) => call.cpu(memory),
            Call::ColumnSum(call) => call.cpu(memory),
            Call::DropoutMask(call) => call.cpu(memory),
            Call::Gather(call) => call.cpu(memory),
            Call::Gemm(call) => call.cpu(memory),
            Call::LabelWeight(call) => call.cpu(memory),
            Call::Lookup(call) => call.cpu(memory),
            Call::LookupGradient(call) => call.cpu(memory),
            Call::MeanSquaredError(call) => call.cpu(memory),
            Call::Pack(call) => call.cpu(memory),
            Call::Record(call) => call.cpu(memory),
            Call::Rmsprop(call) => call.cpu(memory),
            Call::ScanBackward(call) => call.cpu(memory),
            Call::ScanForward(call) => call.cpu(memory),
            Call::Sgd(call) => call.cpu(memory),
            Call::SoftmaxCrossEntropy(call) => call.cpu(memory),
            Call::SquaredNorm(call) => call.cpu(memory),
            Call::StepBackward(call) => call.cpu(memory),
            Call::StepForward(call) => call.cpu(memory),
            Call::Tally(call) => call.cpu(memory),
        }
    }
}

/// Whether row `t * B + b` is a step that its sequence has, of sequences of these lengths.
pub(crate) fn counts(row: usize, lengths: &[u32]) -> bool {
    row / lengths.len() < lengths[row % lengths.len()] as usize
}

/// The first `rows` such rows that are.
pub(crate) fn steps_that_count(rows: usize, lengths: &[u32]) -> Vec<usize> {
    let rows = 0..rows;
    rows.filter(|&row| counts(row, lengths)).collect()
}

/// Workgroups for `count` items, `each` a workgroup, folded into two dimensions: WebGPU takes 65535 in each. The shader
/// unfolds with `workgroup.x + workgroup.y * workgroups.x`.
pub(crate) fn fold(count: usize, each: usize) -> [u32; 3] {
    let workgroups = count.div_ceil(each).max(1);
    let rows = workgroups.div_ceil(65535);
    [workgroups.div_ceil(rows) as u32, rows as u32, 1]
}

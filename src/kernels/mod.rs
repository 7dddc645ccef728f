//! The kernels: the calls of which a program consists. Each has a file here with the call's shapes,
//! uniform, cost and CPU implementation, and `shaders/<name>.wgsl`, which computes the same on a
//! GPU.
//!
//! A shader's storage bindings are group 0, in the order of [`Kernel::args`] and under the same
//! names. Group 1 is one uniform struct: the element offset of each argument, under the argument's
//! name, then the scalars of [`Kernel::uniform`].

mod accumulate;
mod adam;
mod arrange;
mod attention;
mod attention_backward;
mod average;
mod carry_state;
mod chunk_lengths;
mod clip_factor;
mod column_sum;
mod copy_state;
mod ctc;
mod ctc_gradient;
mod ctc_paths;
mod descent;
mod dropout_mask;
mod error_sums;
mod gather;
mod gemm;
mod head_weight;
mod initial_state;
mod initial_state_gradient;
mod join_scores;
mod label_smoothing;
mod label_weight;
mod log_sum_exp;
mod lookup;
mod lookup_gradient;
mod mean_squared_error;
mod pack;
mod pool;
mod pool_backward;
mod prepared;
mod record;
mod recurrence;
mod rmsprop;
mod scan_backward;
mod scan_forward;
mod scan_norm_backward;
mod scan_norm_forward;
mod sgd;
mod share_of_update;
mod softmax_cross_entropy;
mod squared_norm;
mod step_backward;
mod step_forward;
mod tally;
mod target_weight;
mod together;
mod tree_sum;
mod value_loss;
mod weigh_outputs;
mod words;

pub use arrange::{Columns, Order, Side};
pub use ctc::BLANK;
pub use descent::Descent;
pub use gather::GatherKind;
pub use gemm::{Matrix, Ragged, RowsEach};
pub use lookup::{Table, Tokens};
pub use pool::PoolKind;
pub use pool_backward::PoolBackwardKind;
pub(crate) use prepared::{PreparedCalls, RunCalls};
pub(crate) use recurrence::packed_matrices;
pub use recurrence::{
    CellOptions, LayerNorm, LayerStates, NormWeights, Projection, Recurrence, RecurrentWeights,
    ScanWork, StateGradients, Tile, TimeDirection, Zoneout,
};
pub use step_backward::BackwardStage;
pub(crate) use together::play;
pub(crate) use tree_sum::flushed;
pub use value_loss::ValueLossKind;
pub use words::{IGNORE, MISSING, control, history};

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::memory::Memory;
use crate::numeric::gemm::{KC, RowBlocks};
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Makes [`Call`] from the list of kernels. This is a macro because [`Call::cpu`] is generic over
/// the element type, which a trait object cannot be; without it, each kernel would be listed in the
/// enum, in both methods, and in a conversion.
macro_rules! calls {
    ($($module:ident::$Kernel:ident),* $(,)?) => {
        $(pub use $module::$Kernel;)*

        /// A call of any kernel.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Call {
            $($Kernel($Kernel)),*
        }

        $(impl From<$Kernel> for Call {
            fn from(call: $Kernel) -> Call {
                Call::$Kernel(call)
            }
        })*

        impl Call {
            /// Returns the call without its CPU implementation.
            pub fn kernel(&self) -> &dyn Kernel {
                match self {
                    $(Call::$Kernel(call) => call),*
                }
            }

            /// Computes the call on the CPU.
            pub fn cpu<R: Real>(&self, memory: &Memory<R>) {
                match self {
                    $(Call::$Kernel(call) => call.cpu(memory)),*
                }
            }
        }
    };
}

impl Call {
    /// Returns the tensors that the CPU borrows, each as a whole.
    pub(crate) fn borrowed(&self) -> Vec<Tensor> {
        let tensors = self.kernel().args().into_iter().map(|arg| arg.tensor);
        match self {
            Call::ColumnSum(sum) => {
                let others = tensors.filter(|tensor| *tensor != sum.out);
                others.chain(sum.each_copy()).collect()
            }
            _ => tensors.collect(),
        }
    }
}

// The list of kernels. (The modules above are declared outside the macro so that rustfmt finds
// their files.)
calls! {
    accumulate::Accumulate,
    adam::Adam,
    arrange::Arrange,
    attention::Attention,
    attention_backward::AttentionBackward,
    average::Average,
    carry_state::CarryState,
    chunk_lengths::ChunkLengths,
    clip_factor::ClipFactor,
    column_sum::ColumnSum,
    copy_state::CopyState,
    ctc_gradient::CtcGradient,
    ctc_paths::CtcPaths,
    dropout_mask::DropoutMask,
    error_sums::ErrorSums,
    gather::Gather,
    gemm::Gemm,
    head_weight::HeadWeight,
    initial_state::InitialState,
    initial_state_gradient::InitialStateGradient,
    join_scores::JoinScores,
    label_smoothing::LabelSmoothing,
    label_weight::LabelWeight,
    log_sum_exp::LogSumExp,
    lookup::Lookup,
    lookup_gradient::LookupGradient,
    mean_squared_error::MeanSquaredError,
    pack::Pack,
    pool::Pool,
    pool_backward::PoolBackward,
    record::Record,
    rmsprop::Rmsprop,
    scan_backward::ScanBackward,
    scan_forward::ScanForward,
    scan_norm_backward::ScanNormBackward,
    scan_norm_forward::ScanNormForward,
    sgd::Sgd,
    share_of_update::ShareOfUpdate,
    softmax_cross_entropy::SoftmaxCrossEntropy,
    squared_norm::SquaredNorm,
    step_backward::StepBackward,
    step_forward::StepForward,
    tally::Tally,
    target_weight::TargetWeight,
    tree_sum::TreeSum,
    value_loss::ValueLoss,
    weigh_outputs::WeighOutputs,
}

/// The framework whose definition of an optimizer is used, where the frameworks differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// PyTorch.
    #[default]
    Torch,
    /// TensorFlow (`tf.compat.v1`).
    Tensorflow,
}

/// How a kernel uses an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Written, and possibly read too.
    Write,
}

/// One storage binding of a call.
#[derive(Debug, Clone, Copy)]
pub struct Arg {
    pub name: &'static str,
    pub tensor: Tensor,
    pub access: Access,
}

/// Returns an argument that is only read.
pub(crate) fn read(name: &'static str, tensor: Tensor) -> Arg {
    Arg {
        name,
        tensor,
        access: Access::Read,
    }
}

/// Returns an argument that is written.
pub(crate) fn write(name: &'static str, tensor: Tensor) -> Arg {
    Arg {
        name,
        tensor,
        access: Access::Write,
    }
}

/// A scalar in a call's uniform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    U32(u32),
    F32(f32),
}

impl Scalar {
    /// Returns a size as a `u32`.
    ///
    /// # Panics
    /// If `value` is 2^32 or more; [`crate::record::RecordedNetwork`] refuses such sizes before it
    /// records.
    pub fn count(value: usize) -> Scalar {
        Scalar::U32(u32::try_from(value).expect("sizes were checked"))
    }

    /// Returns the 32 bits of the scalar.
    pub fn bits(self) -> u32 {
        match self {
            Scalar::U32(value) => value,
            Scalar::F32(value) => value.to_bits(),
        }
    }
}

impl From<bool> for Scalar {
    fn from(flag: bool) -> Scalar {
        Scalar::U32(flag.into())
    }
}

/// A kernel's WGSL in one specialisation.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Shader {
    /// The source, to be concatenated. WGSL declarations may come in any order.
    pub parts: Vec<Cow<'static, str>>,
    /// Values of `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Names in the parts that stand for a type. An alias would be a type of its own to naga, which
    /// infers the elements of `array(...)`.
    pub types: Vec<(&'static str, &'static str)>,
}

impl Shader {
    /// Returns a shader of these source files.
    fn new(parts: impl IntoIterator<Item = &'static str>) -> Shader {
        Shader {
            parts: parts.into_iter().map(Cow::from).collect(),
            ..Shader::default()
        }
    }

    /// Returns the WGSL as naga parses it.
    pub fn source(&self) -> String {
        self.edited_source(|source| source)
    }

    /// Returns the same of the shader's text after `edit`.
    pub(crate) fn edited_source(&self, edit: impl FnOnce(String) -> String) -> String {
        let source = edit(self.parts.join("\n"));
        let replaced = |source: String, (name, kind): &(&str, &str)| source.replace(name, kind);
        let source = self.types.iter().fold(source, replaced);
        if source.contains("<f16>") {
            format!("enable f16;\n{source}")
        } else {
            source
        }
    }

    /// Returns the WGSL as the standard has it: naga knows subgroups without the directive that the
    /// standard asks for, and refuses the directive.
    pub fn standard_source(&self) -> String {
        let source = self.source();
        let directive = if source.contains("subgroupShuffle") {
            "enable subgroups;\n"
        } else {
            ""
        };
        format!("{directive}{source}")
    }

    /// Adds a source file or generated declarations.
    fn with(mut self, part: impl Into<Cow<'static, str>>) -> Shader {
        self.parts.push(part.into());
        self
    }

    /// Adds values of `override` constants.
    fn with_constants(
        mut self,
        constants: impl IntoIterator<Item = (&'static str, f64)>,
    ) -> Shader {
        self.constants.extend(constants);
        self
    }
}

/// The cost of a call, for a roofline.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes that must cross the memory bus at least once, with reals of four bytes.
    pub bytes: f64,
}

#[cfg(any(feature = "gpu", feature = "report"))]
impl Cost {
    /// Returns the estimated work, by which calls are divided into submissions: floating-point
    /// operations, ten for each byte, and a constant for the dispatch; weights that suit devices
    /// slow enough to need a limit.
    pub(crate) fn work(self) -> f64 {
        self.flops + 10.0 * self.bytes + 1e5
    }
}

/// One kernel call, except for its CPU implementation.
pub trait Kernel {
    /// Returns the stem of the kernel's files.
    fn name(&self) -> &'static str;
    /// Returns the storage bindings, in order.
    fn args(&self) -> Vec<Arg>;
    /// Returns the scalars of the uniform, in order.
    fn uniform(&self) -> Vec<(&'static str, Scalar)>;
    /// Returns the WGSL.
    fn shader(&self) -> Shader;
    /// Returns the number of workgroups in each dimension.
    fn grid(&self) -> [u32; 3];
    /// Returns the cost.
    fn cost(&self) -> Cost;
    /// Returns an upper bound of the loop iterations of one invocation, summed over all its loops.
    /// Loops of a few constant iterations are not counted: compilers unroll them.
    fn iterations(&self) -> usize {
        64
    }
    /// Returns whether the sizes of this call prove that no index of its WGSL leaves its tensors
    /// and workgroup memory, whatever values they hold: the shader is then compiled without bounds
    /// checks. A kernel that reads indices from a buffer must return false.
    fn bounds_are_proved(&self) -> bool {
        false
    }
}

/// Returns the uniform of a kernel call: an element offset for each argument, then its scalars.
#[cfg(any(feature = "gpu", feature = "report"))]
pub(crate) fn uniform_words(kernel: &dyn Kernel) -> Vec<u32> {
    let args = kernel.args().into_iter();
    let offsets = args.map(|arg| arg.tensor.offset as u32);
    let scalars = kernel.uniform().into_iter();
    offsets
        .chain(scalars.map(|(_, scalar)| scalar.bits()))
        .collect()
}

/// Whether row `t * B + b` of a `[T, B]` tensor is a valid step of sequence b.
pub(crate) fn is_valid_row(row: usize, lengths: &[u32]) -> bool {
    row / lengths.len() < lengths[row % lengths.len()] as usize
}

/// Time steps of a block of a sum over time steps. Blocks are summed from the last to the first, so
/// that a backward pass over chunks of whole blocks adds in the order of one over all steps.
pub const BLOCK_STEPS: usize = 64;

/// Returns the rows `t * B + b` below `rows` that are valid steps of a sequence b for which
/// `is_taken` holds, in the order of a sum on the CPU: blocks of at most [`BLOCK_STEPS`] steps from
/// the last to the first, each small enough to stay in a cache.
pub(crate) fn time_blocks(
    rows: usize,
    lengths: &[u32],
    is_taken: impl Fn(usize) -> bool,
) -> RowBlocks {
    let batch = lengths.len();
    let fitting = (KC / batch).clamp(1, BLOCK_STEPS);
    let size = batch << fitting.ilog2();
    let blocks = (0..rows.div_ceil(size)).rev();
    let is_taken = &is_taken;
    RowBlocks::new(blocks.map(|block| {
        let block = block * size..((block + 1) * size).min(rows);
        block.filter(move |&row| is_valid_row(row, lengths) && is_taken(row % batch))
    }))
}

/// Returns the rows of a sum over `count` rows in blocks of [`BLOCK_STEPS`] steps of `batch`
/// sequences, from the last block to the first.
pub(crate) fn blocks_of_steps(count: usize, batch: usize) -> impl Iterator<Item = usize> {
    let size = BLOCK_STEPS * batch;
    let blocks = (0..count.div_ceil(size)).rev();
    blocks.flat_map(move |block| block * size..((block + 1) * size).min(count))
}

/// Returns the grid for `items` items, `per_workgroup` in each workgroup, in two dimensions: WebGPU
/// allows 65535 workgroups in each. The shader computes the workgroup's index as
/// `workgroup.x + workgroup.y * workgroups.x`.
pub(crate) fn linear_grid(items: usize, per_workgroup: usize) -> [u32; 3] {
    let workgroups = items.div_ceil(per_workgroup).max(1);
    let rows = workgroups.div_ceil(65535);
    [workgroups.div_ceil(rows) as u32, rows as u32, 1]
}

//! The kernel cases of a sweep: single kernels at many sizes.

mod ctc;
mod data;
mod loss;
mod matmul;
mod pooling;
mod updates;

use super::fill::BufferFiller;
use super::{Effort, ValueKind};
use crate::kernels::{Call, IGNORE, MISSING, control};
use crate::program::{Phase, Program};
use crate::tensor::{Element, Kind, Tensor};
use crate::verify::{Case, CompareAfter, Scene};

/// Records calls of a kernel at sizes at and around its edges.
type RecordCalls = fn(&mut KernelProgram, Effort);

/// The kernels by their names in cases. All calls of a kernel are in one program, so that it is
/// compiled once.
const KERNELS: [(&str, RecordCalls); 32] = [
    ("gemm", matmul::gemm),
    ("column-sum", matmul::column_sum),
    ("squared-norm", loss::squared_norm),
    ("softmax", loss::softmax),
    ("squared-error", loss::squared_error),
    ("value-loss", loss::value_loss),
    ("ctc", ctc::ctc),
    ("label-smoothing", loss::label_smoothing),
    ("label-weight", loss::label_weight),
    ("target-weight", loss::target_weight),
    ("weigh-outputs", loss::weigh_outputs),
    ("error-sums", loss::error_sums),
    ("join-scores", loss::join_scores),
    ("tally", loss::tally),
    ("pack", matmul::pack),
    ("arrange", data::arrange),
    ("pool", pooling::pool),
    ("attention", pooling::attention),
    ("carry-state", data::carry_state),
    ("initial-state", data::initial_state),
    ("copy-state", data::copy_state),
    ("chunk-lengths", data::chunk_lengths),
    ("gather", data::gather),
    ("lookup", data::lookup),
    ("record", loss::record),
    ("share-of-update", updates::share_of_update),
    ("accumulate", updates::accumulate),
    ("tree-sum", updates::tree_sum),
    ("average", updates::average),
    ("adam", updates::adam),
    ("rmsprop", updates::rmsprop),
    ("sgd", updates::sgd),
];

/// Returns each kernel with each kind of values.
pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let sizes = match effort {
        Effort::Quick => "sizes",
        Effort::Full => "many-sizes",
    };
    let mut cases = vec![];
    for (name, record) in KERNELS {
        for values in ValueKind::ALL {
            cases.push(Case {
                id: format!("{name}-{sizes}-{}", values.name()),
                family: name,
                compare_after: CompareAfter::EachCall,
                is_kernel: true,
                make: Box::new(move |_| {
                    let mut program = KernelProgram::default();
                    record(&mut program, effort);
                    Ok(program.into_scene(name, values))
                }),
            });
        }
    }
    cases
}

/// Sets elements of tensors that random values do not fit.
type Fill = Box<dyn Fn(&mut BufferFiller)>;

/// A program of single calls. Each tensor has a buffer of its own and begins at an odd offset in
/// it.
#[derive(Default)]
struct KernelProgram {
    program: Program,
    fills: Vec<Fill>,
}

impl KernelProgram {
    fn into_scene(self, name: &str, values: ValueKind) -> Scene {
        let mut filler = BufferFiller::new(&self.program, name);
        filler.fill_all(values);
        if matches!(values, ValueKind::Steep | ValueKind::Saturated) {
            filler.scale_all(values.input_scale());
        }
        for fill in self.fills {
            fill(&mut filler);
        }
        Scene {
            unwritten: vec![],
            contents: filler.into_contents(),
            program: self.program,
        }
    }

    fn push(&mut self, call: impl Into<Call>) {
        self.program.push(Phase::Forward, call);
    }

    fn tensor(&mut self, element: Element, extents: [usize; 2]) -> Tensor {
        let number = self.program.buffers().len();
        let offset = 2 * number + 1;
        let len = extents[0] * extents[1];
        let name = format!("buffer {number}");
        let program = &mut self.program;
        let whole = program.buffer(name, Kind::Data, element, [offset + len + 67]);
        whole.part(offset, extents)
    }

    fn reals(&mut self, rows: usize, columns: usize) -> Tensor {
        self.tensor(Element::Real, [rows, columns])
    }

    /// A real tensor of random values in ±`limit`, of every kind of values.
    fn reals_below(&mut self, count: usize, limit: f32) -> Tensor {
        let tensor = self.reals(1, count);
        let fill = move |filler: &mut BufferFiller| filler.fill_symmetric(&tensor, limit);
        self.fills.push(Box::new(fill));
        tensor
    }

    /// A real tensor of random values from 0 to `limit`, of every kind of values.
    fn positives_below(&mut self, count: usize, limit: f32) -> Tensor {
        let tensor = self.reals(1, count);
        let fill = move |filler: &mut BufferFiller| filler.fill_positive(&tensor, limit);
        self.fills.push(Box::new(fill));
        tensor
    }

    /// A real tensor whose element i is `value(i)`, of every kind of values.
    fn reals_of(&mut self, count: usize, value: impl Fn(usize) -> f32 + 'static) -> Tensor {
        let tensor = self.reals(1, count);
        let fill = move |filler: &mut BufferFiller| filler.set_reals(&tensor, &value);
        self.fills.push(Box::new(fill));
        tensor
    }

    /// Sets all elements of a real tensor.
    fn set_real(&mut self, tensor: Tensor, value: f32) {
        let fill = move |filler: &mut BufferFiller| filler.set_reals(&tensor, |_| value);
        self.fills.push(Box::new(fill));
    }

    /// An integer tensor whose element i is `value(i)`.
    fn indices(&mut self, count: usize, value: impl Fn(usize) -> u32 + 'static) -> Tensor {
        let tensor = self.tensor(Element::Index, [count, 1]);
        let fill = move |filler: &mut BufferFiller| filler.set_indices(&tensor, &value);
        self.fills.push(Box::new(fill));
        tensor
    }

    /// An integer tensor of random values below `limit`.
    fn indices_below(&mut self, count: usize, limit: u32) -> Tensor {
        let tensor = self.tensor(Element::Index, [count, 1]);
        let fill = move |filler: &mut BufferFiller| filler.fill_below(&tensor, limit);
        self.fills.push(Box::new(fill));
        tensor
    }

    /// Random labels below `classes`, one in five of them ignored.
    fn labels(&mut self, count: usize, classes: u32) -> Tensor {
        let tensor = self.indices_below(count, classes);
        let ignore = move |filler: &mut BufferFiller| filler.set_every(&tensor, 5, IGNORE);
        self.fills.push(Box::new(ignore));
        tensor
    }

    /// A real tensor of targets, one in three of them missing.
    fn targets(&mut self, rows: usize, columns: usize) -> Tensor {
        let tensor = self.reals(rows, columns);
        let omit = move |filler: &mut BufferFiller| filler.set_every_real(&tensor, 3, MISSING);
        self.fills.push(Box::new(omit));
        tensor
    }

    /// The control words of the training loop after `updates` updates, `row` of them since the last
    /// readback.
    fn control_after(&mut self, updates: u32, row: u32) -> Tensor {
        self.indices(control::WORDS, move |word| match word {
            control::STEP => updates,
            control::ROW => row,
            _ => 1,
        })
    }

    /// The control words of the training loop.
    fn control(&mut self, cursor: u32, count: u32, chunk: u32) -> Tensor {
        self.indices(control::WORDS, move |word| match word {
            control::CURSOR => cursor,
            control::COUNT => count,
            control::CHUNK => chunk,
            control::STEP => 3,
            _ => 1,
        })
    }
}

/// Sizes at and around 4, 32, 64, 128 and 256.
fn edges(effort: Effort) -> &'static [usize] {
    match effort {
        Effort::Quick => &[1, 5, 63, 64, 65, 128, 257],
        Effort::Full => &[
            1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257,
        ],
    }
}

/// The [`edges`] below 100, for kernels with several rows of that width.
fn narrow_edges(effort: Effort) -> impl Iterator<Item = usize> {
    let edges = edges(effort).iter().copied();
    edges.filter(|&width| width < 100)
}

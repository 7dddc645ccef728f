//! Calls that the CPU computes in one pass over a large matrix, since reading and writing it costs
//! as much as a small matmul: the scan of a layer computes the input projection of each step before
//! that step, and the gradients of a layer's weights, which are all sums over the gates' gradients,
//! are computed together. The bits are those of the separate calls.

use super::recurrence::InputProjection;
use super::{Call, ColumnSum, Gemm, Ragged, ScanForward, time_blocks};
use crate::memory::Memory;
use crate::numeric::gemm::{ColumnSums, PackedB, TimeSum, TimeSums, View};
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Computes the first of `calls` on the CPU, together with those after it that can share a pass.
/// Returns the number of calls computed.
pub fn play<R: Real>(calls: &[Call], memory: &Memory<R>) -> usize {
    if let [Call::Gemm(gemm), Call::ScanForward(scan), ..] = calls
        && is_input_projection(gemm, scan)
        && scan_with_input(gemm, scan, memory)
    {
        return 2;
    }
    let sums: Vec<StepSum> = calls.iter().map_while(StepSum::new).collect();
    let count = (0..sums.len())
        .take_while(|&n| sums[n].can_join(&sums[..n]))
        .count();
    if count > 1 && sum_together(&sums[..count], memory) {
        return count;
    }
    calls[0].cpu(memory);
    1
}

/// Elements of a layer's weights that fit in a core's own cache beside the operands of a time step.
const CACHED_ELEMENTS: usize = 1 << 17;

/// Whether `gemm` computes the input projection of the whole scan, and one pass is faster: the
/// tiles should have many rows, and the weights of a time step should stay in the cache.
fn is_input_projection(gemm: &Gemm, scan: &ScanForward) -> bool {
    let layer = &scan.layer;
    let gates = layer.cell.spec().gates * layer.hidden_size;
    let size = [layer.steps * layer.batch, gates];
    let to = &gemm.c;
    let writes_gates = (to.tensor.buffer, to.tensor.offset)
        == (layer.gates.buffer, layer.gates.offset)
        && ([to.rows, to.columns], to.stride) == (size, layer.row_size());
    let has_same_lengths = match gemm.ragged {
        Some(Ragged::Rows(lengths)) => lengths == layer.lengths,
        Some(Ragged::Terms(_)) => false,
        None => true,
    };
    let read = [Some(gemm.a.tensor), Some(gemm.b.tensor), gemm.bias];
    let written = [
        layer.gates,
        layer.states.h,
        layer.states.c,
        layer.states.last,
    ]
    .map(|tensor| tensor.buffer);
    let reads_other_buffers = read
        .iter()
        .flatten()
        .all(|tensor| !written.contains(&tensor.buffer));
    writes_gates
        && has_same_lengths
        && reads_other_buffers
        && !gemm.a.transposed
        && !gemm.accumulate
        && (scan.begin, scan.end) == (0, layer.steps)
        && layer.has_full_tiles()
        && (gemm.inner() + layer.output_size) * gates <= CACHED_ELEMENTS
}

/// Computes the projection and the scan in one pass, or returns false without computing either.
fn scan_with_input<R: Real>(gemm: &Gemm, scan: &ScanForward, memory: &Memory<R>) -> bool {
    let (a, b) = (memory.read(&gemm.a.tensor), memory.read(&gemm.b.tensor));
    let bias = gemm.bias.map(|bias| memory.read(&bias));
    let input = InputProjection {
        rows: gemm.a.view(&a),
        weights: PackedB::new(gemm.b.view(&b), memory.precision()),
        addend: gemm.addend(bias.as_deref()),
    };
    // With other weights the bits of a row may depend on the rows multiplied with it.
    if !input.weights.is_packed() {
        return false;
    }
    scan.cpu_with_input(memory, Some(&input));
    true
}

/// A call that sums something over the valid steps of sequences, for each row of a matrix.
#[derive(Clone, Copy)]
struct StepSum<'a> {
    /// `[T*B, M]`, rows `stride` apart.
    rows: Tensor,
    size: [usize; 2],
    stride: usize,
    lengths: Tensor,
    out: Tensor,
    summand: Summand<'a>,
}

/// The summand of a row.
#[derive(Clone, Copy)]
enum Summand<'a> {
    /// The outer product with the same row of the GEMM's other operand.
    OuterProduct(&'a Gemm),
    /// The row itself.
    Row(&'a ColumnSum),
}

impl<'a> StepSum<'a> {
    /// Returns the sum that a call computes, if it is one.
    fn new(call: &'a Call) -> Option<Self> {
        match call {
            Call::Gemm(gemm) => Self::of_gemm(gemm),
            Call::ColumnSum(sum) => Self::of_column_sum(sum),
            _ => None,
        }
    }

    fn of_gemm(gemm: &'a Gemm) -> Option<Self> {
        let Some(Ragged::Terms(lengths)) = gemm.ragged else {
            return None;
        };
        let is_plain = gemm.slices == 1 && gemm.a.transposed && gemm.bias.is_none();
        is_plain.then_some(StepSum {
            rows: gemm.a.tensor,
            size: [gemm.a.columns, gemm.a.rows],
            stride: gemm.a.stride,
            lengths,
            out: gemm.c.tensor,
            summand: Summand::OuterProduct(gemm),
        })
    }

    fn of_column_sum(sum: &'a ColumnSum) -> Option<Self> {
        if sum.factor.is_some() {
            return None;
        }
        Some(StepSum {
            rows: sum.source,
            size: [sum.rows, sum.columns()],
            stride: sum.stride,
            lengths: sum.lengths?,
            out: sum.out,
            summand: Summand::Row(sum),
        })
    }

    /// Whether the sum can be computed in one pass with the sums `before` it: over the same rows,
    /// into separate parts of the same buffer, and without reading that buffer.
    fn can_join(&self, before: &[StepSum]) -> bool {
        let reads_other_buffers = self.rows.buffer != self.out.buffer
            && match self.summand {
                Summand::OuterProduct(gemm) => gemm.b.tensor.buffer != self.out.buffer,
                Summand::Row(_) => true,
            };
        let is_compatible = |other: &StepSum| {
            self.has_same_rows(other)
                && self.out.buffer == other.out.buffer
                && self.is_apart(other)
                && !(self.sums_rows() && other.sums_rows())
        };
        reads_other_buffers && before.iter().all(is_compatible)
    }

    fn has_same_rows(&self, other: &StepSum) -> bool {
        (self.rows.buffer, self.rows.offset) == (other.rows.buffer, other.rows.offset)
            && (self.size, self.stride, self.lengths) == (other.size, other.stride, other.lengths)
    }

    fn is_apart(&self, other: &StepSum) -> bool {
        let (own, other) = (self.out.range(), other.out.range());
        own.end <= other.start || other.end <= own.start
    }

    fn sums_rows(&self) -> bool {
        matches!(self.summand, Summand::Row(_))
    }

    /// The parts of `out`, which are borrowed one by one.
    fn parts(&self) -> Vec<Tensor> {
        match self.summand {
            Summand::OuterProduct(_) => vec![self.out],
            Summand::Row(sum) => sum.each_copy(),
        }
    }
}

/// Computes all sums in one pass, or returns false without a result.
fn sum_together<R: Real>(sums: &[StepSum], memory: &Memory<R>) -> bool {
    let mut sums = sums.to_vec();
    sums.sort_by_key(|sum| sum.out.offset);
    let first = sums[0];
    let [steps, columns] = first.size;
    let a = memory.read(&first.rows);
    let terms = time_blocks(steps, &memory.read_index(&first.lengths), |_| true);
    let operands: Vec<_> = sums
        .iter()
        .filter_map(|sum| match sum.summand {
            Summand::OuterProduct(gemm) => Some(memory.read(&gemm.b.tensor)),
            Summand::Row(_) => None,
        })
        .collect();
    let parts: Vec<Tensor> = sums.iter().flat_map(StepSum::parts).collect();
    let mut parts = memory.write_each(&parts);
    let (mut parts, mut operands) = (parts.iter_mut(), operands.iter());
    let (mut products, mut row_sums, mut copies) = (vec![], None, vec![]);
    for sum in &sums {
        let out = parts.next().expect("each sum has a part");
        match sum.summand {
            Summand::OuterProduct(gemm) => {
                let values = operands.next().expect("each outer product has its operand");
                products.push(TimeSum {
                    b: gemm.b.view(values),
                    addend: gemm.addend(None),
                    c: out,
                    stride: gemm.c.stride,
                });
            }
            Summand::Row(row) => {
                row_sums = Some((&mut **out, row.accumulate));
                copies.extend(parts.by_ref().take(row.copies - 1));
            }
        }
    }
    let done = R::try_time_sums(TimeSums {
        a: View::new(&a, steps, columns, first.stride),
        rows: &terms,
        products,
        columns: row_sums.as_mut().map(|(sums, accumulate)| ColumnSums {
            sums,
            accumulate: *accumulate,
        }),
        precision: memory.precision(),
    });
    if let Some((sums, _)) = row_sums.filter(|_| done) {
        copies
            .into_iter()
            .for_each(|copy| copy.copy_from_slice(sums));
    }
    done
}

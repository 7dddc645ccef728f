//! Calls that the CPU takes in one pass over a large matrix, since reading and writing that costs as much as a small product: a
//! layer's inputs are multiplied step by step as its scan comes to them, and the gradients of its weights, all of them sums over
//! the gates' gradients, are found at once. The bits are those of the calls one by one.

use super::recurrence::Input;
use super::{Call, Gemm, Ragged, ScanForward, steps_that_count};
use crate::memory::Memory;
use crate::numeric::gemm::{PackedB, TimeSum, TimeSums, View};
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Plays the first of `calls` on the CPU, and those behind it that go with it; returns how many these are.
pub fn play<R: Real>(calls: &[Call], memory: &Memory<R>) -> usize {
    if let [Call::Gemm(product), Call::ScanForward(scan), ..] = calls
        && feeds(product, scan)
        && scan_with_input(product, scan, memory)
    {
        return 2;
    }
    let sums: Vec<Sum> = calls.iter().map_while(Sum::of).collect();
    let count = (0..sums.len())
        .take_while(|&n| sums[n].goes_with(&sums[..n]))
        .count();
    if count > 1 && sum(&sums[..count], memory) {
        return count;
    }
    calls[0].cpu(memory);
    1
}

/// Numbers of the weights of a layer that fit into a core's own cache, beside what a step works on.
const CACHED: usize = 1 << 17;

/// Whether the scan comes to all that the product makes, and gains by finding it as it goes: its tiles should have many rows, and
/// what each step multiplies with should stay at hand.
fn feeds(product: &Gemm, scan: &ScanForward) -> bool {
    let layer = &scan.layer;
    let gates = layer.cell.spec().gates * layer.hidden_size;
    let size = [layer.steps * layer.batch, gates];
    let to = &product.c;
    let is_input = (to.tensor.buffer, to.tensor.offset) == (layer.gates.buffer, layer.gates.offset)
        && ([to.rows, to.columns], to.stride) == (size, layer.row_size());
    let counts_alike = match product.ragged {
        Some(Ragged::Rows(lengths)) => lengths == layer.lengths,
        Some(Ragged::Terms(_)) => false,
        None => true,
    };
    let read = [Some(product.a.tensor), Some(product.b.tensor), product.bias];
    let written = [
        layer.gates,
        layer.states.h,
        layer.states.c,
        layer.states.last,
    ]
    .map(|tensor| tensor.buffer);
    let reads_elsewhere = read
        .iter()
        .flatten()
        .all(|tensor| !written.contains(&tensor.buffer));
    is_input
        && counts_alike
        && reads_elsewhere
        && !product.a.transposed
        && !product.accumulate
        && (scan.begin, scan.end) == (0, layer.steps)
        && layer.has_full_tiles()
        && (product.terms() + layer.output_size) * gates <= CACHED
}

/// Plays both, or does nothing and says so.
fn scan_with_input<R: Real>(product: &Gemm, scan: &ScanForward, memory: &Memory<R>) -> bool {
    let (a, b) = (
        memory.read(&product.a.tensor),
        memory.read(&product.b.tensor),
    );
    let bias = product.bias.map(|bias| memory.read(&bias));
    let input = Input {
        rows: product.a.view(&a),
        weights: PackedB::new(product.b.view(&b)),
        addend: product.addend(bias.as_deref()),
    };
    // Products of others may depend on which rows come together.
    if !input.weights.is_packed() {
        return false;
    }
    scan.with_input(memory, Some(&input));
    true
}

/// A call that sums over the steps of sequences what rows of a matrix come to.
#[derive(Clone, Copy)]
struct Sum<'a> {
    /// `[T*B, M]`, with stored rows `stride` apart.
    rows: Tensor,
    size: [usize; 2],
    stride: usize,
    lengths: Tensor,
    out: Tensor,
    of: Of<'a>,
}

#[derive(Clone, Copy)]
enum Of<'a> {
    /// Their outer products with those of another.
    Products(&'a Gemm),
    /// The rows.
    Rows,
}

impl<'a> Sum<'a> {
    fn of(call: &'a Call) -> Option<Self> {
        match call {
            Call::Gemm(call) => {
                let Some(Ragged::Terms(lengths)) = call.ragged else {
                    return None;
                };
                let plain = call.slices == 1 && call.a.transposed && call.bias.is_none();
                plain.then_some(Sum {
                    rows: call.a.tensor,
                    size: [call.a.columns, call.a.rows],
                    stride: call.a.stride,
                    lengths,
                    out: call.c.tensor,
                    of: Of::Products(call),
                })
            }
            Call::ColumnSum(call) if call.factor.is_none() => Some(Sum {
                rows: call.source,
                size: [call.rows, call.columns()],
                stride: call.stride,
                lengths: call.lengths?,
                out: call.out,
                of: Of::Rows,
            }),
            _ => None,
        }
    }

    /// Whether it can be found with those that come before it.
    fn goes_with(&self, before: &[Sum]) -> bool {
        let key = |sum: &Sum| {
            (
                sum.rows.buffer,
                sum.rows.offset,
                sum.size,
                sum.stride,
                sum.lengths,
            )
        };
        let read_elsewhere = |sum: &Sum| match sum.of {
            Of::Products(call) => call.b.tensor.buffer != self.out.buffer,
            Of::Rows => true,
        };
        let apart = |other: &Sum| {
            let (own, other) = (self.out.range(), other.out.range());
            own.end <= other.start || other.end <= own.start
        };
        let is_rows = |sum: &Sum| matches!(sum.of, Of::Rows);
        let goes = |other: &Sum| {
            key(self) == key(other)
                && self.out.buffer == other.out.buffer
                && apart(other)
                && !(is_rows(self) && is_rows(other))
        };
        read_elsewhere(self) && self.rows.buffer != self.out.buffer && before.iter().all(goes)
    }
}

/// Finds them all in one pass, or does nothing and says so.
fn sum<R: Real>(sums: &[Sum], memory: &Memory<R>) -> bool {
    let mut sums = sums.to_vec();
    sums.sort_by_key(|sum| sum.out.offset);
    let Sum {
        rows,
        size: [steps, columns],
        stride,
        lengths,
        out: first,
        ..
    } = sums[0];
    let a = memory.read(&rows);
    let terms = steps_that_count(steps, &memory.read_index(&lengths));
    let others: Vec<_> = sums
        .iter()
        .filter_map(|sum| match sum.of {
            Of::Products(call) => Some(memory.read(&call.b.tensor)),
            Of::Rows => None,
        })
        .collect();
    // The results are cut out of the buffer that they share, from left to right.
    let end = sums.last().map_or(0, |last| last.out.range().end);
    let mut out = memory.write(&Tensor {
        shape: [end - first.offset].into(),
        ..first
    });
    let (mut rest, mut at) = (&mut *out, first.offset);
    let (mut products, mut row_sums, mut others) = (vec![], None, others.iter());
    for sum in &sums {
        let (_, behind) = rest.split_at_mut(sum.out.offset - at);
        let (own, behind) = behind.split_at_mut(sum.out.len());
        (rest, at) = (behind, sum.out.range().end);
        match sum.of {
            Of::Products(call) => {
                let values = others.next().expect("each product has read its own");
                products.push(TimeSum {
                    b: call.b.view(values),
                    addend: call.addend(None),
                    c: own,
                    stride: call.c.stride,
                });
            }
            Of::Rows => row_sums = Some(own),
        }
    }
    let done = R::try_time_sums(TimeSums {
        a: View::new(&a, steps, columns, stride),
        rows: &terms,
        products,
        column_sums: row_sums.as_deref_mut().map(|sums| &mut sums[..columns]),
    });
    if let Some(sums) = row_sums.filter(|_| done) {
        for copy in (columns..sums.len()).step_by(columns) {
            sums.copy_within(..columns, copy);
        }
    }
    done
}

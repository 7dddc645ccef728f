//! Batches, tokens, states between chunks, and the order of sequences.

use super::{KernelProgram, edges, narrow_edges};
use crate::kernels::{
    Arrange, CarryState, ChunkLengths, Columns, CopyState, Gather, GatherKind, IGNORE,
    InitialState, InitialStateGradient, Lookup, LookupGradient, Order, Side, Table, Tokens,
};
use crate::tensor::Tensor;
use crate::verify::Effort;

pub(super) fn arrange(program: &mut KernelProgram, effort: Effort) {
    let orders = [
        Order::InTime,
        Order::Reversed,
        Order::Repeat,
        Order::Collect,
    ];
    let masks = [None, Some(Side::Source), Some(Side::Out)];
    let (steps, batch) = (5, 4);
    for width in narrow_edges(effort) {
        for order in orders {
            for (variant, side) in masks.into_iter().enumerate() {
                let mut columns = |extra: usize| Columns {
                    tensor: program.reals(steps * batch, width + extra),
                    stride: width + extra,
                };
                let (source, out, mask) = (columns(2), columns(1), columns(3));
                let lengths = program.indices(batch, |b| [3, 0, 9, 1][b]);
                program.push(Arrange {
                    source,
                    out,
                    mask: side.map(|side| (mask, side)),
                    lengths,
                    steps,
                    batch,
                    width,
                    order,
                    accumulate: variant == 1,
                });
            }
        }
    }
}

pub(super) fn carry_state(program: &mut KernelProgram, effort: Effort) {
    for &count in edges(effort) {
        for chunk in [0, 2] {
            let (last, initial) = (program.reals(1, count), program.reals(1, count));
            let control = program.control(0, 0, chunk);
            program.push(CarryState {
                last,
                control,
                initial,
            });
        }
    }
}

/// Learnt initial states and their gradients, carried over chunks or not.
pub(super) fn initial_state(program: &mut KernelProgram, effort: Effort) {
    for &width in edges(effort) {
        for (batch, chunk) in [(3, None), (65, Some(0)), (2, Some(2))] {
            let (learnt, out) = (program.reals(1, width), program.reals(1, width));
            let (initial, dstate) = (program.reals(batch, width), program.reals(batch, width));
            let control = chunk.map(|chunk| program.control(0, 0, chunk));
            program.push(InitialState {
                learnt,
                control,
                initial,
            });
            program.push(InitialStateGradient {
                dstate,
                control,
                out,
            });
        }
    }
}

pub(super) fn copy_state(program: &mut KernelProgram, effort: Effort) {
    for &count in edges(effort) {
        let (source, out) = (program.reals(1, count), program.reals(1, count));
        program.push(CopyState { source, out });
    }
}

pub(super) fn chunk_lengths(program: &mut KernelProgram, effort: Effort) {
    for &batch in edges(effort) {
        for (chunk_steps, chunks) in [(1, 1), (4, 3)] {
            let lengths = program.indices(batch, |b| (b * 5 % 17) as u32);
            let out = program.indices(chunks * batch, |_| 99);
            program.push(ChunkLengths {
                lengths,
                out,
                chunk_steps,
            });
        }
    }
}

/// Sequences of the data set that batches are gathered from.
const SEQUENCES: usize = 9;

pub(super) fn gather(program: &mut KernelProgram, effort: Effort) {
    for width in narrow_edges(effort) {
        for (steps, batch, source_steps, cursor, chunk) in
            [(3, 4, 3, 2, 0), (2, 5, 5, 6, 1), (2, 3, 5, 0, 2)]
        {
            let order = program.indices(SEQUENCES, move |n| (n * 4 % SEQUENCES) as u32);
            let control = program.control(cursor, SEQUENCES as u32, chunk);
            let sources = [
                GatherKind::Reals,
                GatherKind::Bytes { scale: 0.3 },
                GatherKind::Indices { absent: IGNORE },
            ];
            for kind in sources {
                let source = gathered(program, kind, SEQUENCES * source_steps * width);
                let out = match kind {
                    GatherKind::Indices { .. } => program.indices(steps * batch * width, |_| 1),
                    _ => program.reals(steps * batch, width),
                };
                program.push(Gather {
                    kind,
                    source,
                    order,
                    control,
                    out,
                    steps,
                    batch,
                    width,
                    source_steps,
                    chunk_steps: steps,
                });
            }
            gather_lengths(program, order, control, batch, steps);
        }
    }
}

/// A data set of `count` elements.
fn gathered(program: &mut KernelProgram, kind: GatherKind, count: usize) -> Tensor {
    let scattered_bits = |word: usize| (word as u32).wrapping_mul(0x9E37_79B9);
    match kind {
        GatherKind::Reals => program.reals(1, count),
        GatherKind::Bytes { .. } => program.indices(count.div_ceil(4), scattered_bits),
        _ => program.indices(count, scattered_bits),
    }
}

fn gather_lengths(
    program: &mut KernelProgram,
    order: Tensor,
    control: Tensor,
    batch: usize,
    chunk_steps: usize,
) {
    let source = program.indices(SEQUENCES, |n| n as u32 % 6);
    let out = program.indices(batch, |_| 77);
    program.push(Gather {
        kind: GatherKind::Lengths,
        source,
        order,
        control,
        out,
        steps: 1,
        batch,
        width: 1,
        source_steps: 1,
        chunk_steps,
    });
}

/// Token lookups and their gradients, for tables stored by rows and by columns.
pub(super) fn lookup(program: &mut KernelProgram, effort: Effort) {
    for &width in edges(effort) {
        for vocabulary in [1, 9] {
            for [reversed, columns] in [[false, false], [true, false], [false, true], [true, true]]
            {
                let steps = if vocabulary == 9 && width < 6 { 70 } else { 5 };
                let tokens = tokens(program, steps, vocabulary, reversed);
                let mut table = || {
                    if columns {
                        Table::columns(program.reals(width, vocabulary))
                    } else {
                        Table::rows(program.reals(vocabulary, width))
                    }
                };
                let (table, dtable) = (table(), table());
                let mut out = || Columns {
                    tensor: program.reals(tokens.steps * tokens.batch, width + 2),
                    stride: width + 2,
                };
                let (out, dout) = (out(), out());
                let bias = reversed.then(|| program.reals(1, width));
                program.push(Lookup {
                    table,
                    bias,
                    tokens,
                    out,
                });
                program.push(LookupGradient {
                    dout,
                    tokens,
                    dtable,
                    padding: columns.then_some(0),
                    accumulate: reversed,
                });
            }
        }
    }
}

fn tokens(program: &mut KernelProgram, steps: usize, vocabulary: usize, reversed: bool) -> Tokens {
    let batch = 4;
    Tokens {
        tensor: program.indices_below(steps * batch, vocabulary as u32),
        lengths: program.indices(batch, move |b| [3, 0, 2 * steps - 1, steps][b] as u32),
        steps,
        batch,
        reversed,
    }
}

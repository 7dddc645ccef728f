//! Matmuls, sums over rows, and packed weights.

use super::{KernelProgram, edges};
use crate::kernels::{ColumnSum, Gemm, Matrix, Pack, RowsEach};
use crate::verify::Effort;

/// Which operands of a matmul are stored transposed: A, B.
const TRANSPOSED: [[bool; 2]; 4] = [[false, false], [true, false], [false, true], [true, true]];

pub(super) fn gemm(program: &mut KernelProgram, effort: Effort) {
    unaligned_gemms(program, effort);
    aligned_gemms(program);
    ragged_gemms(program);
}

/// Matmuls of blocks inside wider matrices.
fn unaligned_gemms(program: &mut KernelProgram, effort: Effort) {
    let sizes: &[[usize; 3]] = match effort {
        Effort::Quick => &[
            [1, 1, 1],
            [9, 7, 5],
            [65, 63, 31],
            [64, 66, 2],
            [128, 64, 3],
            [3, 4, 257],
        ],
        Effort::Full => &[
            [1, 1, 1],
            [7, 9, 3],
            [8, 8, 8],
            [9, 7, 5],
            [63, 65, 33],
            [64, 64, 64],
            [128, 64, 3],
            [65, 63, 31],
            [129, 5, 257],
            [4, 130, 255],
        ],
    };
    for (number, &[m, n, k]) in sizes.iter().enumerate() {
        for (variant, [a_transposed, b_transposed]) in TRANSPOSED.into_iter().enumerate() {
            let a = block(program, m, k, a_transposed);
            let b = block(program, k, n, b_transposed);
            let out = program.reals(m, n + 2);
            let gemm = Gemm::new(a, b, Matrix::block(out, m, n + 2, 1..n + 1));
            push_gemm(program, gemm, number + variant, n);
        }
    }
}

/// A matrix of `rows` and `columns` inside a wider one.
fn block(program: &mut KernelProgram, rows: usize, columns: usize, transposed: bool) -> Matrix {
    if transposed {
        return block(program, columns, rows, false).t();
    }
    let stride = columns + 3;
    let tensor = program.reals(rows, stride);
    Matrix::block(tensor, rows, stride, 2..columns + 2)
}

/// Matmuls whose operands can be loaded as vec4s, one with an inner dimension longer than some
/// drivers let a loop be.
fn aligned_gemms(program: &mut KernelProgram) {
    let sizes = [[4, 4, 4], [68, 72, 60], [64, 128, 8], [12, 8, 1 << 17]];
    for (number, [m, n, k]) in sizes.into_iter().enumerate() {
        for (variant, [a_transposed, b_transposed]) in TRANSPOSED.into_iter().enumerate() {
            let a = matrix(program, m, k, a_transposed);
            let b = matrix(program, k, n, b_transposed);
            let out = matrix(program, m, n, false);
            push_gemm(program, Gemm::new(a, b, out), number + variant, n);
        }
    }
}

/// A whole matrix of `rows` and `columns`.
fn matrix(program: &mut KernelProgram, rows: usize, columns: usize, transposed: bool) -> Matrix {
    if transposed {
        return matrix(program, columns, rows, false).t();
    }
    Matrix::new(program.reals(rows, columns), rows, columns)
}

/// Returns the rows for an invocation of a matmul, each choice in turn.
fn rows_each(number: usize) -> RowsEach {
    RowsEach::ALL[number % RowsEach::ALL.len()]
}

/// Pushes a matmul with a bias, accumulating, or plain by `variant`; two variants in large tiles.
fn push_gemm(program: &mut KernelProgram, gemm: Gemm, variant: usize, columns: usize) {
    let gemm = Gemm {
        side: Gemm::SIDE << u32::from(variant == 1 || variant == 2),
        rows_each: rows_each(variant),
        ..gemm
    };
    let gemm = match variant % 3 {
        0 => gemm.bias(Some(program.reals(1, columns))),
        1 => gemm.accumulate(),
        _ => gemm,
    };
    program.push(gemm);
}

/// Matmuls that skip padded time steps: in the inner dimension, whole or in slices, and in the
/// rows.
fn ragged_gemms(program: &mut KernelProgram) {
    // The last ones have several blocks of time steps.
    let sizes = [
        (1, 1, 4, 4),
        (5, 6, 9, 8),
        (7, 12, 68, 20),
        (9, 33, 8, 65),
        (130, 3, 4, 8),
        (65, 4, 9, 5),
    ];
    for (number, (steps, batch, m, n)) in sizes.into_iter().enumerate() {
        let rows_each = rows_each(number);
        for slices in [1, 3].into_iter().filter(|&slices| slices <= batch) {
            // The first sequence has all steps.
            let lengths = program.indices(batch, move |b| ((steps + 59 * b) % (steps + 2)) as u32);
            let rows = steps * batch;
            let inputs = matrix(program, rows, m, false);
            let dgates = matrix(program, rows, n, false);
            let dweight = matrix(program, m, n, false);
            let partials = program.reals(slices * m, n);
            let sums = Gemm::new(inputs.t(), dgates, dweight).ragged_terms(lengths);
            let sums = Gemm { rows_each, ..sums }.sliced(slices, partials);
            program.push(if number % 2 == 1 {
                sums.accumulate()
            } else {
                sums
            });
            let weight = matrix(program, n, m, false);
            let gates = matrix(program, rows, n, false);
            let product = Gemm::new(inputs, weight.t(), gates).ragged_rows(lengths);
            program.push(Gemm {
                rows_each,
                ..product
            });
        }
    }
}

pub(super) fn column_sum(program: &mut KernelProgram, effort: Effort) {
    column_sums_of_blocks(program);
    for &rows in edges(effort).iter().chain(&[511, 1025]) {
        for columns in [1, 64, 65] {
            for (with_factor, ragged) in [(false, false), (true, false), (false, true)] {
                let stride = columns + 3;
                let source = program.reals(rows, stride);
                let factor = with_factor.then(|| program.reals(rows, columns));
                // The largest batch that leaves each sequence at least three steps.
                let batch = (1..=rows)
                    .rev()
                    .find(|b| rows % b == 0 && rows / b >= 3.min(rows));
                let steps = rows / batch.unwrap_or(1);
                let lengths = batch
                    .filter(|_| ragged)
                    .map(|batch| program.indices(batch, move |b| (b * 5 % (steps + 2)) as u32));
                let copies = 1 + rows % 2;
                let out = program.reals(copies, columns);
                program.push(ColumnSum {
                    source,
                    factor,
                    lengths,
                    out,
                    copies,
                    rows,
                    stride,
                    accumulate: copies == 2 && ragged,
                });
            }
        }
    }
}

/// Column sums over several blocks of time steps, of which the sequences have different numbers.
fn column_sums_of_blocks(program: &mut KernelProgram) {
    let (steps, batch, columns) = (130, 3, 5);
    for accumulate in [false, true] {
        let source = program.reals(steps * batch, columns);
        let lengths = program.indices(batch, |b| [130, 70, 3][b]);
        let out = program.reals(1, columns);
        program.push(ColumnSum {
            source,
            factor: None,
            lengths: Some(lengths),
            out,
            copies: 1,
            rows: steps * batch,
            stride: columns,
            accumulate,
        });
    }
}

pub(super) fn pack(program: &mut KernelProgram, effort: Effort) {
    for &inner in edges(effort) {
        for (number, columns) in [1, 5, 64, 67].into_iter().enumerate() {
            let (blocks, transposed) = (1 + number % 3, number % 2 == 1);
            let size = Pack::size([blocks, inner, columns]);
            let source = program.reals(blocks * inner, columns);
            // Packed weights begin at a multiple of four elements.
            let room = program.reals(size + 3, 1);
            let skip = room.offset.next_multiple_of(4) - room.offset;
            let out = room.part(skip, [size, 1]);
            program.push(Pack {
                source,
                out,
                blocks,
                inner,
                columns,
                transposed,
            });
        }
    }
}

use super::super::{Addend, ColumnSums, Matmul, PackedB, RowBlocks, TimeSum, TimeSums, View};
use super::has_bf16;
use crate::numeric::precision::Precision;
use crate::rng::{Philox, Stream};

/// Whether the processor multiplies in bf16. A test that cannot run says so. On Linux, it fails
/// where the system lists the instructions.
fn can_run(test: &str) -> bool {
    if !has_bf16() {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        assert!(!flags.contains("avx512_bf16"), "{test}: not detected");
        eprintln!("{test}: not run, the processor lacks AVX512-BF16");
    }
    has_bf16()
}

/// Rounds by integer arithmetic: to the nearest, ties to even, subnormal values to 0.
fn rounded(value: f32) -> f32 {
    if value.is_nan() {
        return value;
    }
    if value.is_subnormal() {
        return 0.0_f32.copysign(value);
    }
    let bits = value.to_bits();
    let odd = (bits >> 16) & 1;
    f32::from_bits((bits + 0x7fff + odd) & 0xffff_0000)
}

fn uniform(random: &mut Philox, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.uniform() - 0.5).collect()
}

/// Checks a sum against that in f64 of the products of rounded operands. A sum of n products, which
/// are exact in f32, has at most n + 1 roundings.
fn check_sum(found: f32, start: f32, products: impl Iterator<Item = (f32, f32)>, what: &str) {
    let (mut sum, mut size, mut count) = (f64::from(start), f64::from(start).abs(), 0);
    for (a, b) in products {
        let product = f64::from(rounded(a)) * f64::from(rounded(b));
        (sum, size, count) = (sum + product, size + product.abs(), count + 1);
    }
    let bound = f64::from(count + 1) * size / f64::from(1 << 24);
    assert!(
        (f64::from(found) - sum).abs() <= bound,
        "{what}: {found} for {sum} within {bound}"
    );
}

#[test]
fn operands_are_rounded_to_the_nearest_and_ties_to_even() {
    if !can_run("rounding") {
        return;
    }
    let mut values = vec![0.0, -0.0, 1.0, f32::MAX, -f32::MAX, f32::INFINITY];
    values.extend([
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        1e-40,
        -1e-45,
        3.39e38,
    ]);
    // Ties below and above even digits, and their neighbours.
    for upper in [0x3f80_0000_u32, 0x3f81_0000, 0xc2ff_0000] {
        for lower in [0x7fff, 0x8000, 0x8001, 0, 1, 0xffff] {
            values.push(f32::from_bits(upper | lower));
        }
    }
    let mut random = Philox::new(3, Stream::Images);
    values.extend(uniform(&mut random, 1000).iter().map(|x| x * 1e3));
    let n = values.len();
    // By both ways of packing: one row of A by many columns, and one column of B by many rows.
    let (one, mut row, mut column) = ([1.0], vec![f32::NAN; n], vec![f32::NAN; n]);
    let b = PackedB::new(View::new(&values, 1, n, n), Precision::Bf16);
    b.matmul(View::new(&one, 1, 1, 1), Addend::Zero, &mut row, n);
    let b = PackedB::new(View::new(&one, 1, 1, 1), Precision::Bf16);
    b.matmul(View::new(&values, n, 1, 1), Addend::Zero, &mut column, 1);
    for (at, &value) in values.iter().enumerate() {
        assert_eq!(row[at], rounded(value), "{value} in B");
        assert_eq!(column[at], rounded(value), "{value} in A");
    }
}

/// Returns the product of a `[m, k]` and b `[k, n]`, each stored transposed or not.
fn product(
    [m, n, k]: [usize; 3],
    (a, a_transposed): (&[f32], bool),
    (b, b_transposed): (&[f32], bool),
    addend: Addend<f32>,
    c: &mut [f32],
) {
    let view = |values, rows, columns, transposed| {
        if transposed {
            View::new(values, columns, rows, rows + 3).t()
        } else {
            View::new(values, rows, columns, columns + 3)
        }
    };
    let b = PackedB::new(view(b, k, n, b_transposed), Precision::Bf16);
    b.matmul(view(a, m, k, a_transposed), addend, c, n + 1);
}

#[test]
fn products_are_right_for_many_sizes_and_layouts() {
    if !can_run("products") {
        return;
    }
    let mut random = Philox::new(7, Stream::Images);
    for [m, n, k] in [
        [1, 1, 1],
        [3, 7, 5],
        [5, 16, 31],
        [2, 33, 2],
        [16, 33, 511],
        [13, 70, 513],
        [7, 31, 1030],
        [2, 3, 0],
    ] {
        for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false)] {
            let a = uniform(&mut random, (m + 3) * (k + 3));
            let b = uniform(&mut random, (k + 3) * (n + 3));
            let bias = uniform(&mut random, n);
            let before = uniform(&mut random, m * (n + 1));
            for addend in [Addend::C, Addend::Bias(&bias), Addend::Zero] {
                let mut c = before.clone();
                let size = [m, n, k];
                product(size, (&a, a_transposed), (&b, b_transposed), addend, &mut c);
                for (at, (&c, &before)) in c.iter().zip(&before).enumerate() {
                    let (i, j) = (at / (n + 1), at % (n + 1));
                    if j == n {
                        assert_eq!(c, before, "between the rows");
                        continue;
                    }
                    let start = match addend {
                        Addend::C => before,
                        Addend::Bias(bias) => bias[j],
                        Addend::Zero => 0.0,
                    };
                    let a = |p| {
                        a[if a_transposed {
                            p * (m + 3) + i
                        } else {
                            i * (k + 3) + p
                        }]
                    };
                    let b = |p| {
                        b[if b_transposed {
                            j * (k + 3) + p
                        } else {
                            p * (n + 3) + j
                        }]
                    };
                    let what = format!("{m}x{n}x{k} at {i}, {j}");
                    check_sum(c, start, (0..k).map(|p| (a(p), b(p))), &what);
                }
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_stay_so_and_reach_no_other_row() {
    if !can_run("values that are not finite") {
        return;
    }
    let (m, n, k) = (9, 40, 7);
    let mut a = vec![1.0; (m + 3) * (k + 3)];
    let b = vec![1.0; (k + 3) * (n + 3)];
    a[2 * (k + 3) + 6] = f32::NAN;
    a[4 * (k + 3)] = f32::INFINITY;
    let mut c = vec![0.0; m * (n + 1)];
    product([m, n, k], (&a, false), (&b, false), Addend::Zero, &mut c);
    for (i, row) in c.chunks(n + 1).enumerate() {
        for &value in &row[..n] {
            match i {
                2 => assert!(value.is_nan()),
                4 => assert_eq!(value, f32::INFINITY),
                _ => assert_eq!(value, 7.0),
            }
        }
    }
}

#[test]
fn the_bits_of_a_row_do_not_depend_on_the_other_rows() {
    if !can_run("the bits of rows") {
        return;
    }
    let (m, n, k) = (21, 50, 600);
    let mut random = Philox::new(9, Stream::Images);
    let (a, b) = (uniform(&mut random, m * k), uniform(&mut random, k * n));
    let b = PackedB::new(View::new(&b, k, n, n), Precision::Bf16);
    let mut all = vec![0.0; m * n];
    b.matmul(View::new(&a, m, k, k), Addend::Zero, &mut all, n);
    for first in 0..m {
        for rows in 1..=(m - first).min(9) {
            let mut some = vec![0.0; rows * n];
            let a = View::new(&a[first * k..], rows, k, k);
            b.matmul(a, Addend::Zero, &mut some, n);
            assert_eq!(some, all[first * n..][..rows * n]);
        }
    }
}

/// The operands of sums over `rows` rows, of which every third is padding and the first two of `b`
/// are zero: the columns of `a`, and those of each `b`.
struct SumCase {
    a: Vec<f32>,
    b: [Vec<f32>; 2],
    summed: Vec<usize>,
    size: (usize, [usize; 2], usize),
}

impl SumCase {
    fn new(m: usize, n: [usize; 2], rows: usize) -> SumCase {
        let mut random = Philox::new(8, Stream::Images);
        let b = n.map(|n| {
            let mut b = uniform(&mut random, rows * (n + 2));
            b[..(n + 2) * 2.min(rows)].fill(0.0);
            b
        });
        SumCase {
            a: uniform(&mut random, rows * (m + 1)),
            b,
            summed: (0..rows).filter(|row| row % 3 != 1).collect(),
            size: (m, n, rows),
        }
    }

    /// Computes the sums, the first added to `c` and the second not, and the sums of the columns of
    /// `a`. The blocks have odd numbers of rows.
    fn sums(&self, c: &mut [Vec<f32>; 2], precision: Precision) -> Vec<f32> {
        let (m, n, rows) = self.size;
        let mut columns = vec![f32::NAN; m];
        let addends = [Addend::C, Addend::Zero];
        let products = c.iter_mut().zip(&self.b).zip(n.into_iter().zip(addends));
        let products = products.map(|((c, b), (n, addend))| TimeSum {
            b: View::new(b, rows, n, n + 2),
            addend,
            c,
            stride: n + 3,
        });
        let blocks = self.summed.chunks(77).map(|block| block.iter().copied());
        let done = f32::try_time_sums(TimeSums {
            a: View::new(&self.a, rows, m, m + 1),
            rows: &RowBlocks::new(blocks),
            products: products.collect(),
            columns: Some(ColumnSums {
                sums: &mut columns,
                accumulate: false,
            }),
            precision,
        });
        assert!(done);
        columns
    }

    fn outputs(&self) -> [Vec<f32>; 2] {
        let mut random = Philox::new(10, Stream::Images);
        let (m, n, _) = self.size;
        n.map(|n| uniform(&mut random, m * (n + 3)))
    }
}

const SUM_CASES: [(usize, [usize; 2], usize); 5] = [
    (1, [1, 3], 1),
    (10, [128, 2], 40),
    (64, [28, 5], 300),
    (75, [33, 8], 700),
    (300, [100, 64], 901),
];

#[test]
fn sums_over_time_are_right_for_many_sizes() {
    if !can_run("sums over time") {
        return;
    }
    for (m, n, rows) in SUM_CASES {
        let case = SumCase::new(m, n, rows);
        let before = case.outputs();
        let mut c = before.clone();
        let columns = case.sums(&mut c, Precision::Bf16);
        for i in 0..m {
            for number in 0..2 {
                let (b, stride) = (&case.b[number], n[number] + 3);
                for j in 0..stride {
                    let (after, before) =
                        (c[number][i * stride + j], before[number][i * stride + j]);
                    if j >= n[number] {
                        assert_eq!(after, before, "between the rows");
                        continue;
                    }
                    let start = if number == 0 { before } else { 0.0 };
                    let pair = |&k: &usize| (case.a[k * (m + 1) + i], b[k * (stride - 1) + j]);
                    let what = format!("{m}x{n:?}x{rows} at {i}, {j}");
                    check_sum(after, start, case.summed.iter().map(pair), &what);
                }
            }
        }
        // The sums of columns are no products: their bits are those of f32.
        let single = case.sums(&mut before.clone(), Precision::F32);
        assert_eq!(columns, single, "{m}x{n:?}x{rows}");
    }
}

#[test]
fn sums_over_time_of_transposed_operands_are_the_same() {
    if !can_run("sums of transposed operands") {
        return;
    }
    let (m, n, rows) = (37, 20, 45);
    let mut random = Philox::new(11, Stream::Images);
    let (a, b) = (
        uniform(&mut random, rows * m),
        uniform(&mut random, rows * n),
    );
    let sum = |a: View<f32>, b: View<f32>| {
        let mut c = vec![f32::NAN; m * n];
        let product = TimeSum {
            b,
            addend: Addend::Zero,
            c: &mut c,
            stride: n,
        };
        f32::try_time_sums(TimeSums {
            a,
            rows: &RowBlocks::all(rows),
            products: vec![product],
            columns: None,
            precision: Precision::Bf16,
        });
        c
    };
    let (a, b) = (View::new(&a, rows, m, m), View::new(&b, rows, n, n));
    let [a_columns, b_columns] = [a, b].map(|view| view.t().to_rows());
    let a_transposed = View::new(&a_columns, m, rows, rows).t();
    let b_transposed = View::new(&b_columns, n, rows, rows).t();
    let expected = sum(a, b);
    assert_eq!(sum(a_transposed, b), expected);
    assert_eq!(sum(a, b_transposed), expected);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    if !can_run("the bits of several threads") {
        return;
    }
    let case = SumCase::new(300, [100, 64], 901);
    let mut results = vec![];
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let mut c = case.outputs();
        let columns = pool
            .expect("threads start")
            .install(|| case.sums(&mut c, Precision::Bf16));
        results.push((c, columns));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

use super::panel::nr;
use super::{Addend, ColumnSums, Matmul, PackedB, RowBlocks, TimeSum, TimeSums, View};
use crate::numeric::precision::Precision;
use crate::rng::{Philox, Stream};

#[test]
fn packed_products_are_right_for_many_sizes() {
    let mut random = Philox::new(7, Stream::Images);
    for [m, n, k] in [
        [1, 1, 1],
        [3, 7, 5],
        [5, 16, 31],
        [16, 33, 257],
        [13, 512, 600],
    ] {
        let (a_stride, b_stride, c_stride) = (k + 3, n + 2, n + 1);
        let mut uniform =
            |count: usize| -> Vec<f32> { (0..count).map(|_| random.uniform() - 0.5).collect() };
        let (a, b) = (uniform(m * a_stride), uniform(k * b_stride));
        let before = uniform(m * c_stride);
        let mut c = before.clone();
        let packed = PackedB::new(View::new(&b, k, n, b_stride), Precision::F32);
        packed.matmul(View::new(&a, m, k, a_stride), Addend::C, &mut c, c_stride);
        for (at, (&c, &before)) in c.iter().zip(&before).enumerate() {
            let (i, j) = (at / c_stride, at % c_stride);
            let mut expected = f64::from(before);
            let mut size = expected.abs();
            for p in (0..k).filter(|_| j < n) {
                let term = f64::from(a[i * a_stride + p]) * f64::from(b[p * b_stride + j]);
                expected += term;
                size += term.abs();
            }
            let bound = (k + 1) as f64 * size / f64::from(1 << 24);
            assert!(
                (f64::from(c) - expected).abs() <= bound,
                "{m}x{n}x{k} at {i}, {j}"
            );
        }
    }
}

#[test]
fn time_sums_are_right_for_many_sizes() {
    let mut random = Philox::new(8, Stream::Images);
    for (m, n, rows) in [
        (1, [1, 3], 1),
        (10, [128, 2], 40),
        (64, [28, 5], 300),
        (75, [33, 8], 700),
    ] {
        let mut uniform =
            |count: usize| -> Vec<f32> { (0..count).map(|_| random.uniform() - 0.5).collect() };
        // Every third row is padding.
        let summed: Vec<usize> = (0..rows).filter(|row| row % 3 != 1).collect();
        let a_stride = m + 1;
        let a = uniform(rows * a_stride);
        let b = n.map(|n| uniform(rows * (n + 2)));
        let before = n.map(|n| uniform(m * (n + 3)));
        let mut c = before.clone();
        let mut sums = vec![f32::NAN; m];
        let addends = [Addend::C, Addend::Zero];
        let products = c.iter_mut().zip(&b).zip(n.into_iter().zip(addends));
        let products = products.map(|((c, b), (n, addend))| TimeSum {
            b: View::new(b, rows, n, n + 2),
            addend,
            c,
            stride: n + 3,
        });
        let done = f32::try_time_sums(TimeSums {
            a: View::new(&a, rows, m, a_stride),
            rows: &RowBlocks::new([summed.iter().copied()]),
            products: products.collect(),
            columns: Some(ColumnSums {
                sums: &mut sums,
                accumulate: false,
            }),
            precision: Precision::F32,
        });
        if !done {
            assert!(nr().is_none());
            return;
        }
        let check = |actual: f32, start: f32, factors: &dyn Fn(usize) -> (f32, f32)| {
            let mut expected = f64::from(start);
            let mut size = expected.abs();
            for &k in &summed {
                let term = f64::from(factors(k).0) * f64::from(factors(k).1);
                expected += term;
                size += term.abs();
            }
            let bound = (summed.len() + 2) as f64 * size / f64::from(1 << 24);
            let error = (f64::from(actual) - expected).abs();
            assert!(error <= bound, "{m}x{n:?}x{rows}: {actual} for {expected}");
        };
        for i in 0..m {
            check(sums[i], 0.0, &|k| (a[k * a_stride + i], 1.0));
            for number in 0..2 {
                let stride = n[number] + 3;
                for j in 0..stride {
                    let at = i * stride + j;
                    let (after, before) = (c[number][at], before[number][at]);
                    if j >= n[number] {
                        assert_eq!(after, before, "between the rows");
                        continue;
                    }
                    let start = if number == 0 { before } else { 0.0 };
                    let b = &b[number];
                    check(after, start, &|k| {
                        (a[k * a_stride + i], b[k * (stride - 1) + j])
                    });
                }
            }
        }
    }
}

//! Mistakes that a matmul in bf16 may have: the bounds of the reference find each of them.

use super::tracked::Tracked;
use crate::numeric::gemm::{Addend, PackedB, View};
use crate::numeric::precision::Precision;
use crate::numeric::real::Real;
use crate::rng::{Philox, Stream};

/// A mistake in a product `a @ b` with pairs along the inner dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Operands are cut and not rounded.
    RoundedDown,
    /// Ties are rounded away from 0.
    TiesAway,
    /// A is not rounded.
    UnroundedA,
    /// B is not rounded.
    UnroundedB,
    /// The last element of an odd inner dimension is left out.
    OddLastDropped,
    /// The elements of the pairs of B are in the other order.
    PairsSwapped,
    /// The sum of the second block replaces that of the first.
    FirstBlockLost,
    /// Sums are kept in bf16.
    RoundedSums,
}

/// Elements of a block of the inner dimension.
const BLOCK: usize = 512;

/// Rounds to the nearest, of two to the even one, or as a mistake does.
fn rounded(value: f32, mistake: Mistake) -> f32 {
    let bits = value.to_bits();
    let added = match mistake {
        Mistake::RoundedDown => 0,
        Mistake::TiesAway => 0x8000,
        _ => 0x7fff + ((bits >> 16) & 1),
    };
    f32::from_bits((bits + added) & 0xffff_0000)
}

/// Computes an element of the product of a row of A and a column of B, in f32.
fn element(a: &[f32], b: &[f32], mistake: Mistake) -> f32 {
    let round = |values: &[f32], is_kept: bool| -> Vec<f32> {
        let round = |&value: &f32| {
            if is_kept {
                value
            } else {
                rounded(value, mistake)
            }
        };
        values.iter().map(round).collect()
    };
    let mut a = round(a, mistake == Mistake::UnroundedA);
    let mut b = round(b, mistake == Mistake::UnroundedB);
    if mistake == Mistake::OddLastDropped && a.len() % 2 == 1 {
        a.pop();
        b.pop();
    }
    if mistake == Mistake::PairsSwapped {
        b.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    }
    let mut sum = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        if mistake == Mistake::FirstBlockLost {
            sum = 0.0;
        }
        let mut block = 0.0;
        for (&a, &b) in a.iter().zip(b) {
            block += a * b;
            if mistake == Mistake::RoundedSums {
                block = rounded(block, Mistake::None);
            }
        }
        sum += block;
    }
    sum
}

/// Returns the largest error of the products with a mistake, in parts of the bound.
fn largest_error([m, n, k]: [usize; 3], mistake: Mistake) -> f64 {
    let mut random = Philox::new(5, Stream::Images);
    // With 9 binary digits, half of the values are ties.
    let mut draw = || (1024.0 * (random.uniform() - 0.5)).round() / 1024.0;
    let a: Vec<f32> = (0..m * k).map(|_| draw()).collect();
    let b: Vec<f32> = (0..n * k).map(|_| draw()).collect();
    let tracked = |values: &[f32]| -> Vec<Tracked> {
        let values = values.iter().map(|&value| Tracked::of(value.into()));
        values.collect()
    };
    let (tracked_a, tracked_b) = (tracked(&a), tracked(&b));
    let mut c = vec![Tracked::default(); m * n];
    let weights = PackedB::new(View::new(&tracked_b, n, k, k).t(), Precision::Bf16);
    weights.matmul(View::new(&tracked_a, m, k, k), Addend::Zero, &mut c, n);
    let mut largest = 0.0f64;
    for (i, a) in a.chunks(k).enumerate() {
        for (j, b) in b.chunks(k).enumerate() {
            let expected = c[i * n + j];
            let error = (f64::from(element(a, b, mistake)) - expected.f64()).abs();
            largest = largest.max(error / expected.bound().max(f64::MIN_POSITIVE));
        }
    }
    largest
}

#[test]
fn the_bounds_of_bf16_find_every_mistake() {
    for size in [[3, 4, 7], [5, 3, 600], [2, 2, 1]] {
        let right = largest_error(size, Mistake::None);
        assert!(right <= 1.0, "{size:?}: {right}");
    }
    for mistake in [
        Mistake::RoundedDown,
        Mistake::TiesAway,
        Mistake::UnroundedA,
        Mistake::UnroundedB,
        Mistake::OddLastDropped,
        Mistake::PairsSwapped,
        Mistake::RoundedSums,
    ] {
        let error = largest_error([3, 4, 7], mistake);
        assert!(error > 1.0, "{mistake:?}: {error}");
    }
    let error = largest_error([5, 3, 600], Mistake::FirstBlockLost);
    assert!(error > 1.0, "{error}");
}

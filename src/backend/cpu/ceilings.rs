//! What this machine's CPU can do at most, measured.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::backend::ceilings::{Ceiling, Ceilings, ROUNDS, samples};

/// Numbers that are copied: more than caches hold.
const COPIED: usize = 32 << 20;
/// Pieces that threads take in turn.
const PIECE: usize = 1 << 18;

/// Multiply-adds in flight: enough to hide the latency of each, few enough for the registers.
const CHAINS: usize = 10;
const LINKS: usize = 100_000;

/// Calls of nothing, under the clock as a profiled step's calls are.
const CALLS: u32 = 10_000;

/// Measures what the CPU can do at most with the threads that kernels have; takes about five seconds.
pub(crate) fn ceilings() -> Ceilings {
    let (source, mut copied) = (vec![1.0_f32; COPIED], vec![0.0_f32; COPIED]);
    let mut copy = || {
        let pairs = copied.par_chunks_mut(PIECE).zip(source.par_chunks(PIECE));
        pairs.for_each(|(copied, source)| copied.copy_from_slice(source));
        black_box(&copied);
    };
    let bytes = (2 * COPIED * size_of::<f32>()) as f64;
    // Several pieces for each thread, so that one which is held up does not hold up all.
    let pieces = 8 * rayon::current_num_threads();
    let multiply_adds = || {
        let [factor, term] = black_box([0.999, 0.001]);
        black_box(pulp::Arch::new().dispatch(MultiplyAdds { factor, term })).0
    };
    let flops = (2 * pieces * multiply_adds()) as f64;
    let mut sum = || {
        (0..pieces).into_par_iter().for_each(|_| {
            multiply_adds();
        });
    };
    let mut dispatch = || {
        for _ in 0..CALLS {
            black_box(black_box(Instant::now()).elapsed());
        }
    };
    let (mut copies, mut sums, mut calls) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        copies.push(rates(bytes, &mut copy));
        sums.push(rates(flops, &mut sum));
        calls.extend(seconds(&mut dispatch).map(|seconds| seconds * 1e6 / f64::from(CALLS)));
    }
    Ceilings {
        copy_gbytes_per_s: Ceiling::of_rates(&copies),
        multiply_add_gflops: Ceiling::of_rates(&sums),
        empty_dispatch_us: Ceiling::of_costs(&calls, 10),
        submission_us: None,
        round_trip_us: None,
    }
}

/// Samples of 10^9 a second, where `work` does `amount`.
fn rates(amount: f64, work: impl FnMut()) -> Vec<f64> {
    seconds(work)
        .map(|seconds| amount / seconds / 1e9)
        .collect()
}

/// Samples of what `work` takes, after a first time that does not count.
fn seconds(mut work: impl FnMut()) -> impl Iterator<Item = f64> {
    work();
    let sample = || {
        let start = Instant::now();
        work();
        Ok::<_, Infallible>(start.elapsed().as_secs_f64())
    };
    let samples = samples(sample).unwrap_or_else(|never| match never {});
    samples.into_iter()
}

/// Chains of multiply-adds, in the widest vectors that there are.
struct MultiplyAdds {
    factor: f32,
    term: f32,
}

impl pulp::WithSimd for MultiplyAdds {
    /// Multiply-adds made, and their sum, which keeps them from being left out.
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> (usize, f32) {
        let (factor, term) = (simd.splat_f32s(self.factor), simd.splat_f32s(self.term));
        let mut sums = [simd.splat_f32s(1.0); CHAINS];
        for _ in 0..LINKS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, term);
            }
        }
        let sum = sums
            .iter()
            .fold(0.0, |sum, &lanes| sum + simd.reduce_sum_f32s(lanes));
        (CHAINS * LINKS * S::F32_LANES, sum)
    }
}

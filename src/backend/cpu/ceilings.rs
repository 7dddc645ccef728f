//! Measurement of the CPU's peak rates and of the clock's cost.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::backend::ceilings::{Ceiling, Ceilings, ROUNDS, samples};

/// Elements that are copied: more than caches hold.
const COPIED: usize = 32 << 20;
/// Elements of a chunk, the unit of work of a thread.
const CHUNK: usize = 1 << 18;

/// Independent chains of multiply-adds: enough to hide their latency, few enough for the registers.
const CHAINS: usize = 10;
/// Multiply-adds of a chain.
const LINKS: usize = 100_000;

/// Readings of the clock per sample.
const CALLS: u32 = 10_000;

/// Measures the CPU's ceilings with the threads that kernels use; takes about five seconds.
pub(crate) fn ceilings() -> Ceilings {
    let (source, mut copied) = (vec![1.0_f32; COPIED], vec![0.0_f32; COPIED]);
    let mut copy = || {
        let pairs = copied.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK));
        pairs.for_each(|(copied, source)| copied.copy_from_slice(source));
        black_box(&copied);
    };
    let bytes = (2 * COPIED * size_of::<f32>()) as f64;
    // Several tasks per thread, so that a preempted thread does not delay the others.
    let tasks = 8 * rayon::current_num_threads();
    let multiply_adds = || {
        let [factor, term] = black_box([0.999, 0.001]);
        black_box(pulp::Arch::new().dispatch(MultiplyAdds { factor, term })).0
    };
    let flops = (2 * tasks * multiply_adds()) as f64;
    let mut sum = || {
        (0..tasks).into_par_iter().for_each(|_| {
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

/// Samples of a rate in 10^9 per second, if `work` processes `amount` (bytes or operations).
fn rates(amount: f64, work: impl FnMut()) -> Vec<f64> {
    seconds(work)
        .map(|seconds| amount / seconds / 1e9)
        .collect()
}

/// Samples of the seconds of `work`, after one run to warm up.
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

/// Chains of multiply-adds in the widest vectors of the machine.
struct MultiplyAdds {
    factor: f32,
    term: f32,
}

impl pulp::WithSimd for MultiplyAdds {
    /// Number of multiply-adds, and their sum, which keeps the compiler from removing them.
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

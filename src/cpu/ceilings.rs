//! What this machine's CPU can do at most, measured.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::profile::{Ceiling, Ceilings, samples};

/// Numbers that are copied: more than caches hold.
const COPIED: usize = 32 << 20;
/// Pieces that threads take in turn.
const PIECE: usize = 1 << 18;

/// Multiply-adds in flight: enough to hide the latency of each, few enough for the registers.
const LANES: usize = 96;
const ROUNDS: usize = 100_000;

/// Calls of nothing, under the clock as a profiled step's calls are.
const CALLS: u32 = 10_000;

/// Measures what the CPU can do at most with the threads that kernels have; takes about two seconds.
pub(crate) fn ceilings() -> Ceilings {
    let (source, mut copied) = (vec![1.0_f32; COPIED], vec![0.0_f32; COPIED]);
    let copies = seconds(|| {
        let pairs = copied.par_chunks_mut(PIECE).zip(source.par_chunks(PIECE));
        pairs.for_each(|(copied, source)| copied.copy_from_slice(source));
        black_box(&copied);
    });
    let bytes = (2 * COPIED * size_of::<f32>()) as f64;
    // Several pieces for each thread, so that one which is held up does not hold up all.
    let pieces = 8 * rayon::current_num_threads();
    let sums = seconds(|| {
        (0..pieces).into_par_iter().for_each(|_| {
            black_box(multiply_adds(black_box([0.999, 0.001])));
        });
    });
    let flops = (pieces * ROUNDS * LANES * 2) as f64;
    let dispatches = seconds(|| {
        for _ in 0..CALLS {
            black_box(black_box(Instant::now()).elapsed());
        }
    });
    let rate = |seconds: &[f64], what: f64| {
        Ceiling::of_rates(seconds.iter().map(|seconds| what / seconds / 1e9))
    };
    let calls = dispatches
        .iter()
        .map(|seconds| seconds * 1e6 / f64::from(CALLS));
    Ceilings {
        copy_gbytes_per_s: rate(&copies, bytes),
        multiply_add_gflops: rate(&sums, flops),
        empty_dispatch_us: Ceiling::of_costs(calls),
        submission_us: None,
        wait_us: None,
    }
}

/// Samples of what `work` takes, after a first time that does not count.
fn seconds(mut work: impl FnMut()) -> Vec<f64> {
    work();
    let sample = || {
        let start = Instant::now();
        work();
        Ok::<_, Infallible>(start.elapsed().as_secs_f64())
    };
    samples(sample).unwrap_or_else(|never| match never {})
}

fn multiply_adds([factor, term]: [f32; 2]) -> f32 {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut sums: [f32; LANES] = std::array::from_fn(|lane| lane as f32);
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = sum.mul_add(factor, term);
                }
            }
            sums.iter().sum()
        },
    )
}

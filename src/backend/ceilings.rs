//! Ceilings of a device: measured peak rates and minimal costs, for the roofline model.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{OpenDevice, cpu};
use crate::error::Result;
use crate::kernels::Cost;
use crate::numeric::statistics::{Estimate, quantile};

/// A measured peak rate or minimal cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// For rates, the upper quartile over rounds of each round's maximum: other load can only slow
    /// a sample down, hence the maximum (as in STREAM; McCalpin, 1995), and a neighbour on a shared
    /// machine can pause for a second, hence not the maximum of all rounds. For costs, the 1st
    /// percentile of the groups' medians.
    pub best: f64,
    /// Median of all samples (for costs, of the groups' medians); far from `best` if other programs
    /// were running.
    pub median: f64,
}

impl Ceiling {
    /// The ceiling of a rate, from samples in rounds.
    pub(crate) fn of_rates(rounds: &[Vec<f64>]) -> Ceiling {
        let best = rounds
            .iter()
            .map(|rates| rates.iter().copied().fold(0.0, f64::max));
        Ceiling {
            best: Estimate::of(best.collect()).high,
            median: Estimate::of(rounds.concat()).median,
        }
    }

    /// The ceiling of a cost as short as a system call, from samples in consecutive groups of
    /// `group`: the median within each group, then the 1st percentile over groups. It ignores
    /// preempted samples, rare samples that find their work already done, and an unlucky placement
    /// of threads on cores in most groups.
    pub(crate) fn of_costs(costs: &[f64], group: usize) -> Ceiling {
        let medians = costs.chunks(group).map(|costs| {
            let mut costs = costs.to_vec();
            costs.sort_by(f64::total_cmp);
            quantile(&costs, 0.5)
        });
        let mut medians: Vec<f64> = medians.collect();
        medians.sort_by(f64::total_cmp);
        Ceiling {
            best: quantile(&medians, 0.01),
            median: quantile(&medians, 0.5),
        }
    }
}

/// Rounds of a measurement. Rates are measured in turn in each round, so that other load for a
/// second does not affect all samples of one rate.
pub(crate) const ROUNDS: usize = 12;

/// Calls `sample` for an eighth of a second, at least 5 and at most 10,000 times.
pub(crate) fn samples<E>(mut sample: impl FnMut() -> Result<f64, E>) -> Result<Vec<f64>, E> {
    let (start, mut samples) = (Instant::now(), vec![]);
    while samples.len() < 5 || (start.elapsed().as_secs_f64() < 0.125 && samples.len() < 10_000) {
        samples.push(sample()?);
    }
    Ok(samples)
}

/// The ceilings of a device, measured with synthetic kernels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bandwidth of a copy between buffers larger than the caches, in 10^9 bytes per second, read
    /// and written bytes added.
    pub copy_gbytes_per_s: Ceiling,
    /// f32 arithmetic in 10^9 operations per second; a multiply-add counts as two.
    pub multiply_add_gflops: Ceiling,
    /// Microseconds of an empty dispatch that waits for the one before; on the CPU, of reading the
    /// clock.
    pub empty_dispatch_us: Ceiling,
    /// Microseconds for the host to encode and submit an empty dispatch to an idle device; `None`
    /// for the CPU.
    pub submission_us: Option<Ceiling>,
    /// Microseconds to encode, submit and wait for an empty dispatch; `None` for the CPU. (The wait
    /// alone is not repeatable: the time to wake the driver's threads is part of either the
    /// submission or the wait.)
    pub round_trip_us: Option<Ceiling>,
}

impl Ceilings {
    /// Measures the ceilings of `device`; takes about five seconds.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn of(device: &OpenDevice) -> Result<Ceilings> {
        match device {
            OpenDevice::Cpu(_) => Ok(cpu::ceilings::ceilings()),
            #[cfg(feature = "gpu")]
            OpenDevice::Gpu(device) => device.ceilings(),
            #[cfg(feature = "gpu")]
            OpenDevice::Interpreter(_) => Err(crate::error::Error::usage(
                "the interpreter has no speed to measure; use a GPU or the CPU",
            )),
        }
    }

    /// Returns the minimal seconds of `cost` by the roofline model (Williams et al., 2009), and
    /// whether arithmetic limits it rather than memory.
    pub(crate) fn allows(&self, cost: Cost) -> (f64, bool) {
        let compute = cost.flops / (self.multiply_add_gflops.best * 1e9);
        let memory = cost.bytes / (self.copy_gbytes_per_s.best * 1e9);
        (compute.max(memory), compute > memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Stream};

    /// Round trips of 10 µs on a busy machine: most are slightly longer, one in five much longer,
    /// one in fifty far shorter; and in two thirds of the time all are half as long again.
    #[test]
    fn a_cost_is_repeatable_despite_outliers() {
        let run = |seed: u64| {
            let mut random = Philox::new(seed, Stream::Shuffle(0));
            let mut uniform = move || f64::from(random.uniform());
            let sample = |number: usize| {
                let slow = !(number / 40).is_multiple_of(3);
                let usual = 10.0 + uniform() * 0.5 + if slow { 5.0 } else { 0.0 };
                match uniform() {
                    rare if rare < 0.02 => 0.05 * usual,
                    rare if rare < 0.22 => (1.0 + 20.0 * uniform()) * usual,
                    _ => usual,
                }
            };
            (0..1500).map(sample).collect::<Vec<f64>>()
        };
        let costs = (0..30).map(|seed| Ceiling::of_costs(&run(seed), 10).best);
        let costs: Vec<f64> = costs.collect();
        assert!(
            costs.iter().all(|cost| (10.0..10.5).contains(cost)),
            "{costs:?}"
        );
        // The minimum is an outlier far below the cost.
        assert!((0..30).all(|seed| run(seed).iter().any(|&cost| cost < 1.0)));
    }

    /// 30 GB/s on a shared machine, of which 40 GB/s are available for a second and half as much in
    /// most rounds.
    #[test]
    fn a_rate_is_the_upper_quartile_of_the_rounds_maxima() {
        let round = |best: f64| vec![0.5 * best, best, 0.6 * best, 0.5 * best];
        let rounds = [30.0, 40.0, 30.0, 20.0, 20.0, 29.0, 30.0, 20.0].map(round);
        let ceiling = Ceiling::of_rates(&rounds);
        assert_eq!((ceiling.best, ceiling.median), (30.0, 15.0));
    }
}

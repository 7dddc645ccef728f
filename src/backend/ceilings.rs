//! What a device can do at most, as measured on it.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{OpenDevice, cpu};
use crate::error::Result;
use crate::kernels::Cost;
use crate::numeric::statistics::{Estimate, quantile};

/// What a device can do at most, or what something costs it at least.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Of what takes milliseconds, the best of a round, as STREAM takes it (McCalpin, 1995), since what else the machine does only
    /// makes it worse; and of rounds what one in four reaches, since what shares a machine may leave for a second. Of what costs
    /// next to nothing, one of the best.
    pub best: f64,
    /// Of all samples. Far from the best where the machine was not quiet.
    pub median: f64,
}

impl Ceiling {
    /// Of samples in rounds.
    pub(crate) fn of_rates(rounds: &[Vec<f64>]) -> Ceiling {
        let best = rounds
            .iter()
            .map(|rates| rates.iter().copied().fold(0.0, f64::max));
        Ceiling {
            best: Estimate::of(best.collect()).high,
            median: Estimate::of(rounds.concat()).median,
        }
    }

    /// Of costs as short as a system call, in groups that follow one another: the median of a group that only one in a hundred
    /// is below. What holds some up does not count, nor what the rare one finds done already, nor where the system had put the
    /// threads in most of the groups.
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

/// Rounds in which ceilings are measured, so that what slows the machine for a second does not slow all samples of one kind.
pub(crate) const ROUNDS: usize = 12;

/// Samples of a round: as many as an eighth of a second has, and enough of what takes long.
pub(crate) fn samples<E>(mut sample: impl FnMut() -> Result<f64, E>) -> Result<Vec<f64>, E> {
    let (start, mut samples) = (Instant::now(), vec![]);
    while samples.len() < 5 || (start.elapsed().as_secs_f64() < 0.125 && samples.len() < 10_000) {
        samples.push(sample()?);
    }
    Ok(samples)
}

/// What a device can do at most, measured on it with kernels that do nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// 10^9 bytes a second, those read and those written, between buffers too large for caches.
    pub copy_gbytes_per_s: Ceiling,
    /// 10^9 f32 operations a second, a multiply-add being two.
    pub multiply_add_gflops: Ceiling,
    /// Microseconds that one more dispatch takes which does nothing but wait for the one before; on the CPU, of a clock around
    /// nothing.
    pub empty_dispatch_us: Ceiling,
    /// Microseconds for the host to encode and submit next to nothing to a device with nothing to do; on the CPU nothing is
    /// submitted.
    pub submission_us: Option<Ceiling>,
    /// Microseconds from the beginning of that until the host has seen it done. Waking threads falls now into the submission and now into the
    /// wait, so that the wait alone does not repeat from run to run.
    pub round_trip_us: Option<Ceiling>,
}

impl Ceilings {
    /// Measures them; takes about five seconds.
    pub(crate) fn of(place: &OpenDevice) -> Result<Ceilings> {
        match place {
            OpenDevice::Cpu(_) => Ok(cpu::ceilings::ceilings()),
            OpenDevice::Gpu(device) => device.ceilings(),
        }
    }

    /// Seconds that `cost` takes by the roofline (Williams et al., 2009), and whether arithmetic is what takes them.
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

    /// Round trips of 10 µs on a machine that does other things: most are a little longer, one in five much longer, one in fifty
    /// far shorter; and two thirds of the time all are half as long again.
    #[test]
    fn a_cost_repeats_between_outliers() {
        let run = |seed: u64| {
            let mut drawn = Philox::new(seed, Stream::Shuffle(0));
            let mut uniform = move || f64::from(drawn.uniform());
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
        // The least sample is a freak, and so far from what it costs.
        assert!((0..30).all(|seed| run(seed).iter().any(|&cost| cost < 1.0)));
    }

    /// 30 GB/s on a machine that others let have 40 for a second, and only half as much most of the time.
    #[test]
    fn a_rate_is_the_best_of_a_good_round() {
        let round = |best: f64| vec![0.5 * best, best, 0.6 * best, 0.5 * best];
        let rounds = [30.0, 40.0, 30.0, 20.0, 20.0, 29.0, 30.0, 20.0].map(round);
        let ceiling = Ceiling::of_rates(&rounds);
        assert_eq!((ceiling.best, ceiling.median), (30.0, 15.0));
    }
}

//! Strong and weak scaling of the processes of a distributed run.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::LEAST_SAMPLES;
use super::checked::CheckedTrainer;
use super::results::percentiles;
use super::shape::BenchShape;
use crate::backend::OpenDevice;
use crate::distributed::{Ranks, agreed, from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::messages::listed;
use crate::profile::Machine;
use crate::recipe::{MOST_ACCUMULATED, Recipe};
use crate::train::{Trainer, UpdateTime};

/// The default shapes.
pub const SCALING_SHAPES: [&str; 2] = ["lstm-128-28-28-128", "lstm2-64-50-64-256"];

/// The fewest micro-batches of a batch, as `train --distributed` has them.
const MICRO_BATCHES: usize = 8;
/// Updates after which the parameters are compared.
const CHECKED: usize = 3;
/// The values of a long message, 4 MB.
const LONG: usize = 1 << 20;

/// Whether the batch of all processes or that of each one is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// The batch.
    Strong,
    /// The sequences of a process.
    Weak,
}

impl Scaling {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Scaling::Strong => "strong",
            Scaling::Weak => "weak",
        }
    }
}

/// An update by several processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingResult {
    pub shape: String,
    pub device: String,
    pub scaling: Scaling,
    /// N: the number of processes.
    pub ranks: usize,
    /// The sequences of an update, of all processes.
    pub batch: usize,
    /// The micro-batches of an update, of all processes.
    pub micro_batches: usize,
    /// Milliseconds of an update: median, 10th and 90th percentile.
    pub ms: f64,
    pub ms_p10: f64,
    pub ms_p90: f64,
    /// Median milliseconds of forward and backward pass and update, of the slowest process.
    pub compute_ms: f64,
    /// Median milliseconds in which gradients go from the device to the host and their sum goes
    /// back, of the slowest process.
    pub transfer_ms: f64,
    /// Median milliseconds of messages, of the process that waits the least for the others.
    pub reduce_ms: f64,
    pub sequences_per_s: f64,
    /// The speed as a part of N times that of one process.
    pub efficiency: f64,
    pub parameters: usize,
    /// The number of timed updates.
    pub samples: usize,
}

/// Messages between two processes, each of which sends and receives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageResult {
    /// Median microseconds of a message of one value.
    pub latency_us: f64,
    /// 10⁹ bytes that a process sends in a second, in messages of 4 MiB.
    pub gbytes_per_s: f64,
}

/// A benchmark of the processes that were started together. All of them call the same methods.
pub struct ScalingBench {
    device: OpenDevice,
    ranks: Arc<dyn Ranks>,
    sizes: Vec<usize>,
    seconds: f64,
}

/// The updates that a row of the table measures, by a number of processes.
struct Workload {
    recipe: Recipe,
    shape: BenchShape,
    scaling: Scaling,
}

/// The medians of the parts of an update, in milliseconds.
#[derive(Clone, Copy)]
struct Parts {
    compute: f32,
    transfer: f32,
    messages: f32,
}

impl ScalingBench {
    /// A benchmark of groups of `sizes` processes; where that is empty, of every power of two.
    /// Each measurement will take about `seconds`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a single process, and for sizes that cannot be measured.
    pub fn new(
        device: OpenDevice,
        ranks: Arc<dyn Ranks>,
        sizes: &[usize],
        seconds: f64,
    ) -> Result<ScalingBench> {
        let count = ranks.count();
        if count < 2 {
            return Err(Error::usage(
                "there is only one process; start several, as in `mpirun -n 4 gatescan bench \
                 distributed`, with the mpirun of the MPI that gatescan was built with",
            ));
        }
        let most = count.min(MOST_ACCUMULATED);
        let allowed: Vec<usize> = (1..).map(|n| 1 << n).take_while(|&n| n <= most).collect();
        if let Some(wrong) = sizes.iter().find(|size| !allowed.contains(size)) {
            let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(Error::usage(format!(
                "{wrong} is not a number of processes that can be measured; of the {count} \
                 processes that were started, {} can train together",
                listed(&names)
            )));
        }
        let mut sizes = if sizes.is_empty() {
            allowed
        } else {
            sizes.to_vec()
        };
        sizes.sort_unstable();
        sizes.dedup();
        Ok(ScalingBench {
            device,
            ranks,
            sizes,
            seconds,
        })
    }

    /// Measures a shape by one process and by each group, with the same batch for all and with a
    /// batch for each process. Every row is checked first: the losses and gradients of one process
    /// against f64, and the parameters of all processes after some updates against those of one
    /// process with the same micro-batches, bit for bit. `show` gets the rows in rank 0.
    ///
    /// # Errors
    /// [`Error::WrongResult`] where they differ; [`Error::Usage`] for a batch that cannot be
    /// divided; those of the device, of other processes and of `show`.
    pub fn scaling(
        &self,
        shape: &BenchShape,
        show: &mut dyn FnMut(&ScalingResult) -> Result<()>,
    ) -> Result<()> {
        let workload = |scaling, count| self.workload(shape, scaling, count);
        workload(Scaling::Strong, 1).recipe.validate()?;
        let largest = self.sizes.last().copied().unwrap_or(1);
        // Refuses a batch of all processes that is too large.
        workload(Scaling::Weak, largest)
            .shape
            .to_string()
            .parse::<BenchShape>()?;
        let checked = CheckedTrainer::new(shape, &self.device).map(|_| ());
        agreed(self.ranks.as_ref(), checked)?;
        for scaling in [Scaling::Strong, Scaling::Weak] {
            let mut alone = None;
            for &count in [1].iter().chain(&self.sizes) {
                let row = self.row(&workload(scaling, count), count)?;
                self.ranks.rest()?;
                if let Some(mut row) = row {
                    let speed = *alone.get_or_insert(row.sequences_per_s);
                    row.efficiency = row.sequences_per_s / (count as f64 * speed);
                    show(&row)?;
                }
            }
        }
        Ok(())
    }

    /// Measures messages between ranks 0 and 1. `None` in the others.
    ///
    /// # Errors
    /// Those of other processes.
    pub fn messages(&self) -> Result<Option<MessageResult>> {
        let pair = self.ranks.first(2)?;
        let measured = match &pair {
            Some(pair) => Some(MessageResult {
                latency_us: self.exchange(pair.as_ref(), 1)? * 1e6,
                gbytes_per_s: 4.0 * LONG as f64 / self.exchange(pair.as_ref(), LONG)? / 1e9,
            }),
            None => None,
        };
        self.ranks.rest()?;
        Ok(measured.filter(|_| self.ranks.rank() == 0))
    }

    /// The median seconds of an exchange of `len` values between two processes.
    fn exchange(&self, pair: &dyn Ranks, len: usize) -> Result<f64> {
        let other = 1 - pair.rank();
        let values = vec![1.0f32; len];
        let once = |_| -> Result<f64> {
            let values = values.clone();
            let start = Instant::now();
            pair.exchange(other, values, len)?;
            Ok(start.elapsed().as_secs_f64())
        };
        once(0)?;
        // Both must exchange as often.
        let count = if len == 1 { 1000 } else { 20 };
        let samples = (0..count).map(once).collect::<Result<_>>()?;
        Ok(percentiles(samples)[1])
    }

    fn workload(&self, shape: &BenchShape, scaling: Scaling, count: usize) -> Workload {
        let largest = self.sizes.last().copied().unwrap_or(1);
        let mut shape = *shape;
        let parts = match scaling {
            Scaling::Strong => MICRO_BATCHES.max(largest),
            // The same work for each process, whatever their number.
            Scaling::Weak => count * MICRO_BATCHES.min(MOST_ACCUMULATED / largest),
        };
        if scaling == Scaling::Weak {
            shape.batch *= count;
        }
        let mut recipe = shape.recipe();
        recipe.parallel.micro_batches = parts;
        Workload {
            recipe,
            shape,
            scaling,
        }
    }

    /// Measures updates by the first `count` processes. `None` in all except rank 0.
    fn row(&self, workload: &Workload, count: usize) -> Result<Option<ScalingResult>> {
        let Some(group) = self.ranks.first(count)? else {
            return Ok(None);
        };
        let data = workload.shape.data()?;
        let load = |ranks| Trainer::load_shared(&workload.recipe, &data, &self.device, ranks);
        let mut expected = vec![];
        if group.rank() == 0 && count > 1 {
            expected = checksum(&mut load(None)?)?;
        }
        group.rest()?;
        let mut trainer = load(Some(group.clone()))?;
        self.check(group.as_ref(), &mut trainer, expected)?;
        let samples = self.samples(group.as_ref(), &mut trainer)?;
        let seconds = samples.iter().map(|time| time.whole.as_secs_f64() * 1e3);
        let [ms_p10, ms, ms_p90] = percentiles(seconds.collect());
        let parts = parts(group.as_ref(), &mut trainer, samples.len())?;
        let batch = workload.shape.batch;
        Ok((group.rank() == 0).then(|| ScalingResult {
            shape: workload.shape.to_string(),
            device: Machine::of(&self.device).label(),
            scaling: workload.scaling,
            ranks: count,
            batch,
            micro_batches: workload.recipe.parallel.micro_batches,
            ms,
            ms_p10,
            ms_p90,
            compute_ms: parts.compute.into(),
            transfer_ms: parts.transfer.into(),
            reduce_ms: parts.messages.into(),
            sequences_per_s: batch as f64 / ms * 1e3,
            efficiency: 1.0,
            parameters: super::parameters(trainer.recording()),
            samples: samples.len(),
        }))
    }

    /// Compares the parameters of all processes, after some updates, with those that rank 0
    /// expects.
    fn check(&self, group: &dyn Ranks, trainer: &mut Trainer, expected: Vec<u8>) -> Result<()> {
        let own = checksum(trainer)?;
        let expected = group.gather(expected)?.swap_remove(0);
        let all = group.gather(own)?;
        let wrong = all.iter().position(|own| *own != expected);
        match wrong.filter(|_| group.count() > 1) {
            None => Ok(()),
            Some(rank) => Err(Error::WrongResult(format!(
                "after {CHECKED} updates by {} processes the parameters of rank {rank} are not \
                 those of one process, bit for bit; wrong results are not timed; use devices and \
                 drivers of one kind",
                group.count()
            ))),
        }
    }

    /// The times of updates that take the seconds of a measurement, as many in each process.
    fn samples(&self, group: &dyn Ranks, trainer: &mut Trainer) -> Result<Vec<UpdateTime>> {
        let once = trainer.play_update(false)?.whole.as_secs_f64();
        let count = (self.seconds / once.max(1e-9)).min(1e6) as u32;
        let all = group.gather(count.to_le_bytes().to_vec())?;
        let first = all[0]
            .first_chunk()
            .map_or(0, |&bytes| u32::from_le_bytes(bytes));
        let count = LEAST_SAMPLES.max(first as usize);
        (0..count).map(|_| trainer.play_update(false)).collect()
    }
}

/// The checksum of the parameters after some updates.
fn checksum(trainer: &mut Trainer) -> Result<Vec<u8>> {
    for _ in 0..CHECKED {
        trainer.play_update(false)?;
    }
    Ok(trainer.parameter_checksum()?.to_le_bytes().to_vec())
}

/// Measures the parts of updates, at most `most` of them, in all processes.
fn parts(group: &dyn Ranks, trainer: &mut Trainer, most: usize) -> Result<Parts> {
    let times = (0..most.clamp(LEAST_SAMPLES, 100)).map(|_| trainer.play_update(true));
    let times = times.collect::<Result<Vec<UpdateTime>>>()?;
    let median = |part: fn(&UpdateTime) -> f64| {
        percentiles(times.iter().map(|time| part(time) * 1e3).collect())[1] as f32
    };
    let own = [
        median(|time| (time.whole - time.transfer - time.messages).as_secs_f64()),
        median(|time| time.transfer.as_secs_f64()),
        median(|time| time.messages.as_secs_f64()),
    ];
    let all = group.gather(to_bytes(&own))?;
    let all: Vec<Vec<f32>> = all.iter().map(|bytes| from_bytes(bytes)).collect();
    let values = |n: usize| all.iter().filter_map(move |own| own.get(n).copied());
    Ok(Parts {
        compute: values(0).fold(0.0, f32::max),
        transfer: values(1).fold(0.0, f32::max),
        messages: values(2).reduce(f32::min).unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::backend::device::Device;
    use crate::distributed::ThreadRanks;

    /// Runs `work` on each of `count` ranks.
    fn on_ranks<T: Send>(count: usize, work: impl Fn(ScalingBench) -> T + Sync) -> Vec<T> {
        let work = &work;
        thread::scope(|scope| {
            let spawn = |ranks| {
                scope.spawn(move || {
                    let device = OpenDevice::open(&Device::Cpu).unwrap();
                    work(ScalingBench::new(device, ranks, &[], 0.0).unwrap())
                })
            };
            let spawned: Vec<_> = ThreadRanks::group(count).into_iter().map(spawn).collect();
            let joined = spawned.into_iter().map(|thread| thread.join().unwrap());
            joined.collect()
        })
    }

    #[test]
    fn every_row_has_its_processes_and_batch() {
        let rows = on_ranks(4, |bench| {
            let (shape, mut rows) = ("gru-16-5-3-6".parse().unwrap(), vec![]);
            let collected = bench.scaling(&shape, &mut |row| {
                rows.push(row.clone());
                Ok(())
            });
            collected.unwrap();
            let messages = bench.messages().unwrap();
            assert_eq!(messages.is_some(), bench.ranks.rank() == 0);
            rows
        });
        assert!(rows[1..].iter().all(Vec::is_empty));
        let found = rows[0].iter().map(|row| {
            let sizes = (row.ranks, row.batch, row.micro_batches);
            (row.scaling.name(), sizes)
        });
        let expected = [
            ("strong", (1, 16, 8)),
            ("strong", (2, 16, 8)),
            ("strong", (4, 16, 8)),
            ("weak", (1, 16, 8)),
            ("weak", (2, 32, 16)),
            ("weak", (4, 64, 32)),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        for row in &rows[0] {
            assert_eq!(row.reduce_ms > 0.0, row.ranks > 1, "{row:?}");
            assert!(row.compute_ms > 0.0 && row.efficiency > 0.0, "{row:?}");
            let speed = row.batch as f64 / row.ms * 1e3;
            assert!((row.sequences_per_s / speed - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn other_parameters_are_not_timed() {
        let errors = on_ranks(2, |bench| {
            let shape: BenchShape = "gru-16-5-3-6".parse().unwrap();
            let workload = bench.workload(&shape, Scaling::Strong, 2);
            let data = workload.shape.data().unwrap();
            let ranks = Some(bench.ranks.clone());
            let loaded = Trainer::load_shared(&workload.recipe, &data, &bench.device, ranks);
            let checked = bench.check(bench.ranks.as_ref(), &mut loaded.unwrap(), vec![0; 4]);
            checked.unwrap_err().to_string()
        });
        for error in errors {
            assert!(error.contains("not those of one process"), "{error}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_measured_are_refused() {
        let device = || OpenDevice::open(&Device::Cpu).unwrap();
        let refused = |count: usize, sizes: &[usize]| {
            let ranks = ThreadRanks::group(count).swap_remove(0);
            let error = ScalingBench::new(device(), ranks, sizes, 0.0)
                .err()
                .unwrap();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(refused(1, &[]).contains("only one process"));
        for sizes in [[2, 3], [1, 2], [2, 8]] {
            let message = refused(4, &sizes);
            assert!(
                message.contains("`2` or `4` can train together"),
                "{message}"
            );
        }
        let ranks = ThreadRanks::group(6).swap_remove(0);
        let bench = ScalingBench::new(device(), ranks, &[4, 2, 4], 0.0).unwrap();
        assert_eq!(bench.sizes, [2, 4]);
    }
}

//! `gatescan bench distributed`: updates by the processes that mpirun or srun has started.

use gatescan::Result;
use gatescan::bench::{MessageResult, ScalingResult};
use gatescan::low_level::numeric::statistics::figure;

use super::bench::{Bench, SHAPE, TableRow, percent};
use super::console::Console;

impl TableRow for ScalingResult {
    const HEADER: &'static [&'static str] = &[
        "SHAPE",
        "SCALING",
        "RANKS",
        "BATCH",
        "UPDATE ms",
        "P10",
        "P90",
        "COMPUTE ms",
        "TRANSFER ms",
        "REDUCE ms",
        "SEQUENCES/s",
        "EFFICIENCY",
    ];
    const TEXT_WIDTHS: &'static [usize] = &[SHAPE, 7, 5, 6];

    fn cells(&self) -> Vec<String> {
        vec![
            self.shape.clone(),
            self.scaling.name().into(),
            self.ranks.to_string(),
            self.batch.to_string(),
            figure(self.ms),
            figure(self.ms_p10),
            figure(self.ms_p90),
            figure(self.compute_ms),
            figure(self.transfer_ms),
            figure(self.reduce_ms),
            figure(self.sequences_per_s),
            percent(self.efficiency * 100.0),
        ]
    }
}

impl TableRow for MessageResult {
    const HEADER: &'static [&'static str] = &["MESSAGES", "LATENCY µs", "GB/s"];
    const TEXT_WIDTHS: &'static [usize] = &[SHAPE];

    fn cells(&self) -> Vec<String> {
        vec![
            "between ranks 0 and 1".into(),
            figure(self.latency_us),
            figure(self.gbytes_per_s),
        ]
    }
}

/// Measures as one of several processes.
#[cfg(not(feature = "mpi"))]
pub fn run(_: &Bench, _: &Console) -> Result<()> {
    Err(super::ranks::no_mpi("bench distributed"))
}

/// Measures as one of several processes.
#[cfg(feature = "mpi")]
pub fn run(bench: &Bench, console: &Console) -> Result<()> {
    over_mpi::run(bench, console)
}

#[cfg(feature = "mpi")]
mod over_mpi {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use gatescan::bench::{BenchShape, SCALING_SHAPES, ScalingBench};
    use gatescan::distributed::{MpiRanks, Ranks, agreed};

    use super::*;
    use crate::cli::ranks::{FIRST_SPEAKER, share_cores};
    use crate::cli::{choose_device_of, explained, open};

    /// How long a process waits for the others, which may measure a large shape.
    const PATIENCE: Duration = Duration::from_hours(1);

    /// Measures and, after an error, ends the process, or all of them.
    pub(super) fn run(bench: &Bench, console: &Console) -> Result<()> {
        let mpi = Arc::new(MpiRanks::start(false)?.with_patience(PATIENCE));
        share_cores(&mpi)?;
        let is_first = mpi.rank() == 0;
        let own = if is_first {
            console.clone()
        } else {
            Console::silent()
        };
        let error = match agreed(mpi.as_ref(), prepare(bench, &own, &mpi)) {
            // All processes have this error.
            Err(error) => {
                if is_first {
                    console.note(format!("error: {}", explained(&error)));
                }
                let code = error.exit_code();
                drop(mpi);
                std::process::exit(code.into());
            }
            Ok(scaling) => match measure(bench, &own, &scaling) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        if !is_first {
            thread::sleep(FIRST_SPEAKER);
        }
        let (rank, count, host) = (mpi.rank(), mpi.count(), mpi.host());
        let problem = explained(&error);
        console.note(format!(
            "error: rank {rank} of {count} on {host}: {problem}"
        ));
        mpi.abort(error.exit_code());
    }

    fn prepare(bench: &Bench, console: &Console, mpi: &Arc<MpiRanks>) -> Result<ScalingBench> {
        let (device, line) = choose_device_of(bench.device(), mpi.local_rank())?;
        let scaling = ScalingBench::new(
            open(&device, bench.tune())?,
            mpi.clone(),
            &bench.ranks(),
            bench.seconds(),
        )?;
        let (count, local, library) = (mpi.count(), mpi.local_count(), mpi.library());
        let cores = gatescan::low_level::backend::cores();
        console.say(format!("device  {line}"));
        console.say(format!(
            "ranks   {count} processes, {local} on this machine, by {library}"
        ));
        if local > cores {
            console.note(format!(
                "warning: {local} processes share {cores} cores, so they take turns and their \
                 times do not show how a run scales"
            ));
        }
        Ok(scaling)
    }

    fn measure(bench: &Bench, console: &Console, scaling: &ScalingBench) -> Result<()> {
        let default = || SCALING_SHAPES.iter().filter_map(|name| name.parse().ok());
        let mut rows = 0;
        for shape in bench.shapes_or(|| default().collect::<Vec<BenchShape>>()) {
            scaling.scaling(&shape, &mut |row| {
                rows += 1;
                bench.print_row(console, rows == 1, row).map(|_| ())
            })?;
        }
        if let Some(messages) = scaling.messages()? {
            let _ = bench.print_row(console, true, &messages)?;
        }
        Ok(())
    }
}

//! `gatescan train --distributed`: one of the processes that mpirun or srun has started.

use std::sync::Arc;
use std::time::Instant;

use gatescan::distributed::{Ranks, agreed};
use gatescan::{Recipe, Result};

use super::Train;
use crate::cli::console::Console;
#[cfg(not(feature = "mpi"))]
use crate::cli::ranks::no_mpi;

/// The micro-batches of a recipe that has none.
const MICRO_BATCHES: usize = 8;

/// The processes of a run, where there are several, and the place of this one.
#[derive(Clone, Default)]
pub(super) struct RunRanks {
    pub(super) all: Option<Arc<dyn Ranks>>,
    /// The index of this process among those of its machine.
    pub(super) local_rank: usize,
}

impl RunRanks {
    /// The result of this process where all processes have one; see [`agreed`].
    pub(super) fn agreed<T>(&self, result: Result<T>) -> Result<T> {
        match &self.all {
            Some(ranks) => agreed(ranks.as_ref(), result),
            None => result,
        }
    }

    /// Divides the batches of a new run into micro-batches, where its recipe does not.
    pub(super) fn divide(&self, console: &Console, recipe: &mut Recipe) -> Result<()> {
        let Some(ranks) = &self.all else {
            return Ok(());
        };
        if recipe.parallel.micro_batches > 1 {
            return Ok(());
        }
        recipe.parallel.micro_batches = MICRO_BATCHES.max(ranks.count());
        let parts = recipe.parallel.micro_batches;
        console.say(format!(
            "batch   in {parts} micro-batches (parallel.micro_batches = {parts})"
        ));
        recipe.validate()
    }

    /// Sends the path of the run from rank 0 to all, and returns it.
    pub(super) fn share_path(&self, path: String) -> Result<String> {
        let Some(ranks) = &self.all else {
            return Ok(path);
        };
        let all = ranks.gather(path.into_bytes())?;
        Ok(String::from_utf8_lossy(&all[0]).into_owned())
    }
}

/// Trains as one of several processes.
#[cfg(not(feature = "mpi"))]
pub(super) fn run(_: &Train, _: &Console, _: Instant) -> Result<()> {
    Err(no_mpi("--distributed"))
}

/// Trains as one of several processes.
#[cfg(feature = "mpi")]
pub(super) fn run(train: &Train, console: &Console, start: Instant) -> Result<()> {
    over_mpi::run(train, console, start)
}

#[cfg(feature = "mpi")]
mod over_mpi {
    use std::cell::RefCell;
    use std::thread;
    use std::time::Duration;

    use gatescan::distributed::MpiRanks;

    use super::*;
    use crate::cli::explained;
    use crate::cli::ranks::{FIRST_SPEAKER, share_cores};
    use crate::cli::train::{OnDeviceLost, Reduce};

    /// Trains and ends the process: with the error's code, and all processes with it, where there
    /// is an error.
    pub(super) fn run(train: &Train, console: &Console, start: Instant) -> Result<()> {
        let mpi = MpiRanks::start(train.reduce == Reduce::Mpi)?;
        let mpi = mpi.with_patience(Duration::from_secs(train.rank_patience));
        let mpi = mpi.surviving_devices(train.on_device_lost == OnDeviceLost::Retry)?;
        let mpi = Arc::new(mpi);
        share_cores(&mpi)?;
        let ranks = RunRanks {
            local_rank: mpi.local_rank(),
            all: Some(mpi.clone()),
        };
        let directory = RefCell::new(None);
        let is_first = mpi.rank() == 0;
        let trained = if is_first {
            describe(console, &mpi, train);
            train.train(console, start, &ranks, &directory)
        } else {
            train.follow(&Console::silent(), start, &ranks, &directory)
        };
        let Err(error) = trained else {
            return Ok(());
        };
        let code = error.exit_code();
        // Before training, all processes have the same error, unless one is gone.
        let Some(directory) = directory.take() else {
            if is_first || mpi.is_stuck() {
                console.note(format!("error: {}", explained(&error)));
            } else {
                thread::sleep(FIRST_SPEAKER);
            }
            drop((ranks, mpi));
            console.finish();
            std::process::exit(code.into());
        };
        let (rank, count, host) = (mpi.rank(), mpi.count(), mpi.host());
        let problem = format!(
            "error: rank {rank} of {count} on {host}: {}",
            explained(&error)
        );
        if is_first {
            // What is saved was said before.
            console.note(format!("{problem}\nall processes end"));
        } else {
            thread::sleep(FIRST_SPEAKER);
            console.note(format!(
                "{problem}\nall processes end; what is saved is in {directory}, continue from \
                 there with --resume"
            ));
        }
        console.finish();
        mpi.abort(code);
    }

    /// Says what trains together.
    fn describe(console: &Console, mpi: &MpiRanks, train: &Train) {
        let sum = match train.reduce {
            Reduce::Tree => "summed in a fixed tree",
            Reduce::Mpi => "summed by MPI, so the bits depend on the number of processes",
        };
        let (count, local) = (mpi.count(), mpi.local_count());
        let library = mpi.library();
        console.say(format!(
            "ranks   {count} processes, {local} on this machine, by {library}; gradients are {sum}"
        ));
    }
}

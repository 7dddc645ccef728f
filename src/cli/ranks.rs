//! The processes that mpirun or srun has started: what commands that several of them run have in
//! common.

use std::thread;
use std::time::Duration;

use gatescan::Error;
#[cfg(feature = "mpi")]
use gatescan::Result;
#[cfg(feature = "mpi")]
use gatescan::distributed::MpiRanks;

/// How long rank 0 has to report an error that all processes have, and a launcher to end the
/// others.
pub const FIRST_SPEAKER: Duration = Duration::from_secs(3);

/// Where launchers say the rank of a process: Open MPI; MPICH and Intel MPI; PMIx; Slurm.
const RANK_VARIABLES: [&str; 4] = [
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMIX_RANK",
    "SLURM_PROCID",
];

/// Waits before an error that is found without MPI, unless this is the first process: all have it,
/// and a launcher ends the others once the first one has reported it.
pub fn wait_for_first_rank() {
    let rank = RANK_VARIABLES.iter().find_map(std::env::var_os);
    if rank.is_some_and(|rank| rank != "0") {
        thread::sleep(FIRST_SPEAKER);
    }
}

/// The error of a program without the feature `mpi` where `what` needs it.
#[cfg_attr(feature = "mpi", allow(dead_code, reason = "for programs without it"))]
pub fn no_mpi(what: &str) -> Error {
    Error::usage(format!(
        "{what}: this gatescan was built without MPI; install an MPI with its header files and \
         libclang (on Debian: libopenmpi-dev openmpi-bin libclang-dev), then build it again with: \
         cargo install gatescan --features mpi"
    ))
}

/// Divides the cores of this machine among its processes, unless mpirun has done so.
#[cfg(feature = "mpi")]
pub fn share_cores(mpi: &MpiRanks) -> Result<()> {
    if std::env::var_os("RAYON_NUM_THREADS").is_some() {
        return Ok(());
    }
    let allowed = thread::available_parallelism().map_or(1, usize::from);
    let threads = if allowed < gatescan::low_level::backend::cores() {
        allowed
    } else {
        (allowed / mpi.local_count()).max(1)
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let built = pool.build_global();
    built.map_err(|error| Error::Failed(format!("the threads cannot be started: {error}")))
}

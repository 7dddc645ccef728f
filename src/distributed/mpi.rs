//! The processes that mpirun or srun has started, over MPI. Only this file calls MPI.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::point_to_point::send_receive_into;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, Threading};

use super::{Ranks, tree_sum};
use crate::error::{Error, Result};

/// How long a process waits for the others, unless it is told otherwise: longer than a driver
/// compiles shaders, or a disk writes a checkpoint.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long a process waits until MPI has ended the others.
const ABORT: Duration = Duration::from_secs(5);

/// The most bytes that all processes together send in one collective call.
const ROUND: usize = 1 << 28;

/// The place of this process among those of the run.
#[derive(Debug, Clone)]
struct Place {
    rank: usize,
    count: usize,
    local_rank: usize,
    local_count: usize,
    library: String,
    host: String,
}

/// What the thread that calls MPI is asked to do.
enum Request {
    Exchange(usize, Vec<f32>, usize),
    Gather(Vec<u8>),
    Sum(Vec<f32>),
    /// Ends all processes with this exit code.
    Abort(i32),
    Finish,
}

/// Its answer.
enum Reply {
    Values(Vec<f32>),
    Bytes(Vec<Vec<u8>>),
}

/// The processes that mpirun or srun has started.
///
/// A thread of its own calls MPI, as MPI's functions must be called by the thread that initialised
/// it, and an [`Executor`](crate::low_level::backend::executor::Executor) may move between threads.
pub struct MpiRanks {
    place: Place,
    requests: Sender<Request>,
    replies: Mutex<Receiver<Reply>>,
    thread: Option<JoinHandle<()>>,
    patience: Duration,
    /// Whether MPI waits for a message that has not come.
    is_stuck: AtomicBool,
    /// Whether gradients are added by MPI itself.
    sums_by_mpi: bool,
}

impl MpiRanks {
    /// Initialises MPI. A panic of this process then ends all processes. With `sums_by_mpi`,
    /// gradients are added by `MPI_Allreduce`, in an order that depends on the MPI and on the
    /// number of processes.
    ///
    /// # Errors
    /// [`Error::Failed`] where MPI was initialised before.
    pub fn start(sums_by_mpi: bool) -> Result<MpiRanks> {
        let (requests, inbox) = mpsc::channel();
        let (outbox, replies) = mpsc::channel();
        let (placed, place) = mpsc::channel();
        let thread = thread::Builder::new().name("mpi".into()).spawn(move || {
            if let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) {
                let world = universe.world();
                let _ = placed.send(Place::of(&world));
                serve(&world, &inbox, &outbox);
                finish(universe);
            }
        });
        let thread =
            thread.map_err(|error| Error::Failed(format!("no thread for MPI: {error}")))?;
        let place = place.recv().map_err(|_| {
            Error::Failed("MPI cannot be initialised; start the program by mpirun or srun".into())
        })?;
        abort_on_panic(requests.clone());
        Ok(MpiRanks {
            place,
            requests,
            replies: Mutex::new(replies),
            thread: Some(thread),
            patience: PATIENCE,
            is_stuck: AtomicBool::new(false),
            sums_by_mpi,
        })
    }

    /// Returns the processes with another time to wait for them before an error.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> MpiRanks {
        self.patience = patience;
        self
    }

    /// The index of this process among those of its machine.
    pub fn local_rank(&self) -> usize {
        self.place.local_rank
    }

    /// The number of processes on this machine.
    pub fn local_count(&self) -> usize {
        self.place.local_count
    }

    /// The name of this machine.
    pub fn host(&self) -> &str {
        &self.place.host
    }

    /// The name and version of the MPI.
    pub fn library(&self) -> &str {
        &self.place.library
    }

    /// Whether this process has waited for the others for too long. It cannot end MPI then.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// Ends all processes of the run with this exit code.
    pub fn abort(&self, code: u8) -> ! {
        if self.is_stuck() {
            std::process::exit(code.into());
        }
        abort(&self.requests, code.into())
    }

    fn ask(&self, request: Request) -> Result<Reply> {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || Error::Failed("MPI has ended in this process".into());
        self.requests.send(request).map_err(|_| gone())?;
        replies
            .recv_timeout(self.patience)
            .map_err(|error| match error {
                RecvTimeoutError::Disconnected => gone(),
                RecvTimeoutError::Timeout => {
                    self.is_stuck.store(true, Ordering::Relaxed);
                    let seconds = self.patience.as_secs();
                    Error::Failed(format!(
                        "the other processes have not answered for {seconds} s; a process, a \
                         machine or the network may be gone"
                    ))
                }
            })
    }

    fn values(&self, request: Request) -> Result<Vec<f32>> {
        match self.ask(request)? {
            Reply::Values(values) => Ok(values),
            Reply::Bytes(_) => Err(Error::Failed("MPI has answered another request".into())),
        }
    }
}

impl Ranks for MpiRanks {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn count(&self) -> usize {
        self.place.count
    }

    fn exchange(&self, other: usize, values: Vec<f32>, expected: usize) -> Result<Vec<f32>> {
        self.values(Request::Exchange(other, values, expected))
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        match self.ask(Request::Gather(own))? {
            Reply::Bytes(bytes) => Ok(bytes),
            Reply::Values(_) => Err(Error::Failed("MPI has answered another request".into())),
        }
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        if !self.sums_by_mpi {
            return tree_sum(self, values);
        }
        let sums = self.values(Request::Sum(values.to_vec()))?;
        values.copy_from_slice(&sums);
        Ok(())
    }
}

impl Drop for MpiRanks {
    /// Waits for the other processes and ends MPI.
    fn drop(&mut self) {
        let _ = self.requests.send(Request::Finish);
        if !self.is_stuck()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for MpiRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.place.rank, self.place.count)
    }
}

impl Place {
    fn of(world: &SimpleCommunicator) -> Place {
        let local = world.split_shared(world.rank());
        let library = mpi::environment::library_version().unwrap_or_default();
        let first_line = library.lines().next().unwrap_or_default();
        // Open MPI's line goes on with the package and the date of its build.
        let library = first_line.split(',').next().unwrap_or_default();
        Place {
            rank: world.rank() as usize,
            count: world.size() as usize,
            local_rank: local.rank() as usize,
            local_count: local.size() as usize,
            library: library.split_whitespace().collect::<Vec<_>>().join(" "),
            host: mpi::environment::processor_name().unwrap_or_default(),
        }
    }
}

/// Carries out requests until the last one.
fn serve(world: &SimpleCommunicator, requests: &Receiver<Request>, replies: &Sender<Reply>) {
    for request in requests {
        let reply = match request {
            Request::Exchange(other, values, expected) => {
                let other = world.process_at_rank(other as i32);
                let mut received = vec![0.0f32; expected];
                send_receive_into(&values[..], &other, &mut received[..], &other);
                Reply::Values(received)
            }
            Request::Gather(own) => Reply::Bytes(gather(world, &own)),
            Request::Sum(values) => {
                let mut sums = vec![0.0f32; values.len()];
                let add = SystemOperation::sum();
                world.all_reduce_into(&values[..], &mut sums[..], add);
                Reply::Values(sums)
            }
            Request::Abort(code) => world.abort(code),
            Request::Finish => return,
        };
        if replies.send(reply).is_err() {
            return;
        }
    }
}

/// Returns the bytes of every process, in rounds of at most [`ROUND`] bytes, as MPI counts them in
/// an `i32`.
fn gather(world: &SimpleCommunicator, own: &[u8]) -> Vec<Vec<u8>> {
    let mut lens = vec![0u64; world.size() as usize];
    world.all_gather_into(&(own.len() as u64), &mut lens[..]);
    let lens: Vec<usize> = lens.into_iter().map(|len| len as usize).collect();
    let most = (ROUND / lens.len()).max(1);
    let longest = lens.iter().copied().max().unwrap_or_default();
    let mut all: Vec<Vec<u8>> = lens.iter().map(|&len| Vec::with_capacity(len)).collect();
    for start in (0..longest).step_by(most) {
        let part = |len: usize| start.min(len)..(start + most).min(len);
        // Of each process one byte more: an empty slice has the address 1, which is `MPI_IN_PLACE`
        // in Open MPI.
        let counts: Vec<Count> = (lens.iter())
            .map(|&len| part(len).len() as Count + 1)
            .collect();
        let starts = counts.iter().scan(0, |end, &count| {
            *end += count;
            Some(*end - count)
        });
        let starts: Vec<Count> = starts.collect();
        let mut received = vec![0u8; counts.iter().sum::<Count>() as usize];
        {
            let mut parts = PartitionMut::new(&mut received[..], &counts[..], &starts[..]);
            let sent = [&own[part(own.len())], &[0]].concat();
            world.all_gather_varcount_into(&sent[..], &mut parts);
        }
        for ((bytes, &count), &start) in all.iter_mut().zip(&counts).zip(&starts) {
            bytes.extend(&received[start as usize..(start + count) as usize - 1]);
        }
    }
    all
}

/// Waits for the other processes and ends MPI.
fn finish(universe: Universe) {
    drop(universe);
}

/// Ends all processes.
fn abort(requests: &Sender<Request>, code: i32) -> ! {
    let _ = requests.send(Request::Abort(code));
    thread::sleep(ABORT);
    // MPI waits for a message; mpirun ends the others when this process is gone.
    std::process::exit(code)
}

/// Has a panic of any thread end all processes: the others would wait for this one.
fn abort_on_panic(requests: Sender<Request>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        abort(&requests, 101);
    }));
}

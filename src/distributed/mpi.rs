//! The processes that mpirun or srun has started, over MPI. Only this file calls MPI.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::point_to_point::send_receive_into;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, Threading};

use super::{Ranks, tree_sum};
use crate::error::{Error, Result};

/// How long a process waits for the others, unless it is told otherwise: longer than a driver
/// compiles shaders, or a disk writes a checkpoint.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long a process waits until MPI has ended the others.
const ABORT: Duration = Duration::from_secs(5);

/// How often a process that rests looks for the others.
const REST: Duration = Duration::from_millis(2);

/// The most bytes that all processes together send in one collective call.
const ROUND: usize = 1 << 28;

/// The length of the bytes of a process whose device has failed.
const FAILED: u64 = u64::MAX;

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
struct Request {
    /// The group of processes: 0 is all of them.
    group: usize,
    task: Task,
}

enum Task {
    Exchange(usize, Vec<f32>, usize),
    Gather(Vec<u8>),
    /// Tells the others that the device of this process has failed.
    Fail,
    Sum(Vec<f32>),
    /// Makes a group of the first processes.
    First(usize),
    Rest,
    /// Ends all processes with this exit code.
    Abort(i32),
    Finish,
}

/// Its answer.
enum Reply {
    Values(Vec<f32>),
    Bytes(Vec<Vec<u8>>),
    /// The first process whose device has failed.
    Failed(usize),
    /// The new group, where this process is in it.
    Group(Option<usize>),
    Done,
}

/// The way to the thread that calls MPI, for one group of processes.
#[derive(Clone)]
struct Connection {
    requests: Sender<Request>,
    replies: Arc<Mutex<Receiver<Reply>>>,
    patience: Duration,
    /// Whether MPI waits for a message that has not come.
    is_stuck: Arc<AtomicBool>,
    /// Whether gradients are added by MPI itself.
    sums_by_mpi: bool,
    /// Whether a sum first finds out whether the device of a process has failed.
    survives_devices: bool,
    group: usize,
    rank: usize,
    count: usize,
}

/// The processes that mpirun or srun has started.
///
/// A thread of its own calls MPI, as MPI's functions must be called by the thread that initialised
/// it, and an [`Executor`](crate::low_level::backend::executor::Executor) may move between threads.
pub struct MpiRanks {
    place: Place,
    connection: Connection,
    thread: Option<JoinHandle<()>>,
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
                serve(world, &inbox, &outbox);
                finish(universe);
            }
        });
        let thread =
            thread.map_err(|error| Error::Failed(format!("no thread for MPI: {error}")))?;
        let place = place.recv().map_err(|_| {
            Error::Failed("MPI cannot be initialised; start the program by mpirun or srun".into())
        })?;
        abort_on_panic(requests.clone());
        let connection = Connection {
            requests,
            replies: Arc::new(Mutex::new(replies)),
            patience: PATIENCE,
            is_stuck: Arc::default(),
            sums_by_mpi,
            survives_devices: false,
            group: 0,
            rank: place.rank,
            count: place.count,
        };
        Ok(MpiRanks {
            place,
            connection,
            thread: Some(thread),
        })
    }

    /// Returns the processes with another time to wait for them before an error.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> MpiRanks {
        self.connection.patience = patience;
        self
    }

    /// Returns processes for which [`Ranks::fail`] can be called, at the cost of a short message
    /// more in each sum, where one of them asks for that. All of them call it.
    ///
    /// # Errors
    /// [`Error::Failed`] where a process has ended.
    pub fn surviving_devices(mut self, is_wanted: bool) -> Result<MpiRanks> {
        let all = self.gather(vec![u8::from(is_wanted)])?;
        self.connection.survives_devices = all.iter().any(|wanted| *wanted == [1]);
        Ok(self)
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
        self.connection.is_stuck.load(Ordering::Relaxed)
    }

    /// Ends all processes of the run with this exit code.
    pub fn abort(&self, code: u8) -> ! {
        if self.is_stuck() {
            std::process::exit(code.into());
        }
        abort(&self.connection.requests, code.into())
    }
}

impl Connection {
    fn ask(&self, task: Task) -> Result<Reply> {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || Error::Failed("MPI has ended in this process".into());
        let group = self.group;
        let sent = self.requests.send(Request { group, task });
        sent.map_err(|_| gone())?;
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

    fn values(&self, task: Task) -> Result<Vec<f32>> {
        match self.ask(task)? {
            Reply::Values(values) => Ok(values),
            _ => Err(another_answer()),
        }
    }
}

fn another_answer() -> Error {
    Error::Failed("MPI has answered another request".into())
}

impl Ranks for Connection {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn exchange(&self, other: usize, values: Vec<f32>, expected: usize) -> Result<Vec<f32>> {
        self.values(Task::Exchange(other, values, expected))
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        match self.ask(Task::Gather(own))? {
            Reply::Bytes(bytes) => Ok(bytes),
            Reply::Failed(rank) => Err(Error::RankFailed { rank }),
            _ => Err(another_answer()),
        }
    }

    fn fail(&self) -> Result<()> {
        self.ask(Task::Fail).map(|_| ())
    }

    fn first(&self, count: usize) -> Result<Option<Arc<dyn Ranks>>> {
        let Reply::Group(group) = self.ask(Task::First(count))? else {
            return Err(another_answer());
        };
        let of_group = |group| Connection {
            group,
            count,
            ..self.clone()
        };
        Ok(group.map(|group| Arc::new(of_group(group)) as Arc<dyn Ranks>))
    }

    fn rest(&self) -> Result<()> {
        self.ask(Task::Rest).map(|_| ())
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        if self.survives_devices {
            self.gather(vec![])?;
        }
        if !self.sums_by_mpi {
            return tree_sum(self, values);
        }
        let sums = self.values(Task::Sum(values.to_vec()))?;
        values.copy_from_slice(&sums);
        Ok(())
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
        self.connection.exchange(other, values, expected)
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.connection.gather(own)
    }

    fn fail(&self) -> Result<()> {
        self.connection.fail()
    }

    fn first(&self, count: usize) -> Result<Option<Arc<dyn Ranks>>> {
        self.connection.first(count)
    }

    fn rest(&self) -> Result<()> {
        self.connection.rest()
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        self.connection.sum(values)
    }
}

impl Drop for MpiRanks {
    /// Waits for the other processes and ends MPI.
    fn drop(&mut self) {
        send(&self.connection.requests, Task::Finish);
        if !self.is_stuck()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for MpiRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.count)
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
fn serve(world: SimpleCommunicator, requests: &Receiver<Request>, replies: &Sender<Reply>) {
    let mut groups = vec![world];
    for Request { group, task } in requests {
        let all = &groups[group];
        let reply = match task {
            Task::Exchange(other, values, expected) => {
                let other = all.process_at_rank(other as i32);
                let mut received = vec![0.0f32; expected];
                send_receive_into(&values[..], &other, &mut received[..], &other);
                Reply::Values(received)
            }
            Task::Gather(own) => gather(all, Some(&own)),
            Task::Fail => gather(all, None),
            Task::Sum(values) => {
                let mut sums = vec![0.0f32; values.len()];
                let add = SystemOperation::sum();
                all.all_reduce_into(&values[..], &mut sums[..], add);
                Reply::Values(sums)
            }
            Task::First(count) => {
                let color = if (all.rank() as usize) < count {
                    Color::with_value(0)
                } else {
                    Color::undefined()
                };
                let first = all.split_by_color(color);
                let index = groups.len();
                let is_in = first.is_some();
                groups.extend(first);
                Reply::Group(is_in.then_some(index))
            }
            Task::Rest => {
                rest(all);
                Reply::Done
            }
            Task::Abort(code) => all.abort(code),
            Task::Finish => return,
        };
        if replies.send(reply).is_err() {
            return;
        }
    }
}

/// Waits for all processes. MPI's own barrier would keep a core at work.
fn rest(all: &SimpleCommunicator) {
    let mut barrier = all.immediate_barrier();
    while let Err(pending) = barrier.test() {
        barrier = pending;
        thread::sleep(REST);
    }
}

/// Returns the bytes of every process, in rounds of at most [`ROUND`] bytes, as MPI counts them in
/// an `i32`. The device of a process without bytes has failed.
fn gather(world: &SimpleCommunicator, own: Option<&[u8]>) -> Reply {
    let mut lens = vec![0u64; world.size() as usize];
    let own_len = own.map_or(FAILED, |own| own.len() as u64);
    world.all_gather_into(&own_len, &mut lens[..]);
    if let Some(rank) = lens.iter().position(|&len| len == FAILED) {
        return Reply::Failed(rank);
    }
    let own = own.unwrap_or_default();
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
    Reply::Bytes(all)
}

/// Waits for the other processes and ends MPI.
fn finish(universe: Universe) {
    drop(universe);
}

/// Sends a task of all processes.
fn send(requests: &Sender<Request>, task: Task) {
    let _ = requests.send(Request { group: 0, task });
}

/// Ends all processes.
fn abort(requests: &Sender<Request>, code: i32) -> ! {
    send(requests, Task::Abort(code));
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

//! Lines that are written by threads of their own: a reader that does not read, such as an `mpirun`
//! that ends a run, holds up neither training nor saving.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::console::{OutputStream, write_line};

/// How long a line waits for its reader before the command goes on without it. In this time a
/// reader that reads has every line, so lines of both streams stay in their order.
const WAIT: Duration = Duration::from_millis(100);

/// How long a stopped command waits for a reader that reads nothing.
const LAST_WAIT: Duration = Duration::from_millis(250);

/// Bytes that may wait for a reader. With more, a command waits until it is stopped.
const MOST: usize = 1 << 24;

/// The threads that write the lines of a command.
pub struct LineThreads {
    out: LineThread,
    err: LineThread,
}

impl LineThreads {
    /// Starts the threads of a command that ends once `stop` is true.
    pub fn start(stop: &Arc<AtomicBool>) -> io::Result<LineThreads> {
        let thread = |stream| LineThread::start(stop, move |line| write_line(stream, &line));
        Ok(LineThreads {
            out: thread(OutputStream::Out)?,
            err: thread(OutputStream::Err)?,
        })
    }

    /// Writes a line to a stream. Returns the error of the stream, which may be that of an earlier
    /// line.
    pub fn write(&self, stream: OutputStream, line: String) -> io::Result<()> {
        match stream {
            OutputStream::Out => self.out.write(line),
            OutputStream::Err => self.err.write(line),
        }
    }

    /// Waits until all lines are written, unless the command was stopped and nobody reads them.
    /// Returns the bytes of standard output and of standard error that are lost.
    pub fn finish(&self) -> [usize; 2] {
        [self.out.finish(), self.err.finish()]
    }
}

/// Lines that are not written yet.
#[derive(Default)]
struct Backlog {
    bytes: usize,
    /// The error of a line whose caller did not wait for it any more.
    error: Option<io::Error>,
    /// Whether a line has waited in vain since the last time that all were written.
    is_late: bool,
}

/// A thread that writes the lines of one stream.
struct LineThread {
    lines: Sender<String>,
    backlog: Arc<(Mutex<Backlog>, Condvar)>,
    stop: Arc<AtomicBool>,
}

impl LineThread {
    fn start(
        stop: &Arc<AtomicBool>,
        mut write: impl FnMut(String) -> io::Result<()> + Send + 'static,
    ) -> io::Result<LineThread> {
        let (lines, inbox) = mpsc::channel::<String>();
        let backlog = Arc::<(Mutex<Backlog>, Condvar)>::default();
        let shared = backlog.clone();
        thread::Builder::new().name("lines".into()).spawn(move || {
            for line in inbox {
                let bytes = line.len();
                let written = write(line);
                let (backlog, changed) = &*shared;
                let mut backlog = lock(backlog);
                backlog.bytes -= bytes;
                backlog.is_late &= backlog.bytes > 0;
                backlog.error = backlog.error.take().or(written.err());
                changed.notify_all();
            }
        })?;
        Ok(LineThread {
            lines,
            backlog,
            stop: stop.clone(),
        })
    }

    fn write(&self, line: String) -> io::Result<()> {
        let (backlog, changed) = &*self.backlog;
        let mut backlog = lock(backlog);
        while backlog.bytes > MOST && !self.stop.load(Ordering::Relaxed) {
            backlog = wait(changed, backlog, WAIT);
        }
        if let Some(error) = backlog.error.take() {
            return Err(error);
        }
        backlog.bytes += line.len();
        if self.lines.send(line).is_err() {
            return Err(io::Error::other("the thread that writes lines has ended"));
        }
        let start = Instant::now();
        while backlog.bytes > 0 && !backlog.is_late {
            let left = WAIT.saturating_sub(start.elapsed());
            backlog.is_late = left.is_zero();
            backlog = wait(changed, backlog, left);
        }
        backlog.error.take().map_or(Ok(()), Err)
    }

    /// Returns the bytes that are lost.
    fn finish(&self) -> usize {
        let (backlog, changed) = &*self.backlog;
        let mut backlog = lock(backlog);
        let (mut bytes, mut last_read) = (backlog.bytes, Instant::now());
        while backlog.bytes > 0 {
            let is_stopped = self.stop.load(Ordering::Relaxed);
            if is_stopped && last_read.elapsed() >= LAST_WAIT {
                return backlog.bytes;
            }
            backlog = wait(changed, backlog, WAIT);
            if backlog.bytes != bytes {
                (bytes, last_read) = (backlog.bytes, Instant::now());
            }
        }
        0
    }
}

fn lock(backlog: &Mutex<Backlog>) -> MutexGuard<'_, Backlog> {
    backlog.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a>(
    changed: &Condvar,
    backlog: MutexGuard<'a, Backlog>,
    time: Duration,
) -> MutexGuard<'a, Backlog> {
    let waited = changed.wait_timeout(backlog, time);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread whose reader reads a line for each message, and the lines that it has read.
    fn with_reader(
        stop: &Arc<AtomicBool>,
        error: Option<io::ErrorKind>,
    ) -> (LineThread, Sender<()>, Arc<Mutex<Vec<String>>>) {
        let (reads, read) = mpsc::channel();
        let written = Arc::<Mutex<Vec<String>>>::default();
        let shared = written.clone();
        let thread = LineThread::start(stop, move |line| {
            // Without a reader it waits for ever.
            if read.recv().is_err() {
                thread::park();
            }
            shared.lock().unwrap().push(line);
            error.map_or(Ok(()), |kind| Err(kind.into()))
        });
        (thread.unwrap(), reads, written)
    }

    #[test]
    fn a_reader_that_reads_has_each_line_at_once() {
        let (thread, reads, written) = with_reader(&Arc::default(), None);
        for n in 0..5 {
            reads.send(()).unwrap();
            thread.write(n.to_string()).unwrap();
            assert_eq!(written.lock().unwrap().len(), n + 1);
        }
        assert_eq!(thread.finish(), 0);
        assert_eq!(*written.lock().unwrap(), ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn a_reader_that_does_not_read_delays_the_first_line_only() {
        let stop = Arc::<AtomicBool>::default();
        let (thread, reads, written) = with_reader(&stop, None);
        let start = Instant::now();
        (0..100).for_each(|n| thread.write(format!("{n:02}")).unwrap());
        // Waiting for each line would take 10 s.
        assert!(start.elapsed() < Duration::from_secs(5));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(thread.finish(), 200);
        // It reads again.
        stop.store(false, Ordering::Relaxed);
        (0..101).for_each(|_| reads.send(()).unwrap());
        assert_eq!(thread.finish(), 0);
        thread.write("100".into()).unwrap();
        let expected = (0..=100).map(|n| format!("{n:02}"));
        assert_eq!(*written.lock().unwrap(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_full_backlog_waits_until_the_command_is_stopped() {
        let stop = Arc::<AtomicBool>::default();
        let (thread, _reads, _) = with_reader(&stop, None);
        thread.write("x".repeat(MOST + 1)).unwrap();
        let raised = stop.clone();
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            raised.store(true, Ordering::Relaxed);
        });
        thread.write("y".into()).unwrap();
        assert!(stop.load(Ordering::Relaxed), "it has not waited");
        late.join().unwrap();
    }

    #[test]
    fn errors_of_the_stream_are_returned() {
        let broken = Some(io::ErrorKind::BrokenPipe);
        let (thread, reads, _) = with_reader(&Arc::default(), broken);
        reads.send(()).unwrap();
        let error = thread.write("at once".into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        thread.write("late".into()).unwrap();
        reads.send(()).unwrap();
        assert_eq!(thread.finish(), 0);
        let error = thread.write("later".into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

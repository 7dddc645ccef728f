//! The lines that a command writes to its terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;

use gatescan::{Error, Result};

use super::tui::ScreenHandle;

/// Standard output and standard error of a command. While `--tui` has the terminal, its screen
/// holds the lines.
#[derive(Clone)]
pub struct Console {
    quiet: bool,
    screen: ScreenHandle,
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    Out,
    Err,
}

impl Console {
    /// `quiet` leaves out all but results, warnings and errors.
    pub fn new(quiet: bool) -> Console {
        Console {
            quiet,
            screen: ScreenHandle::default(),
        }
    }

    /// Whether all but results, warnings and errors are left out.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The screen of `--tui`.
    pub fn screen(&self) -> &ScreenHandle {
        &self.screen
    }

    /// Writes a line on the progress to standard error, unless the console is quiet.
    pub fn say(&self, line: impl Display) {
        if !self.quiet {
            self.note(line);
        }
    }

    /// Writes a warning or an error to standard error.
    pub fn note(&self, line: impl Display) {
        // A closed standard error has no reader.
        let _ = self.write(OutputStream::Err, &line);
    }

    /// Writes a result to standard output. Breaks where its reader is gone, as `head` is after its
    /// last line.
    pub fn print(&self, line: impl Display) -> Result<ControlFlow<()>> {
        flow_of(self.write(OutputStream::Out, &line))
    }

    fn write(&self, stream: OutputStream, line: &impl Display) -> io::Result<()> {
        if self.screen.hold(stream, line) {
            return Ok(());
        }
        write_line(stream, line)
    }
}

/// Writes a line to the terminal.
pub fn write_line(stream: OutputStream, line: &impl Display) -> io::Result<()> {
    match stream {
        OutputStream::Out => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{line}").and_then(|()| stdout.flush())
        }
        OutputStream::Err => writeln!(io::stderr(), "{line}"),
    }
}

/// Writes bytes to standard output at once. Breaks where its reader is gone.
pub fn print_bytes(bytes: &[u8]) -> Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    flow_of(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// A closed pipe breaks; other errors of standard output are errors.
fn flow_of(written: io::Result<()>) -> Result<ControlFlow<()>> {
    match written {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Error::file(
            "standard output",
            format!("cannot be written: {error}"),
        )),
    }
}

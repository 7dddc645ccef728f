//! The lines that a command writes to its terminal.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use gatescan::low_level::messages::{is_unprintable, printable, printable_lines, printable_text};
use gatescan::{Error, Result};

use super::line_threads::LineThreads;
use super::tui::ScreenHandle;

/// Standard output and standard error of a command. While `--tui` has the terminal, its screen
/// holds the lines.
#[derive(Clone)]
pub struct Console {
    quiet: bool,
    silent: bool,
    screen: ScreenHandle,
    /// The threads that write lines, in a command that signals stop.
    threads: Arc<OnceLock<LineThreads>>,
}

/// The stream that a line is written to.
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
            silent: false,
            screen: ScreenHandle::default(),
            threads: Arc::default(),
        }
    }

    /// From now on, a reader that does not read delays a line by a moment at most; once `stop` is
    /// true, it does not keep the command from its end. Holds for all copies of the console.
    pub fn wait_for_no_reader(&self, stop: &Arc<AtomicBool>) -> Result<()> {
        let failed = |error| Error::Failed(format!("no thread for messages: {error}"));
        let threads = LineThreads::start(stop).map_err(failed)?;
        let _ = self.threads.set(threads);
        Ok(())
    }

    /// Waits until all lines are written, before the process ends. Says what is lost because a
    /// stopped command has no reader.
    pub fn finish(&self) {
        let Some(threads) = self.threads.get() else {
            return;
        };
        let [bytes, of_errors] = threads.finish();
        if bytes > 0 && of_errors == 0 {
            self.note(format!(
                "warning: nobody reads standard output, so its last {bytes} bytes are lost"
            ));
        }
    }

    /// A console that writes nothing, of a process whose lines another process writes.
    #[cfg(feature = "mpi")]
    pub fn silent() -> Console {
        Console {
            silent: true,
            ..Console::new(true)
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

    /// Writes several lines on the progress, as [`Console::say`] does.
    pub fn say_lines(&self, lines: &str) {
        lines.split('\n').for_each(|line| self.say(line));
    }

    /// Writes a warning or an error to standard error: one line, whatever names it has.
    pub fn note(&self, line: impl Display) {
        // A closed standard error has no reader.
        let _ = self.write(OutputStream::Err, &printable(&line.to_string()));
    }

    /// Writes a result of one or several lines to standard output, without characters that act on a
    /// terminal. Breaks where its reader is gone, as `head` is after its last line.
    pub fn print(&self, text: impl Display) -> Result<ControlFlow<()>> {
        flow_of(self.write(OutputStream::Out, &printable_lines(&text.to_string())))
    }

    /// Writes data to standard output: as they are for a file or another program, and as
    /// [`Console::print`] does for a terminal.
    pub fn print_data(&self, line: impl Display) -> Result<ControlFlow<()>> {
        if io::stdout().is_terminal() {
            let text = line.to_string();
            return flow_of(self.write(OutputStream::Out, &printable_text(&text)));
        }
        flow_of(self.write(OutputStream::Out, &line))
    }

    /// Writes JSON to standard output, with the escapes of JSON for what is not printable.
    pub fn print_json(&self, json: impl Display) -> Result<ControlFlow<()>> {
        flow_of(self.write(OutputStream::Out, &escaped_json(&json.to_string())))
    }

    fn write(&self, stream: OutputStream, line: &impl Display) -> io::Result<()> {
        if self.silent || self.screen.hold(stream, line) {
            return Ok(());
        }
        match self.threads.get() {
            Some(threads) => threads.write(stream, line.to_string()),
            None => write_line(stream, line),
        }
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

/// Writes bytes of a text to standard output at once; for a terminal, without characters that act
/// on it. Breaks where its reader is gone.
pub fn print_bytes(bytes: &[u8]) -> Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    let shown = if stdout.is_terminal() {
        terminal_bytes(bytes)
    } else {
        bytes.into()
    };
    flow_of(stdout.write_all(&shown).and_then(|()| stdout.flush()))
}

/// Bytes for a terminal; those that are no whole characters keep all but control characters.
fn terminal_bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(text) => printable_text(text).into_owned().into_bytes().into(),
        Err(_) => {
            let is_shown = |byte: &&u8| !byte.is_ascii_control() || b"\n\t".contains(byte);
            bytes.iter().filter(is_shown).copied().collect()
        }
    }
}

/// JSON with escapes in place of what is not printable, which only its strings have.
fn escaped_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unprintable(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped += &format!("\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
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

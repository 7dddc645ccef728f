//! The file `metrics.jsonl` of a run, and its checksum, of which checkpoints keep a copy.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::Crc;
use serde::Serialize;
use serde_json::Value;

use super::append_log::AppendLog;
use super::directory::{unreadable, unwritable};
use crate::error::{Error, Result};
use crate::io::disk;
use crate::train::checkpoint::{Checkpoint, MetricsMark};

/// The longest line, in bytes; those of gatescan have a few hundred.
const LONGEST_LINE: u64 = 1 << 20;
/// The fields that differ from run to run: they are no part of the checksum.
const TIMES: [&str; 2] = ["sequences_per_second", "seconds"];

/// The metrics of a run: one line for each epoch and each report.
pub(super) struct MetricsLog {
    path: PathBuf,
    log: AppendLog,
    counted: CountedLines,
}

/// Lines and their checksum.
#[derive(Default)]
struct CountedLines {
    lines: u64,
    sum: Crc,
}

impl CountedLines {
    fn add(&mut self, line: &Value) {
        let mut line = line.clone();
        if let Some(fields) = line.as_object_mut() {
            // Keeps the order of the other fields.
            TIMES
                .iter()
                .for_each(|time| drop(fields.shift_remove(*time)));
        }
        self.lines += 1;
        self.sum.update(line.to_string().as_bytes());
    }

    fn mark(&self) -> MetricsMark {
        MetricsMark {
            lines: self.lines,
            crc32: self.sum.sum(),
        }
    }
}

impl MetricsLog {
    /// Opens the file, or creates it. Its lines are counted by [`MetricsLog::go_back`].
    pub(super) fn open(path: PathBuf) -> Result<MetricsLog> {
        Ok(MetricsLog {
            log: AppendLog::open(path.clone())?,
            path,
            counted: CountedLines::default(),
        })
    }

    /// Adds a line, to be written by [`MetricsLog::flush`].
    pub(super) fn record(&mut self, metrics: &impl Serialize) {
        let line = serde_json::json!(metrics);
        self.counted.add(&line);
        self.log.append(format!("{line}\n").as_bytes());
    }

    /// The lines so far, which a checkpoint relies on.
    pub(super) fn mark(&self) -> MetricsMark {
        self.counted.mark()
    }

    /// Writes the lines that are not written yet.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.log.flush()
    }

    /// Waits until all lines are on the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.log.sync()
    }

    /// Whether the file is still the one that is written to.
    pub(super) fn is_there(&self) -> bool {
        self.log.is_there()
    }

    /// Checks that the lines up to `checkpoint` are those of its run.
    ///
    /// # Errors
    /// [`Error::File`] for a file with fewer or other lines.
    pub(super) fn check(&self, checkpoint: Option<&Checkpoint>) -> Result<()> {
        let Some((checkpoint, mark)) = marked(checkpoint) else {
            return Ok(());
        };
        self.lines_of(checkpoint, mark).map(|_| ())
    }

    /// Removes the lines that are later than `checkpoint`, or all of them without one.
    ///
    /// # Errors
    /// Those of [`MetricsLog::check`]; [`Error::File`] where the file cannot be read or written.
    pub(super) fn go_back(&mut self, checkpoint: Option<&Checkpoint>) -> Result<()> {
        self.log.discard_pending();
        let unwritable = |error| unwritable(&self.path, &error);
        if checkpoint.is_none() {
            self.log.truncate(0).map_err(unwritable)?;
            self.counted = CountedLines::default();
            return Ok(());
        }
        if let Some((checkpoint, mark)) = marked(checkpoint) {
            let (end, counted) = self.lines_of(checkpoint, mark)?;
            self.log.truncate(end).map_err(unwritable)?;
            self.counted = counted;
            return Ok(());
        }
        self.keep_by_steps(checkpoint)
    }

    /// The bytes of the lines up to `checkpoint`, and their checksum.
    fn lines_of(&self, checkpoint: &Checkpoint, mark: MetricsMark) -> Result<(u64, CountedLines)> {
        let file = File::open(&self.path).map_err(|error| unreadable(&self.path, &error))?;
        let mut file = BufReader::new(file);
        let (mut end, mut counted, mut line) = (0, CountedLines::default(), vec![]);
        while counted.lines < mark.lines {
            line.clear();
            let read = (&mut file).take(LONGEST_LINE).read_until(b'\n', &mut line);
            read.map_err(|error| unreadable(&self.path, &error))?;
            let value: Option<Value> = serde_json::from_slice(&line).ok();
            let Some(value) = value.filter(|_| line.ends_with(b"\n")) else {
                break;
            };
            counted.add(&value);
            end += line.len() as u64;
        }
        if counted.mark() == mark {
            return Ok((end, counted));
        }
        let step = checkpoint.position.step;
        let found = if counted.lines < mark.lines {
            format!(
                "only the first {} of the {} lines up to the checkpoint of step {step} are whole: \
                 it was cut off or edited",
                counted.lines, mark.lines
            )
        } else {
            format!(
                "the {} lines up to the checkpoint of step {step} are not those of the run: it was \
                 edited",
                mark.lines
            )
        };
        let problem = format!("{found}; restore the file, or begin a new run");
        Err(Error::file(&self.path, problem))
    }

    /// Keeps the lines up to a checkpoint that does not say how many there are.
    fn keep_by_steps(&mut self, checkpoint: Option<&Checkpoint>) -> Result<()> {
        let path = &self.path;
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let (step, epochs) = checkpoint.map_or((0, 0), |checkpoint| {
            (checkpoint.position.step, checkpoint.position.epochs)
        });
        let kept: String = text
            .lines()
            .filter(|line| is_up_to(line, step, epochs))
            .flat_map(|line| [line, "\n"])
            .collect();
        if kept != text {
            disk::write_whole(path, kept.as_bytes()).map_err(|error| unwritable(path, &error))?;
            self.log = AppendLog::open(path.clone())?;
        }
        self.counted = CountedLines::default();
        for line in kept.lines() {
            self.counted.add(&parsed(line));
        }
        Ok(())
    }
}

/// A checkpoint that says how many lines there are.
fn marked(checkpoint: Option<&Checkpoint>) -> Option<(&Checkpoint, MetricsMark)> {
    checkpoint.and_then(|checkpoint| Some((checkpoint, checkpoint.metrics?)))
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

/// Whether a line of the metrics belongs to the first `step` updates or `epochs` epochs. A line
/// that a crash cut off does not.
fn is_up_to(line: &str, step: usize, epochs: usize) -> bool {
    let line = parsed(line);
    let at_most = |key, most| line[key].as_u64().is_some_and(|n| n <= most as u64);
    at_most("step", step) || at_most("epoch", epochs)
}

/// Whether `file` is the one at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    #[cfg(unix)]
    let is_same = {
        use std::os::unix::fs::MetadataExt;
        (opened.dev(), opened.ino()) == (named.dev(), named.ino())
    };
    #[cfg(not(unix))]
    let is_same = opened.len() == named.len();
    is_same
}

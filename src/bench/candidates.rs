//! The search for the settings of a device's tuning that make training steps fastest.

use std::time::{Duration, Instant};

use super::checked::CheckedTrainer;
use super::results::percentiles;
use super::shape::BenchShape;
use crate::backend::OpenDevice;
use crate::data::Split;
use crate::error::{Error, Result};

/// The settings that are tried, in this order, each with the best values of those before it. The
/// settings of a value after a space are tried together with it.
pub const CANDIDATES: [(&str, &[&str]); 9] = [
    ("scan_lanes", &["1", "2", "4", "8"]),
    ("scan_each", &["1", "2", "4"]),
    ("scan_back_lanes", &["1", "4", "8", "16"]),
    ("scan_memory", &["0", "8", "16", "32", "48"]),
    (
        "scan_registers",
        &[
            "64 scan_sequences=1",
            "128 scan_sequences=1",
            "64 scan_sequences=2",
            "64",
        ],
    ),
    ("workgroups", &["16", "32", "64", "128", "256"]),
    ("gemm_side", &["8", "16"]),
    ("scan_tile", &["1", "2", "4"]),
    ("cores", &["4", "16", "64"]),
];

/// A candidate is kept if its time is at most this part of the best one's, in most rounds.
const BETTER: f64 = 0.98;

/// Rounds in which a candidate and the best one are timed in turn.
const ROUNDS: usize = 5;

/// A candidate that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    pub setting: String,
    pub outcome: TrialOutcome,
}

/// The outcome of a trial.
#[derive(Debug, Clone, PartialEq)]
pub enum TrialOutcome {
    /// The median time of a step as a part of the best one's before, and whether it was kept.
    Timed { part: f64, kept: bool },
    /// The device refused the candidate, or its results were wrong. The reason.
    Refused(String),
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundTuning {
    /// The settings that are better than the device's own choice.
    pub settings: Vec<String>,
    /// Time of a step with them as a part of that without, over all shapes.
    pub part: f64,
    /// The number of candidates that were left out, since the time was over.
    pub left_out: usize,
}

/// Trainers of all shapes with one tuning. Their results are right.
struct Contender {
    trainers: Vec<(CheckedTrainer, usize)>,
}

impl Contender {
    /// Loads all shapes and compares their results with the CPU in f64.
    fn new(device: &OpenDevice, settings: &[String], shapes: &[BenchShape]) -> Result<Contender> {
        let device = device.duplicate().tuned(settings)?;
        let load = |shape| -> Result<(CheckedTrainer, usize)> {
            let mut trainer = CheckedTrainer::new(shape, &device)?;
            let steps = trainer.steps_per_submission(Split::Train)?;
            Ok((trainer, steps))
        };
        let trainers = shapes.iter().map(load).collect::<Result<_>>()?;
        Ok(Contender { trainers })
    }

    /// Returns the seconds of a step of each shape.
    fn times(&mut self) -> Result<Vec<f64>> {
        let time = |(trainer, steps): &mut (CheckedTrainer, usize)| -> Result<f64> {
            Ok(trainer.trainer.play(Split::Train, *steps)?.step)
        };
        self.trainers.iter_mut().map(time).collect()
    }

    /// Returns the median over rounds of the time as a part of the other's, the geometric mean over
    /// shapes. Both are played in turn, since the speed of a machine changes.
    fn part_of(&mut self, other: &mut Contender) -> Result<f64> {
        let mut parts = vec![];
        for _ in 0..ROUNDS {
            let (own, best) = (self.times()?, other.times()?);
            let logarithms = own.iter().zip(&best).map(|(own, best)| (own / best).ln());
            parts.push((logarithms.sum::<f64>() / own.len() as f64).exp());
        }
        Ok(percentiles(parts)[1])
    }
}

/// Tries [`CANDIDATES`] on an opened device for at most about `limit`, and calls `observe` after
/// each. The results of every candidate are compared with the CPU in f64 before it is timed.
///
/// # Errors
/// [`Error::Usage`] for the CPU; those of the device, and [`Error::WrongResult`] if the results of
/// the device's own choice are wrong.
pub fn search(
    device: &OpenDevice,
    shapes: &[BenchShape],
    limit: Duration,
    observe: &mut dyn FnMut(&Trial) -> Result<()>,
) -> Result<FoundTuning> {
    if device.adapter().is_none() {
        return Err(Error::usage(
            "the CPU has no tuning to measure; choose a GPU",
        ));
    }
    let start = Instant::now();
    let mut found = FoundTuning {
        settings: vec![],
        part: 1.0,
        left_out: 0,
    };
    let mut best = Contender::new(device, &[], shapes)?;
    for (name, values) in CANDIDATES {
        for value in values {
            let setting = format!("{name}={value}");
            let settings = with_settings(&found.settings, &setting);
            let current = device.duplicate().tuned(&found.settings)?.tuning();
            let Ok(changed) = device.duplicate().tuned(&settings) else {
                continue;
            };
            if changed.tuning() == current {
                continue;
            }
            if start.elapsed() >= limit {
                found.left_out += 1;
                continue;
            }
            let outcome = match try_candidate(device, &settings, shapes, &mut best) {
                Ok((part, contender)) => {
                    let kept = part <= BETTER;
                    if kept {
                        (found.settings, best) = (settings, contender);
                        found.part *= part;
                    }
                    TrialOutcome::Timed { part, kept }
                }
                Err(error @ (Error::WrongResult(_) | Error::LimitExceeded { .. })) => {
                    TrialOutcome::Refused(error.to_string())
                }
                Err(error) => return Err(error),
            };
            observe(&Trial { setting, outcome })?;
        }
    }
    Ok(found)
}

/// Returns settings with those of a candidate, which replace others of the same names.
fn with_settings(settings: &[String], candidate: &str) -> Vec<String> {
    let mut settings = settings.to_vec();
    for setting in candidate.split(' ') {
        let name = setting.split('=').next().unwrap_or_default();
        settings.retain(|known| known.split('=').next() != Some(name));
        settings.push(setting.to_string());
    }
    settings
}

/// Loads a candidate, and returns its time as a part of the best one's.
fn try_candidate(
    device: &OpenDevice,
    settings: &[String],
    shapes: &[BenchShape],
    best: &mut Contender,
) -> Result<(f64, Contender)> {
    let mut contender = Contender::new(device, settings, shapes)?;
    let part = contender.part_of(best)?;
    Ok((part, contender))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tuning::Tuning;

    #[test]
    fn a_candidate_replaces_the_settings_of_its_names() {
        let before = ["cores=4".to_string(), "scan_registers=64".to_string()];
        let after = with_settings(&before, "scan_registers=128 scan_sequences=1");
        assert_eq!(after, ["cores=4", "scan_registers=128", "scan_sequences=1"]);
    }

    #[test]
    fn every_candidate_is_a_setting() {
        for (name, values) in CANDIDATES {
            for value in values {
                let mut tuning = Tuning {
                    shared_lanes: 16,
                    workgroup_memory: 64 << 10,
                    ..Tuning::default()
                };
                for setting in with_settings(&[], &format!("{name}={value}")) {
                    tuning.set(&setting).expect("it is allowed");
                }
            }
        }
    }
}

//! The search for the settings of a device's tuning that make training steps fastest.

use std::time::{Duration, Instant};

use super::checked::{CheckedTrainer, Expected};
use super::results::percentiles;
use super::shape::BenchShape;
use crate::backend::OpenDevice;
use crate::data::Split;
use crate::error::{Error, Result};

/// The settings that are tried, each with the best values of those before it: the first value of
/// each, then the second, and so on, so that a short search tries every setting. The settings of a
/// value after a space are tried together with it.
pub const CANDIDATES: [(&str, &[&str]); 9] = [
    ("scan_lanes", &["8", "4", "2", "1"]),
    ("scan_each", &["4", "2", "1"]),
    (
        "scan_registers",
        &[
            "64 scan_sequences=1",
            "128 scan_sequences=1",
            "128 scan_sequences=1 scan_halves=on",
            "64 scan_sequences=2",
            "64",
        ],
    ),
    ("scan_back_lanes", &["16", "8", "4", "1"]),
    ("scan_memory", &["32", "16", "0", "48", "8"]),
    ("workgroups", &["64", "128", "256", "32", "16"]),
    ("gemm_side", &["16", "8"]),
    ("scan_tile", &["2", "4", "1"]),
    ("cores", &["16", "64", "4"]),
];

/// A candidate is kept if its time is at most this part of the best one's, in most rounds.
const BETTER: f64 = 0.98;

/// Rounds in which a candidate and the best one are timed in turn, at most.
const ROUNDS: usize = 5;

/// A candidate whose first round takes at least this part of the best one's time gets no second.
const FAR_SLOWER: f64 = 1.2;

/// Returns every candidate as settings, in the order of the search.
fn candidates() -> impl Iterator<Item = String> {
    let most = CANDIDATES.map(|(_, values)| values.len());
    let rounds = 0..most.into_iter().max().unwrap_or(0);
    rounds.flat_map(|round| {
        CANDIDATES
            .iter()
            .filter_map(move |(name, values)| Some(format!("{name}={}", values.get(round)?)))
    })
}

/// Whether further rounds cannot change whether a candidate with these parts is kept.
fn is_decided(parts: &[f64]) -> bool {
    let faster = parts.iter().filter(|&&part| part <= BETTER).count();
    let most = ROUNDS / 2 + 1;
    faster >= most
        || parts.len() - faster >= most
        || parts.first().is_some_and(|&part| part >= FAR_SLOWER)
}

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
    fn new(device: &OpenDevice, settings: &[String], shapes: &mut [Shape]) -> Result<Contender> {
        let device = device.duplicate().tuned(settings)?;
        let load = |shape: &mut Shape| -> Result<(CheckedTrainer, usize)> {
            let mut trainer = CheckedTrainer::expecting(shape.shape, &device, &mut shape.expected)?;
            let steps = trainer.steps_per_submission(Split::Train)?;
            Ok((trainer, steps))
        };
        let trainers = shapes.iter_mut().map(load).collect::<Result<_>>()?;
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
    /// shapes. Both are played in turn, since the speed of a machine changes. `None` where
    /// `deadline` passes before it is decided.
    fn part_of(&mut self, other: &mut Contender, deadline: Instant) -> Result<Option<f64>> {
        let mut parts = vec![];
        while !is_decided(&parts) {
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let (own, best) = (self.times()?, other.times()?);
            let logarithms = own.iter().zip(&best).map(|(own, best)| (own / best).ln());
            parts.push((logarithms.sum::<f64>() / own.len() as f64).exp());
        }
        Ok(Some(percentiles(parts)[1]))
    }
}

/// A shape with its right results, once they have been computed.
struct Shape<'a> {
    shape: &'a BenchShape,
    expected: Option<Expected>,
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
    let deadline = Instant::now() + limit;
    let mut found = FoundTuning {
        settings: vec![],
        part: 1.0,
        left_out: 0,
    };
    let mut shapes: Vec<Shape> = (shapes.iter())
        .map(|shape| Shape {
            shape,
            expected: None,
        })
        .collect();
    let mut best = Contender::new(device, &[], &mut shapes)?;
    for setting in candidates() {
        let settings = with_settings(&found.settings, &setting);
        let current = device.duplicate().tuned(&found.settings)?.tuning();
        let Ok(changed) = device.duplicate().tuned(&settings) else {
            continue;
        };
        if changed.tuning() == current {
            continue;
        }
        let tried = try_candidate(device, &settings, &mut shapes, &mut best, deadline);
        let outcome = match tried {
            Ok(None) => {
                found.left_out += 1;
                continue;
            }
            Ok(Some((part, contender))) => {
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

/// Loads a candidate, and returns it with its time as a part of the best one's; `None` where the
/// time does not suffice.
fn try_candidate(
    device: &OpenDevice,
    settings: &[String],
    shapes: &mut [Shape],
    best: &mut Contender,
    deadline: Instant,
) -> Result<Option<(f64, Contender)>> {
    if Instant::now() >= deadline {
        return Ok(None);
    }
    let mut contender = Contender::new(device, settings, shapes)?;
    let part = contender.part_of(best, deadline)?;
    Ok(part.map(|part| (part, contender)))
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
    fn every_candidate_is_a_setting_and_the_first_of_each_come_first() {
        let all: Vec<String> = candidates().collect();
        let values = CANDIDATES.iter().map(|(_, values)| values.len());
        assert_eq!(all.len(), values.sum::<usize>());
        for ((name, values), setting) in CANDIDATES.iter().zip(&all) {
            assert_eq!(*setting, format!("{name}={}", values[0]));
        }
        for candidate in all {
            let mut tuning = Tuning {
                shared_lanes: 16,
                halves: true,
                workgroup_memory: 64 << 10,
                ..Tuning::default()
            };
            for setting in with_settings(&[], &candidate) {
                tuning.set(&setting).expect("it is allowed");
            }
        }
    }

    #[test]
    fn rounds_end_when_they_are_decided() {
        for (parts, expected) in [
            (&[][..], false),
            (&[1.3], true),
            (&[1.1, 1.0], false),
            (&[1.1, 1.0, 0.99], true),
            (&[0.9, 0.97], false),
            (&[0.9, 0.97, 0.98], true),
            (&[0.9, 1.5, 0.97, 1.1], false),
            (&[0.9, 1.5, 0.97, 1.1, 1.0], true),
        ] {
            assert_eq!(is_decided(parts), expected, "{parts:?}");
        }
    }
}

//! How the learning rate changes during a run: a pure function of the run's progress, the same on
//! every device.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::fields;

/// A schedule of the learning rate, as factors of the optimizer's `lr`.
///
/// In the first `warm_up` steps of each, the rate grows linearly, up to `lr` at the last of them.
/// Counts of steps begin after the warm-up; counts of epochs include it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// `lr` after the warm-up.
    Constant {
        #[serde(default)]
        warm_up: usize,
    },
    /// Multiplied by `factor` after every `every` epochs (PyTorch's StepLR, and ExponentialLR with
    /// `every = 1`). The first `after` epochs are not counted (char-rnn's
    /// `learning_rate_decay_after`).
    Step {
        every: usize,
        #[serde(default = "default_factor")]
        factor: f64,
        #[serde(default, skip_serializing_if = "fields::is_default")]
        after: usize,
        #[serde(default)]
        warm_up: usize,
    },
    /// `factor^(step / every)`, which falls with each step (TensorFlow's `exponential_decay`).
    Exponential {
        every: usize,
        factor: f64,
        #[serde(default)]
        warm_up: usize,
    },
    /// Half a cosine, down to `floor` times `lr` at the end of the run, or after `steps`
    /// (Loshchilov & Hutter 2017, without restarts).
    Cosine {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<usize>,
        #[serde(default)]
        floor: f64,
        #[serde(default)]
        warm_up: usize,
    },
    /// Multiplied by `factor`, down to `floor` times `lr`, after more than `patience` consecutive
    /// epochs whose loss is not lower than the lowest by the fraction `threshold` (PyTorch's
    /// ReduceLROnPlateau).
    Plateau {
        #[serde(default = "default_factor")]
        factor: f64,
        #[serde(default = "default_patience")]
        patience: usize,
        #[serde(default = "default_threshold")]
        threshold: f64,
        #[serde(default)]
        floor: f64,
        #[serde(default)]
        warm_up: usize,
    },
}

fn default_factor() -> f64 {
    0.1
}

fn default_patience() -> usize {
    10
}

fn default_threshold() -> f64 {
    1e-4
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule::Constant { warm_up: 0 }
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy)]
pub struct RunProgress {
    /// Updates so far.
    pub step: usize,
    /// Updates of the whole run.
    pub steps: usize,
    /// Completed epochs.
    pub epochs: usize,
    /// Plateaus so far, as [`Plateaus`] counts them.
    pub plateaus: usize,
}

/// The counts by which [`Schedule::Plateau`] finds plateaus: their size does not depend on the
/// length of a run. A schedule that is changed when a run resumes counts on from them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateaus {
    /// The lowest monitored loss that was lower by enough.
    lowest: Option<f64>,
    /// Epochs since that loss, or since the last plateau.
    waited: usize,
    /// Plateaus so far.
    count: usize,
}

impl Plateaus {
    /// Plateaus so far.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Schedule {
    /// Returns the factor of `lr` in the next update.
    pub fn factor(&self, at: &RunProgress) -> f64 {
        let warm_up = self.warm_up();
        if at.step < warm_up {
            return (at.step + 1) as f64 / warm_up as f64;
        }
        let since = (at.step - warm_up) as f64;
        match *self {
            Schedule::Constant { .. } => 1.0,
            Schedule::Step {
                every,
                factor,
                after,
                ..
            } => factor.powf((at.epochs.saturating_sub(after) / every) as f64),
            Schedule::Exponential { every, factor, .. } => factor.powf(since / every as f64),
            Schedule::Cosine { steps, floor, .. } => {
                let all = steps.unwrap_or(at.steps.saturating_sub(warm_up));
                let share = (since / all.max(1) as f64).min(1.0);
                floor + (1.0 - floor) * 0.5 * (1.0 + (PI * share).cos())
            }
            Schedule::Plateau { factor, floor, .. } => factor.powf(at.plateaus as f64).max(floor),
        }
    }

    /// Counts an epoch with this monitored loss: more than `patience` consecutive losses that are
    /// not below `1 - threshold` times the lowest are a plateau. Other schedules only keep the
    /// lowest loss.
    pub fn count_epoch(&self, plateaus: &mut Plateaus, loss: f64) {
        let (patience, threshold) = match *self {
            Schedule::Plateau {
                patience,
                threshold,
                ..
            } => (patience, threshold),
            _ => (usize::MAX, 0.0),
        };
        let lowest = plateaus.lowest.unwrap_or(f64::INFINITY);
        // A log-likelihood may be below 0, where lower is farther from 0.
        let part = if lowest < 0.0 { -threshold } else { threshold };
        if loss < lowest * (1.0 - part) {
            (plateaus.lowest, plateaus.waited) = (Some(loss), 0);
        } else if patience < usize::MAX {
            plateaus.waited += 1;
        }
        if plateaus.waited > patience {
            (plateaus.count, plateaus.waited) = (plateaus.count + 1, 0);
        }
    }

    fn warm_up(&self) -> usize {
        match *self {
            Schedule::Constant { warm_up }
            | Schedule::Step { warm_up, .. }
            | Schedule::Exponential { warm_up, .. }
            | Schedule::Cosine { warm_up, .. }
            | Schedule::Plateau { warm_up, .. } => warm_up,
        }
    }

    /// Checks the constants.
    ///
    /// # Errors
    /// [`Error::InvalidValue`](crate::error::Error::InvalidValue) for the first that is not
    /// allowed.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Schedule::Constant { .. } => Ok(()),
            Schedule::Step { every, factor, .. } | Schedule::Exponential { every, factor, .. } => {
                fields::count("schedule.every", every)?;
                check_factor(factor)
            }
            Schedule::Cosine { steps, floor, .. } => {
                fields::optional_count("schedule.steps", steps)?;
                check_floor(floor)
            }
            Schedule::Plateau {
                factor,
                threshold,
                floor,
                ..
            } => {
                check_factor(factor)?;
                fields::fraction("schedule.threshold", threshold)?;
                check_floor(floor)
            }
        }
    }
}

fn check_factor(factor: f64) -> Result<()> {
    let is_allowed = factor > 0.0 && factor <= 1.0;
    fields::require(
        is_allowed,
        "schedule.factor",
        factor,
        "above 0 and at most 1",
    )
}

fn check_floor(floor: f64) -> Result<()> {
    let range = "at least 0 and at most 1, as a part of optimizer.lr";
    fields::require((0.0..=1.0).contains(&floor), "schedule.floor", floor, range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: &Schedule, steps: usize, losses: &[f64]) -> Vec<f64> {
        let mut plateaus = Plateaus::default();
        for &loss in losses {
            schedule.count_epoch(&mut plateaus, loss);
        }
        let at = |step| RunProgress {
            step,
            steps,
            epochs: losses.len(),
            plateaus: plateaus.count(),
        };
        (0..steps).map(|step| schedule.factor(&at(step))).collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        assert!(
            found.iter().zip(expected).all(near),
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn constant_warms_up_linearly() {
        let schedule = Schedule::Constant { warm_up: 4 };
        assert_eq!(factors(&schedule, 6, &[]), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(factors(&Schedule::default(), 2, &[]), [1.0, 1.0]);
    }

    #[test]
    fn step_falls_after_epochs() {
        let schedule = Schedule::Step {
            every: 2,
            factor: 0.5,
            after: 0,
            warm_up: 0,
        };
        let found: Vec<f64> = (0..6)
            .map(|epoch| factors(&schedule, 1, &vec![1.0; epoch])[0])
            .collect();
        assert_near(&found, &[1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
        let text = "kind = 'step'\nevery = 1\nfactor = 0.5\nafter = 3";
        let schedule: Schedule = toml::from_str(text).unwrap();
        let found: Vec<f64> = (0..6)
            .map(|epoch| factors(&schedule, 1, &vec![1.0; epoch])[0])
            .collect();
        assert_near(&found, &[1.0, 1.0, 1.0, 1.0, 0.5, 0.25]);
    }

    #[test]
    fn exponential_falls_after_each_step_after_the_warm_up() {
        let schedule = Schedule::Exponential {
            every: 2,
            factor: 0.25,
            warm_up: 2,
        };
        assert_near(
            &factors(&schedule, 6, &[]),
            &[0.5, 1.0, 1.0, 0.5, 0.25, 0.125],
        );
    }

    #[test]
    fn cosine_ends_at_its_floor() {
        let mut schedule = Schedule::Cosine {
            steps: None,
            floor: 0.2,
            warm_up: 1,
        };
        let half = 0.2 + 0.8 * 0.5;
        let quarter = 0.2 + 0.8 * (1.0 + 0.5f64.sqrt()) / 2.0;
        let rest = 0.2 + 0.8 * (1.0 - 0.5f64.sqrt()) / 2.0;
        assert_near(
            &factors(&schedule, 5, &[]),
            &[1.0, 1.0, quarter, half, rest],
        );
        if let Schedule::Cosine { steps, .. } = &mut schedule {
            *steps = Some(2);
        }
        assert_near(&factors(&schedule, 5, &[]), &[1.0, 1.0, half, 0.2, 0.2]);
    }

    #[test]
    fn plateau_falls_after_more_epochs_than_its_patience() {
        let schedule = Schedule::Plateau {
            factor: 0.1,
            patience: 1,
            threshold: 0.01,
            floor: 0.005,
            warm_up: 0,
        };
        // 0.995 is not lower by enough; 0.9 is. Three pairs of bad epochs end at the floor.
        let losses = [1.0, 0.995, 1.0, 0.9, 0.9, 0.9, 0.9, 0.95, 1.0];
        let found: Vec<f64> = (0..=losses.len())
            .map(|epochs| factors(&schedule, 1, &losses[..epochs])[0])
            .collect();
        let expected = [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005];
        assert_near(&found, &expected);
    }

    #[test]
    fn a_schedule_that_becomes_a_plateau_counts_from_there() {
        let plateau: Schedule = toml::from_str("kind = 'plateau'\npatience = 1").unwrap();
        let mut plateaus = Plateaus::default();
        for loss in [1.0, 2.0, 2.0, 2.0] {
            Schedule::default().count_epoch(&mut plateaus, loss);
        }
        assert_eq!((plateaus.count(), plateaus.lowest), (0, Some(1.0)));
        for _ in 0..2 {
            plateau.count_epoch(&mut plateaus, 2.0);
        }
        assert_eq!(plateaus.count(), 1);
    }

    #[test]
    fn invalid_constants_are_refused() {
        for (text, expected) in [
            (
                "kind = 'step'\nevery = 0",
                "schedule.every is 0; it must be at least 1",
            ),
            (
                "kind = 'step'\nevery = 1\nfactor = 1.5",
                "schedule.factor is 1.5; it must be above 0 and at most 1",
            ),
            (
                "kind = 'exponential'\nevery = 9\nfactor = 0",
                "schedule.factor is 0",
            ),
            (
                "kind = 'cosine'\nsteps = 0",
                "schedule.steps is 0; it must be at least 1",
            ),
            (
                "kind = 'cosine'\nfloor = -1",
                "schedule.floor is -1; it must be at least 0 and at most 1",
            ),
            (
                "kind = 'plateau'\nthreshold = 1",
                "schedule.threshold is 1; it must be at least 0 and below 1",
            ),
        ] {
            let schedule: Schedule = toml::from_str(text).unwrap();
            let message = schedule.validate().unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}

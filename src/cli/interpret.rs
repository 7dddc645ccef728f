//! `gatescan verify --device interpreter`: interprets the shaders as several kinds of hardware.

use std::path::Path;
use std::time::Instant;

use clap::Args;
use gatescan::low_level::backend::interpreter::{InterpreterDevice, LaneOrder, Profile, Subgroups};
use gatescan::verify::{self, Case, Report};
use gatescan::{Error, OpenDevice, Result};
use serde_json::{Value, json};

use super::{Tune, aligned};

/// The value of `--device` that chooses the interpreter.
pub(super) const DEVICE: &str = "interpreter";

/// The hardware that the interpreter stands for.
#[derive(Args)]
pub(super) struct Hardware {
    /// Interpret as one kind of hardware: amd, apple, nvidia, intel, dx12, software or amd-gcn;
    /// without it as the first six in turn, single kernels as the first alone. Needs `--device
    /// interpreter`.
    #[arg(long = "as", value_name = "HARDWARE")]
    profile: Option<String>,
    /// Lanes of a subgroup and their order, as in 16-strided: 1, 4, 8, 16, 32, 64 or 128, and
    /// linear, reversed or strided. Needs `--device interpreter`.
    #[arg(long, value_name = "SIZE-ORDER")]
    subgroups: Option<String>,
}

impl Hardware {
    /// Fails if an option is given to a device that is not the interpreter.
    pub(super) fn check_unused(&self) -> Result<()> {
        let options = [("--as", &self.profile), ("--subgroups", &self.subgroups)];
        match options.iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(Error::usage(format!(
                "{name} is for the interpreter alone; add --device {DEVICE} or omit {name}"
            ))),
            None => Ok(()),
        }
    }

    fn profiles(&self) -> Result<Vec<Profile>> {
        let mut profiles = match &self.profile {
            None => Profile::usual(),
            Some(name) => vec![Profile::named(name).ok_or_else(|| {
                Error::usage(format!(
                    "--as {name}: no such hardware; use one of {}",
                    Profile::names().join(", ")
                ))
            })?],
        };
        if let Some(text) = &self.subgroups {
            let subgroups = subgroups(text).ok_or_else(|| {
                Error::usage(format!(
                    "--subgroups {text}: it must be SIZE-ORDER, as in 16-strided, with a size of \
                     1, 4, 8, 16, 32, 64 or 128 and the order linear, reversed or strided"
                ))
            })?;
            profiles
                .iter_mut()
                .for_each(|profile| profile.subgroups = subgroups);
        }
        Ok(profiles)
    }
}

fn subgroups(text: &str) -> Option<Subgroups> {
    let (size, order) = text.split_once('-')?;
    let size = size.parse().ok()?;
    let order = LaneOrder::ALL
        .into_iter()
        .find(|known| known.name() == order)?;
    Subgroups::SIZES
        .contains(&size)
        .then_some(Subgroups { size, order })
}

/// The results of one profile.
struct ProfileOutcome {
    profile: Profile,
    report: Report,
    /// Cases that did not end, and why.
    errors: Vec<(String, Error)>,
    seconds: f64,
}

/// The results of all profiles.
pub(super) struct Outcome {
    profiles: Vec<ProfileOutcome>,
}

/// Plays the cases as each kind of hardware.
pub(super) fn run(
    hardware: &Hardware,
    tune: &Tune,
    mut cases: Vec<Case>,
    dump: Option<&Path>,
) -> Result<Outcome> {
    let mut outcomes = vec![];
    let cases_of_one = cases.len() == 1;
    for profile in hardware.profiles()? {
        let start = Instant::now();
        let device = OpenDevice::Interpreter(Box::new(InterpreterDevice::new(profile.clone())));
        let device = device.tuned(&tune.settings);
        let device = device.map_err(|error| Error::usage(format!("--tune {error}")))?;
        let (report, errors) = verify::check_cases(&cases, &device, dump);
        outcomes.push(ProfileOutcome {
            profile,
            report,
            errors,
            seconds: start.elapsed().as_secs_f64(),
        });
        // The others would be the same again.
        cases.retain(|case| cases_of_one || case.depends_on_tuning());
    }
    Ok(Outcome { profiles: outcomes })
}

impl ProfileOutcome {
    fn faults(&self) -> usize {
        self.errors.len() + self.report.failures.len()
    }

    /// The faults as lines, with the command that repeats each.
    fn lines(&self) -> Vec<String> {
        let name = self.profile.name;
        let errors = self.errors.iter();
        let errors = errors.map(|(case, error)| (case, error.to_string()));
        let failures = self.report.failures.iter();
        let failures = failures.map(|failure| (&failure.case, failure.to_string()));
        let line = |(case, text): (&String, String)| {
            let command = format!("gatescan verify --device {DEVICE} --as {name} --case {case}");
            format!("as {name}, case {case}: {text}\n    ({command})")
        };
        errors.chain(failures).map(line).collect()
    }

    fn json(&self) -> Value {
        let errors = self.errors.iter();
        let errors = errors.map(|(case, error)| json!({"case": case, "error": error.to_string()}));
        json!({
            "hardware": self.profile.name,
            "cases": self.report.cases,
            "seconds": self.seconds,
            "kernels": self.report.kernels,
            "failures": self.report.failures,
            "errors": errors.collect::<Vec<_>>(),
        })
    }
}

impl Outcome {
    pub(super) fn json(&self) -> String {
        let faults: usize = self.profiles.iter().map(ProfileOutcome::faults).sum();
        let profiles: Vec<Value> = self.profiles.iter().map(ProfileOutcome::json).collect();
        json!({"passed": faults == 0, "profiles": profiles}).to_string()
    }

    pub(super) fn text(&self) -> String {
        let header = [
            "HARDWARE",
            "SUBGROUPS",
            "CASES",
            "CALLS",
            "FAULTS",
            "SECONDS",
        ];
        let mut rows = vec![header.map(str::to_string)];
        for outcome in &self.profiles {
            let Subgroups { size, order, .. } = outcome.profile.subgroups;
            let calls: usize = outcome.report.kernels.values().map(|row| row.calls).sum();
            rows.push([
                outcome.profile.name.to_string(),
                format!("{size} {}", order.name()),
                (outcome.report.cases + outcome.errors.len()).to_string(),
                calls.to_string(),
                outcome.faults().to_string(),
                format!("{:.1}", outcome.seconds),
            ]);
        }
        let mut lines = vec![aligned(&rows, 2)];
        lines.extend(self.profiles.iter().flat_map(ProfileOutcome::lines));
        lines.join("\n")
    }

    /// Fails if there is a fault.
    pub(super) fn result(&self) -> Result<()> {
        let faults: usize = self.profiles.iter().map(ProfileOutcome::faults).sum();
        if faults == 0 {
            return Ok(());
        }
        let all = "the faults are listed above";
        Err(Error::WrongResult(format!(
            "the interpreter has found {faults} faults; {all}"
        )))
    }
}

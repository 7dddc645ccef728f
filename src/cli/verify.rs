//! `gatescan verify`: checks that a device computes the right results.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use gatescan::low_level::backend::adapter::AdapterSummary;
use gatescan::low_level::messages::shown_path;
use gatescan::recipe::Precision;
use gatescan::verify::{self, Case, Deviation, Effort, Report, Row};
use gatescan::{Device, Error, OpenDevice, Recipe, Result};
use serde_json::json;

use super::console::Console;
use super::interpret::{self, Hardware};
use super::{MatmulPrecision, Tune, choose_device, open};

/// Check every kernel on a device against the CPU in f64.
#[derive(Args)]
#[command(after_help = "\
Each kernel call runs on the device and, with the same inputs, on the CPU in f64, which also \
computes a bound on the f32 rounding error of every element. ERROR is the largest difference, \
RELATIVE the same divided by the largest magnitude in the argument; a kernel is wrong where \
ERROR/BOUND is above 1. The exit code is 0 if all cases passed, else 1.

With --device interpreter the shaders' own text is interpreted on the CPU, in the place of \
hardware of several kinds, and checked for data races, accesses outside tensors, uses of values \
that nobody has written, barriers and subgroup operations that some invocations miss, integer \
overflow, and loops longer than stated.

Examples:
  gatescan verify                               the default device, in less than a minute
  gatescan verify --device interpreter          interpret the shaders as six kinds of hardware
  gatescan verify --device radeon --full        more sizes, every option with every kind of values
  gatescan verify --recipe mine.toml            your network at its own sizes
  gatescan verify --case gemm-sizes-ordinary --dump out    one case; saves failed calls as .npy")]
pub struct Verify {
    /// auto, gpu, cpu, interpreter, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    tune: Tune,
    #[command(flatten)]
    rounding: MatmulPrecision,
    /// Check the network of a built-in recipe or a recipe file, instead of the sweep.
    #[arg(long, value_name = "RECIPE", conflicts_with_all = ["quick", "full", "precision"])]
    recipe: Option<String>,
    /// Check every kernel, cell, option and route, in less than a minute (the default).
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Also check more sizes, and every option with every kind of values.
    #[arg(long)]
    full: bool,
    /// Check only the case with this name.
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// Save the arguments of failed calls as .npy: before the call, found, expected and bound.
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Refuses a directory of `--dump` with files, which would be replaced.
fn check_empty(directory: &Path) -> Result<()> {
    let is_empty = directory
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_none());
    if directory.exists() && !is_empty {
        return Err(Error::usage(format!(
            "--dump {}: there are files in this directory, which are not overwritten; name a new \
             one",
            shown_path(directory)
        )));
    }
    Ok(())
}

impl Verify {
    pub fn run(&self, console: &Console) -> Result<()> {
        let cases = self.cases()?;
        if let Some(directory) = &self.dump {
            check_empty(directory)?;
        }
        if self.device.eq_ignore_ascii_case(interpret::DEVICE) {
            self.rounding.check_default(interpret::DEVICE)?;
            let dump = self.dump.as_deref();
            let outcome = interpret::run(&self.hardware, &self.tune, cases, dump)?;
            let text = if self.json {
                outcome.json()
            } else {
                outcome.text()
            };
            let _ = console.print(text)?;
            return outcome.result();
        }
        self.hardware.check_unused()?;
        let (device, why) = choose_device(&self.device)?;
        console.say(format!("verifying {why}"));
        let devices = self.open(&device, cases.len())?;
        let start = Instant::now();
        let report = verify::check_all(&cases, &devices, self.dump.as_deref())?;
        let seconds = start.elapsed().as_secs_f64();
        let text = if self.json {
            self.json(&report, seconds)
        } else {
            format!(
                "{}\n\n{} cases in {seconds:.1} s",
                table(&report),
                report.cases
            )
        };
        let _ = console.print(text)?;
        match report.failures.first() {
            None => Ok(()),
            Some(first) => Err(self.failure(&report, first)),
        }
    }

    /// Opens the device, and an adapter that computes on the CPU once for each of up to four
    /// threads: each device compiles on one.
    fn open(&self, device: &Device, cases: usize) -> Result<Vec<OpenDevice>> {
        let opened = open(device, &self.tune)?;
        let mut devices = vec![opened.with_precision(self.rounding.precision)?];
        if devices[0]
            .adapter()
            .is_some_and(AdapterSummary::is_software)
        {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            for _ in 1..threads.min(4).min(cases) {
                devices.push(open(device, &self.tune)?);
            }
        }
        Ok(devices)
    }

    fn cases(&self) -> Result<Vec<Case>> {
        let of_recipe = match &self.recipe {
            Some(recipe) => Some(verify::recipe_cases(&Recipe::load(recipe)?)?),
            None => None,
        };
        let Some(id) = &self.case else {
            let effort = if self.full {
                Effort::Full
            } else {
                Effort::Quick
            };
            return Ok(of_recipe.unwrap_or_else(|| verify::sweep(effort)));
        };
        let case = match of_recipe {
            Some(cases) => cases.into_iter().find(|case| case.id == *id),
            None => verify::sweep_case(id),
        };
        let case = case.ok_or_else(|| {
            Error::usage(format!(
                "--case {id}: no case has this name; the names are at the beginning of the table's \
                 last column"
            ))
        })?;
        Ok(vec![case])
    }

    fn json(&self, report: &Report, seconds: f64) -> String {
        let failures = report.failures.iter();
        let commands: Vec<String> = failures.map(|each| self.command(&each.case)).collect();
        json!({
            "passed": report.passed(),
            "cases": report.cases,
            "seconds": seconds,
            "kernels": report.kernels,
            "failures": report.failures,
            "reproduce": commands,
        })
        .to_string()
    }

    fn failure(&self, report: &Report, first: &Deviation) -> Error {
        Error::WrongResult(format!(
            "{} of {} cases failed; the first failure: {first}. To check this case alone: {} \
             --dump DIR",
            report.failed_cases(),
            report.cases,
            self.command(&first.case)
        ))
    }

    /// The command that checks one case alone.
    fn command(&self, case: &str) -> String {
        let recipe = self.recipe.as_ref();
        let recipe = recipe.map_or(String::new(), |recipe| format!(" --recipe {recipe}"));
        let tune = self.tune.settings.iter();
        let tune: String = tune.map(|setting| format!(" --tune {setting}")).collect();
        let precision = match self.rounding.precision {
            Precision::F32 => String::new(),
            other => format!(" --precision {}", other.name()),
        };
        format!(
            "gatescan verify --device '{}'{recipe}{tune}{precision} --case {case}",
            self.device
        )
    }
}

fn table(report: &Report) -> String {
    let header = format!(
        "{:<22}{:>6}{:>8}{:>12}{:>10}{:>10}{:>13}  WHERE",
        "KERNEL", "CASES", "CALLS", "ELEMENTS", "ERROR", "RELATIVE", "ERROR/BOUND"
    );
    let mut lines = vec![header];
    let rows = report.kernels.iter();
    lines.extend(rows.map(|(kernel, row)| table_row(kernel, row)));
    lines.join("\n")
}

fn table_row(kernel: &str, row: &Row) -> String {
    let worst = row.worst.as_ref().filter(|worst| worst.units > 0.0);
    let location = worst.map_or("exact".into(), |worst| {
        let Deviation {
            case,
            call,
            argument,
            index,
            ..
        } = worst;
        format!("{case} {call} {argument}[{index}]")
    });
    let verdict = if row.units <= 1.0 { "" } else { "  FAILED" };
    format!(
        "{kernel:<22}{:>6}{:>8}{:>12}{:>10.1e}{:>10.1e}{:>13.3}  {location}{verdict}",
        row.cases, row.calls, row.elements, row.absolute, row.relative, row.units
    )
}

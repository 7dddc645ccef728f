//! `gatescan verify`: whether a device computes what it should.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use gatescan::error::{Error, Result};
use gatescan::recipe::Recipe;
use gatescan::verify::{self, Case, Effort, Report, Row};
use serde_json::json;

use super::console::Console;
use super::{Tune, choose_device, open};

/// Check every kernel on a device against the CPU in f64.
#[derive(Args)]
#[command(after_help = "\
Each kernel call is played on the device and, from the same numbers, on the CPU in f64, where every number carries a bound on \
what f32 rounding can add. ERROR is the largest difference, RELATIVE the same over the largest magnitude beside it, and \
ERROR/BOUND above 1 is a wrong kernel. The exit code is 0 where all passed, and 1 where not.

Examples:
  gatescan verify                               the default device, in less than a minute
  gatescan verify --device radeon --full        more sizes, every option with every kind of numbers
  gatescan verify --recipe mine.toml            your network at its own sizes
  gatescan verify --case gemm-sizes-ordinary --dump out    one case; what fails is saved as .npy")]
pub struct Verify {
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// The network of a recipe, built in or a file, in place of the sweep.
    #[arg(long, value_name = "RECIPE", conflicts_with_all = ["quick", "full"])]
    recipe: Option<String>,
    /// Every kernel, cell, option and route, in less than a minute; the default.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Also more sizes, and every option with every kind of numbers.
    #[arg(long)]
    full: bool,
    /// Only the case of this name.
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// Save the arguments of calls that fail: before, found, expected and bound, as .npy.
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(&self, console: &Console) -> Result<()> {
        let cases = self.cases()?;
        let (device, why) = choose_device(&self.device)?;
        console.say(format!("verifying {why}"));
        let place = open(&device, &self.tune)?;
        let start = Instant::now();
        let mut report = Report::default();
        for case in &cases {
            case.check(&place, &mut report, self.dump.as_deref())?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let commands = report.failures.iter().map(|spot| self.command(&spot.case));
        let text = match self.json {
            true => json!({
                "passed": report.passed(),
                "cases": report.cases,
                "seconds": seconds,
                "kernels": report.kernels,
                "failures": report.failures,
                "reproduce": commands.collect::<Vec<_>>(),
            })
            .to_string(),
            false => format!(
                "{}\n\n{} cases in {seconds:.1} s",
                table(&report),
                report.cases
            ),
        };
        let _ = console.print(text)?;
        match report.failures.first() {
            None => Ok(()),
            Some(worst) => Err(Error::WrongResult(format!(
                "{} of {} cases failed. The first: {worst}. To see it alone: {} --dump DIR",
                count_cases(&report),
                report.cases,
                self.command(&worst.case)
            ))),
        }
    }

    fn cases(&self) -> Result<Vec<Case>> {
        let Some(id) = &self.case else {
            return self.swept(if self.full {
                Effort::Full
            } else {
                Effort::Quick
            });
        };
        // Of either sweep; a name means the same in both.
        let mut cases = self.swept(Effort::Quick)?;
        cases.extend(self.swept(Effort::Full)?);
        let case = cases.into_iter().find(|case| case.id == *id);
        let case = case.ok_or_else(|| {
            Error::usage(format!(
                "--case {id}: there is no such case; the table's last column begins with names of cases"
            ))
        })?;
        Ok(vec![case])
    }

    fn swept(&self, effort: Effort) -> Result<Vec<Case>> {
        match &self.recipe {
            Some(recipe) => verify::of_recipe(&Recipe::load(recipe)?),
            None => Ok(verify::sweep(effort)),
        }
    }

    /// What reproduces one case.
    fn command(&self, case: &str) -> String {
        let recipe = self.recipe.as_ref();
        let recipe = recipe.map_or(String::new(), |recipe| format!(" --recipe {recipe}"));
        let tune = self.tune.settings.iter();
        let tune: String = tune.map(|setting| format!(" --tune {setting}")).collect();
        format!(
            "gatescan verify --device '{}'{recipe}{tune} --case {case}",
            self.device
        )
    }
}

fn count_cases(report: &Report) -> usize {
    let mut cases: Vec<_> = report.failures.iter().map(|spot| &spot.case).collect();
    cases.sort();
    cases.dedup();
    cases.len()
}

fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:<22}{:>6}{:>8}{:>12}{:>10}{:>10}{:>13}  WHERE",
        "KERNEL", "CASES", "CALLS", "NUMBERS", "ERROR", "RELATIVE", "ERROR/BOUND"
    )];
    let line = |(kernel, row): (&&str, &Row)| {
        let place = row.worst.as_ref().filter(|worst| worst.units > 0.0);
        let place = place.map_or("exact".into(), |worst| {
            format!(
                "{} {} {}[{}]",
                worst.case, worst.call, worst.argument, worst.index
            )
        });
        let verdict = if row.units <= 1.0 { "" } else { "  FAILED" };
        format!(
            "{kernel:<22}{:>6}{:>8}{:>12}{:>10.1e}{:>10.1e}{:>13.3}  {place}{verdict}",
            row.cases, row.calls, row.numbers, row.absolute, row.relative, row.units
        )
    };
    lines.extend(report.kernels.iter().map(line));
    lines.join("\n")
}

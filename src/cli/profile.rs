//! `gatescan profile`: where the time of a training step goes.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::error::{Error, Result};
use gatescan::low_level::backend::ceilings::Ceiling;
use gatescan::low_level::io::files;
use gatescan::low_level::numeric::statistics::{Estimate, figure};
use gatescan::profile::{self, Change, Clock, Comparison, Machine, Options, Site};
use gatescan::recipe::Recipe;
use serde_json::json;

use super::console::Console;
use super::devices::bytes;
use super::{Tune, aligned, check_data_path, choose_device, open};

/// See where the time of a training step goes.
#[derive(Args)]
#[command(after_help = "\
Where the recipe's data are not there, made-up ones of its shape take their place.

Examples:
  gatescan profile mnist
  gatescan profile mnist --device gpu --html profile.html --trace trace.json
  gatescan profile mnist --set network.layer.0.hidden_size=256 --json > after.json
  gatescan profile --compare before.json after.json")]
pub struct Profile {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    #[arg(required_unless_present = "compare", conflicts_with = "compare")]
    recipe: Option<String>,
    /// Directory of the data set's files, in place of the recipe's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// Steps to profile.
    #[arg(long, value_name = "N", default_value = "20")]
    steps: NonZeroUsize,
    /// Change any field of the recipe, as in batch_size=256.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Time calls on the host, each alone, whatever the device's timestamps say.
    #[arg(long)]
    host_clock: bool,
    /// Write a trace for Perfetto (https://ui.perfetto.dev) or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write a page with roofline, timeline and table.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// What got faster or slower between two profiles that --json printed.
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    compare: Option<Vec<PathBuf>>,
}

impl Profile {
    pub fn run(&self, console: &Console) -> Result<()> {
        let text = match (self.compare.as_deref(), &self.recipe) {
            (Some([before, after]), _) => self.compare(console, before, after)?,
            (_, Some(recipe)) => self.measure(console, recipe)?,
            _ => {
                return Err(Error::usage(
                    "name a recipe, or two profiles with --compare",
                ));
            }
        };
        let _ = console.print(text)?;
        Ok(())
    }

    fn measure(&self, console: &Console, recipe: &str) -> Result<String> {
        let mut recipe = Recipe::load(recipe)?;
        if let Some(directory) = &self.data {
            check_data_path(&recipe.data, directory)?;
            recipe.data.set_path(directory.clone());
        }
        recipe.set(&self.set)?;
        recipe.validate()?;
        let (device, device_why) = choose_device(&self.device)?;
        console.say(format!("device  {device_why}"));
        let made_up = match recipe.data.is_there() {
            true => None,
            false => recipe
                .data
                .made_up(recipe.batch_size.saturating_mul(4), recipe.seed),
        };
        let data = match made_up {
            Some(data) => {
                console.note("data    are not there; made-up ones of their shape take their place");
                data
            }
            None => recipe.data.load(recipe.seed)?,
        };
        let options = Options {
            steps: self.steps.get(),
            clock: match self.host_clock {
                true => Clock::Host,
                false => Clock::Device,
            },
        };
        let profile =
            profile::Profile::measure(&recipe, &data, &open(&device, &self.tune)?, options)?;
        if let Some(path) = &self.trace {
            write(console, path, &profile.trace().to_string())?;
        }
        if let Some(path) = &self.html {
            write(console, path, &profile.page())?;
        }
        Ok(match self.json {
            true => json!(profile).to_string(),
            false => report(&profile),
        })
    }

    fn compare(&self, console: &Console, before: &Path, after: &Path) -> Result<String> {
        let [before, after] = [read(before)?, read(after)?];
        let comparison = before.compare(&after);
        if self.json {
            return Ok(json!(comparison).to_string());
        }
        if before.machine.name() != after.machine.name() {
            let names = [&before, &after].map(|profile| profile.machine.name());
            console.note(format!(
                "they are of two devices: {} and {}",
                names[0], names[1]
            ));
        }
        Ok(differences(&comparison))
    }
}

fn write(console: &Console, path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
    console.say(format!("wrote   {}", path.display()));
    Ok(())
}

/// The largest profile that is read, in bytes: thousands of call sites.
const LARGEST_FILE: u64 = 2 << 20;

fn read(path: &Path) -> Result<profile::Profile> {
    let text = files::read_text(path, LARGEST_FILE)
        .map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        let problem = format!("is not what `gatescan profile --json` prints: {error}");
        Error::file(path, problem)
    })
}

fn report(profile: &profile::Profile) -> String {
    let mut lines = header(profile);
    lines.push(String::new());
    lines.push(table(&profile.sites));
    lines.push(String::new());
    lines.extend(footer(profile));
    lines.join("\n")
}

fn header(profile: &profile::Profile) -> Vec<String> {
    let mut lines = vec![format!(
        "recipe    {}, T {}, B {}, {} steps profiled",
        profile.recipe, profile.batch[0], profile.batch[1], profile.steps
    )];
    match &profile.machine {
        Machine::Cpu { name, threads } => {
            lines.push(format!("device    {name}, {threads} threads"));
        }
        Machine::Gpu(adapter) => {
            lines.push(format!(
                "device    {} ({}) on {}, driver {}",
                adapter.name,
                adapter.kind.name(),
                adapter.backend,
                adapter.driver
            ));
            lines.push(format!(
                "limits    buffer {}, binding {}, workgroup {} and {} invocations, subgroup {}, {}",
                bytes(adapter.limits.max_buffer_bytes),
                bytes(adapter.limits.max_binding_bytes),
                bytes(adapter.limits.workgroup_memory_bytes.into()),
                adapter.limits.max_workgroup_invocations,
                adapter.subgroups_text(),
                if adapter.features.timestamps {
                    "timestamps"
                } else {
                    "no timestamps"
                },
            ));
        }
    }
    let ceilings = &profile.ceilings;
    let ceiling = |name: &str, ceiling: &Ceiling, unit: &str| {
        let [best, median] = [ceiling.best, ceiling.median].map(figure);
        format!("{name} {best} {unit} (median {median})")
    };
    let mut figures = vec![
        ceiling("copy", &ceilings.copy_gbytes_per_s, "GB/s"),
        ceiling("multiply-add", &ceilings.multiply_add_gflops, "GFLOP/s"),
        ceiling("empty dispatch", &ceilings.empty_dispatch_us, "µs"),
    ];
    let host = [
        ("submission", &ceilings.submission_us),
        ("submission and wait", &ceilings.round_trip_us),
    ];
    let host = host.into_iter();
    let host = host.filter_map(|(name, cost)| Some(ceiling(name, cost.as_ref()?, "µs")));
    figures.extend(host);
    lines.push(format!("ceilings  {}", figures.join(", ")));
    lines
}

/// `copy 12.3 GB/s ±2%`: half of the samples are that close.
fn measured(name: &str, estimate: &Estimate, unit: &str) -> String {
    let (figure, half) = (figure(estimate.median), estimate.spread() * 50.0);
    format!("{name} {figure} {unit} ±{half:.0}%")
}

fn table(sites: &[Site]) -> String {
    let header = [
        "PHASE",
        "KERNEL",
        "SITE",
        "BOUND",
        "CALLS",
        "ms/STEP",
        "SHARE",
        "MEDIAN µs",
        "P95 µs",
        "GFLOP/s",
        "GB/s",
        "FLOP/B",
        "ROOFLINE",
        "µs/TIME STEP",
    ];
    let mut rows = vec![header.map(str::to_string)];
    rows.extend(sites.iter().map(row));
    let mut text = aligned(&rows, 4);
    if sites.iter().any(|site| site.clock == Clock::Host) {
        text += "\n* timed on the host, alone, less what an empty submission costs";
    }
    if sites.iter().any(|site| site.roofline > 1.0) {
        text += "\nabove 100% of the roofline: the data were in a cache, which is faster than the memory that the copy measures";
    }
    text
}

fn row(site: &Site) -> [String; 14] {
    let mark = match site.clock {
        Clock::Device => "",
        Clock::Host => "*",
    };
    [
        site.phase.name().into(),
        site.kernel.clone(),
        format!("{}{mark}", site.site),
        site.bound.name().into(),
        site.calls.to_string(),
        format!("{:.3}", site.step_us.median / 1e3),
        format!("{:.1}%", site.share * 100.0),
        format!("{:.1}", site.call_us.median),
        format!("{:.1}", site.p95_us),
        figure(site.gflops()),
        figure(site.gbytes_per_s()),
        figure(site.intensity()),
        format!("{:.0}%", site.roofline * 100.0),
        site.time_step_us
            .map_or(String::new(), |time| format!("{time:.1}")),
    ]
}

fn footer(profile: &profile::Profile) -> Vec<String> {
    let step = &profile.step;
    let slower = (step.profiled_ms.median / step.plain_ms.median - 1.0) * 100.0;
    let mut lines = vec![format!(
        "step      {}, {}: {slower:+.0}% by profiling",
        measured("plain", &step.plain_ms, "ms"),
        measured("profiled", &step.profiled_ms, "ms"),
    )];
    let kernels = measured("kernels", &step.kernels_ms, "ms");
    lines.push(match (step.device_ms, step.idle_ms, profile.covered()) {
        (Some(device), Some(idle), Some(covered)) => format!(
            "device    {}, {kernels}, which is {:.1}%; idle between calls {} ms",
            measured("step", &device, "ms"),
            covered * 100.0,
            figure(idle.median)
        ),
        _ => format!(
            "device    {kernels}; its clock does not cover them all, so nothing is known of idling"
        ),
    });
    if let Some(host) = &step.host_us {
        let host = measured("encode and submit", host, "µs");
        lines.push(format!("host      {host} a step"));
    }
    lines.push(format!(
        "speed     {} sequences/s, {} tokens/s",
        figure(step.sequences_per_s),
        figure(step.tokens_per_s)
    ));
    let kinds = profile.held.by_kind.iter();
    let kinds: Vec<String> = kinds
        .map(|(kind, held)| format!("{} {}", kind.name(), bytes(*held)))
        .collect();
    lines.push(format!("bytes     {}", kinds.join(", ")));
    let planned = bytes(profile.held.planned);
    lines.push(match profile.held.measured {
        Some(measured) => format!("memory    planned {planned}, taken {}", bytes(measured)),
        None => format!("memory    planned {planned}; the driver does not say what was taken"),
    });
    lines
}

fn differences(comparison: &Comparison) -> String {
    let line = |change: &Change| {
        let word = match (change.beyond_noise, change.difference() > 0.0) {
            (false, _) => "same",
            (true, true) => "slower",
            (true, false) => "faster",
        };
        [
            change.label.clone(),
            word.into(),
            times(&change.before),
            times(&change.after),
            format!("{:+.1}%", (change.ratio() - 1.0) * 100.0),
        ]
    };
    let header = ["", "", "BEFORE µs", "AFTER µs", "CHANGE"].map(str::to_string);
    let mut rows = vec![header, line(&comparison.step)];
    rows.extend(comparison.changes.iter().map(line));
    let mut text = aligned(&rows, 2);
    for (name, labels) in [
        ("only before", &comparison.only_before),
        ("only after", &comparison.only_after),
    ] {
        if !labels.is_empty() {
            text += &format!("\n{name}: {}", labels.join(", "));
        }
    }
    let noise = Change::LEAST * 100.0;
    text + &format!(
        "\n{} call sites differ by no more than noise: their quartiles overlap, or their medians are within {noise:.0}%",
        comparison.unchanged
    )
}

/// The median, and the quartiles around it.
fn times(estimate: &Estimate) -> String {
    let [median, low, high] = [estimate.median, estimate.low, estimate.high].map(figure);
    format!("{median} [{low}, {high}]")
}

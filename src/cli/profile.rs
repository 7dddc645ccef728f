//! `gatescan profile`: shows where the time of a training step goes.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::low_level::backend::adapter::AdapterSummary;
use gatescan::low_level::backend::ceilings::Ceiling;
use gatescan::low_level::io::files;
use gatescan::low_level::messages::shown_path;
use gatescan::low_level::numeric::statistics::{Estimate, figure};
use gatescan::profile::{self, Change, Clock, Comparison, Machine, Options, Site};
use gatescan::{Error, Recipe, Result, Splits};
use serde_json::json;

use super::console::Console;
use super::devices::bytes;
use super::output::Overwrite;
use super::{Tune, aligned, check_data_path, choose_device, open, set_fields};

/// Show where the time of a training step goes.
#[derive(Args)]
#[command(after_help = "\
If the recipe's data are missing, synthetic data of the same shape are used.

Examples:
  gatescan profile mnist
  gatescan profile mnist --device gpu --html profile.html --trace trace.json
  gatescan profile mnist --set network.layer.0.hidden_size=256 --json > after.json
  gatescan profile --compare before.json after.json")]
pub struct Profile {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    #[arg(required_unless_present = "compare", conflicts_with = "compare")]
    recipe: Option<String>,
    /// Directory of the data set's files, instead of the recipe's.
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
    /// Change any field of the recipe, for example batch_size=256.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Time each call alone on the host, even if the device has timestamps.
    #[arg(long)]
    host_clock: bool,
    /// Write a trace for Perfetto (https://ui.perfetto.dev) or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write an HTML page with roofline, timeline and table.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Compare two profiles that --json has printed.
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

    fn write(&self, console: &Console, path: &Path, text: &str) -> Result<()> {
        self.overwrite.write_bytes(path, text.as_bytes())?;
        console.say(format!("wrote   {}", shown_path(path)));
        Ok(())
    }

    fn measure(&self, console: &Console, recipe: &str) -> Result<String> {
        for path in self.trace.iter().chain(&self.html) {
            self.overwrite.check(path)?;
        }
        let mut recipe = Recipe::load(recipe)?;
        if let Some(directory) = &self.data {
            check_data_path(&recipe.data, directory)?;
            recipe.data.set_path(directory.clone());
        }
        set_fields(&mut recipe, &self.set)?;
        recipe.validate()?;
        let (device, device_why) = choose_device(&self.device)?;
        console.say(format!("device  {device_why}"));
        let data = load_data(console, &recipe)?;
        let options = Options {
            steps: self.steps.get(),
            clock: if self.host_clock {
                Clock::Host
            } else {
                Clock::Device
            },
        };
        let device = open(&device, &self.tune)?;
        let profile = profile::Profile::measure(&recipe, &data, &device, options)?;
        if let Some(path) = &self.trace {
            self.write(console, path, &profile.trace().to_string())?;
        }
        if let Some(path) = &self.html {
            self.write(console, path, &profile.page())?;
        }
        Ok(if self.json {
            json!(profile).to_string()
        } else {
            report(&profile)
        })
    }

    fn compare(&self, console: &Console, before: &Path, after: &Path) -> Result<String> {
        let [before, after] = [read(before)?, read(after)?];
        let comparison = before.compare(&after);
        if self.json {
            return Ok(json!(comparison).to_string());
        }
        let [old, new] = [&before, &after].map(|profile| profile.machine.name());
        if old != new {
            console.note(format!(
                "the profiles are of different devices: {old} and {new}"
            ));
        }
        Ok(differences(&comparison))
    }
}

/// Loads the recipe's data; if they are missing, synthetic data of the same shape.
fn load_data(console: &Console, recipe: &Recipe) -> Result<Splits> {
    if !recipe.data.source().exists() {
        let count = recipe.batch_size.saturating_mul(4);
        if let Some(data) = recipe.data.source().made_up(count, recipe.seed) {
            console.note("data    are missing; synthetic data of the same shape are used");
            return Ok(data);
        }
    }
    recipe.load_splits(None)
}

/// The largest profile that is read, in bytes; enough for thousands of call sites.
const LARGEST_FILE: u64 = 2 << 20;

fn read(path: &Path) -> Result<profile::Profile> {
    let text = files::read_text(path, LARGEST_FILE)
        .map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        let problem = format!("is not an output of `gatescan profile --json`: {error}");
        Error::file(path, problem)
    })
}

fn report(profile: &profile::Profile) -> String {
    let mut lines = header(profile);
    lines.push(String::new());
    lines.push(table(&profile.sites));
    lines.push(String::new());
    lines.extend(step_lines(profile));
    lines.extend(memory_lines(profile));
    lines.join("\n")
}

fn header(profile: &profile::Profile) -> Vec<String> {
    let [steps, batch] = profile.batch;
    let mut lines = vec![format!(
        "recipe    {}, T {steps}, B {batch}, {} steps profiled",
        profile.recipe, profile.steps
    )];
    match &profile.machine {
        Machine::Gpu(adapter) => lines.extend(adapter_lines(adapter)),
        machine => lines.push(format!("device    {}", machine.label())),
    }
    let ceilings = &profile.ceilings;
    let all = [
        ("copy", Some(ceilings.copy_gbytes_per_s), "GB/s"),
        (
            "multiply-add",
            Some(ceilings.multiply_add_gflops),
            "GFLOP/s",
        ),
        ("empty dispatch", Some(ceilings.empty_dispatch_us), "µs"),
        ("submission", ceilings.submission_us, "µs"),
        ("submission and wait", ceilings.round_trip_us, "µs"),
    ];
    let known = all.into_iter().filter_map(|(name, ceiling, unit)| {
        let Ceiling { best, median } = ceiling?;
        let [best, median] = [best, median].map(figure);
        Some(format!("{name} {best} {unit} (median {median})"))
    });
    let known: Vec<String> = known.collect();
    lines.push(format!("ceilings  {}", known.join(", ")));
    lines
}

fn adapter_lines(adapter: &AdapterSummary) -> [String; 2] {
    let timestamps = if adapter.features.timestamps {
        "timestamps"
    } else {
        "no timestamps"
    };
    [
        format!(
            "device    {} ({}) on {}, driver {}",
            adapter.name,
            adapter.kind.name(),
            adapter.backend,
            adapter.driver
        ),
        format!(
            "limits    buffer {}, binding {}, workgroup {} and {} invocations, subgroup {}, \
             {timestamps}",
            bytes(adapter.limits.max_buffer_bytes),
            bytes(adapter.limits.max_binding_bytes),
            bytes(adapter.limits.workgroup_memory_bytes.into()),
            adapter.limits.max_workgroup_invocations,
            adapter.subgroups_text(),
        ),
    ]
}

/// `copy 12.3 GB/s ±2%`: half of the samples are within this range.
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
    if sites.iter().any(|site| site.time.clock == Clock::Host) {
        text += "\n* timed on the host, one call per submission, minus the time of an empty \
                 submission";
    }
    if sites.iter().any(|site| site.work.roofline > 1.0) {
        text += "\nabove 100% of the roofline: the data were in a cache, which is faster than the \
                 memory that the copy measures";
    }
    text
}

fn row(site: &Site) -> [String; 14] {
    let (time, work) = (&site.time, &site.work);
    let mark = match time.clock {
        Clock::Device => "",
        Clock::Host => "*",
    };
    [
        site.phase.name().into(),
        site.kernel.clone(),
        format!("{}{mark}", site.site),
        work.bound.name().into(),
        site.calls.to_string(),
        format!("{:.3}", time.step_us.median / 1e3),
        format!("{:.1}%", time.share * 100.0),
        format!("{:.1}", time.call_us.median),
        format!("{:.1}", time.p95_us),
        figure(site.gflops()),
        figure(site.gbytes_per_s()),
        figure(site.intensity()),
        format!("{:.0}%", work.roofline * 100.0),
        time.time_step_us
            .map_or(String::new(), |time| format!("{time:.1}")),
    ]
}

fn step_lines(profile: &profile::Profile) -> Vec<String> {
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
            "device    {kernels}; the device's clock did not time all calls, so the idle time \
             is unknown"
        ),
    });
    if let Some(host) = &step.host_us {
        let host = measured("encode and submit", host, "µs");
        lines.push(format!("host      {host} per step"));
    }
    lines.push(format!(
        "speed     {} sequences/s, {} tokens/s",
        figure(step.sequences_per_s),
        figure(step.tokens_per_s)
    ));
    lines
}

fn memory_lines(profile: &profile::Profile) -> [String; 2] {
    let memory = &profile.memory;
    let kinds = memory.by_kind.iter();
    let kinds: Vec<String> = kinds
        .map(|(kind, held)| format!("{} {}", kind.name(), bytes(*held)))
        .collect();
    let planned = bytes(memory.planned);
    let allocated = match memory.measured {
        Some(measured) => format!("allocated {}", bytes(measured)),
        None => "the driver does not report allocated memory".into(),
    };
    [
        format!("bytes     {}", kinds.join(", ")),
        format!("memory    planned {planned}, {allocated}"),
    ]
}

fn differences(comparison: &Comparison) -> String {
    let header = ["", "", "BEFORE µs", "AFTER µs", "CHANGE"].map(str::to_string);
    let mut rows = vec![header, change_row(&comparison.step)];
    rows.extend(comparison.changes.iter().map(change_row));
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
        "\n{} call sites differ by at most noise: their quartiles overlap, or their medians are \
         within {noise:.0}%",
        comparison.unchanged
    )
}

fn change_row(change: &Change) -> [String; 5] {
    let word = if !change.beyond_noise {
        "same"
    } else if change.difference() > 0.0 {
        "slower"
    } else {
        "faster"
    };
    [
        change.label.clone(),
        word.into(),
        times(&change.before),
        times(&change.after),
        format!("{:+.1}%", (change.ratio() - 1.0) * 100.0),
    ]
}

/// The median with the quartiles.
fn times(estimate: &Estimate) -> String {
    let [median, low, high] = [estimate.median, estimate.low, estimate.high].map(figure);
    format!("{median} [{low}, {high}]")
}

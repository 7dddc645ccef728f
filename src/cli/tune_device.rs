//! `gatescan tune-device`: measures the settings of `--tune` on the user's own GPU and remembers
//! the best.

use std::time::Duration;

use clap::Args;
use gatescan::bench::{self, BenchShape, FoundTuning, Trial, TrialOutcome};
use gatescan::{Device, Error, OpenDevice, Result};
use serde_json::json;

use super::choose_device;
use super::console::Console;

/// Measure how programs run fastest on a GPU, and remember it.
#[derive(Args)]
#[command(after_help = "\
Each setting of --tune that changes the speed of scans and matmuls is tried. The losses and \
gradients of every candidate are compared with the CPU in f64 before it is timed. The settings \
that are better than gatescan's own choice are remembered for this adapter, its driver and this \
version of gatescan, in the user's directory of caches (GATESCAN_TUNING names another; 0 for \
none), and every command uses them. A run records its settings, so that it is resumed with the \
same bits.

Examples:
  gatescan tune-device
  gatescan tune-device --device 1 --seconds 60
  gatescan tune-device --shape gru-64-100-8-256    for networks of this size
  gatescan tune-device --forget")]
pub struct TuneDevice {
    /// auto, gpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "gpu")]
    device: String,
    /// About how long to measure, in seconds.
    #[arg(long, value_name = "S", default_value = "30", value_parser = limit)]
    seconds: f64,
    /// The shapes to measure, as in `gatescan bench`.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_values = ["lstm-128-28-28-128", "gru-32-64-64-256"]
    )]
    shape: Vec<BenchShape>,
    /// Forget what is remembered, and measure nothing.
    #[arg(long)]
    forget: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Parses the seconds of a search.
fn limit(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (1.0..=86400.0).contains(&seconds) => Ok(seconds),
        _ => Err("it must be a number of seconds from 1 to 86400".into()),
    }
}

impl TuneDevice {
    pub fn run(&self, console: &Console) -> Result<()> {
        let (device, why) = choose_device(&self.device)?;
        if device == Device::Cpu {
            return Err(Error::usage(format!(
                "--device {}: the CPU has no tuning to measure; choose a GPU of `gatescan devices`",
                self.device
            )));
        }
        console.say(format!("device  {why}"));
        let device = OpenDevice::open(&device)?;
        if self.forget {
            return self.forget(console, &device);
        }
        let mut observe = |trial: &Trial| -> Result<()> {
            console.say(trial_line(trial));
            Ok(())
        };
        let limit = Duration::from_secs_f64(self.seconds);
        let found = bench::search(&device, &self.shape, limit, &mut observe)?;
        let path = remember(&device, &found.settings)?;
        let text = if self.json {
            json!({
                "settings": found.settings,
                "time_part": found.part,
                "left_out": found.left_out,
                "file": path,
            })
            .to_string()
        } else {
            format!("{}\nremembered in {path}", found_text(&found))
        };
        let _ = console.print(text)?;
        Ok(())
    }

    fn forget(&self, console: &Console, device: &OpenDevice) -> Result<()> {
        let removed = forgotten(device)?;
        let text = if self.json {
            json!({ "removed": removed }).to_string()
        } else {
            match removed {
                Some(path) => format!("{path} is removed"),
                None => "nothing is remembered for this device".to_string(),
            }
        };
        let _ = console.print(text)?;
        Ok(())
    }
}

fn trial_line(trial: &Trial) -> String {
    let setting = &trial.setting;
    match &trial.outcome {
        TrialOutcome::Timed { part, kept } => {
            let kept = if *kept { ", kept" } else { "" };
            format!("{setting:<52} {part:.3} of the best time{kept}")
        }
        TrialOutcome::Refused(problem) => format!("{setting:<52} refused: {problem}"),
    }
}

fn found_text(found: &FoundTuning) -> String {
    let left_out = match found.left_out {
        0 => String::new(),
        count => format!("; {count} candidates were left out, a longer --seconds tries them too"),
    };
    if found.settings.is_empty() {
        return format!("gatescan's own settings are the fastest{left_out}");
    }
    let settings = found.settings.join(" ");
    let part = found.part;
    format!("{settings}: a step takes {part:.3} of the time before{left_out}")
}

#[cfg(feature = "gpu")]
fn remember(device: &OpenDevice, settings: &[String]) -> Result<String> {
    use gatescan::low_level::backend::gpu::remembered;
    let adapter = device.adapter().expect("it is a GPU");
    Ok(remembered::write(adapter, settings)?.display().to_string())
}

#[cfg(feature = "gpu")]
fn forgotten(device: &OpenDevice) -> Result<Option<String>> {
    use gatescan::low_level::backend::gpu::remembered;
    let adapter = device.adapter().expect("it is a GPU");
    Ok(remembered::forget(adapter)?.map(|path| path.display().to_string()))
}

// A build without GPU support opens no GPU.
#[cfg(not(feature = "gpu"))]
fn remember(_: &OpenDevice, _: &[String]) -> Result<String> {
    Err(Error::NoGpuSupport)
}

#[cfg(not(feature = "gpu"))]
fn forgotten(_: &OpenDevice) -> Result<Option<String>> {
    Err(Error::NoGpuSupport)
}

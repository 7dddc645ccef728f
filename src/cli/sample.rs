//! `gatescan sample`: writes text as a model has learnt to.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use gatescan::error::{Error, Result};
use gatescan::infer::sample::{Sampler, Sampling};
use gatescan::low_level::backend::OpenDevice;
use serde_json::json;

use super::{choose_device, load_model, print};

/// Write text as a model has learnt to
#[derive(Args)]
#[command(after_help = "\
The text appears as it is made. The same seed makes the same text on the same device, run to run.

Examples:
  gatescan sample runs/text-... --length 2000 --temperature 0.8
  gatescan sample runs/text-... --prime 'ROMEO:' --top-k 10 --seed 3
  gatescan sample runs/text-... --top-p 0.9 --count 8 --json")]
pub struct Sample {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Characters to write, or bytes or words where those are what the model has learnt.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    length: usize,
    /// Below 1 what is likely becomes likelier, above it less so; at 0 the likeliest is always taken.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Take one of the K likeliest.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Take one of the likeliest that together have the probability P.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// What is to be continued [default: any of the model's characters].
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prime: String,
    /// What is drawn follows from it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write so many texts, side by side on the device; they are printed when they are done, each under a line of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536))]
    count: usize,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object a text, with `prime`, `text` (without it) and `seed`, when it is done.
    #[arg(long)]
    json: bool,
}

impl Sample {
    pub fn run(&self) -> Result<()> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
        };
        sampling.validate()?;
        let model = load_model(&self.model)?;
        let (device, _) = choose_device(&self.device)?;
        let mut sampler = Sampler::new(&model, self.count, &OpenDevice::open(&device)?)?;
        let vocabulary = sampler.vocabulary().clone();
        let prime = vocabulary.encode_known(&self.prime)?;
        let streams = self.count == 1 && !self.json;
        let mut texts = vec![vec![]; self.count];
        let mut gone = streams && write(self.prime.as_bytes())?.is_break();
        let mut each = |tokens: &[u32]| {
            if streams && !gone {
                gone = write(&vocabulary.bytes(tokens[0]))?.is_break();
            } else {
                let pairs = texts.iter_mut().zip(tokens);
                pairs.for_each(|(text, &token)| text.extend(vocabulary.bytes(token)));
            }
            Ok(match gone {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        };
        sampler.sample(&prime, self.length, &sampling, self.seed, &mut each)?;
        if streams {
            let _ = write(b"\n")?;
            return Ok(());
        }
        for (n, text) in texts.iter().enumerate() {
            let text = String::from_utf8_lossy(text);
            let shown = match self.json {
                true => {
                    json!({ "prime": self.prime, "text": text, "seed": self.seed, "sequence": n })
                        .to_string()
                }
                false => format!("--- {} of {}\n{}{text}", n + 1, self.count, self.prime),
            };
            if print(shown)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes to standard output at once. A reader that has gone is no error but a `Break`.
fn write(bytes: &[u8]) -> Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Error::file(
            "standard output",
            format!("cannot be written: {error}"),
        )),
    }
}

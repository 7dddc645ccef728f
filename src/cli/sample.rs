//! `gatescan sample`: writes text with a language model.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use gatescan::infer::sample::Sampling;
use gatescan::{OpenDevice, Result, Sampler};
use serde_json::json;

use super::console::{Console, print_bytes};
use super::{choose_device, load_model};

/// Write text with a language model
#[derive(Args)]
#[command(after_help = "\
The text appears as it is sampled. The same seed gives the same text on the same device.

Examples:
  gatescan sample runs/text-... --length 2000 --temperature 0.8
  gatescan sample runs/text-... --prime 'ROMEO:' --top-k 10 --seed 3
  gatescan sample runs/text-... --top-p 0.9 --count 8 --json")]
pub struct Sample {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Characters to write; bytes or words where these are the model's tokens.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    length: usize,
    /// Divide the logits by T: below 1 likely tokens become likelier, above 1 less likely; 0 always
    /// selects the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Draw only from the K likeliest tokens.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw only from the likeliest tokens that together have the probability P.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Prompt that the text continues [default: one of the model's characters].
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prime: String,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Sample N texts in parallel; each is printed below a header line when all are complete.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536)
    )]
    count: usize,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Print one JSON object for each text, with `prime`, `text` (without the prompt) and `seed`.
    #[arg(long)]
    json: bool,
}

impl Sample {
    pub fn run(&self, console: &Console) -> Result<()> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
        };
        sampling.validate()?;
        let model = load_model(console, &self.model)?;
        let (device, _) = choose_device(&self.device)?;
        let mut sampler = Sampler::new(&model, self.count, &OpenDevice::open(&device)?)?;
        if self.count == 1 && !self.json {
            return self.stream(&mut sampler, &sampling);
        }
        let vocabulary = sampler.vocabulary().clone();
        let prompt = vocabulary.encode_known(&self.prime)?;
        let mut texts = vec![vec![]; self.count];
        let mut each = |tokens: &[u32]| {
            let pairs = texts.iter_mut().zip(tokens);
            pairs.for_each(|(text, &token)| text.extend(vocabulary.bytes(token)));
            Ok(ControlFlow::Continue(()))
        };
        sampler.sample(&prompt, self.length, &sampling, self.seed, &mut each)?;
        for (n, text) in texts.iter().enumerate() {
            let text = self.shown(n, &String::from_utf8_lossy(text));
            if console.print_data(text)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Prints one text token by token.
    fn stream(&self, sampler: &mut Sampler, sampling: &Sampling) -> Result<()> {
        let vocabulary = sampler.vocabulary().clone();
        let prompt = vocabulary.encode_known(&self.prime)?;
        if print_bytes(self.prime.as_bytes())?.is_break() {
            return Ok(());
        }
        let mut each = |tokens: &[u32]| print_bytes(&vocabulary.bytes(tokens[0]));
        sampler.sample(&prompt, self.length, sampling, self.seed, &mut each)?;
        let _ = print_bytes(b"\n")?;
        Ok(())
    }

    /// Text n as it is printed.
    fn shown(&self, n: usize, text: &str) -> String {
        let (number, count, prompt) = (n + 1, self.count, &self.prime);
        if self.json {
            json!({ "prime": prompt, "text": text, "seed": self.seed, "sequence": n }).to_string()
        } else {
            format!("--- {number} of {count}\n{prompt}{text}")
        }
    }
}

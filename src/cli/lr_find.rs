//! `gatescan lr-find`: a range test of the learning rate.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use gatescan::low_level::messages::shown_path;
use gatescan::train::{FineTuning, RangeFinding, RangeTest, rate_text};
use gatescan::{Recipe, Result, report};
use serde_json::json;

use super::console::Console;
use super::output::Overwrite;
use super::{Tune, check_data_path, choose_device, load_model, open, set_fields};

/// Find a learning rate for a recipe.
#[derive(Args)]
#[command(after_help = "\
A range test (Smith 2017): the recipe is trained for some updates at rates that grow by the same \
factor from one to the next, in place of its own rate and schedule. The suggestion is the rate at \
which the loss falls fastest. Only the plot is written, no run.

Examples:
  gatescan lr-find mnist
  gatescan lr-find mine.toml --from 1e-5 --to 1 --steps 200
  gatescan lr-find mine.toml --svg rates.svg
  gatescan lr-find mine.toml --json")]
pub struct LrFind {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    recipe: String,
    /// The first learning rate.
    #[arg(long, value_name = "RATE", default_value_t = RangeTest::default().from)]
    from: f64,
    /// The last learning rate.
    #[arg(long, value_name = "RATE", default_value_t = RangeTest::default().to)]
    to: f64,
    /// Updates.
    #[arg(long, value_name = "N", default_value_t = RangeTest::default().steps)]
    steps: usize,
    /// Begin with the parameters of this model or run, as `train --from` does.
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Directory of the data set's files [default: the recipe's].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// Change any field of the recipe, for example batch_size=64.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The page to write [default: lr-find.html].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the plot as an SVG file for papers; then the page is only written with -o.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Print one JSON object with every update; then files are only written with -o and --svg.
    #[arg(long)]
    json: bool,
}

impl LrFind {
    pub fn run(&self, console: &Console) -> Result<()> {
        let page = match &self.output {
            Some(path) => Some(path.clone()),
            None if self.svg.is_some() || self.json => None,
            None => Some(PathBuf::from("lr-find.html")),
        };
        for path in page.iter().chain(&self.svg) {
            self.overwrite.check(path)?;
        }
        let recipe = self.changed()?;
        let test = RangeTest {
            from: self.from,
            to: self.to,
            steps: self.steps,
        };
        test.validate()?;
        let finding = self.find(console, &recipe, &test)?;
        if let Some(path) = &self.svg {
            let text = report::range_svg(&finding)?;
            self.overwrite.write_bytes(path, text.as_bytes())?;
            console.say(format!("wrote {}", shown_path(path)));
        }
        if let Some(path) = &page {
            let text = report::range_page(&recipe, &finding);
            self.overwrite.write_bytes(path, text.as_bytes())?;
            console.say(format!("wrote {}", shown_path(path)));
        }
        if self.json {
            let _ = console.print_json(json!(finding))?;
        } else {
            let _ = console.print(summary(&finding))?;
        }
        Ok(())
    }

    fn changed(&self) -> Result<Recipe> {
        let mut recipe = Recipe::load(&self.recipe)?;
        if let Some(directory) = &self.data {
            check_data_path(&recipe.data, directory)?;
            recipe.data.set_path(directory.clone());
        }
        set_fields(&mut recipe, &self.set)?;
        recipe.validate()?;
        Ok(recipe)
    }

    fn find(&self, console: &Console, recipe: &Recipe, test: &RangeTest) -> Result<RangeFinding> {
        let (device, line) = choose_device(&self.device)?;
        console.say(format!("device  {line}"));
        let device = open(&device, &self.tune)?;
        let model = (self.model.as_deref()).map(|path| load_model(console, path));
        let model = model.transpose()?;
        let data = match &model {
            Some(model) => FineTuning::load_data(recipe, model)?.0,
            None => recipe.load_splits(None)?,
        };
        test.run_from(model.as_ref(), recipe, &data, &device, &mut |_| {
            ControlFlow::Continue(())
        })
    }
}

fn summary(finding: &RangeFinding) -> String {
    let mut lines = vec![];
    if let Some(rate) = finding.diverges_at {
        lines.push(format!("the loss diverges at {}", rate_text(rate)));
    }
    lines.push(match finding.suggestion {
        Some(rate) => format!("suggested learning rate: {}", rate_text(rate)),
        None => "no learning rate is suggested".into(),
    });
    lines.push(finding.reason.clone());
    if let Some(rate) = finding.suggestion {
        lines.push(format!("train with it: --lr {}", rate_text(rate)));
    }
    lines.join("\n")
}

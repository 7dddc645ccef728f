//! Recipes: TOML files with everything that a training run depends on.

mod builtin;
mod categories;
mod checkpoint;
mod class_weights;
mod data;
mod edit;
mod heads;
mod network;
pub mod optimizer;
mod parallel;
pub mod propose;
mod recomputation;
pub mod schedule;
#[cfg(test)]
mod tests;
mod tune;
mod written;

use std::collections::BTreeMap;
use std::path::Path;

pub use builtin::{BUILTINS, Builtin};
pub use categories::CategoryEncoding;
pub use checkpoint::CheckpointRecipe;
pub use class_weights::ClassWeights;
pub use data::DataRecipe;
pub use heads::NamedHeadRecipe;
pub use network::{HeadRecipe, NetworkRecipe};
pub use parallel::ParallelRecipe;
pub use recomputation::Recomputation;
use serde::{Deserialize, Serialize};
use toml::Table;

pub use crate::numeric::precision::Precision;
pub use tune::{TuneInterval, TuneRange, TuneSpace, TuneValues};

use crate::data::arrays::Arrays;
use crate::data::preparation::Preparation;
use crate::data::source::DataUse;
use crate::data::{Dataset, Targets};
use crate::error::{Decision, Error, Result};
use crate::fields;
use crate::io::files;
use crate::messages::{listed, shown_path};
use crate::network::{Input, Layer, Loss, Network};
use crate::recipe::optimizer::{Clip, Form, Optimizer};
use crate::recipe::schedule::Schedule;

/// The largest recipe file, in bytes.
const LARGEST_FILE: u64 = 1 << 24;

/// The most batches of an update: the rows that a device records between two readbacks.
pub(crate) const MOST_ACCUMULATED: usize = 256;

/// Everything that a training run depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name of the run directory: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Determines the initial weights and the order of the sequences.
    pub seed: u64,
    /// Passes over the training split.
    pub epochs: usize,
    /// B: sequences of each update of the weights.
    pub batch_size: usize,
    /// Batches whose gradients an update adds up: it is that of a batch of so many times
    /// `batch_size` sequences, up to the order of sums. Without it, an update reads one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulate: Option<usize>,
    /// The parts of the network that are not trained: `embedding`, `layer0` (the first layer) and
    /// so on, `head`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// The number of updates after which the run ends, also within an epoch; without it, the run
    /// ends after the last epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// The loss is reported after every this many updates, besides each epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_every: Option<usize>,
    /// Gradients with a larger norm are scaled down to this one; excludes `clip_value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The framework whose form of `clip_norm` is used: PyTorch adds 1e-6 to the norm before
    /// dividing.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub clip_form: Form,
    /// Each element of a gradient is clamped to ± this; excludes `clip_norm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// The decay of an exponential moving average of the parameters, which is what is evaluated and
    /// saved as the model (Polyak and Juditsky 1992; `use_ema` of Keras, which also begins with the
    /// initial parameters). Training goes on with the parameters themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Truncated back-propagation through time: sequences are read in chunks of this many steps,
    /// with an update for each chunk. States are carried from chunk to chunk, gradients are not.
    /// Without it, an update reads whole sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bptt_steps: Option<usize>,
    /// What the backward pass computes again, to keep less in memory; without it, nothing where the
    /// device has the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recompute: Option<Recomputation>,
    /// To what the CPU rounds the operands of matmuls in training and in the evaluations of
    /// training. The trained parameters are in f32, and a model computes in f32.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub precision: Precision,
    /// Early stopping: the run ends after this many consecutive epochs without a lower loss on the
    /// validation split; without one, on the test split, which a warning says; without both, in
    /// training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Whether the model is that of the epoch with the lowest such loss, or else of the last epoch.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub keep_best: bool,
    /// Whether the intervals of the finished model are adjusted so that they cover their nominal
    /// share of the validation split: between opposite quantiles by conformalized quantile
    /// regression (Romano et al. 2019), of normal distributions by one factor of the deviations.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub conformal: bool,
    pub data: DataRecipe,
    pub network: NetworkRecipe,
    pub optimizer: Optimizer,
    /// How the learning rate changes during the run.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub schedule: Schedule,
    /// When the run is saved, to be resumed from there.
    #[serde(default)]
    pub checkpoint: CheckpointRecipe,
    /// How a batch is divided, so that several processes can share it.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub parallel: ParallelRecipe,
    /// The ranges that `gatescan tune` draws from; training ignores them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<TuneSpace>,
}

/// Returns the error for a file of data in place of a recipe, if it looks like data.
fn not_a_recipe(path: &Path) -> Option<Error> {
    if path.extension().is_some_and(|ending| ending == "toml") {
        return None;
    }
    match propose::kind_of_data(path)? {
        "a text" => Some(Error::undecided(
            path,
            "is no recipe, a TOML file, but looks like a text",
            Decision::TextRecipe,
        )),
        kind => Some(Error::file(
            path,
            format!(
                "is no recipe, a TOML file, but looks like {kind}; write a recipe for it with \
                 `gatescan init {}` and train that",
                shown_path(path)
            ),
        )),
    }
}

impl Recipe {
    /// Returns a recipe for data of the caller: seed 0, 10 epochs, batches of 32 sequences, a
    /// constant learning rate, and no clipping of gradients. Change its fields for anything else.
    pub fn new(name: &str, layers: Vec<Layer>, head: HeadRecipe, optimizer: Optimizer) -> Recipe {
        Recipe {
            name: name.into(),
            seed: 0,
            epochs: 10,
            batch_size: 32,
            accumulate: None,
            freeze: vec![],
            steps: None,
            clip_norm: None,
            clip_form: Form::default(),
            clip_value: None,
            patience: None,
            keep_best: false,
            conformal: false,
            data: DataRecipe::Arrays(Arrays {}),
            report_every: None,
            ema: None,
            bptt_steps: None,
            recompute: None,
            precision: Precision::default(),
            network: NetworkRecipe {
                input: Input::Values,
                category_encoding: CategoryEncoding::default(),
                category_sizes: BTreeMap::new(),
                layers,
                head,
                heads: vec![],
            },
            optimizer,
            schedule: Schedule::default(),
            checkpoint: CheckpointRecipe::default(),
            parallel: ParallelRecipe::default(),
            tune: None,
        }
    }

    /// Reads a built-in recipe by its name, or else a file by its path. Relative paths of its data
    /// are relative to the file if they exist there, or else to the current directory. Call
    /// [`Recipe::validate`] once all values are final.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name, and for unknown keys or values, with the line and the
    /// nearest known one; [`Error::File`] for a file that cannot be read.
    pub fn load(name_or_path: &str) -> Result<Recipe> {
        match Builtin::find(name_or_path) {
            Ok(builtin) => Recipe::parse(builtin.toml, builtin.name),
            Err(unknown) => {
                let path = Path::new(name_or_path);
                let is_toml = path.extension().is_some_and(|ending| ending == "toml");
                if path.components().count() > 1 || is_toml || path.exists() {
                    Recipe::read(path, name_or_path)
                } else {
                    Err(unknown)
                }
            }
        }
    }

    /// Reads a file, as [`Recipe::load`] does; its path may have any bytes.
    ///
    /// # Errors
    /// Those of [`Recipe::load`].
    pub fn load_file(path: &Path) -> Result<Recipe> {
        Recipe::read(path, &path.display().to_string())
    }

    /// Reads a file; errors call it `name`.
    fn read(path: &Path, name: &str) -> Result<Recipe> {
        let text = files::read_text(path, LARGEST_FILE)
            .map_err(|error| Error::file(path, format!("cannot be read as a recipe: {error}")));
        let parsed = text.and_then(|text| Recipe::parse(&text, name));
        let mut recipe = parsed.map_err(|error| not_a_recipe(path).unwrap_or(error))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        for data_path in recipe.data.source_mut().paths_mut() {
            let relative = directory.join(&*data_path);
            if data_path.is_relative() && relative.exists() {
                *data_path = relative;
            }
        }
        Ok(recipe)
    }

    /// Parses the text of a recipe; errors call it `origin`. See [`Recipe::load`].
    ///
    /// # Errors
    /// Those of [`Recipe::load`].
    pub fn parse(text: &str, origin: &str) -> Result<Recipe> {
        toml::from_str(text).map_err(|error| {
            let message = error.message();
            let place = match error.span() {
                Some(span) => format!("{origin}:{}", edit::line_of(text, span.start, message)),
                None => origin.to_string(),
            };
            Error::usage(format!("{place}: {}", edit::explain(message)))
        })
    }

    /// Returns the recipe as TOML, which [`Recipe::parse`] reads back to an equal one.
    ///
    /// # Errors
    /// [`Error::Usage`] for what TOML cannot hold: a path that is not UTF-8, a seed above
    /// `i64::MAX`; and for more than [`Recipe::load`] reads.
    pub fn to_toml(&self) -> Result<String> {
        let text = written::to_toml(self).map_err(|error| {
            Error::usage(format!("the recipe cannot be written as TOML: {error}"))
        })?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(Error::usage(format!(
                "the recipe has {} bytes as TOML, and at most {LARGEST_FILE} can be read back; use \
                 fewer columns or shorter names",
                text.len()
            )));
        }
        Ok(text)
    }

    /// Returns the network for inputs of `input_size` values, without categories, and `outputs`
    /// classes or target values.
    ///
    /// # Errors
    /// Those of [`Network::validate`].
    pub fn network(&self, input_size: usize, outputs: usize) -> Result<Network> {
        self.network.network(input_size, outputs, vec![])
    }

    /// Returns the network for these data, which are prepared so, with outputs for the targets of
    /// every head and tables for the categories that it embeds.
    ///
    /// # Errors
    /// Those of [`Network::validate`]; [`Error::Data`] for targets of another number of heads, and
    /// for a preparation that is not that of the data.
    pub fn network_for(&self, data: &Dataset, preparation: &Preparation) -> Result<Network> {
        let input_size = data.input_size();
        let tables = self.category_tables(input_size, preparation)?;
        let Targets::Heads(targets) = &data.targets else {
            if self.network.heads.is_empty() {
                let outputs = data.targets.outputs();
                return self.network.network(input_size, outputs, tables);
            }
            return Err(Error::data(format!(
                "the data have one target, and the recipe has {} heads; give the targets of each \
                 head (Targets::Heads)",
                self.network.heads.len()
            )));
        };
        if targets.len() != self.network.heads.len() {
            return Err(Error::data(format!(
                "the data have the targets of {} heads, and the recipe has {} of [[network.heads]]",
                targets.len(),
                self.network.heads.len()
            )));
        }
        let outputs: Vec<usize> = targets.iter().map(Targets::outputs).collect();
        (self.network).network_of_heads(input_size, &outputs, tables)
    }

    /// Returns the fields that choose among epochs by a loss: `patience`, `keep_best` and the
    /// schedule `plateau`, as far as they are set.
    pub fn choosing_fields(&self) -> Vec<&'static str> {
        let plateau = matches!(self.schedule, Schedule::Plateau { .. });
        let fields = [
            (self.patience.is_some(), "patience"),
            (self.keep_best, "keep_best"),
            (plateau, "schedule plateau"),
        ];
        let set = fields.into_iter().filter(|(is_set, _)| *is_set);
        set.map(|(_, name)| name).collect()
    }

    /// Checks every field that can be checked without the data.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or [`Error::Usage`] for the first field that is not allowed.
    pub fn validate(&self) -> Result<()> {
        self.validate_name()?;
        // The order of each epoch is drawn by a number of 32 bits.
        let range = format!("at least 1 and at most {}", u32::MAX);
        let is_allowed = (1..=u32::MAX as usize).contains(&self.epochs);
        fields::require(is_allowed, "epochs", self.epochs, &range)?;
        fields::count("batch_size", self.batch_size)?;
        fields::optional_count("steps", self.steps)?;
        fields::optional_count("patience", self.patience)?;
        fields::optional_count("report_every", self.report_every)?;
        self.validate_clipping()?;
        if let Some(decay) = self.ema {
            let is_allowed = (0.0..1.0).contains(&decay);
            fields::require(
                is_allowed,
                "ema",
                decay,
                "at least 0 and below 1, or left out",
            )?;
        }
        self.checkpoint.validate()?;
        self.validate_bptt()?;
        self.validate_accumulation()?;
        self.validate_parallel()?;
        self.tune.as_ref().map_or(Ok(()), TuneSpace::validate)?;
        self.validate_categories()?;
        if !self.network.heads.is_empty() {
            self.validate_heads()?;
            self.optimizer.validate()?;
            return self.schedule.validate();
        }
        let head = &self.network.head;
        if head.loss == Loss::Heads {
            return Err(Error::usage(
                "network.head has no loss; set network.head.loss, such as \"cross-entropy\", or \
                 add a [[network.heads]] for each target",
            ));
        }
        let data = self.data.source();
        data.validate(&DataUse {
            input: self.network.input,
            loss: head.loss,
            reads: head.reads,
            batch_size: self.batch_size,
            bptt_steps: self.bptt_steps,
        })?;
        self.network.validate(data.outputs())?;
        self.validate_conformal()?;
        self.optimizer.validate()?;
        self.schedule.validate()
    }

    fn validate_name(&self) -> Result<()> {
        let name = &self.name;
        let is_allowed = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        fields::require(
            !name.is_empty() && !name.starts_with('.') && name.chars().all(is_allowed),
            "name",
            format!("\"{name}\""),
            "letters, digits, - and _, and dots after the first character: it names a directory",
        )
    }

    fn validate_clipping(&self) -> Result<()> {
        fields::optional_positive("clip_norm", self.clip_norm)?;
        fields::optional_positive("clip_value", self.clip_value)?;
        if self.clip_norm.is_some() && self.clip_value.is_some() {
            return Err(Error::usage(
                "clip_norm and clip_value are both set; gradients are clipped by one of them, \
                 so leave out the other",
            ));
        }
        Ok(())
    }

    fn validate_conformal(&self) -> Result<()> {
        let heads = self.network.heads.iter().map(|head| head.loss);
        let mut losses = heads.chain([self.network.head.loss]);
        if !self.conformal || losses.any(|loss| loss.has_intervals()) {
            return Ok(());
        }
        let field = match self.network.heads.len() {
            0 => "network.head.loss",
            _ => "the loss of one of network.heads",
        };
        Err(Error::usage(format!(
            "conformal is set, but the network predicts no interval; {field} must be \
             \"gaussian-nll\", or quantiles with opposite levels such as 0.1 and 0.9",
        )))
    }

    fn validate_bptt(&self) -> Result<()> {
        fields::optional_count("bptt_steps", self.bptt_steps)?;
        let is_bidirectional = self.network.layers.iter().any(|layer| layer.bidirectional);
        let heads = &self.network.heads;
        let reads_every_step = self.network.head.has_target_per_step()
            && !heads.iter().any(|head| head.loss.takes_lists());
        if self.bptt_steps.is_some() && (!reads_every_step || is_bidirectional) {
            return Err(Error::usage(
                "bptt_steps is set, and sequences are read in chunks from their beginning; so \
                 network.head must have reads = \"every\" (\"mean\", \"max\" and \"attention\" need \
                 all steps of a sequence at once) and a loss of each step (not ctc), and no layer \
                 may be bidirectional",
            ));
        }
        Ok(())
    }

    fn validate_accumulation(&self) -> Result<()> {
        let Some(batches) = self.accumulate else {
            return Ok(());
        };
        let range = format!("at least 1 and at most {MOST_ACCUMULATED}, or left out");
        let is_allowed = (1..=MOST_ACCUMULATED).contains(&batches);
        fields::require(is_allowed, "accumulate", batches, &range)?;
        if batches > 1 && self.bptt_steps.is_some() {
            return Err(Error::usage(
                "accumulate and bptt_steps are both set; with bptt_steps each chunk of a batch has \
                 an update of its own, which changes the states that the next chunk begins with: \
                 leave out accumulate and set a larger batch_size",
            ));
        }
        Ok(())
    }

    /// Checks that a run that began with `other` can be resumed with this recipe. What may differ
    /// is the length of the run (epochs, steps, patience), the learning rate and its schedule,
    /// reports, checkpoints, what is computed again, and the path of the data.
    ///
    /// # Errors
    /// [`Error::Usage`] with the keys that differ.
    pub fn continues(&self, other: &Recipe) -> Result<()> {
        let mut other = other.clone();
        other.epochs = self.epochs;
        other.steps = self.steps;
        other.patience = self.patience;
        other.report_every = self.report_every;
        other.schedule = self.schedule.clone();
        other.checkpoint = self.checkpoint.clone();
        other.recompute = self.recompute;
        other.tune.clone_from(&self.tune);
        let rate = self.optimizer.learning_rate();
        other.optimizer.set_learning_rate(rate);
        if let Some(path) = self.data.source().path() {
            other.data.set_path(path.to_path_buf());
        }
        if *self == other {
            return Ok(());
        }
        let table = |recipe| {
            Table::try_from(recipe).map_err(|error| {
                Error::usage(format!("the recipe cannot be compared as TOML: {error}"))
            })
        };
        let (new, old) = (table(self)?, table(&other)?);
        let keys = new
            .keys()
            .chain(old.keys().filter(|&key| !new.contains_key(key)));
        let changed: Vec<&str> = keys
            .filter(|&key| new.get(key) != old.get(key))
            .map(String::as_str)
            .collect();
        Err(Error::usage(format!(
            "a resumed run must have the {} that it began with; it may change epochs, steps, \
             patience, report_every, recompute, optimizer.lr, schedule, checkpoint and the path of \
             the data",
            listed(&changed)
        )))
    }

    /// Sets the number of sequences of each update, and the fields of the data that depend on it.
    pub fn set_batch_size(&mut self, batch_size: usize) {
        self.batch_size = batch_size;
        self.data.source_mut().set_batch_size(batch_size);
    }

    /// Returns the batch size as text; with accumulated gradients, times the batches of an update.
    pub fn batch_text(&self) -> String {
        match self.accumulate {
            Some(batches) if batches > 1 => format!("{} x {batches}", self.batch_size),
            _ => self.batch_size.to_string(),
        }
    }

    /// Returns how gradients are clipped.
    pub fn clip(&self) -> Clip {
        match (self.clip_norm, self.clip_value) {
            (Some(limit), _) => Clip::Norm {
                limit,
                form: self.clip_form,
            },
            (None, Some(limit)) => Clip::Value(limit),
            (None, None) => Clip::None,
        }
    }
}

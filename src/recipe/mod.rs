//! Recipes: one TOML file that says everything a training run depends on.

pub mod optimizer;
pub mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::cells::Cell;
use crate::data::baselines::Forecast;
use crate::data::csv::Csv;
use crate::data::idx;
use crate::data::npy::Npy;
use crate::data::preparation::Preparation;
use crate::data::series::{self, Windows};
use crate::data::text::Text;
use crate::data::{Dataset, Inputs, Split, Splits, Targets};
use crate::error::{Error, Result};
use crate::io::files;
use crate::messages::{did_you_mean, listed};
use crate::network::{Bias, Head, Init, Input, Layer, Loss, Network, Reads};
use crate::recipe::optimizer::{Clip, Form, Optimizer};
use crate::recipe::schedule::Schedule;
use crate::rng::{Philox, Stream};

/// The largest recipe file, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Everything that a training run depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the run directory is called: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Initial weights and the order of the sequences follow from it.
    pub seed: u64,
    /// Passes over the training split.
    pub epochs: usize,
    /// B: sequences for each update of the weights.
    pub batch_size: usize,
    /// Updates after which the run ends, in the middle of an epoch too; all epochs where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// The loss is reported every so many updates too; else for each epoch alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_every: Option<usize>,
    /// Gradients with a larger norm are scaled down to this one; not beside `clip_value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Whose `clip_norm`: PyTorch's adds 1e-6 to the norm before it divides by it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clip_form: Form,
    /// Each element of a gradient is clamped to ± this; not beside `clip_norm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// Truncated back-propagation through time: sequences are taken in chunks of this many steps, each with an update of its
    /// own; states go on from chunk to chunk, gradients do not. Whole sequences where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bptt_steps: Option<usize>,
    /// Early stopping: the run ends after this many epochs in a row without a lower loss, on the test split or, where there
    /// is none, in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// The model is that of the epoch with the lowest such loss, not of the last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_best: bool,
    pub data: DataRecipe,
    pub network: NetworkRecipe,
    pub optimizer: Optimizer,
    /// How the learning rate changes over the run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Schedule,
    /// When the run is saved, to go on from there.
    #[serde(default)]
    pub checkpoint: CheckpointRecipe,
}

/// When a checkpoint is written, beside the end of each epoch and of the run, and how many are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointRecipe {
    /// After every so many updates too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<usize>,
    /// After so many minutes without one, too.
    pub every_minutes: f64,
    /// The last so many are kept, and that of the best epoch.
    pub keep: usize,
}

impl Default for CheckpointRecipe {
    fn default() -> Self {
        CheckpointRecipe {
            every_steps: None,
            every_minutes: 5.0,
            keep: 2,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where the sequences come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataRecipe {
    /// Images of a directory of IDX files; see [`idx`].
    Idx {
        path: PathBuf,
        classes: usize,
        /// What the pixels, 0 to 1 as they are read, are multiplied by.
        #[serde(default = "one")]
        scale: f32,
    },
    /// Windows of a series, each step answered with the value that follows; see [`series`].
    Series {
        /// A text file with a number on each line; without it, windows of `t sin(t) / 3 + 2 sin(5 t)` are drawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
        /// T: values of a window.
        steps: usize,
        /// The last part of a file's series is the test split.
        #[serde(default = "tenth")]
        test_fraction: f64,
        /// Time between two values of the made series.
        #[serde(default = "tenth")]
        resolution: f64,
        /// The times that windows of the made series lie between.
        #[serde(default = "range")]
        range: [f64; 2],
        /// Windows of the made series to train on, and as many hundredths to test on.
        #[serde(default = "windows")]
        windows: usize,
        /// Values of a season, for the seasonal naive forecast; where it is absent, the one that does best in training.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        season: Option<usize>,
    },
    /// Rows of a table; see [`csv`](crate::data::csv).
    Csv(Csv),
    /// NumPy's arrays; see [`npy`](crate::data::npy).
    Npy(Npy),
    /// A text to learn token by token; see [`text`](crate::data::text).
    Text(Text),
    /// The caller's own [`Dataset`]s, of a program that uses the library; a recipe alone cannot load them.
    // In braces, since serde lets a bare variant have any keys beside its kind.
    Arrays {},
}

fn tenth() -> f64 {
    0.1
}

fn range() -> [f64; 2] {
    [0.0, 30.0]
}

fn windows() -> usize {
    100_000
}

fn one() -> f32 {
    1.0
}

/// A [`Network`] but for the sizes that the data decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecipe {
    /// What comes in at a step; `values`, unless the data are tokens.
    #[serde(default, skip_serializing_if = "Input::is_values")]
    pub input: Input,
    /// The recurrent layers, from the input up.
    #[serde(rename = "layer")]
    pub layers: Vec<Layer>,
    pub head: HeadRecipe,
}

/// A [`Head`] but for its size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadRecipe {
    /// Which hidden states it reads.
    #[serde(default)]
    pub reads: Reads,
    /// What is minimised.
    pub loss: Loss,
    /// How weights and bias start.
    #[serde(default)]
    pub init: Init,
}

/// A recipe that comes with the program.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    /// The file, comments and all.
    pub toml: &'static str,
}

/// The recipes that come with the program.
pub const BUILTINS: [Builtin; 7] = [
    Builtin {
        name: "mnist",
        toml: include_str!("recipes/mnist.toml"),
    },
    Builtin {
        name: "mnist-rnn",
        toml: include_str!("recipes/mnist-rnn.toml"),
    },
    Builtin {
        name: "mnist-gru",
        toml: include_str!("recipes/mnist-gru.toml"),
    },
    Builtin {
        name: "mnist-lstm",
        toml: include_str!("recipes/mnist-lstm.toml"),
    },
    Builtin {
        name: "mnist-scan",
        toml: include_str!("recipes/mnist-scan.toml"),
    },
    Builtin {
        name: "series",
        toml: include_str!("recipes/series.toml"),
    },
    Builtin {
        name: "text",
        toml: include_str!("recipes/text.toml"),
    },
];

impl Builtin {
    /// The built-in recipe of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] that suggests the nearest name and lists all.
    pub fn find(name: &str) -> Result<&'static Builtin> {
        BUILTINS
            .iter()
            .find(|builtin| builtin.name == name)
            .ok_or_else(|| {
                let names = BUILTINS.map(|builtin| builtin.name);
                Error::usage(format!(
                    "there is no recipe `{name}`{}; built in are {}; a path to a TOML file is taken too",
                    did_you_mean(name, &names),
                    listed(&names)
                ))
            })
    }

    /// One line on what it trains: the file's first, which is a comment.
    pub fn summary(&self) -> &'static str {
        let first = self.toml.lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }
}

impl HeadRecipe {
    /// A head with Glorot weights.
    pub fn new(reads: Reads, loss: Loss) -> Self {
        HeadRecipe {
            reads,
            loss,
            init: Init::default(),
        }
    }
}

impl Recipe {
    /// A recipe for data that the caller holds: seed 0, 10 epochs, batches of 32 sequences, a constant learning rate and
    /// gradients as they are. Change its fields for anything else.
    pub fn new(name: &str, layers: Vec<Layer>, head: HeadRecipe, optimizer: Optimizer) -> Recipe {
        Recipe {
            name: name.into(),
            seed: 0,
            epochs: 10,
            batch_size: 32,
            steps: None,
            clip_norm: None,
            clip_form: Form::default(),
            clip_value: None,
            patience: None,
            keep_best: false,
            data: DataRecipe::Arrays {},
            report_every: None,
            bptt_steps: None,
            network: NetworkRecipe {
                input: Input::Values,
                layers,
                head,
            },
            optimizer,
            schedule: Schedule::default(),
            checkpoint: CheckpointRecipe::default(),
        }
    }

    /// Reads a built-in recipe by its name, else a file by its path. Relative paths of its data are looked for beside that file,
    /// and else from the current directory. Its values are only checked by
    /// [`Recipe::validate`], so that they can be changed before.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name and for keys or values that a recipe does not have, with the line and
    /// the nearest right one; [`Error::File`] for a file that cannot be read.
    pub fn load(name_or_path: &str) -> Result<Recipe> {
        let path = Path::new(name_or_path);
        let builtin = match Builtin::find(name_or_path) {
            Ok(builtin) => builtin,
            Err(unknown) => {
                let is_path = path.components().count() > 1
                    || path
                        .extension()
                        .is_some_and(|extension| extension == "toml")
                    || path.exists();
                if !is_path {
                    return Err(unknown);
                }
                let text = files::read_text(path, LARGEST_FILE).map_err(|error| {
                    Error::file(path, format!("cannot be read as a recipe: {error}"))
                })?;
                let mut recipe = Recipe::parse(&text, name_or_path)?;
                let beside = path.parent().unwrap_or(Path::new(""));
                recipe.data.paths_mut().into_iter().for_each(|own| {
                    let there = beside.join(&*own);
                    if own.is_relative() && there.exists() {
                        *own = there;
                    }
                });
                return Ok(recipe);
            }
        };
        Recipe::parse(builtin.toml, builtin.name)
    }

    /// [`Recipe::load`] of a text that is there already; `origin` is what errors call it.
    ///
    /// # Errors
    /// Those of [`Recipe::load`].
    pub fn parse(text: &str, origin: &str) -> Result<Recipe> {
        toml::from_str(text).map_err(|error| {
            let place = match error.span() {
                Some(span) => format!("{origin}:{}", line_of(text, span.start, error.message())),
                None => origin.to_string(),
            };
            Error::usage(format!("{place}: {}", explain(error.message())))
        })
    }

    /// The recipe as TOML, which [`Recipe::load`] reads back to an equal one.
    ///
    /// # Errors
    /// [`Error::Usage`] for what TOML cannot hold: a path that is not UTF-8, a seed above `i64::MAX`.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::usage(format!("the recipe cannot be written as TOML: {error}")))
    }

    /// Changes fields by `key.key=value` each; a number between dots counts entries from 0, as in
    /// `network.layer.0.hidden_size=64`. The value is TOML, or else a string that needs no quotes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a key or value that a recipe does not have, naming the assignment.
    pub fn set<S: AsRef<str>>(&mut self, assignments: &[S]) -> Result<()> {
        let mut table = Table::try_from(&*self).map_err(|error| {
            Error::usage(format!("the recipe cannot be edited as TOML: {error}"))
        })?;
        // Fields may only make sense together, so one that does not fit yet is forgiven if a later one mends it.
        let mut misfit = None;
        for assignment in assignments {
            let assignment = assignment.as_ref();
            let named = |problem: String| Error::usage(format!("--set {assignment}: {problem}"));
            assign(&mut table, assignment).map_err(named)?;
            match table.clone().try_into() {
                Ok(recipe) => {
                    *self = recipe;
                    misfit = None;
                }
                Err(error) => {
                    misfit.get_or_insert_with(|| named(explain(error.message())));
                }
            }
        }
        misfit.map_or(Ok(()), Err)
    }

    /// The network for inputs of `input_size` features and `outputs` classes or values.
    ///
    /// # Errors
    /// [`Error::Usage`] where the layers do not make a network.
    pub fn network(&self, input_size: usize, outputs: usize) -> Result<Network> {
        let head = &self.network.head;
        let network = Network {
            input_size,
            input: self.network.input,
            layers: self.network.layers.clone(),
            head: Head {
                size: outputs,
                reads: head.reads,
                loss: head.loss,
                init: head.init,
            },
        };
        network.validate()?;
        Ok(network)
    }

    /// Checks every value that needs no data to judge.
    ///
    /// # Errors
    /// [`Error::Usage`] for the first value that is not allowed, saying what is.
    pub fn validate(&self) -> Result<()> {
        let allow = |allowed: bool, problem: String| match allowed {
            true => Ok(()),
            false => Err(Error::usage(problem)),
        };
        allow(
            !self.name.is_empty()
                && !self.name.starts_with('.')
                && self
                    .name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "-_.".contains(c)),
            format!(
                "name is \"{}\"; it names a directory, so it takes letters, digits, - and _, and dots after the first",
                self.name
            ),
        )?;
        allow(self.epochs > 0, "epochs is 0; it must be at least 1".into())?;
        // Each has an order of its own, by a number of 32 bits.
        allow(
            self.epochs <= u32::MAX as usize,
            format!("epochs is {}; it must be at most {}", self.epochs, u32::MAX),
        )?;
        allow(
            self.batch_size > 0,
            "batch_size is 0; it must be at least 1".into(),
        )?;
        for (key, count) in [
            ("steps", self.steps),
            ("patience", self.patience),
            ("report_every", self.report_every),
            ("bptt_steps", self.bptt_steps),
            ("checkpoint.every_steps", self.checkpoint.every_steps),
        ] {
            allow(
                count != Some(0),
                format!("{key} is 0; it must be at least 1, or left out"),
            )?;
        }
        for (key, limit) in [
            ("clip_norm", self.clip_norm),
            ("clip_value", self.clip_value),
        ] {
            allow(
                limit.is_none_or(|limit| limit.is_finite() && limit > 0.0),
                format!(
                    "{key} is {}; it must be a finite number above 0, or left out",
                    limit.unwrap_or_default()
                ),
            )?;
        }
        allow(
            self.clip_norm.is_none() || self.clip_value.is_none(),
            "clip_norm and clip_value are both set; gradients are clipped by one of them, so the other must be left out"
                .into(),
        )?;

        let CheckpointRecipe {
            every_minutes,
            keep,
            ..
        } = self.checkpoint;
        allow(
            every_minutes.is_finite() && every_minutes > 0.0,
            format!(
                "checkpoint.every_minutes is {every_minutes}; it must be a finite number above 0"
            ),
        )?;
        allow(
            keep > 0,
            "checkpoint.keep is 0; it must be at least 1".into(),
        )?;

        let HeadRecipe { loss, reads, .. } = self.network.head;
        let two_ways = self.network.layers.iter().any(|layer| layer.bidirectional);
        allow(
            self.bptt_steps.is_none() || (reads == Reads::Every && !two_ways),
            "bptt_steps takes sequences in chunks from the beginning on, so network.head must have reads = \"every\", and no \
             layer may be bidirectional"
                .into(),
        )?;
        let outputs = match &self.data {
            &DataRecipe::Idx { classes, scale, .. } => {
                allow(
                    scale.is_finite() && scale > 0.0,
                    format!("data.scale is {scale}; it must be a finite number above 0"),
                )?;
                allow(
                    (2..=256).contains(&classes),
                    format!(
                        "data.classes is {classes}; it must be 2 to 256, as the labels of IDX files are bytes"
                    ),
                )?;
                allow(
                    loss == Loss::CrossEntropy && reads == Reads::Last,
                    "data of kind idx has one class for each sequence, \
                     so network.head must have loss = \"cross-entropy\" and reads = \"last\""
                        .into(),
                )?;
                classes
            }
            &DataRecipe::Series {
                ref path,
                steps,
                test_fraction,
                resolution,
                range: [from, to],
                windows,
                season,
            } => {
                allow(
                    season != Some(0),
                    "data.season is 0; it must be at least 1, or left out".into(),
                )?;
                allow(steps > 0, "data.steps is 0; it must be at least 1".into())?;
                allow(
                    windows > 0,
                    "data.windows is 0; it must be at least 1".into(),
                )?;
                // A file has as many windows as it has.
                let windows = if path.is_some() { 1 } else { windows };
                let numbers = windows as u128 * steps as u128;
                allow(
                    numbers <= u128::from(series::MOST_NUMBERS),
                    format!(
                        "{windows} of data.windows with data.steps = {steps} are {numbers} numbers; at most {} are taken",
                        series::MOST_NUMBERS
                    ),
                )?;
                allow(
                    (0.0..1.0).contains(&test_fraction),
                    format!(
                        "data.test_fraction is {test_fraction}; it must be at least 0 and below 1"
                    ),
                )?;
                allow(
                    resolution.is_finite() && resolution > 0.0,
                    format!("data.resolution is {resolution}; it must be a finite number above 0"),
                )?;
                allow(
                    (to - from).is_finite() && to - from >= steps as f64 * resolution,
                    format!(
                        "data.range is {from} to {to}; it must be finite, and a window of {steps} steps of {resolution} fit in it"
                    ),
                )?;
                allow(
                    loss == Loss::MeanSquaredError && reads == Reads::Every,
                    "data of kind series has a value to predict at every step, \
                     so network.head must have loss = \"mean-squared-error\" and reads = \"every\""
                        .into(),
                )?;
                1
            }
            DataRecipe::Csv(csv) => {
                csv.validate(loss, reads)?;
                csv.outputs().unwrap_or(2)
            }
            DataRecipe::Npy(npy) => {
                npy.validate(loss)?;
                npy.classes.unwrap_or(2)
            }
            DataRecipe::Text(text) => {
                let input = self.network.input;
                text.validate(self.batch_size, self.bptt_steps, input, (loss, reads))?;
                2
            }
            // The arrays decide, once they are there; any number serves to check the layers.
            DataRecipe::Arrays {} => 1,
        };

        allow(
            !self.network.layers.is_empty(),
            "there is no [[network.layer]]; a network needs at least one".into(),
        )?;
        for (index, layer) in self.network.layers.iter().enumerate() {
            allow(
                layer.hidden_size > 0,
                format!("network.layer.{index}.hidden_size is 0; it must be at least 1"),
            )?;
            allow(
                layer.forget_bias.is_finite(),
                format!(
                    "network.layer.{index}.forget_bias is {}; it must be finite",
                    layer.forget_bias
                ),
            )?;
        }
        let layers = self.network.layers.iter().enumerate();
        let inits = layers.map(|(index, layer)| (format!("layer.{index}"), layer.init));
        for (place, init) in inits.chain([("head".to_string(), self.network.head.init)]) {
            if let Init::TruncatedNormal { stddev } = init {
                allow(
                    stddev.is_finite() && stddev > 0.0,
                    format!(
                        "network.{place}.init.truncated-normal.stddev is {stddev}; it must be a finite number above 0"
                    ),
                )?;
            }
        }
        // How much there is to read at a step is the data's to say; to check the layers, a number serves that suits them.
        let residual = self.network.layers[0].residual;
        let input_size = match self.network.input {
            Input::Embedding { tied: true, .. } => outputs,
            Input::Embedding {
                padding_idx: Some(token),
                ..
            } => token as usize + 1,
            Input::Values if residual => self.network.layers[0].emitted_size(),
            _ => 1,
        };
        self.network(input_size, outputs)?;

        self.optimizer.validate()?;
        self.schedule.validate()
    }

    /// Refuses to go on with this recipe where a run was begun with `other`. How long it goes on may change (epochs, steps,
    /// patience), the learning rate and its schedule, when it reports and is saved, and where its data lie.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the keys that must not differ.
    pub fn continues(&self, other: &Recipe) -> Result<()> {
        let mut other = other.clone();
        other.epochs = self.epochs;
        other.steps = self.steps;
        other.patience = self.patience;
        other.report_every = self.report_every;
        other.schedule = self.schedule.clone();
        other.checkpoint = self.checkpoint.clone();
        let rate = self.optimizer.learning_rate();
        other.optimizer.set_learning_rate(rate);
        if let Some(path) = self.data.path() {
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
            "a run goes on with the {} that it began with; what may change are epochs, steps, patience, report_every, \
             optimizer.lr, schedule, checkpoint and where the data lie",
            listed(&changed)
        )))
    }

    /// Takes so many sequences for each update; a text is then cut into as many streams.
    pub fn set_batch_size(&mut self, batch_size: usize) {
        self.batch_size = batch_size;
        if let DataRecipe::Text(text) = &mut self.data {
            text.streams = batch_size;
        }
    }

    /// What is done about gradients that are too large.
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

impl DataRecipe {
    /// Reads or makes the training and the test split; what is drawn at random follows from `seed`.
    ///
    /// # Errors
    /// [`Error::File`], naming the file that is missing or damaged; [`Error::Data`] for a series that is too short;
    /// [`Error::Usage`] for the caller's own arrays.
    pub fn load(&self, seed: u64) -> Result<Splits> {
        self.load_prepared(seed, None)
    }

    /// [`DataRecipe::load`], where the numbers of a table or of arrays are prepared as those were that a model was trained with.
    ///
    /// # Errors
    /// Those of [`DataRecipe::load`].
    pub fn load_prepared(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        match self {
            DataRecipe::Idx {
                path,
                classes,
                scale,
            } => {
                let mut splits = idx::load(&idx::locate(path)?, *classes)?;
                let both = [&mut splits.train].into_iter().chain(&mut splits.test);
                both.for_each(|data| rescale(Arc::make_mut(data), *scale));
                Ok(splits)
            }
            DataRecipe::Csv(csv) => csv.load(seed, known),
            DataRecipe::Npy(npy) => npy.load(seed, known),
            DataRecipe::Text(text) => text.load(known),
            DataRecipe::Series {
                path: Some(path),
                steps,
                test_fraction,
                ..
            } => series::split(&series::read(path)?, *steps, *test_fraction),
            DataRecipe::Series {
                path: None,
                steps,
                resolution,
                range,
                windows,
                ..
            } => {
                let drawn = Windows {
                    steps: *steps,
                    resolution: *resolution,
                    range: *range,
                };
                Ok(Splits {
                    train: drawn.draw(*windows, seed, Stream::Windows(0)).into(),
                    test: Some(
                        drawn
                            .draw(windows.div_ceil(100), seed, Stream::Windows(1))
                            .into(),
                    ),
                    preparation: Preparation::default(),
                })
            }
            DataRecipe::Arrays {} => Err(Error::usage(
                "data of kind arrays come from a program that uses the library, and cannot be loaded here; \
                 that program can evaluate its model, or data.kind must be \"csv\", \"npy\", \"idx\", \"series\" or \"text\"",
            )),
        }
    }

    /// Made-up data of the same shape, of `count` sequences to train on, or as many as 4 GiB hold: for whom only the sizes
    /// matter. Images are MNIST's 28 x 28; `None` for tables and arrays, whose shape a recipe does not tell.
    pub fn made_up(&self, count: usize, seed: u64) -> Option<Splits> {
        match self {
            DataRecipe::Idx { classes, scale, .. } => {
                let (steps, features) = (28, 28);
                let count = count.min(series::MOST_NUMBERS as usize / (steps * features));
                let mut draws = Philox::new(seed, Stream::Images);
                let bytes = (0..count * steps * features).map(|_| draws.next_u32() as u8);
                let data = Dataset {
                    count,
                    steps,
                    features,
                    inputs: Inputs::Bytes {
                        values: bytes.collect(),
                        scale: scale / 255.0,
                    },
                    targets: Targets::Classes {
                        labels: (0..count).map(|n| (n % classes) as u32).collect(),
                        classes: *classes,
                        per_step: false,
                    },
                    lengths: None,
                };
                Some(data.into())
            }
            DataRecipe::Series {
                steps,
                resolution,
                range,
                ..
            } => {
                let drawn = Windows {
                    steps: *steps,
                    resolution: *resolution,
                    range: *range,
                };
                let count = count.min((series::MOST_NUMBERS as usize / (*steps).max(1)).max(1));
                Some(drawn.draw(count, seed, Stream::Windows(0)).into())
            }
            DataRecipe::Text(text) => Some(text.made_up(count).into()),
            DataRecipe::Csv(_) | DataRecipe::Npy(_) | DataRecipe::Arrays {} => None,
        }
    }

    /// Whether the files are there that it names, if it names any.
    pub fn is_there(&self) -> bool {
        match self {
            DataRecipe::Idx { path, .. } => idx::locate(path).is_ok(),
            DataRecipe::Series { path, .. } => path.as_ref().is_none_or(|path| path.is_file()),
            DataRecipe::Csv(Csv { path, .. })
            | DataRecipe::Npy(Npy { path, .. })
            | DataRecipe::Text(Text { path, .. }) => path.exists(),
            DataRecipe::Arrays {} => false,
        }
    }

    /// One split alone.
    ///
    /// # Errors
    /// Those of [`DataRecipe::load`]; [`Error::Data`] where there is no test split.
    pub fn load_split(&self, split: Split, seed: u64) -> Result<Arc<Dataset>> {
        // Of images, the other split is in files that need not be there.
        if let DataRecipe::Idx {
            path,
            classes,
            scale,
        } = self
        {
            let mut data = idx::load_split(&idx::locate(path)?, split, *classes)?;
            rescale(&mut data, *scale);
            return Ok(data.into());
        }
        self.load(seed)?.take(split)
    }

    /// How the values to answer with stand to those that are read, where they are later ones of these.
    pub fn forecast(&self) -> Option<Forecast> {
        match self {
            DataRecipe::Series { season, .. } => Some(Forecast {
                inputs: vec![0],
                horizon: 1,
                season: *season,
            }),
            DataRecipe::Csv(csv) => csv.forecast(),
            _ => None,
        }
    }

    /// Where the files lie, if it names any.
    pub fn path(&self) -> Option<&Path> {
        match self {
            DataRecipe::Idx { path, .. }
            | DataRecipe::Csv(Csv { path, .. })
            | DataRecipe::Npy(Npy { path, .. })
            | DataRecipe::Text(Text { path, .. }) => Some(path),
            DataRecipe::Series { path, .. } => path.as_deref(),
            DataRecipe::Arrays {} => None,
        }
    }

    /// Every path that it names.
    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            DataRecipe::Idx { path, .. } | DataRecipe::Text(Text { path, .. }) => vec![path],
            DataRecipe::Series { path, .. } => path.iter_mut().collect(),
            DataRecipe::Csv(Csv {
                path, test_path, ..
            })
            | DataRecipe::Npy(Npy {
                path, test_path, ..
            }) => std::iter::once(path).chain(test_path).collect(),
            DataRecipe::Arrays {} => vec![],
        }
    }

    /// Takes the files from another directory, or the series from another file; the caller's arrays stay as they are.
    pub fn set_path(&mut self, place: PathBuf) {
        match self {
            DataRecipe::Idx { path, .. } => *path = place,
            DataRecipe::Series { path, .. } => *path = Some(place),
            DataRecipe::Csv(Csv { path, .. })
            | DataRecipe::Npy(Npy { path, .. })
            | DataRecipe::Text(Text { path, .. }) => *path = place,
            DataRecipe::Arrays {} => {}
        }
    }
}

fn rescale(data: &mut Dataset, factor: f32) {
    if let Inputs::Bytes { scale, .. } = &mut data.inputs {
        *scale *= factor;
    }
}

impl NetworkRecipe {
    /// Keeps the first `count` layers, or repeats the last one up to `count`.
    pub fn set_layers(&mut self, count: usize) {
        if let Some(last) = self.layers.last().cloned() {
            self.layers.resize(count, last);
        }
    }

    /// Gives every layer `hidden_size` units.
    pub fn set_hidden_size(&mut self, hidden_size: usize) {
        for layer in &mut self.layers {
            layer.hidden_size = hidden_size;
        }
    }

    /// Gives every layer that cell, and takes back the options that do not go with it.
    pub fn set_cell(&mut self, cell: Cell) {
        for layer in &mut self.layers {
            layer.cell = cell;
            if cell == Cell::Gru && layer.bias == Bias::Single {
                layer.bias = Bias::Double;
            }
            if !cell.is_lstm() {
                layer.forget_bias = 0.0;
                layer.cell_clip = None;
                layer.projection_size = None;
                layer.projection_clip = None;
            }
        }
    }
}

/// Puts the value of `key.key=value` in its place.
fn assign(table: &mut Table, assignment: &str) -> Result<(), String> {
    let Some((path, text)) = assignment.split_once('=') else {
        return Err("expected key=value, as in optimizer.lr=0.01".to_string());
    };
    let value = text
        .trim()
        .parse()
        .unwrap_or_else(|_| Value::String(text.trim().to_string()));
    let (parents, last) = match path.trim().rsplit_once('.') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, path.trim()),
    };

    let mut place = table;
    let mut keys = parents.into_iter().flat_map(|parents| parents.split('.'));
    while let Some(key) = keys.next() {
        let names: Vec<String> = place.keys().cloned().collect();
        let Some(inner) = place.get_mut(key) else {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(format!("there is no `{key}`{}", did_you_mean(key, &names)));
        };
        place = match inner {
            Value::Table(inner) => inner,
            Value::Array(entries) => {
                let count = entries.len();
                let index = keys.next().unwrap_or(last);
                let entry = index
                    .parse()
                    .ok()
                    .and_then(|index: usize| entries.get_mut(index));
                entry.and_then(Value::as_table_mut).ok_or_else(|| {
                    format!(
                        "`{key}` is a list of {count}, counted from 0, so a number below {count} \
                         must follow it, not `{index}`"
                    )
                })?
            }
            _ => return Err(format!("`{key}` is a single value, nothing can follow it")),
        };
    }
    place.insert(last.to_string(), value);
    Ok(())
}

/// The line, counted from 1, that an error speaks of; `start` is where the parser says it is.
fn line_of(text: &str, start: usize, message: &str) -> usize {
    let first = text[..start].matches('\n').count();
    let word = message.split('`').nth(1).unwrap_or_default();
    if !message.starts_with("unknown") {
        return first + 1;
    }
    // In a table with a `kind` only the table's own line is known, so the word is looked for from there on.
    let quoted = format!("\"{word}\"");
    let has_word = |line: &str| {
        let after = line.trim_start().strip_prefix(word);
        after.is_some_and(|after| after.trim_start().starts_with('=')) || line.contains(&quoted)
    };
    let offset = text.lines().skip(first).position(has_word);
    first + offset.unwrap_or(0) + 1
}

/// A plain sentence for a message of serde or the TOML parser.
fn explain(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let what = match message {
        _ if message.trim_end().ends_with("there are no fields") => {
            return format!("unknown key `{}`; there is none beside the kind", quoted[0]);
        }
        _ if message.starts_with("unknown field") => "key",
        _ if message.starts_with("unknown variant") => "value",
        _ if message.starts_with("missing field") && quoted.len() == 1 => {
            return format!("the key `{}` is missing", quoted[0]);
        }
        _ => {
            return message
                .trim()
                .replace('\n', ", ")
                .replace("expected usize", "expected a whole number, at least 0")
                .replace("expected u64", "expected a whole number, at least 0")
                .replace("expected f32", "expected a number")
                .replace(
                    "invalid type: unit variant, expected struct variant",
                    "this value needs its options beside it, as in { truncated-normal = { stddev = 0.1 } }",
                );
        }
    };
    match quoted.split_first() {
        Some((wrong, expected)) if !expected.is_empty() => format!(
            "unknown {what} `{wrong}`{}; expected {}",
            did_you_mean(wrong, expected),
            listed(expected)
        ),
        _ => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mnist() -> Recipe {
        Recipe::load("mnist").unwrap()
    }

    /// The message for the built-in `mnist` with `old` replaced.
    fn edited(old: &str, new: &str) -> String {
        let text = BUILTINS[0].toml.replacen(old, new, 1);
        assert_ne!(text, BUILTINS[0].toml);
        Recipe::parse(&text, "mine.toml").unwrap_err().to_string()
    }

    fn line_number(start: &str) -> usize {
        let mut lines = BUILTINS[0].toml.lines();
        lines.position(|line| line.starts_with(start)).unwrap() + 1
    }

    #[test]
    fn builtins_are_valid_and_come_back_equal() {
        for builtin in &BUILTINS {
            let recipe = Recipe::load(builtin.name).unwrap();
            assert_eq!(recipe.name, builtin.name);
            recipe.validate().unwrap();
            let text = recipe.to_toml().unwrap();
            assert!(text.contains("lr = 0.0"), "{text}");
            assert_eq!(Recipe::parse(&text, "printed").unwrap(), recipe);
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
            assert!(builtin.summary().ends_with('.'));
        }
    }

    #[test]
    fn a_recipe_made_in_code_comes_back_equal_and_has_no_data_to_load() {
        let head = HeadRecipe::new(Reads::Every, Loss::CrossEntropy);
        for optimizer in [
            Optimizer::sgd(0.1),
            Optimizer::adam(0.1),
            Optimizer::adamw(0.1),
            Optimizer::rmsprop(0.1),
        ] {
            let layers = vec![Layer::new(Cell::Lstm, 32), Layer::new(Cell::RnnTanh, 8)];
            let recipe = Recipe::new("waves", layers, head.clone(), optimizer);
            recipe.validate().unwrap();
            let text = recipe.to_toml().unwrap();
            assert_eq!(Recipe::parse(&text, "printed").unwrap(), recipe, "{text}");
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
            for error in [
                recipe.data.load(0).unwrap_err(),
                recipe.data.load_split(Split::Test, 0).unwrap_err(),
            ] {
                assert_eq!(error.exit_code(), 2);
                let message = error.to_string();
                assert!(message.contains("uses the library"), "{message}");
            }
            let mut wrong = recipe.clone();
            let message = wrong.set(&["data.path=mine"]).unwrap_err().to_string();
            assert!(message.contains("unknown key `path`"), "{message}");
        }
        // As files leave out what has a default, so do constants in code.
        let mut adam = mnist();
        adam.set(&["optimizer={kind=\"adam\", lr=0.1}"]).unwrap();
        assert_eq!(adam.optimizer, Optimizer::adam(0.1));
        adam.set(&["optimizer={kind=\"sgd\", lr=0.1}"]).unwrap();
        assert_eq!(adam.optimizer, Optimizer::sgd(0.1));
    }

    #[test]
    fn unknown_recipes_suggest_the_nearest() {
        let message = Recipe::load("mnsit").unwrap_err().to_string();
        assert!(message.contains("did you mean `mnist`?"), "{message}");
        assert!(
            message.contains(
                "`mnist`, `mnist-rnn`, `mnist-gru`, `mnist-lstm`, `mnist-scan`, `series` or `text`"
            ),
            "{message}"
        );
        let error = Recipe::load("none.toml").unwrap_err();
        assert!(
            error.to_string().starts_with("none.toml: cannot be read"),
            "{error}"
        );
    }

    #[test]
    fn unknown_keys_name_their_line_and_suggest_the_nearest() {
        for (old, new, right) in [
            ("batch_size =", "batchsize =", "batch_size"),
            ("classes =", "clases =", "classes"),
            ("hidden_size =", "hiden_size =", "hidden_size"),
            ("loss =", "los =", "loss"),
            ("beta2 =", "betta2 =", "beta2"),
        ] {
            let message = edited(old, new);
            let start = format!(
                "mine.toml:{}: unknown key `{}`",
                line_number(old),
                &new[..new.len() - 2]
            );
            assert!(message.starts_with(&start), "{message}\n{start}");
            assert!(
                message.contains(&format!("(did you mean `{right}`?)")),
                "{message}"
            );
        }
    }

    #[test]
    fn unknown_values_name_their_line_and_suggest_the_nearest() {
        for (old, new, wrong, right) in [
            ("cell = \"lstm\"", "cell = \"ltsm\"", "ltsm", "lstm"),
            ("form = \"torch\"", "form = \"troch\"", "troch", "torch"),
            ("kind = \"adam\"", "kind = \"adma\"", "adma", "adam"),
            ("bias = \"single\"", "bias = \"singel\"", "singel", "single"),
            (
                "loss = \"cross-entropy\"",
                "loss = \"crossentropy\"",
                "crossentropy",
                "cross-entropy",
            ),
        ] {
            let message = edited(old, new);
            let start = format!("mine.toml:{}: unknown value `{wrong}`", line_number(old));
            assert!(message.starts_with(&start), "{message}\n{start}");
            assert!(
                message.contains(&format!("(did you mean `{right}`?)")),
                "{message}"
            );
        }
    }

    #[test]
    fn other_mistakes_in_a_file() {
        let message = edited("seed = 0\n", "");
        assert!(message.contains("the key `seed` is missing"), "{message}");
        let message = edited("epochs = 2", "epochs = -2");
        assert!(
            message.contains(&format!("mine.toml:{}:", line_number("epochs"))),
            "{message}"
        );
        assert!(message.contains("expected a whole number"), "{message}");
        let message = edited("epochs = 2", "epochs = [2");
        assert!(
            message.starts_with("mine.toml:") && !message.contains('\n'),
            "{message}"
        );
    }

    #[test]
    fn set_edits_any_field() {
        let mut recipe = mnist();
        let edits = [
            "epochs=7",
            "network.layer.0.hidden_size = 64",
            "network.layer.0.cell=gru",
            "network.layer.0.bias=\"none\"",
            "optimizer.lr=1",
            "clip_norm=0.5",
            "data.path=some/where",
        ];
        recipe.set(&edits).unwrap();
        let layer = &recipe.network.layers[0];
        assert_eq!((recipe.epochs, layer.hidden_size), (7, 64));
        assert_eq!((layer.cell, layer.bias), (Cell::Gru, Bias::None));
        assert_eq!(recipe.clip_norm, Some(0.5));
        assert_eq!(recipe.optimizer.learning_rate(), 1.0);
        let DataRecipe::Idx { path, .. } = recipe.data else {
            panic!("idx expected");
        };
        assert_eq!(path, Path::new("some/where"));
    }

    #[test]
    fn set_names_what_is_wrong() {
        for (edit, expected) in [
            ("epochs", "expected key=value"),
            ("epocs=3", "unknown key `epocs` (did you mean `epochs`?)"),
            (
                "network.layer.0.hiden_size=3",
                "(did you mean `hidden_size`?)",
            ),
            ("network.layer.0.cell=ltsm", "(did you mean `lstm`?)"),
            (
                "network.layer.3.cell=lstm",
                "a number below 1 must follow it, not `3`",
            ),
            ("network.layer.cell=lstm", "not `cell`"),
            ("network.layer.0=3", "unknown key `0`"),
            (
                "netwrok.head.loss=x",
                "there is no `netwrok` (did you mean `network`?)",
            ),
            ("epochs.x=1", "`epochs` is a single value"),
            ("epochs=many", "expected a whole number"),
            ("optimizer.beta=1", "unknown key `beta`"),
            (
                "network.head.init=truncated-normal",
                "as in { truncated-normal = { stddev = 0.1 } }",
            ),
            (
                "network.head.init={truncated-normal={stdev=1.0}}",
                "(did you mean `stddev`?)",
            ),
            ("schedule={kind=\"cosin\"}", "(did you mean `cosine`?)"),
            ("=1", "unknown key ``"),
        ] {
            let mut recipe = mnist();
            let message = recipe.set(&[edit]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("--set {edit}: ")), "{message}");
            assert!(message.contains(expected), "{message}");
            assert_eq!(recipe, mnist());
        }
    }

    #[test]
    fn validate_says_what_is_allowed() {
        for (edit, expected) in [
            ("name=a/b", "it names a directory"),
            ("name=..", "it names a directory"),
            ("epochs=0", "at least 1"),
            ("epochs=5000000000", "at most 4294967295"),
            ("batch_size=0", "at least 1"),
            ("clip_norm=0.0", "clip_norm is 0"),
            ("data.classes=1", "it must be 2 to 256"),
            ("network.layer=[]", "at least one"),
            (
                "network.layer.0.hidden_size=0",
                "network.layer.0.hidden_size is 0",
            ),
            ("network.layer.0.forget_bias=inf", "it must be finite"),
            ("network.head.reads=every", "reads = \"last\""),
            (
                "network.head.loss=mean-squared-error",
                "loss = \"cross-entropy\"",
            ),
            ("optimizer.lr=nan", "optimizer.lr is NaN"),
            ("optimizer.lr=-0.1", "optimizer.lr is -0.1"),
            ("optimizer.beta1=1.0", "below 1"),
            ("optimizer.epsilon=0.0", "above 0"),
            ("optimizer.weight_decay=-1.0", "a finite number, at least 0"),
            ("clip_value=-1.0", "clip_value is -1"),
            ("steps=0", "steps is 0; it must be at least 1, or left out"),
            ("patience=0", "patience is 0; it must be at least 1"),
            ("report_every=0", "report_every is 0; it must be at least 1"),
            (
                "optimizer={kind=\"sgd\", lr=0.1, momentum=1.0}",
                "optimizer.momentum is 1; it must be at least 0 and below 1",
            ),
            (
                "optimizer={kind=\"sgd\", lr=0.1, nesterov=true}",
                "optimizer.momentum is 0; it must be above 0 where nesterov or dampening is set",
            ),
            (
                "optimizer={kind=\"sgd\", lr=0.1, momentum=0.9, dampening=0.1, nesterov=true}",
                "optimizer.dampening is 0.1; it must be 0 where nesterov is true",
            ),
            (
                "optimizer={kind=\"sgd\", lr=0.1, momentum=0.9, dampening=2.0}",
                "it must be at least 0 and at most 1",
            ),
            (
                "optimizer={kind=\"rmsprop\", lr=0.1, rho=1.0}",
                "optimizer.rho is 1; it must be at least 0 and below 1",
            ),
            (
                "optimizer={kind=\"rmsprop\", lr=0.1, epsilon=0.0}",
                "optimizer.epsilon is 0; it must be a finite number above 0",
            ),
            (
                "schedule={kind=\"step\", every=0}",
                "schedule.every is 0; it must be at least 1",
            ),
            (
                "network.head.init={truncated-normal={stddev=0.0}}",
                "network.head.init.truncated-normal.stddev is 0",
            ),
        ] {
            let mut recipe = mnist();
            recipe.set(&[edit]).unwrap();
            let error = recipe.validate().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn sizes_that_nothing_holds_are_refused() {
        for (edits, expected) in [
            (
                &["data.windows=1000000000000"][..],
                "at most 1073741824 are taken",
            ),
            (
                &[
                    "data.steps=1000000",
                    "data.windows=1000000",
                    "data.range=[0.0, 1e9]",
                ],
                "are 1000000000000 numbers",
            ),
            (
                &["network.layer.0.hidden_size=9000000000000000000"],
                "parameters; at most 1073741823 are possible",
            ),
            (&["data.range=[-1e308, 1e308]"], "it must be finite"),
        ] {
            let mut recipe = Recipe::load("series").unwrap();
            recipe.set(edits).unwrap();
            let message = recipe.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let mut deep = mnist();
        deep.network.set_layers(1001);
        let message = deep.validate().unwrap_err().to_string();
        assert!(message.contains("at most 1000 are possible"), "{message}");
    }

    #[test]
    fn gradients_are_clipped_in_one_way() {
        let mut recipe = mnist();
        assert_eq!(recipe.clip(), Clip::None);
        recipe.set(&["clip_value=0.5"]).unwrap();
        recipe.validate().unwrap();
        assert_eq!(recipe.clip(), Clip::Value(0.5));
        recipe
            .set(&["clip_norm=2", "clip_form=tensorflow"])
            .unwrap();
        let form = Form::Tensorflow;
        assert_eq!(recipe.clip(), Clip::Norm { limit: 2.0, form });
        let message = recipe.validate().unwrap_err().to_string();
        assert!(message.contains("one of them"), "{message}");
    }

    #[test]
    fn every_option_comes_back_equal() {
        for edit in [
            "optimizer={kind=\"sgd\", lr=0.1, momentum=0.9, nesterov=true}",
            "optimizer={kind=\"adamw\", lr=0.1, amsgrad=true}",
            "optimizer={kind=\"rmsprop\", lr=0.1, form=\"tensorflow\", centered=true}",
            "schedule={kind=\"constant\", warm_up=10}",
            "schedule={kind=\"exponential\", every=10, factor=0.5}",
            "schedule={kind=\"cosine\", warm_up=10}",
            "schedule={kind=\"plateau\"}",
            "network.layer.0.init={truncated-normal={stddev=0.1}}",
            "keep_best=true",
            "clip_form=tensorflow",
        ] {
            let mut recipe = mnist();
            recipe.set(&[edit]).unwrap();
            recipe.validate().unwrap();
            assert_ne!(recipe, mnist());
            let text = recipe.to_toml().unwrap();
            assert_eq!(Recipe::parse(&text, "printed").unwrap(), recipe, "{text}");
        }
    }

    #[test]
    fn network_edits_go_over_every_layer() {
        let mut network = mnist().network;
        network.set_layers(3);
        network.set_hidden_size(5);
        network.set_cell(Cell::Gru);
        for layer in &network.layers {
            assert_eq!((layer.cell, layer.hidden_size), (Cell::Gru, 5));
            assert_eq!((layer.bias, layer.forget_bias), (Bias::Double, 0.0));
        }
        network.set_layers(1);
        assert_eq!(network.layers.len(), 1);
        let mut network = mnist().network;
        network.set_cell(Cell::Lstm);
        assert_eq!(network, mnist().network);
    }
}

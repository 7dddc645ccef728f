//! The ranges of a search for hyperparameters, the `[tune]` table of a recipe.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Recipe;
use crate::error::{Error, Result};
use crate::fields;
use crate::rng::Philox;

/// The ranges that `gatescan tune` draws from; what is left out keeps the recipe's value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuneSpace {
    /// The optimizer's learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<TuneRange>,
    /// Hidden units of every layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<TuneRange>,
    /// Layers: the recipe's first ones, or its last one repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<TuneRange>,
    /// The probability that an output of a layer is dropped, in [0, 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<TuneRange>,
    /// Sequences of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<TuneRange>,
    /// Steps of a window: `data.steps`, or `bptt_steps` of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<TuneRange>,
}

/// The values that one hyperparameter may have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected values, as in [32, 64], or a range, as in { from = 1e-4, to = 1e-2, \
                 log = true }"
)]
#[non_exhaustive]
pub enum TuneRange {
    /// One of these.
    Values(Vec<f64>),
    /// Any value from one to another.
    Between(TuneInterval),
}

/// The ends of a range, both of which may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuneInterval {
    pub from: f64,
    pub to: f64,
    /// Whether the logarithm of the value is uniform, and not the value.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub log: bool,
}

/// The hyperparameters of a trial by their names in the `[tune]` table.
pub type TuneValues = BTreeMap<String, f64>;

/// A hyperparameter: its name, whether it is a whole number, and the range of valid values.
struct Hyperparameter {
    name: &'static str,
    is_whole: bool,
    range: fn(&TuneSpace) -> Option<&TuneRange>,
}

const HYPERPARAMETERS: [Hyperparameter; 6] = [
    Hyperparameter {
        name: "learning_rate",
        is_whole: false,
        range: |space| space.learning_rate.as_ref(),
    },
    Hyperparameter {
        name: "hidden_size",
        is_whole: true,
        range: |space| space.hidden_size.as_ref(),
    },
    Hyperparameter {
        name: "layers",
        is_whole: true,
        range: |space| space.layers.as_ref(),
    },
    Hyperparameter {
        name: "dropout",
        is_whole: false,
        range: |space| space.dropout.as_ref(),
    },
    Hyperparameter {
        name: "batch_size",
        is_whole: true,
        range: |space| space.batch_size.as_ref(),
    },
    Hyperparameter {
        name: "window",
        is_whole: true,
        range: |space| space.window.as_ref(),
    },
];

impl TuneRange {
    /// The least and the greatest value, and the others of a list.
    fn edges(&self) -> Vec<f64> {
        match self {
            TuneRange::Values(values) => values.clone(),
            TuneRange::Between(TuneInterval { from, to, .. }) => vec![*from, *to],
        }
    }

    fn draw(&self, random: &mut Philox, is_whole: bool) -> f64 {
        match self {
            TuneRange::Values(values) => values[random.below(values.len() as u32) as usize],
            TuneRange::Between(TuneInterval { from, to, log }) => {
                let share = f64::from(random.uniform());
                // Each whole number has an equal part of the range.
                let (low, high) = if is_whole {
                    (*from, to + 1.0)
                } else {
                    (*from, *to)
                };
                let value = if *log {
                    low * (high / low).powf(share)
                } else {
                    low + share * (high - low)
                };
                if is_whole {
                    value.floor().min(*to)
                } else {
                    value
                }
            }
        }
    }

    fn validate(&self, parameter: &Hyperparameter) -> Result<()> {
        let field = format!("tune.{}", parameter.name);
        let edges = self.edges();
        if edges.is_empty() {
            return Err(Error::invalid(field, "[]", "at least one value"));
        }
        for value in edges {
            let (is_allowed, allowed) = match parameter.name {
                "dropout" => ((0.0..1.0).contains(&value), "at least 0 and below 1"),
                _ if parameter.is_whole => (
                    value >= 1.0 && value.fract() == 0.0 && value < 1e9,
                    "whole numbers, at least 1",
                ),
                _ => (value.is_finite() && value > 0.0, "finite numbers above 0"),
            };
            fields::require(is_allowed, &field, value, allowed)?;
        }
        if let TuneRange::Between(TuneInterval { from, to, log }) = self {
            let range = format!("{from} to {to}");
            fields::require(from <= to, &field, &range, "from a value to one as large")?;
            let is_positive = !log || *from > 0.0;
            fields::require(is_positive, &field, &range, "above 0 with log = true")?;
        }
        Ok(())
    }
}

impl fmt::Display for TuneRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TuneRange::Values(values) => {
                let values: Vec<String> = values.iter().map(f64::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            TuneRange::Between(TuneInterval { from, to, log }) => {
                let log = if *log { ", log = true" } else { "" };
                write!(f, "{{ from = {from}, to = {to}{log} }}")
            }
        }
    }
}

/// The lines of a `[tune]` table, without its heading.
impl fmt::Display for TuneSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for parameter in &HYPERPARAMETERS {
            if let Some(range) = (parameter.range)(self) {
                writeln!(f, "{} = {range}", parameter.name)?;
            }
        }
        Ok(())
    }
}

/// The number whose decimal digits are those that `value` is printed with.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value.into())
}

impl TuneSpace {
    /// Reads the lines of a file: those of a `[tune]` table, with or without its heading.
    ///
    /// # Errors
    /// [`Error::Usage`] for unknown keys or values.
    pub fn parse(text: &str, origin: &str) -> Result<TuneSpace> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            tune: TuneSpace,
        }
        let has_heading = text.lines().any(|line| line.trim() == "[tune]");
        let parsed = if has_heading {
            toml::from_str::<File>(text).map(|file| file.tune)
        } else {
            toml::from_str(text)
        };
        parsed.map_err(|error| {
            let explained = super::edit::explain(error.message());
            Error::usage(format!("{origin}: {explained}"))
        })
    }

    /// Ranges around the values of a recipe, for one that has none: those with which the recipe
    /// stays valid.
    pub fn around(recipe: &Recipe) -> TuneSpace {
        let rate = decimal(recipe.optimizer.learning_rate());
        let hidden = recipe
            .network
            .layers
            .first()
            .map_or(1, |layer| layer.hidden_size);
        let halved = |value: usize| {
            let values = [value.div_ceil(2), value, 2 * value];
            Some(TuneRange::Values(values.map(|value| value as f64).to_vec()))
        };
        let whole = TuneSpace {
            learning_rate: Some(TuneRange::Between(TuneInterval {
                from: decimal((rate / 10.0) as f32),
                to: decimal((rate * 10.0) as f32),
                log: true,
            })),
            hidden_size: halved(hidden),
            layers: Some(TuneRange::Values(vec![1.0, 2.0])),
            dropout: Some(TuneRange::Values(vec![0.0, 0.2, 0.4])),
            batch_size: halved(recipe.batch_size),
            window: None,
        };
        let is_valid = |name: &str, range: &Option<TuneRange>| {
            let edges = range.iter().flat_map(TuneRange::edges);
            edges.into_iter().all(|value| {
                let values = TuneValues::from([(name.to_string(), value)]);
                whole.apply(recipe, &values).is_ok()
            })
        };
        let kept =
            |name: &str, range: &Option<TuneRange>| range.clone().filter(|_| is_valid(name, range));
        TuneSpace {
            learning_rate: kept("learning_rate", &whole.learning_rate),
            hidden_size: kept("hidden_size", &whole.hidden_size),
            layers: kept("layers", &whole.layers),
            dropout: kept("dropout", &whole.dropout),
            batch_size: kept("batch_size", &whole.batch_size),
            window: None,
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for the first value that is not allowed; [`Error::Usage`] for a
    /// space without ranges.
    pub fn validate(&self) -> Result<()> {
        let mut ranges = 0;
        for parameter in &HYPERPARAMETERS {
            if let Some(range) = (parameter.range)(self) {
                range.validate(parameter)?;
                ranges += 1;
            }
        }
        if ranges == 0 {
            return Err(Error::usage(
                "tune has no range; add at least one, as in learning_rate = { from = 1e-4, to = \
                 1e-2, log = true }",
            ));
        }
        Ok(())
    }

    /// Draws a value from each range.
    pub fn draw(&self, random: &mut Philox) -> TuneValues {
        let drawn = HYPERPARAMETERS.iter().filter_map(|parameter| {
            let value = (parameter.range)(self)?.draw(random, parameter.is_whole);
            Some((parameter.name.to_string(), value))
        });
        drawn.collect()
    }

    /// Returns the recipe with these values, without ranges, and keeping its best epoch.
    ///
    /// # Errors
    /// Those of [`Recipe::validate`]; [`Error::Usage`] for a window of data that have none.
    pub fn apply(&self, recipe: &Recipe, values: &TuneValues) -> Result<Recipe> {
        let mut recipe = recipe.clone();
        recipe.tune = None;
        recipe.keep_best = true;
        // The layers are repeated before the others change all of them.
        let get = |name: &str| values.get(name).copied();
        if let Some(layers) = get("layers") {
            recipe.network.set_layers(layers as usize);
        }
        if let Some(hidden_size) = get("hidden_size") {
            recipe.network.set_hidden_size(hidden_size as usize);
        }
        if let Some(rate) = get("learning_rate") {
            recipe.optimizer.set_learning_rate(rate as f32);
        }
        if let Some(dropout) = get("dropout") {
            for layer in &mut recipe.network.layers {
                layer.dropout.output_keep_prob = 1.0 - dropout;
            }
        }
        if let Some(batch_size) = get("batch_size") {
            recipe.set_batch_size(batch_size as usize);
        }
        if let Some(window) = get("window") {
            set_window(&mut recipe, window as usize)?;
        }
        recipe.validate()?;
        Ok(recipe)
    }
}

/// Sets the steps of a window.
fn set_window(recipe: &mut Recipe, steps: usize) -> Result<()> {
    if recipe.bptt_steps.is_some() {
        recipe.bptt_steps = Some(steps);
        return Ok(());
    }
    recipe.set(&[format!("data.steps={steps}")]).map_err(|_| {
        Error::usage(
            "tune.window is set, and the recipe's data have no window (data.steps or bptt_steps); \
             leave it out",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn space(text: &str) -> Result<TuneSpace> {
        let space = TuneSpace::parse(text, "space.toml")?;
        space.validate()?;
        Ok(space)
    }

    #[test]
    fn values_are_drawn_from_their_ranges() {
        let text = "learning_rate = { from = 1e-4, to = 1e-2, log = true }\n\
                    hidden_size = [32, 64, 128]\nlayers = { from = 1, to = 3 }\n";
        let space = space(text).unwrap();
        let heading = TuneSpace::parse(&format!("[tune]\n{text}"), "space.toml").unwrap();
        assert_eq!(heading, space);
        let mut below = 0;
        let mut layers = [0; 3];
        for n in 0..300 {
            let values = space.draw(&mut Philox::new(1, Stream::Tune(n)));
            assert_eq!(values, space.draw(&mut Philox::new(1, Stream::Tune(n))));
            let rate = values["learning_rate"];
            assert!((1e-4..=1e-2).contains(&rate));
            below += usize::from(rate < 1e-3);
            assert!([32.0, 64.0, 128.0].contains(&values["hidden_size"]));
            layers[values["layers"] as usize - 1] += 1;
        }
        // Half of the logarithms are below the middle.
        assert!((120..180).contains(&below), "{below}");
        assert!(
            layers.iter().all(|count| (70..130).contains(count)),
            "{layers:?}"
        );
    }

    #[test]
    fn ranges_that_are_not_allowed_are_refused() {
        for (text, expected) in [
            (
                "hidden_size = [0]",
                "tune.hidden_size is 0; it must be whole numbers",
            ),
            ("layers = [1.5]", "tune.layers is 1.5"),
            ("dropout = [1.0]", "at least 0 and below 1"),
            ("dropout = []", "at least one value"),
            (
                "learning_rate = { from = 0.1, to = 0.01 }",
                "from a value to one as large",
            ),
            (
                "learning_rate = 3",
                "expected values, as in [32, 64], or a range",
            ),
            ("lr = [1.0]", "unknown key `lr`"),
            ("", "tune has no range"),
        ] {
            let message = space(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_trial_is_a_recipe_with_the_values() {
        let recipe = Recipe::load("series").unwrap();
        let space = TuneSpace::around(&recipe);
        space.validate().unwrap();
        let text = space.to_string();
        assert!(text.contains("hidden_size = [50, 100, 200]\n"), "{text}");
        assert!(
            text.contains("{ from = 0.0001, to = 0.01, log = true }"),
            "{text}"
        );
        assert_eq!(TuneSpace::parse(&text, "printed").unwrap(), space);
        let values = [
            ("layers", 2.0),
            ("hidden_size", 7.0),
            ("window", 9.0),
            ("dropout", 0.25),
        ];
        let values = values.map(|(name, value)| (name.to_string(), value));
        let trial = space.apply(&recipe, &TuneValues::from(values)).unwrap();
        assert_eq!(trial.network.layers.len(), 2);
        for layer in &trial.network.layers {
            assert_eq!(
                (layer.hidden_size, layer.dropout.output_keep_prob),
                (7, 0.75)
            );
        }
        assert!(trial.to_toml().unwrap().contains("steps = 9"));
        let mnist = Recipe::load("mnist").unwrap();
        let window = TuneValues::from([("window".to_string(), 9.0)]);
        let message = space.apply(&mnist, &window).unwrap_err().to_string();
        assert!(message.contains("have no window"), "{message}");
    }
}

//! Sampling text: a network that predicts the next token reads the tokens drawn from its
//! predictions.

use std::ops::ControlFlow;

use super::stepper::Stepper;
use crate::backend::OpenDevice;
use crate::data::check_tokens;
use crate::data::text::Vocabulary;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Loss, Network, Reads};
use crate::rng::{Philox, Stream};

/// How a token is drawn: first the temperature is applied, then `top_k`, then `top_p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The divisor of the logits. Below 1, likely tokens become likelier; at 0 the likeliest is
    /// always taken.
    pub temperature: f64,
    /// Draw only from the K likeliest tokens.
    pub top_k: Option<usize>,
    /// Draw only from the likeliest tokens that together have this probability (nucleus sampling,
    /// Holtzman et al. 2020).
    pub top_p: f64,
}

impl Default for Sampling {
    /// The network's own probabilities.
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
        }
    }
}

impl Sampling {
    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a value that is not allowed.
    pub fn validate(&self) -> Result<()> {
        let Sampling {
            temperature,
            top_k,
            top_p,
        } = *self;
        if !(temperature.is_finite() && temperature >= 0.0) {
            let allowed = "a finite number, at least 0";
            return Err(Error::invalid("temperature", temperature, allowed));
        }
        if top_k == Some(0) {
            return Err(Error::invalid("top_k", 0, "at least 1"));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::invalid("top_p", top_p, "above 0 and at most 1"));
        }
        Ok(())
    }

    /// Draws the index of a token by its logit, with `uniform` in 0..1. Among equal logits the
    /// first counts as the likelier one; a logit of minus infinity is never drawn.
    fn draw(&self, logits: &[f32], uniform: f64) -> usize {
        let mut ranked: Vec<usize> = (0..logits.len()).collect();
        ranked.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let best = f64::from(logits[ranked[0]]);
        if self.temperature == 0.0 {
            return ranked[0];
        }
        ranked.truncate(self.top_k.unwrap_or(usize::MAX));
        let weight = |&token: &usize| ((f64::from(logits[token]) - best) / self.temperature).exp();
        let weights: Vec<f64> = ranked.iter().map(weight).collect();
        let all: f64 = weights.iter().sum();
        let mut sums = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        // The token that reaches the probability is included.
        let nucleus = sums.position(|sum| sum >= self.top_p * all);
        let kept = &weights[..nucleus.map_or(weights.len(), |last| last + 1)];
        let mut left = uniform * kept.iter().sum::<f64>();
        let drawn = kept.iter().position(|&weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a little after the last one.
        ranked[drawn.unwrap_or(kept.len() - 1)]
    }
}

/// A language model on a device. It reads one token of each sequence at a time; the states remain
/// in device memory.
pub struct Sampler {
    stepper: Stepper,
    vocabulary: Vocabulary,
}

impl Sampler {
    /// Loads the model on `device` for `batch` sequences at a time.
    ///
    /// # Errors
    /// [`Error::Data`] for a model that was not trained on a text; [`Error::Usage`] for a batch of
    /// 0; those of the device.
    pub fn new(model: &Model, batch: usize, device: &OpenDevice) -> Result<Sampler> {
        let vocabulary = model.preparation.vocabulary.clone().ok_or_else(|| {
            Error::data("this model was not trained on a text (train the recipe `text`)")
        })?;
        check_predicts_tokens(&model.network)?;
        Ok(Sampler {
            stepper: Stepper::carrying_states(model, batch, device)?,
            vocabulary,
        })
    }

    /// The texts of the tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Reads one token `[B]` of each sequence and updates the states.
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        let inputs = self.stepper.network.inputs;
        self.stepper.executor.write_index(&inputs, tokens)?;
        self.stepper.run()
    }

    /// The logits `[B, V]` of the next token.
    fn logits(&mut self) -> Result<Vec<f32>> {
        let outputs = self.stepper.network.head.outputs;
        let mut logits = self.stepper.executor.read(&outputs)?;
        if let Some(at) = logits.iter().position(|value| !value.is_finite()) {
            return Err(Error::data(format!(
                "the outputs of text {} are not finite ({}): the network's parameters are too \
                 large; train it again with a lower learning rate",
                at / self.vocabulary.size(),
                logits[at]
            )));
        }
        self.exclude_unknown(&mut logits);
        Ok(logits)
    }

    /// Sets the logit of the unknown token to minus infinity, unless it occurs in the training
    /// text.
    fn exclude_unknown(&self, logits: &mut [f32]) {
        if !self.vocabulary.is_known(Vocabulary::UNKNOWN) {
            let unknown = logits.iter_mut().step_by(self.vocabulary.size());
            unknown.for_each(|logit| *logit = f32::NEG_INFINITY);
        }
    }

    /// Continues `prompt` in every sequence by up to `length` tokens. Calls `each` with the next
    /// token `[B]` of every sequence; a break ends the text. The draws of sequence n follow from
    /// `seed` and n. Without a prompt, the first token is drawn uniformly. The states continue from
    /// the previous call.
    ///
    /// # Errors
    /// Those of [`Sampling::validate`]; [`Error::Usage`] for a token of the prompt that the
    /// vocabulary does not have; those of the device and of `each`.
    pub fn sample(
        &mut self,
        prompt: &[u32],
        length: usize,
        sampling: &Sampling,
        seed: u64,
        each: &mut dyn FnMut(&[u32]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        sampling.validate()?;
        let (batch, size) = (self.stepper.network.batch, self.vocabulary.size());
        check_tokens(prompt, size, &[prompt.len()])?;
        let draws = (0..batch as u32).map(|n| Philox::new(seed, Stream::Sample(n)));
        let mut draws: Vec<Philox> = draws.collect();
        for &token in prompt {
            self.read(&vec![token; batch])?;
        }
        // The first token without a prompt is drawn from equal probabilities, so temperature and
        // limits do not apply.
        let (mut logits, mut current) = if prompt.is_empty() {
            let mut equal = vec![0.0; batch * size];
            self.exclude_unknown(&mut equal);
            (equal, Sampling::default())
        } else {
            (self.logits()?, *sampling)
        };
        for made in 1..=length {
            let rows = logits.chunks(size).zip(&mut draws);
            let tokens: Vec<u32> = rows
                .map(|(row, draws)| current.draw(row, f64::from(draws.uniform())) as u32)
                .collect();
            if each(&tokens)?.is_break() || made == length {
                break;
            }
            self.read(&tokens)?;
            logits = self.logits()?;
            current = *sampling;
        }
        Ok(())
    }
}

/// Returns an error for a network that does not predict the next token at every step.
fn check_predicts_tokens(network: &Network) -> Result<()> {
    let Loss::CrossEntropy = network.head.loss else {
        return Err(Error::data("this model predicts values and not tokens"));
    };
    let is_causal = network.layers.iter().all(|layer| !layer.bidirectional);
    if network.head.reads != Reads::Every || network.input.is_values() || !is_causal {
        return Err(Error::data(
            "this model does not predict, at every step, the next token from those before",
        ));
    }
    Ok(())
}

/// Samples one text of `length` tokens with the network's own probabilities.
///
/// # Errors
/// Those of [`Sampler::new`] and [`Sampler::sample`].
pub fn sample_text(model: &Model, length: usize, seed: u64, device: &OpenDevice) -> Result<String> {
    let mut sampler = Sampler::new(model, 1, device)?;
    let vocabulary = sampler.vocabulary().clone();
    let mut text = vec![];
    let mut each = |tokens: &[u32]| {
        text.extend(vocabulary.bytes(tokens[0]));
        Ok(ControlFlow::Continue(()))
    };
    sampler.sample(&[], length, &Sampling::default(), seed, &mut each)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, f32::NEG_INFINITY, 2.0, 3.0];

    fn drawn(sampling: Sampling) -> [usize; 5] {
        sampling.validate().unwrap();
        let mut counts = [0; 5];
        for n in 0..10_000 {
            counts[sampling.draw(&LOGITS, (f64::from(n) + 0.5) / 1e4)] += 1;
        }
        counts
    }

    #[test]
    fn tokens_are_drawn_by_their_probabilities() {
        let weights = LOGITS.map(|logit| f64::from(logit).exp());
        let all: f64 = weights.iter().sum();
        for (count, weight) in drawn(Sampling::default()).iter().zip(weights) {
            assert!(
                (*count as f64 - 1e4 * weight / all).abs() <= 1.0,
                "{count} {weight}"
            );
        }
        let half = Sampling {
            temperature: 0.5,
            ..Sampling::default()
        };
        let squares = weights.map(|weight| weight * weight);
        let all: f64 = squares.iter().sum();
        for (count, square) in drawn(half).iter().zip(squares) {
            assert!(
                (*count as f64 - 1e4 * square / all).abs() <= 1.0,
                "{count} {square}"
            );
        }
    }

    #[test]
    fn temperature_0_and_top_k_1_take_the_likeliest_token() {
        let plain = Sampling::default();
        for sampling in [
            Sampling {
                temperature: 0.0,
                ..plain
            },
            Sampling {
                top_k: Some(1),
                ..plain
            },
            Sampling {
                top_p: 1e-9,
                ..plain
            },
        ] {
            assert_eq!(drawn(sampling), [0, 10_000, 0, 0, 0]);
        }
        // Equal probabilities remain equal.
        let cold = Sampling {
            temperature: 1e-12,
            ..plain
        };
        assert_eq!(drawn(cold), [0, 5000, 0, 0, 5000]);
    }

    #[test]
    fn tokens_outside_top_k_and_top_p_are_never_drawn() {
        let plain = Sampling::default();
        let [first, second, never, third, equal] = drawn(Sampling {
            top_k: Some(3),
            ..plain
        });
        assert_eq!((first, never), (0, 0));
        assert!(second.abs_diff(equal) <= 1 && third > 1000);
        // The two likeliest tokens have a probability of 0.8 together.
        let nucleus = drawn(Sampling {
            top_p: 0.79,
            ..plain
        });
        assert_eq!(nucleus, [0, 5000, 0, 0, 5000]);
        let larger = drawn(Sampling {
            top_p: 0.82,
            ..plain
        });
        assert!(larger[3] > 1000 && larger[0] == 0);
    }

    #[test]
    fn values_that_are_not_allowed_are_refused() {
        let plain = Sampling::default();
        for (sampling, expected) in [
            (
                Sampling {
                    temperature: -1.0,
                    ..plain
                },
                "temperature is -1",
            ),
            (
                Sampling {
                    temperature: f64::NAN,
                    ..plain
                },
                "temperature is NaN",
            ),
            (
                Sampling {
                    top_k: Some(0),
                    ..plain
                },
                "top_k is 0",
            ),
            (
                Sampling {
                    top_p: 0.0,
                    ..plain
                },
                "top_p is 0",
            ),
            (
                Sampling {
                    top_p: 1.5,
                    ..plain
                },
                "top_p is 1.5",
            ),
        ] {
            let message = sampling.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

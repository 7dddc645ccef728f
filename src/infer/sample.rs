//! Writing text: a network that says what comes next is fed what was drawn from its own answers.

use std::ops::ControlFlow;

use crate::backend::OpenDevice;
use crate::backend::executor::Executor;
use crate::data::text::Vocabulary;
use crate::error::{Error, Result};
use crate::kernels::control;
use crate::model::Model;
use crate::network::{Loss, Reads};
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::rng::{Philox, Stream};
use crate::tensor::{Element, Kind};

/// How a token is drawn: first the temperature, then `top_k`, then `top_p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What logits are divided by: below 1 what is likely becomes likelier, and at 0 the likeliest is always taken.
    pub temperature: f64,
    /// Only the so many likeliest.
    pub top_k: Option<usize>,
    /// Only the likeliest that together have this probability (nucleus sampling, Holtzman et al. 2020).
    pub top_p: f64,
}

impl Default for Sampling {
    /// By the network's own probabilities.
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
        }
    }
}

impl Sampling {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Usage`] that says what is allowed.
    pub fn validate(&self) -> Result<()> {
        let Sampling {
            temperature,
            top_k,
            top_p,
        } = *self;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::Usage(format!(
                "the temperature is {temperature}; it must be a finite number, at least 0"
            )));
        }
        if top_k == Some(0) {
            return Err(Error::usage("top-k is 0; it must be at least 1"));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::Usage(format!(
                "top-p is {top_p}; it must be above 0 and at most 1"
            )));
        }
        Ok(())
    }

    /// The place of a token among `logits`, drawn by `uniform`, which is in 0..1. Of what is equally likely the first counts as
    /// the likelier; what is minus infinity is never drawn.
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
        // The one that reaches the probability is in.
        let nucleus = sums.position(|sum| sum >= self.top_p * all);
        let kept = &weights[..nucleus.map_or(weights.len(), |last| last + 1)];
        let mut left = uniform * kept.iter().sum::<f64>();
        let drawn = kept.iter().position(|&weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a little behind the last one.
        ranked[drawn.unwrap_or(kept.len() - 1)]
    }
}

/// A trained network on a device, of which a step is recorded once: it reads one token of each sequence, and the states stay there.
pub struct Sampler {
    model: RecordedNetwork,
    executor: Box<dyn Executor>,
    vocabulary: Vocabulary,
}

impl Sampler {
    /// Records a step of the network for `batch` sequences side by side, and loads it on `place`.
    ///
    /// # Errors
    /// [`Error::Data`] for a model that has not learnt a text; [`Error::Usage`] for no sequence; what the device reports.
    pub fn new(saved: &Model, batch: usize, place: &OpenDevice) -> Result<Sampler> {
        let network = &saved.network;
        let vocabulary = saved.preparation.vocabulary.clone().ok_or_else(|| {
            Error::Data("this model has not learnt a text (train the recipe `text`)".into())
        })?;
        let one_way = network.layers.iter().all(|layer| !layer.bidirectional);
        let Loss::CrossEntropy = network.head.loss else {
            return Err(Error::Data(
                "this model answers with values and not with tokens".into(),
            ));
        };
        if network.head.reads != Reads::Every || network.input.is_values() || !one_way {
            return Err(Error::Data(
                "this model does not say, at every step, what comes next after what it has read"
                    .into(),
            ));
        }
        let mut model = RecordedNetwork::new(network, 1, batch, Gradients::None, place.tuning())?;
        let words = [control::WORDS];
        let control = (model.program).buffer("control", Kind::Control, Element::Index, words);
        model.carry_states(Phase::Evaluate, control);
        model.forward(Phase::Evaluate);
        let mut executor = place.load(&model.program)?;
        let parameters = network.from_parameters(&saved.parameters)?;
        executor.write(&model.parameters, &parameters)?;
        executor.write_index(&model.lengths, &vec![1; batch])?;
        // Every step goes on from the one before; before the first of all, the last states are zeros.
        executor.write_index(&control.part(control::CHUNK, [1]), &[1])?;
        Ok(Sampler {
            model,
            executor,
            vocabulary,
        })
    }

    /// What tokens stand for.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Reads one token `[B]` of each sequence, and goes on by it.
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        self.executor.write_index(&self.model.inputs, tokens)?;
        self.executor.run(&[Phase::Evaluate], 1)
    }

    /// What may come next: logits `[B, V]`, of which what is unknown has minus infinity.
    fn logits(&mut self) -> Result<Vec<f32>> {
        let mut logits = self.executor.read(&self.model.head.outputs)?;
        if let Some(value) = logits.iter().find(|value| !value.is_finite()) {
            return Err(Error::Data(format!(
                "the network answers with {value}: its parameters are of no use, or it was trained at too high a learning rate"
            )));
        }
        if !self.vocabulary.is_known(Vocabulary::UNKNOWN) {
            let size = self.vocabulary.size();
            let unknown = logits.iter_mut().step_by(size);
            unknown.for_each(|logit| *logit = f32::NEG_INFINITY);
        }
        Ok(logits)
    }

    /// Continues `prime` in every sequence by up to `length` tokens, telling `each` the next token `[B]` of every sequence as it
    /// is made; a break ends it. What sequence n draws follows from `seed` and n. Without a prime, all tokens are as likely to
    /// be the first. Goes on from where the last call ended.
    ///
    /// # Errors
    /// Those of [`Sampling::validate`]; [`Error::Usage`] for a prime with tokens that are not the vocabulary's; what the device or
    /// `each` reports.
    pub fn sample(
        &mut self,
        prime: &[u32],
        length: usize,
        sampling: &Sampling,
        seed: u64,
        each: &mut dyn FnMut(&[u32]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        sampling.validate()?;
        let (batch, size) = (self.model.batch, self.vocabulary.size());
        crate::data::check_tokens(prime, size, &[prime.len()])?;
        let draws = (0..batch as u32).map(|n| Philox::new(seed, Stream::Sample(n)));
        let mut draws: Vec<Philox> = draws.collect();
        for &token in prime {
            self.read(&vec![token; batch])?;
        }
        let mut logits = match prime {
            [] => {
                let mut equal = vec![0.0; batch * size];
                if !self.vocabulary.is_known(Vocabulary::UNKNOWN) {
                    equal
                        .iter_mut()
                        .step_by(size)
                        .for_each(|logit| *logit = f32::NEG_INFINITY);
                }
                equal
            }
            _ => self.logits()?,
        };
        // Which is the first has no likeliest one.
        let mut how = match prime {
            [] => Sampling::default(),
            _ => *sampling,
        };
        for made in 1..=length {
            let rows = logits.chunks(size).zip(&mut draws);
            let tokens: Vec<u32> = rows
                .map(|(row, draws)| how.draw(row, f64::from(draws.uniform())) as u32)
                .collect();
            if each(&tokens)?.is_break() || made == length {
                break;
            }
            self.read(&tokens)?;
            logits = self.logits()?;
            how = *sampling;
        }
        Ok(())
    }
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
    fn tokens_come_as_often_as_they_are_likely() {
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
    fn little_temperature_and_top_1_take_the_first_of_the_likeliest() {
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
        // Equally likely ones stay so.
        let cold = Sampling {
            temperature: 1e-12,
            ..plain
        };
        assert_eq!(drawn(cold), [0, 5000, 0, 0, 5000]);
    }

    #[test]
    fn what_is_cut_off_is_never_drawn() {
        let plain = Sampling::default();
        let [first, second, never, third, equal] = drawn(Sampling {
            top_k: Some(3),
            ..plain
        });
        assert_eq!((first, never), (0, 0));
        assert!(second.abs_diff(equal) <= 1 && third > 1000);
        // The two likeliest have 0.8 of all.
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
    fn what_makes_no_sense_is_refused() {
        let plain = Sampling::default();
        for (sampling, expected) in [
            (
                Sampling {
                    temperature: -1.0,
                    ..plain
                },
                "the temperature is -1",
            ),
            (
                Sampling {
                    temperature: f64::NAN,
                    ..plain
                },
                "the temperature is NaN",
            ),
            (
                Sampling {
                    top_k: Some(0),
                    ..plain
                },
                "top-k is 0",
            ),
            (
                Sampling {
                    top_p: 0.0,
                    ..plain
                },
                "top-p is 0",
            ),
            (
                Sampling {
                    top_p: 1.5,
                    ..plain
                },
                "top-p is 1.5",
            ),
        ] {
            let message = sampling.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

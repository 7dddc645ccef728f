//! The adjustment of a finished model's intervals to the validation split.

use super::Trainer;
use crate::data::preparation::Preparation;
use crate::data::{Dataset, MISSING, Split, Targets};
use crate::error::{Error, Result};
use crate::messages::printable;
use crate::metrics::{conformal_quantile, interval_margin};
use crate::network::{Head, Loss};
use crate::train::evaluation::{EvaluationProgress, each_output};

/// Standard deviations from the mean within which 80 per cent of a normal distribution are.
const DEVIATIONS_OF_80: f64 = 1.281_551_565_544_600_4;
/// The share by which the deviations of normal distributions are adjusted.
const ADJUSTED_SHARE: f64 = 0.8;

/// How the intervals of a model were adjusted.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalAdjustment {
    /// The name of the head, of one of several.
    pub head: Option<String>,
    /// Its index among the heads.
    pub(super) index: usize,
    /// `[J * W]`: what is added to each output, in the units of the data; to the logarithm of a
    /// variance, twice that of the factor of its deviation.
    pub added: Vec<f64>,
    /// The fewest known targets of a target value.
    pub targets: usize,
    /// Intervals that have too few targets, and stay as they are.
    pub left: usize,
}

/// The known targets of a target value on the validation split, with its outputs `[J]` in the units
/// of the data.
type KnownTargets = Vec<(f64, Vec<f64>)>;

impl Trainer {
    /// Adjusts the intervals of the model to the validation split, if the recipe says so: those
    /// between opposite quantiles by conformalized quantile regression, and the deviations of
    /// normal distributions by the factor with which 80 per cent of the targets are covered.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn adjust_intervals(&mut self) -> Result<()> {
        if !self.recipe.conformal {
            return Ok(());
        }
        let shown = match self.best.clone() {
            Some(best) => best,
            None => self.model_parameters()?,
        };
        self.show(&shown)?;
        let heads = self.adjusted_heads();
        let known = self.known_targets(&heads);
        self.show_trained()?;
        let known = self.gathered_targets(known?)?;
        let adjust = |(own, known): (&AdjustedHead, &Vec<KnownTargets>)| IntervalAdjustment {
            head: self
                .network
                .network
                .heads
                .get(own.index)
                .map(|head| head.name.clone()),
            index: own.index,
            ..IntervalAdjustment::of(&own.head, known)
        };
        self.intervals = heads.iter().zip(&known).map(adjust).collect();
        Ok(())
    }

    /// How the intervals of each head of the finished model are adjusted that has some; nothing for
    /// a recipe without `conformal`, and before the end of the run.
    pub fn interval_adjustments(&self) -> &[IntervalAdjustment] {
        &self.intervals
    }

    /// The heads with intervals.
    fn adjusted_heads(&self) -> Vec<AdjustedHead> {
        let heads = self.network.network.each_head().into_iter().enumerate();
        let heads = heads.filter(|(_, head)| head.loss.has_intervals());
        let is_one = self.network.heads.is_empty();
        let preparation = &self.splits.preparation;
        heads
            .map(|(index, head)| AdjustedHead {
                index,
                head,
                preparation: if is_one {
                    preparation.of_outputs(&head)
                } else {
                    preparation.of_head(index).of_outputs(&head)
                },
            })
            .collect()
    }

    /// `[W]` of each of these heads: the known targets of the validation split, and the outputs for
    /// them.
    fn known_targets(&mut self, heads: &[AdjustedHead]) -> Result<Vec<Vec<KnownTargets>>> {
        let data = self.splits.validation.clone();
        let data = data.ok_or_else(|| Error::usage("there is no validation split"))?;
        let none = |own: &AdjustedHead| vec![vec![]; own.head.targets()];
        let mut known: Vec<Vec<KnownTargets>> = heads.iter().map(none).collect();
        let order = self.runner(Split::Validation)?.feed.own_order(&data);
        let mut evaluation = EvaluationProgress::begin(&mut self.runner(Split::Validation)?)?;
        loop {
            let mut runner = self.runner(Split::Validation)?;
            let at = runner.feed.done();
            if evaluation.advance(&mut runner, 1)?.is_none() {
                return Ok(known);
            }
            let at = (at, runner.feed.chunks());
            for (own, known) in heads.iter().zip(&mut known) {
                let tensor = self.network.each_head()[own.index].outputs;
                let outputs = self.executor.read(&tensor)?;
                let outputs = (&outputs[..], own.head.size);
                each_output(&self.network, outputs, &data, &order, at, |n_t, outputs| {
                    own.add(known, &data, n_t, outputs);
                });
            }
        }
    }
}

/// A head whose intervals are adjusted.
struct AdjustedHead {
    index: usize,
    head: Head,
    /// With an entry for each output.
    preparation: Preparation,
}

impl AdjustedHead {
    /// Adds the targets of the head in sequence `n` at step `t`, with these outputs.
    fn add(
        &self,
        known: &mut [KnownTargets],
        data: &Dataset,
        (n, t): (usize, usize),
        outputs: &[f32],
    ) {
        let Targets::Values {
            values,
            width,
            per_step,
        } = &data.targets.each_head()[self.index]
        else {
            return;
        };
        let length = data.lengths.as_ref().map(|all| all[n] as usize);
        let length = length.unwrap_or(data.steps);
        if *per_step && t >= length {
            return;
        }
        let (row, step) = if *per_step {
            (n * data.steps + t, t)
        } else {
            (n, length.max(1) - 1)
        };
        let input = data.input_rows(n, step..step + 1);
        let targets = &values[row * width..(row + 1) * width];
        add_known(known, &self.preparation, (targets, outputs, input));
    }
}

impl Trainer {
    /// The known targets of all processes. Their order does not matter to an adjustment.
    fn gathered_targets(&self, own: Vec<Vec<KnownTargets>>) -> Result<Vec<Vec<KnownTargets>>> {
        let Some(ranks) = &self.ranks else {
            return Ok(own);
        };
        let none = |own: &Vec<KnownTargets>| vec![vec![]; own.len()];
        let mut known: Vec<Vec<KnownTargets>> = own.iter().map(none).collect();
        let count: usize = known.iter().map(Vec::len).sum();
        for bytes in ranks.gather(targets_to_bytes(&own.concat()))? {
            let read = targets_from_bytes(&bytes).filter(|all| all.len() == count);
            let read = read.ok_or_else(|| {
                Error::Failed("a process sent targets that are not understood".into())
            })?;
            let each = known.iter_mut().flatten().zip(read);
            each.for_each(|(known, read)| known.extend(read));
        }
        Ok(known)
    }
}

/// For each target value the number of its targets and of outputs; then of each the target and its
/// outputs. All are f64, which has every number of targets.
fn targets_to_bytes(known: &[KnownTargets]) -> Vec<u8> {
    let mut values = vec![];
    for known in known {
        let outputs = known.first().map_or(0, |(_, outputs)| outputs.len());
        values.extend([known.len() as f64, outputs as f64]);
        for (target, outputs) in known {
            values.push(*target);
            values.extend(outputs);
        }
    }
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Returns what [`targets_to_bytes`] has made; `None` for other bytes.
fn targets_from_bytes(bytes: &[u8]) -> Option<Vec<KnownTargets>> {
    let (words, rest) = bytes.as_chunks::<8>();
    let values: Vec<f64> = words.iter().map(|&word| f64::from_le_bytes(word)).collect();
    let (mut rest, mut known) = (rest.is_empty().then_some(&values[..])?, vec![]);
    while !rest.is_empty() {
        let (&[count, outputs], values) = rest.split_first_chunk()?;
        let each = (outputs as usize).saturating_add(1);
        let (own, later) = values.split_at_checked((count as usize).checked_mul(each)?)?;
        let targets = own.chunks_exact(each);
        known.push(targets.map(|one| (one[0], one[1..].to_vec())).collect());
        rest = later;
    }
    Some(known)
}

/// Adds the targets of a step with their outputs; those that are missing are left out.
fn add_known(
    known: &mut [KnownTargets],
    preparation: &Preparation,
    (targets, outputs, input): (&[f32], &[f32], &[f32]),
) {
    let width = targets.len();
    let own = targets.iter().zip(known).enumerate();
    for (k, (&target, known)) in own.filter(|(_, (target, _))| **target != MISSING) {
        let of_target = outputs.iter().enumerate().skip(k).step_by(width);
        let restored = of_target.map(|(j, &output)| preparation.restore_value(j, output, input));
        let target = preparation.restore_value(k, target, input);
        known.push((target, restored.collect()));
    }
}

impl IntervalAdjustment {
    /// Computes the adjustment of a head without one, from the known targets `[W]`. The first
    /// outputs of all targets must be restored like the targets.
    fn of(head: &Head, known: &[KnownTargets]) -> IntervalAdjustment {
        let width = known.len();
        let mut adjustment = IntervalAdjustment {
            head: None,
            index: 0,
            added: vec![0.0; head.size],
            targets: known.iter().map(Vec::len).min().unwrap_or(0),
            left: 0,
        };
        for (k, known) in known.iter().enumerate() {
            match head.loss {
                Loss::Quantile { levels } => {
                    for (low, high) in levels.intervals() {
                        let share = f64::from(levels.levels()[high] - levels.levels()[low]);
                        let ends = known.iter().map(|(target, outputs)| {
                            // A network may let quantiles cross; predictions have them sorted.
                            let mut sorted = outputs.clone();
                            sorted.sort_by(f64::total_cmp);
                            (*target, sorted[low], sorted[high])
                        });
                        match interval_margin(&ends.collect::<Vec<_>>(), rounded(share)) {
                            Some(margin) => {
                                adjustment.added[low * width + k] = -margin;
                                adjustment.added[high * width + k] = margin;
                            }
                            None => adjustment.left += 1,
                        }
                    }
                }
                Loss::GaussianNll => match deviation_factor(known) {
                    Some(factor) => adjustment.added[width + k] = 2.0 * factor.ln(),
                    None => adjustment.left += 1,
                },
                _ => {}
            }
        }
        adjustment
    }

    /// Sentences on what was adjusted by how many targets, and on what was not.
    pub fn note(&self) -> String {
        let head = self.head.as_ref();
        let head = head.map_or(String::new(), |name| format!("head {}: ", printable(name)));
        let mut text = format!(
            "{head}intervals are adjusted to the validation split (conformal, {} targets)",
            self.targets
        );
        if self.left > 0 {
            text += &format!(
                "; {} of them stay as they are, because it has too few targets for their coverage",
                self.left
            );
        }
        text
    }
}

/// The difference of two levels without the rounding of f32.
fn rounded(share: f64) -> f64 {
    (share * 1e6).round() / 1e6
}

/// The factor of all deviations with which 80 per cent of the targets are within their interval;
/// `None` for too few targets, and where it would be 0.
fn deviation_factor(known: &KnownTargets) -> Option<f64> {
    let scores = known.iter().map(|(target, outputs)| {
        let deviation = (0.5 * outputs[1]).exp();
        (target - outputs[0]).abs() / deviation
    });
    let factor = conformal_quantile(&scores.collect::<Vec<_>>(), ADJUSTED_SHARE)?;
    Some(factor / DEVIATIONS_OF_80).filter(|factor| factor.is_finite() && *factor > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Init, Reads};

    fn head(size: usize, loss: Loss) -> Head {
        Head {
            size,
            reads: Reads::Last,
            loss,
            init: Init::default(),
        }
    }

    #[test]
    fn targets_of_other_processes_are_read() {
        let known: Vec<KnownTargets> = vec![
            vec![(1.0, vec![0.1, -0.0]), (-2.5, vec![3.0, f64::NAN])],
            vec![],
            vec![(7.0, vec![1e300, 2.0])],
        ];
        let bytes = targets_to_bytes(&known);
        let read = targets_from_bytes(&bytes).expect("it is whole");
        assert_eq!(format!("{read:?}"), format!("{known:?}"));
        assert_eq!(targets_from_bytes(&[]), Some(vec![]));
        for len in [1, 8, bytes.len() - 8, bytes.len() - 1] {
            assert_eq!(targets_from_bytes(&bytes[..len]), None, "{len}");
        }
    }

    #[test]
    fn quantiles_are_moved_until_their_interval_covers() {
        let head = head(3, Loss::quantiles(&[0.1, 0.5, 0.9]).expect("they ascend"));
        // Targets 0 to 9 with the interval 4 to 6; the outputs cross.
        let known = (0..9).map(|n| (f64::from(n), vec![6.0, 5.0, 4.0]));
        let adjustment = IntervalAdjustment::of(&head, &[known.collect()]);
        // The 8th smallest of the scores 4, 3, 2, 1, 0, -1 ... is 3.
        assert_eq!(adjustment.added, [-3.0, 0.0, 3.0]);
        assert_eq!((adjustment.targets, adjustment.left), (9, 0));
        let few = vec![(1.0, vec![0.0, 0.5, 2.0]); 3];
        let adjustment = IntervalAdjustment::of(&head, &[few]);
        assert_eq!((adjustment.left, &adjustment.added), (1, &vec![0.0; 3]));
        assert!(adjustment.note().contains("1 of them stay"));
    }

    #[test]
    fn deviations_are_scaled() {
        let head = head(2, Loss::GaussianNll);
        // Deviations of 2; the 8th smallest of 9 distances is 8.
        let known = (1..10).map(|n| (f64::from(n), vec![0.0, 2.0 * 2f64.ln()]));
        let adjustment = IntervalAdjustment::of(&head, &[known.collect()]);
        let factor = (8.0 / 2.0) / DEVIATIONS_OF_80;
        assert!((adjustment.added[1] - 2.0 * factor.ln()).abs() < 1e-12);
        assert_eq!(adjustment.added[0], 0.0);
    }
}

//! What a network answers to a split of its data, looked at one by one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ndarray::{ArrayD, ArrayView2, ArrayView3, Axis, Ix3};

use crate::backend::OpenDevice;
use crate::data::preparation::{Normal, Preparation};
use crate::data::{Dataset, Inputs, Split, Targets};
use crate::error::{Error, Result};
use crate::infer::predict::{Predictor, Sequences, largest, softmax};
use crate::kernels::IGNORE;
use crate::model::Model;
use crate::network::Reads;

/// The most time steps that are played for a page, and the most sequences that are answered.
const MOST_STEPS: usize = 1 << 20;
const MOST_SEQUENCES: usize = 20_000;
/// Time steps of sequences that are played together.
const STEPS_AT_ONCE: usize = 1 << 14;
/// Mistakes that are drawn.
const MISTAKES: usize = 24;
/// The longest side of a picture; larger ones are averaged over squares.
const LONGEST_SIDE: usize = 64;

/// What is true and what was predicted.
type Pairs = Vec<(f32, f32)>;

/// What a network answered.
#[derive(Debug, Clone)]
pub struct Findings {
    pub split: Split,
    /// Sequences that were answered, and those of the split.
    pub answered: usize,
    pub of: usize,
    pub answers: Answers,
}

#[derive(Debug, Clone)]
pub enum Answers {
    Classes(Classes),
    Values(Values),
}

/// Of a network that tells classes apart.
#[derive(Debug, Clone)]
pub struct Classes {
    /// `[K]`: what the data call them.
    pub names: Vec<String>,
    /// Labelled outputs by true and by predicted class, where there are any.
    pub counts: BTreeMap<(usize, usize), u32>,
    /// The sequences taken for what they are not, those of the largest loss first; none where there is a class for each step.
    pub mistakes: Vec<Mistake>,
}

/// A sequence taken for what it is not.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// Which of the split, from 0.
    pub sequence: usize,
    pub truth: usize,
    pub taken: usize,
    /// What the network makes of the class that it is taken for, and of the true one.
    pub probability: f32,
    pub of_truth: f32,
    pub picture: Option<Picture>,
}

/// A sequence to look at.
#[derive(Debug, Clone)]
pub enum Picture {
    /// Rows by time, of brightness from 0 to 1.
    Image { columns: usize, values: Vec<f32> },
    /// One value for each step.
    Curve(Vec<f32>),
}

/// Of a network that answers with values; in the data's own units.
#[derive(Debug, Clone)]
pub struct Values {
    /// `[K][N]`: what is true and what was predicted at the last step of each sequence.
    pub last: Vec<Vec<(f32, f32)>>,
    /// Whether one sequence follows the other in time.
    pub in_time: bool,
    /// Sequences answered at every step: an ordinary one, and the worst.
    pub examples: Vec<Example>,
}

/// The first value of each answer to a sequence.
#[derive(Debug, Clone)]
pub struct Example {
    /// Which of the split, from 0.
    pub sequence: usize,
    pub name: &'static str,
    /// `[T]`: what is true and what was predicted.
    pub steps: Vec<(f32, f32)>,
}

impl Findings {
    /// What `saved` answers to `data`, or to as much of it as takes no long time: of what follows each other `in_time` the end,
    /// else sequences at equal distances.
    ///
    /// # Errors
    /// [`Error::Data`] for a model of other data; what the device reports.
    pub fn new(
        saved: &Model,
        data: &Dataset,
        split: Split,
        in_time: bool,
        place: &OpenDevice,
    ) -> Result<Findings> {
        let network = &saved.network;
        if data.input_size() != network.input_size
            || data.targets.outputs() != network.head.size
            || data.targets.per_step() != (network.head.reads == Reads::Every)
        {
            return Err(Error::Data(
                "the data are no longer of the shape that the model was trained on".into(),
            ));
        }
        let count = (MOST_STEPS / data.steps)
            .clamp(1, MOST_SEQUENCES)
            .min(data.count);
        let chosen: Vec<usize> = match in_time {
            true => (data.count - count..data.count).collect(),
            false => (0..count).map(|n| n * data.count / count).collect(),
        };
        let batch = (STEPS_AT_ONCE / data.steps).clamp(1, count.min(512));
        let mut predictor = Predictor::load(saved, data.steps, batch, place)?;
        let preparation = &saved.preparation;
        let mut seen = match data.targets {
            Targets::Classes { .. } => Seen::Classes(SeenClasses::default()),
            Targets::Values { width, .. } => Seen::Values(SeenValues::new(width)),
        };
        for numbers in chosen.chunks(batch) {
            let part = data.read(numbers)?;
            let outputs = answer(&mut predictor, &part)?;
            match &mut seen {
                Seen::Classes(seen) => seen.add(&part, numbers, &outputs),
                Seen::Values(seen) => seen.add(&part, numbers, &outputs, preparation),
            }
        }
        let answers = match seen {
            Seen::Classes(seen) => Answers::Classes(seen.finish(data, preparation)),
            Seen::Values(seen) => Answers::Values(seen.finish(in_time)),
        };
        Ok(Findings {
            split,
            answered: count,
            of: data.count,
            answers,
        })
    }
}

/// `[N, T, K]` of a head that reads every step, else `[N, 1, K]`: logits, or values.
fn answer(predictor: &mut Predictor, part: &Dataset) -> Result<ArrayD<f32>> {
    let (count, steps, features) = (part.count, part.steps, part.features);
    let misshapen = |error: ndarray::ShapeError| Error::Failed(error.to_string());
    let lengths = part.lengths.as_ref();
    let lengths: Option<Vec<usize>> =
        lengths.map(|all| all.iter().map(|&length| length as usize).collect());
    let values;
    let sequences: Sequences = match &part.inputs {
        Inputs::Tokens { values, .. } => ArrayView2::from_shape((count, steps), values)
            .map_err(misshapen)?
            .into(),
        Inputs::Floats(values) => ArrayView3::from_shape((count, steps, features), values)
            .map_err(misshapen)?
            .into(),
        Inputs::Stored(stored) => {
            values = stored.read(&(0..count).collect::<Vec<_>>())?;
            ArrayView3::from_shape((count, steps, features), &values)
                .map_err(misshapen)?
                .into()
        }
        Inputs::Bytes {
            values: bytes,
            scale,
        } => {
            values = bytes
                .iter()
                .map(|&byte| f32::from(byte) * scale)
                .collect::<Vec<_>>();
            ArrayView3::from_shape((count, steps, features), &values)
                .map_err(misshapen)?
                .into()
        }
    };
    let outputs = predictor
        .predict(sequences, lengths.as_deref(), None)?
        .outputs;
    Ok(match outputs.ndim() {
        2 => outputs.insert_axis(Axis(1)),
        _ => outputs,
    })
}

enum Seen {
    Classes(SeenClasses),
    Values(SeenValues),
}

#[derive(Default)]
struct SeenClasses {
    counts: BTreeMap<(usize, usize), u32>,
    /// The worst so far.
    mistakes: Vec<Mistake>,
}

impl SeenClasses {
    fn add(&mut self, part: &Dataset, numbers: &[usize], outputs: &ArrayD<f32>) {
        let labels = part.labels();
        let Ok(outputs) = outputs.view().into_dimensionality::<Ix3>() else {
            return;
        };
        let rows = outputs.outer_iter().zip(numbers);
        let each = labels.len() / part.count;
        for ((outputs, &sequence), labels) in rows.zip(labels.chunks(each)) {
            for (logits, &label) in outputs.rows().into_iter().zip(labels) {
                if label == IGNORE {
                    continue;
                }
                let (truth, taken) = (label as usize, largest(logits));
                *self.counts.entry((truth, taken)).or_default() += 1;
                if truth != taken && !part.targets.per_step() {
                    let mut probabilities = logits.to_owned();
                    softmax(probabilities.view_mut());
                    self.mistakes.push(Mistake {
                        sequence,
                        truth,
                        taken,
                        probability: probabilities[taken],
                        of_truth: probabilities[truth],
                        picture: None,
                    });
                }
            }
        }
        // The loss is -log of what is made of the true class.
        self.mistakes.sort_by(|a, b| {
            a.of_truth
                .total_cmp(&b.of_truth)
                .then(a.sequence.cmp(&b.sequence))
        });
        self.mistakes.truncate(MISTAKES);
    }

    fn finish(mut self, data: &Dataset, preparation: &Preparation) -> Classes {
        for mistake in &mut self.mistakes {
            mistake.picture = picture(data, mistake.sequence);
        }
        Classes {
            names: (0..data.targets.outputs())
                .map(|class| preparation.class(class))
                .collect(),
            counts: self.counts,
            mistakes: self.mistakes,
        }
    }
}

struct SeenValues {
    last: Vec<Pairs>,
    /// The mean squared error of each sequence, its number and its first value at each step; where there is one for each.
    sequences: Vec<(f32, usize, Pairs)>,
}

impl SeenValues {
    fn new(width: usize) -> SeenValues {
        SeenValues {
            last: vec![vec![]; width],
            sequences: vec![],
        }
    }

    fn add(
        &mut self,
        part: &Dataset,
        numbers: &[usize],
        outputs: &ArrayD<f32>,
        preparation: &Preparation,
    ) {
        let Targets::Values {
            values,
            width,
            per_step,
        } = &part.targets
        else {
            return;
        };
        let Ok(outputs) = outputs.view().into_dimensionality::<Ix3>() else {
            return;
        };
        let own = |k: usize, value: f32| match preparation.targets.get(k) {
            Some(normal) => Normal::undo(*normal, value),
            None => value,
        };
        let rows = if *per_step { part.steps } else { 1 };
        for (n, (outputs, &sequence)) in outputs.outer_iter().zip(numbers).enumerate() {
            let length = part
                .lengths
                .as_ref()
                .map_or(part.steps, |all| all[n] as usize);
            let valid = if *per_step { length } else { 1 };
            let pair = |t: usize, k: usize| {
                let truth = values[(n * rows + t) * width + k];
                (own(k, truth), own(k, outputs[[t, k]]))
            };
            if let Some(last) = valid.checked_sub(1) {
                for (k, column) in self.last.iter_mut().enumerate() {
                    column.push(pair(last, k));
                }
            }
            if valid > 1 {
                let steps: Vec<_> = (0..valid).map(|t| pair(t, 0)).collect();
                let squares = steps.iter().map(|(truth, answer)| (truth - answer).powi(2));
                let error = squares.sum::<f32>() / valid as f32;
                self.sequences.push((error, sequence, steps));
            }
        }
    }

    fn finish(mut self, in_time: bool) -> Values {
        self.sequences
            .sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let count = self.sequences.len();
        let places = [
            ("an ordinary one (half are better)", count / 2),
            ("the worst", count.saturating_sub(1)),
        ];
        let examples = places.into_iter().filter_map(|(name, at)| {
            let (_, sequence, steps) = self.sequences.get(at)?;
            Some(Example {
                sequence: *sequence,
                name,
                steps: steps.clone(),
            })
        });
        let mut examples: Vec<Example> = examples.collect();
        examples.dedup_by_key(|example| example.sequence);
        Values {
            examples,
            last: self.last,
            in_time,
        }
    }
}

/// A sequence to look at: an image where it has several features, a curve where it has one; none of tokens.
fn picture(data: &Dataset, sequence: usize) -> Option<Picture> {
    let valid = data
        .lengths
        .as_ref()
        .map_or(data.steps, |all| all[sequence] as usize);
    let range = 0..valid * data.features;
    let values: Vec<f32> = match &data.read(&[sequence]).ok()?.inputs {
        Inputs::Bytes { values, .. } => values[range].iter().map(|&byte| f32::from(byte)).collect(),
        Inputs::Floats(values) => values[range].to_vec(),
        Inputs::Tokens { .. } | Inputs::Stored(_) => return None,
    };
    if valid == 0 {
        return None;
    }
    if data.features == 1 {
        return Some(Picture::Curve(values));
    }
    let image = ArrayView2::from_shape((valid, data.features), &values).ok()?;
    let sides = [valid, data.features].map(|side| side.div_ceil(LONGEST_SIDE));
    let squares: Vec<f32> = image
        .axis_chunks_iter(Axis(0), sides[0])
        .flat_map(|rows| {
            let squares = rows.axis_chunks_iter(Axis(1), sides[1]);
            let means = squares.map(|square| square.mean().unwrap_or_default());
            means.collect::<Vec<_>>()
        })
        .collect();
    let least = squares
        .iter()
        .fold(f32::MAX, |least, &value| least.min(value));
    let most = squares
        .iter()
        .fold(f32::MIN, |most, &value| most.max(value));
    let scale = (most - least).max(f32::MIN_POSITIVE);
    Some(Picture::Image {
        columns: data.features.div_ceil(sides[1]),
        values: squares
            .iter()
            .map(|value| (value - least) / scale)
            .collect(),
    })
}

impl Classes {
    /// Of the labelled outputs, those of a class, and of these those taken for it.
    pub fn recalled(&self, class: usize) -> (u32, u32) {
        let of_class = self.counts.iter().filter(|((truth, _), _)| *truth == class);
        let all = of_class.map(|(_, count)| count).sum();
        (all, self.counts.get(&(class, class)).copied().unwrap_or(0))
    }

    /// What is taken for something else, the most frequent first.
    pub fn confusions(&self) -> Vec<((usize, usize), u32)> {
        let wrong = self
            .counts
            .iter()
            .filter(|((truth, taken), _)| truth != taken);
        let mut wrong: Vec<_> = wrong.map(|(&pair, &count)| (pair, count)).collect();
        wrong.sort_by_key(|&(pair, count)| (Reverse(count), pair));
        wrong
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array3, arr2};

    use super::*;

    #[test]
    fn mistakes_are_counted_and_the_worst_kept() {
        let inputs = Array3::from_shape_fn((4, 2, 3), |(n, t, i)| (n * 6 + t * 3 + i) as f32);
        let labels = Array1::from(vec![0, 1, 2, 1]);
        let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 3)).unwrap();
        let outputs = arr2(&[
            [2.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
            [9.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
        ]);
        let outputs = outputs.insert_axis(Axis(1)).into_dyn();
        let mut seen = SeenClasses::default();
        seen.add(&data, &[0, 1, 2, 3], &outputs);
        let found = seen.finish(&data, &Preparation::default());
        assert_eq!(found.names, ["0", "1", "2"]);
        assert_eq!(found.recalled(1), (2, 1));
        assert_eq!(found.confusions(), [((1, 0), 1), ((2, 0), 1)]);
        let order: Vec<usize> = found.mistakes.iter().map(|each| each.sequence).collect();
        assert_eq!(order, [2, 1]);
        let Some(Picture::Image { columns, values }) = &found.mistakes[0].picture else {
            panic!("an image was expected");
        };
        assert_eq!(*columns, 3);
        assert_eq!(values, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    }

    #[test]
    fn large_pictures_are_averaged() {
        let inputs = Array3::from_shape_fn((1, 130, 2), |(_, t, i)| (t / 3 * 2 + i) as f32);
        let labels = Array1::zeros(1);
        let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 1)).unwrap();
        let Some(Picture::Image { columns, values }) = picture(&data, 0) else {
            panic!("an image was expected");
        };
        assert_eq!((columns, values.len()), (2, 88));
        assert!(values.is_sorted());
    }

    #[test]
    fn values_come_in_their_own_units() {
        let inputs = Array3::zeros((2, 3, 1));
        let targets = Array3::from_shape_fn((2, 3, 1), |(n, t, _)| (n * 3 + t) as f32);
        let targets = Targets::values_per_step(targets.view());
        let data = Dataset::new(inputs.view(), targets).unwrap();
        let data = data.with_lengths(&[3, 2]).unwrap();
        let preparation = Preparation {
            targets: vec![Normal {
                mean: 10.0,
                deviation: 2.0,
            }],
            ..Preparation::default()
        };
        let mut seen = SeenValues::new(1);
        let outputs = Array3::<f32>::zeros((2, 3, 1)).into_dyn();
        seen.add(&data, &[5, 9], &outputs, &preparation);
        let found = seen.finish(false);
        assert_eq!(found.last, [[(14.0, 10.0), (18.0, 10.0)]]);
        assert_eq!(found.examples[0].sequence, 9);
        assert_eq!(found.examples[0].steps, [(16.0, 10.0), (18.0, 10.0)]);
    }
}

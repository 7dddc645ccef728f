//! Lists of labels from the outputs of a network with the loss `ctc`.

use std::collections::{BTreeMap, HashMap};

use ndarray::{ArrayView1, ArrayView2, s};

use super::dataset::predict_batch;
use super::predict::Predictor;
use crate::backend::OpenDevice;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::metrics::{BLANK, BestPath};
use crate::model::Model;

/// How a list of labels is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoding {
    /// The labels of the likeliest class at each step (Graves et al. 2006, section 3.2).
    BestPath,
    /// The likeliest list among those that a search over prefixes keeps (Graves et al. 2006;
    /// Hannun et al. 2014, without a language model).
    Beam {
        /// The prefixes that are kept at each step, at least 1.
        width: usize,
    },
}

/// A decoded list.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedList {
    /// Classes without blanks.
    pub labels: Vec<u32>,
    /// ln of the probability: of the likeliest path, or of all paths of the list that a beam search
    /// has kept.
    pub log_probability: f64,
}

/// Decodes the list of every sequence of `data`, in batches.
///
/// # Errors
/// [`Error::Usage`] for a model with another loss and for a beam of width 0; those of
/// [`Predictor::new`] and [`Predictor::predict`].
pub fn decode_dataset(
    model: &Model,
    data: &Dataset,
    decoding: Decoding,
    batch: usize,
    device: &OpenDevice,
) -> Result<Vec<DecodedList>> {
    let loss = &model.network.head.loss;
    if !loss.takes_lists() {
        return Err(Error::usage(format!(
            "the model predicts no lists of labels: its loss is \"{}\", not \"ctc\"",
            loss.name()
        )));
    }
    if decoding == (Decoding::Beam { width: 0 }) {
        return Err(Error::usage(
            "the beam has the width 0; it must be at least 1",
        ));
    }
    let batch = batch.min(data.count).max(1);
    let mut predictor = Predictor::load(model, data.steps, batch, device)?;
    let mut lists = Vec::with_capacity(data.count);
    for first in (0..data.count).step_by(batch) {
        let sequences: Vec<usize> = (first..(first + batch).min(data.count)).collect();
        let part = data.read(&sequences)?;
        let lengths = part.lengths.as_ref();
        let lengths: Option<Vec<usize>> =
            lengths.map(|all| all.iter().map(|&length| length as usize).collect());
        let lengths = lengths.as_deref();
        let outputs = predict_batch(model, &mut predictor, &part, lengths, first)?;
        for n in 0..part.count {
            let length = lengths.map_or(part.steps, |lengths| lengths[n]);
            lists.push(decode(outputs.slice(s![n, ..length, ..]), decoding));
        }
    }
    Ok(lists)
}

/// Decodes the probabilities `[T, K]` of a sequence, of which class 0 is the blank.
pub fn decode(probabilities: ArrayView2<f32>, decoding: Decoding) -> DecodedList {
    match decoding {
        Decoding::BestPath => best_path(probabilities),
        Decoding::Beam { width } => beam_search(probabilities, width.max(1)),
    }
}

fn best_path(probabilities: ArrayView2<f32>) -> DecodedList {
    let mut path = BestPath::default();
    let mut log_probability = 0.0;
    for row in probabilities.rows() {
        path.push(row.iter().copied());
        let largest = row.iter().copied().fold(0.0, f32::max);
        log_probability += f64::from(largest).ln();
    }
    DecodedList {
        labels: path.labels().to_vec(),
        log_probability,
    }
}

/// ln of the probabilities of the paths of a prefix, by whether they end with a blank.
#[derive(Debug, Clone, Copy)]
struct PrefixPaths {
    blank: f64,
    label: f64,
}

impl PrefixPaths {
    const NONE: PrefixPaths = PrefixPaths {
        blank: f64::NEG_INFINITY,
        label: f64::NEG_INFINITY,
    };

    fn total(self) -> f64 {
        log_sum(self.blank, self.label)
    }
}

/// ln(e^a + e^b).
fn log_sum(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if small == f64::NEG_INFINITY {
        return large;
    }
    large + (small - large).exp().ln_1p()
}

/// The prefixes of a search: each is another prefix and its last label.
struct PrefixTree {
    /// The prefix before the last label, and that label; the first prefix is empty.
    nodes: Vec<(usize, u32)>,
    longer: HashMap<(usize, u32), usize>,
}

impl PrefixTree {
    fn new() -> PrefixTree {
        PrefixTree {
            nodes: vec![(0, BLANK)],
            longer: HashMap::new(),
        }
    }

    /// Returns the prefix with one more label.
    fn extended(&mut self, prefix: usize, label: u32) -> usize {
        let nodes = &mut self.nodes;
        *self.longer.entry((prefix, label)).or_insert_with(|| {
            nodes.push((prefix, label));
            nodes.len() - 1
        })
    }

    fn labels(&self, mut prefix: usize) -> Vec<u32> {
        let mut labels = vec![];
        while prefix != 0 {
            let (before, label) = self.nodes[prefix];
            labels.push(label);
            prefix = before;
        }
        labels.reverse();
        labels
    }
}

/// Prefix beam search with `width` prefixes; of equal ones, those found first are kept.
fn beam_search(probabilities: ArrayView2<f32>, width: usize) -> DecodedList {
    let mut tree = PrefixTree::new();
    let empty = PrefixPaths {
        blank: 0.0,
        label: f64::NEG_INFINITY,
    };
    let mut beam: Vec<(usize, PrefixPaths)> = vec![(0, empty)];
    for row in probabilities.rows() {
        let mut next: BTreeMap<usize, PrefixPaths> = BTreeMap::new();
        let classes = extending(&tree, &beam, row, width);
        for &(prefix, paths) in &beam {
            let last = tree.nodes[prefix].1;
            let own = next.entry(prefix).or_insert(PrefixPaths::NONE);
            own.blank = log_sum(own.blank, paths.total() + ln(row[BLANK as usize]));
            if last != BLANK {
                own.label = log_sum(own.label, paths.label + ln(row[last as usize]));
            }
            for &class in &classes {
                // A label repeats the last one only after a blank.
                let before = if class == last {
                    paths.blank
                } else {
                    paths.total()
                };
                let longer = tree.extended(prefix, class);
                let longer = next.entry(longer).or_insert(PrefixPaths::NONE);
                longer.label = log_sum(longer.label, before + ln(row[class as usize]));
            }
        }
        beam = next.into_iter().collect();
        beam.sort_by(|a, b| b.1.total().total_cmp(&a.1.total()));
        beam.truncate(width);
    }
    let (prefix, paths) = beam[0];
    DecodedList {
        labels: tree.labels(prefix),
        log_probability: paths.total(),
    }
}

/// The labels that may extend a prefix: of the extensions of one prefix, at most `width` are kept,
/// which are the likeliest labels; and those by which a prefix of the beam may become another one.
fn extending(
    tree: &PrefixTree,
    beam: &[(usize, PrefixPaths)],
    row: ArrayView1<f32>,
    width: usize,
) -> Vec<u32> {
    let mut classes: Vec<u32> = (BLANK + 1..row.len() as u32).collect();
    if classes.len() <= width {
        return classes;
    }
    classes.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
    // One more: the likeliest may repeat the last label of a prefix.
    classes.truncate(width + 1);
    let ends = beam.iter().map(|&(prefix, _)| tree.nodes[prefix].1);
    classes.extend(ends.filter(|&label| label != BLANK));
    classes.sort_unstable();
    classes.dedup();
    classes
}

fn ln(probability: f32) -> f64 {
    f64::from(probability).ln()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, arr2};

    use super::*;
    use crate::rng::{Philox, Stream};

    /// ln of the probability of each list, from all paths.
    fn of_all_paths(probabilities: &Array2<f32>) -> BTreeMap<Vec<u32>, f64> {
        let (steps, classes) = probabilities.dim();
        let mut lists: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
        for path in 0..classes.pow(steps as u32) {
            let class = |t: usize| path / classes.pow(t as u32) % classes;
            let (mut labels, mut last, mut probability) = (vec![], 0, 1.0);
            for t in 0..steps {
                probability *= f64::from(probabilities[[t, class(t)]]);
                if class(t) != 0 && class(t) != last {
                    labels.push(class(t) as u32);
                }
                last = class(t);
            }
            *lists.entry(labels).or_default() += probability;
        }
        lists.into_iter().map(|(list, p)| (list, p.ln())).collect()
    }

    fn random(steps: usize, classes: usize, seed: u64) -> Array2<f32> {
        let mut random = Philox::new(seed, Stream::Images);
        let mut rows = Array2::from_shape_fn((steps, classes), |_| random.uniform() + 0.01);
        for mut row in rows.rows_mut() {
            let sum = row.sum();
            row.mapv_inplace(|value| value / sum);
        }
        rows
    }

    #[test]
    fn a_list_can_be_likelier_than_that_of_the_best_path() {
        // Example of Graves (2006): blank, blank is the likeliest path; the list [1] has three.
        let rows = arr2(&[[0.6f32, 0.4], [0.6, 0.4]]);
        let best = decode(rows.view(), Decoding::BestPath);
        assert!(best.labels.is_empty());
        assert!((best.log_probability.exp() - 0.36).abs() < 1e-6);
        let beam = decode(rows.view(), Decoding::Beam { width: 2 });
        assert_eq!(beam.labels, [1]);
        assert!((beam.log_probability.exp() - 0.64).abs() < 1e-6);
    }

    #[test]
    fn a_wide_beam_finds_the_likeliest_of_all_lists() {
        for seed in 0..20 {
            let rows = random(5, 4, seed);
            let all = of_all_paths(&rows);
            let (list, expected) = all
                .iter()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .expect("there are lists");
            let found = decode(rows.view(), Decoding::Beam { width: 1000 });
            assert_eq!(&found.labels, list);
            assert!((found.log_probability - expected).abs() < 1e-9);
            let narrow = decode(rows.view(), Decoding::Beam { width: 3 });
            let own = all[&narrow.labels];
            assert!(narrow.log_probability <= own + 1e-9);
        }
    }

    #[test]
    fn few_classes_of_many_are_enough() {
        // The same beam with all classes allowed: as wide as there are classes and cut afterwards.
        for seed in 0..10 {
            let rows = random(6, 12, seed);
            let narrow = decode(rows.view(), Decoding::Beam { width: 4 });
            let wide = decode(rows.view(), Decoding::Beam { width: 500 });
            assert!(narrow.log_probability <= wide.log_probability + 1e-9);
        }
    }

    #[test]
    fn no_step_has_no_label() {
        let rows = Array2::zeros((0, 3));
        for decoding in [Decoding::BestPath, Decoding::Beam { width: 2 }] {
            let list = decode(rows.view(), decoding);
            assert_eq!((list.labels, list.log_probability), (vec![], 0.0));
        }
    }
}

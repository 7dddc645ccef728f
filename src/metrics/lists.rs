//! Metrics of lists of labels, which a network with the loss `ctc` predicts.

/// The class that stands for no label.
pub const BLANK: u32 = 0;

/// The labels of the likeliest class at each step: repeated classes count once, and blanks are
/// removed (best path decoding; Graves et al. 2006, section 3.2).
#[derive(Debug, Clone, Default)]
pub struct BestPath {
    last: u32,
    labels: Vec<u32>,
}

impl BestPath {
    /// Adds the outputs of the next step, `[K]`. The first of equal ones is the likeliest.
    pub fn push(&mut self, outputs: impl Iterator<Item = f32>) {
        let larger = |best: (u32, f32), (class, value): (u32, f32)| {
            if value > best.1 { (class, value) } else { best }
        };
        let (class, _) = (0..).zip(outputs).fold((BLANK, f32::NEG_INFINITY), larger);
        if class != BLANK && class != self.last {
            self.labels.push(class);
        }
        self.last = class;
    }

    /// Returns the labels so far.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

/// Returns the fewest insertions, deletions and replacements of labels that turn one list into the
/// other (Levenshtein 1966).
pub fn edit_distance(from: &[u32], to: &[u32]) -> usize {
    // `row[j]` is the distance of the labels of `from` so far to the first j of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, label) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(label != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// Sums over predicted lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListSums {
    /// Lists.
    pub lists: usize,
    /// Lists that are predicted without an error.
    pub exact: usize,
    /// Labels of the true lists.
    pub labels: usize,
    /// Insertions, deletions and replacements that turn predicted lists into the true ones.
    pub errors: usize,
}

impl ListSums {
    /// Adds a list.
    pub fn add(&mut self, predicted: &[u32], truth: &[u32]) {
        let errors = edit_distance(predicted, truth);
        self.lists += 1;
        self.exact += usize::from(errors == 0);
        self.labels += truth.len();
        self.errors += errors;
    }

    /// Returns the metrics; `None` without a list.
    pub fn finish(&self) -> Option<ListMetrics> {
        let share = |part: usize, all: usize| (all > 0).then(|| part as f64 / all as f64);
        Some(ListMetrics {
            label_error_rate: share(self.errors, self.labels),
            sequence_accuracy: share(self.exact, self.lists)?,
            sums: *self,
        })
    }
}

/// The metrics of predicted lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListMetrics {
    /// Errors for each label of the true lists (Graves et al. 2006, section 2.1, with all labels
    /// counted together); above 1 if there are more errors than labels, `None` if no list has a
    /// label.
    pub label_error_rate: Option<f64>,
    /// The share of the lists that are predicted without an error.
    pub sequence_accuracy: f64,
    pub sums: ListSums,
}

impl ListMetrics {
    /// Returns one clause for each value that is not defined, with the reason.
    pub fn undefined(&self) -> Vec<String> {
        match self.label_error_rate {
            Some(_) => vec![],
            None => {
                vec!["the label error rate is not defined, because no list has a label".to_string()]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_classes_count_once_unless_a_blank_is_between() {
        let path = |classes: &[u32]| {
            let mut path = BestPath::default();
            for &class in classes {
                path.push((0..4).map(|k| if k == class { 1.0 } else { 0.0 }));
            }
            path.labels().to_vec()
        };
        assert_eq!(path(&[0, 0]), [0; 0]);
        assert_eq!(path(&[1, 1, 0, 1, 2, 2, 3]), [1, 1, 2, 3]);
        assert_eq!(path(&[3, 0, 0, 3]), [3, 3]);
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (from, to, distance) in [
            (&[][..], &[][..], 0),
            (&[1, 2, 3], &[], 3),
            (&[], &[1, 2], 2),
            (&[1, 2, 3], &[1, 2, 3], 0),
            (&[1, 2, 3], &[2, 3], 1),
            (&[1, 2, 3], &[1, 3, 3], 1),
            // kitten and sitting
            (&[1, 2, 3, 3, 4, 5], &[6, 2, 3, 3, 2, 5, 7], 3),
        ] {
            assert_eq!(edit_distance(from, to), distance, "{from:?} {to:?}");
            assert_eq!(edit_distance(to, from), distance, "{to:?} {from:?}");
        }
    }

    #[test]
    fn rates_are_of_all_labels_together() {
        let mut sums = ListSums::default();
        assert_eq!(sums.finish(), None);
        sums.add(&[1], &[]);
        let empty = sums.finish().unwrap();
        assert_eq!(
            (empty.label_error_rate, empty.sequence_accuracy),
            (None, 0.0)
        );
        assert_eq!(empty.undefined().len(), 1);
        sums.add(&[1, 2, 3], &[1, 2, 3]);
        sums.add(&[2], &[2, 2, 3]);
        let metrics = sums.finish().unwrap();
        assert_eq!(metrics.label_error_rate, Some(3.0 / 6.0));
        assert_eq!(metrics.sequence_accuracy, 1.0 / 3.0);
    }
}

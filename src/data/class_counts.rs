//! The labels of a data set by their classes, and classes that a split lacks.

use super::preparation::Preparation;
use super::{Dataset, Splits, Targets};
use crate::kernels::IGNORE;
use crate::messages::excerpt;

/// The most classes that a note names.
const MOST_NAMED: usize = 10;

/// Returns the number of labels of each class, `[K]`, in `targets`, which are those of a head in
/// `data`; `None` for target values.
pub(crate) fn class_counts(data: &Dataset, targets: &Targets) -> Option<Vec<u64>> {
    let Targets::Classes { classes, .. } = targets else {
        return None;
    };
    let mut counts = vec![0; *classes];
    for &label in data
        .labels_of(targets)
        .iter()
        .filter(|&&label| label != IGNORE)
    {
        counts[label as usize] += 1;
    }
    Some(counts)
}

/// Returns [`class_counts`], or the number of each label in lists.
fn label_counts(data: &Dataset) -> Option<Vec<u64>> {
    let Targets::Lists {
        labels, classes, ..
    } = &data.targets
    else {
        return class_counts(data, &data.targets);
    };
    let mut counts = vec![0; *classes];
    for &label in labels.iter().filter(|&&label| label != IGNORE) {
        counts[label as usize] += 1;
    }
    Some(counts)
}

/// Returns a clause on the sequences that have too few steps for their list of labels; `name` is
/// that of the data, such as "the test split".
pub fn short_sequences(data: &Dataset, name: &str) -> Option<String> {
    let mut short = data.too_short_for_labels();
    let first = short.next()?;
    let count = 1 + short.count();
    Some(format!(
        "{count} of the {} sequences of {name} have too few steps for their labels (the first is \
         sequence {first}): no alignment exists, so the loss counts each as 0, without a gradient",
        data.count
    ))
}

/// Returns a clause on the classes that `train` has no label of and `other` has, and one on those
/// that only `other` lacks; `name` is that of `other`, such as "the test split". There are none for
/// target values and for the tokens of a text.
pub fn absent_classes(
    train: &Dataset,
    other: &Dataset,
    name: &str,
    preparation: &Preparation,
) -> Vec<String> {
    let (Some(trained), Some(others)) = (label_counts(train), label_counts(other)) else {
        return vec![];
    };
    if preparation.vocabulary.is_some() {
        return vec![];
    }
    let sequences = if train.targets.per_step() {
        "step"
    } else {
        "sequence"
    };
    let only_in = |some: &[u64], none: &[u64]| -> Vec<(usize, u64)> {
        let pairs = some.iter().zip(none).enumerate();
        let only = pairs.filter(|(_, (some, none))| **some > 0 && **none == 0);
        only.map(|(class, (&count, _))| (class, count)).collect()
    };
    let (untrained, untested) = (only_in(&others, &trained), only_in(&trained, &others));
    let mut notes = vec![];
    if let Some(names) = named(&untrained, preparation) {
        let count: u64 = untrained.iter().map(|&(_, count)| count).sum();
        notes.push(format!(
            "the training split has no {sequences} of {names}, which {name} has ({count} of its \
             {sequences}s): a model does not learn a class that it never sees; divide the data so \
             that the training split has every class"
        ));
    }
    if let Some(names) = named(&untested, preparation) {
        notes.push(format!(
            "{name} has no {sequences} of {names}, which the training split has: its scores say \
             nothing about such {sequences}s"
        ));
    }
    notes
}

impl Splits {
    /// Returns clauses on the classes that one split has and the other lacks, see
    /// [`absent_classes`], and on sequences that are too short for their labels.
    pub fn class_notes(&self) -> Vec<String> {
        let splits = [
            (&self.validation, "the validation split"),
            (&self.test, "the test split"),
        ];
        let present = splits.iter();
        let present = present.filter_map(|(data, name)| Some((data.as_ref()?, *name)));
        let notes = present
            .flat_map(|(data, name)| absent_classes(&self.train, data, name, &self.preparation));
        let mut notes: Vec<String> = notes.collect();
        notes.extend(short_sequences(&self.train, "the training split"));
        for (data, name) in splits {
            notes.extend(data.as_ref().and_then(|data| short_sequences(data, name)));
        }
        notes
    }
}

/// Returns the names of classes as "class `a`" or "the classes `a`, `b`"; `None` if there are none.
fn named(classes: &[(usize, u64)], preparation: &Preparation) -> Option<String> {
    let shown = classes.iter().take(MOST_NAMED);
    let shown: Vec<String> = shown
        .map(|&(class, _)| format!("`{}`", excerpt(&preparation.class(class))))
        .collect();
    let more = classes.len() - shown.len();
    match (classes.len(), more) {
        (0, _) => None,
        (1, _) => Some(format!("class {}", shown[0])),
        (_, 0) => Some(format!("the classes {}", shown.join(", "))),
        (_, more) => Some(format!(
            "the classes {} and {more} others",
            shown.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array3};

    use super::*;

    fn labelled(labels: &[u32], classes: usize) -> Dataset {
        let inputs = Array3::zeros((labels.len(), 2, 1));
        let labels = Array1::from(labels.to_vec());
        Dataset::new(inputs.view(), Targets::classes(labels.view(), classes)).expect("it is valid")
    }

    #[test]
    fn classes_that_one_split_lacks_are_named() {
        let preparation = Preparation {
            classes: ["up", "down", "flat"].map(String::from).into(),
            ..Preparation::default()
        };
        let notes = |train: &[u32], test: &[u32]| {
            let (train, test) = (labelled(train, 3), labelled(test, 3));
            absent_classes(&train, &test, "the test split", &preparation)
        };
        assert_eq!(notes(&[0, 1, 2], &[2, 1, 0]), Vec::<String>::new());
        let found = notes(&[0, 0, 0], &[1, 2, 2]);
        assert!(
            found[0].contains("no sequence of the classes `down`, `flat`, which the test split"),
            "{found:?}"
        );
        assert!(found[0].contains("(3 of its sequences)"), "{found:?}");
        assert!(
            found[1].contains("the test split has no sequence of class `up`"),
            "{found:?}"
        );
    }

    #[test]
    fn many_classes_are_not_all_named() {
        let labels: Vec<u32> = (0..30).collect();
        let (train, test) = (labelled(&[0; 30], 30), labelled(&labels, 30));
        let notes = absent_classes(&train, &test, "x.csv", &Preparation::default());
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("`9`, `10` and 19 others"), "{notes:?}");
    }
}

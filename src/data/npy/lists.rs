//! Lists of labels in an array, and their classes.

use super::super::idx::BLANK_NAME;
use super::Array;
use super::labels::{Classes, FoundLabels, LabelValue, MOST_NAMED};
use super::targets::InputSizes;
use crate::kernels::{BLANK, IGNORE};
use crate::messages::excerpt;

impl FoundLabels {
    /// Reads the lists of labels of `count` sequences: `[N, L]`, or concatenated with the numbers
    /// of labels `lengths` `[N]`.
    ///
    /// # Errors
    /// A message for another shape, for a label after the end of its list, and for the first
    /// element that is no label.
    pub fn read_lists(
        array: &Array,
        count: usize,
        lengths: Option<&[usize]>,
    ) -> Result<FoundLabels, String> {
        if let Some(lengths) = lengths.filter(|lengths| lengths.len() != count) {
            return Err(format!(
                "data.label_lengths has {} elements; there must be {count}, one for each sequence",
                lengths.len()
            ));
        }
        let longest = lengths.and_then(|lengths| lengths.iter().copied().max());
        let total: usize = lengths.map_or(0, |lengths| lengths.iter().sum());
        let (steps, are_concatenated) = match array.shape[..] {
            [n, steps] if n == count && steps > 0 && longest.unwrap_or(0) <= steps => {
                (steps, false)
            }
            [r] if lengths.is_some() && r == total => (longest.unwrap_or(0).max(1), true),
            _ => {
                return Err(format!(
                    "the array is {:?}; lists of labels must be [{count}, L], where negative \
                     numbers or empty texts follow the labels of a list, or [R] with \
                     data.label_lengths that sum to R and are at most L",
                    array.shape
                ));
            }
        };
        let sizes = InputSizes {
            count,
            steps,
            lengths,
        };
        let mut labels = FoundLabels::read_steps(array, &sizes, are_concatenated)?;
        labels.per_step = false;
        labels.are_lists = true;
        labels.check_ends()?;
        Ok(labels)
    }

    /// Refuses a label after the end of its list.
    fn check_ends(&self) -> Result<(), String> {
        let lists = self.indices.chunks_exact(self.steps);
        for (n, list) in lists.enumerate() {
            let ends = list.iter().position(|&index| index == IGNORE);
            let rest = ends.map_or(&[][..], |end| &list[end..]);
            if rest.iter().any(|&index| index != IGNORE) {
                return Err(format!(
                    "the list of sequence {n} has a label after a negative, NaN or empty one, \
                     which ends it; put the labels of each list first"
                ));
            }
        }
        Ok(())
    }

    /// Refuses a label whose class is the blank; `class_of` is the class of each value.
    pub fn check_no_blank(&self, class_of: &[u32]) -> Result<(), String> {
        match class_of.iter().position(|&class| class == BLANK) {
            None => Ok(()),
            Some(value) => Err(format!(
                "a label of sequence {} is `{}`, which is class {BLANK}, the blank; with \
                 data.classes = K the labels of lists are 1 to K - 1",
                self.sequence_of(value),
                excerpt(&self.values[value].name())
            )),
        }
    }
}

impl Classes {
    /// Returns the blank and the classes of all `labels`, each in the order of its values.
    ///
    /// # Errors
    /// A message if there is no label, or too many.
    pub fn of_lists(labels: &[&FoundLabels]) -> Result<Classes, String> {
        let mut values: Vec<&LabelValue> = labels.iter().flat_map(|found| &found.values).collect();
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            return Err("every list is empty; at least one label must occur".into());
        }
        if values.len() > MOST_NAMED {
            return Err(format!(
                "there are {} different labels, and at most {MOST_NAMED} can be named; number them \
                 from 1 and set data.classes",
                values.len()
            ));
        }
        let names = values.into_iter().map(LabelValue::name);
        let blank = std::iter::once(BLANK_NAME.to_string());
        Ok(Classes::Named(blank.chain(names).collect()))
    }
}

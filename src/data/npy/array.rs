//! An array in memory.

/// The elements of an array, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub numbers: Numbers,
}

/// Elements by their type.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    Floats(Vec<f32>),
    /// Integers, and booleans as 0 and 1.
    Integers(Vec<i64>),
}

impl Array {
    /// Returns the elements as floats.
    pub(super) fn floats(self) -> Vec<f32> {
        match self.numbers {
            Numbers::Floats(values) => values,
            Numbers::Integers(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    /// Returns the elements as integers, if all are whole numbers.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let whole = |value: f32| value.fract() == 0.0 && value.abs() < 1e9;
        match &self.numbers {
            Numbers::Integers(values) => Some(values.clone()),
            Numbers::Floats(values) => values
                .iter()
                .map(|&value| whole(value).then_some(value as i64))
                .collect(),
        }
    }
}

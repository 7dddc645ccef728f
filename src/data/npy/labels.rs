//! Labels as an array has them, and the classes that they become.

use std::collections::HashMap;

use super::super::Targets;
use super::array::whole;
use super::inputs::padded;
use super::targets::InputSizes;
use super::{Array, Elements, MOST_CLASSES};
use crate::kernels::IGNORE;
use crate::messages::{excerpt, listed};

/// The most classes whose names are kept.
pub(super) const MOST_NAMED: usize = 1 << 16;
/// The longest label, in bytes.
const LONGEST_LABEL: usize = 1024;
/// The most classes that a message lists.
const MOST_LISTED: usize = 20;

/// The value of a label, in whatever type the array has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LabelValue {
    Number(i64),
    Text(String),
}

impl LabelValue {
    /// Returns the number that a text is, as 1 or 1.0, or else the text.
    fn of_text(text: &str) -> LabelValue {
        let (whole_part, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_zeros = !fraction.is_empty() && fraction.chars().all(|c| c == '0');
        match whole_part.parse::<i64>() {
            // 007 is a name.
            Ok(number) if is_zeros && number.to_string() == whole_part => {
                LabelValue::Number(number)
            }
            _ => LabelValue::Text(text.to_string()),
        }
    }

    pub fn name(&self) -> String {
        match self {
            LabelValue::Number(number) => number.to_string(),
            LabelValue::Text(text) => text.clone(),
        }
    }
}

/// The labels of sequences, or of steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundLabels {
    /// The values that occur.
    pub values: Vec<LabelValue>,
    /// `[N]`, or `[N, T]` if `per_step`: an index of `values`; [`IGNORE`] for a step without a
    /// class.
    pub indices: Vec<u32>,
    pub per_step: bool,
    /// Whether these are lists `[N, L]`, where [`IGNORE`] follows the labels of each.
    pub are_lists: bool,
    /// T, or L.
    pub steps: usize,
    /// The classes of one-hot labels.
    pub one_hot: Option<usize>,
}

/// The arrangement of the labels in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelLayout {
    /// A label for each sequence.
    Sequences,
    /// A label for each step, `[N, T]`.
    Steps,
    /// A label for each step of concatenated sequences, `[R]`.
    Concatenated,
}

impl FoundLabels {
    /// Reads the labels of sequences. `one_hot` says whether they are one-hot rows, if the recipe
    /// does.
    ///
    /// # Errors
    /// A message for a shape that does not belong to the inputs, and for the first element that is
    /// no label.
    pub fn read(
        array: &Array,
        inputs: &InputSizes,
        one_hot: Option<bool>,
    ) -> Result<FoundLabels, String> {
        let plain = plain_layout(&array.shape, inputs).filter(|_| one_hot != Some(true));
        let width = array.shape.last().copied().unwrap_or(1);
        let hot = one_hot_layout(&array.shape, inputs).filter(|_| one_hot != Some(false));
        match (plain, hot) {
            (Some(LabelLayout::Steps), Some(_)) if array.is_one_hot() => Err(format!(
                "the array is {:?}, and each row has one 1: it may be a one-hot class of each \
                 sequence, or a class at each step; set data.one_hot to true or false",
                array.shape
            )),
            (Some(layout), _) => {
                let mut table = LabelTable::default();
                let indices = table.encode(array, inputs, layout)?;
                Ok(FoundLabels::arranged(indices, table.values, layout, inputs))
            }
            (None, Some(layout)) => {
                let indices = positions_of_ones(array, width, layout, inputs)?;
                let values = (0..width as i64).map(LabelValue::Number).collect();
                let mut labels = FoundLabels::arranged(indices, values, layout, inputs);
                labels.one_hot = Some(width);
                Ok(labels)
            }
            (None, None) => Err(wrong_shape(&array.shape, inputs, one_hot)),
        }
    }

    /// Reads a label for each step of `[N, T]`, or of `[R]` concatenated sequences.
    ///
    /// # Errors
    /// A message for the first element that is no label.
    pub fn read_steps(
        array: &Array,
        inputs: &InputSizes,
        are_concatenated: bool,
    ) -> Result<FoundLabels, String> {
        let layout = if are_concatenated {
            LabelLayout::Concatenated
        } else {
            LabelLayout::Steps
        };
        let mut table = LabelTable::default();
        let indices = table.encode(array, inputs, layout)?;
        Ok(FoundLabels::arranged(indices, table.values, layout, inputs))
    }

    /// Pads concatenated labels.
    fn arranged(
        mut indices: Vec<u32>,
        values: Vec<LabelValue>,
        layout: LabelLayout,
        inputs: &InputSizes,
    ) -> FoundLabels {
        if let (LabelLayout::Concatenated, Some(lengths)) = (layout, inputs.lengths) {
            indices = padded(&indices, lengths, inputs.steps, 1, IGNORE);
        }
        FoundLabels {
            values,
            indices,
            per_step: layout != LabelLayout::Sequences,
            are_lists: false,
            steps: inputs.steps,
            one_hot: None,
        }
    }

    /// Returns the sequence of the first label with this index of `values`.
    pub fn sequence_of(&self, value: usize) -> usize {
        let at = self
            .indices
            .iter()
            .position(|&index| index as usize == value);
        let labels = if self.per_step || self.are_lists {
            self.steps
        } else {
            1
        };
        at.unwrap_or(0) / labels.max(1)
    }
}

/// The arrangement of an array of labels of this shape.
fn plain_layout(shape: &[usize], inputs: &InputSizes) -> Option<LabelLayout> {
    let (count, steps) = (inputs.count, inputs.steps);
    match *shape {
        [n] | [n, 1] if n == count => Some(LabelLayout::Sequences),
        [n, t] | [n, t, 1] if (n, t) == (count, steps) => Some(LabelLayout::Steps),
        [r] | [r, 1] if Some(r) == inputs.concatenated_rows() => Some(LabelLayout::Concatenated),
        _ => None,
    }
}

/// The arrangement of an array of one-hot labels of this shape.
fn one_hot_layout(shape: &[usize], inputs: &InputSizes) -> Option<LabelLayout> {
    let (count, steps) = (inputs.count, inputs.steps);
    match *shape {
        [n, k] if n == count && k > 1 => Some(LabelLayout::Sequences),
        [n, t, k] if (n, t) == (count, steps) && k > 1 => Some(LabelLayout::Steps),
        [r, k] if Some(r) == inputs.concatenated_rows() && k > 1 => Some(LabelLayout::Concatenated),
        _ => None,
    }
}

fn wrong_shape(shape: &[usize], inputs: &InputSizes, one_hot: Option<bool>) -> String {
    let (count, steps) = (inputs.count, inputs.steps);
    let expected = match one_hot {
        Some(true) => format!(
            "one-hot labels must be [{count}, K], or [{count}, {steps}, K] for one at each step"
        ),
        _ => format!(
            "labels must be [{count}], or [{count}, {steps}] for one at each step; or one-hot, \
             with a last dimension of K"
        ),
    };
    format!("the array is {shape:?}; for these inputs {expected}")
}

/// Returns the position of the 1 in each row of one-hot labels; [`IGNORE`] for a step whose row is
/// zeros, and at padded steps.
fn positions_of_ones(
    array: &Array,
    width: usize,
    layout: LabelLayout,
    inputs: &InputSizes,
) -> Result<Vec<u32>, String> {
    let is = |at: usize, wanted: u8| match &array.elements {
        Elements::Floats(values) => values[at] == f32::from(wanted),
        Elements::Doubles(values) => values[at] == f64::from(wanted),
        Elements::Integers(values) => values[at] == i64::from(wanted),
        Elements::Texts(_) => false,
    };
    let position = |row: usize| {
        if layout == LabelLayout::Steps && inputs.is_padding(row) {
            return Ok(IGNORE);
        }
        let elements = row * width..(row + 1) * width;
        let ones: Vec<usize> = elements.clone().filter(|&at| is(at, 1)).collect();
        let others = elements
            .clone()
            .filter(|&at| !is(at, 1) && !is(at, 0))
            .count();
        match (&ones[..], others) {
            (&[one], 0) => Ok((one - elements.start) as u32),
            ([], 0) if layout != LabelLayout::Sequences => Ok(IGNORE),
            _ => Err(format!(
                "the array is {:?}, and row {row} has {} ones and {others} elements that are \
                 neither 0 nor 1; each row of one-hot labels must be one 1 and zeros; for values, \
                 name the array as data.targets",
                array.shape,
                ones.len()
            )),
        }
    };
    (0..array.elements.len() / width).map(position).collect()
}

/// The different labels of an array.
#[derive(Default)]
struct LabelTable {
    values: Vec<LabelValue>,
    of_numbers: HashMap<i64, u32>,
    of_texts: HashMap<String, u32>,
}

impl LabelTable {
    /// Returns the index of each element's label; [`IGNORE`] for a step without a class, whose
    /// number is negative or NaN or whose text is empty.
    fn encode(
        &mut self,
        array: &Array,
        inputs: &InputSizes,
        layout: LabelLayout,
    ) -> Result<Vec<u32>, String> {
        let per_step = layout != LabelLayout::Sequences;
        let count = array.elements.len();
        let mut indices = Vec::with_capacity(count);
        for at in 0..count {
            let is_padding = layout == LabelLayout::Steps && inputs.is_padding(at);
            let index = if is_padding {
                None
            } else {
                let refused = |problem: &str| {
                    let (what, n) = match layout {
                        LabelLayout::Sequences => ("sequence", at),
                        LabelLayout::Steps => ("sequence", at / inputs.steps.max(1)),
                        LabelLayout::Concatenated => ("row", at),
                    };
                    format!("the label of {what} {n} {problem}")
                };
                let value = self.index(&array.elements, at, per_step);
                value.map_err(|problem| refused(&problem))?
            };
            indices.push(index.unwrap_or(IGNORE));
        }
        Ok(indices)
    }

    /// Returns the index of the label of element `at`; `None` for a step without a class.
    fn index(
        &mut self,
        elements: &Elements,
        at: usize,
        per_step: bool,
    ) -> Result<Option<u32>, String> {
        let number = match elements {
            Elements::Integers(values) => values[at],
            Elements::Texts(texts) => return self.index_of_text(&texts[at], per_step),
            Elements::Floats(_) | Elements::Doubles(_) => {
                let value = match elements {
                    Elements::Doubles(values) => values[at],
                    Elements::Floats(values) => values[at].into(),
                    _ => f64::NAN,
                };
                if value.is_nan() && per_step {
                    return Ok(None);
                }
                whole(value).ok_or_else(|| {
                    format!(
                        "is {value}; labels must be whole numbers or texts; for values, name the \
                         array as data.targets"
                    )
                })?
            }
        };
        if number < 0 && per_step {
            return Ok(None);
        }
        self.index_of_number(number).map(Some)
    }

    fn index_of_text(&mut self, text: &str, per_step: bool) -> Result<Option<u32>, String> {
        if text.is_empty() {
            return if per_step {
                Ok(None)
            } else {
                Err("is empty; each sequence must have a class".into())
            };
        }
        if let Some(&index) = self.of_texts.get(text) {
            return Ok(Some(index));
        }
        if text.len() > LONGEST_LABEL {
            return Err(format!(
                "has {} bytes; a class may have at most {LONGEST_LABEL}",
                text.len()
            ));
        }
        let index = match LabelValue::of_text(text) {
            LabelValue::Number(number) if number < 0 && per_step => return Ok(None),
            LabelValue::Number(number) => self.index_of_number(number)?,
            value => self.add(value)?,
        };
        self.of_texts.insert(text.to_string(), index);
        Ok(Some(index))
    }

    fn index_of_number(&mut self, number: i64) -> Result<u32, String> {
        if let Some(&index) = self.of_numbers.get(&number) {
            return Ok(index);
        }
        let index = self.add(LabelValue::Number(number))?;
        self.of_numbers.insert(number, index);
        Ok(index)
    }

    fn add(&mut self, value: LabelValue) -> Result<u32, String> {
        if self.values.len() == MOST_CLASSES {
            return Err(format!(
                "is another one after {MOST_CLASSES} different labels, the most allowed; for \
                 values, name the array as data.targets"
            ));
        }
        self.values.push(value);
        Ok(self.values.len() as u32 - 1)
    }
}

/// The classes of labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Classes {
    /// K: a label is the number of its class.
    Numbered(usize),
    /// The names of the classes; a label is one of them.
    Named(Vec<String>),
}

impl Classes {
    /// Returns the classes of all `labels`, each in the order of its values.
    ///
    /// # Errors
    /// A message if there are fewer than two, or too many.
    pub fn of(labels: &[&FoundLabels]) -> Result<Classes, String> {
        let mut values: Vec<&LabelValue> = labels.iter().flat_map(|found| &found.values).collect();
        values.sort_unstable();
        values.dedup();
        let count = values.len();
        let is_number =
            |(number, value): (i64, &&LabelValue)| **value == LabelValue::Number(number);
        let are_numbers = (0..).zip(&values).all(is_number);
        match count {
            0 => Err("no label is a class; at least two classes must occur".into()),
            1 => Err(format!(
                "every label is `{}`; at least two classes must occur",
                excerpt(&values[0].name())
            )),
            _ if count <= MOST_NAMED => Ok(Classes::Named(
                values.into_iter().map(LabelValue::name).collect(),
            )),
            _ if are_numbers => Ok(Classes::Numbered(count)),
            _ => Err(format!(
                "there are {count} different labels, and at most {MOST_NAMED} can be named; number \
                 them from 0 and set data.classes"
            )),
        }
    }

    /// Returns the classes of labels that are numbers below K, the largest of them K - 1.
    ///
    /// # Errors
    /// A message for a label that is no number, or beyond [`MOST_CLASSES`].
    pub fn numbered(labels: &[&FoundLabels]) -> Result<Classes, String> {
        let mut values = labels.iter().flat_map(|found| &found.values);
        let largest = values.try_fold(0, |largest: i64, value| match value {
            LabelValue::Number(number) => Ok(largest.max(*number)),
            LabelValue::Text(text) => Err(format!(
                "the label `{}` is not a number; labels of tokens must be numbers",
                excerpt(text)
            )),
        })?;
        match usize::try_from(largest) {
            Ok(largest) if largest < MOST_CLASSES => Ok(Classes::Numbered((largest + 1).max(2))),
            _ => Err(format!(
                "the largest label is {largest}; at most {MOST_CLASSES} classes are allowed"
            )),
        }
    }

    /// The names of the classes; none if they are numbers.
    pub fn names(&self) -> Vec<String> {
        match self {
            Classes::Numbered(_) => vec![],
            Classes::Named(names) => names.clone(),
        }
    }

    /// Returns the labels as classes.
    ///
    /// # Errors
    /// A message for the first label that is none of them.
    pub fn targets(&self, labels: &FoundLabels) -> Result<Targets, String> {
        let classes: HashMap<&str, u32> = match self {
            Classes::Numbered(_) => HashMap::new(),
            Classes::Named(names) => names.iter().map(String::as_str).zip(0..).collect(),
        };
        let class = |(index, value): (usize, &LabelValue)| {
            let class = match (self, value) {
                (&Classes::Numbered(count), LabelValue::Number(number)) => {
                    let number = usize::try_from(*number).ok();
                    number
                        .filter(|&number| number < count)
                        .map(|number| number as u32)
                }
                (Classes::Numbered(_), LabelValue::Text(_)) => None,
                (Classes::Named(_), value) => classes.get(&value.name()[..]).copied(),
            };
            class.ok_or_else(|| self.unknown(labels.sequence_of(index), value, labels.per_step))
        };
        let class_of: Vec<u32> =
            (labels.values.iter().enumerate().map(class)).collect::<Result<_, _>>()?;
        let class = |&index: &u32| class_of.get(index as usize).copied().unwrap_or(IGNORE);
        let classes = match self {
            Classes::Numbered(count) => *count,
            Classes::Named(names) => names.len(),
        };
        if labels.are_lists {
            labels.check_no_blank(&class_of)?;
            return Ok(Targets::Lists {
                labels: labels.indices.iter().map(class).collect(),
                longest: labels.steps,
                classes,
            });
        }
        Ok(Targets::Classes {
            labels: labels.indices.iter().map(class).collect(),
            classes,
            per_step: labels.per_step,
        })
    }

    fn unknown(&self, sequence: usize, value: &LabelValue, per_step: bool) -> String {
        let name = value.name();
        let name = excerpt(&name);
        match self {
            Classes::Numbered(count) => format!(
                "the label of sequence {sequence} is {name}; with {count} classes labels must be 0 \
                 to {}{}",
                count - 1,
                if per_step {
                    ", or negative at steps that are not learnt"
                } else {
                    ""
                }
            ),
            Classes::Named(names) => {
                let shown: Vec<String> =
                    names.iter().take(MOST_LISTED).map(|n| excerpt(n)).collect();
                let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
                format!(
                    "the label of sequence {sequence} is `{name}`, which is none of the {} classes \
                     of the model: {}",
                    names.len(),
                    listed(&shown)
                )
            }
        }
    }

    /// Returns a sentence on labels that are not the numbers of their classes.
    pub fn note(&self, array: &str, labels: &FoundLabels) -> Option<String> {
        if let Some(width) = labels.one_hot {
            return Some(format!(
                "`{array}` is one-hot: the position of the 1 is the class, 0 to {}",
                width - 1
            ));
        }
        let Classes::Named(names) = self else {
            return None;
        };
        if labels.are_lists {
            let count = names.len() - 1;
            return Some(format!(
                "`{array}` has lists of {count} different labels; class 0 is the blank"
            ));
        }
        let is_number = |(number, name): (usize, &String)| *name == number.to_string();
        if names.iter().enumerate().all(is_number) {
            return None;
        }
        let shown: Vec<String> = names.iter().take(MOST_LISTED).map(|n| excerpt(n)).collect();
        let more = if names.len() > MOST_LISTED {
            ", ..."
        } else {
            ""
        };
        Some(format!(
            "the labels in `{array}` name {} classes: {}{more}",
            names.len(),
            shown.join(", ")
        ))
    }
}

//! Proposals for NumPy's arrays.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::{DataPart, ProposedData, Role};
use crate::data::npy::{Array, ArrayFiles, Elements, Npy, VALIDATION_SUFFIXES};
use crate::data::preparation::Missing;
use crate::data::{DataSource, SplitBy, Splits};
use crate::error::{Error, Result};
use crate::messages::{excerpt, named};
use crate::network::{Loss, Reads};
use crate::recipe::DataRecipe;

/// Names of arrays of inputs, in the order of preference.
const INPUT_NAMES: [&str; 6] = ["inputs", "x", "x_train", "data", "features", "X"];
/// Names of arrays of targets, in the order of preference.
const TARGET_NAMES: [&str; 7] = [
    "labels", "label", "targets", "target", "y", "y_train", "classes",
];

/// The arrays of a file or directory.
struct FoundArrays {
    /// Sorted.
    names: Vec<String>,
    by_name: HashMap<String, FoundArray>,
}

/// What a proposal depends on of an array.
struct FoundArray {
    /// Without elements, unless it may be the targets: they may take most of the memory.
    array: Array,
    /// The type and range of its elements, in a phrase.
    contents: String,
    /// Missing values.
    missing: usize,
}

impl FoundArray {
    fn of(name: &str, array: Array) -> FoundArray {
        let (contents, missing) = (contents(&array), missing(&array));
        let may_be_targets = TARGET_NAMES
            .iter()
            .any(|candidate| name.eq_ignore_ascii_case(candidate));
        let elements = if may_be_targets {
            array.elements
        } else {
            Elements::Floats(vec![])
        };
        FoundArray {
            array: Array {
                shape: array.shape,
                elements,
            },
            contents,
            missing,
        }
    }
}

/// The most different numbers that are taken for classes where few occur twice.
const FEW: usize = 20;
/// The most classes that a message lists.
const MOST_LISTED: usize = 10;

/// Proposes to predict the targets, or classes, of sequences.
pub(super) fn propose(path: &Path) -> Result<ProposedData> {
    let arrays = FoundArrays::read(path)?;
    let inputs = arrays.called(&INPUT_NAMES).or_else(|| arrays.largest());
    let targets = arrays.called(&TARGET_NAMES);
    let (Some(inputs), Some(targets)) = (inputs, targets) else {
        return Err(Error::file(path, arrays.no_roles()));
    };
    let steps = arrays.by_name[&inputs].array.shape.get(1).copied();
    let kind = TargetKind::of(&targets, &arrays.by_name[&targets].array, steps);
    let is_classification = kind != TargetKind::Values;
    let groups = arrays.called(&["groups", "group"]);
    let npy = Npy {
        labels: is_classification.then(|| targets.clone()),
        // An array [N, T] may also be a class at each step.
        one_hot: (kind == TargetKind::OneHot).then_some(true),
        targets: (!is_classification).then(|| targets.clone()),
        lengths: arrays.called(&["lengths", "length", "len"]),
        split_by: if groups.is_some() {
            SplitBy::Group
        } else {
            SplitBy::Random
        },
        missing: if arrays.by_name[&inputs].missing > 0 {
            Missing::Mean
        } else {
            Missing::Refuse
        },
        groups,
        ..Npy::new(path, &inputs)
    };
    let splits = npy.load(0, None)?;
    let (reads, unit) = if splits.train.targets.per_step() {
        (Reads::Every, "step")
    } else {
        (Reads::Last, "sequence")
    };
    Ok(ProposedData {
        summary: format!(
            "{} arrays, sequences of up to {} steps",
            arrays.names.len(),
            splits.train.steps
        ),
        parts: arrays.parts(&npy),
        task: kind.task(&targets, &arrays.by_name[&targets].array, unit, &splits),
        findings: vec![],
        data: DataRecipe::Npy(npy),
        reads,
        loss: if is_classification {
            Loss::CrossEntropy
        } else {
            Loss::MeanSquaredError
        },
    })
}

/// What an array of targets holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetKind {
    /// Numbers or texts of classes.
    Labels,
    /// Rows of one 1 and zeros.
    OneHot,
    Values,
}

impl TargetKind {
    /// Returns what the targets called `name` of sequences of this many steps are.
    fn of(name: &str, array: &Array, steps: Option<usize>) -> TargetKind {
        if array.is_one_hot() {
            return TargetKind::OneHot;
        }
        let width = match array.shape[..] {
            [_, width] if Some(width) != steps => width,
            [_, _, width] => width,
            _ => 1,
        };
        let are_labels = match &array.elements {
            Elements::Texts(_) => true,
            // A number of a class is one element.
            _ if width > 1 => false,
            _ if name.starts_with("label") => true,
            elements => {
                let is_integer = matches!(elements, Elements::Integers(_));
                array.integers().is_some_and(|numbers| {
                    let different = numbers.iter().collect::<HashSet<_>>().len();
                    different <= FEW || is_integer && different <= numbers.len() / 2
                })
            }
        };
        if are_labels {
            TargetKind::Labels
        } else {
            TargetKind::Values
        }
    }

    /// What a model learns for each `unit` from the targets called `name`, and how to correct a
    /// guess.
    fn task(self, name: &str, array: &Array, unit: &str, splits: &Splits) -> String {
        let outputs = splits.train.targets.outputs();
        if self == TargetKind::Values {
            return format!("a prediction of {outputs} values for each {unit}");
        }
        let classes = &splits.preparation.classes;
        let is_numbered = classes
            .iter()
            .enumerate()
            .all(|(number, class)| *class == number.to_string());
        let shown = classes.iter().take(MOST_LISTED).map(|class| excerpt(class));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let listed = match classes.len() {
            _ if is_numbered => String::new(),
            ..=MOST_LISTED => format!(": {shown}"),
            _ => format!(": {shown}, ..."),
        };
        let one_hot = match self {
            TargetKind::OneHot => "one-hot ",
            TargetKind::Labels | TargetKind::Values => "",
        };
        let task =
            format!("a classification of each {unit} into {outputs} {one_hot}classes{listed}");
        let steps = splits.train.steps;
        let may_be_steps = array.shape.len() == 2 && outputs == steps;
        if self == TargetKind::OneHot && may_be_steps {
            return format!(
                "{task} (with data.one_hot = false and network.head.reads = \"every\", a class at \
                 each of the {steps} steps)"
            );
        }
        if name.starts_with("label") || matches!(array.elements, Elements::Texts(_)) {
            return task;
        }
        format!(
            "{task} (for values instead, rename data.labels to data.targets and set \
             network.head.loss to \"mean-squared-error\")"
        )
    }
}

impl FoundArrays {
    fn read(path: &Path) -> Result<FoundArrays> {
        let mut files = ArrayFiles::open(path)?;
        let names = files.names();
        let mut by_name = HashMap::new();
        for name in &names {
            // An array that is read from disk in training is not read here.
            let array = match files.shape_of_stored(name)? {
                Some(shape) if shape.len() == 3 => Array {
                    shape,
                    elements: Elements::Floats(vec![]),
                },
                _ => files.array(name)?,
            };
            by_name.insert(name.clone(), FoundArray::of(name, array));
        }
        Ok(FoundArrays { names, by_name })
    }

    /// Returns the first of these names that an array has, in any case.
    fn called(&self, candidates: &[&str]) -> Option<String> {
        let named = |candidate: &&str| {
            let mut names = self.names.iter();
            names.find(|name| name.eq_ignore_ascii_case(candidate))
        };
        candidates.iter().find_map(named).cloned()
    }

    /// Returns the name of the largest array of three dimensions.
    fn largest(&self) -> Option<String> {
        let shape = |name: &String| &self.by_name[name].array.shape;
        let three = self.names.iter().filter(|name| shape(name).len() == 3);
        let size = |&name: &&String| {
            let extents = shape(name).iter().map(|&extent| extent as u128);
            extents.fold(1, u128::saturating_mul)
        };
        let largest = three.max_by_key(size);
        largest.cloned()
    }

    fn no_roles(&self) -> String {
        let names = if self.names.is_empty() {
            "(none)".to_string()
        } else {
            named(&self.names)
        };
        format!(
            "holds the arrays {names}; there must be inputs (called inputs or x) and targets \
             (called labels, targets or y). A recipe can use other names: \
             data.inputs, data.labels, data.targets"
        )
    }

    fn parts(&self, npy: &Npy) -> Vec<DataPart> {
        let part = |name: &String| {
            let found = &self.by_name[name];
            let shape: Vec<String> = found.array.shape.iter().map(usize::to_string).collect();
            DataPart {
                name: name.clone(),
                contents: format!("[{}] {}", shape.join(", "), found.contents),
                missing: found.missing,
                role: self.role(name, npy),
            }
        };
        self.names.iter().map(part).collect()
    }

    fn role(&self, name: &str, npy: &Npy) -> Role {
        let is = |field: &Option<String>| field.as_deref() == Some(name);
        if npy.inputs == name {
            Role::Input
        } else if is(&npy.labels) {
            Role::Class
        } else if is(&npy.targets) {
            Role::Target
        } else if name.ends_with("_test") && self.has_split(npy, "_test") {
            Role::TestSplit
        } else if (VALIDATION_SUFFIXES.iter())
            .any(|suffix| name.ends_with(suffix) && self.has_split(npy, suffix))
        {
            Role::ValidationSplit
        } else if is(&npy.lengths) {
            Role::Lengths
        } else if is(&npy.groups) {
            Role::Group
        } else {
            Role::LeftOut("")
        }
    }

    /// Returns whether inputs and targets called `_train` have counterparts that end in `suffix`.
    fn has_split(&self, npy: &Npy, suffix: &str) -> bool {
        let targets = npy.labels.as_ref().or(npy.targets.as_ref());
        [Some(&npy.inputs), targets]
            .into_iter()
            .flatten()
            .all(|name| {
                let stem = name.strip_suffix("_train");
                stem.is_some_and(|stem| self.by_name.contains_key(&format!("{stem}{suffix}")))
            })
    }
}

/// Counts the missing values of an array.
fn missing(array: &Array) -> usize {
    match &array.elements {
        Elements::Floats(values) => values.iter().filter(|value| value.is_nan()).count(),
        Elements::Doubles(values) => values.iter().filter(|value| value.is_nan()).count(),
        Elements::Integers(_) => 0,
        Elements::Texts(texts) => texts.iter().filter(|text| text.is_empty()).count(),
    }
}

/// The type and range of an array's elements, in a phrase.
fn contents(array: &Array) -> String {
    if array.is_one_hot() {
        return "one-hot".into();
    }
    match &array.elements {
        Elements::Floats(_) | Elements::Doubles(_) => "numbers".into(),
        Elements::Integers(values) => match (values.iter().min(), values.iter().max()) {
            (Some(least), Some(largest)) => format!("whole numbers, {least} to {largest}"),
            _ => "whole numbers".into(),
        },
        Elements::Texts(_) => "texts".into(),
    }
}

//! Proposals for NumPy's arrays.

use std::collections::HashMap;
use std::path::Path;

use super::{DataPart, ProposedData, Role};
use crate::data::npy::{Array, ArrayFiles, Npy, Numbers};
use crate::data::preparation::Missing;
use crate::data::{DataSource, SplitBy};
use crate::error::{Error, Result};
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
    by_name: HashMap<String, Array>,
}

/// Proposes to predict the targets, or classes, of sequences.
pub(super) fn propose(path: &Path) -> Result<ProposedData> {
    let arrays = FoundArrays::read(path)?;
    let inputs = arrays.called(&INPUT_NAMES).or_else(|| arrays.largest());
    let targets = arrays.called(&TARGET_NAMES);
    let (Some(inputs), Some(targets)) = (inputs, targets) else {
        return Err(Error::file(path, arrays.no_roles()));
    };
    let is_classification = targets.starts_with("label")
        || matches!(arrays.by_name[&targets].numbers, Numbers::Integers(_));
    let groups = arrays.called(&["groups", "group"]);
    let npy = Npy {
        labels: is_classification.then(|| targets.clone()),
        targets: (!is_classification).then(|| targets.clone()),
        lengths: arrays.called(&["lengths", "length", "len"]),
        split_by: if groups.is_some() {
            SplitBy::Group
        } else {
            SplitBy::Random
        },
        missing: if missing(&arrays.by_name[&inputs]) > 0 {
            Missing::Mean
        } else {
            Missing::Refuse
        },
        groups,
        ..Npy::new(path, &inputs)
    };
    let train = npy.load(0, None)?.train;
    let outputs = train.targets.outputs();
    let (reads, unit) = if train.targets.per_step() {
        (Reads::Every, "step")
    } else {
        (Reads::Last, "sequence")
    };
    Ok(ProposedData {
        summary: format!(
            "{} arrays, sequences of up to {} steps",
            arrays.names.len(),
            train.steps
        ),
        parts: arrays.parts(&npy),
        task: if is_classification {
            format!("a classification of each {unit} into {outputs} classes")
        } else {
            format!("a prediction of {outputs} values for each {unit}")
        },
        data: DataRecipe::Npy(npy),
        reads,
        loss: if is_classification {
            Loss::CrossEntropy
        } else {
            Loss::MeanSquaredError
        },
    })
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
                    numbers: Numbers::Floats(vec![]),
                },
                _ => files.array(name)?,
            };
            by_name.insert(name.clone(), array);
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
        let shape = |name: &String| &self.by_name[name].shape;
        let three = self.names.iter().filter(|name| shape(name).len() == 3);
        let largest = three.max_by_key(|name| shape(name).iter().product::<usize>());
        largest.cloned()
    }

    fn no_roles(&self) -> String {
        let names = if self.names.is_empty() {
            "(none)".to_string()
        } else {
            self.names.join(", ")
        };
        format!(
            "holds the arrays {names}; there must be inputs (called inputs or x) and targets \
             (called labels, targets or y). A recipe can use other names: \
             data.inputs, data.labels, data.targets"
        )
    }

    fn parts(&self, npy: &Npy) -> Vec<DataPart> {
        let part = |name: &String| {
            let array = &self.by_name[name];
            let kind = match &array.numbers {
                Numbers::Floats(_) => "numbers",
                Numbers::Integers(_) => "whole numbers",
            };
            let shape: Vec<String> = array.shape.iter().map(usize::to_string).collect();
            DataPart {
                name: name.clone(),
                contents: format!("[{}] {kind}", shape.join(", ")),
                missing: missing(array),
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
        } else if name.ends_with("_test") && self.has_test_split(npy) {
            Role::TestSplit
        } else if is(&npy.lengths) {
            Role::Lengths
        } else if is(&npy.groups) {
            Role::Group
        } else {
            Role::LeftOut("")
        }
    }

    /// Returns whether inputs and targets called `_train` have counterparts called `_test`.
    fn has_test_split(&self, npy: &Npy) -> bool {
        let targets = npy.labels.as_ref().or(npy.targets.as_ref());
        [Some(&npy.inputs), targets]
            .into_iter()
            .flatten()
            .all(|name| {
                let stem = name.strip_suffix("_train");
                stem.is_some_and(|stem| self.by_name.contains_key(&format!("{stem}_test")))
            })
    }
}

/// Counts the missing values of an array.
fn missing(array: &Array) -> usize {
    match &array.numbers {
        Numbers::Floats(values) => values.iter().filter(|value| value.is_nan()).count(),
        Numbers::Integers(_) => 0,
    }
}

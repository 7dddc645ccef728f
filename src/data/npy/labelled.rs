//! Sequences of other arrays with their targets, to evaluate a saved model on.

use super::super::Split;
use super::super::labelled::{LabelledData, LabelledRequest};
use super::{ArrayFiles, Npy};
use crate::error::{Error, Result};
use crate::messages::shown_path;

/// The arrays of a path to read: their names, and the split that these are.
struct ChosenArrays {
    names: Npy,
    split: Option<Split>,
}

impl Npy {
    /// Reads the sequences of other arrays with their targets; see
    /// [`DataSource::load_labelled`](super::DataSource::load_labelled).
    pub(super) fn labelled(&self, request: &LabelledRequest) -> Result<LabelledData> {
        let path = request.path;
        if path.extension().is_some_and(|ending| ending == "npy") {
            return Err(Error::file(
                path,
                "is a single array, and an evaluation needs inputs and targets; name an .npz file \
                 or a directory of .npy files",
            ));
        }
        let mut files = ArrayFiles::open(path)?;
        let present = files.names();
        let ChosenArrays { mut names, split } = self.chosen(request, &present)?;
        let mut notes = vec![];
        if let Some(lengths) = names.lengths.take_if(|lengths| !present.contains(lengths)) {
            notes.push(format!(
                "{} has no array {lengths}; every sequence is evaluated at full length",
                shown_path(path)
            ));
        }
        if request.preparation.classes.is_empty() {
            names.classes = names.labels.as_ref().map(|_| request.outputs);
        }
        let found = names.read(&mut files)?;
        check_features(found.sequences.features, request)?;
        let classes = names.classes_of(&found, &[], Some(request.preparation))?;
        let targets = found.prepared_targets(classes.as_ref(), request.preparation)?;
        let data = found.prepared(&names, &targets, &found.all(), request.preparation)?;
        Ok(LabelledData {
            split,
            notes,
            ..data.into()
        })
    }

    /// Returns the arrays of the request's path to read: those of its test split if it has any,
    /// else those that the recipe names.
    fn chosen(&self, request: &LabelledRequest, present: &[String]) -> Result<ChosenArrays> {
        let names = Npy {
            path: request.path.to_path_buf(),
            // Groups only divide sequences into splits.
            groups: None,
            weights: None,
            validation_path: None,
            test_path: None,
            ..self.clone()
        };
        match (names.of_test_names(present), request.split) {
            (Some(of_test), None | Some(Split::Test)) => Ok(ChosenArrays {
                names: of_test,
                split: Some(Split::Test),
            }),
            (Some(_), Some(Split::Train)) => Ok(ChosenArrays {
                names,
                split: Some(Split::Train),
            }),
            (_, Some(Split::Validation)) => {
                let names = names.of_validation_names(present).ok_or_else(|| {
                    Error::usage(format!(
                        "{} has no arrays of a validation split (names in _val); request the \
                         training or the test split",
                        shown_path(request.path)
                    ))
                })?;
                Ok(ChosenArrays {
                    names,
                    split: Some(Split::Validation),
                })
            }
            (None, _) => {
                request.require_no_split()?;
                Ok(ChosenArrays { names, split: None })
            }
        }
    }
}

/// Refuses inputs of another number of features than those of the model, before they are
/// normalised.
fn check_features(features: usize, request: &LabelledRequest) -> Result<()> {
    let known = request.preparation.inputs.len();
    if known == 0 || features == known {
        return Ok(());
    }
    Err(Error::file(
        request.path,
        format!("the inputs have {features} features at each step, but the model takes {known}"),
    ))
}

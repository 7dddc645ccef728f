//! A trained model, and its safetensors file, which PyTorch and others read as it is.

pub(crate) mod file;

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use crate::data::preparation::Preparation;
use crate::error::{Error, Result};
use crate::io::{disk, files};
use crate::network::{Network, Parameter};
use crate::recipe::Recipe;
use file::{KEY, LARGEST_FILE, Stored, VERSION, parse, serialize, to_le_bytes};

/// A trained network and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub network: Network,
    /// What it was trained with.
    pub recipe: Recipe,
    /// How the numbers were prepared that it was trained with, as those must be that it is to answer.
    pub preparation: Preparation,
    /// Weights and biases under PyTorch's names; a loaded file has them in order of their names.
    pub parameters: Vec<Parameter>,
}

/// The file's metadata: enough to evaluate the model without its recipe at hand.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    network: Network,
    recipe: Recipe,
    #[serde(default, skip_serializing_if = "Preparation::is_plain")]
    preparation: Preparation,
}

impl Model {
    /// Writes the model: first beside `path` and then over it, so that a crash leaves the old file or the new one.
    /// The same model gives the same bytes.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self
            .to_bytes()
            .map_err(|problem| Error::file(path, problem))?;
        disk::write_whole(path, &bytes)
            .map_err(|error| Error::file(path, format!("the model cannot be written: {error}")))
    }

    /// Reads a model that [`Model::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, is damaged, or comes from another or a newer program.
    pub fn load(path: &Path) -> Result<Model> {
        let bytes = fs::File::open(path)
            .and_then(|file| files::read_at_most(file, LARGEST_FILE))
            .map_err(|error| Error::file(path, format!("the model cannot be read: {error}")))?;
        Model::from_bytes(&bytes).map_err(|problem| Error::file(path, problem))
    }

    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let description = Description {
            version: VERSION,
            network: self.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.preparation.clone(),
        };
        let tensors = self.parameters.iter().map(|each| Stored {
            name: each.name.clone(),
            dtype: Dtype::F32,
            shape: each.shape.clone(),
            bytes: to_le_bytes(&each.values),
        });
        serialize(KEY, &description, &tensors.collect::<Vec<_>>())
    }

    /// [`Model::load`] of a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, for which the caller has a name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Model, String> {
        let (description, mut parameters) = parse::<Description>(bytes, KEY)?;
        let Description {
            network,
            recipe,
            preparation,
            ..
        } = description;
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        network.validate().map_err(nonsense)?;
        recipe.validate().map_err(nonsense)?;
        network.from_parameters(&parameters).map_err(nonsense)?;
        check_preparation(&preparation, &network)?;
        Ok(Model {
            network,
            recipe,
            preparation,
            parameters,
        })
    }
}

pub(crate) fn check_preparation(
    preparation: &Preparation,
    network: &Network,
) -> Result<(), String> {
    let checked = preparation.check(network.input_size, network.head.size);
    checked.map_err(|problem| format!("what it says of itself makes no sense: {problem}"))
}

pub(crate) fn nonsense(error: Error) -> String {
    format!("what it says of itself makes no sense: {error}")
}

#[cfg(test)]
mod tests {

    use safetensors::tensor::TensorView;

    use super::file::{LARGEST_HEADER, MOST_TENSORS};
    use super::*;

    fn model() -> Model {
        let mut recipe = Recipe::load("mnist").unwrap();
        recipe.network.layers[0].hidden_size = 3;
        let network = recipe.network(28, 10).unwrap();
        let mut parameters = network.to_parameters(&network.initial(1));
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        Model {
            network,
            recipe,
            preparation: Preparation::default(),
            parameters,
        }
    }

    #[test]
    fn parameters_that_are_not_the_networks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let mut damaged = model();
        damaged
            .parameters
            .retain(|parameter| parameter.name != "head.bias");
        damaged.save(&path).unwrap();
        let error = Model::load(&path).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let message = error.to_string();
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(message.contains("no parameter head.bias"), "{message}");
    }

    /// The message for a file of those bytes, which must begin with the file's name.
    fn problem(bytes: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        fs::write(&path, bytes).unwrap();
        let message = Model::load(&path).unwrap_err().to_string();
        let start = format!("{}: ", path.display());
        message.strip_prefix(&start).unwrap().to_string()
    }

    fn file(metadata: Option<(&str, &str)>, dtype: Dtype) -> Vec<u8> {
        let view = TensorView::new(dtype, vec![1], &[0; 8][..dtype.bitsize() / 8]).unwrap();
        let metadata = metadata.map(|(key, value)| [(key.to_string(), value.to_string())].into());
        safetensors::serialize([("w", view)], metadata).unwrap()
    }

    #[test]
    fn comes_back_equal_and_has_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        model().save(&path).unwrap();
        let first = fs::read(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded, model());
        loaded.save(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/model.safetensors");
        let message = model().save(&path).unwrap_err().to_string();
        assert!(
            message.contains("none/model.safetensors: the model cannot be written"),
            "{message}"
        );
    }

    #[test]
    fn cut_off_anywhere() {
        let bytes = model().to_bytes().unwrap();
        for length in (0..bytes.len()).step_by(7) {
            let message = problem(&bytes[..length]);
            assert!(message.contains("cut off"), "{length}: {message}");
        }
    }

    #[test]
    fn files_of_another_kind() {
        assert!(problem(b"this is a text file and no model").contains("not a safetensors file"));
        assert!(problem(&file(None, Dtype::F32)).contains("not one of gatescan"));
        assert!(problem(&file(Some(("format", "pt")), Dtype::F32)).contains("not one of gatescan"));
        let message = problem(&file(
            Some((KEY, "{\"version\": 2, \"new\": 1}")),
            Dtype::F32,
        ));
        assert!(message.contains("newer gatescan (version 2"), "{message}");
        assert!(problem(&file(Some((KEY, "{}")), Dtype::F32)).contains("no version"));
        assert!(problem(&file(Some((KEY, "{\"version\": 1}")), Dtype::F32)).contains("damaged"));
        assert!(problem(&file(Some((KEY, "not json")), Dtype::F32)).contains("damaged"));
    }

    #[test]
    fn more_than_any_model_has() {
        let mut long = (LARGEST_HEADER + 1).to_le_bytes().to_vec();
        long.push(b'{');
        assert!(problem(&long).contains("reads at most 16777216"));
        let json = serde_json::to_string(&Description {
            version: VERSION,
            network: model().network,
            recipe: model().recipe,
            preparation: Preparation::default(),
        });
        let empty = TensorView::new(Dtype::F32, vec![0], &[]).unwrap();
        let tensors = (0..=MOST_TENSORS).map(|n| (n.to_string(), empty.clone()));
        let metadata = [(KEY.to_string(), json.unwrap())].into();
        let many = safetensors::serialize(tensors, Some(metadata)).unwrap();
        let message = problem(&many);
        assert!(message.contains("65537 tensors"), "{message}");
    }

    #[test]
    fn a_network_that_the_tensors_do_not_fill() {
        // What it asks for is refused by the tensors, before there is memory for it.
        let mut large = model();
        large.network.layers[0].hidden_size = 10_000;
        let message = problem(&large.to_bytes().unwrap());
        assert!(
            message.contains("the network needs [40000, 28]"),
            "{message}"
        );
    }

    #[test]
    fn tensors_of_another_type() {
        let Model {
            network, recipe, ..
        } = model();
        let description = Description {
            version: VERSION,
            network,
            recipe,
            preparation: Preparation::default(),
        };
        let json = serde_json::to_string(&description).unwrap();
        let message = problem(&file(Some((KEY, &json)), Dtype::F16));
        assert!(message.contains("tensor w is of type F16"), "{message}");
    }
}

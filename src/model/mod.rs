//! A trained model and its safetensors file, which PyTorch and other programs can read.

pub(crate) mod file;

use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use crate::data::preparation::Preparation;
use crate::error::{Error, Result};
use crate::io::{disk, files};
use crate::messages::{excerpt, listed};
use crate::network::{Network, Parameter};
use crate::recipe::Recipe;
use file::{
    KEY, LARGEST_FILE, StoredTensor, VERSION, check_file_size, may_be_safetensors, parse,
    serialize, to_le_bytes,
};

/// A trained network, with the recipe and the data preparation of its training.
///
/// # Examples
/// ```
/// use gatescan::train;
/// use gatescan::{Cell, Dataset, Device, HeadRecipe, Layer, Loss};
/// use gatescan::{Model, Optimizer, Reads, Recipe, Targets};
/// use ndarray::{Array1, Array3};
///
/// let inputs = Array3::from_shape_fn((8, 5, 2), |(n, t, i)| (n + t + i) as f32 / 10.0);
/// let labels = Array1::from_shape_fn(8, |n| n as u32 % 2);
/// let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 2))?;
/// let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
/// let layers = vec![Layer::new(Cell::Lstm, 4)];
/// let mut recipe = Recipe::new("example", layers, head, Optimizer::adam(0.01));
/// recipe.epochs = 1;
/// let model = train::train(&recipe, &data.into(), &Device::Cpu)?;
///
/// let path = std::env::temp_dir().join(format!("gatescan-{}.safetensors", std::process::id()));
/// model.save(&path)?;
/// let loaded = Model::load(&path)?;
/// let prediction = loaded.predict(inputs.view(), &Device::Cpu)?;
/// assert_eq!(prediction.outputs.shape(), [8, 2]);
/// # std::fs::remove_file(path).expect("it can be removed");
/// # Ok::<(), gatescan::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub network: Network,
    /// The recipe of its training.
    pub recipe: Recipe,
    /// How its training data were prepared. Data to predict for must be prepared in the same way.
    pub preparation: Preparation,
    /// Weights and biases under PyTorch's names; in a loaded model they are sorted by name.
    pub parameters: Vec<Parameter>,
}

/// The metadata of a model's file.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    network: Network,
    recipe: Recipe,
    #[serde(default, skip_serializing_if = "Preparation::is_plain")]
    preparation: Preparation,
}

impl Model {
    /// Returns the model with head `index` of several as its only one; the model itself where there
    /// is one head.
    ///
    /// # Panics
    /// For an index that is not below the number of heads.
    pub fn of_head(&self, index: usize) -> Model {
        if self.network.heads.is_empty() {
            assert_eq!(index, 0, "the model has one head");
            return self.clone();
        }
        let rows = self.network.head_rows(index);
        let own = |parameter: &Parameter| match &parameter.name[..] {
            "head.weight" | "head.bias" => {
                let each: usize = parameter.shape[1..].iter().product();
                let range = rows.start * each..rows.end * each;
                let mut shape = parameter.shape.clone();
                shape[0] = rows.len();
                Parameter {
                    name: parameter.name.clone(),
                    values: parameter.values.get(range).unwrap_or_default().to_vec(),
                    shape,
                }
            }
            _ => parameter.clone(),
        };
        let network = self.network.of_head(index);
        // A head of lists of labels does not read by attention, as others may.
        let (entries, _) = network.table();
        let is_read = |each: &&Parameter| entries.iter().any(|entry| entry.name == each.name);
        Model {
            recipe: self.recipe.of_head(index),
            preparation: self.preparation.of_head(index),
            parameters: self.parameters.iter().filter(is_read).map(own).collect(),
            network,
        }
    }

    /// Returns the index of the head of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] with the names of the heads, where there is none of that name.
    pub fn head_named(&self, name: &str) -> Result<usize> {
        let mut heads = self.network.heads.iter();
        heads.position(|head| head.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.network.heads.iter().map(|h| &h.name[..]).collect();
            Error::usage(if names.is_empty() {
                format!(
                    "the model has one head without a name, and none `{}`",
                    excerpt(name)
                )
            } else {
                format!(
                    "the model has no head `{}`; its heads are {}",
                    excerpt(name),
                    listed(&names)
                )
            })
        })
    }

    /// Returns an error where the model has several heads; `does` completes "the model has several
    /// heads, and this".
    pub(crate) fn require_one_head(&self, does: &str) -> Result<()> {
        if self.network.heads.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.network.heads.iter().map(|h| &h.name[..]).collect();
        Err(Error::usage(format!(
            "the model has several heads ({}), and {does}; take one of them (Model::of_head)",
            listed(&names)
        )))
    }

    /// Writes the model to `path`. A crash leaves the old file or the new one. The same model gives
    /// the same bytes.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written, and for parameters that are not finite.
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
    /// [`Error::File`] where it cannot be read, is damaged, has parameters that are not finite, or
    /// comes from another or a newer program.
    pub fn load(path: &Path) -> Result<Model> {
        let bytes = files::read_plausible(path, LARGEST_FILE, may_be_safetensors)
            .map_err(|error| Error::file(path, format!("the model cannot be read: {error}")))?;
        Model::from_bytes(&bytes).map_err(|problem| Error::file(path, problem))
    }

    /// Returns the bytes of the model's file.
    ///
    /// # Errors
    /// A message without a file's name, as of [`Model::save`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let finite = self.parameters.iter().try_for_each(Parameter::check_finite);
        finite.map_err(|error| error.to_string())?;
        let description = Description {
            version: VERSION,
            network: self.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.preparation.clone(),
        };
        let tensors = self.parameters.iter().map(|each| StoredTensor {
            name: each.name.clone(),
            dtype: Dtype::F32,
            shape: each.shape.clone(),
            bytes: to_le_bytes(&each.values),
        });
        let bytes = serialize(KEY, &description, &tensors.collect::<Vec<_>>())?;
        check_file_size(&bytes, LARGEST_FILE)?;
        Ok(bytes)
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// A message without the file's name, which the caller knows.
    pub fn from_bytes(bytes: &[u8]) -> Result<Model, String> {
        let (description, mut parameters) = parse::<Description>(bytes, KEY)?;
        let Description {
            network,
            mut recipe,
            preparation,
            ..
        } = description;
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        network.validate().map_err(invalid_metadata)?;
        recipe.validate().map_err(invalid_metadata)?;
        let parameters_of_network = network.from_parameters(&parameters);
        parameters_of_network.map_err(|error| error.to_string())?;
        check_preparation(&preparation, &network)?;
        recipe.keep_encoding_of(&network, &preparation);
        Ok(Model {
            network,
            recipe,
            preparation,
            parameters,
        })
    }
}

/// Checks a file's preparation against its network.
pub(crate) fn check_preparation(
    preparation: &Preparation,
    network: &Network,
) -> Result<(), String> {
    let mut checked = check_preparation_of_heads(preparation, network);
    let heads = preparation.heads.iter().map(|head| &head.residuals);
    let mut residuals = heads.chain([&preparation.residuals]);
    if residuals.any(|own| !own.is_empty()) && !network.input.is_values() {
        checked = Err("targets are differences from inputs, but the inputs are tokens".into());
    }
    let columns = preparation.category_columns(network.input_size);
    let columns = columns.unwrap_or_default();
    let mut tables = network.categories.iter();
    if let Some(table) = tables.find(|table| !columns.contains(&table.columns())) {
        checked = Err(format!(
            "the table of `{}` has columns that are not those of a column of categories",
            excerpt(&table.name)
        ));
    }
    checked.map_err(|problem| format!("its metadata are not valid: {problem}"))
}

/// Checks a preparation against every head of a network.
///
/// # Errors
/// A clause on the first field that does not fit.
pub(crate) fn check_preparation_of_heads(
    preparation: &Preparation,
    network: &Network,
) -> Result<(), String> {
    let (has, needed) = (preparation.heads.len(), network.heads.len());
    if has != 0 && has != needed {
        return Err(format!(
            "it has the targets of {has} heads, but the network has {needed} of them"
        ));
    }
    if network.heads.is_empty() {
        return preparation.check(network.input_size, network.head.targets());
    }
    if preparation.has_targets() {
        return Err("it has targets that are of none of the network's heads".into());
    }
    let mut heads = network.each_head().into_iter().enumerate();
    heads.try_for_each(|(index, head)| {
        let own = preparation.of_head(index);
        own.check(network.input_size, head.targets())
    })
}

/// The message for metadata that are not valid.
pub(crate) fn invalid_metadata(error: Error) -> String {
    format!("its metadata are not valid: {error}")
}

#[cfg(test)]
mod tests {

    use std::fs;

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

    /// Before there were tables of categories, networks read them one-hot.
    #[test]
    fn a_network_without_tables_reads_categories_one_hot() {
        use crate::data::csv::Csv;
        use crate::network::CategoryTable;
        use crate::recipe::{CategoryEncoding, DataRecipe};
        let mut old = model();
        let mut csv = Csv::new(Path::new("sales.csv"), &["sales"], &["kind"]);
        csv.categories = vec!["store".into()];
        csv.task = crate::data::csv::TableTask::Classification;
        csv.steps = Some(4);
        old.recipe.data = DataRecipe::Csv(csv);
        old.preparation.categories = vec![["a", "b"].map(String::from).into()];
        old.preparation.known_ahead = 2;
        let loaded = Model::from_bytes(&old.to_bytes().unwrap()).unwrap();
        let encoding = loaded.recipe.network.category_encoding;
        assert_eq!(encoding, CategoryEncoding::OneHot);
        assert_eq!(loaded.network, old.network);

        let mut other = old.clone();
        other.network.categories = vec![CategoryTable {
            name: "store".into(),
            first: 26,
            count: 2,
            size: 3,
        }];
        other.parameters = other.network.to_parameters(&other.network.initial(1));
        let loaded = Model::from_bytes(&other.to_bytes().unwrap()).unwrap();
        assert_eq!(loaded.recipe, other.recipe);
        other.network.categories[0].first = 25;
        let error = Model::from_bytes(&other.to_bytes().unwrap()).unwrap_err();
        assert!(
            error.contains("the table of `store` has columns"),
            "{error}"
        );
    }

    #[test]
    fn missing_parameters_are_refused() {
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
    fn a_saved_model_loads_equal_and_saves_to_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        model().save(&path).unwrap();
        let first = fs::read(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded, model());
        loaded.save(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        // There is no other file in the directory.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unwritable_path_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/model.safetensors");
        let message = model().save(&path).unwrap_err().to_string();
        assert!(
            message.contains("none/model.safetensors: the model cannot be written"),
            "{message}"
        );
    }

    #[test]
    fn truncated_files_are_refused() {
        let bytes = model().to_bytes().unwrap();
        for length in (0..bytes.len()).step_by(7) {
            let message = problem(&bytes[..length]);
            assert!(message.contains("cut off"), "{length}: {message}");
        }
    }

    #[test]
    fn files_of_other_kinds_are_refused() {
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
    fn sizes_beyond_the_limits_are_refused() {
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
    fn tensors_of_other_shapes_are_refused() {
        // Refused by the shapes, before memory is allocated.
        let mut large = model();
        large.network.layers[0].hidden_size = 10_000;
        let message = problem(&large.to_bytes().unwrap());
        assert!(
            message.contains("the network needs [40000, 28]"),
            "{message}"
        );
    }

    #[test]
    fn tensors_of_other_types_are_refused() {
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

//! A reference case, read from its file.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One file of `tests/golden`.
pub struct Case {
    pub name: String,
    /// The settings of the framework: the metadata key `oracle`.
    pub oracle: Value,
    tensors: BTreeMap<String, Array>,
}

/// A tensor of any type, converted to f64.
pub struct Array {
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
}

impl Case {
    /// # Panics
    /// Where the file is missing or damaged.
    pub fn load(directory: &Path, name: &str) -> Case {
        let path = directory.join(format!("{name}.safetensors"));
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect(name);
        let oracle = &header.metadata().as_ref().expect(name)["oracle"];
        let file = SafeTensors::deserialize(&bytes).expect(name);
        let array = |(name, view): (&str, safetensors::tensor::TensorView)| {
            let (data, shape) = (view.data(), view.shape().to_vec());
            let values = match view.dtype() {
                Dtype::F32 => numbers(data, |b| f32::from_le_bytes(b).into()),
                Dtype::F64 => numbers(data, f64::from_le_bytes),
                Dtype::I32 => numbers(data, |b| i32::from_le_bytes(b).into()),
                other => panic!("{name} is made of {other:?}"),
            };
            (name.to_string(), Array { shape, values })
        };
        Case {
            name: name.to_string(),
            oracle: serde_json::from_str(oracle).expect(name),
            tensors: file.iter().map(array).collect(),
        }
    }

    pub fn find(&self, name: &str) -> Option<&Array> {
        self.tensors.get(name)
    }

    /// # Panics
    /// Where the file has no such tensor.
    pub fn get(&self, name: &str) -> &Array {
        self.find(name)
            .unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }

    /// The tensors whose names begin with `prefix`, and the rest of their names.
    pub fn under(&self, prefix: &'static str) -> impl Iterator<Item = (&str, &Array)> {
        self.tensors
            .iter()
            .filter_map(move |(name, array)| Some((name.strip_prefix(prefix)?, array)))
    }

    /// The expected results: the names of the `_f64` tensors without that ending, and their values.
    pub fn expected(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.tensors.iter().filter_map(|(name, array)| {
            let name = name.strip_suffix("_f64")?;
            Some((name, array.values.as_slice()))
        })
    }

    pub fn is_tensorflow(&self) -> bool {
        self.oracle["framework"] == "tensorflow"
    }

    /// Whether the loss is the sum of outputs weighted by `upstream`, not the loss of a head.
    pub fn has_upstream(&self) -> bool {
        self.under("upstream/").next().is_some()
    }

    /// Whether it is a bidirectional layer of TensorFlow, whose outputs are two tensors.
    pub fn has_pair(&self) -> bool {
        self.find("out/outputs_fw_f64").is_some()
    }

    /// State `s` ("h" or "c") of layer `l` under `prefix`: its name, and the layer's part of that
    /// tensor. TensorFlow has a tensor for each layer or direction, PyTorch `[L, B, H]`.
    pub fn state(&self, prefix: &str, l: usize, s: &str, len: usize) -> (String, Option<&[f64]>) {
        let several = self.find("out/final/layer0/h_f64").is_some();
        let (name, skip) = if self.has_pair() {
            (format!("{prefix}/{}/{s}", ["fw", "bw"][l]), 0)
        } else if several {
            (format!("{prefix}/layer{l}/{s}"), 0)
        } else {
            (format!("{prefix}/{s}"), l * len)
        };
        let values = self
            .find(&name)
            .map(|array| &array.values[skip..skip + len]);
        (name, values)
    }

    /// `[B, T, F]` as `[T, B, F]`.
    pub fn time_major(&self, name: &str) -> Vec<f64> {
        let array = self.get(name);
        swap(&array.values, array.shape[0], array.shape[1])
    }
}

/// `[rows, columns, F]` as `[columns, rows, F]`.
pub fn swap(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let width = values.len() / (rows * columns);
    let vector = |r: usize, c: usize| &values[(r * columns + c) * width..][..width];
    (0..columns)
        .flat_map(|c| (0..rows).flat_map(move |r| vector(r, c)))
        .copied()
        .collect()
}

fn numbers<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N)
        .map(|bytes| number(bytes.try_into().expect("N bytes")))
        .collect()
}

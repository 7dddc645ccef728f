//! The weight files of Keras 3, `.weights.h5`: HDF5 files in which `layers/lstm_1/cell/vars/0` is
//! the first array of the second `LSTM`. Layers are numbered within their class, so the order of
//! layers of several classes follows from their names or sizes, or from the `config.json` of a
//! `.keras`.

use std::collections::HashMap;

use hdf5_pure::{AttrValue, DType, Dataset, File, FileBuilder, Group, GroupBuilder, Layout};

use super::config::StoredName;
use crate::network::Parameter;

/// The first bytes of such a file.
pub(super) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
/// The largest number of groups and arrays of a file.
const MOST_OBJECTS: usize = 1 << 14;
/// The number of levels of groups below a layer's own: `forward_layer/cell/vars`.
const DEPTH: usize = 3;

/// Classes of layers that have no arrays and change no outputs outside training.
const UNCHANGED: [&str; 8] = [
    "activity_regularization",
    "alpha_dropout",
    "dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "identity",
    "input_layer",
    "spatial_dropout1d",
];

/// A layer to be written.
pub(super) struct StoredLayer {
    /// Keras's class in snake case.
    pub class: &'static str,
    pub name: String,
    /// Arrays by their holder: "" for the layer itself, or a part of it, as `forward_layer/cell`.
    pub arrays: Vec<(&'static str, Vec<Parameter>)>,
}

/// Returns the file of these layers. The arrays' own names are not written.
///
/// # Errors
/// The message of the HDF5 library.
pub(super) fn write(stored: &[StoredLayer]) -> Result<Vec<u8>, String> {
    let mut file = FileBuilder::new();
    let mut layers = file.create_group("layers");
    let mut counts = HashMap::new();
    for layer in stored {
        let count = counts.entry(layer.class).or_insert(0);
        let group_name = match *count {
            0 => layer.class.to_string(),
            n => format!("{}_{n}", layer.class),
        };
        *count += 1;
        let mut group = layers.create_group(&group_name);
        write_layer(&mut group, layer);
        layers.add_group(group.finish());
    }
    file.add_group(layers.finish());
    file.finish().map_err(|error| error.to_string())
}

fn write_layer(group: &mut GroupBuilder, layer: &StoredLayer) {
    let mut own = group.create_group("vars");
    own.set_attr("name", AttrValue::String(layer.name.clone()));
    for (holder, arrays) in &layer.arrays {
        if holder.is_empty() {
            put(&mut own, arrays);
            continue;
        }
        let mut inner = group.create_group("vars");
        put(&mut inner, arrays);
        for part in holder.rsplit('/') {
            let mut outer = group.create_group(part);
            outer.add_group(inner.finish());
            inner = outer;
        }
        group.add_group(inner.finish());
    }
    group.add_group(own.finish());
}

fn put(group: &mut GroupBuilder, arrays: &[Parameter]) {
    for (n, Parameter { shape, values, .. }) in arrays.iter().enumerate() {
        let shape: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        let array = group.create_dataset(&n.to_string());
        array.with_f32_data(values).with_shape(&shape);
    }
}

/// A layer of a file that is read.
pub(super) struct FoundLayer {
    /// Keras's class in snake case.
    class: String,
    /// The number within its class.
    number: usize,
    /// Keras's name; older files of Keras 3 have none.
    name: Option<String>,
    /// Under names as `layers/lstm/cell/kernel`, the forward direction first.
    pub arrays: Vec<Parameter>,
}

impl FoundLayer {
    /// The number of input features and of output features, if the layer is recurrent.
    fn sizes(&self) -> Option<(usize, usize)> {
        let rows = |suffix: &str| -> Vec<usize> {
            let arrays = self.arrays.iter();
            let named = arrays.filter(|array| array.name.ends_with(suffix));
            let rows = named.filter_map(|array| array.shape.first().copied());
            rows.collect()
        };
        let states = rows("/recurrent_kernel");
        if states.is_empty() {
            return None;
        }
        let outputs = states.iter().fold(0usize, |sum, &h| sum.saturating_add(h));
        Some((*rows("/kernel").first()?, outputs))
    }
}

/// Weights without a description of their layers.
pub(super) struct StoredWeights {
    pub arrays: Vec<Parameter>,
    /// The names of layers without arrays that may change outputs.
    pub others: Vec<String>,
}

impl From<Vec<Parameter>> for StoredWeights {
    fn from(arrays: Vec<Parameter>) -> StoredWeights {
        StoredWeights {
            arrays,
            others: vec![],
        }
    }
}

/// Reads the arrays of a file in the order of the model, which follows from names or sizes.
///
/// # Errors
/// A clause on what is wrong.
pub(super) fn read(bytes: &[u8]) -> Result<StoredWeights, String> {
    let (file, mut reader) = open(bytes)?;
    reader.check_outside(&file)?;
    let layers = in_order(reader.layers(&file)?)?;
    Ok(StoredWeights {
        arrays: layers.into_iter().flat_map(|layer| layer.arrays).collect(),
        others: reader.others,
    })
}

/// Reads the layers of a file in any order.
///
/// # Errors
/// A clause on what is wrong.
pub(super) fn read_layers(bytes: &[u8]) -> Result<Vec<FoundLayer>, String> {
    let (file, mut reader) = open(bytes)?;
    reader.layers(&file)
}

fn open(bytes: &[u8]) -> Result<(File, Reader), String> {
    let file = File::from_bytes(bytes.to_vec()).map_err(|error| broken(&error))?;
    let reader = Reader {
        objects: MOST_OBJECTS,
        bytes: bytes.len() as u64,
        others: vec![],
    };
    Ok((file, reader))
}

/// Takes the arrays of a layer out of those of a file, by its name; by its class and its number
/// there in a file without names.
pub(super) fn take(found: &mut Vec<FoundLayer>, layer: &StoredName) -> Option<FoundLayer> {
    let is_layer = |own: &FoundLayer| match &own.name {
        Some(name) => *name == layer.name,
        None => own.class == layer.class && own.number == layer.number,
    };
    let index = found.iter().position(is_layer)?;
    Some(found.remove(index))
}

fn broken(error: &hdf5_pure::Error) -> String {
    format!("not an HDF5 file that can be read ({error})")
}

/// The holder of an array, its number there, and Keras's name of it, by its path below its layer.
fn meaning<'a>(class: &str, path: &'a str) -> Option<(&'a str, usize, &'static str)> {
    let (holder, index) = path.rsplit_once("vars/")?;
    let index: usize = index.parse().ok()?;
    let known: &[&str] = match (class, holder) {
        ("embedding", "") => &["embeddings"],
        ("normalization", "") => &["mean", "variance"],
        ("dense", "") | ("time_distributed", "layer/") => &["kernel", "bias"],
        (_, "cell/" | "forward_layer/cell/" | "backward_layer/cell/") => {
            &["kernel", "recurrent_kernel", "bias"]
        }
        _ => return None,
    };
    Some((holder, index, known.get(index)?))
}

/// The class and the number of a layer by the name of its group, as in `lstm_1`.
fn class_and_number(group_name: String) -> (String, usize) {
    if let Some((class, number)) = group_name.rsplit_once('_')
        && let Ok(number) = number.parse()
    {
        return (class.to_string(), number);
    }
    (group_name, 0)
}

/// The position in the name of a layer that [`keras::export`](super::export) wrote.
fn exported_position(name: &str) -> Option<usize> {
    let kinds = ["rnn", "bidirectional"];
    let digits = kinds.iter().find_map(|kind| name.strip_prefix(kind));
    digits?.parse().ok()
}

/// The embedding, the recurrent layers in the order of the model, then all others.
fn in_order(mut layers: Vec<FoundLayer>) -> Result<Vec<FoundLayer>, String> {
    layers.sort_by(|a, b| (&a.class, a.number).cmp(&(&b.class, b.number)));
    let (mut recurrent, rest): (Vec<_>, Vec<_>) = layers
        .into_iter()
        .partition(|layer| layer.sizes().is_some());
    let (mut ordered, others): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|layer| layer.class == "embedding");
    let position = |layer: &FoundLayer| layer.name.as_deref().and_then(exported_position);
    if recurrent.iter().all(|layer| position(layer).is_some()) {
        recurrent.sort_by_key(position);
    } else {
        let head = others.first().and_then(|head| head.arrays.first());
        let head_inputs = head.and_then(|kernel| kernel.shape.first().copied());
        recurrent = by_sizes(recurrent, head_inputs)?;
    }
    ordered.extend(recurrent);
    ordered.extend(others);
    Ok(ordered)
}

/// Orders recurrent layers so that each has as many outputs as the next one reads; the last one's
/// are `read` by the head.
fn by_sizes(layers: Vec<FoundLayer>, mut read: Option<usize>) -> Result<Vec<FoundLayer>, String> {
    let mut classes: Vec<Vec<FoundLayer>> = vec![];
    for layer in layers {
        match classes.last_mut() {
            Some(class) if class[0].class == layer.class => class.push(layer),
            _ => classes.push(vec![layer]),
        }
    }
    let mut order = vec![];
    while !classes.is_empty() {
        let outputs = |class: &[FoundLayer]| class.last().and_then(|layer| Some(layer.sizes()?.1));
        let fits = |n: &usize| classes.len() == 1 || outputs(&classes[*n]) == read;
        let fitting: Vec<usize> = (0..classes.len()).filter(fits).collect();
        let &[one] = &fitting[..] else {
            return Err(
                "it does not say the order of its layers of several classes, and their sizes allow \
                 none or several; import the .keras that `model.save(\"model.keras\")` writes"
                    .into(),
            );
        };
        let layer = classes[one].pop().expect("no class is empty");
        read = layer.sizes().map(|(inputs, _)| inputs);
        order.push(layer);
        classes.retain(|class| !class.is_empty());
    }
    order.reverse();
    Ok(order)
}

/// The number of objects and bytes that may still be read: links may lead to the same group or
/// array again and again.
struct Reader {
    objects: usize,
    bytes: u64,
    /// The names of layers without arrays that may change outputs.
    others: Vec<String>,
}

impl Reader {
    fn count(&mut self) -> Result<(), String> {
        self.objects = self.objects.checked_sub(1).ok_or_else(|| {
            format!("it holds more than {MOST_OBJECTS} groups and arrays, the most that are read")
        })?;
        Ok(())
    }

    /// Refuses arrays outside of `layers`: subclassed models store layers there by the names of
    /// their attributes, which do not say their classes.
    fn check_outside(&mut self, file: &File) -> Result<(), String> {
        // The state of the optimizer, and the model's own arrays.
        const KNOWN: [&str; 3] = ["layers", "optimizer", "vars"];
        let groups = file.root().iter_groups().map_err(|error| broken(&error))?;
        for (name, group) in groups {
            self.count()?;
            if !KNOWN.contains(&&name[..]) && self.has_arrays(&group, DEPTH)? {
                return Err(format!(
                    "{name} is outside of the group layers: a subclassed model stores layers by \
                     the names of their attributes, which do not say their classes; save the \
                     model by `numpy.savez(\"model.npz\", **{{w.path: w for w in \
                     model.weights}})`"
                ));
            }
        }
        Ok(())
    }

    /// Whether there are arrays in a group or below it; groups that are too deep count as such.
    fn has_arrays(&mut self, group: &Group, depth: usize) -> Result<bool, String> {
        let mut arrays = group.iter_datasets().map_err(|error| broken(&error))?;
        if arrays.next().is_some() {
            return Ok(true);
        }
        for (name, child) in group.iter_groups().map_err(|error| broken(&error))? {
            self.count()?;
            let deeper = depth.checked_sub(1);
            if name != "seed_generator"
                && deeper.map_or(Ok(true), |depth| self.has_arrays(&child, depth))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the layers of a file.
    fn layers(&mut self, file: &File) -> Result<Vec<FoundLayer>, String> {
        let layers = file.group("layers").map_err(|_| {
            "there is no group layers, as Keras 3 writes it to .weights.h5 and .keras; load the \
             model there and save it by `model.save_weights(\"model.weights.h5\")`"
        })?;
        let mut found = vec![];
        for (name, layer) in layers.iter_groups().map_err(|error| broken(&error))? {
            found.extend(self.layer(name, &layer)?);
        }
        Ok(found)
    }

    /// Reads a layer; `None` if it has no arrays.
    fn layer(&mut self, group_name: String, group: &Group) -> Result<Option<FoundLayer>, String> {
        self.count()?;
        let path = format!("layers/{group_name}");
        let (class, number) = class_and_number(group_name);
        let mut arrays = vec![];
        self.arrays_below(group, &path, DEPTH, &mut arrays)?;
        if arrays.is_empty() {
            if !UNCHANGED.contains(&&class[..]) {
                self.others.push(path);
            }
            return Ok(None);
        }
        let attributes = group.group("vars").and_then(|own| own.attrs());
        let name = attributes
            .ok()
            .and_then(|attributes| Some(attributes.get("name")?.as_str()?.to_string()));
        Ok(Some(FoundLayer {
            arrays: named(arrays, &class, &path)?,
            class,
            number,
            name,
        }))
    }

    /// Appends every array below a group, under its path.
    fn arrays_below(
        &mut self,
        group: &Group,
        path: &str,
        depth: usize,
        arrays: &mut Vec<Parameter>,
    ) -> Result<(), String> {
        let broken = |error: hdf5_pure::Error| format!("{path} cannot be read: {error}");
        for (name, dataset) in group.iter_datasets().map_err(broken)? {
            self.count()?;
            // The integer count of the samples that a `Normalization` has seen.
            if name == "2" && path.starts_with("layers/normalization") {
                continue;
            }
            let name = format!("{path}/{name}");
            let (shape, values) = self
                .array(&dataset)
                .map_err(|problem| format!("array {name}: {problem}"))?;
            let array = Parameter {
                name,
                shape,
                values,
            };
            array.check_finite().map_err(|error| error.to_string())?;
            arrays.push(array);
        }
        for (name, child) in group.iter_groups().map_err(broken)? {
            self.count()?;
            // The random state of dropout.
            if name == "seed_generator" {
                continue;
            }
            let path = format!("{path}/{name}");
            let depth = depth.checked_sub(1).ok_or_else(|| {
                format!(
                    "{path}: there are models within the model, or layers that gatescan does not \
                     have"
                )
            })?;
            self.arrays_below(&child, &path, depth, arrays)?;
        }
        Ok(())
    }

    /// The shape and the values of an array.
    fn array(&mut self, dataset: &Dataset) -> Result<(Vec<usize>, Vec<f32>), String> {
        let broken = |error: hdf5_pure::Error| format!("it cannot be read: {error}");
        let dtype = dataset.dtype().map_err(broken)?;
        if dtype != DType::F32 {
            return Err(format!("it is of type {dtype}; gatescan reads float32"));
        }
        // Keras writes no other layouts, and compressed data may have any size.
        let layout = dataset.layout().map_err(broken)?;
        if !matches!(layout, Layout::Contiguous { .. } | Layout::Compact { .. }) {
            return Err("it is chunked, which Keras does not write".into());
        }
        let shape = dataset.shape().map_err(broken)?;
        let bytes = shape
            .iter()
            .try_fold(4u64, |product, &extent| product.checked_mul(extent));
        let left = bytes.and_then(|bytes| self.bytes.checked_sub(bytes));
        self.bytes = left.ok_or("its extents are larger than the file")?;
        let values = dataset.read_f32().map_err(broken)?;
        let shape: Vec<usize> = shape.iter().map(|&extent| extent as usize).collect();
        if values.len() != shape.iter().product::<usize>() {
            return Err(format!(
                "it has {} values, which do not fill the shape {shape:?}",
                values.len()
            ));
        }
        Ok((shape, values))
    }
}

/// Names the arrays of a layer as Keras does, and orders them: the forward direction first.
fn named(arrays: Vec<Parameter>, class: &str, path: &str) -> Result<Vec<Parameter>, String> {
    let named = arrays.into_iter().map(|mut array| {
        let relative = &array.name[path.len() + 1..];
        let (holder, index, kind) = meaning(class, relative).ok_or_else(|| {
            format!(
                "{} is not a weight of SimpleRNN, LSTM, GRU, Dense or Embedding",
                array.name
            )
        })?;
        let order = (holder.starts_with("backward"), index);
        array.name = format!("{path}/{holder}{kind}");
        Ok((order, array))
    });
    let mut named = named.collect::<Result<Vec<_>, String>>()?;
    named.sort_by_key(|(order, _)| *order);
    Ok(named.into_iter().map(|(_, array)| array).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize]) -> Parameter {
        let count: usize = shape.iter().product();
        Parameter {
            name: String::new(),
            shape: shape.to_vec(),
            values: (0..count).map(|n| n as f32 - 0.1).collect(),
        }
    }

    fn layer(class: &'static str, name: &str, inputs: usize, outputs: usize) -> StoredLayer {
        let cell = |h| vec![array(&[inputs, 4 * h]), array(&[h, 4 * h]), array(&[4 * h])];
        let arrays = match class {
            "dense" => vec![("", vec![array(&[inputs, outputs])])],
            "bidirectional" => vec![
                ("forward_layer/cell", cell(outputs / 2)),
                ("backward_layer/cell", cell(outputs / 2)),
            ],
            _ => vec![("cell", cell(outputs))],
        };
        StoredLayer {
            class,
            name: name.into(),
            arrays,
        }
    }

    /// The kernels' paths in the order in which they are read.
    fn kernels(layers: &[StoredLayer]) -> Result<Vec<String>, String> {
        let arrays = read(&write(layers)?)?.arrays;
        let written = layers.iter().flat_map(|layer| &layer.arrays);
        let count: usize = written.map(|(_, arrays)| arrays.len()).sum();
        assert_eq!(arrays.len(), count);
        let paths = arrays
            .iter()
            .filter_map(|array| array.name.strip_suffix("/kernel"));
        Ok(paths.map(str::to_string).collect())
    }

    #[test]
    fn arrays_are_read_bit_for_bit() {
        let stored = write(&[layer("lstm", "a", 3, 5)]).unwrap();
        let back = read(&stored).unwrap().arrays;
        let names =
            ["kernel", "recurrent_kernel", "bias"].map(|what| format!("layers/lstm/cell/{what}"));
        for ((back, name), shape) in back.iter().zip(names).zip([&[3, 20][..], &[5, 20], &[20]]) {
            let expected = array(shape);
            assert_eq!((&back.name, &back.shape), (&name, &expected.shape));
            let bits =
                |array: &Parameter| array.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(back), bits(&expected));
        }
    }

    #[test]
    fn layers_of_several_classes_are_ordered_by_their_sizes_or_names() {
        let many: Vec<StoredLayer> = (0..12).map(|_| layer("lstm", "x", 4, 4)).collect();
        let expected: Vec<String> = (0..12)
            .map(|n| match n {
                0 => "layers/lstm/cell".into(),
                n => format!("layers/lstm_{n}/cell"),
            })
            .collect();
        assert_eq!(kernels(&many).unwrap(), expected);

        let sizes = |last| {
            [
                layer("bidirectional", "both", 3, 8),
                layer("lstm", "l", 8, 7),
                layer("gru", "g", 7, last),
                layer("lstm", "ll", last, 6),
                layer("dense", "d", 6, 2),
            ]
        };
        let expected = [
            "layers/bidirectional/forward_layer/cell",
            "layers/bidirectional/backward_layer/cell",
            "layers/lstm/cell",
            "layers/gru/cell",
            "layers/lstm_1/cell",
            "layers/dense",
        ];
        assert_eq!(kernels(&sizes(5)).unwrap(), expected);
        let error = kernels(&sizes(6)).unwrap_err();
        assert!(error.contains("import the .keras"), "{error}");
        let same = [layer("lstm", "rnn0", 4, 4), layer("gru", "rnn1", 4, 4)];
        assert_eq!(
            kernels(&same).unwrap(),
            ["layers/lstm/cell", "layers/gru/cell"]
        );
    }

    #[test]
    fn layers_are_found_by_name_or_by_class_and_number() {
        let stored = [layer("lstm", "a", 3, 5), layer("lstm", "b", 5, 6)];
        let mut found = read_layers(&write(&stored).unwrap()).unwrap();
        let second = StoredName {
            name: "b".into(),
            class: "lstm",
            number: 1,
        };
        assert_eq!(take(&mut found, &second).unwrap().arrays[0].shape, [5, 24]);
        assert!(take(&mut found, &second).is_none());
        for layer in &mut found {
            layer.name = None;
        }
        let first = StoredName {
            number: 0,
            ..second
        };
        assert_eq!(take(&mut found, &first).unwrap().arrays[0].shape, [3, 20]);
    }

    #[test]
    fn layers_outside_of_the_group_of_layers_are_refused() {
        let mut file = FileBuilder::new();
        for name in ["layers", "embed"] {
            let mut group = file.create_group(name);
            let mut vars = group.create_group("vars");
            put(&mut vars, &[array(&[2, 3])]);
            group.add_group(vars.finish());
            file.add_group(group.finish());
        }
        let error = read(&file.finish().unwrap()).err().unwrap_or_default();
        assert!(error.starts_with("embed is outside"), "{error}");
    }

    #[test]
    fn other_arrays_are_refused_by_name() {
        for (stored, expected) in [
            (
                StoredLayer {
                    class: "batch_normalization",
                    name: "n".into(),
                    arrays: vec![("", vec![array(&[3])])],
                },
                "layers/batch_normalization/vars/0 is not a weight",
            ),
            (
                StoredLayer {
                    class: "functional",
                    name: "f".into(),
                    arrays: vec![("layers/lstm/cell", vec![array(&[3])])],
                },
                "layers/functional/layers/lstm/cell/vars: there are models within the model",
            ),
        ] {
            let error = read(&write(&[stored]).unwrap()).err().unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        }
        let error = read(&FileBuilder::new().finish().unwrap())
            .err()
            .unwrap_or_default();
        assert!(error.contains("no group layers"), "{error}");
    }

    #[test]
    fn chunked_and_double_arrays_are_refused() {
        let file = |change: &dyn Fn(&mut GroupBuilder)| {
            let mut file = FileBuilder::new();
            let mut layers = file.create_group("layers");
            let mut dense = layers.create_group("dense");
            let mut vars = dense.create_group("vars");
            change(&mut vars);
            dense.add_group(vars.finish());
            layers.add_group(dense.finish());
            file.add_group(layers.finish());
            read(&file.finish().unwrap()).err().unwrap_or_default()
        };
        let zeros = vec![0.0; 1 << 16];
        let chunks = file(&|vars| {
            let array = vars.create_dataset("0");
            array
                .with_f32_data(&zeros)
                .with_shape(&[1 << 8; 2])
                .with_chunks(&[1 << 8; 2]);
        });
        assert!(chunks.contains("it is chunked"), "{chunks}");
        let doubles = file(&|vars| _ = vars.create_dataset("0").with_f64_data(&[1.0]));
        assert!(doubles.contains("gatescan reads float32"), "{doubles}");
    }
}

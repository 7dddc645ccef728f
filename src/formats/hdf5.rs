//! Keras 3's own files of weights, `.weights.h5`: HDF5 in which `layers/lstm_1/cell/vars/0` is the first array of the second
//! `LSTM`. Layers are numbered within their class, so where there are several classes their order has to come from elsewhere.

use std::collections::HashMap;

use hdf5_pure::{AttrValue, DType, Dataset, File, FileBuilder, Group, GroupBuilder, Layout};

use crate::network::Parameter;

/// How such a file begins.
pub(super) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
/// The most groups and arrays of a file.
const MOST_OBJECTS: usize = 1 << 14;
/// The groups below a layer's own: `forward_layer/cell/vars`.
const DEPTH: usize = 3;

/// A layer as it is written.
pub(super) struct Stored {
    /// Keras's class in snake case.
    pub class: &'static str,
    pub name: String,
    /// Arrays by what holds them: the layer itself, which is "", or a part of it as `forward_layer/cell`.
    pub arrays: Vec<(&'static str, Vec<Parameter>)>,
}

/// The file of these layers; no array's own name is written.
pub(super) fn write(stored: &[Stored]) -> Result<Vec<u8>, String> {
    let mut file = FileBuilder::new();
    let mut layers = file.create_group("layers");
    let mut counts = HashMap::new();
    for Stored {
        class,
        name,
        arrays,
    } in stored
    {
        let count = counts.entry(*class).or_insert(0);
        let mut layer = layers.create_group(&match *count {
            0 => class.to_string(),
            n => format!("{class}_{n}"),
        });
        *count += 1;
        let mut own = layer.create_group("vars");
        own.set_attr("name", AttrValue::String(name.clone()));
        for (holder, arrays) in arrays {
            if holder.is_empty() {
                put(&mut own, arrays);
                continue;
            }
            let mut group = layer.create_group("vars");
            put(&mut group, arrays);
            for part in holder.rsplit('/') {
                let inner = std::mem::replace(&mut group, layer.create_group(part));
                group.add_group(inner.finish());
            }
            layer.add_group(group.finish());
        }
        layer.add_group(own.finish());
        layers.add_group(layer.finish());
    }
    file.add_group(layers.finish());
    file.finish().map_err(|error| error.to_string())
}

fn put(group: &mut GroupBuilder, arrays: &[Parameter]) {
    for (n, Parameter { shape, values, .. }) in arrays.iter().enumerate() {
        let shape: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        let array = group.create_dataset(&n.to_string());
        array.with_f32_data(values).with_shape(&shape);
    }
}

/// A layer as it is found.
struct Found {
    class: String,
    /// Of those of its class.
    number: usize,
    /// Its place among all layers, where something says it.
    place: Option<usize>,
    arrays: Vec<Parameter>,
}

impl Found {
    /// What it takes in and gives out at a step, if it is recurrent.
    fn sizes(&self) -> Option<(usize, usize)> {
        let rows = |what: &str| -> Vec<usize> {
            let named = self
                .arrays
                .iter()
                .filter(|array| array.name.ends_with(what));
            named
                .filter_map(|array| array.shape.first().copied())
                .collect()
        };
        let states = rows("/recurrent_kernel");
        let outputs = states.iter().fold(0usize, |sum, &h| sum.saturating_add(h));
        (!states.is_empty()).then(|| Some((*rows("/kernel").first()?, outputs)))?
    }
}

/// The arrays of a file in the model's order, under names as `layers/lstm/cell/kernel`. `names` are those of the model's
/// layers in their order, where they are known.
pub(super) fn read(bytes: &[u8], names: Option<&[String]>) -> Result<Vec<Parameter>, String> {
    let broken = |error: hdf5_pure::Error| format!("not an HDF5 file that can be read ({error})");
    let file = File::from_bytes(bytes.to_vec()).map_err(broken)?;
    let layers = file.group("layers").map_err(|_| {
        "there is no group layers, as Keras 3 writes it to .weights.h5 and .keras; load the model there and save it \
         by `model.save_weights(\"model.weights.h5\")`"
    })?;
    let mut reader = Reader {
        objects: MOST_OBJECTS,
        bytes: bytes.len() as u64,
    };
    let mut found = vec![];
    for (group_name, layer) in layers.iter_groups().map_err(broken)? {
        reader.count()?;
        let path = format!("layers/{group_name}");
        let (class, number) = match group_name.rsplit_once('_') {
            Some((class, number)) if number.parse::<usize>().is_ok() => {
                (class.to_string(), number.parse().unwrap_or_default())
            }
            _ => (group_name, 0),
        };
        let mut arrays = vec![];
        reader.walk(&layer, &path, DEPTH, &mut arrays)?;
        if arrays.is_empty() {
            continue;
        }
        let mut arrays = arrays
            .into_iter()
            .map(|mut array| {
                let relative = &array.name[path.len() + 1..];
                let (holder, index, what) = meaning(&class, relative).ok_or_else(|| {
                    format!(
                        "{} is no weight of SimpleRNN, LSTM, GRU, Dense or Embedding",
                        array.name
                    )
                })?;
                let key = (holder.starts_with("backward"), index);
                array.name = format!("{path}/{holder}{what}");
                Ok((key, array))
            })
            .collect::<Result<Vec<_>, String>>()?;
        arrays.sort_by_key(|(key, _)| *key);
        // Older files of Keras 3 have no names.
        let name = layer.group("vars").and_then(|own| own.attrs());
        let name = name
            .ok()
            .and_then(|attrs| Some(attrs.get("name")?.as_str()?.to_string()));
        let place = name.and_then(|name| match names {
            Some(names) => names.iter().position(|other| *other == name),
            None => our_place(&name),
        });
        found.push(Found {
            class,
            number,
            place,
            arrays: arrays.into_iter().map(|(_, array)| array).collect(),
        });
    }
    let layers = in_order(found)?;
    Ok(layers.into_iter().flat_map(|layer| layer.arrays).collect())
}

/// An array by its path below its layer: what holds it, its number there, and what Keras calls it.
fn meaning<'a>(class: &str, path: &'a str) -> Option<(&'a str, usize, &'static str)> {
    let (holder, index) = path.rsplit_once("vars/")?;
    let index: usize = index.parse().ok()?;
    let known: &[&str] = match (class, holder) {
        ("embedding", "") => &["embeddings"],
        ("dense", "") | ("time_distributed", "layer/") => &["kernel", "bias"],
        (_, "cell/" | "forward_layer/cell/" | "backward_layer/cell/") => {
            &["kernel", "recurrent_kernel", "bias"]
        }
        _ => return None,
    };
    Some((holder, index, known.get(index)?))
}

/// The place that the name of a layer has in it which [`keras::export`](super::keras::export) gave it.
fn our_place(name: &str) -> Option<usize> {
    let digits = ["rnn", "bidirectional"]
        .iter()
        .find_map(|kind| name.strip_prefix(kind));
    digits?.parse().ok()
}

/// The embedding, the recurrent layers from the input up, what is behind them.
fn in_order(mut layers: Vec<Found>) -> Result<Vec<Found>, String> {
    layers.sort_by(|a, b| (&a.class, a.number).cmp(&(&b.class, b.number)));
    let (mut recurrent, rest): (Vec<_>, Vec<_>) = layers
        .into_iter()
        .partition(|layer| layer.sizes().is_some());
    let (mut ordered, behind): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|layer| layer.class == "embedding");
    if recurrent.iter().all(|layer| layer.place.is_some()) {
        recurrent.sort_by_key(|layer| layer.place);
    } else {
        let head = behind.first().and_then(|head| head.arrays.first());
        let read = head.and_then(|kernel| kernel.shape.first().copied());
        recurrent = by_sizes(recurrent, read)?;
    }
    ordered.extend(recurrent);
    ordered.extend(behind);
    Ok(ordered)
}

/// Recurrent layers in the order in which each gives what the next one reads, and the last one what the head does.
fn by_sizes(layers: Vec<Found>, mut read: Option<usize>) -> Result<Vec<Found>, String> {
    let mut classes: Vec<Vec<Found>> = vec![];
    for layer in layers {
        match classes
            .last_mut()
            .filter(|class| class[0].class == layer.class)
        {
            Some(class) => class.push(layer),
            None => classes.push(vec![layer]),
        }
    }
    let mut order = vec![];
    while !classes.is_empty() {
        let gives = |class: &Vec<Found>| class.last().and_then(|layer| Some(layer.sizes()?.1));
        let fits = |n: &usize| classes.len() == 1 || gives(&classes[*n]) == read;
        let fitting: Vec<usize> = (0..classes.len()).filter(fits).collect();
        let &[one] = &fitting[..] else {
            return Err(
                "it does not say in which order its layers of several classes come, and their sizes do not tell; \
                 import the .keras that `model.save(\"model.keras\")` writes"
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

/// What may still be read of a file: links may lead to one group or one array again and again.
struct Reader {
    objects: usize,
    bytes: u64,
}

impl Reader {
    fn count(&mut self) -> Result<(), String> {
        self.objects = self.objects.checked_sub(1).ok_or_else(|| {
            format!("it holds more than {MOST_OBJECTS} groups and arrays, the most that are read")
        })?;
        Ok(())
    }

    /// Every array below a group, under its path.
    fn walk(
        &mut self,
        group: &Group,
        path: &str,
        depth: usize,
        arrays: &mut Vec<Parameter>,
    ) -> Result<(), String> {
        let broken = |error: hdf5_pure::Error| format!("{path} cannot be read: {error}");
        for (name, dataset) in group.iter_datasets().map_err(broken)? {
            self.count()?;
            let name = format!("{path}/{name}");
            let (shape, values) = self
                .array(&dataset)
                .map_err(|problem| format!("array {name}: {problem}"))?;
            arrays.push(Parameter {
                name,
                shape,
                values,
            });
        }
        for (name, child) in group.iter_groups().map_err(broken)? {
            self.count()?;
            // The random numbers of dropout.
            if name == "seed_generator" {
                continue;
            }
            let path = format!("{path}/{name}");
            let depth = depth.checked_sub(1).ok_or_else(|| {
                format!("{path}: there are models within the model, or layers that gatescan does not have")
            })?;
            self.walk(&child, &path, depth, arrays)?;
        }
        Ok(())
    }

    /// An array's extents and numbers.
    fn array(&mut self, dataset: &Dataset) -> Result<(Vec<usize>, Vec<f32>), String> {
        let broken = |error: hdf5_pure::Error| format!("it cannot be read: {error}");
        let dtype = dataset.dtype().map_err(broken)?;
        if dtype != DType::F32 {
            return Err(format!("it is of {dtype}; gatescan reads float32"));
        }
        // Keras writes no others, and what is compressed could be of any size.
        let layout = dataset.layout().map_err(broken)?;
        if !matches!(layout, Layout::Contiguous { .. } | Layout::Compact { .. }) {
            return Err("it is in chunks, and not as Keras writes it".into());
        }
        let shape = dataset.shape().map_err(broken)?;
        let bytes = shape
            .iter()
            .try_fold(4u64, |product, &extent| product.checked_mul(extent));
        let left = bytes.and_then(|bytes| self.bytes.checked_sub(bytes));
        self.bytes = left.ok_or("its extents are beyond what the file holds")?;
        let values = dataset.read_f32().map_err(broken)?;
        let shape: Vec<usize> = shape.iter().map(|&extent| extent as usize).collect();
        if values.len() != shape.iter().product::<usize>() {
            return Err(format!("{} numbers are no array {shape:?}", values.len()));
        }
        Ok((shape, values))
    }
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

    fn layer(class: &'static str, name: &str, inputs: usize, outputs: usize) -> Stored {
        let cell = |h| vec![array(&[inputs, 4 * h]), array(&[h, 4 * h]), array(&[4 * h])];
        let arrays = match class {
            "dense" => vec![("", vec![array(&[inputs, outputs])])],
            "bidirectional" => vec![
                ("forward_layer/cell", cell(outputs / 2)),
                ("backward_layer/cell", cell(outputs / 2)),
            ],
            _ => vec![("cell", cell(outputs))],
        };
        Stored {
            class,
            name: name.into(),
            arrays,
        }
    }

    /// The kernels' paths in the order that they are read in.
    fn kernels(layers: &[Stored], names: Option<&[&str]>) -> Result<Vec<String>, String> {
        let names: Option<Vec<String>> =
            names.map(|names| names.iter().map(|name| name.to_string()).collect());
        let arrays = read(&write(layers)?, names.as_deref())?;
        let written = layers.iter().flat_map(|layer| &layer.arrays);
        let count: usize = written.map(|(_, arrays)| arrays.len()).sum();
        assert_eq!(arrays.len(), count);
        let paths = arrays
            .iter()
            .filter_map(|array| array.name.strip_suffix("/kernel"));
        Ok(paths.map(str::to_string).collect())
    }

    #[test]
    fn arrays_come_back_bit_for_bit() {
        let back = read(&write(&[layer("lstm", "a", 3, 5)]).unwrap(), None).unwrap();
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
    fn layers_of_several_classes_come_in_the_order_of_their_sizes_or_names() {
        let many: Vec<Stored> = (0..12).map(|_| layer("lstm", "x", 4, 4)).collect();
        let expected: Vec<String> = (0..12)
            .map(|n| match n {
                0 => "layers/lstm/cell".into(),
                n => format!("layers/lstm_{n}/cell"),
            })
            .collect();
        assert_eq!(kernels(&many, None).unwrap(), expected);

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
        assert_eq!(kernels(&sizes(5), None).unwrap(), expected);
        let error = kernels(&sizes(6), None).unwrap_err();
        assert!(error.contains("import the .keras"), "{error}");
        let names = ["input", "both", "l", "g", "ll", "d"];
        assert_eq!(kernels(&sizes(6), Some(&names)).unwrap(), expected);
        let same = [layer("lstm", "rnn0", 4, 4), layer("gru", "rnn1", 4, 4)];
        assert_eq!(
            kernels(&same, None).unwrap(),
            ["layers/lstm/cell", "layers/gru/cell"]
        );
    }

    #[test]
    fn what_is_no_weight_is_refused_by_name() {
        for (stored, expected) in [
            (
                Stored {
                    class: "batch_normalization",
                    name: "n".into(),
                    arrays: vec![("", vec![array(&[3])])],
                },
                "layers/batch_normalization/vars/0 is no weight",
            ),
            (
                Stored {
                    class: "functional",
                    name: "f".into(),
                    arrays: vec![("layers/lstm/cell", vec![array(&[3])])],
                },
                "layers/functional/layers/lstm/cell/vars: there are models within the model",
            ),
        ] {
            let error = read(&write(&[stored]).unwrap(), None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = read(&FileBuilder::new().finish().unwrap(), None).unwrap_err();
        assert!(error.contains("no group layers"), "{error}");
    }

    #[test]
    fn no_more_is_read_than_a_file_holds() {
        let file = |change: &dyn Fn(&mut GroupBuilder)| {
            let mut file = FileBuilder::new();
            let mut layers = file.create_group("layers");
            let mut dense = layers.create_group("dense");
            let mut vars = dense.create_group("vars");
            change(&mut vars);
            dense.add_group(vars.finish());
            layers.add_group(dense.finish());
            file.add_group(layers.finish());
            read(&file.finish().unwrap(), None)
                .err()
                .unwrap_or_default()
        };
        let zeros = vec![0.0; 1 << 16];
        let chunks = file(&|vars| {
            let array = vars.create_dataset("0");
            array
                .with_f32_data(&zeros)
                .with_shape(&[1 << 8; 2])
                .with_chunks(&[1 << 8; 2]);
        });
        assert!(chunks.contains("it is in chunks"), "{chunks}");
        let doubles = file(&|vars| _ = vars.create_dataset("0").with_f64_data(&[1.0]));
        assert!(doubles.contains("gatescan reads float32"), "{doubles}");
    }
}

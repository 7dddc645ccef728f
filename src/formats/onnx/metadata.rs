//! The metadata of a file: names that the graph's tensors do not have.

use serde_json::{Map, Value, json};

use super::super::outputs_note;
use super::proto::StringStringEntryProto;
use crate::model::Model;

/// Returns the names of input columns, target columns, classes and tokens as JSON lists, the names
/// of categories as a JSON object, and the units of inputs and outputs. Empty ones are left out.
pub(super) fn entries(model: &Model) -> Vec<StringStringEntryProto> {
    let (source, preparation) = (model.recipe.data.source(), &model.preparation);
    let (network, head) = (&model.network, &model.network.head);
    let vocabulary = preparation.vocabulary.as_ref();
    // The tokens of bytes are their values.
    let strings = vocabulary.map_or(&[][..], |vocabulary| &vocabulary.entries);
    // Token 0 stands for any other string.
    let unknown = (!strings.is_empty()).then(String::new);
    let tokens: Vec<String> = unknown.into_iter().chain(strings.to_vec()).collect();
    let inputs = source.line_format().inputs;
    let targets = source.output_names();
    let lists = [
        ("input_columns", inputs, network.input_size),
        ("target_columns", &targets[..], 0),
        ("classes", &preparation.classes[..], head.size),
        ("tokens", &tokens[..], head.size),
    ];
    let mut entries = vec![];
    for (key, names, size) in lists {
        // Names of other columns than the network's are those of an edited recipe.
        if !names.is_empty() && (size == 0 || names.len() == size) {
            entries.push(entry(key, json!(names).to_string()));
        }
    }
    if !preparation.categories.is_empty() {
        entries.push(entry("categories", categories(model)));
    }
    entries.push(entry("units", units(model)));
    entries.extend(outputs_note(model).map(|note| entry("outputs", note)));
    if !network.heads.is_empty() {
        entries.push(entry("heads", heads(model)));
    }
    entries
}

/// The categories of each column of them, and the first of their inputs, as a JSON object by the
/// names of the columns. An input is 1 for its category and 0 otherwise.
fn categories(model: &Model) -> String {
    let (names, preparation) = (
        model.recipe.data.source().category_names(),
        &model.preparation,
    );
    let columns = preparation.category_columns(model.network.input_size);
    let columns = columns.unwrap_or_default();
    let each = columns.into_iter().zip(&preparation.categories).enumerate();
    let objects = each.map(|(index, (columns, categories))| {
        let object = json!({"first_input": columns.start, "categories": categories});
        // Data of a program have no names of columns.
        let name = names.get(index).cloned();
        (name.unwrap_or_else(|| index.to_string()), object)
    });
    Value::from(objects.collect::<Map<_, _>>()).to_string()
}

/// The target columns, the classes and what the outputs are of each of several heads, as a JSON
/// object by their names.
fn heads(model: &Model) -> String {
    let mut objects = Map::new();
    for (index, named) in model.network.heads.iter().enumerate() {
        let own = model.of_head(index);
        let mut object = Map::new();
        let columns = own.recipe.data.source().target_names();
        let classes = &own.preparation.classes;
        for (key, names) in [("target_columns", columns), ("classes", &classes[..])] {
            if !names.is_empty() {
                object.insert(key.into(), json!(names));
            }
        }
        if let Some(note) = outputs_note(&own) {
            object.insert("outputs".into(), note.into());
        }
        objects.insert(named.name.clone(), object.into());
    }
    Value::from(objects).to_string()
}

/// A sentence on the units of inputs and outputs.
fn units(model: &Model) -> String {
    let preparation = &model.preparation;
    if !model.network.input.is_values() {
        return "inputs are the indices of tokens".to_string();
    }
    let inputs = if preparation.inputs.is_empty() {
        "inputs are read as they are"
    } else {
        "inputs are in the units of the data; the graph subtracts their mean and divides by their \
         standard deviation"
    };
    let outputs = if preparation.targets.is_empty() {
        ""
    } else {
        "; outputs are in the units of the data"
    };
    format!("{inputs}{outputs}")
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto {
        key: key.to_string(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message;

    use super::super::proto::ModelProto;
    use super::*;
    use crate::data::csv::{Csv, TableTask};
    use crate::data::preparation::Preparation;
    use crate::recipe::{DataRecipe, Recipe};

    #[test]
    fn names_are_in_the_file() {
        let mut recipe = Recipe::load("mnist").expect("it is built in");
        recipe.data = DataRecipe::Csv(Csv {
            task: TableTask::Classification,
            ..Csv::new(Path::new("x.csv"), &["a", "b\"c"], &["kind"])
        });
        let network = recipe.network(2, 2).expect("it is valid");
        let model = Model {
            parameters: network.to_parameters(&network.initial(1)),
            preparation: Preparation {
                classes: ["idle", "run"].map(String::from).into(),
                ..Preparation::default()
            },
            network,
            recipe,
        };
        let file = super::super::export(&model, false).expect("it is exported");
        let file = ModelProto::decode(&file[..]).expect("it is valid");
        let value = |key: &str| {
            let found = file.metadata_props.iter().find(|entry| entry.key == key);
            found.map(|entry| entry.value.as_str())
        };
        assert_eq!(value("input_columns"), Some("[\"a\",\"b\\\"c\"]"));
        assert_eq!(value("target_columns"), Some("[\"kind\"]"));
        assert_eq!(value("classes"), Some("[\"idle\",\"run\"]"));
        assert_eq!(value("tokens"), None);
        assert_eq!(value("units"), Some("inputs are read as they are"));
    }
}

//! Changing fields of a recipe by their paths, and messages for files and assignments that are no
//! recipe.

use toml::{Table, Value};

use super::Recipe;
use crate::error::{Error, Result};
use crate::messages::{did_you_mean, listed};

impl Recipe {
    /// Reads a recipe from one JSON object, in which null means that a key is absent; errors call
    /// it `origin`. Relative paths are relative to the current directory. Call [`Recipe::validate`]
    /// once all values are final.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is no JSON object, and for unknown keys or values, with the
    /// nearest known one.
    pub fn from_json(json: &str, origin: &str) -> Result<Recipe> {
        let wrong = |problem: String| Error::usage(format!("{origin}: {problem}"));
        let mut value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        if !value.is_object() {
            return Err(wrong("a recipe is one JSON object".into()));
        }
        leave_out_null(&mut value);
        let table = Table::try_from(&value).map_err(|error| wrong(error.to_string()))?;
        table
            .try_into()
            .map_err(|error: toml::de::Error| wrong(explain(error.message())))
    }

    /// Changes fields by assignments `key.key=value`. A number between dots is an index from 0, as
    /// in `network.layer.0.hidden_size=64`. The value is TOML; anything else is a string.
    ///
    /// # Errors
    /// [`Error::Usage`] that begins with the first assignment that is wrong, for a key or value
    /// that a recipe does not have.
    pub fn set<S: AsRef<str>>(&mut self, assignments: &[S]) -> Result<()> {
        let mut table = self.editable().map_err(|error| {
            Error::usage(format!("the recipe cannot be edited as TOML: {error}"))
        })?;
        // Some fields are only valid together, so an invalid one may be corrected by a later one.
        let mut invalid = None;
        for assignment in assignments {
            let assignment = assignment.as_ref();
            let named = |problem: String| Error::usage(format!("{assignment}: {problem}"));
            assign(&mut table, assignment).map_err(named)?;
            match table.clone().try_into() {
                Ok(recipe) => {
                    *self = recipe;
                    invalid = None;
                }
                Err(error) => {
                    invalid.get_or_insert_with(|| named(explain(error.message())));
                }
            }
        }
        invalid.map_or(Ok(()), Err)
    }

    /// The recipe as TOML, with the tables that files leave out while they hold their defaults.
    fn editable(&self) -> Result<Table, toml::ser::Error> {
        let mut table = Table::try_from(self)?;
        for (key, value) in [
            ("parallel", Value::try_from(&self.parallel)?),
            ("schedule", Value::try_from(&self.schedule)?),
        ] {
            table.entry(key).or_insert(value);
        }
        if let Some(Value::Table(network)) = table.get_mut("network") {
            let sizes = Value::try_from(&self.network.category_sizes)?;
            network.entry("category_sizes").or_insert(sizes);
        }
        Ok(table)
    }
}

/// Removes the keys whose value is null.
fn leave_out_null(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(leave_out_null);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(leave_out_null),
        _ => {}
    }
}

/// Sets the field of an assignment `key.key=value`.
fn assign(table: &mut Table, assignment: &str) -> Result<(), String> {
    let Some((path, text)) = assignment.split_once('=') else {
        return Err("expected key=value, as in optimizer.lr=0.01".to_string());
    };
    let value = text
        .trim()
        .parse()
        .unwrap_or_else(|_| Value::String(text.trim().to_string()));
    let (parents, last) = match path.trim().rsplit_once('.') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, path.trim()),
    };
    let mut parent = table;
    let mut keys = parents.into_iter().flat_map(|parents| parents.split('.'));
    while let Some(key) = keys.next() {
        let names: Vec<String> = parent.keys().cloned().collect();
        let Some(inner) = parent.get_mut(key) else {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(format!("there is no `{key}`{}", did_you_mean(key, &names)));
        };
        parent = match inner {
            Value::Table(inner) => inner,
            Value::Array(entries) => {
                let count = entries.len();
                let index = keys.next().unwrap_or(last);
                let entry = index
                    .parse()
                    .ok()
                    .and_then(|index: usize| entries.get_mut(index));
                entry.and_then(Value::as_table_mut).ok_or_else(|| {
                    format!(
                        "`{key}` is a list of {count} entries, so a number below {count} must \
                         follow it, not `{index}`"
                    )
                })?
            }
            _ => {
                return Err(format!(
                    "`{key}` is a single value, without keys of its own"
                ));
            }
        };
    }
    parent.insert(last.to_string(), value);
    Ok(())
}

/// Returns the line, from 1, that an error is about; `start` is where the parser found it.
pub(super) fn line_of(text: &str, start: usize, message: &str) -> usize {
    let first = text[..start].matches('\n').count();
    let word = message.split('`').nth(1).unwrap_or_default();
    if !message.starts_with("unknown") {
        return first + 1;
    }
    // In a table with a `kind`, the parser only knows the line of the table: search the word below
    // it.
    let quoted = format!("\"{word}\"");
    let has_word = |line: &str| {
        let after = line.trim_start().strip_prefix(word);
        after.is_some_and(|after| after.trim_start().starts_with('=')) || line.contains(&quoted)
    };
    let offset = text.lines().skip(first).position(has_word);
    first + offset.unwrap_or(0) + 1
}

/// Returns a sentence for a message of serde or of the TOML parser.
pub(super) fn explain(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let what = match message {
        _ if message.trim_end().ends_with("there are no fields") => {
            return format!("unknown key `{}`; the only key here is `kind`", quoted[0]);
        }
        _ if message.starts_with("unknown field") => "key",
        _ if message.starts_with("unknown variant") => "value",
        _ if message.starts_with("missing field") && quoted.len() == 1 => {
            return format!("the key `{}` is missing", quoted[0]);
        }
        _ => {
            return message
                .trim()
                .replace('\n', ", ")
                .replace("expected usize", "expected a whole number, at least 0")
                .replace("expected u64", "expected a whole number, at least 0")
                .replace("expected f32", "expected a number")
                .replace(
                    "invalid type: unit variant, expected struct variant",
                    "this value needs options, as in { truncated-normal = { stddev = 0.1 } } or \
                     { huber = { delta = 1.0 } }",
                );
        }
    };
    match quoted.split_first() {
        Some((wrong, expected)) if !expected.is_empty() => format!(
            "unknown {what} `{wrong}`{}; expected {}",
            did_you_mean(wrong, expected),
            listed(expected)
        ),
        _ => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cells::Cell;
    use crate::network::Bias;
    use crate::recipe::{BUILTINS, Schedule};

    fn mnist() -> Recipe {
        Recipe::load("mnist").unwrap()
    }

    /// Returns the message for the built-in `mnist` with `old` replaced.
    fn edited(old: &str, new: &str) -> String {
        let text = BUILTINS[0].toml.replacen(old, new, 1);
        assert_ne!(text, BUILTINS[0].toml);
        Recipe::parse(&text, "mine.toml").unwrap_err().to_string()
    }

    fn line_number(start: &str) -> usize {
        let mut lines = BUILTINS[0].toml.lines();
        lines.position(|line| line.starts_with(start)).unwrap() + 1
    }

    #[test]
    fn unknown_keys_name_their_line_and_suggest_the_nearest() {
        for (old, new, right) in [
            ("batch_size =", "batchsize =", "batch_size"),
            ("classes =", "clases =", "classes"),
            ("hidden_size =", "hiden_size =", "hidden_size"),
            ("loss =", "los =", "loss"),
            ("beta2 =", "betta2 =", "beta2"),
        ] {
            let message = edited(old, new);
            let start = format!(
                "mine.toml:{}: unknown key `{}`",
                line_number(old),
                &new[..new.len() - 2]
            );
            assert!(message.starts_with(&start), "{message}\n{start}");
            assert!(
                message.contains(&format!("(did you mean `{right}`?)")),
                "{message}"
            );
        }
    }

    #[test]
    fn unknown_values_name_their_line_and_suggest_the_nearest() {
        for (old, new, wrong, right) in [
            ("cell = \"lstm\"", "cell = \"ltsm\"", "ltsm", "lstm"),
            ("form = \"torch\"", "form = \"troch\"", "troch", "torch"),
            ("kind = \"adam\"", "kind = \"adma\"", "adma", "adam"),
            ("bias = \"single\"", "bias = \"singel\"", "singel", "single"),
            (
                "loss = \"cross-entropy\"",
                "loss = \"crossentropy\"",
                "crossentropy",
                "cross-entropy",
            ),
        ] {
            let message = edited(old, new);
            let start = format!("mine.toml:{}: unknown value `{wrong}`", line_number(old));
            assert!(message.starts_with(&start), "{message}\n{start}");
            assert!(
                message.contains(&format!("(did you mean `{right}`?)")),
                "{message}"
            );
        }
    }

    #[test]
    fn other_errors_in_a_file() {
        let message = edited("seed = 0\n", "");
        assert!(message.contains("the key `seed` is missing"), "{message}");
        let message = edited("epochs = 2", "epochs = -2");
        assert!(
            message.contains(&format!("mine.toml:{}:", line_number("epochs"))),
            "{message}"
        );
        assert!(message.contains("expected a whole number"), "{message}");
        let message = edited("epochs = 2", "epochs = [2");
        assert!(
            message.starts_with("mine.toml:") && !message.contains('\n'),
            "{message}"
        );
    }

    #[test]
    fn set_edits_any_field() {
        let mut recipe = mnist();
        let edits = [
            "epochs=7",
            "network.layer.0.hidden_size = 64",
            "network.layer.0.cell=gru",
            "network.layer.0.bias=\"none\"",
            "optimizer.lr=1",
            "clip_norm=0.5",
            "data.path=some/where",
        ];
        recipe.set(&edits).unwrap();
        let layer = &recipe.network.layers[0];
        assert_eq!((recipe.epochs, layer.hidden_size), (7, 64));
        assert_eq!((layer.cell, layer.bias), (Cell::Gru, Bias::None));
        assert_eq!(recipe.clip_norm, Some(0.5));
        assert_eq!(recipe.optimizer.learning_rate(), 1.0);
        let path = recipe.data.source().path();
        assert_eq!(path, Some(Path::new("some/where")));
    }

    #[test]
    fn a_table_that_is_left_out_has_fields_to_set() {
        let mut recipe = mnist();
        (recipe.set(&["parallel.micro_batches=8", "schedule.kind=cosine"])).unwrap();
        assert_eq!(recipe.parallel.micro_batches, 8);
        assert!(matches!(recipe.schedule, Schedule::Cosine { .. }));
        let message = recipe.set(&["parallel.parts=2"]).unwrap_err().to_string();
        assert!(message.contains("unknown key `parts`"), "{message}");
    }

    #[test]
    fn errors_of_set_name_the_assignment() {
        for (edit, expected) in [
            ("epochs", "expected key=value"),
            ("epocs=3", "unknown key `epocs` (did you mean `epochs`?)"),
            (
                "network.layer.0.hiden_size=3",
                "(did you mean `hidden_size`?)",
            ),
            ("network.layer.0.cell=ltsm", "(did you mean `lstm`?)"),
            (
                "network.layer.3.cell=lstm",
                "a number below 1 must follow it, not `3`",
            ),
            ("network.layer.cell=lstm", "not `cell`"),
            ("network.layer.0=3", "unknown key `0`"),
            (
                "netwrok.head.loss=x",
                "there is no `netwrok` (did you mean `network`?)",
            ),
            ("epochs.x=1", "`epochs` is a single value"),
            ("epochs=many", "expected a whole number"),
            ("optimizer.beta=1", "unknown key `beta`"),
            (
                "network.head.init=truncated-normal",
                "as in { truncated-normal = { stddev = 0.1 } }",
            ),
            (
                "network.head.init={truncated-normal={stdev=1.0}}",
                "(did you mean `stddev`?)",
            ),
            ("schedule={kind=\"cosin\"}", "(did you mean `cosine`?)"),
            ("=1", "unknown key ``"),
        ] {
            let mut recipe = mnist();
            let message = recipe.set(&[edit]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{edit}: ")), "{message}");
            assert!(message.contains(expected), "{message}");
            assert_eq!(recipe, mnist());
        }
    }
}

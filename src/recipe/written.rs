//! Recipes as TOML. Strings are written on one line and without characters that act on a terminal,
//! whatever names of columns and classes they are.

use std::fmt::Write;

use serde::Serialize;
use toml::Value;
use toml::ser::Error;

use crate::messages::is_unprintable;

/// Returns a value as TOML.
pub(super) fn to_toml(recipe: &impl Serialize) -> Result<String, Error> {
    let text = toml::to_string(recipe)?;
    // The writer leaves marks of direction as they are, and breaks lines in strings.
    let mut value = Value::try_from(recipe)?;
    let mut replaced = Replaced {
        mark: unused_mark(&text),
        strings: vec![],
    };
    replaced.replace(&mut value);
    if replaced.strings.is_empty() {
        return Ok(text);
    }
    Ok(replaced.restore(&toml::to_string(&value)?))
}

/// A word that the text does not have.
fn unused_mark(text: &str) -> String {
    let mut mark = "gatescan-string".to_string();
    while text.contains(&mark) {
        mark.push('-');
    }
    mark
}

/// The strings that need escapes, of which a value has marks with their numbers.
struct Replaced {
    mark: String,
    strings: Vec<String>,
}

impl Replaced {
    /// Replaces the strings of a value that have unprintable characters by marks.
    fn replace(&mut self, value: &mut Value) {
        match value {
            Value::String(text) if text.contains(is_unprintable) => {
                let mark = format!("{}{}", self.mark, self.strings.len());
                self.strings.push(std::mem::replace(text, mark));
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.replace(value)),
            Value::Table(table) => table.iter_mut().for_each(|(_, value)| self.replace(value)),
            _ => {}
        }
    }

    /// Replaces the marks of a text by the strings, quoted.
    fn restore(&self, text: &str) -> String {
        let start = format!("\"{}", self.mark);
        let mut parts = text.split(start.as_str());
        let mut restored = parts.next().unwrap_or_default().to_string();
        for part in parts {
            let (number, rest) = part.split_once('"').unwrap_or((part, ""));
            let string = number
                .parse()
                .ok()
                .and_then(|number: usize| self.strings.get(number));
            restored += &quoted(string.map_or("", String::as_str));
            restored += rest;
        }
        restored
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_string();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            '\r' => quoted += "\\r",
            c if is_unprintable(c) => {
                // Writing to memory does not fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

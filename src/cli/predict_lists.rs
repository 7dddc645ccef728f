//! The predictions of a model of lists of labels: one list for each sequence.

use std::io::{self, Write};

use gatescan::data::preparation::Preparation;
use gatescan::infer::decoding::DecodedList;
use gatescan::{Model, Result};
use serde_json::{Map, Value};

use super::console::Console;
use super::csv_line;
use super::predict::Format;

/// The columns of a list.
pub const LIST_HEADINGS: [&str; 2] = ["labels", "log_probability"];

/// The names of the labels of a list.
fn names(list: &DecodedList, preparation: &Preparation) -> Vec<String> {
    let labels = list.labels.iter();
    labels
        .map(|&label| preparation.class(label as usize))
        .collect()
}

/// The cells of a list in a line of CSV.
pub fn list_cells(list: &DecodedList, preparation: &Preparation) -> Vec<String> {
    let probability = format!("{:.4}", list.log_probability);
    vec![names(list, preparation).join(" "), probability]
}

/// Adds a list to a JSON object.
pub fn add_list(list: &DecodedList, preparation: &Preparation, object: &mut Map<String, Value>) {
    object.insert("labels".into(), names(list, preparation).into());
    object.insert("log_probability".into(), list.log_probability.into());
}

/// The decoded lists of a data set.
pub struct ListTable<'a> {
    pub model: &'a Model,
    pub lists: Vec<DecodedList>,
}

impl ListTable<'_> {
    /// Prints a line for each list, or a JSON object.
    pub fn print(&self, console: &Console, as_json: bool) -> Result<()> {
        if !as_json && console.print_data(headings())?.is_break() {
            return Ok(());
        }
        for n in 0..self.lists.len() {
            let flow = if as_json {
                console.print_json(self.object(n))?
            } else {
                console.print_data(self.line(n))?
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Writes a file; .npy is refused before.
    pub fn write(&self, file: &mut impl Write, format: Format) -> io::Result<()> {
        if let Format::Json = format {
            let objects: Vec<Value> = (0..self.lists.len()).map(|n| self.object(n)).collect();
            return serde_json::to_writer_pretty(file, &objects).map_err(io::Error::from);
        }
        writeln!(file, "{}", headings())?;
        for n in 0..self.lists.len() {
            writeln!(file, "{}", self.line(n))?;
        }
        Ok(())
    }

    fn line(&self, n: usize) -> String {
        let list = list_cells(&self.lists[n], &self.model.preparation);
        csv_line(&[vec![n.to_string()], list].concat())
    }

    fn object(&self, n: usize) -> Value {
        let mut object = Map::new();
        object.insert("sequence".into(), n.into());
        add_list(&self.lists[n], &self.model.preparation, &mut object);
        object.into()
    }
}

fn headings() -> String {
    let [labels, probability] = LIST_HEADINGS;
    csv_line(&["sequence", labels, probability].map(String::from))
}

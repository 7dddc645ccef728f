//! The predictions of a model of lists of labels: one list for each sequence.

use std::io::{self, Write};

use gatescan::infer::decoding::DecodedList;
use gatescan::{Model, Result};
use serde_json::{Value, json};

use super::console::Console;
use super::csv_line;
use super::predict::Format;

/// The columns of a list.
const HEADINGS: [&str; 3] = ["sequence", "labels", "log_probability"];

/// The decoded lists of a data set.
pub struct ListTable<'a> {
    pub model: &'a Model,
    pub lists: Vec<DecodedList>,
}

impl ListTable<'_> {
    /// Prints a line for each list, or a JSON object.
    pub fn print(&self, console: &Console, as_json: bool) -> Result<()> {
        if !as_json
            && console
                .print_data(csv_line(&HEADINGS.map(String::from)))?
                .is_break()
        {
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
        writeln!(file, "{}", csv_line(&HEADINGS.map(String::from)))?;
        for n in 0..self.lists.len() {
            writeln!(file, "{}", self.line(n))?;
        }
        Ok(())
    }

    fn names(&self, n: usize) -> Vec<String> {
        let labels = self.lists[n].labels.iter();
        let names = labels.map(|&label| self.model.preparation.class(label as usize));
        names.collect()
    }

    fn line(&self, n: usize) -> String {
        let probability = format!("{:.4}", self.lists[n].log_probability);
        csv_line(&[n.to_string(), self.names(n).join(" "), probability])
    }

    fn object(&self, n: usize) -> Value {
        json!({
            "sequence": n,
            "labels": self.names(n),
            "log_probability": self.lists[n].log_probability,
        })
    }
}

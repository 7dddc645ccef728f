//! Printing the confusion matrix and the recall of each class, by the names of the classes.

use gatescan::Evaluation;
use gatescan::low_level::messages::printable;

/// The most letters of a class's name in the table.
const LONGEST_NAME: usize = 16;

/// The confusion matrix as text, with a row for each true class, a column for each predicted one,
/// and a column of recalls; `None` where it is not counted. `names` `[K]` are those of the classes.
pub fn table(evaluation: &Evaluation, names: &[String]) -> Option<String> {
    let (confusion, recalls) = (evaluation.confusion.as_ref()?, evaluation.recalls()?);
    let names = short_names(names);
    let label_width = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let column_width = |class: usize| {
        let counts = confusion.column(class);
        let counts = counts.iter().map(|count| count.to_string().len()).max();
        width(&names[class]).max(counts.unwrap_or(0))
    };
    let widths: Vec<usize> = (0..names.len()).map(column_width).collect();
    let cells = |cells: &mut dyn Iterator<Item = String>| -> String {
        let padded = cells
            .zip(&widths)
            .map(|(cell, &width)| format!("  {cell:>width$}"));
        padded.collect()
    };
    let header = cells(&mut names.iter().cloned());
    let mut lines = vec![
        "classes: a row for each true one, a column for each predicted one".to_string(),
        format!("{:label_width$}{header}  recall", ""),
    ];
    for ((row, name), recall) in confusion.rows().into_iter().zip(&names).zip(recalls) {
        let counts = cells(&mut row.iter().map(u32::to_string));
        let recall = recall.map_or("-".into(), |recall| format!("{recall:.4}"));
        lines.push(format!("{name:label_width$}{counts}  {recall:>6}"));
    }
    Some(lines.join("\n"))
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The names, printable and at most [`LONGEST_NAME`] letters long. Names that are alike when they
/// are cut begin with the number of their class.
fn short_names(names: &[String]) -> Vec<String> {
    let printable = names.iter().map(|name| printable(name).into_owned());
    let printable: Vec<String> = printable.collect();
    let cut: Vec<String> = printable.iter().map(|name| shortened(name)).collect();
    let short = |class: usize| {
        let is_alike = |other: &&String| **other == cut[class];
        if cut.iter().filter(is_alike).count() > 1 {
            shortened(&format!("{class}:{}", printable[class]))
        } else {
            cut[class].clone()
        }
    };
    (0..names.len()).map(short).collect()
}

/// A name whose middle is left out where it is too long: names often differ at their ends.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= LONGEST_NAME {
        return name.to_string();
    }
    let tail = LONGEST_NAME / 2 - 1;
    let head = LONGEST_NAME - tail - 1;
    let end = &letters[letters.len() - tail..];
    letters[..head].iter().chain(&['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation() -> Evaluation {
        Evaluation {
            heads: vec![],
            metrics: None,
            loss: 0.0,
            accuracy: None,
            last_step_loss: None,
            ranks: None,
            confusion: Some(ndarray::arr2(&[[5, 0, 120], [0, 0, 0], [1, 2, 30]])),
            sequences: 158,
            sequences_per_second: 1.0,
            seconds: 158.0,
        }
    }

    fn names(names: [&str; 3]) -> Vec<String> {
        names.map(String::from).into()
    }

    #[test]
    fn a_table_is_aligned() {
        let lines = [
            "classes: a row for each true one, a column for each predicted one",
            "      up  a  down  recall",
            "up     5  0   120  0.0400",
            "a      0  0     0       -",
            "down   1  2    30  0.9091",
        ];
        assert_eq!(
            table(&evaluation(), &names(["up", "a", "down"])),
            Some(lines.join("\n"))
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let text = table(
            &evaluation(),
            &names([
                "temperature of the first sensor",
                "temperature of the second sensor",
                "a\nb\u{1b}",
            ]),
        );
        let text = text.expect("it is counted");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[2].starts_with("0:temper… sensor"), "{text}");
        assert!(lines[3].starts_with("1:temper… sensor"), "{text}");
        assert!(lines[4].starts_with("a\\nb\\u{1b}"), "{text}");
        let width = |line: &str| line.chars().count();
        assert!(
            lines[1..].iter().all(|line| width(line) == width(lines[1])),
            "{text}"
        );
    }
}

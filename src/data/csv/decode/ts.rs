//! The format `.ts` of the time-series archives: a header of lines that begin with `@`, then a
//! sequence on each line, its dimensions divided by colons and its values by commas.

use super::{ArchiveColumns, ConvertedTable, SequenceTable, value_cell};
use crate::messages::{excerpt, listed};

/// The column of times, if the file has them.
const TIME: &str = "time";
/// The most classes that a message lists.
const MOST_LISTED: usize = 20;

/// The header of a file.
#[derive(Debug, Default)]
struct TsHeader {
    dimensions: Option<usize>,
    has_times: bool,
    series_length: Option<usize>,
    target: TsTarget,
}

/// The meaning of the last part of each line.
#[derive(Debug, Default)]
enum TsTarget {
    #[default]
    None,
    /// One of these classes, if there are any.
    Class(Vec<String>),
    Value,
}

impl TsTarget {
    fn column(&self) -> Option<&'static str> {
        match self {
            TsTarget::None => None,
            TsTarget::Class(_) => Some("class"),
            TsTarget::Value => Some("target"),
        }
    }
}

/// Returns the sequences as a table.
///
/// # Errors
/// A clause on the first line that is not as the format says.
pub(super) fn to_csv(text: &str) -> Result<ConvertedTable, String> {
    let mut lines = text.lines().zip(1..);
    let header = read_header(&mut lines)?;
    let mut sequences = Sequences::new(&header);
    for (line, number) in lines {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let added = sequences.add(line, number, &header);
        added.map_err(|problem| format!("line {number}: {problem}"))?;
    }
    sequences.finish(&header)
}

/// Reads the lines up to `@data`.
fn read_header<'a>(lines: &mut impl Iterator<Item = (&'a str, usize)>) -> Result<TsHeader, String> {
    let mut header = TsHeader::default();
    for (line, number) in lines {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or_default().to_ascii_lowercase();
        let rest: Vec<&str> = words.collect();
        let refused = |problem: &str| format!("line {number}: `{}` {problem}", excerpt(line));
        let flag = || match rest
            .first()
            .map(|word| word.to_ascii_lowercase())
            .as_deref()
        {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(refused("must be followed by true or false")),
        };
        let count = || {
            let count = rest.first().and_then(|word| word.parse::<usize>().ok());
            let count = count.filter(|&count| count > 0);
            count.ok_or_else(|| refused("must be followed by a whole number above 0"))
        };
        match key.as_str() {
            "@data" => return Ok(header),
            "@timestamps" => header.has_times = flag()?,
            "@univariate" if flag()? => header.dimensions = Some(1),
            "@dimensions" | "@dimension" => header.dimensions = Some(count()?),
            "@serieslength" => header.series_length = Some(count()?),
            "@classlabel" if flag()? => {
                let classes = rest[1..].iter().map(|class| class.to_string());
                header.target = TsTarget::Class(classes.collect());
            }
            "@targetlabel" if flag()? => header.target = TsTarget::Value,
            "@problemname" | "@missing" | "@univariate" | "@equallength" | "@classlabel"
            | "@targetlabel" => {}
            _ if key.starts_with('@') => {}
            _ => return Err(refused("is a line of data above @data")),
        }
    }
    Err("has no line `@data`".into())
}

/// The sequences that have been read.
struct Sequences {
    /// `None` before the first.
    table: Option<SequenceTable>,
    dimensions: usize,
    /// The line of the first sequence whose length the header does not give, and its length.
    other_length: Option<(usize, usize)>,
}

impl Sequences {
    fn new(header: &TsHeader) -> Sequences {
        Sequences {
            table: None,
            dimensions: header.dimensions.unwrap_or(0),
            other_length: None,
        }
    }

    fn add(&mut self, line: &str, number: usize, header: &TsHeader) -> Result<(), String> {
        let mut parts = divided(line, ':');
        let target = match &header.target {
            TsTarget::None => None,
            target => Some(target_of(parts.pop(), target)?),
        };
        if self.table.is_none() && self.dimensions == 0 {
            self.dimensions = parts.len();
        }
        if parts.len() != self.dimensions || parts.is_empty() {
            return Err(format!(
                "there are {} dimensions, divided by colons{}, where {} are expected",
                parts.len(),
                if target.is_some() {
                    " and before the last part"
                } else {
                    ""
                },
                self.dimensions.max(1)
            ));
        }
        let values = if header.has_times {
            timed_values(&parts)?
        } else {
            plain_values(&parts)?
        };
        let steps = values.iter().map(Vec::len).max().unwrap_or(0);
        if steps == 0 {
            return Err("the sequence has no value".into());
        }
        if header.series_length.is_some_and(|length| length != steps) {
            self.other_length.get_or_insert((number, steps));
        }
        let dimensions = self.dimensions;
        let table = self.table.get_or_insert_with(|| {
            let names = (0..dimensions).map(|n| format!("dim_{n}"));
            let time = header.has_times.then(|| TIME.to_string());
            let inputs: Vec<String> = time.into_iter().chain(names).collect();
            SequenceTable::new(&inputs, header.target.column())
        });
        table.add(&values, target)
    }

    fn finish(self, header: &TsHeader) -> Result<ConvertedTable, String> {
        let Some(table) = self.table else {
            return Err("has no sequence after @data".into());
        };
        let mut notes = vec![format!(
            "the file is of the format .ts: {} sequences become rows, one for each step, with \
             their number in the column `{}`",
            table.cases,
            super::CASE
        )];
        if let (Some((line, steps)), Some(length)) = (self.other_length, header.series_length) {
            notes.push(format!(
                "line {line} has {steps} steps, although the file says @seriesLength {length}"
            ));
        }
        Ok(ConvertedTable {
            text: table.csv.text,
            notes,
            columns: Some(ArchiveColumns {
                case: super::CASE.into(),
                target: header.target.column().map(str::to_string),
            }),
            nominal: match header.target {
                TsTarget::Class(_) => vec!["class".into()],
                TsTarget::Value | TsTarget::None => vec![],
            },
        })
    }
}

/// Returns the class or value at the end of a line; an empty one for a missing one.
fn target_of<'a>(part: Option<&'a str>, target: &TsTarget) -> Result<&'a str, String> {
    let part = part.unwrap_or_default().trim();
    match target {
        TsTarget::Class(classes) if classes.is_empty() || classes.iter().any(|c| c == part) => {
            Ok(part)
        }
        TsTarget::Class(_) if part == "?" => Ok(""),
        TsTarget::Class(classes) => {
            let names: Vec<&str> = classes
                .iter()
                .take(MOST_LISTED)
                .map(String::as_str)
                .collect();
            let (part, names) = (excerpt(part), listed(&names));
            Err(format!(
                "`{part}` is no class of @classLabel, which lists {names}"
            ))
        }
        TsTarget::Value | TsTarget::None => value_cell(part).ok_or_else(|| {
            format!(
                "the target is `{}`; it must be a finite number",
                excerpt(part)
            )
        }),
    }
}

/// Returns the values of each dimension.
fn plain_values<'a>(parts: &[&'a str]) -> Result<Vec<Vec<&'a str>>, String> {
    let of_part = |(dimension, part): (usize, &&'a str)| {
        if part.trim().is_empty() {
            return Ok(vec![]);
        }
        let cells = part.split(',');
        cells
            .map(|cell| value_cell(cell).ok_or_else(|| no_value(dimension, cell)))
            .collect()
    };
    parts.iter().enumerate().map(of_part).collect()
}

/// Returns the times, and the values of each dimension, of parts such as `(0,1.5),(1,2.5)`.
fn timed_values<'a>(parts: &[&'a str]) -> Result<Vec<Vec<&'a str>>, String> {
    let mut found: Vec<Vec<&str>> = vec![vec![]];
    for (dimension, part) in parts.iter().enumerate() {
        let (mut times, mut values) = (vec![], vec![]);
        for pair in divided(part, ',')
            .into_iter()
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let inner = pair
                .strip_prefix('(')
                .and_then(|pair| pair.strip_suffix(')'));
            let divided = inner.and_then(|inner| inner.rsplit_once(','));
            let (time, value) = divided.ok_or_else(|| {
                let pair = excerpt(pair);
                format!("dimension {dimension} has `{pair}`; it must be a pair of time and value")
            })?;
            times.push(time.trim());
            values.push(value_cell(value).ok_or_else(|| no_value(dimension, value))?);
        }
        let is_same = times
            .iter()
            .zip(&found[0])
            .all(|(time, other)| time == other);
        if !is_same {
            return Err(format!(
                "dimension {dimension} has other times than those before; all must have the same"
            ));
        }
        if times.len() > found[0].len() {
            found[0] = times;
        }
        found.push(values);
    }
    Ok(found)
}

fn no_value(dimension: usize, cell: &str) -> String {
    format!(
        "dimension {dimension} has `{}`; it must hold finite numbers, or ? for missing ones",
        excerpt(cell.trim())
    )
}

/// Divides a text at a mark that is not in parentheses.
fn divided(text: &str, mark: char) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == mark && depth == 0
    })
    .collect()
}

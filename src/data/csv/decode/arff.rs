//! The format `.arff` of Weka: declared attributes, then rows. Sequences of the time-series
//! archives are rows of numbered attributes, or relations within a row.

use super::{ArchiveColumns, ConvertedTable, CsvText, SequenceTable, value_cell};
use crate::messages::{excerpt, listed};

/// The fewest numbered attributes that are the steps of a sequence.
const FEWEST_STEPS: usize = 8;
/// The most values that a message lists.
const MOST_LISTED: usize = 20;

/// A declared column.
#[derive(Debug, Clone, PartialEq)]
struct Attribute {
    name: String,
    kind: AttributeKind,
}

#[derive(Debug, Clone, PartialEq)]
enum AttributeKind {
    Numeric,
    Nominal(Vec<String>),
    /// Strings and dates.
    Text,
    /// Rows within a cell, each of one dimension over all time steps.
    Relational,
}

/// A cell of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ArffCell {
    text: String,
    is_missing: bool,
}

/// How rows become CSV.
enum ArffForm {
    Table,
    /// All attributes except the last are steps.
    Wide,
    /// This attribute holds sequences.
    Relational(usize),
}

/// Returns the rows as a table.
///
/// # Errors
/// A clause on the first line that is not as the format says.
pub(super) fn to_csv(text: &str) -> Result<ConvertedTable, String> {
    let mut lines = text.lines().zip(1..);
    let attributes = read_attributes(&mut lines)?;
    let rows = lines.filter_map(|(line, number)| {
        let line = line.trim();
        let is_row = !line.is_empty() && !line.starts_with('%');
        is_row.then(|| {
            let cells = cells_of(line).and_then(|cells| check(cells, &attributes));
            cells.map_err(|problem| format!("line {number}: {problem}"))
        })
    });
    match form_of(&attributes)? {
        ArffForm::Table => table(&attributes, rows),
        ArffForm::Wide => wide(&attributes, rows),
        ArffForm::Relational(column) => relational(&attributes, column, rows),
    }
}

/// Reads the lines up to `@data`.
fn read_attributes<'a>(
    lines: &mut impl Iterator<Item = (&'a str, usize)>,
) -> Result<Vec<Attribute>, String> {
    let mut attributes = vec![];
    // The relation whose attributes are declared.
    let mut within: Option<String> = None;
    for (line, number) in lines {
        let line = line.trim();
        let word = line
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        match word.as_str() {
            "" => {}
            _ if word.starts_with('%') => {}
            "@relation" => {}
            "@data" if attributes.is_empty() => return Err("declares no attribute".into()),
            "@data" => return Ok(attributes),
            "@end" => within = None,
            "@attribute" => {
                let attribute = attribute_of(line["@attribute".len()..].trim())
                    .map_err(|problem| format!("line {number}: {problem}"))?;
                if within.is_some() {
                    continue;
                }
                if attribute.kind == AttributeKind::Relational {
                    within = Some(attribute.name.clone());
                }
                attributes.push(attribute);
            }
            _ => {
                let line = excerpt(line);
                return Err(format!(
                    "line {number}: `{line}` is neither @attribute nor @data nor a comment"
                ));
            }
        }
    }
    Err("has no line `@data`".into())
}

/// Parses a name and a type.
fn attribute_of(text: &str) -> Result<Attribute, String> {
    let (name, rest) = match text.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let mut characters = text[1..].chars();
            let name = quoted(&mut characters, quote)?;
            (name, characters.as_str())
        }
        _ => {
            let end = text
                .find(|c: char| c.is_whitespace() || c == '{')
                .unwrap_or(text.len());
            (text[..end].to_string(), &text[end..])
        }
    };
    let rest = rest.trim();
    let lower = rest.to_ascii_lowercase();
    let kind = match lower.split_whitespace().next().unwrap_or_default() {
        "numeric" | "real" | "integer" => AttributeKind::Numeric,
        "string" | "date" => AttributeKind::Text,
        "relational" => AttributeKind::Relational,
        _ => {
            let values = rest
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            let values = values.ok_or_else(|| {
                format!(
                    "the attribute `{}` is of the type `{}`; it must be numeric, real, integer, \
                     string, date, relational, or names in braces",
                    excerpt(&name),
                    excerpt(rest)
                )
            })?;
            let cells = cells_of(values)?;
            AttributeKind::Nominal(cells.into_iter().map(|cell| cell.text).collect())
        }
    };
    Ok(Attribute { name, kind })
}

/// Divides a row at commas outside of quotes.
fn cells_of(line: &str) -> Result<Vec<ArffCell>, String> {
    if line.starts_with('{') {
        return Err("is a sparse row, which gatescan does not read; \
                    write it with all values (in Weka, SparseToNonSparse)"
            .into());
    }
    let mut cells = vec![];
    let mut characters = line.chars();
    loop {
        let rest = characters.as_str().trim_start();
        characters = rest.chars();
        let cell = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                characters.next();
                ArffCell {
                    text: quoted(&mut characters, quote)?,
                    is_missing: false,
                }
            }
            _ => {
                let end = rest.find(',').unwrap_or(rest.len());
                characters = rest[end..].chars();
                let text = rest[..end].trim();
                ArffCell {
                    text: text.to_string(),
                    is_missing: text == "?" || text.is_empty(),
                }
            }
        };
        cells.push(cell);
        characters = characters.as_str().trim_start().chars();
        match characters.next() {
            Some(',') => {}
            None => return Ok(cells),
            Some(other) => {
                return Err(format!(
                    "`{}` follows a quoted cell; a comma must divide cells",
                    excerpt(&other.to_string())
                ));
            }
        }
    }
}

/// Reads up to the closing quote; a backslash escapes the character after it.
fn quoted(characters: &mut std::str::Chars, quote: char) -> Result<String, String> {
    let mut text = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(other) => text.push(other),
                None => break,
            },
            _ if character == quote => return Ok(text),
            _ => text.push(character),
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

/// Returns the cells of a row if they are of the declared types.
fn check(cells: Vec<ArffCell>, attributes: &[Attribute]) -> Result<Vec<ArffCell>, String> {
    if cells.len() != attributes.len() {
        return Err(format!(
            "there are {} cells where {} attributes are declared",
            cells.len(),
            attributes.len()
        ));
    }
    for (cell, Attribute { name, kind }) in cells.iter().zip(attributes) {
        let refused = |allowed: &str| {
            let (name, text) = (excerpt(name), excerpt(&cell.text));
            Err(format!(
                "the attribute `{name}` has `{text}`; it must be {allowed}"
            ))
        };
        match kind {
            _ if cell.is_missing => {}
            AttributeKind::Numeric if value_cell(&cell.text).is_none() => {
                return refused("a finite number, or ? for a missing one");
            }
            AttributeKind::Nominal(values) if !values.contains(&cell.text) => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                return refused(&listed(&values[..values.len().min(MOST_LISTED)]));
            }
            _ => {}
        }
    }
    Ok(cells)
}

/// Returns whether the rows are sequences.
fn form_of(attributes: &[Attribute]) -> Result<ArffForm, String> {
    let is_relational = |attribute: &Attribute| attribute.kind == AttributeKind::Relational;
    if let Some(column) = attributes.iter().position(is_relational) {
        if attributes.len() > 2 || attributes[column + 1..].iter().any(is_relational) {
            return Err(
                "has a relational attribute and more than one other, which gatescan does \
                        not read"
                    .into(),
            );
        }
        return Ok(ArffForm::Relational(column));
    }
    let Some((_, steps)) = attributes.split_last() else {
        return Ok(ArffForm::Table);
    };
    let is_wide = steps.len() >= FEWEST_STEPS && are_numbered(steps) && !are_numbered(attributes);
    Ok(if is_wide {
        ArffForm::Wide
    } else {
        ArffForm::Table
    })
}

/// Returns whether attributes are numeric and have the same name with consecutive numbers.
fn are_numbered(attributes: &[Attribute]) -> bool {
    let numbered = |attribute: &Attribute| -> Option<(String, u64)> {
        let name = &attribute.name;
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name[stem.len()..].parse().ok()?;
        (attribute.kind == AttributeKind::Numeric).then(|| (stem.to_string(), number))
    };
    let Some((stem, first)) = attributes.first().and_then(numbered) else {
        return false;
    };
    let mut numbers = first..;
    attributes.iter().all(|attribute| {
        numbered(attribute).is_some_and(|own| own.0 == stem && Some(own.1) == numbers.next())
    })
}

impl ArffCell {
    fn csv(&self) -> &str {
        if self.is_missing { "" } else { &self.text }
    }
}

fn table(
    attributes: &[Attribute],
    rows: impl Iterator<Item = Result<Vec<ArffCell>, String>>,
) -> Result<ConvertedTable, String> {
    let mut csv = CsvText::new(attributes.iter().map(|attribute| attribute.name.as_str()));
    for row in rows {
        csv.write_row(row?.iter().map(ArffCell::csv));
        csv.check()?;
    }
    Ok(ConvertedTable {
        text: csv.text,
        notes: vec!["the file is of the format .arff".into()],
        columns: None,
        nominal: nominal(attributes),
    })
}

fn wide(
    attributes: &[Attribute],
    rows: impl Iterator<Item = Result<Vec<ArffCell>, String>>,
) -> Result<ConvertedTable, String> {
    let last = attributes.len() - 1;
    let target = attributes[last].name.as_str();
    let mut table = SequenceTable::new(&["dim_0".to_string()], Some(target));
    for row in rows {
        let row = row?;
        let values = row[..last].iter().map(ArffCell::csv).collect();
        table.add(&[values], Some(row[last].csv()))?;
    }
    let (first, end) = (&attributes[0].name, &attributes[last - 1].name);
    let note = format!(
        "the file is of the format .arff: the attributes `{}` to `{}` are taken as the steps of \
         {} sequences, which become rows, one for each step",
        excerpt(first),
        excerpt(end),
        table.cases
    );
    Ok(sequences(table, attributes, Some(target), note))
}

fn relational(
    attributes: &[Attribute],
    column: usize,
    rows: impl Iterator<Item = Result<Vec<ArffCell>, String>>,
) -> Result<ConvertedTable, String> {
    let other = (0..attributes.len()).find(|&n| n != column);
    let target = other.map(|n| attributes[n].name.as_str());
    let mut table: Option<(SequenceTable, usize)> = None;
    for row in rows {
        let row = row?;
        let dimensions: Vec<Vec<&str>> = row[column]
            .text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.split(',').map(relational_value).collect())
            .collect::<Result<_, String>>()?;
        let (table, expected) = table.get_or_insert_with(|| {
            let names: Vec<String> = (0..dimensions.len()).map(|n| format!("dim_{n}")).collect();
            (SequenceTable::new(&names, target), dimensions.len())
        });
        if dimensions.len() != *expected || dimensions.is_empty() {
            return Err(format!(
                "case {} has {} dimensions, and the first has {expected}; all must have the same",
                table.cases,
                dimensions.len()
            ));
        }
        table.add(&dimensions, other.map(|n| row[n].csv()))?;
    }
    let Some((table, _)) = table else {
        return Err("has no row after @data".into());
    };
    let note = format!(
        "the file is of the format .arff: {} sequences become rows, one for each step",
        table.cases
    );
    Ok(sequences(table, attributes, target, note))
}

fn relational_value(value: &str) -> Result<&str, String> {
    value_cell(value).ok_or_else(|| {
        let value = excerpt(value.trim());
        format!("a sequence has `{value}`; it must hold finite numbers, or ? for missing ones")
    })
}

/// Returns the names of the attributes that hold classes.
fn nominal(attributes: &[Attribute]) -> Vec<String> {
    let is_nominal = |attribute: &&Attribute| matches!(attribute.kind, AttributeKind::Nominal(_));
    attributes
        .iter()
        .filter(is_nominal)
        .map(|attribute| attribute.name.clone())
        .collect()
}

fn sequences(
    table: SequenceTable,
    attributes: &[Attribute],
    target: Option<&str>,
    note: String,
) -> ConvertedTable {
    ConvertedTable {
        text: table.csv.text,
        notes: vec![note],
        nominal: nominal(attributes),
        columns: Some(ArchiveColumns {
            case: super::CASE.into(),
            target: target.map(str::to_string),
        }),
    }
}

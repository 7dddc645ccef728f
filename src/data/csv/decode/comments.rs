//! Lines of comments in a table.

use crate::messages::{counted, excerpt};

/// The characters that begin a comment.
const MARKS: [char; 2] = ['#', '%'];
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// Returns a table in which lines of comments, and a first line such as `sep=;`, are blank, so that
/// lines keep their numbers. A comment with as many cells as the numbers below it is their header.
pub(super) fn without_comments(text: String, notes: &mut Vec<String>) -> String {
    let has_comment =
        text.starts_with(MARKS) || MARKS.iter().any(|mark| text.contains(&format!("\n{mark}")));
    if !has_comment && separator_line(&text).is_none() {
        return text;
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let changes = line_changes(&lines, notes);
    let mut changed = String::with_capacity(text.len());
    for (line, change) in lines.iter().zip(changes) {
        match change {
            LineChange::Keep => changed.push_str(line),
            LineChange::Blank => changed.push_str(line_end(line)),
            LineChange::Uncomment => changed.push_str(line.trim_start_matches(MARKS).trim_start()),
        }
    }
    changed
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineChange {
    Keep,
    Blank,
    Uncomment,
}

/// Returns what to change in each line.
fn line_changes(lines: &[&str], notes: &mut Vec<String>) -> Vec<LineChange> {
    let mut changes = vec![LineChange::Keep; lines.len()];
    let mut first = 0;
    if lines
        .first()
        .is_some_and(|line| separator_line(line).is_some())
    {
        changes[0] = LineChange::Blank;
        first = 1;
    }
    let is_above = |line: &&str| line.trim().is_empty() || line.starts_with(MARKS);
    let above = lines[first..]
        .iter()
        .take_while(|line| is_above(line))
        .count();
    let Some(top) = lines.get(first + above) else {
        return vec![LineChange::Keep; lines.len()];
    };
    let delimiter = delimiter_of(top);
    let below = lines.get(first + above + 1).copied().unwrap_or_default();
    let cells = |line: &str| delimiter.map_or(1, |mark| line.matches(mark).count() + 1);
    let mut comments = vec![];
    let mut header = None;
    for (n, line) in lines.iter().enumerate().skip(first).take(above) {
        if !line.starts_with(MARKS) {
            continue;
        }
        let is_next = n + 1 == first + above;
        match is_next.then(|| header_role(line, [top, below], delimiter)) {
            // The line is the header as it is, and no comment.
            Some(HeaderRole::Plain) => {}
            Some(HeaderRole::Commented) => {
                changes[n] = LineChange::Uncomment;
                header = Some(n);
            }
            Some(HeaderRole::None) | None => {
                changes[n] = LineChange::Blank;
                comments.push(n);
            }
        }
    }
    // A row of the table may begin with a mark, but has as many cells as the header.
    let mut quotes = 0;
    for (n, line) in lines.iter().enumerate().skip(first + above) {
        let is_quoted = quotes % 2 == 1;
        if !is_quoted && line.starts_with(MARKS) && cells(line) != cells(top) {
            changes[n] = LineChange::Blank;
            comments.push(n);
        } else {
            quotes += line.matches('"').count();
        }
    }
    if let Some(n) = comments.first() {
        notes.push(format!(
            "{} with a comment skipped, the first is line {}: `{}`",
            counted(comments.len(), "line"),
            n + 1,
            excerpt(lines[*n].trim_end())
        ));
    }
    if let Some(n) = header {
        let (line, text) = (n + 1, excerpt(lines[n].trim_end()));
        notes.push(format!(
            "line {line}, `{text}`, is taken as the header, because it has as many cells as the \
             numbers below it"
        ));
    }
    changes
}

/// The kind of the comment right above a table.
enum HeaderRole {
    /// A header whose first name begins with a mark.
    Plain,
    /// A header behind a mark.
    Commented,
    None,
}

/// Returns what `line`, which begins with a mark, is to the table that begins with the two lines
/// `rows`.
fn header_role(line: &str, rows: [&str; 2], delimiter: Option<char>) -> HeaderRole {
    let Some(delimiter) = delimiter else {
        return HeaderRole::None;
    };
    let [has_numbers, numbers_below] = rows.map(|row| {
        let mut cells = row.split(delimiter);
        cells.any(|cell| cell.trim().parse::<f64>().is_ok())
    });
    let is_as_wide = line.matches(delimiter).count() == rows[0].matches(delimiter).count();
    // A line without numbers above numbers is the header itself.
    if !is_as_wide || !has_numbers && numbers_below {
        return HeaderRole::None;
    }
    let name = line.trim_start_matches(MARKS).split(delimiter).next();
    if name.is_some_and(|name| name.trim().is_empty()) {
        HeaderRole::Plain
    } else {
        HeaderRole::Commented
    }
}

fn delimiter_of(line: &str) -> Option<char> {
    let most = DELIMITERS
        .into_iter()
        .max_by_key(|&mark| line.matches(mark).count());
    most.filter(|&mark| line.contains(mark))
}

/// Returns the delimiter that spreadsheets write into a first line such as `sep=;`.
fn separator_line(text: &str) -> Option<char> {
    let first = text.lines().next()?.trim_matches('"');
    let mark = first.strip_prefix("sep=")?;
    let mut characters = mark.chars();
    let character = characters.next()?;
    (characters.next().is_none() && character.is_ascii()).then_some(character)
}

fn line_end(line: &str) -> &str {
    &line[line.trim_end_matches(['\r', '\n']).len()..]
}

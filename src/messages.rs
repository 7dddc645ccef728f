//! Parts of messages: printable names, lists of names, suggestions for misspelt names, indices,
//! sizes in bytes.

use std::borrow::Cow;
use std::path::Path;

/// Returns `" (did you mean `X`?)"` with the candidate X that is most similar to `word` by the
/// Jaro-Winkler similarity, or nothing if no similarity exceeds 0.7.
pub(crate) fn did_you_mean(word: &str, candidates: &[&str]) -> String {
    candidates
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!(" (did you mean `{candidate}`?)"))
        .unwrap_or_default()
}

/// Joins quoted names, as in "`a`, `b` or `c`".
pub(crate) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Joins names, the first ten of them, as in "a, b and 3 more".
pub(crate) fn named(names: &[String]) -> String {
    const MOST_NAMED: usize = 10;
    let first = names.iter().take(MOST_NAMED).map(|name| excerpt(name));
    let first = first.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Whether a character acts on a terminal or on the order of a text, or cannot be seen: control
/// characters, line and paragraph separators, marks of direction, and other invisible ones.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns a text from outside, such as a name in a file, for a message or a table: one line
/// without characters that act on a terminal. Those are written as in Rust, `\n` or `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable)
}

/// [`printable`] for a text of several lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unprintable(c) && c != '\n')
}

/// [`printable`] for prose, with its lines and tabs.
pub fn printable_text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unprintable(c) && c != '\n' && c != '\t')
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Returns a path for a message, as [`printable`] does.
pub fn shown_path(path: &Path) -> String {
    printable(&path.display().to_string()).into_owned()
}

/// The first characters of a text from a file for a message, as [`printable`] returns them.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let end = text.char_indices().nth(LONGEST).map(|(end, _)| end);
    let start = printable(&text[..end.unwrap_or(text.len())]).into_owned();
    if end.is_some() { start + "..." } else { start }
}

/// Returns a count with its noun, as in "1 row" or "2 rows".
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Formats bytes in MiB with one decimal, as in "12.5 MiB".
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// Returns the index of element `at` of a row-major array.
pub(crate) fn element_index(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let position = at % extent.max(1);
            at /= extent.max(1);
            position
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_similar_names_are_suggested() {
        let names = ["hidden_size", "batch_size"];
        assert_eq!(
            did_you_mean("hiden_size", &names),
            " (did you mean `hidden_size`?)"
        );
        assert_eq!(did_you_mean("xyz", &names), "");
    }

    #[test]
    fn names_from_outside_are_printable() {
        let name = "a\u{1b}[31mb\nc\u{202e}d\u{9b}e\u{2028}\u{7f}";
        let shown = r"a\u{1b}[31mb\nc\u{202e}d\u{9b}e\u{2028}\u{7f}";
        assert_eq!(printable(name), shown);
        assert_eq!(printable(shown), shown);
        assert_eq!(printable_lines("a\nb\u{1b}"), "a\nb\\u{1b}");
        // Letters of any language, and marks on them, are as they are.
        let plain = "\u{e9} e\u{301} \u{6f22} \"it's\" C:\\x \u{1f600}";
        assert_eq!(printable(plain), plain);
        assert_eq!(shown_path(Path::new("runs/a\u{1b}b")), r"runs/a\u{1b}b");
        let long = "\n".repeat(65_536);
        assert_eq!(excerpt(&long), "\\n".repeat(60) + "...");
    }

    #[test]
    fn names_are_listed_with_or() {
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&[]), "");
    }

    #[test]
    fn elements_are_counted_row_by_row() {
        assert_eq!(element_index(23, &[2, 3, 4]), [1, 2, 3]);
        assert_eq!(element_index(5, &[6]), [5]);
    }
}

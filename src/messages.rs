//! Parts of messages: lists of names, suggestions for misspelt names, indices, sizes in bytes.

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
    let first = names[..names.len().min(MOST_NAMED)].join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The first characters of a text from a file, with control characters escaped, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let start = text.chars().take(LONGEST).flat_map(char::escape_debug);
    let is_longer = text.chars().nth(LONGEST).is_some();
    let rest = if is_longer { "..." } else { "" };
    start.chain(rest.chars()).collect()
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

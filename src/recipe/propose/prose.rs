//! Whether a text is prose, and no table.

/// Lines that are looked at.
const MOST_LINES: usize = 200;
/// The fewest words of a line of prose.
const FEWEST_WORDS: usize = 4;

/// Returns whether most lines are words without numbers. Paragraphs may be divided by blank lines.
pub(super) fn is_prose(text: &str) -> bool {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(MOST_LINES)
        .collect();
    let prose = lines.iter().filter(|line| is_line_of_prose(line)).count();
    // Headings, verses and speakers are short, but hold no numbers either.
    let numbers = lines
        .iter()
        .filter(|line| line.bytes().any(|byte| byte.is_ascii_digit()))
        .count();
    lines.len() > 1 && 2 * prose > lines.len() && 5 * numbers <= lines.len()
}

fn is_line_of_prose(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_word = |word: &&&str| {
        word.chars()
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '"')
    };
    let letters = words.iter().filter(is_word).count();
    words.len() >= FEWEST_WORDS && 5 * letters >= 4 * words.len() && !line.contains(['\t', ';'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_prose_and_tables_are_not() {
        assert!(is_prose(
            &"It was a dark night, said the captain.\n".repeat(40)
        ));
        assert!(is_prose(
            "MARLOW\n\nThe sea was calm that night, and we slept.\n\nNobody spoke to us.\n"
        ));
        assert!(!is_prose("time,speed\n0,1.5\n1,2.5\n"));
        assert!(!is_prose(
            "station name and place,level of the river\nthe old mill,5\nthe new mill,6\n"
        ));
        assert!(!is_prose(""));
    }
}

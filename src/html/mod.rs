//! HTML pages that contain their style sheet, and the charts in them.

pub(crate) mod chart;

use crate::messages::printable_lines;

/// Returns an HTML page that needs no other file; `body` is HTML.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n{body}</html>\n",
        escape(title),
        include_str!("page.css"),
    )
}

/// Replaces the characters that have a meaning in HTML, and those that are not printable.
pub(crate) fn escape(text: &str) -> String {
    let text = printable_lines(text);
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// Formats a value with at most four digits after the point, without trailing zeros.
pub(crate) fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_with_a_meaning_in_html_are_escaped() {
        let escaped = escape("<b a=\"1\">&amp;");
        assert_eq!(escaped, "&lt;b a=&quot;1&quot;&gt;&amp;amp;");
        assert_eq!(escape("a\n\u{1b}\u{202e}"), "a\n\\u{1b}\\u{202e}");
    }
}

//! Common parts of HTML pages: head and style, escaped text, ticks of axes.

/// Returns a self-contained HTML page; `title` is text, `body` is HTML.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n{body}</html>\n",
        escape(title),
        include_str!("page.css"),
    )
}

/// Escapes the characters that HTML reserves.
pub(crate) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// The distance between ticks of an axis: the smallest of 1, 2 or 5 times a power of ten that
/// divides
/// `range` into at most `count` intervals.
pub(crate) fn tick(range: f64, count: f64) -> f64 {
    let decade = 10_f64.powf((range / count).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * decade * count >= range);
    decade * factor.unwrap_or(10.0)
}

/// Formats `value` with at most four decimals and without trailing zeros.
pub(crate) fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_at_round_values() {
        for (range, count, expected) in [
            (0.0229, 10.0, 0.005),
            (0.58, 10.0, 0.1),
            (1.0, 10.0, 0.1),
            (0.012, 10.0, 0.002),
            (7.0, 5.0, 2.0),
        ] {
            let found = tick(range, count);
            assert!((found / expected - 1.0).abs() < 1e-9, "{range}: {found}");
        }
    }

    #[test]
    fn reserved_characters_are_escaped() {
        let escaped = escape("<b a=\"1\">&amp;");
        assert_eq!(escaped, "&lt;b a=&quot;1&quot;&gt;&amp;amp;");
    }
}

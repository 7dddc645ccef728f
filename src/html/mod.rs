//! What the pages that gatescan writes share: head and style, text that is safe in them, ticks of axes.

/// A page of HTML that needs nothing beside it; `body` is HTML already.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n{body}</html>\n",
        escape(title),
        include_str!("page.css"),
    )
}

pub(crate) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// A step of 1, 2 or 5 times a power of ten that divides `range` into no more than `most`.
pub(crate) fn tick(range: f64, most: f64) -> f64 {
    let decade = 10_f64.powf((range / most).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * decade * most >= range);
    decade * factor.unwrap_or(10.0)
}

/// As few digits as say it.
pub(crate) fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (range, most, expected) in [
            (0.0229, 10.0, 0.005),
            (0.58, 10.0, 0.1),
            (1.0, 10.0, 0.1),
            (0.012, 10.0, 0.002),
            (7.0, 5.0, 2.0),
        ] {
            let found = tick(range, most);
            assert!((found / expected - 1.0).abs() < 1e-9, "{range}: {found}");
        }
    }

    #[test]
    fn what_means_something_in_html_is_escaped() {
        let escaped = escape("<b a=\"1\">&amp;");
        assert_eq!(escaped, "&lt;b a=&quot;1&quot;&gt;&amp;amp;");
    }
}

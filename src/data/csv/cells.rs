//! Numbers and missing values in the cells of a table.

/// Cells that hold no value, besides empty ones, unless the recipe names others.
const MISSING_MARKS: [&str; 6] = ["na", "n/a", "nan", "null", "none", "?"];

/// How the cells of a table hold numbers and missing values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellFormat<'a> {
    /// The character between the whole part and the fraction of a number.
    pub decimal: char,
    /// The character between groups of three digits, if there is one.
    pub thousands: Option<char>,
    /// Cells that hold no value, besides empty ones, in any case; `None` for the usual marks.
    pub missing_marks: Option<&'a [String]>,
}

impl Default for CellFormat<'_> {
    /// Numbers with a decimal point.
    fn default() -> Self {
        CellFormat {
            decimal: '.',
            thousands: None,
            missing_marks: None,
        }
    }
}

impl CellFormat<'_> {
    /// Returns whether a cell holds no value.
    pub fn is_missing(&self, cell: &str) -> bool {
        let is_mark = |mark: &str| cell.eq_ignore_ascii_case(mark);
        cell.is_empty()
            || match self.missing_marks {
                Some(marks) => marks.iter().any(|mark| is_mark(mark)),
                None => MISSING_MARKS.iter().any(|mark| is_mark(mark)),
            }
    }

    /// Returns whether a cell of a column of classes holds no class: a class may have the name of a
    /// usual mark.
    #[cfg(feature = "tables")]
    pub fn is_missing_class(&self, cell: &str) -> bool {
        cell.is_empty() || self.missing_marks.is_some() && self.is_missing(cell)
    }

    /// Returns the finite number in a cell, NaN for a missing one, and `None` for any other text.
    pub fn number(&self, cell: &str) -> Option<f64> {
        if self.is_missing(cell) {
            return Some(f64::NAN);
        }
        let is_plain = |c: char| c.is_ascii_digit() || "+-eE.".contains(c);
        let number: Option<f64> = if self.decimal == '.' && cell.chars().all(is_plain) {
            cell.parse().ok()
        } else {
            self.plain(cell).and_then(|plain| plain.parse().ok())
        };
        number.filter(|value| value.is_finite())
    }

    /// Returns a number with a decimal point and without separators of thousands; `None` for a text
    /// that is not of this format.
    fn plain(&self, cell: &str) -> Option<String> {
        let cell = cell
            .strip_prefix('\u{2212}')
            .map(|rest| format!("-{rest}"))
            .unwrap_or(cell.into());
        let end = cell.find(['e', 'E']).unwrap_or(cell.len());
        let (mantissa, exponent) = cell.split_at(end);
        let (whole, fraction) = match mantissa.split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let digits = whole.trim_start_matches(['+', '-']);
        let sign = &whole[..whole.len() - digits.len()];
        let digits = self.ungrouped(digits, fraction.is_some())?;
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let fraction = fraction.unwrap_or_default();
        let exponent_digits = exponent.trim_start_matches(['e', 'E', '+', '-']);
        (sign.len() <= 1 && is_number(&digits) && is_number(fraction) && is_number(exponent_digits))
            .then(|| format!("{sign}{digits}.{fraction}{exponent}"))
    }

    /// Returns the digits of a whole part without separators of thousands, which must be between
    /// groups of three. Without a configured separator, the usual one is read where nothing else
    /// can be meant.
    fn ungrouped(&self, digits: &str, has_fraction: bool) -> Option<String> {
        let usual = if self.decimal == ',' { '.' } else { ',' };
        let separator = self.thousands.unwrap_or(usual);
        if !digits.contains(separator) {
            return Some(digits.to_string());
        }
        let groups: Vec<&str> = digits.split(separator).collect();
        let are_three = groups[1..].iter().all(|group| group.len() == 3);
        // One group, as in 1,234, may as well be a decimal comma.
        let is_clear =
            self.thousands.is_some() || self.decimal != '.' || has_fraction || groups.len() > 2;
        let first = (1..=3).contains(&groups[0].len());
        (are_three && first && is_clear).then(|| groups.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_their_format() {
        let point = CellFormat::default();
        let comma = CellFormat {
            decimal: ',',
            ..point
        };
        let grouped = CellFormat {
            thousands: Some(','),
            ..point
        };
        for (format, cell, expected) in [
            (point, "-1.5e3", Some(-1500.0)),
            (point, "1700000000.25", Some(1_700_000_000.25)),
            (point, "\u{2212}2", Some(-2.0)),
            (point, "1,234.5", Some(1234.5)),
            (point, "1,234,567", Some(1_234_567.0)),
            (point, "1,234", None),
            (point, "20,0", None),
            (point, "1,23.4", None),
            (point, "inf", None),
            (point, "1e999", None),
            (point, "--1", None),
            (point, ".", None),
            (point, "", None.or(Some(f64::NAN))),
            (comma, "20,0", Some(20.0)),
            (comma, "-1.234,5", Some(-1234.5)),
            (comma, "1.234", Some(1234.0)),
            (comma, "1.5", None),
            (comma, "7", Some(7.0)),
            (grouped, "1,234", Some(1234.0)),
        ] {
            let number = format.number(cell);
            let agrees = match (number, expected) {
                (Some(number), Some(expected)) => {
                    number == expected || number.is_nan() && expected.is_nan()
                }
                (number, expected) => number == expected,
            };
            assert!(agrees, "{cell}: {number:?}");
        }
    }

    #[test]
    fn missing_marks_replace_the_usual_ones() {
        let usual = CellFormat::default();
        assert!(usual.is_missing("NA") && usual.is_missing("") && !usual.is_missing("-"));
        assert!(!usual.is_missing_class("none") && usual.is_missing_class(""));
        let marks = ["-".to_string()];
        let own = CellFormat {
            missing_marks: Some(&marks),
            ..usual
        };
        assert!(own.is_missing("-") && own.is_missing_class("-") && !own.is_missing("NA"));
        assert_eq!(own.number("NA"), None);
    }
}

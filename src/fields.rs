//! Checks of the fields of a configuration. Errors name the field's path, its value and what is
//! allowed.

use std::fmt::Display;

use crate::error::{Error, Result};

/// Whether a field has its default value, so that a recipe need not write it.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Refuses the value of `field` unless it is `allowed`; `range` completes "it must be".
pub(crate) fn require(allowed: bool, field: &str, value: impl Display, range: &str) -> Result<()> {
    if allowed {
        Ok(())
    } else {
        Err(Error::invalid(field, value, range))
    }
}

/// Refuses 0.
pub(crate) fn count(field: &str, value: usize) -> Result<()> {
    require(value > 0, field, value, "at least 1")
}

/// Refuses 0 in a field that may be left out.
pub(crate) fn optional_count(field: &str, value: Option<usize>) -> Result<()> {
    let allowed = "at least 1, or left out";
    value.map_or(Ok(()), |value| require(value > 0, field, value, allowed))
}

/// Refuses what is not a finite number above 0.
pub(crate) fn positive(field: &str, value: f64) -> Result<()> {
    let allowed = value.is_finite() && value > 0.0;
    require(allowed, field, value, "a finite number above 0")
}

/// Refuses what is not a finite number above 0 in a field that may be left out.
pub(crate) fn optional_positive(field: &str, value: Option<f64>) -> Result<()> {
    let allowed = value.is_none_or(|value| value.is_finite() && value > 0.0);
    let range = "a finite number above 0, or left out";
    require(allowed, field, value.unwrap_or_default(), range)
}

/// Refuses what is not a finite number of at least 0.
pub(crate) fn not_negative(field: &str, value: f64) -> Result<()> {
    let allowed = value.is_finite() && value >= 0.0;
    require(allowed, field, value, "a finite number, at least 0")
}

/// Refuses what is not in [0, 1).
pub(crate) fn fraction(field: &str, value: f64) -> Result<()> {
    let allowed = (0.0..1.0).contains(&value);
    require(allowed, field, value, "at least 0 and below 1")
}

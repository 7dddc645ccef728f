//! The steps ahead that a forecast predicts.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Result;
use crate::fields;

/// Rows from an input to its targets: one number, or all of a range that one network predicts at
/// once. Written as `3` or `[1, 24]`; displayed as `3` or `1 to 24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    first: usize,
    last: usize,
}

impl Horizon {
    /// The most steps ahead that one network predicts.
    pub const MOST_STEPS: usize = 4096;

    /// Returns all steps from `first` to `last`, which `validate` checks.
    pub fn range(first: usize, last: usize) -> Horizon {
        Horizon { first, last }
    }

    /// Returns the fewest rows ahead.
    pub fn first(self) -> usize {
        self.first
    }

    /// Returns the most rows ahead.
    pub fn last(self) -> usize {
        self.last
    }

    /// S: the steps ahead that are predicted.
    pub fn steps(self) -> usize {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Returns whether several steps ahead are predicted at once.
    pub fn is_several(self) -> bool {
        self.steps() > 1
    }

    /// Returns the rows ahead of each step.
    pub fn ahead(self) -> RangeInclusive<usize> {
        self.first..=self.last
    }

    /// Returns the names of the targets of all steps, those of one step side by side: the names
    /// themselves for one step, else with the rows ahead, as in `level+3`.
    pub fn output_names(self, targets: &[String]) -> Vec<String> {
        if !self.is_several() {
            return targets.to_vec();
        }
        let of_step = |ahead: usize| targets.iter().map(move |name| format!("{name}+{ahead}"));
        self.ahead().flat_map(of_step).collect()
    }

    /// Refuses a range that descends or is too long.
    pub(super) fn validate(self) -> Result<()> {
        let allowed = format!(
            "one whole number, or [FIRST, LAST] with FIRST at least 1, LAST not below it, and at \
             most {} steps",
            Horizon::MOST_STEPS
        );
        let is_allowed = self.first == self.last
            || self.first >= 1 && self.first < self.last && self.steps() <= Horizon::MOST_STEPS;
        let value = format!("[{}, {}]", self.first, self.last);
        fields::require(is_allowed, "data.horizon", value, &allowed)
    }
}

impl From<usize> for Horizon {
    fn from(ahead: usize) -> Horizon {
        Horizon::range(ahead, ahead)
    }
}

impl fmt::Display for Horizon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.last)
        } else {
            write!(f, "{} to {}", self.first, self.last)
        }
    }
}

impl Serialize for Horizon {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            self.last.serialize(serializer)
        } else {
            [self.first, self.last].serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Horizon {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Horizon, D::Error> {
        deserializer.deserialize_any(HorizonVisitor)
    }
}

struct HorizonVisitor;

impl<'de> Visitor<'de> for HorizonVisitor {
    type Value = Horizon;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a whole number of rows, or two of them as in [1, 24]")
    }

    fn visit_u64<E: serde::de::Error>(self, ahead: u64) -> Result<Horizon, E> {
        let ahead = usize::try_from(ahead).map_err(E::custom)?;
        Ok(ahead.into())
    }

    fn visit_i64<E: serde::de::Error>(self, ahead: i64) -> Result<Horizon, E> {
        let unexpected = serde::de::Unexpected::Signed(ahead);
        let ahead = usize::try_from(ahead).map_err(|_| E::invalid_value(unexpected, &self))?;
        Ok(ahead.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ends: A) -> Result<Horizon, A::Error> {
        let mut end = |n: usize| {
            let missing = || A::Error::invalid_length(n, &HorizonVisitor);
            ends.next_element::<usize>()?.ok_or_else(missing)
        };
        let (first, last) = (end(0)?, end(1)?);
        match ends.next_element::<usize>()? {
            None => Ok(Horizon::range(first, last)),
            Some(_) => Err(A::Error::invalid_length(3, &HorizonVisitor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        horizon: Horizon,
    }

    #[test]
    fn a_number_and_a_range_are_read_and_written() {
        for (text, horizon) in [
            ("horizon = 3\n", Horizon::from(3)),
            ("horizon = [1, 24]\n", Horizon::range(1, 24)),
        ] {
            let read: Holder = toml::from_str(text).expect("it is valid");
            assert_eq!(read.horizon, horizon);
            assert_eq!(toml::to_string(&read).expect("it is written"), text);
        }
        for (text, expected) in [
            ("horizon = -1", "invalid value"),
            ("horizon = \"1\"", "two of them as in [1, 24]"),
            ("horizon = [1]", "invalid length 1"),
            ("horizon = [1, 2, 3]", "invalid length 3"),
        ] {
            let problem = toml::from_str::<Holder>(text).expect_err("it is invalid");
            assert!(problem.to_string().contains(expected), "{problem}");
        }
    }

    #[test]
    fn ranges_ascend_from_1() {
        for horizon in [Horizon::from(0), 7.into(), Horizon::range(2, 3)] {
            horizon.validate().expect("it is valid");
        }
        for horizon in [
            Horizon::range(0, 3),
            Horizon::range(3, 2),
            Horizon::range(1, 5000),
        ] {
            let problem = horizon.validate().expect_err("it is invalid").to_string();
            assert!(problem.contains("data.horizon is ["), "{problem}");
        }
        let names = Horizon::range(2, 3).output_names(&["a".into(), "b".into()]);
        assert_eq!(names, ["a+2", "b+2", "a+3", "b+3"]);
        assert_eq!(Horizon::from(5).output_names(&["a".into()]), ["a"]);
    }
}

//! The cases of a sweep: every kernel, and every cell with every option; sizes at and around the
//! edges of tiles and workgroups; ordinary, steep, saturated, zero and subnormal values.

mod fill;
mod kernels;
mod networks;
mod optimizers;
mod options;
mod plan;
mod recipe;
mod scene;

use super::Case;

pub use recipe::recipe_cases;

/// The number of cases in a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effort {
    /// Every kernel, cell, option and route: less than a minute on a software driver.
    Quick,
    /// Also more sizes, and every option with every kind of values: minutes.
    Full,
}

impl Effort {
    fn is_full(self) -> bool {
        self == Effort::Full
    }
}

/// Returns all cases of a sweep.
pub fn sweep(effort: Effort) -> Vec<Case> {
    let mut cases = kernels::cases(effort);
    let networks = networks::cases(effort);
    cases.extend(networks.into_iter().map(scene::NetworkCase::into_case));
    cases
}

/// Returns the case of this name, from either sweep; `None` where neither has it.
pub fn sweep_case(id: &str) -> Option<Case> {
    let cases = [Effort::Quick, Effort::Full].into_iter().flat_map(sweep);
    cases.into_iter().find(|case| case.id == id)
}

/// The kind of values with which a case begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    /// In ±1.
    Ordinary,
    /// Inputs and biases in ±40, so that exponents are between 5 and 80.
    Steep,
    /// Inputs and biases in ±10⁴, so that gates saturate and logits are large.
    Saturated,
    Zeros,
    /// Below the smallest normal f32; a driver may replace them with 0.
    Subnormal,
}

impl ValueKind {
    const ALL: [ValueKind; 5] = [
        ValueKind::Ordinary,
        ValueKind::Steep,
        ValueKind::Saturated,
        ValueKind::Zeros,
        ValueKind::Subnormal,
    ];

    fn name(self) -> &'static str {
        match self {
            ValueKind::Ordinary => "ordinary",
            ValueKind::Steep => "steep",
            ValueKind::Saturated => "saturated",
            ValueKind::Zeros => "zeros",
            ValueKind::Subnormal => "subnormal",
        }
    }

    /// Returns the factor for a value in ±1.
    fn scale(self) -> f32 {
        match self {
            ValueKind::Ordinary | ValueKind::Steep | ValueKind::Saturated => 1.0,
            ValueKind::Zeros => 0.0,
            ValueKind::Subnormal => 1e-39,
        }
    }

    /// Returns the factor for an input or a bias in ±1.
    fn input_scale(self) -> f32 {
        match self {
            ValueKind::Steep => 40.0,
            ValueKind::Saturated => 1e4,
            _ => self.scale(),
        }
    }
}

/// Returns the FNV-1a hash of a case's name, which does not depend on the other cases.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn case_names_are_unique() {
        for effort in [Effort::Quick, Effort::Full] {
            let cases = sweep(effort);
            let names: BTreeSet<&String> = cases.iter().map(|case| &case.id).collect();
            assert_eq!(names.len(), cases.len());
        }
    }

    #[test]
    fn every_optimizer_and_clip_is_swept() {
        let cases = networks::cases(Effort::Quick);
        for (optimizer, clip) in optimizers::optimizers() {
            let found = cases
                .iter()
                .any(|case| case.optimizer == optimizer && case.clip == clip);
            assert!(found, "{optimizer:?} {clip:?}");
        }
    }
}

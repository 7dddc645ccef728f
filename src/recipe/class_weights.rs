//! The weights of classes in training.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Result;
use crate::fields;

/// The weights of the classes in the loss and the gradient of training; evaluations are not
/// weighted. The loss is the weighted mean, as in `nn.CrossEntropyLoss(weight=...)` of PyTorch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClassWeights {
    /// `N / (classes * N_c)` for a class with `N_c` of the N targets of the training split, as
    /// `compute_class_weight("balanced")` of scikit-learn.
    Balanced,
    /// By the names of the classes; 1 for those that are not named.
    Given(BTreeMap<String, f32>),
}

impl ClassWeights {
    /// Checks the weights; `field` is their path.
    pub(super) fn validate(&self, field: &str) -> Result<()> {
        let ClassWeights::Given(weights) = self else {
            return Ok(());
        };
        weights.iter().try_for_each(|(name, &weight)| {
            fields::not_negative(&format!("{field}.{name}"), f64::from(weight))
        })
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ClassWeights::Balanced => serializer.serialize_str("balanced"),
            ClassWeights::Given(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClassWeights, D::Error> {
        deserializer.deserialize_any(ClassWeightsVisitor)
    }
}

struct ClassWeightsVisitor;

impl<'de> Visitor<'de> for ClassWeightsVisitor {
    type Value = ClassWeights;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("\"balanced\" or a weight for each class by its name, as in { rare = 5.0 }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ClassWeights, E> {
        match text {
            "balanced" => Ok(ClassWeights::Balanced),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClassWeights, A::Error> {
        BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(ClassWeights::Given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Head {
        class_weights: ClassWeights,
    }

    #[test]
    fn both_forms_are_read_and_written() {
        for text in [
            "class_weights = \"balanced\"\n",
            "[class_weights]\ncat = 2.5\n",
        ] {
            let head: Head = toml::from_str(text).unwrap();
            assert_eq!(toml::to_string(&head).unwrap(), text);
        }
        for text in ["class_weights = \"even\"", "class_weights = 3"] {
            let message = toml::from_str::<Head>(text).unwrap_err().to_string();
            assert!(
                message.contains("expected \"balanced\" or a weight"),
                "{message}"
            );
        }
    }
}

//! Several heads over the same hidden states, each with its own targets and loss.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Head, Loss, Network, Reads};
use crate::error::{Error, Result};
use crate::fields;
use crate::messages::excerpt;

/// The most heads of a network.
const MOST_HEADS: usize = 64;

/// One of several heads: a linear layer of its own over the hidden states that all of them read.
/// Its weights are rows of `head.weight`, after those of the heads before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedHead {
    /// The name of its outputs and metrics.
    pub name: String,
    /// The outputs, as [`Head::size`].
    pub size: usize,
    /// The loss of its outputs.
    pub loss: Loss,
    /// The factor of its loss in the sum that training minimises, above 0.
    pub weight: f32,
}

impl Network {
    /// Returns every head with its outputs and its loss: the only one, or each of several.
    pub fn each_head(&self) -> Vec<Head> {
        if self.heads.is_empty() {
            return vec![self.head];
        }
        let heads = self.heads.iter();
        heads
            .map(|head| Head {
                size: head.size,
                loss: head.loss,
                reads: reads_by(&head.loss, self.head.reads),
                ..self.head
            })
            .collect()
    }

    /// Returns whether any head has a target for each step.
    pub fn has_target_per_step(&self) -> bool {
        self.each_head().iter().any(Head::has_target_per_step)
    }

    /// Returns whether a head of lists of labels reads every step, and others read one vector of a
    /// sequence.
    pub fn has_mixed_reads(&self) -> bool {
        let mut heads = self.each_head().into_iter();
        heads.any(|head| head.reads != self.head.reads)
    }

    /// Returns the network with head `index` of several as its only one.
    pub fn of_head(&self, index: usize) -> Network {
        Network {
            head: self.each_head()[index],
            heads: vec![],
            ..self.clone()
        }
    }

    /// Returns the rows of `head.weight` of head `index` of several.
    pub fn head_rows(&self, index: usize) -> std::ops::Range<usize> {
        let sizes = self.heads.iter().map(|head| head.size);
        let first = sizes.take(index).sum();
        first..first + self.heads[index].size
    }

    /// Returns K of all heads: classes, or values of a target.
    pub fn targets(&self) -> usize {
        self.each_head().iter().map(Head::targets).sum()
    }

    /// Checks the heads and that the whole head is the sum of them.
    pub(super) fn validate_heads(&self) -> Result<()> {
        if self.heads.is_empty() {
            return match self.head.loss {
                Loss::Heads => Err(Error::usage(
                    "network.head has no loss, and there is no [[network.heads]]; set \
                     network.head.loss, or add a [[network.heads]] with a loss for each target",
                )),
                _ => Ok(()),
            };
        }
        if self.head.loss != Loss::Heads {
            return Err(Error::usage(format!(
                "network.head.loss is \"{}\", and each of [[network.heads]] has a loss of its own; \
                 leave out network.head.loss",
                self.head.loss.name()
            )));
        }
        if self.is_tied() {
            return Err(Error::usage(
                "the tied embedding is also the weights of one head, and there are several; leave \
                 out tied, or [[network.heads]]",
            ));
        }
        check_names(self.heads.iter().map(|head| &head.name[..]))?;
        for (index, (head, named)) in self.each_head().iter().zip(&self.heads).enumerate() {
            let path = format!("network.heads.{index}");
            check_loss(&path, &named.loss)?;
            fields::positive(&format!("{path}.weight"), named.weight.into())?;
            head.validate(&path)?;
        }
        if self
            .each_head()
            .iter()
            .all(|head| head.reads != self.head.reads)
        {
            return Err(Error::usage(format!(
                "all of [[network.heads]] have the loss \"ctc\", so they read every step, and \
                 network.head.reads is \"{}\"; set network.head.reads = \"every\"",
                self.head.reads.name()
            )));
        }
        let sum: u128 = self.heads.iter().map(|head| head.size as u128).sum();
        if sum != self.head.size as u128 {
            return Err(Error::usage(format!(
                "network.head.size is {}, and the sizes of network.heads sum to {sum}",
                self.head.size
            )));
        }
        Ok(())
    }
}

/// Returns the reads of one of several heads, whose shared setting is `reads`. A head with lists of
/// labels reads every step.
pub(crate) fn reads_by(loss: &Loss, reads: Reads) -> Reads {
    if loss.takes_lists() {
        Reads::Every
    } else {
        reads
    }
}

/// Refuses a head whose loss is that of several heads.
fn check_loss(path: &str, loss: &Loss) -> Result<()> {
    match loss {
        Loss::Heads => Err(Error::usage(format!(
            "{path}.loss is \"heads\"; it must be a loss of its own, such as \"cross-entropy\""
        ))),
        _ => Ok(()),
    }
}

/// Checks the names of several heads, of which parts of files and columns are made.
pub(crate) fn check_names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Result<()> {
    let count = names.len();
    if !(2..=MOST_HEADS).contains(&count) {
        return Err(Error::usage(format!(
            "there are {count} [[network.heads]]; there must be 2 to {MOST_HEADS}; one head is \
             [network.head]"
        )));
    }
    let mut before = HashSet::new();
    for (index, name) in names.enumerate() {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        fields::require(
            !name.is_empty() && name.chars().all(is_allowed),
            &format!("network.heads.{index}.name"),
            format!("\"{}\"", excerpt(name)),
            "letters, digits, - and _",
        )?;
        if !before.insert(name) {
            return Err(Error::usage(format!(
                "two of [[network.heads]] have the name `{name}`; each must have its own"
            )));
        }
    }
    Ok(())
}

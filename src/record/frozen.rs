//! Parts of a network that are not trained, recorded: no gradient is computed for them, and the
//! update leaves their parameters as they are.

use std::ops::Range;

use super::RecordedNetwork;
use crate::error::{Error, Result};
use crate::messages::{did_you_mean, listed};
use crate::network::{Entry, Network};
use crate::tensor::Tensor;

/// The parts of a network that are not trained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frozen {
    /// The table of tokens, or those of categories.
    embedding: bool,
    /// The layers by their indices; those that are missing are trained.
    layers: Vec<bool>,
    /// The head's weights and bias.
    head: bool,
}

impl Frozen {
    /// Returns the parts with these names: `embedding`, `layer0` (the first layer) and so on,
    /// `head`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that the network does not have, and where nothing is left to
    /// train.
    pub fn new(names: &[String], network: &Network) -> Result<Frozen> {
        let layers = (0..network.layers.len()).map(|index| format!("layer{index}"));
        let embedding = network.has_tables().then(|| "embedding".to_string());
        let parts: Vec<String> = embedding
            .into_iter()
            .chain(layers)
            .chain(["head".into()])
            .collect();
        let known: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let Some(name) = names.iter().find(|name| !parts.contains(name)) {
            return Err(Error::usage(format!(
                "freeze has \"{name}\", which is no part of the network{}; its parts are {}",
                did_you_mean(name, &known),
                listed(&known)
            )));
        }
        let has = |part: &str| names.iter().any(|name| name == part);
        let frozen = Frozen {
            embedding: has("embedding"),
            layers: (0..network.layers.len())
                .map(|index| has(&format!("layer{index}")))
                .collect(),
            head: has("head"),
        };
        if network.is_tied() && frozen.embedding != frozen.head {
            return Err(Error::usage(
                "freeze has one of \"embedding\" and \"head\", and the tied embedding is also \
                 the head's weights; freeze both or none",
            ));
        }
        if parts.iter().all(|part| has(part)) {
            return Err(Error::usage(
                "freeze has every part of the network, so nothing is left to train; leave out at \
                 least one",
            ));
        }
        Ok(frozen)
    }

    /// Whether the layer with this index is not trained.
    pub(super) fn has_layer(&self, index: usize) -> bool {
        self.layers.get(index).copied().unwrap_or(false)
    }

    pub(super) fn has_embedding(&self) -> bool {
        self.embedding
    }

    pub(super) fn has_head(&self) -> bool {
        self.head
    }

    /// The index of the lowest layer that has something to train, or that something below has.
    pub(super) fn lowest_layer(&self, network: &Network) -> usize {
        if network.has_tables() && !self.embedding {
            return 0;
        }
        let count = network.layers.len();
        (0..count)
            .find(|&index| !self.has_layer(index))
            .unwrap_or(count)
    }

    /// Whether the parameter is not trained.
    fn has(&self, entry: &Entry, network: &Network) -> bool {
        match entry.direction {
            Some(index) => self.has_layer(network.directions()[index].layer_index),
            None if entry.role.is_table() => self.embedding,
            None => self.head,
        }
    }
}

impl RecordedNetwork {
    /// Leaves these parts out of the backward pass and the update, which are recorded afterwards.
    pub fn freeze(&mut self, frozen: Frozen) {
        let lowest = frozen.lowest_layer(&self.network);
        let trains_below = self.network.has_tables() && !frozen.has_embedding();
        if frozen != Frozen::default() && !trains_below {
            // Nothing below the lowest layer needs the gradient of what it reads.
            if let Some(layer) = self.layers.get_mut(lowest) {
                layer.dinputs = None;
            }
        }
        self.frozen = frozen;
    }

    /// The ranges of the flat vector of parameters that are trained, as large as possible.
    pub(super) fn trained_ranges(&self) -> Vec<Range<usize>> {
        let all = 0..self.parameters.len();
        if self.frozen == Frozen::default() {
            return vec![all];
        }
        let mut ranges: Vec<Range<usize>> = vec![];
        for entry in &self.entries {
            if self.frozen.has(entry, &self.network) {
                continue;
            }
            let range = entry.range();
            match ranges.last_mut() {
                // Only the gap that aligns the next parameter is between them.
                Some(last) if range.start - last.end < 4 => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }

    /// The part of a flat vector that a range covers.
    pub(super) fn part_of(tensor: Tensor, range: &Range<usize>) -> Tensor {
        tensor.part(range.start, [range.len()])
    }
}

//! Checks of data against the network.

use crate::data::{Dataset, Inputs, MISSING, Targets};
use crate::error::{Error, Result};
use crate::network::{Head, Loss, Network};

/// Returns an error for data that are not valid or do not fit the network.
pub(super) fn check_data(network: &Network, data: &Dataset) -> Result<()> {
    data.check()?;
    check_inputs(network, data)?;
    check_targets(network, data)
}

fn check_inputs(network: &Network, data: &Dataset) -> Result<()> {
    let tokens = matches!(data.inputs, Inputs::Tokens { .. });
    if tokens == network.input.is_values() {
        let (has, takes) = if tokens {
            (
                "tokens",
                "numbers; its `input` must be \"one-hot\" or an embedding",
            )
        } else {
            ("numbers", "tokens; its `input` must be \"values\"")
        };
        return Err(Error::data(format!(
            "the data are {has}, but the network takes {takes}"
        )));
    }
    let (given, needed) = (data.input_size(), network.input_size);
    if given != needed {
        let what = if tokens {
            "tokens in their vocabulary"
        } else {
            "features at each step"
        };
        return Err(Error::data(format!(
            "the data have {given} {what}, but the network takes {needed}"
        )));
    }
    Ok(())
}

/// Returns an error for a loss that does not take these targets.
fn check_loss(loss: Loss, targets: &Targets) -> Result<()> {
    let (has_classes, values) = match targets {
        Targets::Classes { .. } => (true, &[][..]),
        Targets::Values { values, .. } => (false, &values[..]),
        Targets::Heads(_) => {
            return Err(Error::data(
                "the targets are those of several heads within one",
            ));
        }
    };
    if has_classes != loss.takes_classes() {
        let (has, needs) = if has_classes {
            ("classes", "\"cross-entropy\"")
        } else {
            ("values", "one of values, such as \"mean-squared-error\"")
        };
        return Err(Error::data(format!(
            "the targets are {has}, so the head's loss must be {needs}; it is \"{}\"",
            loss.name()
        )));
    }
    let is_label = |value: &f32| (0.0..=1.0).contains(value) || *value == MISSING;
    match values.iter().find(|value| !is_label(value)) {
        Some(value) if loss.takes_labels() => Err(Error::data(format!(
            "a target is {value}, and the head's loss is \"binary-cross-entropy\", so targets must \
             be 0 or 1 (or a probability between them)"
        ))),
        _ => Ok(()),
    }
}

fn check_targets(network: &Network, data: &Dataset) -> Result<()> {
    let (heads, targets) = (network.each_head(), data.targets.each_head());
    let has_several = matches!(data.targets, Targets::Heads(_));
    if heads.len() != targets.len() || has_several == network.heads.is_empty() {
        return Err(Error::data(format!(
            "the data have targets for {} heads, and the network has {}",
            targets.len(),
            heads.len()
        )));
    }
    for (index, (head, targets)) in heads.iter().zip(targets).enumerate() {
        let checked = check_head(head, targets);
        match network.heads.get(index) {
            None => checked?,
            Some(named) => checked.map_err(|error| match error {
                Error::Data(problem) => Error::Data(format!("head `{}`: {problem}", named.name)),
                other => other,
            })?,
        }
    }
    if has_several && data.weights.is_some() {
        return Err(Error::data(
            "the data have weights, and the network has several heads; leave out the weights, or \
             train a model for each head",
        ));
    }
    Ok(())
}

fn check_head(head: &Head, targets: &Targets) -> Result<()> {
    let outputs = targets.outputs();
    if outputs != head.targets() {
        return Err(Error::data(format!(
            "the data have {outputs} classes or target values, but the network has outputs for {}",
            head.targets()
        )));
    }
    check_loss(head.loss, targets)?;
    let per_step = targets.per_step();
    if per_step != head.reads.is_per_step() {
        let (has, reads) = if per_step {
            ("every step", "\"every\"")
        } else {
            (
                "each sequence",
                "\"last\", \"mean\", \"max\" or \"attention\"",
            )
        };
        return Err(Error::data(format!(
            "the data have a target for {has}, so the head's `reads` must be {reads}"
        )));
    }
    Ok(())
}

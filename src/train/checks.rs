//! Checks of data against the network.

use crate::data::{Dataset, Inputs, MISSING, Targets};
use crate::error::{Error, Result};
use crate::network::{Head, Loss, Network};

/// Returns an error for data that are not valid or do not fit the network.
pub(super) fn check_data(network: &Network, data: &Dataset) -> Result<()> {
    data.check()?;
    check_inputs(network, data)?;
    check_targets(network, data)?;
    check_steps(network, data)
}

/// Returns an error for sequences that have too few steps for their labels, if the loss does not
/// let them count as 0, or if all are such.
fn check_steps(network: &Network, data: &Dataset) -> Result<()> {
    let heads = network
        .each_head()
        .into_iter()
        .zip(data.targets.each_head());
    for (index, (head, targets)) in heads.enumerate() {
        of_named(network, index, check_list_steps(&head, data, targets))?;
    }
    Ok(())
}

/// [`check_steps`] for the targets of a head.
fn check_list_steps(head: &Head, data: &Dataset, targets: &Targets) -> Result<()> {
    let Loss::Ctc { zero_infinity } = head.loss else {
        return Ok(());
    };
    let mut short = data.too_short_for(targets);
    let Some(first) = short.next() else {
        return Ok(());
    };
    let count = 1 + short.count();
    if zero_infinity && count < data.count {
        return Ok(());
    }
    let labels = targets.list(first).len();
    let steps = data.lengths.as_ref();
    let steps = steps.map_or(data.steps, |lengths| lengths[first] as usize);
    Err(Error::data(format!(
        "{count} of {} sequences have too few steps for their labels, the first of them sequence \
         {first} with {steps} steps and {labels} labels: the loss \"ctc\" needs a step for each \
         label and one between two equal labels; leave these sequences out, give them more steps{}",
        data.count,
        if zero_infinity {
            ""
        } else {
            ", or let them count as 0 with zero_infinity = true"
        }
    )))
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
    let (fits, values) = match targets {
        Targets::Classes { .. } => (loss.takes_classes(), &[][..]),
        Targets::Values { values, .. } => {
            (loss.takes_quantities() || loss.takes_labels(), &values[..])
        }
        Targets::Lists { .. } => (loss.takes_lists(), &[][..]),
        Targets::Heads(_) => (false, &[][..]),
    };
    if !fits {
        let (has, needs) = match targets {
            Targets::Classes { .. } => ("classes", "\"cross-entropy\""),
            Targets::Values { .. } => ("values", "one of values, such as \"mean-squared-error\""),
            Targets::Lists { .. } => ("lists of labels", "\"ctc\""),
            Targets::Heads(_) => ("those of several heads", "that of one of them"),
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
        of_named(network, index, check_head(head, targets))?;
    }
    Ok(())
}

/// Adds the name of head `index` of several to a problem with its data.
fn of_named(network: &Network, index: usize, checked: Result<()>) -> Result<()> {
    let Some(named) = network.heads.get(index) else {
        return checked;
    };
    checked.map_err(|error| match error {
        Error::Data(problem) => Error::Data(format!("head `{}`: {problem}", named.name)),
        other => other,
    })
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
    if per_step != head.has_target_per_step() {
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

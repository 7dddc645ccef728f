//! Checks of data against the network.

use crate::data::{Dataset, Inputs, Targets};
use crate::error::{Error, Result};
use crate::network::{Loss, Network, Reads};

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

fn check_targets(network: &Network, data: &Dataset) -> Result<()> {
    let head = &network.head;
    let outputs = data.targets.outputs();
    if outputs != head.size {
        return Err(Error::data(format!(
            "the data have {outputs} classes or target values, but the network has {} outputs",
            head.size
        )));
    }
    let fitting = match &data.targets {
        Targets::Classes { .. } => Loss::CrossEntropy,
        Targets::Values { .. } => Loss::MeanSquaredError,
    };
    if head.loss != fitting {
        return Err(Error::data(format!(
            "the network's loss is {:?}, but these targets need {fitting:?}",
            head.loss
        )));
    }
    let per_step = data.targets.per_step();
    if per_step != (head.reads == Reads::Every) {
        let (has, reads) = if per_step {
            ("every step", "\"every\"")
        } else {
            ("each sequence", "\"last\"")
        };
        return Err(Error::data(format!(
            "the data have a target for {has}, so the head's `reads` must be {reads}"
        )));
    }
    Ok(())
}

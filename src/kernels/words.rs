//! Named words of device buffers, for Rust and, as generated declarations, for WGSL.

/// A label of an output without a target: it adds nothing to the loss, the gradient or the
/// accuracy.
pub const IGNORE: u32 = u32::MAX;

/// A target value that is missing: it adds nothing to the loss or the gradient.
pub const MISSING: f32 = f32::MAX;

/// The words of a control buffer, which the training or evaluation loop on the device advances.
pub mod control {
    /// Updates of the parameters so far.
    pub const STEP: usize = 0;
    /// Sequences of this epoch already taken.
    pub const CURSOR: usize = 1;
    /// N: sequences in this epoch.
    pub const COUNT: usize = 2;
    /// The row of the history that this step writes, and of the learning rates that it reads.
    pub const ROW: usize = 3;
    /// The index of the chunk of time that this step takes of the batch's sequences.
    pub const CHUNK: usize = 4;
    /// Sequences that earlier batches of the same update have taken: accumulated gradients.
    pub const TAKEN: usize = 5;
    /// Sequences of a whole update beyond those of one batch; 0 without accumulated gradients.
    pub const FURTHER: usize = 6;
    pub const WORDS: usize = 7;

    /// Returns the words as WGSL constants `CONTROL_STEP`, ...
    pub(in crate::kernels) fn wgsl() -> String {
        super::wgsl_constants(&[
            ("CONTROL_STEP", STEP),
            ("CONTROL_CURSOR", CURSOR),
            ("CONTROL_COUNT", COUNT),
            ("CONTROL_ROW", ROW),
            ("CONTROL_CHUNK", CHUNK),
            ("CONTROL_TAKEN", TAKEN),
            ("CONTROL_FURTHER", FURTHER),
        ])
    }
}

/// The values that a step writes to its row of the history.
pub mod history {
    /// Mean loss over the labelled outputs.
    pub const LOSS: usize = 0;
    /// Number of outputs whose largest value is the labelled class.
    pub const HITS: usize = 1;
    /// Number of labelled outputs.
    pub const LABELLED: usize = 2;
    /// Euclidean norm of the whole gradient, before clipping.
    pub const NORM: usize = 3;
    /// Mean loss over the labelled outputs at the last step of a sequence.
    pub const LAST_LOSS: usize = 4;
    /// Number of labelled outputs at the last step of a sequence.
    pub const LAST_LABELLED: usize = 5;
    /// 1 if the loss or the norm is not finite, else 0.
    pub const NOT_FINITE: usize = 6;
    pub const WORDS: usize = 7;

    /// Returns the words as WGSL constants `HISTORY_LOSS`, ...
    pub(in crate::kernels) fn wgsl() -> String {
        super::wgsl_constants(&[
            ("HISTORY_LOSS", LOSS),
            ("HISTORY_HITS", HITS),
            ("HISTORY_LABELLED", LABELLED),
            ("HISTORY_NORM", NORM),
            ("HISTORY_LAST_LOSS", LAST_LOSS),
            ("HISTORY_LAST_LABELLED", LAST_LABELLED),
            ("HISTORY_NOT_FINITE", NOT_FINITE),
            ("HISTORY_WORDS", WORDS),
        ])
    }
}

/// Returns [`IGNORE`] as a WGSL constant.
pub(super) fn ignore_wgsl() -> String {
    wgsl_constants(&[("IGNORE", IGNORE as usize)])
}

/// Returns the bits of [`MISSING`] as a WGSL constant.
pub(super) fn missing_wgsl() -> String {
    wgsl_constants(&[("MISSING_BITS", MISSING.to_bits() as usize)])
}

/// Returns declarations of `u32` constants in WGSL.
pub(super) fn wgsl_constants(constants: &[(&str, usize)]) -> String {
    constants
        .iter()
        .map(|(name, value)| format!("const {name} = {value}u;\n"))
        .collect()
}

//! Data sets as the device takes them: all sequences of one split, in one piece.

pub mod idx;
pub mod series;

/// The sequences of one split, `[N, T, I]`, row-major, and what each should be answered with.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// N: sequences.
    pub count: usize,
    /// T: time steps of the longest sequence.
    pub steps: usize,
    /// I: features at one step.
    pub features: usize,
    pub inputs: Inputs,
    pub targets: Targets,
    /// Valid steps of each sequence, at most T; `None` where all have T.
    pub lengths: Option<Vec<u32>>,
}

/// `[N, T, I]` numbers.
#[derive(Debug, Clone)]
pub enum Inputs {
    /// Bytes that stand for `byte * scale`: a quarter of the memory, on the device too.
    Bytes {
        values: Vec<u8>,
        scale: f32,
    },
    Floats(Vec<f32>),
}

/// What the network should answer.
#[derive(Debug, Clone)]
pub enum Targets {
    /// A class each, `0..classes`: `[N]`, or `[N, T]` where `per_step`.
    Classes {
        labels: Vec<u32>,
        classes: usize,
        per_step: bool,
    },
    /// `width` values each: `[N, width]`, or `[N, T, width]` where `per_step`.
    Values {
        values: Vec<f32>,
        width: usize,
        per_step: bool,
    },
}

/// A training split and, where there is one, a test split of the same form.
#[derive(Debug, Clone)]
pub struct Splits {
    pub train: Dataset,
    pub test: Option<Dataset>,
}

//! What the interpreter finds wrong.

use std::fmt;

/// The rule that a shader breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// Two invocations access a word with no barrier between, and at least one writes it.
    Race,
    /// An access outside the tensor, variable or vector.
    OutOfBounds,
    /// A read of a word that nobody has written.
    Unwritten,
    /// A barrier or subgroup operation that some invocations of the workgroup do not reach, or a
    /// shuffle from an invocation that does not take part.
    NonUniform,
    /// An integer result that does not fit, in a line whose comment does not say `wraps`.
    Wrap,
    DivisionByZero,
    /// A shift by 32 bits or more.
    Shift,
    /// A float that is converted to an integer type that cannot hold it.
    Conversion,
    /// More loop iterations than the kernel states.
    Iterations,
    /// A buffer of integers that is read as reals, or the other way round.
    WrongElement,
}

impl FindingKind {
    /// The rule in a few words.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Race => "data race",
            FindingKind::OutOfBounds => "access out of bounds",
            FindingKind::Unwritten => "read of an unwritten value",
            FindingKind::NonUniform => "control flow that is not uniform",
            FindingKind::Wrap => "integer overflow",
            FindingKind::DivisionByZero => "division by zero",
            FindingKind::Shift => "shift by 32 bits or more",
            FindingKind::Conversion => "float out of the integer's range",
            FindingKind::Iterations => "too many loop iterations",
            FindingKind::WrongElement => "wrong type of element",
        }
    }
}

/// A word of memory, by the tensor or variable that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Element {
    /// The binding or workgroup variable, as the shader names it.
    pub argument: String,
    /// The tensor, as the program names it; empty for workgroup memory.
    pub buffer: String,
    /// The word's index, from the tensor's first element on; negative before it.
    pub index: i64,
}

/// A place where a shader breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    pub kind: FindingKind,
    pub kernel: String,
    /// Line of the concatenated source, from 1.
    pub line: usize,
    /// The text of that line.
    pub text: String,
    pub workgroup: [u32; 3],
    /// The invocation's index in its workgroup.
    pub invocation: usize,
    pub element: Option<Element>,
    /// A clause with the values concerned.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            kind,
            kernel,
            line,
            text,
            workgroup: [x, y, z],
            invocation,
            ..
        } = self;
        let kind = kind.name();
        write!(f, "{kernel}: {kind} in line {line}, `{text}`: ")?;
        write!(f, "invocation {invocation} of workgroup ({x}, {y}, {z})")?;
        if let Some(Element {
            argument,
            buffer,
            index,
        }) = &self.element
        {
            write!(f, ", {argument}[{index}]")?;
            if !buffer.is_empty() {
                write!(f, " of `{buffer}`")?;
            }
        }
        write!(f, ": {}", self.detail)
    }
}

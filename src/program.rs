//! Programs: a training step as plain data, recorded once and run by any
//! [`Executor`](crate::backend::executor::Executor).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::{Access, Call};
use crate::messages::mebibytes;
use crate::numeric::precision::Precision;
use crate::tensor::{Buffer, BufferId, Element, Kind, Shape, Tensor};

/// A part of a program that is run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Gathers a batch, and computes outputs and loss.
    Forward,
    /// Computes the gradients by back-propagation through time.
    Backward,
    /// Clips the gradients, updates the parameters, and records the step's metrics.
    Update,
    /// Computes outputs, loss and metrics on the test split, without dropout.
    Evaluate,
    /// The same on the validation split.
    Validate,
    /// Ends a batch of an update with accumulated gradients, except for its last one.
    Accumulate,
    /// Sums the gradients of a process, before those of all processes are summed.
    Reduce,
}

impl Phase {
    /// All phases; a training step runs the first three in this order.
    pub const ALL: [Phase; 7] = [
        Phase::Forward,
        Phase::Backward,
        Phase::Update,
        Phase::Evaluate,
        Phase::Validate,
        Phase::Accumulate,
        Phase::Reduce,
    ];
    /// The phase in one word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Update => "update",
            Phase::Evaluate => "evaluate",
            Phase::Validate => "validate",
            Phase::Accumulate => "accumulate",
            Phase::Reduce => "reduce",
        }
    }

    /// The phases of a training step.
    pub const TRAIN: [Phase; 3] = [Phase::Forward, Phase::Backward, Phase::Update];
}

/// Buffers, and kernel calls on them, in order, by phase.
#[derive(Debug, Clone, Default)]
pub struct Program {
    buffers: Vec<Buffer>,
    phases: [Vec<Call>; Phase::ALL.len()],
    /// Names of parts of buffers.
    parts: Vec<(Tensor, String)>,
    /// To what the CPU rounds the operands of matmuls.
    precision: Precision,
}

impl Program {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the CPU round the operands of matmuls. Other devices refuse such a program.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Returns the precision of matmuls.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Adds a buffer, and returns a tensor of all its elements.
    pub fn buffer(
        &mut self,
        name: impl Into<String>,
        kind: Kind,
        element: Element,
        shape: impl Into<Shape>,
    ) -> Tensor {
        let shape = shape.into();
        // A GPU allows no empty binding, hence at least one element.
        self.buffers.push(Buffer {
            name: name.into(),
            kind,
            element,
            len: shape.len().max(1),
        });
        Tensor {
            buffer: BufferId(self.buffers.len() - 1),
            offset: 0,
            shape,
        }
    }

    /// Names a part of a buffer.
    pub fn name(&mut self, part: Tensor, name: impl Into<String>) {
        self.parts.push((part, name.into()));
    }

    /// The site of a call in the network: the name of the part or buffer that the call writes. If
    /// it writes several, the prefix that their names share (`l0` for `l0.h` and `l0.c`), or the
    /// first name if they share none.
    pub fn site(&self, call: &Call) -> &str {
        let args = call.kernel().args().into_iter();
        let written = args.filter(|arg| arg.access == Access::Write);
        let names: Vec<&str> = written.map(|arg| self.name_of(&arg.tensor)).collect();
        let Some(&first) = names.first() else {
            return "";
        };
        let whole = std::iter::once(first.len());
        let prefixes = whole.chain(first.rmatch_indices('.').map(|(dot, _)| dot));
        let mut prefixes = prefixes.map(|end| &first[..end]);
        let shared = |prefix: &&str| {
            let mut names = names.iter();
            names.all(|name| {
                let rest = name.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        prefixes.find(shared).unwrap_or(first)
    }

    /// The name of the part that contains `tensor`, or of its buffer.
    pub(crate) fn name_of(&self, tensor: &Tensor) -> &str {
        let contains = |part: &Tensor| {
            let (part, range) = (part.range(), tensor.range());
            part.start <= range.start && range.end <= part.end
        };
        let mut parts = self.parts.iter();
        let named = parts.find(|(part, _)| part.buffer == tensor.buffer && contains(part));
        named.map_or(&self.buffer_of(tensor).name, |(_, name)| name)
    }

    /// Appends a kernel call to `phase`.
    ///
    /// # Panics
    /// If the call violates a rule that executors rely on, which is a defect of this crate: tensors
    /// are inside their buffers, a buffer that is written is bound once, and there are at most 8
    /// bindings, the number that WebGPU guarantees.
    pub fn push(&mut self, phase: Phase, call: impl Into<Call>) {
        let call = call.into();
        let args = call.kernel().args();
        let name = call.kernel().name();
        assert!(
            args.len() <= 8,
            "{name} binds {} buffers; WebGPU guarantees 8",
            args.len()
        );
        for (i, arg) in args.iter().enumerate() {
            let buffer = &self.buffers[arg.tensor.buffer.0];
            assert!(
                arg.tensor.range().end <= buffer.len,
                "{name}: {} is out of bounds of {}",
                arg.name,
                buffer.name
            );
            let shared = args[..i].iter().any(|other| {
                other.tensor.buffer == arg.tensor.buffer
                    && (other.access == Access::Write || arg.access == Access::Write)
            });
            assert!(!shared, "{name} writes {} and binds it twice", buffer.name);
        }
        self.phases[phase as usize].push(call);
    }

    /// All buffers, indexed by [`BufferId::index`].
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// The buffer of a tensor.
    pub fn buffer_of(&self, tensor: &Tensor) -> &Buffer {
        &self.buffers[tensor.buffer.0]
    }

    /// A one-dimensional tensor of a whole buffer.
    pub fn whole(&self, id: usize) -> Tensor {
        Tensor {
            buffer: BufferId(id),
            offset: 0,
            shape: [self.buffers[id].len].into(),
        }
    }

    /// The calls of a phase, in order.
    pub fn calls(&self, phase: Phase) -> &[Call] {
        &self.phases[phase as usize]
    }

    /// Bytes of all buffers with `real_bytes` per real element.
    pub fn bytes(&self, real_bytes: usize) -> u64 {
        self.buffers.iter().map(|b| b.bytes(real_bytes)).sum()
    }

    /// Bytes of the buffers of `kind` with `real_bytes` per real element.
    pub fn bytes_of(&self, kind: Kind, real_bytes: usize) -> u64 {
        let buffers = self.buffers.iter().filter(|b| b.kind == kind);
        buffers.map(|b| b.bytes(real_bytes)).sum()
    }

    /// Fails if the program needs more than `available` bytes of `device`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], which lists the bytes by kind.
    pub fn check_fits(&self, real_bytes: usize, available: u64, device: &str) -> Result<()> {
        if self.bytes(real_bytes) <= available {
            return Ok(());
        }
        Err(self.out_of_memory(real_bytes, Some(available), device))
    }

    /// The error for a device that lacks the memory for this program.
    pub(crate) fn out_of_memory(
        &self,
        real_bytes: usize,
        available: Option<u64>,
        device: &str,
    ) -> Error {
        Error::OutOfMemory {
            device: device.to_string(),
            available,
            needed: Some(self.bytes(real_bytes)),
            purpose: format!("the network and its data need {}", self.memory(real_bytes)),
            remedy: "reduce the batch size or the hidden size",
        }
    }

    /// Formats the bytes of all buffers, in total and by kind.
    pub(crate) fn memory(&self, real_bytes: usize) -> String {
        let kinds = Kind::ALL.map(|kind| {
            let bytes = mebibytes(self.bytes_of(kind, real_bytes));
            format!("{} {bytes}", kind.name())
        });
        let total = mebibytes(self.bytes(real_bytes));
        format!("{total} ({})", kinds.join(", "))
    }
}

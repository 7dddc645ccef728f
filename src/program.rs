//! A training step as plain data: buffers, and kernel calls over them in order, in phases.
//!
//! A program is recorded once and played by any [`Executor`](crate::backend::executor::Executor). It knows no device.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::{Access, Call};
use crate::messages::mebibytes;
use crate::tensor::{Buffer, BufferId, Element, Kind, Shape, Tensor};

/// The parts of a program that are run as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Takes a batch and computes outputs and loss.
    Forward,
    /// Back-propagation through time: fills the gradients.
    Backward,
    /// Clipping, the optimiser, and the record of the step.
    Update,
    /// Outputs, loss and record on the held-out data, without anything that belongs to training.
    Evaluate,
}

impl Phase {
    /// Every phase, in the order in which a step runs them.
    pub const ALL: [Phase; 4] = [
        Phase::Forward,
        Phase::Backward,
        Phase::Update,
        Phase::Evaluate,
    ];
    /// One word for tables and labels.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Update => "update",
            Phase::Evaluate => "evaluate",
        }
    }

    /// What one training step runs.
    pub const TRAIN: [Phase; 3] = [Phase::Forward, Phase::Backward, Phase::Update];
}

/// Buffers and the kernel calls over them.
#[derive(Debug, Clone, Default)]
pub struct Program {
    buffers: Vec<Buffer>,
    phases: [Vec<Call>; Phase::ALL.len()],
    /// Parts of buffers that have a name of their own.
    parts: Vec<(Tensor, String)>,
}

impl Program {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a buffer that starts as zeros and returns a view of all of it.
    pub fn buffer(
        &mut self,
        name: impl Into<String>,
        kind: Kind,
        element: Element,
        shape: impl Into<Shape>,
    ) -> Tensor {
        let shape = shape.into();
        // An empty binding is not allowed on a GPU.
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

    /// Gives a part of a buffer a name of its own.
    pub fn name(&mut self, part: Tensor, name: impl Into<String>) {
        self.parts.push((part, name.into()));
    }

    /// What `call` is for: the name of what it writes. Of several buffers it is the stem that they share (`l0` of `l0.h` and
    /// `l0.c`), else the first one's name.
    pub fn site(&self, call: &Call) -> &str {
        let args = call.kernel().args().into_iter();
        let written = args.filter(|arg| arg.access == Access::Write);
        let names: Vec<&str> = written.map(|arg| self.name_of(&arg.tensor)).collect();
        let Some(&first) = names.first() else {
            return "";
        };
        let whole = std::iter::once(first.len());
        let stems = whole.chain(first.rmatch_indices('.').map(|(dot, _)| dot));
        let mut stems = stems.map(|end| &first[..end]);
        let shared = |stem: &&str| {
            let mut names = names.iter();
            names.all(|name| {
                let rest = name.strip_prefix(stem);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        stems.find(shared).unwrap_or(first)
    }

    /// The name of the part or buffer that a view lies in.
    pub(crate) fn name_of(&self, tensor: &Tensor) -> &str {
        let holds = |part: &Tensor| {
            let (part, own) = (part.range(), tensor.range());
            part.start <= own.start && own.end <= part.end
        };
        let mut parts = self.parts.iter();
        let named = parts.find(|(part, _)| part.buffer == tensor.buffer && holds(part));
        named.map_or(&self.buffer_of(tensor).name, |(_, name)| name)
    }

    /// Appends a kernel call to `phase`.
    ///
    /// # Panics
    /// Where a call breaks the rules that every executor relies on: views inside their buffers, a written
    /// buffer bound once, at most 8 bindings. Only a defect in this crate can cause that.
    pub fn push(&mut self, phase: Phase, call: impl Into<Call>) {
        let call = call.into();
        let args = call.kernel().args();
        let name = call.kernel().name();
        assert!(
            args.len() <= 8,
            "{name} binds {} buffers, WebGPU promises 8",
            args.len()
        );
        for (i, arg) in args.iter().enumerate() {
            let buffer = &self.buffers[arg.tensor.buffer.0];
            assert!(
                arg.tensor.range().end <= buffer.len,
                "{name}: {} lies outside {}",
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

    /// All buffers; a [`BufferId`] is an index into them.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// The buffer that a view looks into.
    pub fn buffer_of(&self, tensor: &Tensor) -> &Buffer {
        &self.buffers[tensor.buffer.0]
    }

    /// A view of a whole buffer.
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

    /// Bytes held with `real_bytes` for each real number.
    pub fn bytes(&self, real_bytes: usize) -> u64 {
        self.buffers.iter().map(|b| b.bytes(real_bytes)).sum()
    }

    /// Bytes held for `kind` with `real_bytes` for each real number.
    pub fn bytes_of(&self, kind: Kind, real_bytes: usize) -> u64 {
        let buffers = self.buffers.iter().filter(|b| b.kind == kind);
        buffers.map(|b| b.bytes(real_bytes)).sum()
    }

    /// Refuses a program that needs more than `available` bytes, before anything is allocated.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with what was needed, by kind, and what there is.
    pub fn check_fits(&self, real_bytes: usize, available: u64, place: &str) -> Result<()> {
        if self.bytes(real_bytes) <= available {
            return Ok(());
        }
        Err(self.out_of_memory(real_bytes, Some(available), place))
    }

    /// The error that says that `device` lacks the memory for this program.
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

    /// Bytes held in all and by kind, in words.
    pub(crate) fn memory(&self, real_bytes: usize) -> String {
        let kinds = Kind::ALL.map(|kind| {
            let bytes = mebibytes(self.bytes_of(kind, real_bytes));
            format!("{} {bytes}", kind.name())
        });
        let all = mebibytes(self.bytes(real_bytes));
        format!("{all} ({})", kinds.join(", "))
    }
}

//! The memory that a training step needs.

use serde::{Deserialize, Serialize};

use crate::program::Program;
use crate::tensor::Kind;

/// Bytes of memory, as planned by the program and as measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Planned bytes of the program's buffers, by kind.
    pub by_kind: Vec<(Kind, u64)>,
    /// Planned bytes of all buffers.
    pub planned: u64,
    /// Bytes allocated by loading and running the program, as reported by the driver; on the CPU
    /// the growth of this process. `None` where neither is known.
    pub measured: Option<u64>,
}

impl MemoryUse {
    pub(super) fn new(program: &Program, measured: Option<u64>) -> MemoryUse {
        let real_bytes = size_of::<f32>();
        let by_kind = Kind::ALL.map(|kind| (kind, program.bytes_of(kind, real_bytes)));
        MemoryUse {
            by_kind: by_kind.into(),
            planned: program.bytes(real_bytes),
            measured,
        }
    }
}

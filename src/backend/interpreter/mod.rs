//! The third executor: interprets the WGSL of the kernels on the CPU, and checks what no driver
//! tells.
//!
//! It assembles the same text with the same constants as the GPU executor, has naga parse and
//! validate it and apply the overrides, lowers naga's IR (`lower`), and runs it workgroup by
//! workgroup with all invocations of a workgroup together (`machine`). It stands for hardware by
//! a [`Profile`]: limits, size and order of subgroups. It reports ([`FindingKind`]):
//!
//! - data races in workgroup and storage memory, also between workgroups of a dispatch;
//! - accesses outside the tensor, not only outside its buffer;
//! - uses of words that nobody has written, also in workgroup memory, which no driver zeroes;
//! - barriers and subgroup operations in control flow that is not uniform;
//! - integer overflow in lines whose comment does not say `wraps`, division by zero, shifts by 32
//!   or more, floats that do not fit the integer that they are converted to;
//! - more loop iterations than [`Kernel::iterations`](crate::kernels::Kernel::iterations) states.

mod arithmetic;
mod code;
mod executor;
mod finding;
mod lower;
mod machine;
mod mask;
mod memory;
mod profile;
mod shader;
mod subgroups;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use executor::Interpreter;
pub use finding::{Element, Finding, FindingKind};
pub use profile::Profile;
pub use subgroups::{LaneOrder, Subgroups};

use super::gpu::{ShaderEdit, source_of};
use super::tuning::Tuning;
use crate::error::Result;
use crate::kernels::Kernel;
use code::Code;

/// The interpreter in the place of an opened GPU.
#[derive(Debug, Clone)]
pub struct InterpreterDevice {
    pub profile: Profile,
    /// Sizes and choices with which programs are recorded.
    pub tuning: Tuning,
    edit: Option<ShaderEdit>,
    shared: Arc<Shared>,
}

/// What all programs of a device share.
#[derive(Debug, Default)]
struct Shared {
    /// Shaders by text and constants.
    codes: Mutex<HashMap<(String, String), Arc<Code>>>,
    findings: Mutex<Vec<Finding>>,
}

/// The contents are consistent even if a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InterpreterDevice {
    /// The interpreter in the place of hardware.
    pub fn new(profile: Profile) -> InterpreterDevice {
        InterpreterDevice {
            tuning: profile.tuning(),
            profile,
            edit: None,
            shared: Arc::default(),
        }
    }

    /// Returns the device with a mistake in one kernel of all programs loaded from now on.
    #[doc(hidden)]
    pub fn with_edit(self, edit: ShaderEdit) -> InterpreterDevice {
        InterpreterDevice {
            edit: Some(edit),
            shared: Arc::default(),
            ..self
        }
    }

    /// Everything that has been found so far.
    pub fn findings(&self) -> Vec<Finding> {
        lock(&self.shared.findings).clone()
    }

    /// Returns the code of a kernel; calls with the same text and constants share it.
    fn code(&self, kernel: &dyn Kernel) -> Result<Arc<Code>> {
        let shader = kernel.shader();
        let edit = self.edit.filter(|edit| edit.kernel == kernel.name());
        let source = source_of(&shader, edit);
        let key = (source, format!("{:?}", shader.constants));
        if let Some(code) = lock(&self.shared.codes).get(&key) {
            return Ok(Arc::clone(code));
        }
        let code = shader::compile(kernel.name(), &key.0, &shader.constants)?;
        let code = Arc::new(code);
        lock(&self.shared.codes).insert(key, Arc::clone(&code));
        Ok(code)
    }
}

//! Memory and CPU of the host machine, as the operating system reports them.

use crate::error::{Error, Result};
use crate::io::memory_limit;
use crate::numeric::precision::Precision;
use crate::program::Program;

/// Programs below this size are loaded without asking the system for its free memory.
const NEGLIGIBLE_BYTES: u64 = 64 << 20;

/// Fails if the host lacks the memory for `program` with `real_bytes` per real element.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::error::Error::OutOfMemory).
pub(crate) fn check_memory(program: &Program, real_bytes: usize) -> Result<()> {
    if program.bytes(real_bytes) < NEGLIGIBLE_BYTES {
        return Ok(());
    }
    let available = memory_limit::available().unwrap_or(u64::MAX);
    program.check_fits(real_bytes, available, "this machine")
}

/// Fails if the CPU does not compute with `precision`, as `supports` says.
///
/// # Errors
/// [`Error::Usage`].
pub(crate) fn check_precision(
    precision: Precision,
    supports: impl Fn(Precision) -> bool,
) -> Result<()> {
    if supports(precision) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "precision is {}, and this machine's processor ({}) lacks the instructions AVX512-BF16, \
         which it takes; use precision f32",
        precision.name(),
        cpu_name()
    )))
}

/// Fails for a precision that only the CPU computes with, on another `device`.
///
/// # Errors
/// [`Error::Usage`].
#[cfg(feature = "gpu")]
pub(crate) fn check_gpu_precision(precision: Precision, device: &str) -> Result<()> {
    if precision == Precision::F32 {
        return Ok(());
    }
    Err(Error::usage(format!(
        "precision is {}, which only the CPU computes with, and the device is {device}; use \
         precision f32, or the device `cpu`",
        precision.name()
    )))
}

/// Bytes of resident memory of this process; `None` if the system does not report them.
pub(crate) fn resident_memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    let process = sysinfo::get_current_pid().ok()?;
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[process]), false);
    system.process(process).map(|process| process.memory())
}

/// The cores of this machine, also those that this process may not use; 0 if the system does not
/// report them.
#[cfg(feature = "mpi")]
pub fn cores() -> usize {
    let system = sysinfo::System::new();
    system.map_or(0, |mut system| {
        system.refresh_cpu_all();
        system.cpus().len()
    })
}

/// The CPU's brand name; `CPU` if the system does not report it.
pub(crate) fn cpu_name() -> String {
    let Ok(mut system) = sysinfo::System::new() else {
        return "CPU".into();
    };
    system.refresh_cpu_all();
    let name = system.cpus().first().map(|cpu| cpu.brand().trim());
    name.filter(|name| !name.is_empty()).unwrap_or("CPU").into()
}

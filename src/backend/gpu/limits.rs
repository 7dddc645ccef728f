//! Checks of a program against a device's limits, before anything is allocated.

use super::GpuDevice;
use crate::backend::adapter::AdapterKind;
use crate::backend::host;
use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::messages::mebibytes;
use crate::program::{Phase, Program};

/// Fails if `program` exceeds the device's limits, or the host's memory if the device uses that.
///
/// # Errors
/// [`Error::LimitExceeded`] or [`Error::OutOfMemory`]; [`Error::Usage`] for a precision of the CPU.
pub(in crate::backend) fn check_limits(device: &GpuDevice, program: &Program) -> Result<()> {
    host::check_gpu_precision(program.precision(), &device.summary.name)?;
    let limits = device.device.limits();
    check_buffers(device, &limits, program)?;
    for call in Phase::ALL.iter().flat_map(|&phase| program.calls(phase)) {
        check_grid(device, &limits, call.kernel())?;
        check_iterations(device, call.kernel())?;
    }
    let shares_host_memory = matches!(
        device.summary.kind,
        AdapterKind::Software | AdapterKind::Integrated
    );
    if shares_host_memory {
        host::check_memory(program, size_of::<f32>())?;
    }
    Ok(())
}

fn check_buffers(device: &GpuDevice, limits: &wgpu::Limits, program: &Program) -> Result<()> {
    let largest = limits
        .max_buffer_size
        .min(limits.max_storage_buffer_binding_size)
        // A shader counts elements with 32 bits.
        .min(u64::from(u32::MAX) * size_of::<f32>() as u64);
    for buffer in program.buffers() {
        let needed = buffer.bytes(size_of::<f32>());
        if needed > largest {
            return Err(Error::LimitExceeded {
                what: format!("the buffer `{}`", buffer.name),
                needed: mebibytes(needed),
                device: device.summary.name.clone(),
                limit: mebibytes(largest),
                remedy: format!(
                    "reduce the batch size, the hidden size or the data set; \
                     all buffers together need {}",
                    program.memory(size_of::<f32>())
                ),
            });
        }
    }
    Ok(())
}

fn check_grid(device: &GpuDevice, limits: &wgpu::Limits, kernel: &dyn Kernel) -> Result<()> {
    let (grid, most) = (kernel.grid(), limits.max_compute_workgroups_per_dimension);
    if grid.iter().all(|&workgroups| workgroups <= most) {
        return Ok(());
    }
    Err(Error::LimitExceeded {
        what: format!("the kernel {}", kernel.name()),
        needed: format!("{grid:?} workgroups"),
        device: device.summary.name.clone(),
        limit: format!("{most} in each dimension"),
        remedy: "reduce the batch size".into(),
    })
}

fn check_iterations(device: &GpuDevice, kernel: &dyn Kernel) -> Result<()> {
    let needed = kernel.iterations();
    match device.loop_limit {
        Some(limit) if needed > limit => Err(Error::LimitExceeded {
            what: format!("the kernel {}", kernel.name()),
            needed: format!("{needed} loop iterations in one invocation"),
            device: device.summary.name.clone(),
            limit: format!("{limit} and silently skips the others"),
            remedy: "use shorter sequences, a smaller batch size or hidden size, or the CPU, \
                     which has no such limit"
                .into(),
        }),
        _ => Ok(()),
    }
}

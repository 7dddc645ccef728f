//! The number of loop iterations that a driver allows per invocation: Mesa's llvmpipe silently
//! leaves an invocation's loops after 65,535 iterations of all its loops together.

use super::GpuDevice;
use super::probe::Probe;
use crate::error::Result;

/// Iterations that are tested; a driver that completes them is taken to have no limit.
const TESTED: u32 = 1 << 20;

impl GpuDevice {
    /// Measures the number of loop iterations after which the driver ends an invocation's loops;
    /// `None` if it does not.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn measure_loop_limit(&self) -> Result<Option<usize>> {
        let probe = Probe {
            name: "iterations",
            source: include_str!("../../../shaders/ceilings/iterations.wgsl"),
            constants: &[],
            workgroups: 1,
        };
        let completed = self.probe(&probe, &[TESTED, 0])?[1];
        Ok((completed < TESTED).then_some(completed as usize))
    }
}

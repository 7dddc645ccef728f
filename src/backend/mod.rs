//! Executors, which run programs, and the devices that they run them on.
//!
//! Everything that needs wgpu is in [`gpu`], behind the cargo feature `gpu`.

pub mod adapter;
pub mod ceilings;
pub mod cpu;
pub mod device;
pub mod executor;
mod fault;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod gpu_class;
pub(crate) mod host;
#[cfg(feature = "gpu")]
pub mod interpreter;
mod open_device;
pub mod tuning;

#[doc(hidden)]
pub use fault::Fault;
#[cfg(feature = "gpu")]
pub use gpu::adapters;
#[cfg(feature = "mpi")]
pub use host::cores;
pub use open_device::OpenDevice;

/// Returns an empty list: this build has no GPU support.
#[cfg(not(feature = "gpu"))]
pub fn adapters() -> Vec<adapter::AdapterSummary> {
    vec![]
}

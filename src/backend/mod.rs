//! What plays programs: the executors, and the choice of a device.

pub mod adapter;
pub mod ceilings;
pub mod cpu;
pub mod device;
pub mod executor;
pub mod gpu;
mod open_device;
pub mod tuning;

pub use open_device::OpenDevice;

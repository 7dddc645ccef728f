//! What kernels compute with.

pub(crate) mod aligned;
pub(crate) mod packed;
pub(crate) mod real;
pub mod statistics;
pub(crate) mod vector;

//! Arithmetic of the CPU executor: element types, vector instructions, matrix multiplication; and
//! statistics of samples.

pub(crate) mod aligned;
pub(crate) mod gemm;
pub(crate) mod real;
pub mod statistics;
pub(crate) mod vector;

//! Arithmetic of the CPU executor: element types, vector instructions, matrix multiplication;
//! statistics of samples, and dates.

pub(crate) mod aligned;
pub(crate) mod civil;
pub(crate) mod gemm;
pub(crate) mod householder;
pub mod precision;
pub(crate) mod real;
pub mod statistics;
pub(crate) mod vector;

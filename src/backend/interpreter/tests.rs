//! Small WGSL programs with known results.

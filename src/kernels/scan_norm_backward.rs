use super::recurrence::Recurrence;
use super::{Arg, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Computes the backward pass of time steps `begin..end` of a layer with layer normalisation in one
/// dispatch, as [`ScanBackward`](super::ScanBackward) does of other layers. It also leaves, for
/// each step, the terms of the gradients of gains and shifts.
#[derive(Debug, Clone)]
pub struct ScanNormBackward {
    pub layer: Recurrence,
    pub begin: usize,
    pub end: usize,
}

impl Kernel for ScanNormBackward {
    fn name(&self) -> &'static str {
        "scan_norm_backward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.backward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        self.layer.backward_uniform(self.begin..self.end)
    }

    fn shader(&self) -> Shader {
        self.layer
            .norm_backward_shader()
            .with(include_str!("../../shaders/scan_norm_backward.wgsl"))
    }

    fn grid(&self) -> [u32; 3] {
        self.layer.scan_grid()
    }

    fn iterations(&self) -> usize {
        self.layer.chunk_iterations(self.begin..self.end)
    }

    fn cost(&self) -> Cost {
        self.layer.cost(self.end - self.begin)
    }

    fn bounds_are_proved(&self) -> bool {
        self.end <= self.layer.steps && self.layer.backward_is_inside()
    }
}

impl ScanNormBackward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        self.layer.norm_backward(memory, self.begin..self.end);
    }
}

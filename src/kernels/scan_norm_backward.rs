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
        let has_upstream = self.layer.gradients.upstream.is_some();
        let mut scalars = self.layer.sizes();
        scalars.extend([
            ("begin", Scalar::count(self.begin)),
            ("end", Scalar::count(self.end)),
            ("has_upstream", Scalar::from(has_upstream)),
            ("given_states", Scalar::count(self.given_states())),
        ]);
        scalars
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
        (self.end - self.begin).saturating_mul(self.layer.scan_iterations())
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
        let given = self.given_states();
        self.layer
            .norm_backward(memory, self.begin..self.end, given);
    }

    /// Returns the number of states whose gradient `dstate` holds before this chunk.
    fn given_states(&self) -> usize {
        if self.end == self.layer.steps {
            self.layer.gradients.given_states
        } else {
            self.layer.cell.spec().states
        }
    }
}

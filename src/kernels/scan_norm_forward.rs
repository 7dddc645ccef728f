use super::recurrence::Recurrence;
use super::{Arg, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Computes time steps `begin..end` of a layer with layer normalisation in one dispatch: recurrent
/// matmul, means and variances over the units, activations and state update.
#[derive(Debug, Clone)]
pub struct ScanNormForward {
    pub layer: Recurrence,
    pub begin: usize,
    pub end: usize,
}

impl Kernel for ScanNormForward {
    fn name(&self) -> &'static str {
        "scan_norm_forward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.forward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let norm = self.layer.layer_norm();
        let mut scalars = self.layer.forward_uniform(self.begin..self.end);
        scalars.extend([
            ("shift", Scalar::count(self.layer.norm_weights().skip)),
            ("epsilon", Scalar::F32(norm.epsilon as f32)),
        ]);
        scalars
    }

    fn shader(&self) -> Shader {
        self.layer
            .norm_forward_shader()
            .with(include_str!("../../shaders/scan_norm_forward.wgsl"))
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
        self.end <= self.layer.steps && self.layer.forward_is_inside()
    }
}

impl ScanNormForward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        self.layer.norm_forward(memory, self.begin..self.end);
    }
}

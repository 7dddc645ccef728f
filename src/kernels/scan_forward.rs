use super::recurrence::{InputProjection, Recurrence, TimeDirection};
use super::{Arg, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Computes time steps `begin..end` of a layer in one dispatch: recurrent matmul, activations and
/// state update.
#[derive(Debug, Clone)]
pub struct ScanForward {
    pub layer: Recurrence,
    pub begin: usize,
    pub end: usize,
}

impl Kernel for ScanForward {
    fn name(&self) -> &'static str {
        "scan_forward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.forward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        self.layer.forward_uniform(self.begin..self.end)
    }

    fn shader(&self) -> Shader {
        self.layer
            .scan_shader(TimeDirection::Forward)
            .with(include_str!("../../shaders/common/forward.wgsl"))
            .with(include_str!("../../shaders/scan_forward.wgsl"))
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

impl ScanForward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        self.cpu_with_input(memory, None);
    }

    /// Computes the scan and, if `input` is given, the input projection of each time step before
    /// it.
    pub(super) fn cpu_with_input<R: Real>(
        &self,
        memory: &Memory<R>,
        input: Option<&InputProjection<R>>,
    ) {
        let steps = self.begin..self.end;
        self.layer.forward(memory, steps.clone(), input, |tile| {
            for t in steps.clone() {
                tile.time_step(t);
            }
        });
    }
}

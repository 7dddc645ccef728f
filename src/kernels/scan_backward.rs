use super::recurrence::{Recurrence, TimeDirection};
use super::{Arg, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Computes the backward pass of time steps `begin..end` of a layer in one dispatch: from the
/// gradient of its outputs to the gradients of its gates. The chunk that ends at the last step
/// begins with the `given_states` of the layer, an earlier chunk with the state gradients that the
/// later one left.
#[derive(Debug, Clone)]
pub struct ScanBackward {
    pub layer: Recurrence,
    pub begin: usize,
    pub end: usize,
}

impl Kernel for ScanBackward {
    fn name(&self) -> &'static str {
        "scan_backward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.backward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        self.layer.backward_uniform(self.begin..self.end)
    }

    fn shader(&self) -> Shader {
        self.layer
            .scan_shader(TimeDirection::Backward)
            .with(include_str!("../../shaders/common/backward.wgsl"))
            .with(self.layer.gradient_loads())
            .with(include_str!("../../shaders/scan_backward.wgsl"))
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

impl ScanBackward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let steps = self.begin..self.end;
        self.layer.backward(memory, steps.clone(), |tile| {
            if self.end == self.layer.steps {
                tile.begin_h();
                tile.begin_c();
            }
            for t in steps.clone().rev() {
                tile.time_step(t);
            }
        });
    }
}

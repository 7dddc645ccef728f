use super::recurrence::Recurrence;
use super::{Arg, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Computes one time step of a layer, with the activations fused to the recurrent matmul. A layer
/// of two stages takes two calls a step.
#[derive(Debug, Clone)]
pub struct StepForward {
    pub layer: Recurrence,
    pub t: usize,
    pub stage: usize,
}

impl Kernel for StepForward {
    fn name(&self) -> &'static str {
        "step_forward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.forward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut scalars = self.layer.sizes();
        scalars.extend([
            ("t", Scalar::count(self.t)),
            ("has_bias", Scalar::from(self.layer.weights.bias.is_some())),
        ]);
        scalars
    }

    fn shader(&self) -> Shader {
        self.layer
            .step_shader()
            .with(include_str!("../../shaders/common/forward.wgsl"))
            .with(include_str!("../../shaders/step_forward.wgsl"))
            .with_constants((self.stage > 0).then_some(("STAGE", self.stage as f64)))
    }

    fn grid(&self) -> [u32; 3] {
        self.layer.step_grid()
    }

    fn iterations(&self) -> usize {
        self.layer.step_iterations()
    }

    fn cost(&self) -> Cost {
        self.layer.cost(1)
    }

    fn bounds_are_proved(&self) -> bool {
        self.t < self.layer.steps
            && self.stage < self.layer.stages()
            && self.layer.forward_is_inside()
    }
}

impl StepForward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (t, stages) = (self.t, self.layer.stages());
        self.layer.forward(memory, t..t + 1, None, |tile| {
            if stages == 1 {
                tile.time_step(t);
            } else {
                tile.stage(t, self.stage);
            }
        });
    }
}

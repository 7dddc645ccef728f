use super::recurrence::Recurrence;
use super::{Arg, Call, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// One time step of a layer, with the activations fused behind the recurrent product. A layer of two stages takes
/// two calls.
#[derive(Debug, Clone)]
pub struct StepForward {
    pub layer: Recurrence,
    pub t: usize,
    pub stage: usize,
}

impl From<StepForward> for Call {
    fn from(call: StepForward) -> Call {
        Call::StepForward(call)
    }
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
            ("stage", Scalar::count(self.stage)),
            (
                "has_bias",
                Scalar::U32(self.layer.weights.bias.is_some().into()),
            ),
        ]);
        scalars
    }

    fn shader(&self) -> Shader {
        let mut parts = self.layer.step_parts();
        parts.push(include_str!("../../shaders/common/forward.wgsl"));
        parts.push(include_str!("../../shaders/step_forward.wgsl"));
        Shader {
            parts,
            constants: self.layer.constants(),
        }
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
        self.t < self.layer.steps && self.stage < self.layer.stages() && self.layer.is_inside(false)
    }
}

impl StepForward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let stages = if self.layer.stages() == 2 {
            Some(self.stage)
        } else {
            None
        };
        self.layer.forward(memory, self.t..self.t + 1, stages, None);
    }
}

use super::recurrence::{BackwardWork, Recurrence};
use super::{Arg, Call, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// One time step of a layer backwards.
#[derive(Debug, Clone)]
pub struct StepBackward {
    pub layer: Recurrence,
    pub stage: BackwardStage,
}

/// The parts of a step backwards, each one dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackwardStage {
    /// Step t + 1 through its product, then the units' own part of step t; of a projected layer, its outputs'.
    Units(usize),
    /// Step t of a layer of two stages: through its second product, then the part of the units that lies before it.
    Middle(usize),
    /// The first step through its product, which ends the walk.
    End,
}

impl From<StepBackward> for Call {
    fn from(call: StepBackward) -> Call {
        Call::StepBackward(call)
    }
}

impl Kernel for StepBackward {
    fn name(&self) -> &'static str {
        "step_backward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.backward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut scalars = self.layer.sizes();
        scalars.extend([
            ("t", Scalar::U32(self.t())),
            ("stage", Scalar::U32(self.stage_number())),
            (
                "has_upstream",
                Scalar::U32(self.layer.gradients.upstream.is_some().into()),
            ),
            (
                "given_states",
                Scalar::count(self.layer.gradients.given_states),
            ),
        ]);
        scalars
    }

    fn shader(&self) -> Shader {
        let mut parts = self.layer.step_parts();
        parts.push(include_str!("../../shaders/common/backward.wgsl"));
        parts.push(include_str!("../../shaders/step_backward.wgsl"));
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
        let fits = match self.stage {
            BackwardStage::Units(t) => t < self.layer.steps,
            BackwardStage::Middle(t) => t < self.layer.steps && self.layer.stages() == 2,
            BackwardStage::End => true,
        };
        fits && self.layer.is_inside(true)
    }
}

impl StepBackward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        match self.stage {
            BackwardStage::Units(t) => {
                let first = t + 1 == self.layer.steps;
                let work = BackwardWork {
                    first,
                    pending: true,
                    units: true,
                    ..Default::default()
                };
                self.layer.backward(memory, t..t + 1, work);
            }
            BackwardStage::Middle(t) => {
                let work = BackwardWork {
                    first: t + 1 == self.layer.steps,
                    middle: true,
                    ..Default::default()
                };
                self.layer.backward(memory, t..t + 1, work);
            }
            BackwardStage::End => {
                self.layer.backward(
                    memory,
                    0..0,
                    BackwardWork {
                        pending: true,
                        ..Default::default()
                    },
                );
            }
        }
    }

    fn t(&self) -> u32 {
        match self.stage {
            BackwardStage::Units(t) | BackwardStage::Middle(t) => t as u32,
            // One before the first step, so that t + 1 is the first.
            BackwardStage::End => u32::MAX,
        }
    }

    fn stage_number(&self) -> u32 {
        match self.stage {
            BackwardStage::Units(_) => 0,
            BackwardStage::Middle(_) => 1,
            BackwardStage::End => 2,
        }
    }
}

use super::recurrence::Recurrence;
use super::words::wgsl_constants;
use super::{Arg, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Computes one stage of the backward pass of a time step of a layer.
#[derive(Debug, Clone)]
pub struct StepBackward {
    pub layer: Recurrence,
    pub stage: BackwardStage,
}

/// The stages of a backward step, each one dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackwardStage {
    /// The recurrent matmul of step t + 1, then the units of step t or, in a projected layer, its
    /// outputs.
    Units(usize),
    /// In a layer of two stages: the second matmul of step t, then the units or gates before it.
    Middle(usize),
    /// The recurrent matmul of step 0, which ends the backward pass.
    End,
}

impl BackwardStage {
    /// Returns the uniform's value of the stage.
    fn code(self) -> u32 {
        match self {
            BackwardStage::Units(_) => 0,
            BackwardStage::Middle(_) => 1,
            BackwardStage::End => 2,
        }
    }

    /// Returns t; -1 for the end, so that t + 1 is step 0 there too.
    fn t(self) -> u32 {
        match self {
            BackwardStage::Units(t) | BackwardStage::Middle(t) => t as u32,
            BackwardStage::End => u32::MAX,
        }
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
        let gradients = &self.layer.gradients;
        let mut scalars = self.layer.sizes();
        scalars.extend([
            ("t", Scalar::U32(self.stage.t())),
            ("stage", Scalar::U32(self.stage.code())),
            ("has_upstream", Scalar::from(gradients.upstream.is_some())),
            ("given_states", Scalar::count(gradients.given_states)),
        ]);
        scalars
    }

    fn shader(&self) -> Shader {
        let stages = [
            ("STAGE_MIDDLE", BackwardStage::Middle(0).code() as usize),
            ("STAGE_END", BackwardStage::End.code() as usize),
        ];
        self.layer
            .step_shader()
            .with(include_str!("../../shaders/common/backward.wgsl"))
            .with(include_str!("../../shaders/common/load_four_back.wgsl"))
            .with(include_str!("../../shaders/step_backward.wgsl"))
            .with(wgsl_constants(&stages))
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
        fits && self.layer.backward_is_inside()
    }
}

impl StepBackward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (layer, steps) = (&self.layer, self.layer.steps);
        // The units of a projected layer, and so c, come behind its projection.
        let projects = layer.options.projection.is_some();
        match self.stage {
            BackwardStage::Units(t) => {
                layer.backward(memory, t..steps.min(t + 2), |tile| {
                    if t + 1 < steps {
                        tile.multiply_recurrent_back(t + 1);
                    } else {
                        tile.begin_h();
                        if !projects {
                            tile.begin_c();
                        }
                    }
                    tile.units_step(t);
                });
            }
            BackwardStage::Middle(t) => layer.backward(memory, t..t + 1, |tile| {
                if t + 1 == steps && projects {
                    tile.begin_c();
                }
                tile.middle_step(t);
            }),
            BackwardStage::End => {
                layer.backward(memory, 0..1, |tile| tile.multiply_recurrent_back(0));
            }
        }
    }
}

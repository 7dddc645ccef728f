use super::recurrence::{Input, Recurrence, TimeDirection};
use super::{Arg, Call, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Walks time steps `begin..end` of a layer: recurrent product, activations and state update, in one dispatch.
#[derive(Debug, Clone)]
pub struct ScanForward {
    pub layer: Recurrence,
    pub begin: usize,
    pub end: usize,
}

impl From<ScanForward> for Call {
    fn from(call: ScanForward) -> Call {
        Call::ScanForward(call)
    }
}

impl Kernel for ScanForward {
    fn name(&self) -> &'static str {
        "scan_forward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.forward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut scalars = self.layer.sizes();
        scalars.extend([
            ("begin", Scalar::count(self.begin)),
            ("end", Scalar::count(self.end)),
            (
                "has_bias",
                Scalar::U32(self.layer.weights.bias.is_some().into()),
            ),
        ]);
        scalars
    }

    fn shader(&self) -> Shader {
        let mut parts = self.layer.scan_parts(TimeDirection::Forward);
        parts.push(include_str!("../../shaders/common/forward.wgsl"));
        parts.push(include_str!("../../shaders/scan_forward.wgsl"));
        Shader {
            parts,
            constants: self.layer.scan_constants(TimeDirection::Forward),
        }
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
        self.end <= self.layer.steps && self.layer.is_inside(false)
    }
}

impl ScanForward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        self.with_input(memory, None);
    }

    /// With the product that comes into the gates, where it is not there yet.
    pub(super) fn with_input<R: Real>(&self, memory: &Memory<R>, input: Option<&Input<R>>) {
        self.layer
            .forward(memory, self.begin..self.end, None, input);
    }
}

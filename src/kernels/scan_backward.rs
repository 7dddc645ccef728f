use super::recurrence::{BackwardWork, Recurrence, TimeDirection};
use super::{Arg, Call, Cost, Kernel, Scalar, Shader};
use crate::memory::Memory;
use crate::numeric::real::Real;

/// Walks time steps `begin..end` of a layer backwards, from its outputs' gradients to its gates', in one dispatch. The
/// first cut of a walk starts from `given_states` of the layer, the later ones from what the one before has left.
#[derive(Debug, Clone)]
pub struct ScanBackward {
    pub layer: Recurrence,
    pub begin: usize,
    pub end: usize,
}

impl From<ScanBackward> for Call {
    fn from(call: ScanBackward) -> Call {
        Call::ScanBackward(call)
    }
}

impl Kernel for ScanBackward {
    fn name(&self) -> &'static str {
        "scan_backward"
    }

    fn args(&self) -> Vec<Arg> {
        self.layer.backward_args()
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        let mut scalars = self.layer.sizes();
        scalars.extend([
            ("begin", Scalar::count(self.begin)),
            ("end", Scalar::count(self.end)),
            (
                "has_upstream",
                Scalar::U32(self.layer.gradients.upstream.is_some().into()),
            ),
            ("given_states", Scalar::count(self.given_states())),
        ]);
        scalars
    }

    fn shader(&self) -> Shader {
        let mut parts = self.layer.scan_parts(TimeDirection::Backward);
        parts.push(include_str!("../../shaders/common/backward.wgsl"));
        parts.push(include_str!("../../shaders/scan_backward.wgsl"));
        Shader {
            parts,
            constants: self.layer.scan_constants(TimeDirection::Backward),
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
        self.end <= self.layer.steps && self.layer.is_inside(true)
    }
}

impl ScanBackward {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let first = self.end == self.layer.steps;
        let work = BackwardWork {
            first,
            units: true,
            middle: true,
            product: true,
            pending: false,
        };
        self.layer.backward(memory, self.begin..self.end, work);
    }

    fn given_states(&self) -> usize {
        if self.end == self.layer.steps {
            self.layer.gradients.given_states
        } else {
            self.layer.cell.spec().states
        }
    }
}

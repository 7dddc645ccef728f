use super::{Arg, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Sets the initial state of every sequence of a batch to the learnt vector.
#[derive(Debug, Clone)]
pub struct InitialState {
    /// `[width]`.
    pub learnt: Tensor,
    /// The control words, where states are carried from chunk to chunk of time: only the first
    /// chunk then begins with the learnt vector.
    pub control: Option<Tensor>,
    /// `[B, width]`: the states before the first step.
    pub initial: Tensor,
}

impl Kernel for InitialState {
    fn name(&self) -> &'static str {
        "initial_state"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("learnt", self.learnt),
            read("control", self.control.unwrap_or(self.learnt)),
            write("initial", self.initial),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("count", Scalar::count(self.initial.len())),
            ("width", Scalar::count(self.learnt.len())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/initial_state.wgsl")])
            .with(control::wgsl())
            .with_constants(self.control.map(|_| ("CARRIED", 1.0)))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.initial.len(), 64)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: 4.0 * (self.learnt.len() + self.initial.len()) as f64,
        }
    }
}

impl InitialState {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        if is_later_chunk(self.control, memory) {
            return;
        }
        let learnt = memory.read(&self.learnt);
        let mut initial = memory.write(&self.initial);
        let rows = initial.chunks_exact_mut(learnt.len());
        rows.for_each(|row| row.copy_from_slice(&learnt));
    }
}

/// Whether the states of this chunk of time are carried over.
pub(super) fn is_later_chunk<R: Real>(control: Option<Tensor>, memory: &Memory<R>) -> bool {
    control.is_some_and(|control| memory.read_index(&control)[control::CHUNK] > 0)
}

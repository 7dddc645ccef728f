use super::initial_state::is_later_chunk;
use super::{Arg, Cost, Kernel, Scalar, Shader, control, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// Sums the gradient of the initial state over the batch: the gradient of the learnt vector.
#[derive(Debug, Clone)]
pub struct InitialStateGradient {
    /// `[B, width]`: the gradient of the initial state.
    pub dstate: Tensor,
    /// As in [`InitialState`](super::InitialState): a later chunk has gradient 0.
    pub control: Option<Tensor>,
    /// `[width]`.
    pub out: Tensor,
}

/// Sequences whose sum is added to that of the others at once.
const BLOCK: usize = 64;

impl Kernel for InitialStateGradient {
    fn name(&self) -> &'static str {
        "initial_state_gradient"
    }

    fn args(&self) -> Vec<Arg> {
        vec![
            read("dstate", self.dstate),
            read("control", self.control.unwrap_or(self.dstate)),
            write("out", self.out),
        ]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("batch", Scalar::count(self.batch())),
            ("width", Scalar::count(self.out.len())),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([include_str!("../../shaders/initial_state_gradient.wgsl")])
            .with(control::wgsl())
            .with_constants(self.control.map(|_| ("CARRIED", 1.0)))
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.out.len(), 64)
    }

    fn iterations(&self) -> usize {
        self.batch() + self.batch().div_ceil(BLOCK)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.dstate.len() as f64,
            bytes: 4.0 * (self.dstate.len() + self.out.len()) as f64,
        }
    }
}

impl InitialStateGradient {
    fn batch(&self) -> usize {
        self.dstate.len() / self.out.len()
    }

    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let dstate = memory.read(&self.dstate);
        let mut out = memory.write(&self.out);
        let width = out.len();
        out.fill(R::zero());
        if is_later_chunk(self.control, memory) {
            return;
        }
        for sequences in dstate.chunks(BLOCK * width) {
            let mut block = vec![R::zero(); width];
            for row in sequences.chunks_exact(width) {
                let sums = block.iter_mut().zip(row);
                sums.for_each(|(sum, &value)| *sum += value);
            }
            out.iter_mut()
                .zip(&block)
                .for_each(|(out, &sum)| *out += sum);
        }
    }
}

use super::{Arg, Cost, Kernel, Scalar, Shader, linear_grid, read, write};
use crate::memory::Memory;
use crate::numeric::real::{Number, Real};
use crate::tensor::Tensor;

/// Computes, for each row, its largest value x and `ln Σ e^(value - x)`: `value - x` minus the
/// second is the logarithm of a softmax.
#[derive(Debug, Clone)]
pub struct LogSumExp {
    /// `[rows, width]`.
    pub values: Tensor,
    /// `[2, rows]`: the largest values, then the logarithms.
    pub norms: Tensor,
    pub width: usize,
}

impl LogSumExp {
    fn rows(&self) -> usize {
        self.norms.len() / 2
    }
}

impl Kernel for LogSumExp {
    fn name(&self) -> &'static str {
        "log_sum_exp"
    }

    fn args(&self) -> Vec<Arg> {
        vec![read("values", self.values), write("norms", self.norms)]
    }

    fn uniform(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("rows", Scalar::count(self.rows())),
            ("width", Scalar::count(self.width)),
        ]
    }

    fn shader(&self) -> Shader {
        Shader::new([
            include_str!("../../shaders/log_sum_exp.wgsl"),
            include_str!("../../shaders/common/reduce.wgsl"),
            include_str!("../../shaders/common/math.wgsl"),
            include_str!("../../shaders/common/one.wgsl"),
        ])
        .with("alias Rows = f32;\n")
    }

    fn grid(&self) -> [u32; 3] {
        linear_grid(self.rows(), 1)
    }

    fn iterations(&self) -> usize {
        self.width / 32 + 64
    }

    fn cost(&self) -> Cost {
        let elements = self.values.len() as f64;
        Cost {
            flops: 15.0 * elements,
            bytes: 4.0 * elements,
        }
    }
}

impl LogSumExp {
    pub(super) fn cpu<R: Real>(&self, memory: &Memory<R>) {
        let (values, mut norms) = (memory.read(&self.values), memory.write(&self.norms));
        let (largest, logarithms) = norms.split_at_mut(self.rows());
        let norms = largest.iter_mut().zip(logarithms);
        for (row, (largest, logarithm)) in values.chunks_exact(self.width).zip(norms) {
            *largest = row.iter().fold(row[0], |all, &value| value.or_larger(all));
            let mut sum = R::zero();
            row.iter()
                .for_each(|&value| sum += Number::exp(value - *largest));
            *logarithm = Real::ln(sum);
        }
    }
}

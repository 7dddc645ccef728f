//! The precision of matmuls.

use serde::{Deserialize, Serialize};

use crate::numeric::gemm::has_bf16;

/// The precision to which the CPU rounds the operands of matmuls: input projections, recurrent
/// matmuls, the head, and the gradients of weights and inputs. Their elements are multiplied and
/// summed in f32. Weights, states, gradients, moments and every other element stay in f32, and
/// computations in f64 have no other precision than theirs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// Operands are not rounded.
    #[default]
    F32,
    /// 8 binary digits with the range of f32 (bfloat16): rounded to the nearest, ties to even, with
    /// a relative error of at most 2^-8; values below 2^-126 become 0.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 2] = [Precision::F32, Precision::Bf16];

    /// The precision in one word, as recipes have it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether this machine's processor computes with it: bf16 takes the instructions AVX512-BF16.
    pub fn is_supported(self) -> bool {
        match self {
            Precision::F32 => true,
            Precision::Bf16 => has_bf16(),
        }
    }
}

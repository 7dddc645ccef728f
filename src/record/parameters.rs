//! The parameters of a network, resolved to tensors with named fields.

use crate::kernels::{Matrix, NormWeights};
use crate::network::{Entry, ParameterRole};
use crate::tensor::Tensor;

/// The parameters of one direction as tensors into a flat vector: the parameters, or their
/// gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirectionParameters {
    /// `[G*H, I]`.
    pub weight_ih: Tensor,
    /// `[G*H, P]`, in a cell with recurrent gates.
    pub weight_hh: Option<Tensor>,
    /// `[P, H]`, directly after `weight_hh`, in a projected layer.
    pub weight_hr: Option<Tensor>,
    /// `[PEEPHOLES*H]`, in a cell with peepholes.
    pub peephole: Option<Tensor>,
    /// `[G*H]`.
    pub bias_ih: Option<Tensor>,
    /// `[G*H]`.
    pub bias_hh: Option<Tensor>,
    /// `[vectors*H]`: gains of layer normalisation.
    pub norm_gains: Option<Tensor>,
    /// Its shifts, where the biases are not these.
    pub norm_shifts: Option<Tensor>,
    /// `[P]` and `[H]`: h and c before the first step, where they are learnt.
    pub initial: [Option<Tensor>; 2],
}

impl DirectionParameters {
    /// The parameters of the direction with that index in `flat`.
    pub fn new(entries: &[Entry], flat: Tensor, direction: usize) -> Self {
        let find = |role| find(entries, flat, role, Some(direction));
        DirectionParameters {
            weight_ih: find(ParameterRole::InputWeights).expect("every direction has them"),
            weight_hh: find(ParameterRole::RecurrentWeights),
            weight_hr: find(ParameterRole::Projection),
            peephole: find(ParameterRole::Peepholes),
            bias_ih: find(ParameterRole::InputBias),
            bias_hh: find(ParameterRole::RecurrentBias),
            norm_gains: find(ParameterRole::NormGains),
            norm_shifts: find(ParameterRole::NormShifts),
            initial: [ParameterRole::InitialHidden, ParameterRole::InitialCell].map(find),
        }
    }

    /// R `[G*H, P]`, then W_hr `[P, H]`, as one tensor, which kernels bind; empty where both are
    /// missing.
    pub fn recurrent(&self) -> Tensor {
        let matrices = [self.weight_hh, self.weight_hr];
        let first = matrices.into_iter().flatten().next();
        let len: usize = matrices.iter().flatten().map(Tensor::len).sum();
        Tensor {
            shape: [len].into(),
            ..first.unwrap_or(self.weight_ih)
        }
    }

    /// Gains and shifts (of W x, where they are biases) as one tensor, which kernels bind.
    pub fn norm_weights(&self) -> Option<NormWeights> {
        let gains = self.norm_gains?;
        let range = gains.range();
        let shifts = self.norm_shifts.or(self.bias_ih);
        let shifts = shifts.map_or(range.end..range.end, |shifts| shifts.range());
        Some(NormWeights {
            tensor: Tensor {
                shape: [shifts.end - gains.offset].into(),
                ..gains
            },
            skip: shifts.start - gains.offset,
        })
    }

    /// Both biases `[2, G*H]`, where they are adjacent.
    pub fn adjacent_biases(&self) -> Option<Tensor> {
        let (first, second) = (self.bias_ih?, self.bias_hh?);
        let adjacent = second.offset == first.range().end;
        adjacent.then(|| Tensor {
            shape: [2, first.len()].into(),
            ..first
        })
    }
}

/// The parameters of the head, or their gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadParameters {
    /// `[K, features]`: its own, or the embedding's table.
    pub weight: Tensor,
    /// `[K]`.
    pub bias: Tensor,
    /// `[features]`, of a head that reads by attention.
    pub query: Option<Tensor>,
}

impl HeadParameters {
    /// The rows `rows` of the weights, and these elements of the bias: those of one of several
    /// heads.
    pub fn part(&self, rows: std::ops::Range<usize>) -> Self {
        let features = self.weight.shape.extents()[1];
        HeadParameters {
            weight: (self.weight).part(rows.start * features, [rows.len(), features]),
            bias: self.bias.part(rows.start, [rows.len()]),
            query: self.query,
        }
    }

    /// The head's parameters in `flat`; `weight` is the role of its weights.
    pub fn new(entries: &[Entry], flat: Tensor, weight: ParameterRole) -> Self {
        let find = |role| find(entries, flat, role, None);
        HeadParameters {
            weight: find(weight).expect("every network has a head"),
            bias: find(ParameterRole::HeadBias).expect("every head has a bias"),
            query: find(ParameterRole::HeadQuery),
        }
    }
}

/// Returns the parameter with that role and direction in `flat`.
pub(super) fn find(
    entries: &[Entry],
    flat: Tensor,
    role: ParameterRole,
    direction: Option<usize>,
) -> Option<Tensor> {
    let mut entries = entries.iter();
    let entry = entries.find(|entry| entry.role == role && entry.direction == direction)?;
    Some(flat.part(entry.offset, entry.shape))
}

/// Returns a tensor of two dimensions as a matrix.
pub(super) fn matrix(tensor: Tensor) -> Matrix {
    let [rows, columns] = tensor.shape.extents()[..] else {
        unreachable!("{:?} is not a matrix", tensor.shape);
    };
    Matrix::new(tensor, rows, columns)
}

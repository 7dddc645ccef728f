//! Embedded categories: the one-hot columns of the inputs times learnt tables, and the gradients of
//! the tables.

use super::RecordedNetwork;
use super::parameters::{find, matrix};
use super::step_sums::StepSum;
use crate::kernels::{Call, Columns, Gemm, Matrix};
use crate::network::{InputPart, ParameterRole};
use crate::tensor::Tensor;

impl RecordedNetwork {
    /// Computes what the first layer reads, where it reads categories: the vectors of these, and
    /// copies of the columns between them.
    pub(super) fn embed_categories(&self) -> Vec<Call> {
        if self.network.categories.is_empty() {
            return vec![];
        }
        let (read, embedded) = (Columns::all(self.inputs), self.layers[0].inputs);
        let parts = self.network.input_parts().into_iter();
        let calls = parts.map(|part| match part.table {
            None => {
                let source = read.from(part.columns.start);
                let out = Columns::all(embedded).from(part.features.start);
                self.copy(source, out, part.columns.len()).into()
            }
            Some(index) => {
                let table = matrix(self.category_table(index, self.parameters));
                let vectors = self.input_features(embedded, &part);
                Gemm::new(self.input_columns(&part), table, vectors)
                    .ragged_rows(self.lengths)
                    .into()
            }
        });
        calls.collect()
    }

    /// The gradients of the tables, where they are trained.
    pub(super) fn category_gradients(&self, partials: Option<Tensor>) -> Vec<Call> {
        let sums = self.category_sums().into_iter();
        sums.flat_map(|sum| self.sum_steps(&sum, partials))
            .collect()
    }

    /// The gradient of each table that is trained, as a sum over the valid steps.
    pub(super) fn category_sums(&self) -> Vec<StepSum> {
        let is_trained = !self.network.categories.is_empty() && !self.frozen.has_embedding();
        let dembedded = self.layers[0].dinputs.filter(|_| is_trained);
        let (Some(dembedded), Some(gradients)) = (dembedded, self.gradients) else {
            return vec![];
        };
        let parts = self.network.input_parts().into_iter();
        let sums = parts.filter_map(|part| {
            Some(StepSum {
                of: self.input_columns(&part),
                by: self.input_features(dembedded, &part),
                out: matrix(self.category_table(part.table?, gradients)),
            })
        });
        sums.collect()
    }

    /// The table of a column of categories in `flat`, the parameters or their gradients.
    fn category_table(&self, index: usize, flat: Tensor) -> Tensor {
        let role = ParameterRole::CategoryTable(index);
        find(&self.entries, flat, role, None).expect("each column has a table")
    }

    /// The columns of the inputs `[T*B, I]` that a part has.
    fn input_columns(&self, part: &InputPart) -> Matrix {
        let columns = self.network.input_size;
        Matrix::block(self.inputs, self.rows(), columns, part.columns.clone())
    }

    /// The columns of what the first layer reads, or of its gradient, that a part has.
    fn input_features(&self, tensor: Tensor, part: &InputPart) -> Matrix {
        let columns = self.network.features();
        Matrix::block(tensor, self.rows(), columns, part.features.clone())
    }
}

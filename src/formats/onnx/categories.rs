//! Embedded categories: one-hot columns of the inputs times their tables.

use super::super::weights::parameter;
use super::proto::GraphProto;
use crate::error::Result;
use crate::model::Model;

impl GraphProto {
    /// Replaces the columns of each table in `[T, B, I]` by vectors; returns what the first layer
    /// reads.
    pub(super) fn embedded_categories(&mut self, model: &Model, inputs: String) -> Result<String> {
        let network = &model.network;
        if network.categories.is_empty() {
            return Ok(inputs);
        }
        let axis = self.ints("categories.axis", &[2]);
        let mut parts = vec![];
        for (n, part) in network.input_parts().into_iter().enumerate() {
            let name = |what: &str| format!("inputs.part{n}.{what}");
            let begin = self.ints(&name("begin"), &[part.columns.start as i64]);
            let end = self.ints(&name("end"), &[part.columns.end as i64]);
            let columns = self.node("Slice", &[&inputs, &begin, &end, &axis], &name("columns"));
            let Some(index) = part.table else {
                parts.push(columns);
                continue;
            };
            let table = format!("embeddings.{index}.weight");
            let extents = [part.columns.len(), part.features.len()];
            let values = parameter(model, &table)?;
            let table = self.floats(&table, &extents, values);
            parts.push(self.node("MatMul", &[&columns, &table], &name("vectors")));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.concat(&parts, "inputs.embedded"))
    }
}

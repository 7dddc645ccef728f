//! Building a graph: constants, operators, inputs and outputs, each by its name. The methods that
//! add an operator return the name of its (first) output.

use super::super::weights::transposed;
use super::proto::{
    AttributeProto, Dimension, FLOAT, GraphProto, INT64, NodeProto, TensorProto, TensorShapeProto,
    ValueInfoProto,
};

/// The extent of an input or output.
pub(super) enum AxisSize {
    Batch,
    Time,
    Fixed(usize),
}

impl GraphProto {
    /// Concatenates along the last axis.
    pub fn concat(&mut self, parts: &[&str], output: &str) -> String {
        let parts = parts.iter().map(|part| part.to_string());
        let axis = AttributeProto::int("axis", -1);
        self.push("Concat", &parts.collect::<Vec<_>>(), &[output], vec![axis])
    }

    /// Permutes the axes.
    pub fn transpose(&mut self, input: &str, output: &str, order: &[i64]) -> String {
        let order = AttributeProto::ints("perm", order.to_vec());
        self.push("Transpose", &[input.into()], &[output], vec![order])
    }

    /// Reshapes to these extents; 0 keeps an extent.
    pub fn reshape(&mut self, input: &str, output: &str, extents: &[i64]) -> String {
        let shape = self.ints(&format!("{output}.shape"), extents);
        self.node("Reshape", &[input, &shape], output)
    }

    /// Adds a matrix `[rows, columns]` as its transpose.
    pub fn transposed(
        &mut self,
        name: &str,
        values: &[f32],
        rows: usize,
        columns: usize,
    ) -> String {
        self.floats(name, &[columns, rows], &transposed(values, columns))
    }

    /// Adds a constant of floats.
    pub fn floats(&mut self, name: &str, extents: &[usize], values: &[f32]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, FLOAT, extents, raw_data.collect())
    }

    /// Adds a constant vector of integers.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, INT64, &[values.len()], raw_data.collect())
    }

    /// Adds a constant integer.
    pub fn scalar(&mut self, name: &str, value: i64) -> String {
        self.constant(name, INT64, &[], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, name: &str, kind: i32, extents: &[usize], raw_data: Vec<u8>) -> String {
        self.initializer.push(TensorProto {
            dims: extents.iter().map(|&extent| extent as i64).collect(),
            data_type: kind,
            name: name.into(),
            raw_data,
        });
        name.into()
    }

    /// Adds an operator of one output and no attributes.
    pub fn node(&mut self, operator: &str, inputs: &[&str], output: &str) -> String {
        let inputs = inputs.iter().map(|input| input.to_string());
        self.push(operator, &inputs.collect::<Vec<_>>(), &[output], vec![])
    }

    /// Adds an operator, which is named as its first output; returns that name.
    pub fn push(
        &mut self,
        operator: &str,
        inputs: &[String],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.nodes.push(NodeProto {
            input: inputs.to_vec(),
            output: outputs.iter().map(|output| output.to_string()).collect(),
            name: outputs[0].into(),
            op_type: operator.into(),
            attribute: attributes,
        });
        outputs[0].into()
    }
}

/// An input or output of the graph.
pub(super) fn value(name: &str, element: i32, shape: &[AxisSize]) -> ValueInfoProto {
    let dimension = |size: &AxisSize| match size {
        AxisSize::Batch => Dimension::named("batch"),
        AxisSize::Time => Dimension::named("time"),
        AxisSize::Fixed(size) => Dimension {
            dim_value: Some(*size as i64),
            dim_param: None,
        },
    };
    let shape = TensorShapeProto {
        dim: shape.iter().map(dimension).collect(),
    };
    ValueInfoProto::new(name, element, Some(shape))
}

/// An input or output whose shape is inferred.
pub(super) fn any_shape(name: &str, element: i32) -> ValueInfoProto {
    ValueInfoProto::new(name, element, None)
}

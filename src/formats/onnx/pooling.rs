//! The reduction of the last layer's outputs over time, which a head reads.

use super::super::weights::parameter;
use super::proto::{AttributeProto, FLOAT, GraphProto, INT64};
use crate::error::Result;
use crate::model::Model;
use crate::network::{HEAD_QUERY, Reads};

/// Below every finite value and score.
const LOWEST: f32 = f32::MIN;

impl GraphProto {
    /// Adds the reduction of `[T, B, features]` over the valid steps; returns `[B, features]`,
    /// zeros for a sequence without steps.
    pub(super) fn pooled(&mut self, model: &Model, every: &str, lengths: bool) -> Result<String> {
        let valid = lengths.then(|| self.steps_before_end(every));
        Ok(match model.network.head.reads {
            Reads::Max => self.maximum(every, valid),
            Reads::Attention => {
                let features = model.network.head_inputs();
                let query = parameter(model, HEAD_QUERY)?;
                let query = self.floats(HEAD_QUERY, &[features, 1], query);
                self.attention(every, &query, valid)
            }
            _ => self.mean(every, valid),
        })
    }

    /// Adds `[T, B, 1]`: whether each step is valid.
    fn steps_before_end(&mut self, every: &str) -> String {
        let cast = AttributeProto::int("to", i64::from(INT64));
        let lengths = ["lengths".to_string()];
        let lengths = self.push("Cast", &lengths, &["pooling.lengths"], vec![cast]);
        let shape = self.node("Shape", &[every], "pooling.shape");
        let [zero, one] = [0, 1].map(|n| self.scalar(&format!("pooling.{n}"), n));
        let steps = self.node("Gather", &[&shape, &zero], "pooling.count");
        let steps = self.node("Range", &[&zero, &steps, &one], "pooling.steps");
        let axes = self.ints("pooling.axes", &[1, 2]);
        let steps = self.node("Unsqueeze", &[&steps, &axes], "pooling.indices");
        let axis = self.ints("pooling.axis", &[1]);
        let lengths = self.node("Unsqueeze", &[&lengths, &axis], "pooling.ends");
        self.node("Less", &[&steps, &lengths], "pooling.valid")
    }

    fn mean(&mut self, every: &str, valid: Option<String>) -> String {
        let axes = || vec![AttributeProto::ints("axes", vec![0]), no_kept_axes()];
        let Some(valid) = valid else {
            return self.push("ReduceMean", &[every.into()], &["pooled"], axes());
        };
        let kept = self.only_valid(every, &valid);
        let sum = self.time_sum(&kept, "pooling.sum");
        let cast = AttributeProto::int("to", i64::from(FLOAT));
        let flags = self.push("Cast", &[valid], &["pooling.flags"], vec![cast]);
        let count = self.time_sum(&flags, "pooling.counted");
        let least = self.floats("pooling.least", &[1], &[1.0]);
        let count = self.node("Max", &[&count, &least], "pooling.divisor");
        self.node("Div", &[&sum, &count], "pooled")
    }

    fn maximum(&mut self, every: &str, valid: Option<String>) -> String {
        let axes = || vec![AttributeProto::ints("axes", vec![0]), no_kept_axes()];
        let Some(valid) = valid else {
            return self.push("ReduceMax", &[every.into()], &["pooled"], axes());
        };
        let lowest = self.floats("pooling.lowest", &[1], &[LOWEST]);
        let kept = self.node("Where", &[&valid, every, &lowest], "pooling.kept");
        let largest = self.push("ReduceMax", &[kept], &["pooling.largest"], axes());
        // The first step is valid in every sequence that has steps.
        let zero = self.scalar("pooling.first", 0);
        let any = self.node("Gather", &[&valid, &zero], "pooling.any");
        let zeros = self.floats("pooling.zeros", &[1], &[0.0]);
        self.node("Where", &[&any, &largest, &zeros], "pooled")
    }

    fn attention(&mut self, every: &str, query: &str, valid: Option<String>) -> String {
        let mut scores = self.node("MatMul", &[every, query], "attention.scores");
        if let Some(valid) = &valid {
            let lowest = self.floats("attention.lowest", &[1], &[LOWEST]);
            scores = self.node("Where", &[valid, &scores, &lowest], "attention.kept");
        }
        let axis = AttributeProto::int("axis", 0);
        let weights = self.push("Softmax", &[scores], &["attention.weights"], vec![axis]);
        let kept = match valid {
            Some(valid) => self.only_valid(every, &valid),
            None => every.to_string(),
        };
        let weighted = self.node("Mul", &[&kept, &weights], "attention.weighted");
        self.time_sum(&weighted, "pooled")
    }

    /// Replaces padded steps by zeros.
    fn only_valid(&mut self, every: &str, valid: &str) -> String {
        let zeros = self.floats("pooling.padding", &[1], &[0.0]);
        self.node("Where", &[valid, every, &zeros], "pooling.outputs")
    }

    fn time_sum(&mut self, every: &str, output: &str) -> String {
        let axis = self.ints(&format!("{output}.axis"), &[0]);
        let inputs = [every.to_string(), axis];
        self.push("ReduceSum", &inputs, &[output], vec![no_kept_axes()])
    }
}

fn no_kept_axes() -> AttributeProto {
    AttributeProto::int("keepdims", 0)
}

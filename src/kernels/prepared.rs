//! Kernel calls that the CPU runs again and again with the same weights, each on one row: the
//! weights are packed once. The bits are those of [`Call::cpu`].

use std::fmt::Debug;

use super::recurrence::SingleStep;
use super::{Call, Gemm, Ragged};
use crate::memory::Memory;
use crate::numeric::gemm::MultiplyPanels;
use crate::numeric::real::Real;
use crate::tensor::Tensor;

/// The calls of a phase, prepared where that pays.
#[derive(Debug)]
pub(crate) struct PreparedCalls<R: Real> {
    calls: Vec<PreparedCall<R>>,
    on_one_thread: bool,
}

/// Prepared calls, for a type that does not say what its elements are.
pub(crate) trait RunCalls<R>: Debug + Send {
    /// Runs `calls`, which are those that were prepared.
    fn run(&mut self, calls: &[Call], memory: &Memory<R>);

    /// Whether no call divides its work among threads.
    fn stay_on_one_thread(&self) -> bool;
}

/// A call with its weights packed.
#[derive(Debug)]
enum PreparedCall<R: Real> {
    Product(Box<(Gemm, R::Panels)>),
    Step(Box<SingleStep<R>>),
    /// Nothing to prepare.
    Plain,
}

impl<R: Real> PreparedCalls<R> {
    /// Packs the parts of `constant` that `calls` read.
    pub fn new(calls: &[Call], memory: &Memory<R>, constant: &Tensor) -> Self {
        let prepared = |call: &Call| PreparedCall::new(call, memory, constant);
        let prepared: Vec<_> = calls.iter().map(prepared).collect();
        let stays = |(prepared, call): (&PreparedCall<R>, &Call)| match prepared {
            PreparedCall::Plain => matches!(call, Call::CarryState(_) | Call::Arrange(_)),
            PreparedCall::Product(..) | PreparedCall::Step(_) => true,
        };
        PreparedCalls {
            on_one_thread: prepared.iter().zip(calls).all(stays),
            calls: prepared,
        }
    }
}

impl<R: Real> RunCalls<R> for PreparedCalls<R> {
    fn stay_on_one_thread(&self) -> bool {
        self.on_one_thread
    }

    fn run(&mut self, calls: &[Call], memory: &Memory<R>) {
        for (prepared, call) in self.calls.iter_mut().zip(calls) {
            let is_done = match prepared {
                PreparedCall::Product(product) => product.0.multiply_row(&product.1, memory),
                PreparedCall::Step(step) => step.run(memory),
                PreparedCall::Plain => false,
            };
            if !is_done {
                call.cpu(memory);
            }
        }
    }
}

impl<R: Real> PreparedCall<R> {
    fn new(call: &Call, memory: &Memory<R>, constant: &Tensor) -> Self {
        let prepared = match call {
            Call::Gemm(gemm) if gemm.b.tensor.buffer == constant.buffer => gemm
                .pack_for_rows(memory)
                .map(|weights| PreparedCall::Product(Box::new((gemm.clone(), weights)))),
            Call::ScanForward(scan)
                if scan.layer.weights.recurrent.buffer == constant.buffer
                    && (scan.begin, scan.end) == (0, 1) =>
            {
                let step = SingleStep::new(&scan.layer, memory);
                step.map(|step| PreparedCall::Step(Box::new(step)))
            }
            _ => None,
        };
        prepared.unwrap_or(PreparedCall::Plain)
    }
}

impl Gemm {
    /// Packs `b`, if the product is of one row and packing pays.
    fn pack_for_rows<R: Real>(&self, memory: &Memory<R>) -> Option<R::Panels> {
        let is_row = match self.ragged {
            Some(Ragged::Rows(lengths)) => lengths.len() == 1,
            Some(Ragged::Terms(_)) => false,
            None => true,
        };
        let is_row = is_row && self.c.rows == 1 && !self.a.transposed;
        let b = memory.read(&self.b.tensor);
        is_row.then(|| R::pack(self.b.view(&b), memory.precision()))?
    }

    /// Computes the product of one row. Returns false, with nothing written, if it is padding.
    fn multiply_row<R: Real>(&self, weights: &R::Panels, memory: &Memory<R>) -> bool {
        if let Some(Ragged::Rows(lengths)) = self.ragged
            && memory.read_index(&lengths)[0] == 0
        {
            return false;
        }
        let a = memory.read(&self.a.tensor);
        let bias = self.bias.map(|bias| memory.read(&bias));
        let addend = self.addend(bias.as_deref());
        let mut c = memory.write(&self.c.tensor);
        weights.matmul(self.a.view(&a), addend, &mut c, self.c.stride);
        true
    }
}

//! Control flow: masks of invocations over blocks.

use std::mem;

use super::{Active, MOST_EXCESS, MOST_ROUNDS, Machine};
use crate::backend::interpreter::code::{Block, Case, Instruction, Kind, Operation, Register};
use crate::backend::interpreter::finding::FindingKind;
use crate::backend::interpreter::mask::Mask;

impl Machine<'_> {
    /// Runs a block for the invocations of `mask`, and returns those that reach its end.
    pub(super) fn run_block(&mut self, block: &Block, mask: Mask) -> Mask {
        if mask.is_empty() || self.is_stopped {
            return Mask::NONE;
        }
        let mut mask = mask;
        self.active = Active::new(mask);
        for Instruction { at, kind } in block {
            if let Kind::Operation(operation) = kind {
                self.operate(operation, *at);
                continue;
            }
            mask = self.run_control(kind, *at, mask);
            if mask.is_empty() || self.is_stopped {
                return Mask::NONE;
            }
            self.active = Active::new(mask);
        }
        mask
    }

    /// Runs an instruction of control flow, and returns the invocations that go on after it.
    fn run_control(&mut self, kind: &Kind, at: u32, mask: Mask) -> Mask {
        match kind {
            Kind::If {
                condition,
                accept,
                reject,
            } => {
                self.use_value(*condition, mask, at);
                let accepted = self.where_true(*condition, mask);
                let accepted_end = self.run_block(accept, accepted);
                accepted_end.or(self.run_block(reject, mask.without(accepted)))
            }
            Kind::Loop {
                body,
                continuing,
                break_if,
                is_counted,
            } => {
                let most = is_counted.then_some(self.dispatch.most_iterations);
                self.run_loop([body, continuing], *break_if, most, at, mask)
            }
            Kind::Switch { selector, cases } => {
                self.use_value(*selector, mask, at);
                self.run_switch(*selector, cases, mask)
            }
            Kind::Break => {
                self.broken = self.broken.or(mask);
                Mask::NONE
            }
            Kind::Continue => {
                self.continued = self.continued.or(mask);
                Mask::NONE
            }
            Kind::Return(result) => {
                for &(from, to) in result {
                    self.operate(&Operation::Assign { from, to }, at);
                }
                self.returned = self.returned.or(mask);
                Mask::NONE
            }
            Kind::Call(body) => {
                let outer = mem::replace(&mut self.returned, Mask::NONE);
                let end = self.run_block(body, mask);
                end.or(mem::replace(&mut self.returned, outer))
            }
            Kind::Barrier { workgroup, storage } => {
                self.barrier(*workgroup, *storage, at);
                mask
            }
            Kind::Operation(_) => unreachable!("`run_block` runs operations"),
        }
    }

    /// The invocations of `mask` for which a register is true.
    pub(super) fn where_true(&self, condition: Register, mask: Mask) -> Mask {
        let values = self.values(condition);
        Mask::from_fn(mask.range(), |lane| values[lane] != 0).and(mask)
    }

    fn run_loop(
        &mut self,
        [body, continuing]: [&Block; 2],
        break_if: Option<Register>,
        most: Option<usize>,
        at: u32,
        mask: Mask,
    ) -> Mask {
        let outer = (self.broken, self.continued);
        let mut left = Mask::NONE;
        let mut running = mask;
        while !running.is_empty() && !self.is_stopped {
            (self.broken, self.continued) = (Mask::NONE, Mask::NONE);
            let end = self.run_block(body, running);
            left = left.or(self.broken);
            running = self.run_block(continuing, end.or(self.continued));
            if let Some(condition) = break_if {
                self.use_value(condition, running, at);
                let ends = self.where_true(condition, running);
                left = left.or(ends);
                running = running.without(ends);
            }
            self.count_iteration(running, most, at);
        }
        (self.broken, self.continued) = outer;
        left
    }

    /// Counts an iteration of each invocation that goes on with the next one.
    fn count_iteration(&mut self, running: Mask, most: Option<usize>, at: u32) {
        self.rounds += 1;
        if self.rounds > MOST_ROUNDS {
            self.is_stopped = true;
            let detail = format!("the loops of a workgroup have run {MOST_ROUNDS} times");
            self.report(
                FindingKind::Iterations,
                at,
                running.range().start,
                None,
                detail,
            );
        }
        let Some(most) = most else {
            return;
        };
        let mut first = None;
        for lane in running.iter() {
            self.iterations[lane] += 1;
            if self.iterations[lane] > most {
                first = first.or(Some(lane));
            }
        }
        // A loop without an end.
        self.is_stopped |= first.is_some_and(|lane| self.iterations[lane] - most > MOST_EXCESS);
        if let Some(lane) = first {
            let detail = format!("the kernel states at most {most} iterations of all its loops");
            self.report(FindingKind::Iterations, at, lane, None, detail);
        }
    }

    fn run_switch(&mut self, selector: Register, cases: &[Case], mask: Mask) -> Mask {
        let outer = mem::replace(&mut self.broken, Mask::NONE);
        let mut unmatched = mask;
        let entries: Vec<Mask> = {
            let values = self.values(selector);
            let mut of_case = |case: &Case| {
                let matches = |lane: usize| case.value == Some(values[lane]);
                let entering = Mask::from_fn(mask.range(), matches).and(unmatched);
                unmatched = unmatched.without(entering);
                entering
            };
            cases.iter().map(&mut of_case).collect()
        };
        let (mut end, mut falling) = (Mask::NONE, Mask::NONE);
        for (case, mut entering) in cases.iter().zip(entries) {
            if case.value.is_none() {
                entering = unmatched;
            }
            let reached = self.run_block(&case.body, entering.or(falling));
            falling = if case.falls_through {
                reached
            } else {
                Mask::NONE
            };
            end = end.or(if case.falls_through {
                Mask::NONE
            } else {
                reached
            });
        }
        end.or(falling).or(mem::replace(&mut self.broken, outer))
    }

    /// Orders the accesses before and after it.
    fn barrier(&mut self, workgroup: bool, storage: bool, at: u32) {
        self.require_everyone(at, "the barrier");
        *self.clock += 1;
        if workgroup {
            self.shared_time.barrier = *self.clock;
        }
        if storage {
            self.storage_time.barrier = *self.clock;
        }
    }

    /// Reports an operation that not all invocations of the workgroup reach together.
    pub(super) fn require_everyone(&mut self, at: u32, what: &str) {
        let absent = self.everyone.without(self.active.mask);
        if absent.is_empty() {
            return;
        }
        let detail = format!(
            "{what} is reached by {} of {} invocations; invocation {} is absent",
            self.active.mask.len(),
            self.everyone.len(),
            absent.range().start
        );
        self.report(
            FindingKind::NonUniform,
            at,
            self.active.first(),
            None,
            detail,
        );
    }
}

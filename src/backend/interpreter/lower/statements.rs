//! Lowering of statements.

use naga::{
    AtomicFunction as NagaAtomic, Barrier, CollectiveOperation, Expression, GatherMode, Handle,
    Statement, SubgroupOperation, SwitchValue,
};

use super::places::Root;
use super::{Frame, Lowering, Value};
use crate::backend::interpreter::arithmetic::BinaryFunction;
use crate::backend::interpreter::code::{
    AtomicFunction, Block, Case, Kind, Operation, Register, ShuffleSource,
};
use crate::error::Result;

impl<'a> Lowering<'a> {
    /// Lowers a function: its local variables, then its statements. The frame's result is set.
    pub(super) fn function_body(&mut self, frame: &mut Frame<'a>) -> Result<Block> {
        let mut out = vec![];
        let function = frame.function;
        for (handle, variable) in function.local_variables.iter() {
            let ty = &self.module.types[variable.ty].inner;
            let words = match variable.init {
                Some(init) => self.words(frame, init, &mut out)?,
                None => self.zeros(ty)?,
            };
            let registers = self.allocate_all(words.len());
            for (&to, from) in registers.iter().zip(words) {
                self.emit(Operation::Copy { from, to }, &mut out);
            }
            let first = registers.first().copied().unwrap_or(self.next);
            frame.locals.insert(handle, first);
        }
        let body = self.block(frame, &function.body)?;
        out.extend(body);
        Ok(out)
    }

    /// Lowers a block, and frees its registers.
    fn block(&mut self, frame: &mut Frame<'a>, block: &'a naga::Block) -> Result<Block> {
        let mark = self.next;
        let out = self.open_block(frame, block)?;
        self.next = mark;
        Ok(out)
    }

    /// Lowers a block whose registers the caller frees.
    fn open_block(&mut self, frame: &mut Frame<'a>, block: &'a naga::Block) -> Result<Block> {
        let mut out = vec![];
        for (statement, span) in block.span_iter() {
            if span.is_defined() {
                self.at = *span;
            }
            self.statement(frame, statement, &mut out)?;
        }
        Ok(out)
    }

    fn statement(
        &mut self,
        frame: &mut Frame<'a>,
        statement: &'a Statement,
        out: &mut Block,
    ) -> Result<()> {
        match statement {
            Statement::Emit(range) => {
                for handle in range.clone() {
                    self.evaluate(frame, handle, out)?;
                }
            }
            Statement::Block(block) => out.extend(self.open_block(frame, block)?),
            Statement::If {
                condition,
                accept,
                reject,
            } => self.lower_if(frame, *condition, [accept, reject], out)?,
            Statement::Loop {
                body,
                continuing,
                break_if,
            } => self.lower_loop(frame, [body, continuing], *break_if, out)?,
            Statement::Switch { selector, cases } => {
                self.lower_switch(frame, *selector, cases, out)?;
            }
            Statement::Break => self.push(Kind::Break, out),
            Statement::Continue => self.push(Kind::Continue, out),
            Statement::Return { value } => self.lower_return(frame, *value, out)?,
            Statement::ControlBarrier(barrier) => {
                let known = Barrier::WORK_GROUP | Barrier::STORAGE;
                if !known.contains(*barrier) {
                    return Err(self.refused("this kind of barrier"));
                }
                let kind = Kind::Barrier {
                    workgroup: barrier.contains(Barrier::WORK_GROUP),
                    storage: barrier.contains(Barrier::STORAGE),
                };
                self.push(kind, out);
            }
            Statement::Store { pointer, value } => {
                let place = self.place(frame, *pointer, out)?;
                let words = self.words(frame, *value, out)?;
                self.store(&place, words, out)?;
            }
            Statement::Call {
                function,
                arguments,
                result,
            } => self.lower_call(frame, *function, arguments, *result, out)?,
            Statement::Atomic {
                pointer,
                fun,
                value,
                result,
            } => self.lower_atomic(frame, *pointer, *fun, *value, *result, out)?,
            Statement::SubgroupGather {
                mode,
                argument,
                result,
            } => self.lower_shuffle(frame, *mode, *argument, *result, out)?,
            Statement::SubgroupCollectiveOperation {
                op,
                collective_op,
                argument,
                result,
            } => self.lower_reduce(frame, (*op, *collective_op), *argument, *result, out)?,
            other => {
                let text = format!("{other:?}");
                let name = text.split([' ', '(', '{']).next().unwrap_or_default();
                return Err(self.refused(&format!("the statement {name}")));
            }
        }
        Ok(())
    }

    /// Where the condition is known, only its branch is lowered.
    fn lower_if(
        &mut self,
        frame: &mut Frame<'a>,
        condition: Handle<Expression>,
        [accept, reject]: [&'a naga::Block; 2],
        out: &mut Block,
    ) -> Result<()> {
        let condition = self.words(frame, condition, out)?[0];
        if let Some(known) = self.known(condition) {
            let taken = if known != 0 { accept } else { reject };
            out.extend(self.open_block(frame, taken)?);
            return Ok(());
        }
        let at = self.at;
        let accept = self.block(frame, accept)?;
        let reject = self.block(frame, reject)?;
        self.at = at;
        let kind = Kind::If {
            condition,
            accept,
            reject,
        };
        self.push(kind, out);
        Ok(())
    }

    fn lower_loop(
        &mut self,
        frame: &mut Frame<'a>,
        [body, continuing]: [&'a naga::Block; 2],
        break_if: Option<Handle<Expression>>,
        out: &mut Block,
    ) -> Result<()> {
        let (mark, at) = (self.next, self.at);
        // What the body computes, the continuing block and the condition may use.
        let lowered = self.open_block(frame, body)?;
        let is_counted = !self.has_few_iterations(frame, body);
        let mut continuing = self.open_block(frame, continuing)?;
        let break_if = match break_if {
            Some(condition) => Some(self.words(frame, condition, &mut continuing)?[0]),
            None => None,
        };
        self.next = mark;
        self.at = at;
        let kind = Kind::Loop {
            body: lowered,
            continuing,
            break_if,
            is_counted,
        };
        self.push(kind, out);
        Ok(())
    }

    fn lower_switch(
        &mut self,
        frame: &mut Frame<'a>,
        selector: Handle<Expression>,
        cases: &'a [naga::SwitchCase],
        out: &mut Block,
    ) -> Result<()> {
        let selector = self.words(frame, selector, out)?[0];
        let at = self.at;
        let mut lowered = vec![];
        for case in cases {
            lowered.push(Case {
                value: match case.value {
                    SwitchValue::U32(value) => Some(value),
                    SwitchValue::I32(value) => Some(value.cast_unsigned()),
                    SwitchValue::Default => None,
                },
                body: self.block(frame, &case.body)?,
                falls_through: case.fall_through,
            });
        }
        self.at = at;
        let kind = Kind::Switch {
            selector,
            cases: lowered,
        };
        self.push(kind, out);
        Ok(())
    }

    fn lower_return(
        &mut self,
        frame: &mut Frame<'a>,
        value: Option<Handle<Expression>>,
        out: &mut Block,
    ) -> Result<()> {
        let mut copies = vec![];
        if let Some(value) = value {
            let words = self.words(frame, value, out)?;
            copies = words
                .into_iter()
                .zip(frame.result.iter().copied())
                .collect();
            let bound = self.upper_bound(frame, value);
            frame.returned_bound = frame.returned_bound.zip(bound).map(|(a, b)| a.max(b));
        }
        self.push(Kind::Return(copies), out);
        Ok(())
    }

    fn lower_call(
        &mut self,
        frame: &mut Frame<'a>,
        callee: Handle<naga::Function>,
        arguments: &[Handle<Expression>],
        result: Option<Handle<Expression>>,
        out: &mut Block,
    ) -> Result<()> {
        let function = &self.module.functions[callee];
        let mut values = vec![];
        let mut bounds = vec![];
        for &argument in arguments {
            values.push(self.value(frame, argument, out)?);
            bounds.push(self.upper_bound(frame, argument));
        }
        let registers = match &function.result {
            Some(result) => {
                let ty = &self.module.types[result.ty].inner;
                let words = self.words_of(ty, super::Layout::Packed)?.len();
                self.allocate_all(words)
            }
            None => vec![],
        };
        let (mark, at) = (self.next, self.at);
        let mut inner = Frame::new(function, &self.info[callee], values, bounds);
        inner.result.clone_from(&registers);
        let body = self.function_body(&mut inner)?;
        self.next = mark;
        self.at = at;
        self.push(Kind::Call(body), out);
        if let Some(result) = result {
            let words = registers.into_iter().map(Register::Temporary).collect();
            frame.values.insert(result, Value::Words(words));
            frame.result_bounds.insert(result, inner.returned_bound);
        }
        Ok(())
    }

    fn lower_atomic(
        &mut self,
        frame: &mut Frame<'a>,
        pointer: Handle<Expression>,
        function: NagaAtomic,
        value: Handle<Expression>,
        result: Option<Handle<Expression>>,
        out: &mut Block,
    ) -> Result<()> {
        let kind = self.kind_of(frame, value)?;
        let is_signed = kind == naga::ScalarKind::Sint;
        let choose = |signed, unsigned| if is_signed { signed } else { unsigned };
        let function = match function {
            NagaAtomic::Exchange { compare: None } => AtomicFunction::Exchange,
            NagaAtomic::Exchange { .. } => {
                return Err(self.refused("atomicCompareExchangeWeak"));
            }
            NagaAtomic::Add => AtomicFunction::Update(BinaryFunction::Add),
            NagaAtomic::Subtract => AtomicFunction::Update(BinaryFunction::Subtract),
            NagaAtomic::And => AtomicFunction::Update(BinaryFunction::And),
            NagaAtomic::InclusiveOr => AtomicFunction::Update(BinaryFunction::Or),
            NagaAtomic::ExclusiveOr => AtomicFunction::Update(BinaryFunction::ExclusiveOr),
            NagaAtomic::Min => {
                AtomicFunction::Update(choose(BinaryFunction::MinSigned, BinaryFunction::Min))
            }
            NagaAtomic::Max => {
                AtomicFunction::Update(choose(BinaryFunction::MaxSigned, BinaryFunction::Max))
            }
        };
        let place = self.place(frame, pointer, out)?;
        let Root::Memory(memory) = place.root else {
            return Err(self.refused("an atomic operation on this variable"));
        };
        let address = self.address(&place)?;
        let value = self.words(frame, value, out)?[0];
        // naga names a result also where the shader uses none.
        let used = result.filter(|&result| frame.info[result].ref_count > 0);
        let to = used.map(|_| self.allocate());
        let operation = Operation::Atomic {
            memory,
            address,
            function,
            value: Some(value),
            to,
        };
        self.emit(operation, out);
        if let (Some(result), Some(to)) = (result, to) {
            let words = vec![Register::Temporary(to)];
            frame.values.insert(result, Value::Words(words));
        }
        Ok(())
    }

    fn lower_shuffle(
        &mut self,
        frame: &mut Frame<'a>,
        mode: GatherMode,
        argument: Handle<Expression>,
        result: Handle<Expression>,
        out: &mut Block,
    ) -> Result<()> {
        let mut operand = |handle| Ok(self.words(frame, handle, out)?[0]);
        let source = match mode {
            GatherMode::BroadcastFirst => ShuffleSource::First,
            GatherMode::Broadcast(lane) | GatherMode::Shuffle(lane) => {
                ShuffleSource::Lane(operand(lane)?)
            }
            GatherMode::ShuffleDown(distance) => ShuffleSource::Down(operand(distance)?),
            GatherMode::ShuffleUp(distance) => ShuffleSource::Up(operand(distance)?),
            GatherMode::ShuffleXor(distance) => ShuffleSource::Xor(operand(distance)?),
            GatherMode::QuadBroadcast(_) | GatherMode::QuadSwap(_) => {
                return Err(self.refused("operations on quads"));
            }
        };
        let from = self.words(frame, argument, out)?;
        let to = self.allocate_all(from.len());
        self.set_result(frame, result, &to);
        self.emit(Operation::Shuffle { source, from, to }, out);
        Ok(())
    }

    fn lower_reduce(
        &mut self,
        frame: &mut Frame<'a>,
        (operation, collective): (SubgroupOperation, CollectiveOperation),
        argument: Handle<Expression>,
        result: Handle<Expression>,
        out: &mut Block,
    ) -> Result<()> {
        let kind = self.kind_of(frame, argument)?;
        let (multiply, add) = self.products(kind)?;
        let function = match (collective, operation, kind) {
            (CollectiveOperation::Reduce, SubgroupOperation::Add, _) => add,
            (CollectiveOperation::Reduce, SubgroupOperation::Mul, _) => multiply,
            (CollectiveOperation::Reduce, SubgroupOperation::Max, naga::ScalarKind::Float) => {
                BinaryFunction::MaxFloat
            }
            (CollectiveOperation::Reduce, SubgroupOperation::Min, naga::ScalarKind::Float) => {
                BinaryFunction::MinFloat
            }
            (_, SubgroupOperation::All, _) => BinaryFunction::And,
            (_, SubgroupOperation::Any, _) => BinaryFunction::Or,
            _ => {
                let name = format!("the subgroup operation {collective:?} {operation:?}");
                return Err(self.refused(&name));
            }
        };
        let from = self.words(frame, argument, out)?;
        let to = self.allocate_all(from.len());
        self.set_result(frame, result, &to);
        self.emit(Operation::Reduce { function, from, to }, out);
        Ok(())
    }

    fn set_result(&self, frame: &mut Frame<'a>, result: Handle<Expression>, to: &[u32]) {
        let words = to.iter().map(|&to| Register::Temporary(to)).collect();
        frame.values.insert(result, Value::Words(words));
    }
}

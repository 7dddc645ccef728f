//! Lowering of naga's IR to [`Code`].
//!
//! Functions are inlined, so that pointers are known places and most constants fold. Temporary
//! registers are a stack: a block frees its own, since naga's expressions are not used after the
//! block that evaluates them.

mod bounds;
mod expressions;
mod functions;
mod places;
mod statements;

use std::collections::HashMap;

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{
    AddressSpace, Binding, BuiltIn, Expression, Function, GlobalVariable, Handle, Literal, Module,
    ScalarKind, Span, StorageAccess, TypeInner,
};

use super::code::{self, Block, Code, Input, Instruction, Kind, Operation, Register};
use super::mask::MOST_INVOCATIONS;
use crate::error::{Error, Result};
use places::{Layout, Place};

/// Lowers the entry point of a module without overrides.
///
/// # Errors
/// [`Error::Failed`] for what the interpreter does not support, by its name and line.
pub(super) fn lower(
    kernel: &str,
    source: &str,
    module: &Module,
    info: &ModuleInfo,
) -> Result<Code> {
    let entry = &module.entry_points[0];
    let mut lowering = Lowering {
        kernel,
        module,
        info,
        code: Code {
            source: source.into(),
            workgroup_size: entry.workgroup_size,
            ..Code::default()
        },
        next: 0,
        constants: HashMap::new(),
        privates: HashMap::new(),
        at: Span::default(),
    };
    let invocations: u64 = entry
        .workgroup_size
        .iter()
        .copied()
        .map(u64::from)
        .product();
    if invocations > MOST_INVOCATIONS as u64 {
        return Err(lowering.refused(&format!("{invocations} invocations in a workgroup")));
    }
    lowering.declare_globals()?;
    let privates = lowering.declare_privates()?;
    let arguments = lowering.declare_inputs(&entry.function)?;
    let bounds = vec![None; arguments.len()];
    let mut frame = Frame::new(&entry.function, info.get_entry_point(0), arguments, bounds);
    let body = lowering.function_body(&mut frame)?;
    lowering.code.body = privates.into_iter().chain(body).collect();
    Ok(lowering.code)
}

/// The value of an expression.
#[derive(Debug, Clone)]
enum Value {
    /// A register for each word.
    Words(Vec<Register>),
    Place(Place),
}

/// A function that is being inlined.
struct Frame<'a> {
    function: &'a Function,
    info: &'a FunctionInfo,
    values: HashMap<Handle<Expression>, Value>,
    arguments: Vec<Value>,
    /// Upper bounds of the arguments that follow from the shader's text; see [`bounds`].
    argument_bounds: Vec<Option<u32>>,
    /// Upper bounds of the results of calls.
    result_bounds: HashMap<Handle<Expression>, Option<u32>>,
    /// First registers of the local variables.
    locals: HashMap<Handle<naga::LocalVariable>, u32>,
    /// Registers of the result.
    result: Vec<u32>,
    /// The largest bound of the values returned so far.
    returned_bound: Option<u32>,
}

impl<'a> Frame<'a> {
    fn new(
        function: &'a Function,
        info: &'a FunctionInfo,
        arguments: Vec<Value>,
        argument_bounds: Vec<Option<u32>>,
    ) -> Frame<'a> {
        Frame {
            function,
            info,
            values: HashMap::new(),
            arguments,
            argument_bounds,
            result_bounds: HashMap::new(),
            locals: HashMap::new(),
            result: vec![],
            returned_bound: Some(0),
        }
    }
}

struct Lowering<'a> {
    kernel: &'a str,
    module: &'a Module,
    info: &'a ModuleInfo,
    code: Code,
    /// The next free temporary register.
    next: u32,
    constants: HashMap<u32, u32>,
    /// First registers of the private variables.
    privates: HashMap<Handle<GlobalVariable>, u32>,
    /// The position of what is being lowered.
    at: Span,
}

impl<'a> Lowering<'a> {
    /// The error for what is not supported.
    fn refused(&self, what: &str) -> Error {
        let line = self.at.location(&self.code.source).line_number;
        Error::Failed(format!(
            "{}: the interpreter does not support {what} (line {line}); use another device",
            self.kernel
        ))
    }

    fn position(&self) -> u32 {
        self.at.to_range().map_or(0, |range| range.start as u32)
    }

    /// Whether the comment of the line says that integers may wrap.
    fn line_wraps(&self) -> bool {
        let source = &self.code.source;
        let at = (self.position() as usize).min(source.len());
        let begin = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = source[begin..].lines().next().unwrap_or_default();
        let comment = line.split_once("//").map(|(_, comment)| comment);
        comment.is_some_and(|comment| comment.split_whitespace().any(|word| word == "wraps"))
    }

    fn constant(&mut self, word: u32) -> Register {
        let constants = &mut self.code.constants;
        let index = self.constants.entry(word).or_insert_with(|| {
            constants.push(word);
            constants.len() as u32 - 1
        });
        Register::Constant(*index)
    }

    /// The word of a register that the shader's text determines.
    fn known(&self, register: Register) -> Option<u32> {
        match register {
            Register::Constant(index) => Some(self.code.constants[index as usize]),
            _ => None,
        }
    }

    fn allocate(&mut self) -> u32 {
        let register = self.next;
        self.next += 1;
        self.code.temporaries = self.code.temporaries.max(self.next as usize);
        register
    }

    fn allocate_all(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.allocate()).collect()
    }

    fn emit(&self, operation: Operation, out: &mut Block) {
        self.push(Kind::Operation(operation), out);
    }

    fn push(&self, kind: Kind, out: &mut Block) {
        let at = self.position();
        out.push(Instruction { at, kind });
    }

    /// Declares bindings, the uniform and workgroup variables.
    fn declare_globals(&mut self) -> Result<()> {
        let mut first = 0;
        for (handle, variable) in self.module.global_variables.iter() {
            self.at = self.module.global_variables.get_span(handle);
            let name = variable.name.clone().unwrap_or_default();
            let ty = &self.module.types[variable.ty].inner;
            let is_private = variable.space == AddressSpace::Private;
            if has_halves(self.module, ty) && !is_private {
                return Err(self.refused("f16 in memory that invocations share"));
            }
            match variable.space {
                AddressSpace::Storage { access } => {
                    let Some(binding) = &variable.binding else {
                        return Err(self.refused("a storage buffer without a binding"));
                    };
                    let index = binding.binding as usize;
                    let bindings = &mut self.code.bindings;
                    if bindings.len() <= index {
                        bindings.resize_with(index + 1, || None);
                    }
                    bindings[index] = Some(code::Binding {
                        name,
                        is_real: is_real(self.module, ty),
                        is_written: access.contains(StorageAccess::STORE),
                    });
                }
                AddressSpace::Uniform => {
                    let words = ty.size(self.module.to_ctx()) / 4;
                    self.code.uniforms = self.code.uniforms.max(words as usize);
                }
                AddressSpace::WorkGroup => {
                    let words = self.memory_words(ty)?;
                    let variable = code::WorkgroupVariable { name, first, words };
                    self.code.variables.push(variable);
                    first += words;
                }
                // `declare_privates` declares them.
                AddressSpace::Private => {}
                space => return Err(self.refused(&format!("variables in {space:?}"))),
            }
        }
        Ok(())
    }

    /// Declares the private variables, and returns the code that sets their first values.
    fn declare_privates(&mut self) -> Result<Block> {
        let mut out = vec![];
        let all = self.module.global_variables.iter();
        for (handle, variable) in all.filter(|(_, each)| each.space == AddressSpace::Private) {
            self.at = self.module.global_variables.get_span(handle);
            let words = match variable.init {
                Some(init) => self.global_words(init)?,
                None => self.zeros(&self.module.types[variable.ty].inner)?,
            };
            let registers = self.allocate_all(words.len());
            for (&to, from) in registers.iter().zip(words) {
                self.emit(Operation::Copy { from, to }, &mut out);
            }
            let first = registers.first().copied().unwrap_or(self.next);
            self.privates.insert(handle, first);
        }
        Ok(out)
    }

    /// Declares the built-in inputs of the entry point.
    fn declare_inputs(&mut self, function: &Function) -> Result<Vec<Value>> {
        let mut arguments = vec![];
        for argument in &function.arguments {
            let Some(Binding::BuiltIn(built_in)) = argument.binding else {
                return Err(self.refused("inputs that are not built in"));
            };
            let (input, words) = match built_in {
                BuiltIn::GlobalInvocationId => (Input::GlobalInvocationId, 3),
                BuiltIn::LocalInvocationId => (Input::LocalInvocationId, 3),
                BuiltIn::LocalInvocationIndex => (Input::LocalInvocationIndex, 1),
                BuiltIn::WorkGroupId => (Input::WorkgroupId, 3),
                BuiltIn::NumWorkGroups => (Input::WorkgroupCount, 3),
                BuiltIn::SubgroupSize => (Input::SubgroupSize, 1),
                BuiltIn::SubgroupInvocationId => (Input::SubgroupInvocationId, 1),
                BuiltIn::SubgroupId => (Input::SubgroupId, 1),
                BuiltIn::NumSubgroups => (Input::SubgroupCount, 1),
                other => return Err(self.refused(&format!("the input {other:?}"))),
            };
            let registers = self.allocate_all(words);
            self.code.inputs.push((input, registers[0]));
            let registers = registers.into_iter().map(Register::Temporary);
            arguments.push(Value::Words(registers.collect()));
        }
        Ok(arguments)
    }

    /// The words of an expression outside functions.
    fn global_words(&mut self, handle: Handle<Expression>) -> Result<Vec<Register>> {
        let module = self.module;
        match &module.global_expressions[handle] {
            &Expression::Literal(literal) => Ok(vec![self.literal(literal)?]),
            &Expression::Constant(constant) => self.global_words(module.constants[constant].init),
            &Expression::ZeroValue(ty) => self.zeros(&module.types[ty].inner),
            Expression::Compose { components, .. } => {
                let mut words = vec![];
                for &component in components {
                    words.extend(self.global_words(component)?);
                }
                Ok(words)
            }
            &Expression::Splat { size, value } => {
                let word = self.global_words(value)?[0];
                Ok(vec![word; size as usize])
            }
            other => Err(self.refused(&format!("the constant expression {other:?}"))),
        }
    }

    fn literal(&mut self, literal: Literal) -> Result<Register> {
        let word = match literal {
            Literal::F32(value) => value.to_bits(),
            Literal::F16(value) => value.to_f32().to_bits(),
            Literal::U32(value) => value,
            Literal::I32(value) => value.cast_unsigned(),
            Literal::Bool(value) => value.into(),
            other => return Err(self.refused(&format!("the literal {other:?}"))),
        };
        Ok(self.constant(word))
    }

    fn zeros(&mut self, ty: &TypeInner) -> Result<Vec<Register>> {
        let words = self.words_of(ty, Layout::Packed)?.len();
        Ok(vec![self.constant(0); words])
    }
}

/// Whether a type has parts of 16 bits. A value of f16 is one word, which has it as f32.
fn has_halves(module: &Module, ty: &TypeInner) -> bool {
    let has = |ty: &Handle<naga::Type>| has_halves(module, &module.types[*ty].inner);
    match ty {
        TypeInner::Array { base, .. } => has(base),
        TypeInner::Struct { members, .. } => members.iter().any(|member| has(&member.ty)),
        _ => ty.scalar_width() == Some(2),
    }
}

/// Whether the scalars of a type are floats.
fn is_real(module: &Module, ty: &TypeInner) -> bool {
    match ty {
        TypeInner::Array { base, .. } => is_real(module, &module.types[*base].inner),
        _ => ty.scalar_kind() == Some(ScalarKind::Float),
    }
}

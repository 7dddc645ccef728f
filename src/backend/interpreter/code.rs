//! The form in which the interpreter runs a shader: functions are inlined, and every value is taken
//! apart into words of 32 bits, of which each is a register with one element per invocation.

use super::arithmetic::{BinaryFunction, UnaryFunction};

/// A register: one word of a value, for every invocation of a workgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Register {
    /// A computed word; registers are used again when the block that computed them ends.
    Temporary(u32),
    /// A word that the shader's text determines, by its index in [`Code::constants`].
    Constant(u32),
    /// A word of the call's uniform, by its index.
    Uniform(u32),
}

/// A shader, ready to run.
#[derive(Debug, Default)]
pub(super) struct Code {
    /// The WGSL.
    pub source: String,
    pub workgroup_size: [u32; 3],
    pub body: Block,
    /// Number of temporary registers.
    pub temporaries: usize,
    pub constants: Vec<u32>,
    /// Number of words of the uniform.
    pub uniforms: usize,
    /// The built-in inputs, and the first of their registers.
    pub inputs: Vec<(Input, u32)>,
    pub variables: Vec<WorkgroupVariable>,
    /// The storage buffers, by their binding.
    pub bindings: Vec<Option<Binding>>,
}

/// A built-in input of the entry point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    GlobalInvocationId,
    LocalInvocationId,
    LocalInvocationIndex,
    WorkgroupId,
    WorkgroupCount,
    SubgroupSize,
    SubgroupInvocationId,
    SubgroupId,
    SubgroupCount,
}

/// A variable in workgroup memory.
#[derive(Debug)]
pub(super) struct WorkgroupVariable {
    pub name: String,
    /// The index of its first word in the workgroup's memory.
    pub first: u32,
    pub words: u32,
}

/// A storage buffer of a shader.
#[derive(Debug)]
pub(super) struct Binding {
    pub name: String,
    /// Whether the elements are floating-point numbers.
    pub is_real: bool,
    pub is_written: bool,
}

/// Instructions in order.
pub(super) type Block = Vec<Instruction>;

/// An instruction with its position in the source, in bytes.
#[derive(Debug)]
pub(super) struct Instruction {
    pub at: u32,
    pub kind: Kind,
}

/// What an instruction does.
#[derive(Debug)]
pub(super) enum Kind {
    Operation(Operation),
    If {
        condition: Register,
        accept: Block,
        reject: Block,
    },
    Loop {
        body: Block,
        continuing: Block,
        break_if: Option<Register>,
        /// Whether the iterations count towards [`Kernel::iterations`](crate::kernels::Kernel).
        is_counted: bool,
    },
    Switch {
        selector: Register,
        cases: Vec<Case>,
    },
    Break,
    Continue,
    /// Leaves the innermost [`Kind::Call`], or the entry point, after copying the result.
    Return(Vec<(Register, u32)>),
    /// An inlined function.
    Call(Block),
    /// A control barrier, and the memory that it orders.
    Barrier {
        workgroup: bool,
        storage: bool,
    },
}

/// A case of a switch.
#[derive(Debug)]
pub(super) struct Case {
    /// `None` for the default case.
    pub value: Option<u32>,
    pub body: Block,
    pub falls_through: bool,
}

/// An instruction without control flow.
#[derive(Debug)]
pub(super) enum Operation {
    Unary {
        function: UnaryFunction,
        operand: Register,
        to: u32,
    },
    Binary {
        function: BinaryFunction,
        left: Register,
        right: Register,
        /// Whether an integer result may wrap, because the source line says so.
        wraps: bool,
        to: u32,
    },
    Select {
        condition: Register,
        accept: Register,
        reject: Register,
        to: u32,
    },
    /// Copies for all invocations.
    Copy { from: Register, to: u32 },
    /// Copies for the active invocations alone.
    Assign { from: Register, to: u32 },
    /// Selects element `index` of a value whose elements have as many words as `to`.
    Pick {
        from: Vec<Register>,
        index: Register,
        to: Vec<u32>,
    },
    /// Reads words of local variables, whose registers begin at `first`.
    LoadLocal {
        first: u32,
        address: Address,
        to: Vec<u32>,
    },
    StoreLocal {
        first: u32,
        address: Address,
        from: Vec<Register>,
    },
    Load {
        memory: Memory,
        address: Address,
        to: Vec<u32>,
    },
    Store {
        memory: Memory,
        address: Address,
        from: Vec<Register>,
    },
    Atomic {
        memory: Memory,
        address: Address,
        function: AtomicFunction,
        value: Option<Register>,
        to: Option<u32>,
    },
    /// The number of elements of `stride` words in the tensor of a binding.
    ArrayLength { binding: u32, stride: u32, to: u32 },
    /// Reads values of other invocations of the subgroup.
    Shuffle {
        source: ShuffleSource,
        from: Vec<Register>,
        to: Vec<u32>,
    },
    /// Combines the values of all invocations of the subgroup.
    Reduce {
        function: BinaryFunction,
        from: Vec<Register>,
        to: Vec<u32>,
    },
}

/// An atomic operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtomicFunction {
    Load,
    Store,
    Update(BinaryFunction),
    Exchange,
}

/// The invocation whose value a shuffle reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum ShuffleSource {
    First,
    Lane(Register),
    Up(Register),
    Down(Register),
    Xor(Register),
}

/// Memory that invocations share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// The buffer of a binding.
    Storage(u32),
    /// A variable in [`Code::variables`].
    Workgroup(u32),
}

/// Words of a variable or buffer.
#[derive(Debug, Clone, Default)]
pub(super) struct Address {
    /// The constant part of the first word's index.
    pub offset: u32,
    pub indices: Vec<Index>,
    /// The words that are accessed, relative to the first.
    pub words: Vec<u32>,
}

/// An index that is computed at run time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index {
    pub register: Register,
    /// Words from one element to the next.
    pub stride: u32,
    /// Number of elements, where the type says it.
    pub bound: Option<u32>,
}

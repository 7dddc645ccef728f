//! Places: what pointers refer to.

use naga::proc::IndexableLength;
use naga::{AddressSpace, Expression, Handle, Type, TypeInner};

use super::{Frame, Lowering, Value};
use crate::backend::interpreter::code::{
    Address, AtomicFunction, Block, Index, Memory, Operation, Register,
};
use crate::error::Result;

/// How the words of a composite value are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One after the other.
    Packed,
    /// As WGSL arranges memory that is shared with the host.
    Shared,
}

/// A variable that pointers refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// A local or private variable, whose registers begin here.
    Local(u32),
    Uniform,
    Memory(Memory),
}

/// A variable or a part of it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) root: Root,
    pub(super) ty: TypeInner,
    pub(super) offset: u32,
    pub(super) indices: Vec<Index>,
}

impl Place {
    fn layout(&self) -> Layout {
        match self.root {
            Root::Local(_) => Layout::Packed,
            Root::Uniform | Root::Memory(_) => Layout::Shared,
        }
    }
}

impl<'a> Lowering<'a> {
    fn inner(&self, ty: Handle<Type>) -> &'a TypeInner {
        &self.module.types[ty].inner
    }

    /// The index of each word of a value of this type, relative to its first.
    pub(super) fn words_of(&self, ty: &TypeInner, layout: Layout) -> Result<Vec<u32>> {
        let mut words = vec![];
        self.push_words(ty, layout, 0, &mut words)?;
        Ok(words)
    }

    /// Words of memory of a workgroup variable.
    pub(super) fn memory_words(&self, ty: &TypeInner) -> Result<u32> {
        match ty {
            TypeInner::Array { .. } => {
                let (stride, count, _) = self.elements(ty, Layout::Shared)?;
                Ok(stride * count.unwrap_or(0))
            }
            _ => Ok(ty.size(self.module.to_ctx()) / 4),
        }
    }

    fn push_words(
        &self,
        ty: &TypeInner,
        layout: Layout,
        first: u32,
        words: &mut Vec<u32>,
    ) -> Result<()> {
        match ty {
            TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) if scalar.width <= 4 => {
                words.push(first);
                Ok(())
            }
            TypeInner::Vector { size, scalar } if scalar.width <= 4 => {
                words.extend((0..*size as u32).map(|component| first + component));
                Ok(())
            }
            TypeInner::Matrix { columns, .. } => {
                for column in 0..*columns as u32 {
                    let (offset, ty) = self.element(ty, column, layout)?;
                    self.push_words(&ty, layout, first + offset, words)?;
                }
                Ok(())
            }
            TypeInner::Array { .. } => {
                let (_, Some(count), _) = self.elements(ty, layout)? else {
                    return Err(self.refused("values of an array without a fixed size"));
                };
                for index in 0..count {
                    let (offset, ty) = self.element(ty, index, layout)?;
                    self.push_words(&ty, layout, first + offset, words)?;
                }
                Ok(())
            }
            TypeInner::Struct { members, .. } => {
                for index in 0..members.len() as u32 {
                    let (offset, ty) = self.element(ty, index, layout)?;
                    self.push_words(&ty, layout, first + offset, words)?;
                }
                Ok(())
            }
            other => Err(self.refused(&format!("values of the type {other:?}"))),
        }
    }

    /// Words from one element of a composite type to the next, their number, and their type.
    pub(super) fn elements(
        &self,
        ty: &TypeInner,
        layout: Layout,
    ) -> Result<(u32, Option<u32>, TypeInner)> {
        Ok(match *ty {
            TypeInner::Vector { size, scalar } => (1, Some(size as u32), TypeInner::Scalar(scalar)),
            TypeInner::Matrix {
                columns,
                rows,
                scalar,
            } => {
                let stride = match layout {
                    Layout::Shared if rows as u32 == 3 => 4,
                    _ => rows as u32,
                };
                let column = TypeInner::Vector { size: rows, scalar };
                (stride, Some(columns as u32), column)
            }
            TypeInner::Array { base, size, stride } => {
                let stride = match layout {
                    Layout::Packed => self.words_of(self.inner(base), layout)?.len() as u32,
                    Layout::Shared => stride / 4,
                };
                let count = match size.resolve(self.module.to_ctx()) {
                    Ok(IndexableLength::Known(count)) => Some(count),
                    Ok(IndexableLength::Dynamic) => None,
                    Err(problem) => return Err(self.refused(&problem.to_string())),
                };
                (stride, count, self.inner(base).clone())
            }
            ref other => return Err(self.refused(&format!("an index of the type {other:?}"))),
        })
    }

    /// The first word of an element of a composite type, and its type.
    pub(super) fn element(
        &self,
        ty: &TypeInner,
        index: u32,
        layout: Layout,
    ) -> Result<(u32, TypeInner)> {
        if let TypeInner::Struct { members, .. } = ty {
            let member = &members[index as usize];
            let offset = match layout {
                Layout::Shared => member.offset / 4,
                Layout::Packed => {
                    let mut offset = 0;
                    for before in &members[..index as usize] {
                        offset += self.words_of(self.inner(before.ty), layout)?.len() as u32;
                    }
                    offset
                }
            };
            return Ok((offset, self.inner(member.ty).clone()));
        }
        let (stride, _, ty) = self.elements(ty, layout)?;
        Ok((index.saturating_mul(stride), ty))
    }

    pub(super) fn global_place(&self, handle: Handle<naga::GlobalVariable>) -> Result<Place> {
        let variable = &self.module.global_variables[handle];
        let root = match variable.space {
            AddressSpace::Uniform => Root::Uniform,
            AddressSpace::Private => Root::Local(self.privates[&handle]),
            AddressSpace::Storage { .. } => {
                let binding = variable
                    .binding
                    .as_ref()
                    .map_or(0, |binding| binding.binding);
                Root::Memory(Memory::Storage(binding))
            }
            AddressSpace::WorkGroup => {
                let globals = self.module.global_variables.iter();
                let shared = globals.filter(|(_, other)| other.space == AddressSpace::WorkGroup);
                let index = shared.take_while(|(other, _)| *other != handle).count();
                Root::Memory(Memory::Workgroup(index as u32))
            }
            space => return Err(self.refused(&format!("variables in {space:?}"))),
        };
        Ok(Place {
            root,
            ty: self.inner(variable.ty).clone(),
            offset: 0,
            indices: vec![],
        })
    }

    /// The part of a place at a constant index.
    pub(super) fn part(&self, place: &Place, index: u32) -> Result<Place> {
        let (offset, ty) = self.element(&place.ty, index, place.layout())?;
        Ok(Place {
            root: place.root,
            ty,
            offset: place.offset.saturating_add(offset),
            indices: place.indices.clone(),
        })
    }

    /// The part of a place at an index that is computed.
    pub(super) fn part_at(&self, place: &Place, index: Register) -> Result<Place> {
        let (stride, bound, ty) = self.elements(&place.ty, place.layout())?;
        if let Some(known) = self.known(index)
            && bound.is_none_or(|bound| known < bound)
        {
            return self.part(place, known);
        }
        let mut indices = place.indices.clone();
        indices.push(Index {
            register: index,
            stride,
            bound,
        });
        Ok(Place {
            root: place.root,
            ty,
            offset: place.offset,
            indices,
        })
    }

    pub(super) fn address(&self, place: &Place) -> Result<Address> {
        Ok(Address {
            offset: place.offset,
            indices: place.indices.clone(),
            words: self.words_of(&place.ty, place.layout())?,
        })
    }

    pub(super) fn load(&mut self, place: &Place, out: &mut Block) -> Result<Vec<Register>> {
        let address = self.address(place)?;
        let is_static = place.indices.is_empty();
        if place.root == Root::Uniform {
            if !is_static {
                return Err(self.refused("a computed index of the uniform"));
            }
            let words = address.words.iter();
            return Ok(words
                .map(|word| Register::Uniform(place.offset + word))
                .collect());
        }
        let to = self.allocate_all(address.words.len());
        let registers = to.iter().map(|&to| Register::Temporary(to)).collect();
        match place.root {
            Root::Local(first) if is_static => {
                for (word, &to) in address.words.iter().zip(&to) {
                    let from = Register::Temporary(first + place.offset + word);
                    self.emit(Operation::Copy { from, to }, out);
                }
            }
            Root::Local(first) => {
                self.emit(Operation::LoadLocal { first, address, to }, out);
            }
            Root::Memory(memory) => {
                let operation = self.load_of(memory, place, address, to);
                self.emit(operation, out);
            }
            Root::Uniform => unreachable!("it is loaded above"),
        }
        Ok(registers)
    }

    fn load_of(&self, memory: Memory, place: &Place, address: Address, to: Vec<u32>) -> Operation {
        match place.ty {
            TypeInner::Atomic(_) => Operation::Atomic {
                memory,
                address,
                function: AtomicFunction::Load,
                value: None,
                to: to.first().copied(),
            },
            _ => Operation::Load {
                memory,
                address,
                to,
            },
        }
    }

    pub(super) fn store(
        &mut self,
        place: &Place,
        from: Vec<Register>,
        out: &mut Block,
    ) -> Result<()> {
        let address = self.address(place)?;
        match place.root {
            Root::Local(first) if place.indices.is_empty() => {
                for (word, from) in address.words.iter().zip(from) {
                    let to = first + place.offset + word;
                    self.emit(Operation::Assign { from, to }, out);
                }
            }
            Root::Local(first) => self.emit(
                Operation::StoreLocal {
                    first,
                    address,
                    from,
                },
                out,
            ),
            Root::Memory(memory) => {
                let operation = match place.ty {
                    TypeInner::Atomic(_) => Operation::Atomic {
                        memory,
                        address,
                        function: AtomicFunction::Store,
                        value: from.first().copied(),
                        to: None,
                    },
                    _ => Operation::Store {
                        memory,
                        address,
                        from,
                    },
                };
                self.emit(operation, out);
            }
            Root::Uniform => return Err(self.refused("a store to the uniform")),
        }
        Ok(())
    }

    /// The place of a pointer expression.
    pub(super) fn place(
        &mut self,
        frame: &mut Frame<'a>,
        pointer: Handle<Expression>,
        out: &mut Block,
    ) -> Result<Place> {
        match self.value(frame, pointer, out)? {
            Value::Place(place) => Ok(place),
            Value::Words(_) => Err(self.refused("this pointer")),
        }
    }
}

//! The buffers of a program on the CPU.

use std::cell::{Ref, RefCell, RefMut};
use std::mem;
use std::ops::Range;

use crate::numeric::aligned::Aligned;
use crate::numeric::precision::Precision;
use crate::numeric::real::Real;
use crate::tensor::{Buffer, BufferId, Element, Tensor};

/// The buffers of a program on the CPU, with real elements of type `R`.
///
/// Each buffer is in a `RefCell`, whose rule is that of a GPU's bindings: any number of readers or
/// one writer. A kernel that violates it panics.
///
/// The host may lend memory for parts of buffers while a program runs ([`Memory::lend`]). A tensor
/// is then entirely in one lent part, or in none.
#[derive(Debug)]
pub struct Memory<'h, R> {
    own: Vec<MemoryCell<R>>,
    lent: Vec<LentCell<'h, R>>,
    /// To what the operands of matmuls are rounded.
    precision: Precision,
}

#[derive(Debug)]
enum MemoryCell<R> {
    Real(RefCell<OwnValues<R>>),
    Index(RefCell<Vec<u32>>),
}

/// The values of a buffer, allocated at once, or when they are first written.
#[derive(Debug)]
struct OwnValues<R> {
    values: Option<Aligned<R>>,
    len: usize,
}

/// A tensor for which memory of the host stands.
#[derive(Debug)]
pub struct LentTensor<'h, R> {
    pub tensor: Tensor,
    /// As many values as the tensor has elements.
    pub values: HostValues<'h, R>,
}

/// Memory of the host.
#[derive(Debug)]
pub enum HostValues<'h, R> {
    /// A kernel that writes it panics.
    Read(&'h [R]),
    Written(&'h mut [R]),
}

#[derive(Debug)]
struct LentCell<'h, R> {
    tensor: Tensor,
    values: RefCell<HostValues<'h, R>>,
}

impl<R: Real> Memory<'static, R> {
    /// Allocates `buffers`, zeroed, for matmuls of this precision. Those in `lendable` are
    /// allocated when they are first written, and never if the host always lends memory for them.
    pub fn new(buffers: &[Buffer], precision: Precision, lendable: &[BufferId]) -> Self {
        let cell = |(index, buffer): (usize, &Buffer)| match buffer.element {
            Element::Real => {
                let is_lendable = lendable.iter().any(|id| id.index() == index);
                MemoryCell::Real(RefCell::new(OwnValues {
                    values: (!is_lendable).then(|| Aligned::zeros(buffer.len)),
                    len: buffer.len,
                }))
            }
            Element::Index => MemoryCell::Index(RefCell::new(vec![0; buffer.len])),
        };
        Memory {
            own: buffers.iter().enumerate().map(cell).collect(),
            lent: vec![],
            precision,
        }
    }

    /// Runs `run` with the memory of `lent` in the place of its tensors.
    pub fn lend<'h, T>(
        &mut self,
        lent: Vec<LentTensor<'h, R>>,
        run: impl FnOnce(&mut Memory<'h, R>) -> T,
    ) -> T {
        let cell = |LentTensor { tensor, values }| LentCell {
            tensor,
            values: RefCell::new(values),
        };
        let mut lending = Lending {
            memory: Memory {
                own: mem::take(&mut self.own),
                lent: lent.into_iter().map(cell).collect(),
                precision: self.precision,
            },
            owner: self,
        };
        run(&mut lending.memory)
    }

    /// Returns the bytes that are allocated.
    pub fn bytes(&self) -> u64 {
        let bytes = |cell: &MemoryCell<R>| match cell {
            MemoryCell::Real(cell) if cell.borrow().values.is_some() => {
                cell.borrow().len * size_of::<R>()
            }
            MemoryCell::Real(_) => 0,
            MemoryCell::Index(cell) => cell.borrow().len() * size_of::<u32>(),
        };
        self.own.iter().map(|cell| bytes(cell) as u64).sum()
    }
}

/// The buffers of `owner` while the host lends memory. They go back also when a kernel panics.
struct Lending<'m, 'h, R: 'static> {
    owner: &'m mut Memory<'static, R>,
    memory: Memory<'h, R>,
}

impl<R: 'static> Drop for Lending<'_, '_, R> {
    fn drop(&mut self) {
        self.owner.own = mem::take(&mut self.memory.own);
    }
}

impl<'h, R: Real> Memory<'h, R> {
    /// Returns the precision of matmuls.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Borrows a tensor of real elements.
    pub fn read(&self, tensor: &Tensor) -> Ref<'_, [R]> {
        match self.lent(tensor) {
            Some(index) => {
                let (cell, range) = self.lent[index].part(tensor.range());
                Ref::map(cell.borrow(), |values| &values.read()[range])
            }
            None => Ref::map(self.real(tensor).borrow(), |v| v.read(tensor.range())),
        }
    }

    /// Borrows a tensor of real elements mutably.
    pub fn write(&self, tensor: &Tensor) -> RefMut<'_, [R]> {
        self.write_range(tensor, tensor.range())
    }

    /// Borrows several tensors of one buffer mutably. They are apart, and in the order of their
    /// offsets.
    pub fn write_each(&self, tensors: &[Tensor]) -> Vec<RefMut<'_, [R]>> {
        // For each memory: the values after the last borrowed tensor, and the offset of the first.
        let mut rests: Vec<(Option<usize>, RefMut<[R]>, usize)> = vec![];
        let mut borrowed = vec![];
        for tensor in tensors {
            let (range, lent) = (tensor.range(), self.lent(tensor));
            let rest = match rests.iter().position(|(of, ..)| *of == lent) {
                Some(at) => {
                    let (_, rest, offset) = rests.swap_remove(at);
                    RefMut::map(rest, |values| &mut values[range.start - offset..])
                }
                None => {
                    let end = match lent {
                        Some(index) => self.lent[index].tensor.range().end,
                        None => self.real(tensor).borrow().len,
                    };
                    self.write_range(tensor, range.start..end)
                }
            };
            let (own, rest) = RefMut::map_split(rest, |values| values.split_at_mut(range.len()));
            borrowed.push(own);
            rests.push((lent, rest, range.end));
        }
        borrowed
    }

    /// Borrows a range of the memory that a tensor is in.
    fn write_range(&self, tensor: &Tensor, range: Range<usize>) -> RefMut<'_, [R]> {
        match self.lent(tensor) {
            Some(index) => {
                let (cell, range) = self.lent[index].part(range);
                RefMut::map(cell.borrow_mut(), |v| &mut v.write(tensor)[range])
            }
            None => RefMut::map(self.real(tensor).borrow_mut(), |v| v.write(range)),
        }
    }

    /// Borrows a tensor of integers.
    pub fn read_index(&self, tensor: &Tensor) -> Ref<'_, [u32]> {
        Ref::map(self.index(tensor).borrow(), |v| &v[tensor.range()])
    }

    /// Borrows a tensor of integers mutably.
    pub fn write_index(&self, tensor: &Tensor) -> RefMut<'_, [u32]> {
        RefMut::map(self.index(tensor).borrow_mut(), |v| &mut v[tensor.range()])
    }

    /// Returns the index of the lent part that a tensor is in.
    fn lent(&self, tensor: &Tensor) -> Option<usize> {
        let range = tensor.range();
        let overlaps = |lent: &LentCell<R>| {
            let own = lent.tensor.range();
            lent.tensor.buffer == tensor.buffer && own.start < range.end && range.start < own.end
        };
        let found = self.lent.iter().position(overlaps)?;
        let own = self.lent[found].tensor.range();
        assert!(
            own.start <= range.start && range.end <= own.end,
            "{tensor:?} is partly in lent memory, {own:?}"
        );
        Some(found)
    }

    fn real(&self, tensor: &Tensor) -> &RefCell<OwnValues<R>> {
        match &self.own[tensor.buffer.index()] {
            MemoryCell::Real(cell) => cell,
            MemoryCell::Index(_) => panic!("{tensor:?} holds integers"),
        }
    }

    fn index(&self, tensor: &Tensor) -> &RefCell<Vec<u32>> {
        match &self.own[tensor.buffer.index()] {
            MemoryCell::Index(cell) => cell,
            MemoryCell::Real(_) => panic!("{tensor:?} holds real elements"),
        }
    }
}

impl<R: Real> OwnValues<R> {
    fn read(&self, range: Range<usize>) -> &[R] {
        match &self.values {
            Some(values) => &values[range],
            None => {
                assert!(range.is_empty(), "{range:?} is read before it is written");
                &[]
            }
        }
    }

    fn write(&mut self, range: Range<usize>) -> &mut [R] {
        if range.is_empty() {
            return &mut [];
        }
        let values = self.values.get_or_insert_with(|| Aligned::zeros(self.len));
        &mut values[range]
    }
}

impl<'h, R> LentCell<'h, R> {
    /// Returns the cell, and the place in it of a range of the buffer.
    fn part(&self, range: Range<usize>) -> (&RefCell<HostValues<'h, R>>, Range<usize>) {
        let first = self.tensor.offset;
        (&self.values, range.start - first..range.end - first)
    }
}

impl<R> HostValues<'_, R> {
    fn read(&self) -> &[R] {
        match self {
            HostValues::Read(values) => values,
            HostValues::Written(values) => values,
        }
    }

    fn write(&mut self, tensor: &Tensor) -> &mut [R] {
        match self {
            HostValues::Written(values) => values,
            HostValues::Read(_) => panic!("{tensor:?} is lent to be read, and is written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::tensor::Kind;

    const LEN: usize = 8;

    fn memory(lendable: &[BufferId]) -> Memory<'static, f32> {
        let buffer = Buffer {
            name: "values".into(),
            kind: Kind::Activations,
            element: Element::Real,
            len: LEN,
        };
        Memory::new(&[buffer], Precision::default(), lendable)
    }

    fn tensor(offset: usize, len: usize) -> Tensor {
        Tensor {
            buffer: BufferId(0),
            offset,
            shape: [len].into(),
        }
    }

    fn read(offset: usize, values: &[f32]) -> LentTensor<'_, f32> {
        LentTensor {
            tensor: tensor(offset, values.len()),
            values: HostValues::Read(values),
        }
    }

    fn written(offset: usize, values: &mut [f32]) -> LentTensor<'_, f32> {
        LentTensor {
            tensor: tensor(offset, values.len()),
            values: HostValues::Written(values),
        }
    }

    fn panics(run: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
            .expect("it has a text")
    }

    #[test]
    fn lent_memory_stands_for_its_tensors_alone() {
        let mut memory = memory(&[]);
        memory.write(&tensor(0, LEN)).fill(1.0);
        let (given, mut taken) = ([2.0, 3.0], [0.0; 2]);
        let lent = vec![read(2, &given), written(4, &mut taken)];
        memory.lend(lent, |memory| {
            assert_eq!(*memory.read(&tensor(0, 2)), [1.0, 1.0]);
            assert_eq!(*memory.read(&tensor(3, 1)), [3.0]);
            memory.write(&tensor(4, 1)).fill(5.0);
            memory.write(&tensor(6, 2)).fill(6.0);
            assert_eq!(*memory.read(&tensor(4, 2)), [5.0, 0.0]);
        });
        assert_eq!(taken, [5.0, 0.0]);
        assert_eq!(
            *memory.read(&tensor(0, LEN)),
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 6.0, 6.0]
        );
    }

    #[test]
    fn tensors_of_several_memories_are_borrowed_at_once() {
        let mut memory = memory(&[]);
        let mut taken = [0.0; 3];
        let tensors = [tensor(0, 1), tensor(2, 1), tensor(4, 1), tensor(6, 2)];
        memory.lend(vec![written(2, &mut taken)], |memory| {
            let mut borrowed = memory.write_each(&tensors);
            for (n, values) in borrowed.iter_mut().enumerate() {
                values.fill(1.0 + n as f32);
            }
            assert_eq!(borrowed.iter().map(|v| v.len()).sum::<usize>(), 5);
        });
        assert_eq!(taken, [2.0, 0.0, 3.0]);
        let own = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0];
        assert_eq!(*memory.read(&tensor(0, LEN)), own);
    }

    #[test]
    fn a_panic_gives_the_buffers_back() {
        let mut memory = memory(&[]);
        memory.write(&tensor(0, LEN)).fill(1.0);
        let given = [2.0, 3.0];
        let text = panics(|| {
            memory.lend(vec![read(2, &given)], |memory| {
                memory.write(&tensor(2, 2)).fill(0.0);
            });
        });
        assert!(
            text.contains("is lent to be read, and is written"),
            "{text}"
        );
        let text = panics(|| {
            memory.lend(vec![read(2, &given)], |memory| {
                memory.read(&tensor(1, 2));
            });
        });
        assert!(text.contains("is partly in lent memory"), "{text}");
        assert_eq!(*memory.read(&tensor(0, LEN)), [1.0; LEN]);
    }

    #[test]
    fn lendable_buffers_are_allocated_when_they_are_written() {
        let mut memory = memory(&[BufferId(0)]);
        let mut taken = [0.0; LEN];
        memory.lend(vec![written(0, &mut taken)], |memory| {
            memory.write(&tensor(0, LEN)).fill(1.0);
        });
        assert_eq!((memory.bytes(), taken), (0, [1.0; LEN]));
        assert!(memory.read(&tensor(3, 0)).is_empty());
        let text = panics(|| drop(memory.read(&tensor(0, 1))));
        assert!(text.contains("is read before it is written"), "{text}");
        memory.write(&tensor(1, 1)).fill(2.0);
        assert_eq!(memory.bytes(), 32);
        assert_eq!(*memory.read(&tensor(0, 3)), [0.0, 2.0, 0.0]);
    }
}

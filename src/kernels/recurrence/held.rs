//! Recurrent weights that the invocations of a scan keep in registers for all its time steps, as in
//! the persistent RNN of Diamos et al. 2016.
//!
//! An invocation keeps its share of the first rows of the packed weights in variables of its own,
//! one for each vec4, so that a compiler can put them into registers. Workgroup memory caches the
//! rows after them; the others are loaded in each step. The order of a sum is the same wherever its
//! weights are, so registers change no bits. With [`Tile::halves`](super::Tile) they are rounded to
//! f16, so that a register holds two; products and sums are f32.

use super::{Recurrence, TimeDirection};
use crate::kernels::words::wgsl_constants;
use crate::numeric::real::Real;

/// The rows of the packed weights that the invocations of a scan keep in registers.
#[derive(Debug)]
pub(super) struct HeldWeights {
    direction: TimeDirection,
    /// Slots of each block of rows: row `lane + slot * lanes` of a block belongs to a lane. In the
    /// forward pass R is one block, in the backward pass each gate is.
    slots: Vec<usize>,
    /// Rows of a block, without those of its remaining terms.
    whole_rows: usize,
    /// Rows of a block.
    rows: usize,
    /// Elements of a row.
    columns: usize,
    lanes: usize,
    /// vec4s that an invocation loads of a row: of each recurrent gate, or of each element.
    parts: usize,
    /// The distance of these in a row.
    stride: usize,
    /// Workers that have an element.
    elements: usize,
    /// Elements of the shader's array of vec4s.
    array: usize,
    /// Whether the weights are f16.
    halves: bool,
}

impl Recurrence {
    /// Returns the weights that invocations keep in registers in one direction of time: none where
    /// a worker computes several units, or several times its elements.
    pub(super) fn held_weights(&self, direction: TimeDirection) -> HeldWeights {
        let spec = self.cell.spec();
        let (gates, h, p) = (spec.recurrent_gates, self.hidden_size, self.output_size);
        let (lanes, each) = (self.tile.lanes_of(direction), self.tile.each);
        let mut held = match direction {
            TimeDirection::Forward => HeldWeights {
                direction,
                slots: vec![0; gates.min(1)],
                whole_rows: p / 4,
                rows: p / 4,
                columns: gates * h,
                lanes,
                parts: gates,
                stride: h,
                elements: h,
                array: spec.gates,
                halves: self.tile.halves,
            },
            TimeDirection::Backward => HeldWeights {
                direction,
                slots: vec![0; gates],
                whole_rows: h / 4,
                rows: h.div_ceil(4),
                columns: p,
                lanes,
                parts: each,
                stride: p.div_ceil(each),
                elements: p.div_ceil(each),
                array: each,
                halves: self.tile.halves,
            },
        };
        if held.elements * lanes <= self.invocations(direction) {
            held.fill(self.tile.registers);
        }
        held
    }
}

impl Recurrence {
    /// Returns R as the invocations of a scan read it: a copy whose weights that they keep as f16
    /// carry the error of that rounding, or `None` where there are none.
    pub(super) fn rounded_weights<R: Real>(
        &self,
        weights: &[R],
        direction: TimeDirection,
    ) -> Option<Vec<R>> {
        let held = self.held_weights(direction);
        if !held.rounds() {
            return None;
        }
        let (h, p) = (self.hidden_size, self.output_size);
        let mut weights = weights.to_vec();
        let rows = self.cell.spec().recurrent_gates * h;
        for (at, weight) in weights[..rows * p].iter_mut().enumerate() {
            let (gate, j, k) = (at / p / h, at / p % h, at % p);
            let packed_row = match direction {
                TimeDirection::Forward => k / 4,
                TimeDirection::Backward => gate * h.div_ceil(4) + j / 4,
            };
            if held.is_rounded(packed_row) {
                *weight = weight.halved();
            }
        }
        Some(weights)
    }
}

impl HeldWeights {
    /// Takes the first slots of all blocks that fit into `registers`.
    fn fill(&mut self, registers: usize) {
        let mut free = registers / (4 * self.parts).max(1);
        let most = self.whole_rows.div_ceil(self.lanes);
        for slots in &mut self.slots {
            *slots = free.min(most);
            free -= *slots;
        }
    }

    /// Returns the number of rows that are held: the first of all blocks.
    pub(super) fn rows(&self) -> usize {
        let most = self.whole_rows.div_ceil(self.lanes);
        let rows = self.slots.iter().map(|&slots| match slots {
            0 => 0,
            _ if slots == most => self.rows,
            _ => slots * self.lanes,
        });
        rows.sum()
    }

    /// Returns the number of vec4s of packed weights that the invocations of a workgroup hold.
    pub(super) fn vec4s(&self) -> usize {
        self.rows() * self.columns
    }

    /// Whether an invocation keeps weights as f16.
    fn rounds(&self) -> bool {
        self.halves && self.registers() > 0
    }

    /// Whether a row of the packed weights is kept in registers, as f16.
    fn is_rounded(&self, row: usize) -> bool {
        let (block, row) = (row / self.rows.max(1), row % self.rows.max(1));
        let slots = self.slots.get(block).copied().unwrap_or(0);
        self.halves && row < self.whole_rows && row / self.lanes < slots
    }

    /// Returns the number of values that an invocation keeps.
    pub(super) fn registers(&self) -> usize {
        4 * self.parts * self.slots.iter().sum::<usize>()
    }

    /// Returns the WGSL: `HELD`, the vec4s of packed weights that the invocations of a workgroup
    /// hold; their variables; `hold_weights`, which loads them; and `add_held`, which adds their
    /// terms to the sums of a lane.
    pub(super) fn wgsl(&self) -> String {
        let sizes = wgsl_constants(&[("REGISTERS", self.registers()), ("HELD", self.vec4s())]);
        let slots = match self.direction {
            TimeDirection::Forward => {
                wgsl_constants(&[("HELD_SLOTS", self.slots.first().copied().unwrap_or(0))])
            }
            TimeDirection::Backward => self.slots_function(),
        };
        let rounds = self.rounds();
        let halves = if rounds {
            wgsl_constants(&[("HALVES", 1)])
        } else {
            String::new()
        };
        let kind = if rounds { "f16" } else { "f32" };
        let variables = self.each_vec4(|name, _| format!("var<private> {name}: vec4<{kind}>;\n"));
        let [load, add] = [self.load_function(), self.add_function()];
        let round = if rounds {
            include_str!("../../../shaders/common/halves.wgsl")
        } else {
            ""
        };
        format!("{sizes}{halves}{slots}{variables}{load}{add}{round}")
    }

    /// Calls `text` for the name and the part of each vec4 that an invocation holds.
    fn each_vec4(&self, text: impl Fn(String, usize) -> String) -> String {
        let mut all = String::new();
        for (block, &slots) in self.slots.iter().enumerate() {
            for slot in 0..slots {
                let own = (0..self.parts).map(|part| text(name(block, slot, part), part));
                all.extend(own);
            }
        }
        all
    }

    /// Returns `held_slots`, the slots of the rows of a gate.
    fn slots_function(&self) -> String {
        let filled = self.slots.iter().enumerate();
        let filled = filled.filter(|&(_, &slots)| slots > 0);
        let slots = filled.fold("0u".to_string(), |others, (gate, slots)| {
            format!("select({others}, {slots}u, gate == {gate}u)")
        });
        format!("fn held_slots(gate: u32) -> u32 {{ return {slots}; }}\n")
    }

    /// Returns `hold_weights`. A worker or a row past the last one takes the last.
    fn load_function(&self) -> String {
        let mut text = "fn hold_weights(worker: u32, share: u32) {\n".to_string();
        if self.registers() > 0 {
            let last = self.elements - 1;
            text += &format!("    let element = min(worker, {last}u);\n");
        }
        for (block, &slots) in self.slots.iter().enumerate() {
            for slot in 0..slots {
                let (first, last) = (slot * self.lanes, self.whole_rows - 1);
                let row = format!("row_{block}_{slot}");
                let begin = block * self.rows;
                let columns = self.columns;
                text += &format!(
                    "    let {row} = ({begin}u + min(share + {first}u, {last}u)) * {columns}u;\n"
                );
                for part in 0..self.parts {
                    let name = name(block, slot, part);
                    let column = self.column(part);
                    let value = self.kept(&format!("load_weight({row} + {column}, false)"));
                    text += &format!("    {name} = {value};\n");
                }
            }
        }
        text + "}\n"
    }

    /// Returns the expression of a vec4 of weights as an invocation keeps it.
    fn kept(&self, weights: &str) -> String {
        if self.halves {
            format!("halved({weights})")
        } else {
            weights.to_string()
        }
    }

    /// Returns the expression of a vec4 of weights that an invocation has kept.
    fn used(&self, name: String) -> String {
        if self.halves {
            format!("vec4<f32>({name})")
        } else {
            name
        }
    }

    /// Returns the column of a part in a row, as an expression of `element`.
    fn column(&self, part: usize) -> String {
        let (first, last) = (part * self.stride, self.columns - 1);
        match self.direction {
            TimeDirection::Forward => format!("element + {first}u"),
            TimeDirection::Backward => format!("min(element + {first}u, {last}u)"),
        }
    }

    /// Returns `add_held`.
    fn add_function(&self) -> String {
        let parameters = match self.direction {
            TimeDirection::Forward => {
                "products: ptr<function, Products>, from_gate: u32, to_gate: u32, base: u32"
            }
            TimeDirection::Backward => "sums: ptr<function, Sums>, gate: u32, base: u32",
        };
        let mut text = format!("fn add_held({parameters}, share: u32) {{\n");
        for (block, &slots) in self.slots.iter().enumerate() {
            let terms: String = (0..slots).map(|slot| self.add_terms(block, slot)).collect();
            match self.direction {
                TimeDirection::Forward => text += &terms,
                TimeDirection::Backward if slots > 0 => {
                    text += &format!("    if gate == {block}u {{\n{terms}    }}\n");
                }
                TimeDirection::Backward => {}
            }
        }
        text + "}\n"
    }

    /// Returns the statement that adds the terms of a slot, in the lanes that have its row.
    fn add_terms(&self, block: usize, slot: usize) -> String {
        let first = slot * self.lanes;
        let held = (0..self.parts).map(|part| self.used(name(block, slot, part)));
        let padding = (self.parts..self.array).map(|_| "vec4<f32>()".to_string());
        let weights = held.chain(padding).collect::<Vec<_>>().join(", ");
        let sums = match self.direction {
            TimeDirection::Forward => "products, from_gate, to_gate",
            TimeDirection::Backward => "sums",
        };
        let at = format!("base + (share + {first}u) * 4u");
        let statement = format!("add_terms({sums}, Weights({weights}), {at});");
        if first + self.lanes <= self.whole_rows {
            format!("    {statement}\n")
        } else {
            let rows = self.whole_rows;
            format!("    if share + {first}u < {rows}u {{ {statement} }}\n")
        }
    }
}

/// Returns the name of the variable of a vec4.
fn name(block: usize, slot: usize, part: usize) -> String {
    format!("held_{block}_{slot}_{part}")
}

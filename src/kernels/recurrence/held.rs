//! Recurrent weights that the invocations of a scan keep in registers for all its time steps, as in
//! the persistent RNN of Diamos et al. 2016.
//!
//! An invocation keeps its share of the first rows of the packed weights in variables of its own,
//! one for each vec4, so that a compiler can put them into registers. Workgroup memory caches the
//! rows after them; the others are loaded in each step. The order of a sum is the same wherever its
//! weights are, so registers change no bits.

use super::{Recurrence, TimeDirection};
use crate::kernels::words::wgsl_constants;

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
            },
        };
        if held.elements * lanes <= self.invocations(direction) {
            held.fill(self.tile.registers);
        }
        held
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
        let variables = self.each_vec4(|name, _| format!("var<private> {name}: vec4<f32>;\n"));
        let [load, add] = [self.load_function(), self.add_function()];
        format!("{sizes}{slots}{variables}{load}{add}")
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
                    text += &format!("    {name} = load_weight({row} + {column}, false);\n");
                }
            }
        }
        text + "}\n"
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
        let held = (0..self.parts).map(|part| name(block, slot, part));
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

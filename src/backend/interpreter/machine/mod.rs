//! Runs a dispatch: workgroup by workgroup, all invocations of a workgroup together, with masks
//! over structured control flow.

mod access;
mod control;
mod operations;
mod subgroup;
mod taint;

use std::mem;
use std::ops::Range;

use super::code::{Code, Input, Register};
use super::finding::{Element, Finding, FindingKind};
use super::mask::Mask;
use super::memory::{Interval, Region};
use super::subgroups::Subgroups;
use taint::Taints;

/// Findings of a dispatch after which no more are kept.
const MOST_FINDINGS: usize = 8;

/// Loop iterations of a workgroup after which a dispatch is stopped.
const MOST_ROUNDS: u64 = 50_000_000;

/// Loop iterations beyond the stated ones after which a dispatch is stopped.
const MOST_EXCESS: usize = 100_000;

/// A dispatch.
pub(super) struct Dispatch<'a> {
    pub(super) code: &'a Code,
    pub(super) kernel: &'a str,
    pub(super) uniforms: &'a [u32],
    /// The argument of each binding.
    pub(super) arguments: &'a [Argument],
    pub(super) grid: [u32; 3],
    pub(super) subgroups: Subgroups,
    /// Loop iterations of an invocation at most.
    pub(super) most_iterations: usize,
}

/// A tensor that is bound.
#[derive(Debug, Clone)]
pub(super) struct Argument {
    /// The index of the buffer.
    pub(super) region: usize,
    /// The tensor's words in the buffer.
    pub(super) range: Range<usize>,
    /// The tensor's name.
    pub(super) name: String,
    /// Whether the elements are reals.
    pub(super) is_real: bool,
}

/// The invocations that run an instruction.
#[derive(Debug, Clone)]
struct Active {
    mask: Mask,
    /// The smallest range that contains them.
    range: Range<usize>,
    /// Whether the range contains no others.
    is_dense: bool,
}

impl Active {
    fn new(mask: Mask) -> Active {
        let range = mask.range();
        Active {
            is_dense: mask.len() == range.len(),
            mask,
            range,
        }
    }

    fn lanes(&self) -> impl Iterator<Item = usize> + '_ {
        let is_active = |lane: &usize| self.is_dense || self.mask.contains(*lane);
        self.range.clone().filter(is_active)
    }

    fn first(&self) -> usize {
        self.range.start
    }
}

/// The state of a workgroup that runs.
struct Machine<'a> {
    dispatch: &'a Dispatch<'a>,
    storage: &'a mut [Region],
    shared: Region,
    temporaries: Vec<Vec<u32>>,
    constants: Vec<Vec<u32>>,
    uniforms: Vec<Vec<u32>>,
    workgroup: [u32; 3],
    /// All invocations of the workgroup.
    everyone: Mask,
    active: Active,
    /// Invocations that have left the innermost loop or switch.
    broken: Mask,
    /// Invocations that have gone on to the next iteration of the innermost loop.
    continued: Mask,
    /// Invocations that have returned from the innermost function.
    returned: Mask,
    /// Subgroup and lane of each invocation, and the invocation of each lane.
    lanes: Vec<(usize, usize)>,
    invocations: Vec<Option<usize>>,
    /// Loop iterations of each invocation.
    iterations: Vec<usize>,
    rounds: u64,
    /// The time, which never repeats; see [`Interval`].
    clock: &'a mut u32,
    storage_time: Interval,
    shared_time: Interval,
    /// The first words of an access, by invocation.
    offsets: Vec<u32>,
    taints: Taints,
    findings: Vec<Finding>,
    is_stopped: bool,
}

/// Runs a dispatch on the buffers `storage`, and returns what it has found.
pub(super) fn run(dispatch: &Dispatch, storage: &mut [Region], clock: &mut u32) -> Vec<Finding> {
    for (argument, binding) in dispatch.arguments.iter().zip(&dispatch.code.bindings) {
        if binding.as_ref().is_some_and(|binding| binding.is_written) {
            storage[argument.region].record_accesses();
        }
    }
    *clock += 1;
    let mut machine = Machine::new(dispatch, storage, clock);
    let [columns, rows, layers] = dispatch.grid;
    for z in 0..layers {
        for y in 0..rows {
            for x in 0..columns {
                machine.run_workgroup([x, y, z]);
                if machine.is_stopped {
                    return machine.findings;
                }
            }
        }
    }
    machine.findings
}

impl<'a> Machine<'a> {
    fn new(dispatch: &'a Dispatch, storage: &'a mut [Region], clock: &'a mut u32) -> Machine<'a> {
        let code = dispatch.code;
        let count = code.workgroup_size.iter().product::<u32>() as usize;
        let splat = |words: &[u32]| words.iter().map(|&word| vec![word; count]).collect();
        let lanes: Vec<_> = (0..count)
            .map(|invocation| dispatch.subgroups.lane_of(invocation, count))
            .collect();
        let groups = count.div_ceil(dispatch.subgroups.size);
        let mut invocations = vec![None; groups * dispatch.subgroups.size];
        for (invocation, &(group, lane)) in lanes.iter().enumerate() {
            invocations[group * dispatch.subgroups.size + lane] = Some(invocation);
        }
        let words = code
            .variables
            .iter()
            .map(|variable| variable.words as usize);
        let mut shared = Region::zeros(words.sum());
        shared.record_accesses();
        let time = Interval {
            dispatch: *clock,
            ..Interval::default()
        };
        Machine {
            dispatch,
            storage,
            shared,
            temporaries: vec![vec![0; count]; code.temporaries],
            constants: splat(&code.constants),
            uniforms: splat(dispatch.uniforms),
            workgroup: [0; 3],
            everyone: Mask::first(count),
            active: Active::new(Mask::first(count)),
            broken: Mask::NONE,
            continued: Mask::NONE,
            returned: Mask::NONE,
            lanes,
            invocations,
            iterations: vec![0; count],
            rounds: 0,
            clock,
            storage_time: time,
            shared_time: time,
            offsets: vec![0; count],
            taints: Taints::default(),
            findings: vec![],
            is_stopped: false,
        }
    }

    fn run_workgroup(&mut self, workgroup: [u32; 3]) {
        self.workgroup = workgroup;
        *self.clock += 1;
        let now = *self.clock;
        (self.storage_time.workgroup, self.storage_time.barrier) = (now, now);
        self.shared_time = Interval {
            dispatch: now,
            workgroup: now,
            barrier: now,
        };
        let words = self.shared.values.len();
        self.shared.values.fill(0);
        self.shared.poison(0..words);
        self.iterations.fill(0);
        self.rounds = 0;
        for &(input, first) in &self.dispatch.code.inputs {
            self.fill_input(input, first as usize);
        }
        let body = &self.dispatch.code.body;
        self.returned = Mask::NONE;
        self.run_block(body, self.everyone);
    }

    /// Fills the registers of a built-in input.
    fn fill_input(&mut self, input: Input, first: usize) {
        let [width, height, _] = self.dispatch.code.workgroup_size;
        let (grid, workgroup) = (self.dispatch.grid, self.workgroup);
        let size = self.dispatch.code.workgroup_size;
        let local = |lane: usize| {
            let lane = lane as u32;
            [lane % width, lane / width % height, lane / width / height]
        };
        let global = |lane: usize| {
            let local = local(lane);
            [0, 1, 2].map(|axis| workgroup[axis] * size[axis] + local[axis])
        };
        let subgroups = self.dispatch.subgroups;
        let count = self.everyone.len();
        let lanes = mem::take(&mut self.lanes);
        match input {
            Input::GlobalInvocationId => self.fill(first, global),
            Input::LocalInvocationId => self.fill(first, local),
            Input::LocalInvocationIndex => self.fill(first, |lane| [lane as u32]),
            Input::WorkgroupId => self.fill(first, |_| workgroup),
            Input::WorkgroupCount => self.fill(first, |_| grid),
            Input::SubgroupSize => self.fill(first, |_| [subgroups.size as u32]),
            Input::SubgroupInvocationId => self.fill(first, |lane| [lanes[lane].1 as u32]),
            Input::SubgroupId => self.fill(first, |lane| [lanes[lane].0 as u32]),
            Input::SubgroupCount => {
                let groups = count.div_ceil(subgroups.size) as u32;
                self.fill(first, |_| [groups]);
            }
        }
        self.lanes = lanes;
    }

    fn fill<const N: usize>(&mut self, first: usize, value: impl Fn(usize) -> [u32; N]) {
        for lane in self.everyone.range() {
            for (word, value) in value(lane).into_iter().enumerate() {
                self.temporaries[first + word][lane] = value;
            }
        }
    }

    /// The values of a register.
    fn values(&self, register: Register) -> &[u32] {
        match register {
            Register::Temporary(index) => &self.temporaries[index as usize],
            Register::Constant(index) => &self.constants[index as usize],
            Register::Uniform(index) => &self.uniforms[index as usize],
        }
    }

    /// Computes a register for a range that contains the active invocations. The others never read
    /// what it holds for them.
    fn compute(&mut self, to: u32, function: impl FnOnce(&Self, Range<usize>, &mut [u32])) {
        let mut result = mem::take(&mut self.temporaries[to as usize]);
        let range = self.active.range.clone();
        function(self, range.clone(), &mut result[range]);
        self.temporaries[to as usize] = result;
    }

    /// The line of a position in the source, from 1.
    fn line(&self, at: u32) -> usize {
        let source = &self.dispatch.code.source;
        let at = (at as usize).min(source.len());
        source[..at].matches('\n').count() + 1
    }

    /// Keeps a finding, the first of its kind in its line.
    fn report(
        &mut self,
        kind: FindingKind,
        at: u32,
        invocation: usize,
        element: Option<Element>,
        detail: String,
    ) {
        let source = &self.dispatch.code.source;
        let line = self.line(at);
        let findings = &mut self.findings;
        let is_known = findings
            .iter()
            .any(|known| known.kind == kind && known.line == line);
        if is_known || findings.len() >= MOST_FINDINGS {
            return;
        }
        findings.push(Finding {
            kind,
            kernel: self.dispatch.kernel.into(),
            line,
            text: source
                .lines()
                .nth(line - 1)
                .unwrap_or_default()
                .trim()
                .into(),
            workgroup: self.workgroup,
            invocation,
            element,
            detail,
        });
    }
}

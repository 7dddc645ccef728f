//! Operations of subgroups.

use super::Machine;
use crate::backend::interpreter::arithmetic::BinaryFunction;
use crate::backend::interpreter::code::{Register, ShuffleSource};
use crate::backend::interpreter::finding::FindingKind;

impl Machine<'_> {
    /// Reads registers of other invocations. The result of an invocation whose source does not take
    /// part is 0.
    pub(super) fn shuffle(
        &mut self,
        source: ShuffleSource,
        from: &[Register],
        to: &[u32],
        at: u32,
    ) {
        self.require_everyone(at, "the shuffle");
        self.require_same_operand(source, at);
        let active: Vec<usize> = self.active.lanes().collect();
        let sources: Vec<Option<usize>> = active
            .iter()
            .map(|&lane| self.source_of(source, lane))
            .collect();
        if let Some(absent) = sources.iter().position(Option::is_none) {
            let detail = "the lane that it reads does not take part or does not exist".into();
            self.report(FindingKind::NonUniform, at, active[absent], None, detail);
        }
        for (&from, &to) in from.iter().zip(to) {
            let values = self.values(from);
            let read = |source: &Option<usize>| source.map_or(0, |source| values[source]);
            let results: Vec<u32> = sources.iter().map(read).collect();
            for (&lane, result) in active.iter().zip(results) {
                self.temporaries[to as usize][lane] = result;
            }
        }
    }

    /// Reports a distance that differs within a subgroup, where WGSL requires the same.
    fn require_same_operand(&mut self, source: ShuffleSource, at: u32) {
        let (ShuffleSource::Up(operand)
        | ShuffleSource::Down(operand)
        | ShuffleSource::Xor(operand)) = source
        else {
            return;
        };
        let values = self.values(operand);
        let mut of_group: Vec<Option<u32>> = vec![None; self.invocations.len()];
        let differs = self.active.lanes().find(|&lane| {
            let known = &mut of_group[self.lanes[lane].0];
            *known.get_or_insert(values[lane]) != values[lane]
        });
        if let Some(lane) = differs {
            let detail = "the distance differs within the subgroup".into();
            self.report(FindingKind::NonUniform, at, lane, None, detail);
        }
    }

    /// The invocation that an invocation reads, if it takes part.
    fn source_of(&self, source: ShuffleSource, invocation: usize) -> Option<usize> {
        let (group, lane) = self.lanes[invocation];
        let operand = |register| self.values(register)[invocation] as usize;
        let first = || {
            let same = |other: &usize| self.lanes[*other].0 == group;
            let members = self.active.lanes().filter(same);
            members.min_by_key(|&other| self.lanes[other].1)
        };
        let lane = match source {
            ShuffleSource::First => return first(),
            ShuffleSource::Lane(index) => operand(index),
            ShuffleSource::Up(distance) => lane.checked_sub(operand(distance))?,
            ShuffleSource::Down(distance) => lane + operand(distance),
            ShuffleSource::Xor(distance) => lane ^ operand(distance),
        };
        let size = self.dispatch.subgroups.size;
        let source = (lane < size).then(|| self.invocations[group * size + lane]);
        source
            .flatten()
            .filter(|&source| self.active.mask.contains(source))
    }

    /// Combines the values of each subgroup.
    pub(super) fn reduce(
        &mut self,
        function: BinaryFunction,
        from: &[Register],
        to: &[u32],
        at: u32,
    ) {
        self.require_everyone(at, "the subgroup operation");
        let mut active: Vec<usize> = self.active.lanes().collect();
        active.sort_by_key(|&lane| self.lanes[lane]);
        for (&from, &to) in from.iter().zip(to) {
            let values = self.values(from);
            let mut of_group: Vec<Option<u32>> = vec![None; self.invocations.len()];
            for &lane in &active {
                let combined = &mut of_group[self.lanes[lane].0];
                let value = values[lane];
                *combined = Some(combined.map_or(value, |before| {
                    let mut result = [0];
                    function.apply(&[before], &[value], &mut result);
                    result[0]
                }));
            }
            for &lane in &active {
                let combined = of_group[self.lanes[lane].0];
                self.temporaries[to as usize][lane] = combined.unwrap_or(0);
            }
        }
    }
}

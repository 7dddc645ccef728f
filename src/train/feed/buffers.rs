//! The buffers of a data set in device memory.

use std::borrow::Cow;

use super::{HISTORY_ROWS, input_bytes};
use crate::backend::executor::Executor;
use crate::data::{Dataset, Inputs, Targets};
use crate::error::{Error, Result};
use crate::kernels::{Gather, GatherKind, IGNORE, control, history};
use crate::program::Phase;
use crate::record::RecordedNetwork;
use crate::tensor::{Element, Kind, Tensor};
use crate::train::weights::TargetWeights;

/// The buffers of a data set, or of a window over it, and of the loop.
#[derive(Debug, Clone)]
pub(super) struct FeedBuffers {
    /// Sequences that there is room for.
    pub(super) held: usize,
    inputs: Tensor,
    labels: Tensor,
    targets: Option<Tensor>,
    /// `[held, L]`
    lists: Option<Tensor>,
    lengths: Tensor,
    /// The weights of the targets of each head, in training by such.
    weights: Vec<Option<Tensor>>,
    /// What they are computed from when data are uploaded.
    pub(super) target_weights: Vec<Option<TargetWeights>>,
    /// The slot of each sequence of the pass.
    pub(super) order: Tensor,
    pub(super) control: Tensor,
    /// `[HISTORY_ROWS, history::WORDS]`
    pub(super) history: Tensor,
    /// The buffers of each of several heads.
    pub(super) heads: Vec<HeadBuffers>,
}

/// The targets of one of several heads, and what its steps record.
#[derive(Debug, Clone)]
pub(super) struct HeadBuffers {
    labels: Tensor,
    targets: Option<Tensor>,
    /// `[held, L]`
    lists: Option<Tensor>,
    /// Advanced with those of the loop, of which only the row of the history is read.
    pub(super) control: Tensor,
    /// `[HISTORY_ROWS, history::WORDS]`
    pub(super) history: Tensor,
}

/// The bytes of a sequence in device memory, with its targets.
pub(super) fn bytes_each(data: &Dataset) -> u64 {
    let rows_of = |targets: &Targets| {
        if targets.per_step() {
            data.steps as u64
        } else {
            1
        }
    };
    // Each of several heads has a label too.
    let several = matches!(data.targets, Targets::Heads(_));
    let each = data.targets.each_head().iter();
    let values = each.map(|targets| {
        let width = match targets {
            Targets::Values { width, .. } => *width as u64,
            Targets::Lists { longest, .. } => *longest as u64,
            _ => 0,
        };
        rows_of(targets).saturating_mul(width + u64::from(several))
    });
    let values = values.fold(0, u64::saturating_add);
    let inputs = (data.steps as u64).saturating_mul(data.features as u64);
    // A label and values or a list for each output, a length, and two elements of the order of a
    // window.
    let targets = rows_of(&data.targets)
        .saturating_add(values)
        .saturating_add(3);
    inputs
        .saturating_mul(input_bytes(&data.inputs))
        .saturating_add(targets.saturating_mul(4))
}

/// The part of `bytes` for sequences without weights, where each output has `count` weights too.
pub(super) fn without_weights(data: &Dataset, bytes: u64, count: usize) -> u64 {
    let rows = if data.targets.per_step() {
        data.steps
    } else {
        1
    };
    let (each, weights) = (u128::from(bytes_each(data)), 4 * (count * rows) as u128);
    (u128::from(bytes) * each / (each + weights)) as u64
}

/// The bytes of all of `data` in device memory.
pub(super) fn bytes_of(data: &Dataset) -> u64 {
    bytes_each(data).saturating_mul(data.count as u64)
}

/// The shares of `bytes` that the training split and the evaluated splits get: all they need, or
/// half and what the other leaves.
pub(crate) fn shares(train: &Dataset, evaluated: [Option<&Dataset>; 2], bytes: u64) -> [u64; 3] {
    let needed = evaluated.map(|data| data.map_or(0, bytes_of));
    let all = needed[0].saturating_add(needed[1]);
    let [train, granted] = halves(bytes_of(train), all, bytes);
    let first = u128::from(granted) * u128::from(needed[0]) / u128::from(all.max(1));
    [train, first as u64, granted - first as u64]
}

/// The shares of `bytes` of two parts that need so much.
fn halves(train: u64, test: u64, bytes: u64) -> [u64; 2] {
    let half = bytes / 2;
    match (train, test) {
        (_, test) if test <= half => [bytes - test, test],
        (train, _) if train <= half => [train, bytes - train],
        _ => [half; 2],
    }
}

/// Returns an error for buffers that a kernel cannot index with a u32.
pub(super) fn check_elements(network: &RecordedNetwork, data: &Dataset, held: usize) -> Result<()> {
    let width = data.features.max(network.network.head.size);
    let elements = held as u128 * data.steps as u128 * width as u128;
    if elements <= u128::from(u32::MAX) && data.count <= u32::MAX as usize / 2 {
        return Ok(());
    }
    Err(Error::LimitExceeded {
        what: format!("a data set of {} sequences", data.count),
        needed: format!("{elements} elements in one buffer"),
        device: "a kernel".into(),
        limit: u32::MAX.to_string(),
        remedy: "use less data".into(),
    })
}

impl FeedBuffers {
    /// Adds the buffers for `held` sequences to the program.
    pub(super) fn new(
        network: &mut RecordedNetwork,
        phase: Phase,
        data: &Dataset,
        held: usize,
        is_window: bool,
    ) -> FeedBuffers {
        let rows = target_rows(network.network.has_target_per_step(), data.steps);
        let heads = network.network.each_head();
        let rows_of = |index: usize| target_rows(heads[index].has_target_per_step(), data.steps);
        let weighted = weighted_heads(network, phase);
        let program = &mut network.program;
        let mut buffer = |name: &str, kind, element, extents: [usize; 2]| {
            let name = format!("{phase:?}.{name}").to_lowercase();
            program.buffer(name, kind, element, extents)
        };
        let (real, index) = (Element::Real, Element::Index);
        let elements = held * data.steps * data.features;
        let (element, words) = match &data.inputs {
            Inputs::Bytes { .. } => (index, elements.div_ceil(4)),
            Inputs::Floats(_) | Inputs::Stored(_) => (real, elements),
            Inputs::Tokens { .. } => (index, elements),
        };
        let inputs = buffer("data", Kind::Data, element, [words, 1]);
        let labels = buffer("labels", Kind::Data, index, [held, rows]);
        let [targets, lists] = target_buffers(&data.targets, [held, rows], &mut buffer);
        let lengths = buffer("lengths", Kind::Data, index, [held, 1]);
        let weights = weight_names(&weighted)
            .enumerate()
            .map(|(n, name)| name.map(|name| buffer(&name, Kind::Data, real, [held, rows_of(n)])))
            .collect();
        // The order of a window goes around the ring twice, so that a batch may cross its end.
        let slots = if is_window { 2 * held } else { held };
        let order = buffer("order", Kind::Data, index, [slots, 1]);
        let control = buffer("control", Kind::Control, index, [control::WORDS, 1]);
        let recorded = [HISTORY_ROWS, history::WORDS];
        let history = buffer("history", Kind::Control, real, recorded);
        let of_heads = match &data.targets {
            Targets::Heads(heads) => &heads[..],
            _ => &[],
        };
        let of_head = |(n, targets): (usize, &Targets)| {
            let mut buffer = |name: &str, kind, element, extents: [usize; 2]| {
                buffer(&format!("heads.{n}.{name}"), kind, element, extents)
            };
            let rows = rows_of(n);
            let labels = buffer("labels", Kind::Data, index, [held, rows]);
            let [targets, lists] = target_buffers(targets, [held, rows], &mut buffer);
            HeadBuffers {
                labels,
                targets,
                lists,
                control: buffer("control", Kind::Control, index, [control::WORDS, 1]),
                history: buffer("history", Kind::Control, real, recorded),
            }
        };
        let heads = of_heads.iter().enumerate().map(of_head).collect();
        FeedBuffers {
            held,
            inputs,
            labels,
            targets,
            lists,
            lengths,
            weights,
            target_weights: vec![],
            order,
            control,
            history,
            heads,
        }
    }

    /// Returns the control words of the loop and of each of several heads.
    pub(super) fn controls(&self) -> Vec<Tensor> {
        let heads = self.heads.iter().map(|head| head.control);
        std::iter::once(self.control).chain(heads).collect()
    }

    /// Records, in `phase`, the gathering of a batch of inputs, lengths, labels and targets.
    pub(super) fn record_gathers(
        &self,
        network: &mut RecordedNetwork,
        phase: Phase,
        data: &Dataset,
    ) {
        let chunk_steps = network.steps;
        let gather = |kind, source, out, [steps, source_steps]: [usize; 2], width| Gather {
            kind,
            source,
            order: self.order,
            control: self.control,
            out,
            steps,
            batch: network.batch,
            width,
            source_steps,
            chunk_steps,
        };
        let inputs = match &data.inputs {
            Inputs::Bytes { scale, .. } => GatherKind::Bytes { scale: *scale },
            Inputs::Floats(_) | Inputs::Stored(_) => GatherKind::Reals,
            Inputs::Tokens { .. } => GatherKind::Indices { absent: 0 },
        };
        let steps = [chunk_steps, data.steps];
        let rows_of = |is_per_step| steps.map(|steps| target_rows(is_per_step, steps));
        let rows = rows_of(network.network.has_target_per_step());
        let ignored = GatherKind::Indices { absent: IGNORE };
        let mut gathers = vec![
            gather(inputs, self.inputs, network.inputs, steps, data.features),
            gather(
                GatherKind::Lengths,
                self.lengths,
                network.lengths,
                [1, 1],
                1,
            ),
            gather(ignored, self.labels, network.head.labels, rows, 1),
        ];
        if let (Some(source), Some(out)) = (self.targets, network.head.targets) {
            let width = network.network.head.targets();
            gathers.push(gather(GatherKind::Reals, source, out, rows, width));
        }
        let gather_lists = |source: Tensor, out: Tensor| {
            let longest = [out.len() / network.batch, source.len() / self.held];
            gather(ignored, source, out, longest, 1)
        };
        if let (Some(source), Some(lists)) = (self.lists, network.head.lists) {
            gathers.push(gather_lists(source, lists.labels));
        }
        let heads = network.each_head().iter().zip(network.network.each_head());
        for (source, (tensors, head)) in self.weights.iter().zip(heads) {
            if let (&Some(source), Some(out)) = (source, tensors.weights) {
                let rows = rows_of(head.has_target_per_step());
                gathers.push(gather(GatherKind::Reals, source, out, rows, 1));
            }
        }
        let heads = network.heads.iter().zip(network.network.each_head());
        for (own, (tensors, head)) in self.heads.iter().zip(heads) {
            let rows = rows_of(head.has_target_per_step());
            gathers.push(gather(ignored, own.labels, tensors.labels, rows, 1));
            if let (Some(source), Some(lists)) = (own.lists, tensors.lists) {
                gathers.push(gather_lists(source, lists.labels));
            }
            if let (Some(source), Some(out)) = (own.targets, tensors.targets) {
                let width = head.targets();
                gathers.push(gather(GatherKind::Reals, source, out, rows, width));
            }
        }
        for gather in gathers {
            network.program.push(phase, gather);
        }
    }

    /// Inputs, labels, targets or lists, and lengths.
    #[cfg(test)]
    pub(super) fn contents(&self) -> [Option<Tensor>; 4] {
        [
            Some(self.inputs),
            Some(self.labels),
            self.targets.or(self.lists),
            Some(self.lengths),
        ]
    }

    /// Uploads these sequences into the slots from `slot` on.
    pub(super) fn upload(
        &self,
        executor: &mut dyn Executor,
        slot: usize,
        data: &Dataset,
    ) -> Result<()> {
        let part = |tensor: &Tensor| {
            let width = tensor.len() / self.held;
            tensor.part(slot * width, [data.count * width])
        };
        match &data.inputs {
            Inputs::Bytes { values, .. } => {
                let words = words_of(values);
                let first = slot * data.steps * data.features / 4;
                executor.write_index(&self.inputs.part(first, [words.len()]), &words)?;
            }
            Inputs::Floats(values) => executor.write(&part(&self.inputs), values)?,
            Inputs::Stored(stored) => {
                let all: Vec<usize> = (0..data.count).collect();
                executor.write(&part(&self.inputs), &stored.read(&all)?)?;
            }
            Inputs::Tokens { values, .. } => executor.write_index(&part(&self.inputs), values)?,
        }
        if let (Targets::Values { values, .. }, Some(targets)) = (&data.targets, &self.targets) {
            executor.write(&part(targets), values)?;
        }
        executor.write_index(&part(&self.labels), &data.labels())?;
        if let (Targets::Lists { labels, .. }, Some(lists)) = (&data.targets, &self.lists) {
            executor.write_index(&part(lists), labels)?;
        }
        for (own, targets) in self.heads.iter().zip(data.targets.each_head()) {
            executor.write_index(&part(&own.labels), &data.labels_of(targets))?;
            if let (Targets::Values { values, .. }, Some(tensor)) = (targets, &own.targets) {
                executor.write(&part(tensor), values)?;
            }
            if let (Targets::Lists { labels, .. }, Some(lists)) = (targets, &own.lists) {
                executor.write_index(&part(lists), labels)?;
            }
        }
        let weights = self.weights.iter().zip(&self.target_weights);
        for ((weights, of), targets) in weights.zip(data.targets.each_head()) {
            if let (Some(weights), Some(of)) = (weights, of) {
                executor.write(&part(weights), &of.of_targets(data, targets))?;
            }
        }
        let full = vec![data.steps as u32; data.count];
        let lengths = data.lengths.as_ref().unwrap_or(&full);
        executor.write_index(&part(&self.lengths), lengths)
    }
}

/// Whether the outputs of each head have weights in `phase`: in training by such.
pub(super) fn weighted_heads(network: &RecordedNetwork, phase: Phase) -> Vec<bool> {
    let heads = network.each_head().iter();
    heads
        .map(|head| phase == Phase::Forward && head.weights.is_some())
        .collect()
}

/// The names of the buffers of weights, of the heads that have some.
fn weight_names(weighted: &[bool]) -> impl Iterator<Item = Option<String>> {
    let heads = weighted.iter().enumerate();
    heads.map(|(n, is_weighted)| {
        is_weighted.then(|| match weighted.len() {
            1 => "weights".to_string(),
            _ => format!("heads.{n}.weights"),
        })
    })
}

/// Adds a buffer of this name, kind, element and shape.
type AddBuffer<'a> = dyn FnMut(&str, Kind, Element, [usize; 2]) -> Tensor + 'a;

/// Adds the buffers of target values and of lists of labels, for `[held, rows]` targets; `buffer`
/// adds one.
fn target_buffers(
    targets: &Targets,
    [held, rows]: [usize; 2],
    buffer: &mut AddBuffer,
) -> [Option<Tensor>; 2] {
    match targets {
        Targets::Values { width, .. } => {
            let extents = [held, rows * width];
            let values = buffer("targets", Kind::Data, Element::Real, extents);
            [Some(values), None]
        }
        Targets::Lists { longest, .. } => {
            let lists = buffer("lists", Kind::Data, Element::Index, [held, *longest]);
            [None, Some(lists)]
        }
        Targets::Classes { .. } | Targets::Heads(_) => [None, None],
    }
}

/// Targets of a sequence of `steps` steps.
fn target_rows(is_per_step: bool, steps: usize) -> usize {
    if is_per_step { steps } else { 1 }
}

/// Four bytes to a word, lowest first; the last word is padded with zeros.
fn words_of(bytes: &[u8]) -> Cow<'_, [u32]> {
    // On most machines, bytes in memory are such words.
    if cfg!(target_endian = "little")
        && let Ok(words) = bytemuck::try_cast_slice(bytes)
    {
        return Cow::Borrowed(words);
    }
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(word)
    };
    bytes.chunks(4).map(word).collect()
}

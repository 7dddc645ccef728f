//! The bindings, uniform, WGSL and bounds proof that the scans and steps of a layer share.

use std::ops::Range;

use super::{NormWeights, Recurrence, RecurrentWeights, TimeDirection, Zoneout};
use crate::cells::{Activation, CellSpec};
use crate::kernels::words::wgsl_constants;
use crate::kernels::{Arg, Scalar, Shader, read, write};
use crate::tensor::Tensor;

impl Recurrence {
    /// Returns the bindings of the forward pass.
    pub(in crate::kernels) fn forward_args(&self) -> Vec<Arg> {
        let weights = &self.weights;
        vec![
            read("weights", weights.packed_forward),
            read("bias", weights.bias.unwrap_or(weights.recurrent)),
            write("gates", self.gates),
            write("h", self.states.h),
            write("c", self.states.c),
            write("last", self.states.last),
            read("lengths", self.lengths),
            read("peephole", weights.of_units()),
        ]
    }

    /// Returns the bindings of the backward pass.
    pub(in crate::kernels) fn backward_args(&self) -> Vec<Arg> {
        let weights = &self.weights;
        vec![
            read("weights", weights.packed_backward),
            write("gates", self.gates),
            read("h", self.states.h),
            read("c", self.states.c),
            read("upstream", self.gradients.upstream.unwrap_or(self.states.h)),
            write("dstate", self.gradients.dstate),
            read("lengths", self.lengths),
            read("peephole", weights.of_units()),
        ]
    }

    /// Returns the first scalars of the uniform.
    pub(in crate::kernels) fn sizes(&self) -> Vec<(&'static str, Scalar)> {
        vec![
            ("steps", Scalar::count(self.steps)),
            ("batch", Scalar::count(self.batch)),
            ("hidden_size", Scalar::count(self.hidden_size)),
            ("output_size", Scalar::count(self.output_size)),
            ("row_size", Scalar::count(self.row_size())),
        ]
    }

    /// Returns the scalars of the uniform of a forward scan over `steps`.
    pub(in crate::kernels) fn forward_uniform(
        &self,
        steps: Range<usize>,
    ) -> Vec<(&'static str, Scalar)> {
        let mut scalars = self.sizes();
        scalars.extend([
            ("begin", Scalar::count(steps.start)),
            ("end", Scalar::count(steps.end)),
            ("has_bias", Scalar::from(self.weights.bias.is_some())),
        ]);
        scalars
    }

    /// The same of a backward scan.
    pub(in crate::kernels) fn backward_uniform(
        &self,
        steps: Range<usize>,
    ) -> Vec<(&'static str, Scalar)> {
        let has_upstream = self.gradients.upstream.is_some();
        let given_states = self.given_states_before(steps.end);
        let mut scalars = self.sizes();
        scalars.extend([
            ("begin", Scalar::count(steps.start)),
            ("end", Scalar::count(steps.end)),
            ("has_upstream", Scalar::from(has_upstream)),
            ("given_states", Scalar::count(given_states)),
        ]);
        scalars
    }

    /// Whether the tensors of the forward pass are as large as the shapes of the fields say. All
    /// indices of the scans and steps follow from steps, batch, units and outputs alone (a length
    /// above T counts as T), so they are then inside.
    pub(in crate::kernels) fn forward_is_inside(&self) -> bool {
        let spec = self.cell.spec();
        let (t, b, h, p) = (self.steps, self.batch, self.hidden_size, self.output_size);
        let projected = if self.projects() { h + p } else { 0 };
        let packed_len = self.packed_len(TimeDirection::Forward);
        [t, b, h, p].iter().all(|&size| size > 0)
            && (self.projects() || h == p)
            && (spec.peepholes.is_empty() || self.weights.peephole.is_some())
            && holds(self.weights.recurrent, self.weights_len())
            && holds(self.weights.packed_forward, packed_len)
            && may_hold(self.weights.bias, spec.recurrent_gates * h)
            && may_hold(self.weights.peephole, 3 * h)
            && self.norm_is_inside()
            && self.row_size() >= spec.slots * h + projected + self.norm_len() + self.masks_len()
            && holds(self.gates, t * b * self.row_size())
            && holds(self.states.h, (t + 1) * b * p)
            && (spec.states < 2 || holds(self.states.c, (t + 1) * b * h))
            && holds(self.states.last, self.state_sizes().iter().sum())
            && holds(self.lengths, b)
    }

    /// Whether gains and shifts are as large as a layer with normalisation reads them.
    fn norm_is_inside(&self) -> bool {
        let Some(norm) = self.norm() else {
            return self.options.layer_norm.is_none();
        };
        let h = self.hidden_size;
        let shifts = match (norm.shifts_are_biases, self.weights.bias) {
            (false, _) => norm.vectors * h,
            (true, Some(_)) => self.cell.spec().gates * h,
            (true, None) => 0,
        };
        let inside = |weights: NormWeights| {
            weights.skip >= norm.vectors * h && holds(weights.tensor, weights.skip + shifts)
        };
        self.weights.norm.is_some_and(inside)
    }

    /// The same for the backward pass.
    pub(in crate::kernels) fn backward_is_inside(&self) -> bool {
        let packed_len = self.packed_len(TimeDirection::Backward);
        let outputs = self.steps * self.batch * self.output_size;
        self.forward_is_inside()
            && holds(self.weights.packed_backward, packed_len)
            && may_hold(self.gradients.upstream, outputs)
            && holds(self.gradients.dstate, self.state_sizes().iter().sum())
    }

    /// Returns the WGSL of the cell, and the parts that scans and steps share.
    fn shader(&self) -> Shader {
        let spec = self.cell.spec();
        let shader = Shader::new([
            spec.shader,
            include_str!("../../../shaders/common/math.wgsl"),
            include_str!("../../../shaders/common/recurrence.wgsl"),
        ])
        .with(cell_declarations(spec))
        .with_constants(self.option_constants());
        let shader = if spec.options.activations {
            shader.with(include_str!("../../../shaders/common/activations.wgsl"))
        } else {
            shader
        };
        if self.has_middle() {
            shader
        } else {
            shader.with(include_str!("../../../shaders/common/one_stage.wgsl"))
        }
    }

    /// Returns the part that loads the packed weights.
    fn weights_shader(&self, cached: usize) -> &'static str {
        if self.weights_len() == 0 {
            include_str!("../../../shaders/common/no_weights.wgsl")
        } else if cached == 0 {
            include_str!("../../../shaders/common/uncached_weights.wgsl")
        } else {
            include_str!("../../../shaders/common/cached_weights.wgsl")
        }
    }

    /// Returns the WGSL of a step, except for its own file.
    pub(in crate::kernels) fn step_shader(&self) -> Shader {
        (self.shader().with(self.weights_shader(0)))
            .with(include_str!("../../../shaders/common/step_sizes.wgsl"))
            .with(include_str!("../../../shaders/common/four.wgsl"))
            .with(include_str!("../../../shaders/common/load_four.wgsl"))
    }

    /// Returns the part of a backward scan that loads the gradients of the sequences which an
    /// invocation finishes at once.
    pub(in crate::kernels) fn gradient_loads(&self) -> &'static str {
        if self.tile.finishes_four(TimeDirection::Backward) {
            include_str!("../../../shaders/common/load_four_back.wgsl")
        } else {
            include_str!("../../../shaders/common/load_one_back.wgsl")
        }
    }

    /// Returns the WGSL of a scan, except for its own file.
    pub(in crate::kernels) fn scan_shader(&self, direction: TimeDirection) -> Shader {
        let cached = self.cached_weights(direction);
        let mut constants = vec![
            ("WIDTH", self.invocations(direction) as f64),
            ("UNITS", self.hidden_size as f64),
            ("OUTPUTS", self.output_size as f64),
        ];
        if cached > 0 {
            constants.push(("CACHED", cached as f64));
        }
        let mut shader = self.shader();
        shader.types.extend(self.tile.types(direction));
        (self.tile.parts(direction).into_iter())
            .fold(shader, Shader::with)
            .with(self.weights_shader(cached))
            .with(self.held_weights(direction).wgsl())
            .with(include_str!("../../../shaders/common/tile.wgsl"))
            .with_constants(constants)
    }

    /// Returns the values of the `override` constants that follow from the options of the layer.
    fn option_constants(&self) -> Vec<(&'static str, f64)> {
        let options = &self.options;
        let mut constants = vec![];
        if let Some(projection) = options.projection {
            constants.push(("PROJECTED", 1.0));
            constants.extend(projection.clip.map(|clip| ("PROJECTION_CLIP", clip)));
        }
        if options.drops_state {
            constants.push(("DROPS_STATE", 1.0));
        }
        if options.drops_recurrent {
            constants.push(("DROPS_RECURRENT", 1.0));
        }
        constants.extend(zoneout_constants(options.zoneout));
        constants.extend(options.cell_clip.map(|clip| ("CELL_CLIP", clip)));
        if !options.activation.is_default() {
            let functions = Activation::ALL.iter();
            let number = functions.take_while(|other| **other != options.activation);
            constants.push(("ACTIVATION", number.count() as f64));
        }
        if let Some(slope) = options.recurrent_activation.slope() {
            constants.push(("RECURRENT_ACTIVATION", 1.0));
            constants.push(("GATE_SLOPE", slope.into()));
        }
        constants
    }
}

impl RecurrentWeights {
    /// Returns the weights of single units that kernels bind: peepholes, or gains and shifts.
    fn of_units(&self) -> Tensor {
        let norm = self.norm.map(|norm| norm.tensor);
        self.peephole.or(norm).unwrap_or(self.recurrent)
    }
}

/// Returns the values of the constants of zoneout.
fn zoneout_constants(zoneout: Zoneout) -> Vec<(&'static str, f64)> {
    let Zoneout { h, c, is_drawn } = zoneout;
    let mut constants = vec![];
    if h > 0.0 {
        constants.extend([("ZONEOUT", 1.0), ("ZONEOUT_SHARE", 1.0 - h)]);
    }
    if c > 0.0 {
        constants.extend([("ZONEOUT_CELL", 1.0), ("ZONEOUT_CELL_SHARE", 1.0 - c)]);
    }
    if is_drawn && !constants.is_empty() {
        constants.push(("ZONEOUT_DRAWN", 1.0));
    }
    constants
}

/// Returns the WGSL declarations that follow from a cell's description.
fn cell_declarations(spec: &CellSpec) -> String {
    let sizes = wgsl_constants(&[
        ("GATES", spec.gates),
        ("RECURRENT_GATES", spec.recurrent_gates),
        ("SLOTS", spec.slots),
        ("STATES", spec.states),
        ("FIRST_STAGE", spec.first_stage),
    ]);
    let peepholes = !spec.peepholes.is_empty();
    let slot = product_slot(spec);
    format!(
        "{sizes}const PEEPHOLES = {peepholes};\n\
         fn product_slot(gate: u32) -> u32 {{ return {slot}; }}\n"
    )
}

/// Returns the slot that holds the gradient of a gate's recurrent matmul, as an expression of
/// `gate`. It is not an array, because the kernels also evaluate it for a gate past the last one.
fn product_slot(spec: &CellSpec) -> String {
    let elsewhere = (0..spec.recurrent_gates).filter(|&gate| spec.product_slots[gate] != gate);
    elsewhere.fold("gate".to_string(), |slot, gate| {
        let own = spec.product_slots[gate];
        format!("select({slot}, {own}u, gate == {gate}u)")
    })
}

/// Whether a tensor has at least `len` elements.
fn holds(tensor: Tensor, len: usize) -> bool {
    tensor.len() >= len
}

/// The same of a tensor that may be absent.
fn may_hold(tensor: Option<Tensor>, len: usize) -> bool {
    tensor.is_none_or(|tensor| holds(tensor, len))
}

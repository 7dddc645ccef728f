// Shared by the optimizers. An invocation takes one parameter. The number of updates so far and
// the learning rate are read on the device. `u` is the optimizer's uniform.

@group(0) @binding(0) var<storage, read_write> parameters: array<f32>;  // [count]
@group(0) @binding(1) var<storage, read> gradients: array<f32>;         // [count]
@group(0) @binding(2) var<storage, read> control: array<u32>;
@group(0) @binding(3) var<storage, read> rates: array<f32>;             // [rows]
@group(0) @binding(4) var<storage, read> norm: array<f32>;              // [2]: norm, factor

const LANES = 64u;

// Returns the parameter of an invocation; it may be past the last one.
fn parameter_of(workgroup: vec3<u32>, workgroups: vec3<u32>, lane: u32) -> u32 {
    return (workgroup.x + workgroup.y * workgroups.x) * LANES + lane;
}

// Returns the number of updates before this one.
fn updates() -> u32 {
    return control[u.control + CONTROL_STEP];
}

fn learning_rate() -> f32 {
    return rates[u.rates + control[u.control + CONTROL_ROW]];
}

// Returns the gradient of a parameter, clipped, with the L2 penalty.
fn gradient(at: u32) -> f32 {
    let scaled = gradients[u.gradients + at] * norm[u.norm + 1u];
    return clamp(scaled, -u.clip_value, u.clip_value) + u.l2 * parameters[u.parameters + at];
}

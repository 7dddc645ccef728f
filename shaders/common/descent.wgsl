// What the update rules have in common: one invocation a parameter, the gradient as a rule uses it, and the number of
// updates so far and the learning rate, which lie on the device. `u` is the rule's uniform.

@group(0) @binding(0) var<storage, read_write> parameters: array<f32>;  // [count]
@group(0) @binding(1) var<storage, read> gradients: array<f32>;         // [count]
@group(0) @binding(2) var<storage, read> control: array<u32>;
@group(0) @binding(3) var<storage, read> rates: array<f32>;             // [rows]
@group(0) @binding(4) var<storage, read> norm: array<f32>;              // [2]: norm, factor

// Words of a control buffer; src/kernels/mod.rs has the same.
const STEP = 0u;
const ROW = 3u;

const LANES = 64u;

// The parameter of an invocation; beyond the last one for some.
fn number(workgroup: vec3<u32>, workgroups: vec3<u32>, lane: u32) -> u32 {
    return (workgroup.x + workgroup.y * workgroups.x) * LANES + lane;
}

// Updates before this one.
fn updates() -> u32 {
    return control[u.control + STEP];
}

fn learning_rate() -> f32 {
    return rates[u.rates + control[u.control + ROW]];
}

// Clipped, with weight decay as an L2 penalty.
fn gradient(at: u32) -> f32 {
    let clipped = clamp(gradients[u.gradients + at] * norm[u.norm + 1u], -u.clip_value, u.clip_value);
    return clipped + u.l2 * parameters[u.parameters + at];
}

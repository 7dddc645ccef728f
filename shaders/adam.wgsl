// Adam, an invocation a parameter. The number of updates so far and the learning rate lie on the device.

struct Adam {
    parameters: u32, gradients: u32, first_moment: u32, second_moment: u32, control: u32, rates: u32, norm: u32,
    count: u32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, ln_beta1: f32, ln_beta2: f32, epsilon: f32, scaled_epsilon: u32,
}

@group(0) @binding(0) var<storage, read_write> parameters: array<f32>;     // [count]
@group(0) @binding(1) var<storage, read> gradients: array<f32>;            // [count]
@group(0) @binding(2) var<storage, read_write> first_moment: array<f32>;   // [count]
@group(0) @binding(3) var<storage, read_write> second_moment: array<f32>;  // [count]
@group(0) @binding(4) var<storage, read> control: array<u32>;
@group(0) @binding(5) var<storage, read> rates: array<f32>;
@group(0) @binding(6) var<storage, read> norm: array<f32>;                 // [2]: norm, factor
@group(1) @binding(0) var<uniform> u: Adam;

// Words of a control buffer; src/kernels/mod.rs has the same.
const STEP = 0u;
const SLOT = 3u;

// 1 - beta^t without cancellation.
fn correction(ln_beta: f32, t: f32) -> f32 {
    let e = split_exp(Rows(max(ln_beta * t, -87.0)));
    return (1.0 - e.power.x) - e.power.x * e.rest.x;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.count {
        return;
    }
    let t = f32(control[u.control + STEP] + 1u);
    let rate = rates[u.rates + control[u.control + SLOT]];
    let g = gradients[u.gradients + at] * norm[u.norm + 1u];
    let m = u.beta1 * first_moment[u.first_moment + at] + u.rest1 * g;
    let v = u.beta2 * second_moment[u.second_moment + at] + u.rest2 * g * g;
    first_moment[u.first_moment + at] = m;
    second_moment[u.second_moment + at] = v;
    let root = sqrt(correction(u.ln_beta2, t));
    let epsilon = select(u.epsilon, u.epsilon / root, u.scaled_epsilon != 0u);
    parameters[u.parameters + at] -= rate / correction(u.ln_beta1, t) * m / (sqrt(v) / root + epsilon);
}

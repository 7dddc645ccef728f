// Updates the parameters by Adam, AMSGrad or AdamW; an invocation takes one parameter.

struct Adam {
    parameters: u32, gradients: u32, control: u32, rates: u32, norm: u32,
    first_moment: u32, second_moment: u32, largest_moment: u32,
    count: u32, clip_value: f32, l2: f32,
    beta1: f32, beta2: f32, rest1: f32, rest2: f32, ln_beta1: f32, ln_beta2: f32,
    epsilon: f32, scaled_epsilon: u32, weight_decay: f32, has_largest: u32,
}

@group(0) @binding(5) var<storage, read_write> first_moment: array<f32>;    // [count]
@group(0) @binding(6) var<storage, read_write> second_moment: array<f32>;   // [count]
@group(0) @binding(7) var<storage, read_write> largest_moment: array<f32>;  // [count] or empty
@group(1) @binding(0) var<uniform> u: Adam;

// Computes 1 - beta^t without cancellation.
fn correction(ln_beta: f32, t: f32) -> f32 {
    let e = split_exp(Rows(max(ln_beta * t, -87.0)));
    return (1.0 - e.power.x) - e.power.x * e.rest.x;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = parameter_of(workgroup, workgroups, lane);
    if at >= u.count {
        return;
    }
    let t = f32(updates() + 1u);
    let rate = learning_rate();
    let g = gradient(at);
    let m = u.beta1 * first_moment[u.first_moment + at] + u.rest1 * g;
    let v = u.beta2 * second_moment[u.second_moment + at] + u.rest2 * g * g;
    first_moment[u.first_moment + at] = m;
    second_moment[u.second_moment + at] = v;
    var scale = v;
    if u.has_largest != 0u {
        scale = max(largest_moment[u.largest_moment + at], v);
        largest_moment[u.largest_moment + at] = scale;
    }
    let root = sqrt(correction(u.ln_beta2, t));
    let epsilon = select(u.epsilon, u.epsilon / root, u.scaled_epsilon != 0u);
    let p = parameters[u.parameters + at] * (1.0 - rate * u.weight_decay);
    let step = rate / correction(u.ln_beta1, t) * m / (sqrt(scale) / root + epsilon);
    parameters[u.parameters + at] = p - step;
}

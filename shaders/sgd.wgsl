// Updates the parameters by stochastic gradient descent with momentum; an invocation takes one
// parameter.

struct Sgd {
    parameters: u32, gradients: u32, control: u32, rates: u32, norm: u32, velocity: u32,
    count: u32, clip_value: f32, l2: f32, momentum: f32, rest: f32, nesterov: u32,
    has_velocity: u32,
}

@group(0) @binding(5) var<storage, read_write> velocity: array<f32>;  // [count] or empty
@group(1) @binding(0) var<uniform> u: Sgd;

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
    let g = gradient(at);
    var direction = g;
    if u.has_velocity != 0u {
        let next = u.momentum * velocity[u.velocity + at] + u.rest * g;
        let v = select(next, g, updates() == 0u);
        velocity[u.velocity + at] = v;
        direction = select(v, g + u.momentum * v, u.nesterov != 0u);
    }
    parameters[u.parameters + at] -= learning_rate() * direction;
}

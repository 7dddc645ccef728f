// Updates the parameters by RMSProp; an invocation takes one parameter.

struct Rmsprop {
    parameters: u32, gradients: u32, control: u32, rates: u32, norm: u32,
    mean_square: u32, mean_gradient: u32, velocity: u32,
    count: u32, clip_value: f32, l2: f32,
    rho: f32, rest: f32, momentum: f32, epsilon: f32, tensorflow: u32, has_mean: u32,
    has_velocity: u32,
}

@group(0) @binding(5) var<storage, read_write> mean_square: array<f32>;    // [count]
@group(0) @binding(6) var<storage, read_write> mean_gradient: array<f32>;  // [count] or empty
@group(0) @binding(7) var<storage, read_write> velocity: array<f32>;       // [count] or empty
@group(1) @binding(0) var<uniform> u: Rmsprop;

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
    var square = u.rho * mean_square[u.mean_square + at] + u.rest * g * g;
    mean_square[u.mean_square + at] = square;
    if u.has_mean != 0u {
        let mean = u.rho * mean_gradient[u.mean_gradient + at] + u.rest * g;
        mean_gradient[u.mean_gradient + at] = mean;
        square = max(square - mean * mean, 0.0);
    }
    // TensorFlow's velocity contains the learning rate, PyTorch's does not.
    let rate = learning_rate();
    var step: f32;
    if u.tensorflow != 0u {
        step = rate * g / sqrt(square + u.epsilon);
    } else {
        step = g / (sqrt(square) + u.epsilon);
    }
    if u.has_velocity != 0u {
        step += u.momentum * velocity[u.velocity + at];
        velocity[u.velocity + at] = step;
    }
    parameters[u.parameters + at] -= select(rate * step, step, u.tensorflow != 0u);
}

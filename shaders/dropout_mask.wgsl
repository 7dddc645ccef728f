// Draws a dropout mask of 0 or 1 / keep_prob. An invocation draws four elements of a row.

struct DropoutMask {
    control: u32, out: u32,
    steps: u32, first_step: u32, batch: u32, width: u32, stride: u32, sharing: u32, stream: u32,
    index: u32,
    seed_low: u32, seed_high: u32, keep_below: u32, scale: f32,
}

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;  // [T, B, stride]
@group(1) @binding(0) var<uniform> u: DropoutMask;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    let quads = (u.width + 3u) / 4u;
    if at >= u.steps * u.batch * quads {
        return;
    }
    let quad = at % quads;
    let row = at / quads;
    // The masks of the large batch that the batches of one update are parts of.
    let sequence = control[u.control + CONTROL_TAKEN] + row % u.batch;
    let whole = u.batch + control[u.control + CONTROL_FURTHER];
    var drawn_for = 0u;
    if u.sharing == EACH_STEP {
        drawn_for = (u.first_step + row / u.batch) * whole + sequence;
    } else if u.sharing == EACH_SEQUENCE {
        drawn_for = sequence;
    }
    let step = control[u.control + CONTROL_STEP];
    let counter = vec4<u32>(drawn_for * quads + quad, step, u.stream, u.index);
    let words = philox(counter, vec2<u32>(u.seed_low, u.seed_high));
    for (var i = 0u; i < min(4u, u.width - 4u * quad); i++) {
        let value = select(0.0, u.scale, words[i] < u.keep_below);
        out[u.out + row * u.stride + 4u * quad + i] = value;
    }
}

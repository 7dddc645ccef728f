// Takes the next batch of sequences, or the next chunk of them, out of a data set, time-major. What it is a data set of, and
// so the types `Source` and `Out`, `OVER_TIME` and the function `take`, comes from common/gather_*.wgsl.

struct Gather {
    source: u32, order: u32, control: u32, out: u32,
    steps: u32, batch: u32, width: u32, source_steps: u32, chunk_steps: u32, absent: u32, scale: f32,
}

@group(0) @binding(0) var<storage, read> source: array<Source>;   // [N, source_steps, I]
@group(0) @binding(1) var<storage, read> order: array<u32>;       // [N]
@group(0) @binding(2) var<storage, read> control: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<Out>;   // [T, B, I]
@group(1) @binding(0) var<uniform> u: Gather;

// Words of a control buffer; src/kernels/mod.rs has the same.
const CURSOR = 1u;
const COUNT = 2u;
const CHUNK = 4u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.steps * u.batch * u.width {
        return;
    }
    let i = at % u.width;
    let b = at / u.width % u.batch;
    let t = at / u.width / u.batch;
    var step = t;
    if OVER_TIME {
        step += control[u.control + CHUNK] * u.chunk_steps;
    }
    let place = control[u.control + CURSOR] + b;
    if place >= control[u.control + COUNT] || step >= u.source_steps {
        out[u.out + at] = Out(u.absent);
    } else {
        out[u.out + at] = take((order[u.order + place] * u.source_steps + step) * u.width + i);
    }
}

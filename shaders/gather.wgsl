// Takes the next batch of sequences, or the next chunk of time, from a data set, time-major. The
// types `Source` and `Out`, `OVER_TIME` and `load` depend on the elements: see
// common/gather_*.wgsl.

struct Gather {
    source: u32, order: u32, control: u32, out: u32,
    steps: u32, batch: u32, width: u32, source_steps: u32, chunk_steps: u32, absent: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> source: array<Source>;   // [N, source_steps, I]
@group(0) @binding(1) var<storage, read> order: array<u32>;       // [N]
@group(0) @binding(2) var<storage, read> control: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<Out>;   // [T, B, I]
@group(1) @binding(0) var<uniform> u: Gather;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.steps * u.batch * u.width {
        return;
    }
    let i = at % u.width;
    let b = at / u.width % u.batch;
    let t = at / u.width / u.batch;
    var step = t;
    if OVER_TIME {
        step += control[u.control + CONTROL_CHUNK] * u.chunk_steps;
    }
    let position = control[u.control + CONTROL_CURSOR] + b;
    if position >= control[u.control + CONTROL_COUNT] || step >= u.source_steps {
        out[u.out + at] = Out(u.absent);
    } else {
        let row = order[u.order + position] * u.source_steps + step;
        out[u.out + at] = load(row * u.width + i);
    }
}

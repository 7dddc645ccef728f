// Computes how many valid steps each sequence has in each chunk of time; an invocation takes one
// sequence of one chunk.

struct ChunkLengths { lengths: u32, out: u32, count: u32, batch: u32, chunk_steps: u32 }

@group(0) @binding(0) var<storage, read> lengths: array<u32>;    // [B]
@group(0) @binding(1) var<storage, read_write> out: array<u32>;  // [chunks, B]
@group(1) @binding(0) var<uniform> u: ChunkLengths;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.count {
        return;
    }
    let begin = at / u.batch * u.chunk_steps;
    let length = lengths[u.lengths + at % u.batch];
    out[u.out + at] = min(length - min(length, begin), u.chunk_steps);
}

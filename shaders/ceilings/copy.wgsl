// Copies a buffer, to measure the bandwidth of memory.
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(global_invocation_id) invocation: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
) {
    let stride = workgroups.x * 256u;
    for (var i = invocation.x; i < arrayLength(&source); i += stride) {
        copied[i] = source[i];
    }
}

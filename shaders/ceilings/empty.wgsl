// Writes nothing, but the driver cannot know that: its dispatches wait for each other as those of a
// step do.
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> written: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(num_workgroups) workgroups: vec3<u32>) {
    if workgroups.x == 0u {
        written[0] = source[0];
    }
}

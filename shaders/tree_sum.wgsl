// Adds the gradients of the parts of an update in a binary tree; an invocation takes one parameter.

struct TreeSum {
    gradients: u32, control: u32, partials: u32, sums: u32,
    count: u32, batch: u32, levels: u32, ends: u32,
}

@group(0) @binding(0) var<storage, read> gradients: array<f32>;       // [count]
@group(0) @binding(1) var<storage, read> control: array<u32>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;  // [levels, count]
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;      // [count]
@group(1) @binding(0) var<uniform> u: TreeSum;

// Returns 0 for what is smaller than the least normal number, so that all devices agree.
fn flushed(value: f32) -> f32 {
    let least = 0x1p-126f;
    if least > value && value > -least {
        return 0.0;
    }
    return value;
}

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
    // The levels below the root are those of the part's lowest bits, also for a later process.
    let leaf = control[u.control + CONTROL_TAKEN] / u.batch;
    var value = flushed(gradients[u.gradients + at]);
    for (var level = 0u; level < u.levels; level += 1u) {
        let partial = u.partials + level * u.count + at;
        if (leaf >> level) % 2u == 1u {
            // Parts before this one are the left operand.
            value = flushed(partials[partial] + value);
        } else if u.ends == 0u {
            partials[partial] = value;
            return;
        }
    }
    sums[u.sums + at] = value;
}

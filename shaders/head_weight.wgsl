// Multiplies the weight of an output of one of several heads by the weight of the head.

struct HeadWeight { weight: u32, factor: f32 }

@group(0) @binding(0) var<storage, read_write> weight: array<f32>;  // [2]: its first element
@group(1) @binding(0) var<uniform> u: HeadWeight;

@compute @workgroup_size(1)
fn main() {
    weight[u.weight] *= u.factor;
}

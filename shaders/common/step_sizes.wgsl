// The sizes of the layer of a step, which is compiled once for all sizes.

fn hidden_size() -> u32 {
    return u.hidden_size;
}

fn output_size() -> u32 {
    return u.output_size;
}

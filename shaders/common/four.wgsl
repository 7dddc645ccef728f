// An invocation computes the activations of four consecutive sequences at once.

const ROWS = 4u;
alias Quad = vec4<f32>;  // a value of each of four sequences
alias Rows = Quad;
alias Ints = vec4<i32>;
alias Counts = vec4<u32>;
alias Flags = vec4<bool>;

fn row_of(values: Rows, i: u32) -> f32 {
    return values[i];
}

fn count_of(values: Counts, i: u32) -> u32 {
    return values[i];
}

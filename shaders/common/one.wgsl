// An invocation computes the activations of one sequence at a time: Rows is f32.

const ROWS = 1u;
alias Ints = i32;
alias Counts = u32;
alias Flags = bool;

fn row_of(values: Rows, i: u32) -> f32 {
    return values;
}

fn count_of(values: Counts, i: u32) -> u32 {
    return values;
}

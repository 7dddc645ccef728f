// Loads gradients of the sequence `first`.

fn load_dstate(state: u32, first: u32, j: u32) -> Rows {
    return dstate[u.dstate + state_at(state, sequence_of(first, 0u), j)];
}

// Loads the gradient of the layer's output of step t.
fn load_upstream(t: u32, first: u32, p: u32) -> Rows {
    if u.has_upstream == 0u {
        return 0.0;
    }
    return upstream[u.upstream + h_at(t, sequence_of(first, 0u), p)];
}

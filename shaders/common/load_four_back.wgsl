// Loads gradients of the four sequences from `first` on.

fn load_dstate(state: u32, first: u32, j: u32) -> Rows {
    return Rows(
        dstate[u.dstate + state_at(state, sequence_of(first, 0u), j)],
        dstate[u.dstate + state_at(state, sequence_of(first, 1u), j)],
        dstate[u.dstate + state_at(state, sequence_of(first, 2u), j)],
        dstate[u.dstate + state_at(state, sequence_of(first, 3u), j)],
    );
}

// Loads the gradient of the layer's output of step t.
fn load_upstream(t: u32, first: u32, p: u32) -> Rows {
    if u.has_upstream == 0u {
        return Rows(0.0);
    }
    return Rows(
        upstream[u.upstream + h_at(t, sequence_of(first, 0u), p)],
        upstream[u.upstream + h_at(t, sequence_of(first, 1u), p)],
        upstream[u.upstream + h_at(t, sequence_of(first, 2u), p)],
        upstream[u.upstream + h_at(t, sequence_of(first, 3u), p)],
    );
}

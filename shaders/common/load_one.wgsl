// Loads values of the sequence `first`.

fn load_slot(t: u32, first: u32, slot: u32, j: u32) -> Rows {
    return gates[slot_at(t, sequence_of(first, 0u), slot, j)];
}

// Loads the layer's output of step t - 1, or the initial state.
fn load_output(t: u32, first: u32, p: u32) -> Rows {
    return h[u.h + h_at(t, sequence_of(first, 0u), p)];
}

// Loads the dropout mask of the h that step t leaves to the next step.
fn load_mask(t: u32, first: u32, p: u32) -> Rows {
    if !DROPS_STATE {
        return 1.0;
    }
    return gates[slot_at(t, sequence_of(first, 0u), 0u, u.row_size - output_size() + p)];
}

fn load_c(t: u32, first: u32, j: u32) -> Rows {
    if STATES < 2u {
        return 0.0;
    }
    return c[u.c + c_at(t, sequence_of(first, 0u), j)];
}

fn load_lengths(first: u32) -> Counts {
    return length_of(first);
}

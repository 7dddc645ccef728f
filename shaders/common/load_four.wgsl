// Loads values of the four sequences from `first` on.

fn load_slot(t: u32, first: u32, slot: u32, j: u32) -> Rows {
    return Rows(
        gates[slot_at(t, sequence_of(first, 0u), slot, j)],
        gates[slot_at(t, sequence_of(first, 1u), slot, j)],
        gates[slot_at(t, sequence_of(first, 2u), slot, j)],
        gates[slot_at(t, sequence_of(first, 3u), slot, j)],
    );
}

// Loads the layer's output of step t - 1, or the initial state.
fn load_output(t: u32, first: u32, p: u32) -> Rows {
    return Rows(
        h[u.h + h_at(t, sequence_of(first, 0u), p)],
        h[u.h + h_at(t, sequence_of(first, 1u), p)],
        h[u.h + h_at(t, sequence_of(first, 2u), p)],
        h[u.h + h_at(t, sequence_of(first, 3u), p)],
    );
}

// Loads the dropout mask of the h that step t leaves to the next step.
fn load_mask(t: u32, first: u32, p: u32) -> Rows {
    if !DROPS_STATE {
        return Rows(1.0);
    }
    let at = u.row_size - output_size() + p;
    return Rows(
        gates[slot_at(t, sequence_of(first, 0u), 0u, at)],
        gates[slot_at(t, sequence_of(first, 1u), 0u, at)],
        gates[slot_at(t, sequence_of(first, 2u), 0u, at)],
        gates[slot_at(t, sequence_of(first, 3u), 0u, at)],
    );
}

fn load_c(t: u32, first: u32, j: u32) -> Rows {
    if STATES < 2u {
        return Rows(0.0);
    }
    return Rows(
        c[u.c + c_at(t, sequence_of(first, 0u), j)],
        c[u.c + c_at(t, sequence_of(first, 1u), j)],
        c[u.c + c_at(t, sequence_of(first, 2u), j)],
        c[u.c + c_at(t, sequence_of(first, 3u), j)],
    );
}

// Loads the valid steps of the four sequences; 0 past the end of the batch.
fn load_lengths(first: u32) -> vec4<u32> {
    let values = vec4<u32>(
        lengths[u.lengths + sequence_of(first, 0u)],
        lengths[u.lengths + sequence_of(first, 1u)],
        lengths[u.lengths + sequence_of(first, 2u)],
        lengths[u.lengths + sequence_of(first, 3u)],
    );
    let present = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(u.batch);
    return select(vec4<u32>(0u), min(values, vec4<u32>(u.steps)), present);
}

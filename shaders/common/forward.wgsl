// The end of a step forward, for scans and steps alike.

fn load_bias(gate: u32, j: u32) -> Rows {
    if u.has_bias == 0u {
        return Rows(0.0);
    }
    return Rows(bias[u.bias + gate * u.hidden_size + j]);
}

// Stores what a unit has become: slots and states, zeros past a sequence's end, and the states after its last step.
// Returns h as the next step sees it.
fn finish_step(t: u32, first: u32, j: u32, slots: array<Rows, SLOTS>, h_before: Rows, h_after: Rows, c_after: Rows) -> Rows {
    let length = load_lengths(first);
    let valid = vec4<u32>(t) < length;
    var kept = slots;
    // The last slot of a cell of two stages is there already, and other units may be reading it.
    for (var slot = 0u; slot < select(SLOTS, SLOTS - 1u, FIRST_STAGE < GATES); slot++) {
        store_gate(t, first, slot, j, select(Rows(0.0), kept[slot], valid));
    }
    let h_out = select(Rows(0.0), h_after, valid);
    let c_out = select(Rows(0.0), c_after, valid);
    for (var i = 0u; i < min(4u, u.batch - first); i++) {
        h[u.h + state_at(t + 1u, first + i, j)] = h_out[i];
        if STATES > 1u {
            c[u.c + state_at(t + 1u, first + i, j)] = c_out[i];
        }
        if t + 1u == length[i] {
            last[u.last + state_at(0u, first + i, j)] = h_after[i];
            if STATES > 1u {
                last[u.last + state_at(1u, first + i, j)] = c_after[i];
            }
        } else if t == 0u && length[i] == 0u {
            last[u.last + state_at(0u, first + i, j)] = h_before[i];
            if STATES > 1u {
                last[u.last + state_at(1u, first + i, j)] = c[u.c + state_at(0u, first + i, j)];
            }
        }
    }
    return h_out;
}

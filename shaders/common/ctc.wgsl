// The states of CTC: state s of 2 L' + 1 is a blank if s is even, else label s / 2 of the L' labels
// of a sequence.

// L': the labels of sequence b.
fn label_count(b: u32) -> u32 {
    var count = 0u;
    while count < u.longest && lists[u.lists + count * u.batch + b] != IGNORE {
        count++;
    }
    return count;
}

// The class of a state of sequence b.
fn class_of(b: u32, state: u32) -> u32 {
    if state % 2u == 0u {
        return BLANK;
    }
    return lists[u.lists + state / 2u * u.batch + b];
}

// ln of the probability of class k at row t * B + b, plus the row's ln of the sum.
fn emission(row: u32, k: u32) -> f32 {
    return logits[u.logits + row * u.classes + k] - norms[u.norms + row];
}

// Stands in for the middle of a cell that has one stage. Never called.

fn cell_middle(slots: ptr<function, array<Rows, SLOTS>>, product: array<Rows, GATES>, h: Rows) {}

fn cell_middle_backward(
    slots: ptr<function, array<Rows, SLOTS>>,
    s: States,
    dmiddle: Rows,
    dh: ptr<function, Rows>,
) {}

//! Mutation tests of `verify`: each mutant adds one mistake to one kernel. `verify` must detect the
//! mistake and name the kernel.
//!
//! Missing barriers are detected on software drivers too. Such a driver runs the subgroups of a
//! workgroup one after another, each up to the next barrier. The barriers removed here separate
//! subgroups of 4 or 8 of the 64 invocations.

mod common;

use std::collections::BTreeSet;

use gatescan::OpenDevice;
use gatescan::low_level::backend::gpu::{GpuDevice, ShaderEdit};
use gatescan::verify::{Effort, Report, TRAINING, sweep};

/// Kernel, original text, mutated text, and id prefix of the cases that must detect the mutant.
const MUTANTS: &[(&str, &str, &str, &str)] = &[
    // Wrong signs.
    ("adam", "= p - step", "= p + step", "lstm"),
    ("sgd", "-= learning_rate() *", "+= learning_rate() *", "rnn"),
    (
        "scan_backward",
        "(1.0 - s.h * s.h)",
        "(1.0 + s.h * s.h)",
        "rnn-tanh-5-t",
    ),
    (
        "mean_squared_error",
        "predictions[u.predictions + k] - targets",
        "targets[u.targets + k] - targets",
        "squared-error",
    ),
    (
        "mean_squared_error",
        "ignored || is_missing(k)",
        "ignored",
        "squared-error",
    ),
    (
        "mean_squared_error",
        "max(present, 1u)",
        "u.width",
        "squared-error",
    ),
    ("average", "- before)", "+ before)", "average"),
    (
        "value_loss",
        "abs(error), sign",
        "error, sign",
        "value-loss",
    ),
    (
        "value_loss",
        "error - 0.5 * slope",
        "error - slope",
        "value-loss",
    ),
    (
        "value_loss",
        "select(level - 1.0, level, rest > 0.0)",
        "select(level, level - 1.0, rest > 0.0)",
        "value-loss",
    ),
    (
        "value_loss",
        "0.5 * (1.0 - square)",
        "0.5 * (1.0 + square)",
        "value-loss",
    ),
    (
        "value_loss",
        "positive - logit * wanted",
        "positive - wanted",
        "value-loss",
    ),
    (
        "value_loss",
        "max(present, 1u) * TERMS",
        "u.width * TERMS",
        "value-loss",
    ),
    (
        "label_smoothing",
        "own - sum * share",
        "own - sum",
        "label-smoothing",
    ),
    (
        "label_smoothing",
        "1.0 - share, k == label",
        "1.0, k == label",
        "label-smoothing",
    ),
    (
        "target_weight",
        "sum += weights[u.weights + row]",
        "sum += 1.0",
        "target-weight",
    ),
    (
        "weigh_outputs",
        "at % u.width == 0u",
        "at % u.width == 1u",
        "weigh-outputs",
    ),
    (
        "weigh_outputs",
        "at / u.width",
        "at % u.rows",
        "weigh-outputs",
    ),
    (
        "weigh_outputs",
        "row % u.rows",
        "min(row, u.rows - 1u)",
        "weigh-outputs",
    ),
    // The skip rule, repeated labels, the ends and the length of CTC.
    (
        "ctc_paths",
        "class_of(b, other) != k",
        "class_of(b, other) != IGNORE",
        "ctc",
    ),
    ("ctc_paths", "if n > 1u {", "if n > 3u {", "ctc"),
    (
        "ctc_paths",
        "skipped = paths[before - 2u]",
        "skipped = paths[before - 1u]",
        "ctc",
    ),
    (
        "ctc_paths",
        "log_sum(value, paths[ends - 1u], LOG_ZERO)",
        "value",
        "ctc",
    ),
    ("ctc_paths", "0.0, n < 2u", "0.0, n < 1u", "ctc"),
    (
        "ctc_paths",
        "length - 1u - step",
        "u.steps - 1u - step",
        "ctc",
    ),
    ("ctc_paths", "const BLANK = 0u", "const BLANK = 1u", "ctc"),
    ("ctc_paths", "max(count, 1u)", "u.longest", "ctc"),
    (
        "ctc_gradient",
        "+ length - 1u - t)",
        "+ u.steps - 1u - t)",
        "ctc",
    ),
    (
        "ctc_gradient",
        "(exp_of(relative - norm) - shares * part)",
        "(exp_of(relative) - shares * part)",
        "ctc",
    ),
    ("ctc_gradient", "2u * j + 1u", "2u * j", "ctc"),
    ("ctc_gradient", "max(count, 1u)", "1u", "ctc"),
    ("log_sum_exp", "sum += exp_of", "sum = exp_of", "ctc"),
    (
        "softmax_cross_entropy",
        "(largest - own)",
        "(own - largest)",
        "softmax",
    ),
    (
        "head_weight",
        "weight[u.weight] *= u.factor",
        "weight[u.weight] /= u.factor",
        "join-scores",
    ),
    (
        "join_scores",
        "max(weight[u.weight + 1u], 1.0)",
        "weight[u.weight + 1u]",
        "join-scores",
    ),
    (
        "join_scores",
        "if u.accumulate != 0u",
        "if u.accumulate == 0u",
        "gru-5-heads",
    ),
    (
        "join_scores",
        "out[u.out + u.all + row] = 0.0",
        "out[u.out + u.all + row] = loss",
        "join-scores",
    ),
    (
        "join_scores",
        "if row < u.rows {",
        "if row < u.all {",
        "join-scores",
    ),
    ("pool", "f32(max(length, 1u))", "f32(u.steps)", "pool"),
    (
        "pool",
        "key(value) > key(largest)",
        "key(value) >= key(largest)",
        "pool-sizes-zeros",
    ),
    ("pool", "step = t;", "step = t + 1u;", "pool"),
    (
        "pool",
        "weights[u.weights + t * u.batch + b] *",
        "weights[u.weights + b] *",
        "pool",
    ),
    (
        "pool_backward",
        "d / f32(length)",
        "d / f32(u.steps)",
        "pool",
    ),
    (
        "pool_backward",
        "u.width + i] == t",
        "u.width + i] >= t",
        "pool",
    ),
    (
        "pool_backward",
        "+ dscores[u.dscores + row] * query",
        "- dscores[u.dscores + row] * query",
        "pool",
    ),
    ("pool_backward", "t < length", "t <= length", "pool"),
    (
        "attention",
        "weight = exp_of(Rows(score(t, b) - largest)).x / sum",
        "weight = exp_of(Rows(score(t, b) - largest)).x",
        "attention",
    ),
    (
        "attention",
        "t < length; t += LANES) {\n        sum",
        "t < u.steps; t += LANES) {\n        sum",
        "attention",
    ),
    (
        "attention_backward",
        "- pooled[u.pooled + at]",
        "",
        "attention",
    ),
    (
        "attention_backward",
        "weights[u.weights + row] * sum",
        "sum",
        "attention",
    ),
    // Swapped or wrong gates.
    (
        "scan_forward",
        "*slots = array(i, f, g, o)",
        "*slots = array(f, i, g, o)",
        "lstm-5-t",
    ),
    (
        "step_forward",
        "(1.0 - z) * n + z * h",
        "z * n + (1.0 - z) * h",
        "gru-5-t",
    ),
    (
        "step_backward",
        "array(gate_back(dn * product, r), dz, dn, dn * r)",
        "array(gate_back(dn * product, r), dz, dn, dn)",
        "gru-5-t",
    ),
    ("scan_backward", "*dc = d * f;", "*dc = d * i;", "lstm-5-t"),
    (
        "scan_forward",
        "return (1.0 - z) * h + z * (*slots)[1]",
        "return z * h + (1.0 - z) * (*slots)[1]",
        "min-gru-5-t",
    ),
    (
        "step_backward",
        "*dh = *dh * kept;",
        "*dh = *dh * (1.0 - kept);",
        "min-gru-5-t",
    ),
    (
        "scan_forward",
        "return of_input / (of_input + of_forget);",
        "return of_forget / (of_input + of_forget);",
        "min-lstm-5-t",
    ),
    (
        "scan_backward",
        "-(dratio * (1.0 - i))",
        "dratio * (1.0 - i)",
        "min-lstm-5-t",
    ),
    (
        "scan_backward",
        "*dc += d_i * w.x + d_f * w.y",
        "*dc += d_i * w.x",
        "lstm-peephole-5-t",
    ),
    (
        "scan_forward",
        "sums[2] += w.z * *c",
        "sums[2] += w.y * *c",
        "lstm-peephole-5-t",
    ),
    // Functions of candidates and gates.
    (
        "scan_forward",
        "x * GATE_SLOPE + 0.5",
        "x * GATE_SLOPE + 0.25",
        "lstm-5-relu-hard-sigmoid",
    ),
    (
        "scan_backward",
        "select(Rows(0.0), d, y > Rows(0.0))",
        "d",
        "gru-reset-before-5-relu-hard-sigmoid",
    ),
    (
        "step_backward",
        "d * GATE_SLOPE, (y",
        "d, (y",
        "lstm-5-relu-hard-sigmoid",
    ),
    (
        "step_forward",
        "x / (1.0 + abs(x))",
        "x / (1.0 - abs(x))",
        "lstm-peephole-5-softsign",
    ),
    (
        "scan_backward",
        "d * rest * rest",
        "d * rest",
        "lstm-peephole-5-softsign",
    ),
    // Recurrent dropout and zoneout.
    (
        "scan_forward",
        "let mask = load_gate_mask_quad(t, first, gate, p);",
        "let mask = load_gate_mask_quad(t, first, 0u, p);",
        "lstm-5-relu-hard-sigmoid",
    ),
    (
        "scan_backward",
        "sum *= load_gate_mask(t, first, from_gate, p);",
        "sum *= 1.0;",
        "lstm-5-relu-hard-sigmoid",
    ),
    (
        "step_forward",
        "operand[(1u + gate) * WIDTH + lane] = h_own * mask;",
        "operand[(1u + gate) * WIDTH + lane] = h_own;",
        "gru-5-sigmoid-keras2",
    ),
    (
        "step_backward",
        "own *= load_gate_mask(from_step, first, gate, j);",
        "own *= load_gate_mask(from_step, first, 0u, j);",
        "gru-5-sigmoid-keras2",
    ),
    (
        "scan_forward",
        "(1.0 - share) * h_before + share * h_after",
        "share * h_before + (1.0 - share) * h_after",
        "gru-reset-before-5-relu",
    ),
    (
        "step_backward",
        "dh += dh_total * (1.0 - load_share(t, first, j));",
        "dh += dh_total * load_share(t, first, j);",
        "lstm-peephole-5-softsign",
    ),
    // Layer normalisation.
    (
        "scan_norm_forward",
        "apart * apart",
        "apart",
        "lstm-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "own[k] + u.epsilon",
        "own[k]",
        "lstm-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "gain(OF_C, j) * normed + shift(OF_C, j)",
        "gain(OF_C, j) * normed",
        "lstm-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "scales_of(t, first, lane, OF_C, 1u",
        "scales_of(t, first, lane, 0u, 1u",
        "lstm-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "j += WIDTH) {\n            clear_unit",
        "j += 2u * WIDTH) {\n            clear_unit",
        "lstm-65-layer-norm",
    ),
    (
        "scan_norm_backward",
        "scale * (d - d_mean - normed * product_mean)",
        "scale * (d - d_mean)",
        "lstm-5-layer-norm",
    ),
    (
        "scan_norm_backward",
        "d_means[k], product_means[k], scale)",
        "d_means[k], d_means[k], scale)",
        "lstm-65-layer-norm",
    ),
    (
        "scan_norm_backward",
        "select(Rows(0.0), d * normed, valid)",
        "select(Rows(0.0), d, valid)",
        "lstm-5-layer-norm",
    ),
    (
        "scan_norm_backward",
        "peephole[u.peephole + k * UNITS + j]",
        "peephole[u.peephole + j]",
        "lstm-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "of_x * of_x",
        "of_x",
        "gru-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "f32(JOINT * UNITS)",
        "f32(UNITS)",
        "gru-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "x[gate] += shift(gate, j);",
        "x[gate] += shift(0u, j);",
        "gru-65-layer-norm",
    ),
    (
        "scan_norm_forward",
        "activation_of(x[2] + r * y[2])",
        "activation_of(x[2] + y[2])",
        "gru-5-layer-norm",
    ),
    (
        "scan_norm_forward",
        "array(r, z, n, y[2])",
        "array(r, z, n, x[2])",
        "gru-65-layer-norm",
    ),
    (
        "scan_norm_backward",
        "gradients[recurrent_gradient(gate)]",
        "gradients[gate]",
        "gru-5-layer-norm",
    ),
    (
        "scan_norm_backward",
        "means[2u + statistic]",
        "means[statistic]",
        "gru-65-layer-norm",
    ),
    (
        "scan_norm_backward",
        "select(dh_after, dh * z, valid)",
        "select(dh_after, dh, valid)",
        "gru-5-layer-norm",
    ),
    (
        "scan_norm_backward",
        "load_slot(t, first, PRODUCTS + gate, j)",
        "load_slot(t, first, gate, j)",
        "gru-65-layer-norm",
    ),
    // A missing bias, or a bias read at the wrong offset.
    (
        "step_forward",
        "Quad(bias[u.bias + gate * hidden_size() + j])",
        "Quad(0.0)",
        "gru-5-t",
    ),
    (
        "gemm",
        "value += bias[u.bias + column + i]",
        "value += 0.0",
        "gemm",
    ),
    (
        "lookup",
        "value += bias[u.bias + i]",
        "value += bias[u.bias]",
        "lookup",
    ),
    // Missing barriers.
    ("ctc_paths", "storageBarrier();", "", "ctc"),
    (
        "scan_forward",
        "workgroupBarrier();\n        if PROJECTED {",
        "if PROJECTED {",
        "lstm-65-projection",
    ),
    (
        "label_weight",
        "partial[lane] = value;\n    workgroupBarrier();",
        "partial[lane] = value;",
        "label-weight",
    ),
    (
        "step_backward",
        "min(start + lane, rows - 1u));\n                workgroupBarrier();",
        "min(start + lane, rows - 1u));",
        "lstm-65",
    ),
    // Off-by-one errors at the edges of tiles and workgroups.
    (
        "gemm",
        "row < u.rows && column + i < u.columns",
        "row < u.rows && column + i <= u.columns",
        "gemm",
    ),
    (
        "gemm",
        "fours = length / 4u",
        "fours = (length - 1u) / 4u",
        "gemm",
    ),
    ("gemm", "rest = length % 4u", "rest = length % 3u", "gemm"),
    // Mistakes in the smaller blocks of an invocation only, and in the largest only.
    (
        "gemm",
        "HIGH + lane.y) * ROWS",
        "HIGH + lane.y) * 8u",
        "gemm",
    ),
    ("gemm", "i < ROWS", "i < 1u", "gemm"),
    (
        "gemm",
        "if ROWS > 4u {\n        store_block",
        "if ROWS > 0u {\n        store_block",
        "gemm",
    ),
    (
        "gemm",
        "if ROWS > 4u {\n        (*sums).bottom_left",
        "if ROWS > 8u {\n        (*sums).bottom_left",
        "gemm",
    ),
    (
        "gemm",
        "a_bottom[3], b_left[3], b_right[3]",
        "a_bottom[2], b_left[3], b_right[3]",
        "gemm",
    ),
    // Padded steps treated as valid, and slices that sum the steps of other slices.
    (
        "gemm",
        "length = min(length, lengths[u.lengths + b])",
        "length = max(length, lengths[u.lengths + b])",
        "gemm",
    ),
    // Blocks of steps: one that is left out, one that reaches into the next, sums that begin anew.
    (
        "gemm",
        "min(length, begin)",
        "min(length, begin + 1u)",
        "gemm",
    ),
    ("gemm", "var k = begin * series + b;", "var k = b;", "gemm"),
    (
        "gemm",
        "if RAGGED_TERMS && u.accumulate != 0u {\n        sums",
        "if false {\n        sums",
        "gemm",
    ),
    ("gemm", "!RAGGED_TERMS && u.acc", "u.acc", "gemm"),
    ("column_sum", "var t = begin", "var t = 0u", "column-sum"),
    (
        "column_sum",
        "total = out[u.out + n]",
        "total = 0.0",
        "column-sum",
    ),
    (
        "lookup_gradient",
        "var row = begin;",
        "var row = 0u;",
        "lookup",
    ),
    ("gemm", "select(0.0, sums[i], valid)", "sums[i]", "gemm"),
    (
        "gemm",
        "select(series, workgroup.z, any_is_valid(row))",
        "0u",
        "gemm",
    ),
    ("column_sum", "t < length", "t <= length", "column-sum"),
    ("column_sum", "copy < u.copies", "copy < 1u", "column-sum"),
    (
        "scan_forward",
        "clear_unit(t, first + i, j)",
        "clear_unit(t + 1u, first + i, j)",
        "lstm-5-no-bias",
    ),
    (
        "scan_backward",
        "store_dstate(1u, first, j, Rows(0.0))",
        "store_dstate(1u, first, j, Rows(1.0))",
        "lstm-5-no-bias",
    ),
    (
        "column_sum",
        "min(start + 64u * LANES, u.rows)",
        "min(start + 63u * LANES, u.rows)",
        "column-sum",
    ),
    (
        "squared_norm",
        "at += LANES * LANES",
        "at += LANES * LANES - 1u",
        "squared-norm",
    ),
    (
        "pack",
        "at >= u.blocks * fours * u.columns",
        "at + 1u >= u.blocks * fours * u.columns",
        "pack",
    ),
    (
        "step_forward",
        "min(start + WIDTH, terms)",
        "min(start + WIDTH, terms - 1u)",
        "rnn-tanh-65",
    ),
    (
        "step_backward",
        "sum += factors[k % 4u] * operand",
        "sum += factors[3u] * operand",
        "rnn-tanh-65",
    ),
    (
        "scan_forward",
        "let z = vectors[first + 2u * GROUPS]",
        "let z = vectors[first + GROUPS]",
        "rnn-tanh-65",
    ),
    (
        "scan_backward",
        "k < UNITS; k++",
        "k + 1u < UNITS; k++",
        "rnn-tanh-65",
    ),
    ("lookup_gradient", "row < end", "row + 1u < end", "lookup"),
    (
        "arrange",
        "padded < u.steps",
        "padded + 1u < u.steps",
        "arrange",
    ),
    // Values of the previous step, or missing values.
    ("carry_state", "> 0u", "> 2u", "carry-state"),
    (
        "initial_state",
        "at % u.width",
        "at / u.width",
        "initial-state",
    ),
    ("initial_state", "> 0u", "> 2u", "initial-state"),
    (
        "initial_state_gradient",
        "b < min(start + 64u, end)",
        "b < min(start + 63u, end)",
        "initial-state",
    ),
    ("initial_state_gradient", "> 0u", "> 2u", "initial-state"),
    (
        "scan_forward",
        "now = OUTPUTS - now;",
        "now = 0u;",
        "rnn-tanh-5-t",
    ),
    (
        "rmsprop",
        "mean_square[u.mean_square + at] = square;",
        "",
        "lstm",
    ),
    (
        "adam",
        "largest_moment[u.largest_moment + at] = scale;",
        "",
        "lstm",
    ),
    ("sgd", "updates() == 0u", "updates() <= 3u", "sgd"),
    // Missing masks and lengths.
    (
        "scan_forward",
        "select(Rows(0.0), h_new, Counts(t) < length)",
        "h_after",
        "rnn-tanh-5-t",
    ),
    (
        "step_backward",
        "dh_after * load_mask(t, first, p) + load_upstream",
        "dh_after + load_upstream",
        "gru-5-dropout-residual",
    ),
    (
        "dropout_mask",
        "drawn_for = sequence;\n    }\n    let step",
        "drawn_for = row;\n    }\n    let step",
        "rnn-tanh-5-dropout-residual",
    ),
    (
        "dropout_mask",
        "u.batch) * whole",
        "u.batch) * u.batch",
        "rnn-tanh-5-dropout",
    ),
    // Masks of a chunk of time that begin again, and chunks of time that are not.
    (
        "dropout_mask",
        "(u.first_step + row / u.batch)",
        "(row / u.batch)",
        "lstm-5-recompute-dropout",
    ),
    (
        "chunk_lengths",
        "length - min(length, begin)",
        "length",
        "chunk-lengths",
    ),
    (
        "chunk_lengths",
        ", u.chunk_steps)",
        ", u.chunk_steps + 1u)",
        "chunk-lengths",
    ),
    (
        "copy_state",
        "at < u.count",
        "at + 1u < u.count",
        "copy-state",
    ),
    (
        "dropout_mask",
        "control[u.control + CONTROL_TAKEN] + row",
        "row",
        "rnn-tanh-5-dropout",
    ),
    (
        "record",
        "select(taken, 0u, u.updates != 0u)",
        "select(0u, taken, u.updates != 0u)",
        "record",
    ),
    ("error_sums", "row * u.size", "row", "error-sums"),
    (
        "error_sums",
        "absolute += abs(error)",
        "absolute += error",
        "error-sums",
    ),
    (
        "accumulate",
        "CONTROL_TAKEN] != 0u",
        "CONTROL_TAKEN] == 0u",
        "accumulate",
    ),
    (
        "accumulate",
        "before + gradients",
        "before - gradients",
        "accumulate",
    ),
    (
        "tree_sum",
        "(leaf >> level) % 2u == 1u",
        "(leaf >> level) % 2u == 0u",
        "tree-sum",
    ),
    ("tree_sum", "/ u.batch", "/ 1u", "tree-sum"),
    (
        "tree_sum",
        "partials[partial] + value",
        "partials[partial] - value",
        "tree-sum",
    ),
    (
        "tree_sum",
        "else if u.ends == 0u",
        "else if u.ends == 1u",
        "tree-sum",
    ),
    (
        "share_of_update",
        "weight[u.weight] * update_weights",
        "weight[u.weight] / update_weights",
        "share-of-update",
    ),
    (
        "share_of_update",
        "update_weights[u.update_weights + row]",
        "update_weights[u.update_weights]",
        "share-of-update",
    ),
    (
        "share_of_update",
        "share = u.factor / ratio",
        "share = 1.0 / ratio",
        "share-of-update",
    ),
    (
        "dropout_mask",
        "k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u)",
        "k += vec2<u32>(0xbb67ae85u, 0x9e3779b9u)",
        "rnn-tanh-5-dropout",
    ),
    (
        "record",
        "labels[u.labels + row] != IGNORE",
        "true",
        "record",
    ),
    (
        "label_weight",
        "max(count, 1.0)",
        "max(count, 2.0)",
        "label-weight",
    ),
    ("lookup_gradient", "token != u.padding", "true", "lookup"),
    ("lookup_gradient", "u.accumulate != 0u", "false", "lookup"),
    // Wrong indices.
    ("gather", "order[u.order + position]", "position", "gather"),
    ("gather", "(at % 4u)", "(3u - at % 4u)", "gather"),
    ("arrange", "length - 1u - t", "u.steps - 1u - t", "arrange"),
    ("tally", "k < label", "k <= label", "tally"),
    ("tally", "u.classes - k", "k + 1u", "tally"),
    (
        "record",
        "control[u.control + CONTROL_CHUNK] = 0u",
        "control[u.control + CONTROL_CHUNK] = 1u",
        "record",
    ),
    (
        "record",
        "& EXPONENT) != EXPONENT",
        "& EXPONENT) == EXPONENT",
        "record",
    ),
    // Wrong limits and margins.
    (
        "clip_factor",
        "u.limit / (length + u.margin)",
        "u.limit / length",
        "squared-norm",
    ),
    (
        "clip_factor",
        "norm[u.norm + 1u] = 1.0;",
        "",
        "squared-norm",
    ),
    (
        "rmsprop",
        "sqrt(square + u.epsilon)",
        "sqrt(square)",
        "rmsprop",
    ),
    (
        "scan_backward",
        "d = select(d, Rows(0.0), is_clipped(f",
        "d = select(Rows(0.0), d, is_clipped(f",
        "lstm-5-clip",
    ),
    // Late updates, small moments, clipping by value beside L2, and rates of later steps.
    ("adam", "max(ln_beta * t, -87.0)", "ln_beta * t", "adam"),
    (
        "adam",
        "f32(updates() + 1u)",
        "f32(min(updates(), 1000u) + 1u)",
        "adam",
    ),
    (
        "adam",
        "sqrt(scale) / root + epsilon",
        "sqrt(scale) / root",
        "adam",
    ),
    (
        "adam",
        "select(u.epsilon, u.epsilon / root",
        "select(u.epsilon, u.epsilon",
        "adam",
    ),
    (
        "rmsprop",
        "(sqrt(square) + u.epsilon)",
        "sqrt(square + u.epsilon)",
        "rmsprop",
    ),
    (
        "sgd",
        "clamp(scaled, -u.clip_value, u.clip_value) + u.l2 * parameters[u.parameters + at]",
        "clamp(scaled + u.l2 * parameters[u.parameters + at], -u.clip_value, u.clip_value)",
        "sgd",
    ),
    (
        "adam",
        "rates[u.rates + control[u.control + CONTROL_ROW]]",
        "rates[u.rates]",
        "adam",
    ),
    // Values that are not finite.
    (
        "record",
        "is_finite(mean) && is_finite(length)",
        "is_finite(mean)",
        "record",
    ),
    (
        "record",
        "EXPONENT = 0x7f800000u",
        "EXPONENT = 0x7f000000u",
        "record",
    ),
    (
        "record",
        "(bitcast<u32>(value) & EXPONENT) != EXPONENT",
        "bitcast<u32>(value) != EXPONENT",
        "record",
    ),
    (
        "tally",
        "size > 0x7f800000u",
        "size >= 0x7f800000u",
        "tally",
    ),
    (
        "tally",
        "return 0xffffffffu;",
        "return 0xff800000u;",
        "tally",
    ),
    (
        "tally",
        "0x80000000u - size, bits != size",
        "0x7fffffffu - size, bits != size",
        "tally",
    ),
    // Batches that fill tiles exactly, tiles of several groups, and tiles of empty sequences.
    (
        "scan_forward",
        "(u.batch - 1u) / (SEQUENCES * GROUPS)",
        "u.batch / (SEQUENCES * GROUPS)",
        "rnn-tanh-5-cut-2-groups",
    ),
    (
        "scan_backward",
        "(u.batch - 1u) / (SEQUENCES * GROUPS)",
        "u.batch / (SEQUENCES * GROUPS)",
        "rnn-tanh-5-cut-2-groups",
    ),
    (
        "scan_backward",
        "return (tile * GROUPS + group) * SEQUENCES",
        "return (tile * GROUPS + group % 2u) * SEQUENCES",
        "rnn-tanh-5-cut-2-groups",
    ),
    (
        "scan_forward",
        "group < GROUPS; group++) {\n            var h_before: OwnRows;\n            if HAS_MIDDLE",
        "group < min(GROUPS, 2u); group++) {\n            var h_before: OwnRows;\n            if HAS_MIDDLE",
        "rnn-tanh-5-cut-2-groups-4",
    ),
    (
        "scan_forward",
        "clamp(max(longest, 1u), u.begin, u.end)",
        "clamp(longest, u.begin, u.end)",
        "rnn-tanh-5-cut-2-groups",
    ),
    (
        "step_forward",
        "first = workgroup.y * 4u",
        "first = min(workgroup.y, 2u) * 4u",
        "rnn-tanh-5-t3-b16-step",
    ),
    // Masks of states in scans over chunks of time.
    (
        "scan_forward",
        "load_mask(t - 1u, first, p)",
        "load_mask(t, first, p)",
        "gru-5-dropout-residual-cut",
    ),
    (
        "scan_forward",
        "return load_h(t, first, p);",
        "return load_output(t, first, p);",
        "gru-5-dropout-residual-cut",
    ),
    // Weights in workgroup memory.
    (
        "scan_forward",
        "at < CACHED; at",
        "at + 1u < CACHED; at",
        "gru-33-cut-2-keeps-some",
    ),
    (
        "scan_backward",
        "(HELD + CACHED) / OUTPUTS",
        "(HELD + CACHED) / OUTPUTS + 1u",
        "gru-33-cut-2-keeps-some",
    ),
    // Exponents between 5 and 80.
    (
        "softmax_cross_entropy",
        "clamp(x, Rows(-87.0)",
        "clamp(x, Rows(-50.0)",
        "softmax",
    ),
    (
        "scan_forward",
        "clamp(x, Rows(-87.0), Rows(87.0))",
        "clamp(x, Rows(-87.0), Rows(30.0))",
        "lstm-5-t3-b3-scan-steep",
    ),
    (
        "step_forward",
        "clamp(2.0 * x, Rows(-20.0), Rows(20.0))",
        "clamp(2.0 * x, Rows(-12.0), Rows(12.0))",
        "rnn-tanh-5-t3-b3-step-steep",
    ),
];

#[test]
fn verify_detects_every_mutant_and_names_its_kernel() {
    let Some(device) = common::gpu() else {
        return;
    };
    let mut missed = vec![];
    let software = device.summary.is_software();
    for &(kernel, from, to, cases) in MUTANTS {
        // Hardware may hide a data race, so these mutants run on software drivers only.
        if from.contains("workgroupBarrier") && !software {
            continue;
        }
        let edit = ShaderEdit { kernel, from, to };
        let opened = OpenDevice::Gpu(Box::new(device.clone().with_edit(edit)));
        let mut named = BTreeSet::new();
        for case in sweep(Effort::Quick) {
            // Cases of whole training steps cannot name the faulty kernel.
            if !case.id.starts_with(cases) || case.id.contains("training") {
                continue;
            }
            let mut report = Report::default();
            case.check(&opened, &mut report, None).expect("it runs");
            named.extend(report.failures.iter().map(|failure| failure.kernel));
            if !named.is_empty() {
                break;
            }
        }
        if named != BTreeSet::from([kernel]) {
            missed.push(format!("{kernel}: {from} -> {to}: {named:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn verify_detects_a_mutant_in_whole_training_steps() {
    let Some(device) = common::gpu() else {
        return;
    };
    let edit = ShaderEdit {
        kernel: "column_sum",
        from: "column] = total",
        to: "column] = 1.001 * total",
    };
    let opened = OpenDevice::Gpu(Box::new(device.with_edit(edit)));
    let mut report = Report::default();
    for case in sweep(Effort::Quick) {
        if case.id.starts_with("lstm-5-training") {
            case.check(&opened, &mut report, None).expect("it runs");
        }
    }
    assert_eq!(report.cases, 16);
    assert_eq!(report.failures.len(), 16, "{report:?}");
    assert!(
        report
            .failures
            .iter()
            .all(|failure| failure.kernel == TRAINING)
    );
}

/// Mutants of the sums that lanes share, and of cached weights. Lanes, elements and lanes of the
/// backward pass, kernel, original text, mutated text, and id prefix of the cases.
type LaneMutant = (
    [usize; 3],
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const LANE_MUTANTS: &[LaneMutant] = &[
    (
        [4, 1, 4],
        "scan_forward",
        "+ subgroupShuffleXor(given, 1u)",
        "+ subgroupShuffleXor(given, 2u)",
        "gru-33",
    ),
    (
        [4, 1, 4],
        "scan_backward",
        "+ subgroupShuffleXor(given, 1u)",
        "+ subgroupShuffleXor(given, 2u)",
        "gru-33",
    ),
    (
        [4, 1, 4],
        "scan_forward",
        "at < CACHED;",
        "at + 1u < CACHED;",
        "gru-33",
    ),
    (
        [4, 1, 4],
        "scan_backward",
        "at < CACHED;",
        "at + 1u < CACHED;",
        "gru-33",
    ),
    (
        [4, 1, 4],
        "scan_forward",
        "worker < count);",
        "worker + 1u < count);",
        "gru-33",
    ),
    // A lane keeps the elements that it should give away.
    (
        [4, 2, 8],
        "scan_backward",
        "share / distance % 2u == 1u",
        "share / distance % 2u == 0u",
        "gru-33",
    ),
    (
        [4, 2, 8],
        "scan_backward",
        "share / FINISHERS % SPLIT",
        "share % SPLIT",
        "gru-33",
    ),
    (
        [4, 2, 8],
        "scan_backward",
        "return share < FINISHERS * SPLIT;",
        "return share < FINISHERS;",
        "gru-33",
    ),
    // Each lane finishes its own sequence.
    (
        [4, 2, 8],
        "scan_forward",
        "return share % FINISHERS + part * FINISHERS;",
        "return share % FINISHERS / 2u * 2u + part * FINISHERS;",
        "gru-33",
    ),
    (
        [2, 1, 2],
        "scan_forward",
        "own[PARTS - 1u] = half.y;",
        "own[PARTS - 1u] = half.x;",
        "gru-65",
    ),
    // h is read by the lane that overwrites it.
    (
        [4, 1, 4],
        "scan_forward",
        "let z = subgroupShuffleXor(values.z, 2u);",
        "let z = subgroupShuffleXor(values.z, 1u);",
        "gru-reset-before-33",
    ),
];

/// Uses the tuning of hardware on which a scan has few workgroups.
#[test]
fn verify_detects_mutants_of_lane_sums_and_cached_weights() {
    let Some(device) = common::gpu() else {
        return;
    };
    let tuned = |[lanes, each, back_lanes]: [usize; 3]| {
        let mut device = device.clone();
        for setting in [
            "scan_tile=1".to_string(),
            format!("scan_each={each}"),
            format!("scan_lanes={lanes}"),
            format!("scan_back_lanes={back_lanes}"),
            "scan_memory=16".to_string(),
            "workgroups=128".to_string(),
            "cores=128".to_string(),
        ] {
            device.tuning.set(&setting).expect("the setting is allowed");
        }
        device
    };
    let failures = |device: GpuDevice, cases: &str| {
        let opened = OpenDevice::Gpu(Box::new(device));
        let mut report = Report::default();
        for case in sweep(Effort::Quick) {
            if case.id.starts_with(cases) && !case.id.contains("training") {
                case.check(&opened, &mut report, None).expect("it runs");
            }
        }
        assert!(report.cases > 0);
        BTreeSet::from_iter(report.failures.iter().map(|failure| failure.kernel))
    };
    let mut missed = vec![];
    for &(sizes, kernel, from, to, cases) in LANE_MUTANTS {
        if device.tuning.shared_lanes < sizes[2] {
            eprintln!("{} shares no {} lanes", device.summary.name, sizes[2]);
            continue;
        }
        let device = tuned(sizes);
        assert_eq!(
            failures(device.clone(), cases),
            BTreeSet::new(),
            "{sizes:?}"
        );
        let edit = ShaderEdit { kernel, from, to };
        if failures(device.with_edit(edit), cases) != BTreeSet::from([kernel]) {
            missed.push(format!("{sizes:?} {kernel}: {from} -> {to}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_kernel_has_a_mutant() {
    let mutated: BTreeSet<&str> = MUTANTS.iter().map(|(kernel, ..)| *kernel).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let files = files.map(|file| file.expect("the folder can be read").path());
    let shaders = files.filter(|path| path.is_file());
    let kernels: BTreeSet<String> = shaders
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    assert!(kernels.iter().map(String::as_str).eq(mutated));
}

#[test]
fn verify_saves_the_tensors_of_failed_calls() {
    let Some(device) = common::gpu() else {
        return;
    };
    let edit = ShaderEdit {
        kernel: "pack",
        from: "= source[block",
        to: "= 2.0 * source[block",
    };
    let opened = OpenDevice::Gpu(Box::new(device.with_edit(edit)));
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let mut report = Report::default();
    let case = sweep(Effort::Quick)
        .into_iter()
        .find(|case| case.id == "pack-sizes-ordinary")
        .expect("it is swept");
    case.check(&opened, &mut report, Some(folder.path()))
        .expect("it runs");
    let call = folder.path().join("pack-sizes-ordinary-forward-0-pack");
    let read = |name: &str| -> ndarray::Array2<f64> {
        let file = call.join(format!("out.{name}.npy"));
        ndarray_npy::read_npy(file).expect("it is there")
    };
    let found: ndarray::Array2<f32> =
        ndarray_npy::read_npy(call.join("out.found.npy")).expect("it is there");
    assert_eq!(found.mapv(f64::from), 2.0 * read("expected"));
    assert_eq!(read("bound").sum(), 0.0);
    assert!(call.join("source.before.npy").is_file());
}

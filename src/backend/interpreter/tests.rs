//! Small WGSL programs with known results, and one for each kind of finding.

use super::finding::{Finding, FindingKind};
use super::machine::{self, Argument, Dispatch};
use super::memory::Region;
use super::shader::compile;
use super::subgroups::{LaneOrder, Subgroups};
use crate::error::Error;

/// Invocations of a workgroup of the programs.
const LANES: usize = 8;

const LINEAR: Subgroups = Subgroups {
    size: 4,
    order: LaneOrder::Linear,
};

/// A program of workgroups of [`LANES`] invocations, with the inputs 10, 11, ...
struct Program<'a> {
    globals: &'a str,
    body: &'a str,
    workgroups: u32,
    subgroups: Subgroups,
    most_iterations: usize,
    /// Whether the output is written by nobody at first.
    is_poisoned: bool,
}

const PROGRAM: Program = Program {
    globals: "",
    body: "",
    workgroups: 1,
    subgroups: LINEAR,
    most_iterations: 100,
    is_poisoned: false,
};

impl Program<'_> {
    fn source(&self) -> String {
        let directive = if self.globals.contains("f16") {
            "enable f16;"
        } else {
            ""
        };
        format!(
            "{directive}
            @group(0) @binding(0) var<storage, read> input: array<u32>;
            @group(0) @binding(1) var<storage, read_write> out: array<u32>;
            struct U {{ five: u32, half: f32 }}
            @group(1) @binding(0) var<uniform> u: U;
            {}
            @compute @workgroup_size({LANES})
            fn main(
                @builtin(local_invocation_index) lane: u32,
                @builtin(workgroup_id) workgroup: vec3<u32>,
                @builtin(global_invocation_id) at: vec3<u32>,
                @builtin(subgroup_invocation_id) own: u32,
            ) {{
                {}
            }}",
            self.globals, self.body
        )
    }

    /// Returns the outputs, one for each invocation, and what was found.
    fn run(&self) -> (Vec<u32>, Vec<Finding>) {
        let source = self.source();
        let code = compile("test", &source, &[]).unwrap_or_else(|error| panic!("{error}"));
        let len = LANES * self.workgroups as usize;
        // The tensors begin at an offset, and more words follow.
        let mut input = Region::zeros(len + 4);
        input.write(0, &(10..14 + len as u32).collect::<Vec<_>>());
        let mut out = Region::zeros(len + 4);
        if self.is_poisoned {
            out.poison(0..len + 4);
        }
        let argument = |region, name: &str| Argument {
            region,
            range: 0..len,
            name: name.into(),
            is_real: false,
        };
        let dispatch = Dispatch {
            code: &code,
            kernel: "test",
            uniforms: &[5, 0.5f32.to_bits()],
            arguments: &[argument(0, "the input"), argument(1, "the output")],
            grid: [self.workgroups, 1, 1],
            subgroups: self.subgroups,
            most_iterations: self.most_iterations,
        };
        let mut regions = [input, out];
        let findings = machine::run(&dispatch, &mut regions, &mut 0);
        (regions[1].values[..len].to_vec(), findings)
    }

    fn kinds(&self) -> Vec<FindingKind> {
        self.run().1.iter().map(|finding| finding.kind).collect()
    }
}

/// Checks the outputs of a program without findings.
fn check(globals: &str, body: &str, expected: [u32; LANES]) {
    let program = Program {
        globals,
        body,
        ..PROGRAM
    };
    let (outputs, findings) = program.run();
    assert!(findings.is_empty(), "{body}: {}", findings[0]);
    assert_eq!(outputs, expected, "{body}");
}

/// Checks a program's expression of the invocation's index.
fn check_value(value: &str, expected: impl Fn(u32) -> u32) {
    let lanes = std::array::from_fn(|lane| expected(lane as u32));
    check("", &format!("out[lane] = {value};"), lanes);
}

/// Checks a function of f32 to f16, of bits of f32: the results are those of f32 with the value.
fn check_halves(globals: &str, value: &str, words: [u32; LANES], expected: impl Fn(f32) -> f32) {
    let list = words.map(|word| format!("{word}u")).join(", ");
    let body = format!(
        "let words = array<u32, {LANES}>({list});
        let x = bitcast<f32>(words[lane]);
        out[lane] = bitcast<u32>(f32({value}));"
    );
    let expected = words.map(|word| expected(f32::from_bits(word)).to_bits());
    check(globals, &body, expected);
}

#[test]
fn halves_are_rounded_to_the_nearest_and_to_even() {
    let half = |x: f32| half::f16::from_f32(x).to_f32();
    let bits = |values: [f32; LANES]| values.map(f32::to_bits);
    let tie = |steps: u32| f32::from_bits(0x3f80_0000 + steps * 0x1000);
    let values = bits([tie(1), tie(3), tie(5), -tie(7), 65504.0, -0.1, 6e-5, 0.0]);
    check_halves("alias Half = f16;", "f16(x)", values, half);
    let values = bits([tie(1), tie(3), -tie(5), 65519.9, -6.2e-5, 1e-30, -0.0, 3.7]);
    check_halves("alias Half = f16;", "f16(x)", values, half);
    check_halves("alias Half = f16;", "f16(x) * f16(x) + 1h", values, |x| {
        half(half(half(x) * half(x)) + 1.0)
    });
    // The function of the shaders rounds normal values before the conversion.
    let halves = include_str!("../../../shaders/common/halves.wgsl");
    let values = bits([tie(1), tie(3), -tie(5), tie(7), 65519.9, -6.2e-5, 0.0, 0.1]);
    check_halves(halves, "halved(vec4<f32>(x)).y", values, half);
    let is_nan = "let y = f32(halved(vec4<f32>(bitcast<f32>(0x477ff000u + lane * 4194304u))).x);
        out[lane] = select(0u, 1u, y != y);";
    check(halves, is_nan, [1; LANES]);
}

#[test]
fn f16_in_shared_memory_and_its_functions_are_refused() {
    let refused = |globals, body| {
        let program = Program {
            globals,
            body,
            ..PROGRAM
        };
        let error = compile("test", &program.source(), &[]).unwrap_err();
        assert!(error.to_string().contains("f16"), "{error}");
    };
    refused(
        "var<workgroup> shared: array<f16, 4>;",
        "shared[lane % 4u] = 1h;",
    );
    refused("alias Half = f16;", "out[lane] = u32(sqrt(f16(lane)));");
    refused(
        "alias Half = f16;",
        "out[lane] = u32(sqrt(f16(f32(lane))));",
    );
}

#[test]
fn integer_operators() {
    check_value("input[lane] + lane * 3u - lane", |i| 10 + i + 2 * i);
    check_value("input[lane] / 3u", |i| (10 + i) / 3);
    check_value("input[lane] % 4u", |i| (10 + i) % 4);
    check_value("(input[lane] << 2u) | (lane & 1u)", |i| {
        ((10 + i) << 2) | (i & 1)
    });
    check_value("(input[lane] ^ 6u) >> 1u", |i| ((10 + i) ^ 6) >> 1);
    check_value("~lane", |i| !i);
    check_value("u32(i32(lane) - 3)", |i| i.wrapping_sub(3));
    check_value("u32((i32(lane) - 5) / 2)", |i| {
        ((i.cast_signed() - 5) / 2).cast_unsigned()
    });
    check_value("u32((i32(lane) - 5) >> 1u)", |i| {
        ((i.cast_signed() - 5) >> 1).cast_unsigned()
    });
    check_value("u32(-i32(lane))", |i| i.wrapping_neg());
    check_value("min(lane, 4u) + max(lane, 2u)", |i| i.min(4) + i.max(2));
    check_value("clamp(lane, 2u, 5u)", |i| i.clamp(2, 5));
    check_value("u32(abs(i32(lane) - 4))", |i| i.abs_diff(4));
    check_value("countOneBits(lane)", u32::count_ones);
    check_value("u32(lane < 3u) + u32(lane >= 3u) * 2u", |i| {
        1 + u32::from(i >= 3)
    });
    check_value("u32(lane > 3u) + u32(lane <= 6u) * 2u", |i| {
        u32::from(i > 3) + 2 * u32::from(i <= 6)
    });
    check_value("u32(lane == 3u || (lane != 5u && !(lane < 4u)))", |i| {
        u32::from(i == 3 || (i != 5 && i >= 4))
    });
    check_value("at.x + u.five", |i| i + 5);
}

#[test]
fn float_operators() {
    let bits = |function: fn(f32) -> f32| move |i: u32| function(i as f32).to_bits();
    let float = |value: &str| format!("bitcast<u32>({})", value.replace('X', "f32(lane)"));
    check_value(
        &float("X * 2.5 - X / 3.0 + 1.0"),
        bits(|x| x * 2.5 - x / 3.0 + 1.0),
    );
    check_value(&float("-X"), bits(|x| -x));
    check_value(&float("X * u.half"), bits(|x| x * 0.5));
    check_value(
        &float("round(X * 0.5)"),
        bits(|x| (x * 0.5).round_ties_even()),
    );
    check_value(
        &float("floor(X * 0.4) + ceil(X * 0.3)"),
        bits(|x| (x * 0.4).floor() + (x * 0.3).ceil()),
    );
    check_value(&float("sqrt(X)"), bits(f32::sqrt));
    check_value(&float("abs(X - 3.0)"), bits(|x| (x - 3.0).abs()));
    check_value(&float("max(min(X, 4.0), 2.0)"), bits(|x| x.clamp(2.0, 4.0)));
    check_value(&float("clamp(X, 2.0, 4.0)"), bits(|x| x.clamp(2.0, 4.0)));
    check_value(
        &float("select(X, 9.0, X > 3.0)"),
        bits(|x| if x > 3.0 { 9.0 } else { x }),
    );
    check_value(&float("f32(i32(X) - 2)"), bits(|x| x - 2.0));
    check_value("u32(f32(lane) * 1.7)", |i| (i as f32 * 1.7) as u32);
    check_value("u32(exp(0.0) + tanh(0.0)) + lane", |i| i + 1);
}

#[test]
fn vectors_and_matrices() {
    check_value("dot(vec3<u32>(lane, 1u, 2u), vec3<u32>(2u, 3u, 4u))", |i| {
        2 * i + 11
    });
    check_value("(vec2<u32>(lane, 7u).yx + 1u).y", |i| i + 1);
    check_value("vec4<u32>(1u, 2u, 3u, 4u)[lane % 4u]", |i| 1 + i % 4);
    check_value("u32(all(vec2<u32>(lane, 1u) < vec2<u32>(4u)))", |i| {
        u32::from(i < 4)
    });
    check_value("u32(any(vec2<bool>(lane == 1u, lane == 2u)))", |i| {
        u32::from(i == 1 || i == 2)
    });
    check_value(
        "select(vec2<u32>(1u), vec2<u32>(lane), vec2<bool>(true, false)).x",
        |i| i,
    );
    check(
        "",
        "let m = mat2x3<f32>(vec3<f32>(1.0, 2.0, 3.0), vec3<f32>(f32(lane), 5.0, 6.0));
         let t = transpose(m);
         var sum = m + m * 2.0;
         sum[1][0] += t[0].y;
         out[lane] = u32(sum[1][0] + t[2][1]);",
        [6, 10, 14, 18, 22, 26, 30, 34],
    );
}

#[test]
fn local_arrays_and_structs() {
    check(
        "struct Pair { a: u32, b: array<vec2<u32>, 3> }",
        "var pair = Pair(1u, array(vec2<u32>(lane, 2u), vec2<u32>(3u, 4u), vec2<u32>()));
         pair.b[2] = vec2<u32>(5u, lane);
         let copy = pair;
         pair.b[lane % 3u].y += 10u;
         out[lane] = pair.b[lane % 3u].y + copy.a + copy.b[2].y;",
        [13, 16, 15, 16, 19, 21, 19, 22],
    );
}

#[test]
fn pointers_to_functions_and_early_returns() {
    check(
        "fn grow(value: ptr<function, u32>, by: u32) { *value += by; }
         fn half_if_even(value: u32) -> u32 {
             if value % 2u == 0u { return value / 2u; }
             for (var i = 0u; i < 10u; i++) { if i == 3u { return value + i; } }
             return 99u;
         }",
        "var value = half_if_even(lane);
         grow(&value, lane);
         if lane == 7u { return; }
         out[lane] = value;",
        [0, 5, 3, 9, 6, 13, 9, 0],
    );
}

#[test]
fn loops_with_break_and_continue() {
    check(
        "",
        "var sum = 0u;
         for (var i = 0u; i < 20u; i++) {
             if i % 2u == 1u { continue; }
             if i > lane { break; }
             sum += i;
         }
         var rounds = 0u;
         loop {
             rounds++;
             continuing { sum += 100u; break if rounds > lane % 3u; }
         }
         while rounds > 1u { rounds--; sum += 1000u; }
         out[lane] = sum;",
        [100, 1200, 2302, 102, 1206, 2306, 112, 1212],
    );
}

#[test]
fn switches() {
    check(
        "",
        "var value = 1u;
         switch lane {
             case 0u, 2u: { value = 10u; }
             case 3u: { if lane == 3u { break; } value = 20u; }
             case 4u, default: { value = 30u; }
         }
         out[lane] = value;",
        [10, 30, 10, 1, 30, 30, 30, 30],
    );
}

#[test]
fn workgroup_memory_and_atomics() {
    check(
        "var<workgroup> shared_words: array<u32, 8>;
         var<workgroup> count: atomic<u32>;
         var<workgroup> most: atomic<i32>;",
        "shared_words[lane] = lane * lane;
         if lane == 0u { atomicStore(&count, 100u); atomicStore(&most, -5); }
         workgroupBarrier();
         atomicAdd(&count, lane);
         atomicMax(&most, i32(lane) - 4);
         workgroupBarrier();
         out[lane] = shared_words[7u - lane] + atomicLoad(&count) + u32(atomicLoad(&most));",
        [180, 167, 156, 147, 140, 135, 132, 131],
    );
}

#[test]
fn shuffles_follow_the_layout_of_subgroups() {
    let body = "out[lane] = subgroupShuffleXor(lane, 1u) * 10u + own;";
    let outputs = |size, order| {
        let subgroups = Subgroups { size, order };
        let program = Program {
            body,
            subgroups,
            ..PROGRAM
        };
        let (outputs, findings) = program.run();
        assert!(findings.is_empty());
        outputs
    };
    assert_eq!(
        outputs(4, LaneOrder::Linear),
        [10, 1, 32, 23, 50, 41, 72, 63]
    );
    assert_eq!(
        outputs(4, LaneOrder::Reversed),
        [13, 2, 31, 20, 53, 42, 71, 60]
    );
    assert_eq!(
        outputs(4, LaneOrder::Strided),
        [20, 30, 1, 11, 62, 72, 43, 53]
    );
    check_value("subgroupAdd(lane)", |i| if i < 4 { 6 } else { 22 });
    check_value("subgroupBroadcastFirst(lane)", |i| i / 4 * 4);
    check_value("subgroupShuffle(lane, 2u)", |i| i / 4 * 4 + 2);
}

/// Asserts that a program has exactly one kind of finding.
fn check_finding(program: Program, expected: FindingKind) {
    let kinds = program.kinds();
    assert!(!kinds.is_empty(), "{}: nothing was found", program.body);
    assert!(
        kinds.iter().all(|&kind| kind == expected),
        "{}: {kinds:?}",
        program.body
    );
}

fn check_body(body: &str, expected: FindingKind) {
    check_finding(Program { body, ..PROGRAM }, expected);
}

#[test]
fn arithmetic_faults_are_found() {
    check_body("out[lane] = lane - 1u;", FindingKind::Wrap);
    check_body("out[lane] = (lane + 4294967290u);", FindingKind::Wrap);
    check_body("out[lane] = lane * 1000000000u;", FindingKind::Wrap);
    check_body(
        "out[lane] = u32(2147483647 + i32(lane));",
        FindingKind::Wrap,
    );
    check_body("out[lane] = 5u / lane;", FindingKind::DivisionByZero);
    check_body("out[lane] = 5u % lane;", FindingKind::DivisionByZero);
    check_body("out[lane] = 1u << (lane + 25u);", FindingKind::Shift);
    check_body("out[lane] = u32(-f32(lane));", FindingKind::Conversion);
    check_body(
        "out[lane] = u32(i32(f32(lane) * 1e9));",
        FindingKind::Conversion,
    );
    let wraps = Program {
        body: "out[lane] = lane - 1u;  // wraps",
        ..PROGRAM
    };
    assert_eq!(wraps.kinds(), []);
    // An invocation that does not take part has no fault.
    check_value("0u;\nif lane > 0u { out[lane] = lane - 1u; }", |i| {
        i.saturating_sub(1)
    });
}

#[test]
fn accesses_out_of_bounds_are_found() {
    check_body("out[lane + 1u] = 1u;", FindingKind::OutOfBounds);
    check_body("out[lane] = input[lane + 3u];", FindingKind::OutOfBounds);
    check_body(
        "var a = array(1u, 2u, 3u); out[lane] = a[lane];",
        FindingKind::OutOfBounds,
    );
    check_body(
        "out[lane] = vec4<u32>(lane)[lane];",
        FindingKind::OutOfBounds,
    );
    let program = Program {
        body: "out[lane + 1u] = 1u;",
        ..PROGRAM
    };
    let text = program.run().1[0].to_string();
    assert!(
        text.contains("test: access out of bounds in line")
            && text.contains("`out[lane + 1u] = 1u;`"),
        "{text}"
    );
    let element = "invocation 7 of workgroup (0, 0, 0), out[8] of `the output`";
    assert!(text.contains(element), "{text}");
}

#[test]
fn races_are_found() {
    check_body("out[lane / 2u] = 1u;", FindingKind::Race);
    check_body(
        "out[lane] = 1u; out[lane] += out[7u - lane];",
        FindingKind::Race,
    );
    let shared = |body| Program {
        globals: "var<workgroup> words: array<u32, 8>;",
        body,
        ..PROGRAM
    };
    let read = "words[lane] = 1u; out[lane] = words[7u - lane];";
    let kinds = shared(read).kinds();
    assert!(kinds.contains(&FindingKind::Race), "{kinds:?}");
    let write = "words[lane] = 1u; workgroupBarrier(); let x = words[7u - lane]; words[lane] = x;";
    check_finding(shared(write), FindingKind::Race);
    // A barrier orders the memory that it names and no other.
    let other = "words[lane] = 1u; storageBarrier(); out[lane] = words[7u - lane];";
    check_finding(shared(other), FindingKind::Race);
    let between = Program {
        body: "if lane == 0u { out[0] = workgroup.x; }",
        workgroups: 2,
        ..PROGRAM
    };
    check_finding(between, FindingKind::Race);
    let ordered = Program {
        globals: "var<workgroup> count: atomic<u32>;",
        body: "if lane == 0u { atomicStore(&count, 0u); }
            workgroupBarrier();
            atomicAdd(&count, 1u);
            out[lane] = atomicLoad(&count);",
        ..PROGRAM
    };
    check_finding(ordered, FindingKind::Race);
}

#[test]
fn uses_of_unwritten_words_are_found() {
    let poisoned = |body| Program {
        body,
        is_poisoned: true,
        ..PROGRAM
    };
    check_finding(poisoned("out[lane] += 1u;"), FindingKind::Unwritten);
    check_finding(
        poisoned("if out[lane] == 0u { out[lane] = 1u; }"),
        FindingKind::Unwritten,
    );
    check_finding(
        poisoned("out[lane] = input[out[lane]];"),
        FindingKind::Unwritten,
    );
    let through = "var a = array(out[lane], 1u); out[lane] = a[lane % 2u];";
    check_finding(poisoned(through), FindingKind::Unwritten);
    // A value that is loaded and not used does no harm.
    let dropped = "var a = array(out[lane], 1u); a[lane % 1u] = 2u; out[lane] = a[0] + a[1];";
    assert_eq!(poisoned(dropped).kinds(), []);
    let selected = "out[lane] = select(out[lane], 3u, lane < 8u);";
    assert_eq!(poisoned(selected).kinds(), []);
    let shared = Program {
        globals: "var<workgroup> words: array<u32, 8>;",
        body: "if lane > 0u { words[lane] = 1u; }
            workgroupBarrier();
            out[lane] = words[lane];",
        ..PROGRAM
    };
    let findings = shared.run().1;
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].kind, findings[0].invocation),
        (FindingKind::Unwritten, 0)
    );
}

#[test]
fn control_flow_that_is_not_uniform_is_found() {
    let barrier = Program {
        globals: "fn some(lane: u32) { if lane > input[0] { return; } workgroupBarrier(); }",
        body: "some(lane + 4u);",
        ..PROGRAM
    };
    check_finding(barrier, FindingKind::NonUniform);
    let shuffle = "if lane < 6u { out[lane] = subgroupShuffleXor(lane, 1u); }";
    check_body(shuffle, FindingKind::NonUniform);
    check_body(
        "out[lane] = subgroupShuffleXor(lane, 4u);",
        FindingKind::NonUniform,
    );
    check_body(
        "out[lane] = subgroupShuffleXor(lane, lane % 2u);",
        FindingKind::NonUniform,
    );
    let rounds = "for (var i = lane; i < 12u; i += 8u) { out[lane] = subgroupShuffleXor(i, 1u); }";
    check_body(rounds, FindingKind::NonUniform);
}

#[test]
fn loops_beyond_the_stated_iterations_are_found() {
    let rounds = |body| Program {
        body,
        most_iterations: 11,
        ..PROGRAM
    };
    let to_input = "for (var i = 0u; i < input[lane]; i++) { out[lane] = i; }";
    check_finding(rounds(to_input), FindingKind::Iterations);
    // Loops of a constant number of iterations are not counted.
    let constant = "for (var i = 0u; i < min(20u, input[lane] + 20u); i++) { out[lane] = i; }";
    assert_eq!(rounds(constant).kinds(), []);
    let halving = "for (var i = 32u; i > 0u; i /= 2u) { out[lane] = i; }";
    assert_eq!(rounds(halving).kinds(), []);
    check_finding(
        rounds("loop { if lane > 8u { break; } }"),
        FindingKind::Iterations,
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refusal = |body| {
        let source = Program { body, ..PROGRAM }.source();
        match compile("test", &source, &[]) {
            Err(Error::Failed(message)) => message,
            other => panic!("{:?}", other.map(|_| ())),
        }
    };
    let message = refusal("out[lane] = u32(atan2(1.0, f32(lane)));");
    assert!(
        message.contains("does not support the function Atan2"),
        "{message}"
    );
    let message = refusal("out[lane] = u32(frexp(f32(lane)).exp);");
    assert!(message.contains("Frexp"), "{message}");
}

//! Tests of each kernel alone, on the GPU and on the CPU in f32 and f64. The expected values come
//! from independent formulas over values that carry a bound on their rounding error. Each bound is
//! derived from its formula; there are no hand-picked tolerances.

mod common;
#[path = "kernels/norm.rs"]
mod norm;

use std::ops::{Add, Mul, Neg, Sub};
use std::sync::OnceLock;

use gatescan::Cell;
use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::gpu::GpuDevice;
use gatescan::low_level::backend::gpu::executor::Gpu;
use gatescan::low_level::kernels::*;
use gatescan::low_level::program::{Phase, Program};
use gatescan::low_level::rng::{Philox, Stream, philox};
use gatescan::low_level::tensor::{Element, Kind, Tensor};
use gatescan::network::{Activation, MaskSharing, RecurrentActivation};

// ---- values with error bounds -------------------------------------------------------------------

/// The unit roundoff of f32, 2^-24: the largest relative error of one rounding.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;
/// 2^-125: an upper bound on the absolute error when a driver flushes subnormal numbers to zero or
/// `exp` is clamped at -87.
const TINY: f64 = 2.0 * f32::MIN_POSITIVE as f64;

/// A value and an upper bound on the absolute error of f32 arithmetic (running error analysis;
/// Higham, "Accuracy and Stability of Numerical Algorithms", 3.3).
#[derive(Clone, Copy, Debug)]
struct Num {
    value: f64,
    error: f64,
}

const ZERO: Num = Num {
    value: 0.0,
    error: 0.0,
};

/// Returns a stored value, which is the same on every backend.
fn exact(value: f64) -> Num {
    Num { value, error: 0.0 }
}

/// Returns a constant of the kernel call, which is rounded to f32 for a GPU.
fn constant(value: f64) -> Num {
    rounded(value, 0.0, 1.0)
}

/// Returns `value`, known to within `error`, after `roundings` more roundings.
fn rounded(value: f64, error: f64, roundings: f64) -> Num {
    if value == 0.0 && error == 0.0 {
        return ZERO;
    }
    // The factor 1.01 covers the second-order terms: at most 1% of the first-order error.
    Num {
        value,
        error: error + 1.01 * roundings * ROUNDING * (value.abs() + error) + TINY,
    }
}

/// Returns a sum in any order in which each term is rounded at most `depth` times.
fn sum(terms: impl IntoIterator<Item = Num>, depth: usize) -> Num {
    let (mut value, mut size, mut error) = (0.0, 0.0, 0.0);
    // Kahan summation: the f64 error of this sum does not grow with its length.
    let mut lost = 0.0;
    for term in terms {
        let next = value + (term.value - lost);
        lost = (next - value) - (term.value - lost);
        value = next;
        size += term.value.abs() + term.error;
        error += term.error;
    }
    if size == 0.0 {
        return ZERO;
    }
    Num {
        value,
        error: error + 1.01 * depth as f64 * ROUNDING * size + TINY,
    }
}

impl Add for Num {
    type Output = Num;
    fn add(self, other: Num) -> Num {
        rounded(self.value + other.value, self.error + other.error, 1.0)
    }
}

impl Neg for Num {
    type Output = Num;
    fn neg(self) -> Num {
        Num {
            value: -self.value,
            ..self
        }
    }
}

impl Sub for Num {
    type Output = Num;
    fn sub(self, other: Num) -> Num {
        self + -other
    }
}

impl Mul for Num {
    type Output = Num;
    fn mul(self, other: Num) -> Num {
        let error = self.value.abs() * other.error
            + other.value.abs() * self.error
            + self.error * other.error;
        rounded(self.value * other.value, error, 1.0)
    }
}

impl Num {
    /// Divides. WGSL allows an error of 2.5 ulp; 1 ulp is at most two roundings.
    fn over(self, other: Num) -> Num {
        let value = self.value / other.value;
        let error = (self.error + value.abs() * other.error) / (other.value.abs() - other.error);
        rounded(value, error, 5.0)
    }

    /// Takes the square root. WGSL allows the error of 1 / inverseSqrt: 2 ulp and 2.5 ulp.
    fn sqrt(self) -> Num {
        let value = self.value.sqrt();
        let error = if self.error == 0.0 {
            0.0
        } else {
            self.error / (value + (self.value - self.error).max(0.0).sqrt())
        };
        rounded(value, error, 9.0)
    }

    /// Takes e^x. The error in src/real.rs is 1.5 ulp, and e^-87 for x below -87.
    fn exp(self) -> Num {
        let value = self.value.exp();
        rounded(value, value * self.error.exp_m1() + TINY, 3.0)
    }

    /// Takes the logarithm of a value of at least 1. ln m with m in [sqrt(1/2), sqrt(2)] has 11
    /// roundings, each of at most the result: m + 1, the division (5), 2 s * series (1) and the
    /// series (4). Adding n ln 2 takes 2 more.
    fn ln(self) -> Num {
        let value = self.value.ln();
        rounded(value, self.error / (self.value - self.error), 13.0)
    }

    /// Takes the sigmoid. The error in src/real.rs is 3 ulp if the division has 0.5 ulp; WGSL
    /// allows the division 2 ulp more. The slope is at most 1/4 and at most e^-|x|.
    fn sigmoid(self) -> Num {
        let value = 1.0 / (1.0 + (-self.value).exp());
        let slope = (self.error - self.value.abs()).exp().min(0.25);
        let value = rounded(value, slope * self.error, 10.0);
        Num {
            error: value.error + TINY,
            ..value
        }
    }

    /// Takes tanh. The error in src/real.rs is 4 ulp if the division has 0.5 ulp; WGSL allows the
    /// division 2 ulp more. The slope is at most 1 and at most 4 e^-2|x|.
    fn tanh(self) -> Num {
        let slope = (4.0 * (2.0 * (self.error - self.value.abs())).exp()).min(1.0);
        rounded(self.value.tanh(), slope * self.error, 12.0)
    }

    /// Applies the function of a candidate.
    fn activated(self, activation: Activation) -> Num {
        match activation {
            Activation::Tanh => self.tanh(),
            Activation::Relu => Num {
                value: self.value.max(0.0),
                ..self
            },
            Activation::Sigmoid => self.sigmoid(),
            Activation::Softsign => {
                let magnitude = Num {
                    value: self.value.abs(),
                    ..self
                };
                self.over(exact(1.0) + magnitude)
            }
            other => panic!("{other:?} is not written down here"),
        }
    }

    /// Returns the slope of the function of a candidate where it is this exact value.
    fn slope(self, activation: Activation) -> Num {
        let one = exact(1.0);
        match activation {
            Activation::Tanh => one - self * self,
            Activation::Relu => exact(f64::from(u8::from(self.value > 0.0))),
            Activation::Sigmoid => self * (one - self),
            Activation::Softsign => {
                let rest = one - exact(self.value.abs());
                rest * rest
            }
            other => panic!("{other:?} is not written down here"),
        }
    }

    /// Applies the function of a gate.
    fn gate(self, function: RecurrentActivation) -> Num {
        let line = |slope: f32| {
            let line = self * exact(slope.into()) + exact(0.5);
            Num {
                value: line.value.clamp(0.0, 1.0),
                ..line
            }
        };
        match function {
            RecurrentActivation::Sigmoid => self.sigmoid(),
            RecurrentActivation::HardSigmoid => line(1.0 / 6.0),
            RecurrentActivation::HardSigmoidKeras2 => line(0.2),
            other => panic!("{other:?} is not written down here"),
        }
    }

    /// Returns the slope of the function of a gate where it is this exact value.
    fn gate_slope(self, function: RecurrentActivation) -> Num {
        let is_inside = self.value > 0.0 && self.value < 1.0;
        match function {
            RecurrentActivation::Sigmoid => self * (exact(1.0) - self),
            _ if !is_inside => ZERO,
            RecurrentActivation::HardSigmoid => exact((1.0_f32 / 6.0).into()),
            RecurrentActivation::HardSigmoidKeras2 => exact(0.2_f32.into()),
            other => panic!("{other:?} is not written down here"),
        }
    }

    /// Clamps the value to ±limit.
    fn clipped(self, limit: f64) -> Num {
        Num {
            value: self.value.clamp(-limit, limit),
            ..self
        }
    }

    /// Returns whether the value is beyond ±limit. Panics if that depends on rounding.
    fn is_beyond(self, limit: f64) -> bool {
        let over = self.value.abs() - limit;
        assert!(over.abs() > self.error, "{self:?} is too near to {limit}");
        over > 0.0
    }

    /// Returns 1 - e^x for x < 0. Two relative roundings of x change e^x by 2 |x| e^x roundings.
    /// The error of e^r - 1, after n ln 2 is subtracted, is at most 10 |x| e^x roundings (see
    /// `correction` in shaders/adam.wgsl).
    fn one_minus_exp(x: f64) -> Num {
        let error = 12.0 * ROUNDING * x.abs() * x.exp();
        rounded(-x.exp_m1(), error, 2.0)
    }
}

// ---- single kernel calls ------------------------------------------------------------------------

/// The value before and after each written tensor; no kernel computes it.
const FENCE: f32 = -1.234_567e30;
/// The integer fence, which is also the initial value of written integer tensors.
const DEAD: u32 = 0xDEAD_BEEF;
const NAN: f32 = f32::NAN;

/// A program of kernel calls and its buffer contents. Each tensor has its own buffer and an odd
/// offset in it.
struct Bench {
    program: Program,
    contents: Vec<Content>,
    random: Philox,
}

#[derive(Clone)]
enum Content {
    Real(Vec<f32>),
    Index(Vec<u32>),
}

impl Bench {
    fn new(seed: usize) -> Self {
        Bench {
            program: Program::new(),
            contents: vec![],
            random: Philox::new(seed as u64, Stream::Parameter(0)),
        }
    }

    fn copied(&self) -> Self {
        Bench {
            program: self.program.clone(),
            contents: self.contents.clone(),
            random: self.random.clone(),
        }
    }

    /// Returns `count` random values, uniform in ±limit.
    fn uniform(&mut self, count: usize, limit: f32) -> Vec<f32> {
        (0..count)
            .map(|_| (2.0 * self.random.uniform() - 1.0) * limit)
            .collect()
    }

    /// Allocates a read-only tensor. A read out of its bounds returns NaN.
    fn reads(&mut self, values: &[f32]) -> Tensor {
        self.allocate(Content::Real, values, NAN, Element::Real, self.odd())
    }

    /// Allocates a read-only tensor that is read as vec4s, at an offset that is a multiple of 4.
    fn reads_vec4s(&mut self, values: &[f32]) -> Tensor {
        self.allocate(Content::Real, values, NAN, Element::Real, 4 * self.odd())
    }

    /// Allocates a tensor that is written.
    fn writes(&mut self, values: &[f32]) -> Tensor {
        self.allocate(Content::Real, values, FENCE, Element::Real, self.odd())
    }

    /// Allocates a tensor that is written as vec4s, at an offset that is a multiple of 4.
    fn writes_vec4s(&mut self, values: &[f32]) -> Tensor {
        self.allocate(Content::Real, values, FENCE, Element::Real, 4 * self.odd())
    }

    /// Allocates a tensor of integers.
    fn indices(&mut self, values: &[u32]) -> Tensor {
        self.allocate(Content::Index, values, DEAD, Element::Index, self.odd())
    }

    /// Allocates a read-only tensor of random values.
    fn random(&mut self, count: usize) -> Tensor {
        let values = self.uniform(count, 1.0);
        self.reads(&values)
    }

    /// Returns the odd number of fence elements before the next tensor.
    fn odd(&self) -> usize {
        2 * self.contents.len() + 1
    }

    /// Allocates a buffer for one tensor with fence values before and after it.
    fn allocate<E: Copy>(
        &mut self,
        content: fn(Vec<E>) -> Content,
        values: &[E],
        fence: E,
        element: Element,
        before: usize,
    ) -> Tensor {
        let fenced = [&vec![fence; before][..], values, &[fence; 67]].concat();
        let name = format!("buffer {}", self.contents.len());
        let tensor = (self.program).buffer(name, Kind::Data, element, [fenced.len()]);
        self.contents.push(content(fenced));
        tensor.part(before, [values.len()])
    }
}

/// The contents of all buffers. f64 represents every f32 and every u32 exactly.
struct Snapshot(Vec<Vec<f64>>);

impl Snapshot {
    fn of(&self, tensor: &Tensor) -> &[f64] {
        &self.0[tensor.buffer.index()][tensor.range()]
    }
}

/// The values that a phase must write, by tensor. All other elements must stay unchanged.
type Expected = Vec<(Tensor, Vec<Num>)>;

/// An executor under test.
enum Backend {
    Gpu(Box<Gpu>),
    CpuF32(Cpu<f32>),
    CpuF64(Cpu<f64>),
}

impl Backend {
    fn executor(&mut self) -> &mut dyn Executor {
        match self {
            Backend::Gpu(gpu) => &mut **gpu,
            Backend::CpuF32(cpu) => cpu,
            Backend::CpuF64(cpu) => cpu,
        }
    }

    fn load(&mut self, bench: &Bench) {
        for (index, content) in bench.contents.iter().enumerate() {
            let whole = bench.program.whole(index);
            match content {
                Content::Real(values) => self.executor().write(&whole, values).expect("it fits"),
                Content::Index(values) => self
                    .executor()
                    .write_index(&whole, values)
                    .expect("it fits"),
            }
        }
    }

    fn snapshot(&mut self, bench: &Bench) -> Snapshot {
        let mut buffer = |(index, content): (usize, &Content)| -> Vec<f64> {
            let whole = bench.program.whole(index);
            match (content, &mut *self) {
                (Content::Real(_), Backend::CpuF64(cpu)) => cpu.read_exact(&whole),
                (Content::Real(_), backend) => backend
                    .executor()
                    .read(&whole)
                    .expect("it reads")
                    .into_iter()
                    .map(f64::from)
                    .collect(),
                (Content::Index(_), backend) => backend
                    .executor()
                    .read_index(&whole)
                    .expect("it reads")
                    .into_iter()
                    .map(f64::from)
                    .collect(),
            }
        };
        Snapshot(bench.contents.iter().enumerate().map(&mut buffer).collect())
    }

    /// Returns the allowed fraction of the f32 error bound: 2^-28 for f64, where the expected
    /// values are rounded too.
    fn share(&self) -> f64 {
        if matches!(self, Backend::CpuF64(_)) {
            1.0 / (1u64 << 28) as f64
        } else {
            1.0
        }
    }
}

/// Runs kernel calls on every backend and keeps the largest ratio of error to bound.
struct Checker {
    kernel: &'static str,
    gpu: Option<GpuDevice>,
    cases: usize,
    /// The largest ratio of error to bound on the GPU, on the CPU in f32 and in f64.
    worst: [f64; 3],
}

impl Drop for Checker {
    fn drop(&mut self) {
        let [gpu, single, double] = self.worst;
        println!(
            "{}: {} cases; error / bound: gpu {gpu:.3}, f32 {single:.3}, f64 {double:.3}",
            self.kernel, self.cases
        );
    }
}

impl Checker {
    fn new(kernel: &'static str) -> Self {
        Checker {
            kernel,
            gpu: common::gpu(),
            cases: 0,
            worst: [0.0; 3],
        }
    }

    /// Checks one kernel call, recorded in [`Phase::Forward`].
    fn call(
        &mut self,
        case: &str,
        mut bench: Bench,
        call: impl Into<Call>,
        expected: impl Fn(&Snapshot) -> Expected,
    ) {
        bench.program.push(Phase::Forward, call);
        self.phases(case, &bench, &[&expected]);
    }

    /// Runs the phases one by one. The expected values of a phase come from the backend's own
    /// buffers before it, so errors do not accumulate. Returns the final buffers of each backend.
    fn phases(
        &mut self,
        case: &str,
        bench: &Bench,
        expected: &[&dyn Fn(&Snapshot) -> Expected],
    ) -> Vec<Snapshot> {
        self.cases += 1;
        let program = || bench.program.clone();
        let mut backends = vec![
            (1, Backend::CpuF32(Cpu::new(program()).expect("it fits"))),
            (2, Backend::CpuF64(Cpu::new(program()).expect("it fits"))),
        ];
        // Without bounds checks where the host has proved them unnecessary, and with all checks.
        for checks in [false, true] {
            if let Some(device) = &self.gpu {
                let mut device = device.clone();
                device.tuning.checks = checks;
                let gpu = Gpu::new(&device, &bench.program).expect("it loads");
                backends.push((0, Backend::Gpu(Box::new(gpu))));
            }
        }
        let mut snapshots = vec![];
        for (backend_index, (arithmetic, mut backend)) in backends.into_iter().enumerate() {
            let checks = if backend_index == 3 { ", checked" } else { "" };
            let context = format!(
                "{} {case} on {}{checks}",
                self.kernel,
                ["the GPU", "the CPU in f32", "the CPU in f64"][arithmetic]
            );
            backend.load(bench);
            let mut before = backend.snapshot(bench);
            for (&phase, expected) in Phase::ALL.iter().zip(expected) {
                backend.executor().run(&[phase], 1).expect("it runs");
                let after = backend.snapshot(bench);
                let worst = compare(
                    &format!("{context}, {phase:?}"),
                    bench,
                    &before,
                    expected(&before),
                    &after,
                    backend.share(),
                );
                self.worst[arithmetic] = self.worst[arithmetic].max(worst);
                before = after;
            }
            backend.load(bench);
            backend
                .executor()
                .run(&Phase::ALL[..expected.len()], 1)
                .expect("it runs");
            assert_same_bits(
                &format!("{context}, a second time"),
                &before,
                &backend.snapshot(bench),
            );
            snapshots.push(before);
        }
        snapshots
    }

    /// Runs the forward phase on every backend without a comparison.
    fn run_forward(&self, bench: &Bench) -> Vec<Snapshot> {
        let program = || bench.program.clone();
        let mut backends = vec![
            Backend::CpuF32(Cpu::new(program()).expect("it fits")),
            Backend::CpuF64(Cpu::new(program()).expect("it fits")),
        ];
        if let Some(device) = &self.gpu {
            backends.push(Backend::Gpu(Box::new(
                Gpu::new(device, &bench.program).expect("it loads"),
            )));
        }
        let run = |mut backend: Backend| {
            backend.load(bench);
            backend
                .executor()
                .run(&[Phase::Forward], 1)
                .expect("it runs");
            backend.snapshot(bench)
        };
        backends.into_iter().map(run).collect()
    }
}

/// Returns the largest ratio of error to bound. Panics if a ratio exceeds 1 or if an element
/// changed that must stay unchanged.
fn compare(
    context: &str,
    bench: &Bench,
    before: &Snapshot,
    expected: Expected,
    after: &Snapshot,
    share: f64,
) -> f64 {
    let mut wanted: Vec<Vec<Num>> = before
        .0
        .iter()
        .map(|values| values.iter().map(|&value| exact(value)).collect())
        .collect();
    for (tensor, values) in expected {
        assert_eq!(tensor.len(), values.len(), "{context}");
        wanted[tensor.buffer.index()][tensor.range()].copy_from_slice(&values);
    }
    let mut worst = 0.0f64;
    for (buffer, (wanted, found)) in wanted.iter().zip(&after.0).enumerate() {
        for (at, (wanted, &found)) in wanted.iter().zip(found).enumerate() {
            let (error, bound) = ((found - wanted.value).abs(), wanted.error * share);
            // The difference of infinities or NaN is NaN, so these are compared directly.
            let same = wanted.value == found || wanted.value.is_nan() && found.is_nan();
            let name = &bench.program.buffers()[buffer].name;
            assert!(
                same || error <= bound,
                "{context}: {name} [{at}] is {found:e}, {:e} ± {bound:e} was expected",
                wanted.value
            );
            if bound > 0.0 {
                worst = worst.max(error / bound);
            }
        }
    }
    worst
}

fn assert_same_bits(context: &str, one: &Snapshot, other: &Snapshot) {
    let bits = |s: &Snapshot| -> Vec<Vec<u64>> {
        s.0.iter()
            .map(|values| {
                values
                    .iter()
                    .map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() })
                    .collect()
            })
            .collect()
    };
    assert!(bits(one) == bits(other), "{context}: the bits differ");
}

// ---- matmuls, sums and copies -------------------------------------------------------------------

/// Sizes `[m, n, k]` around the tile edges: 8 x 8 per invocation and 64 x 64 per workgroup. The
/// last ones are large enough for several CPU threads.
const MATMUL_SIZES: [[usize; 3]; 10] = [
    [1, 1, 1],
    [7, 5, 3],
    [8, 8, 8],
    [9, 7, 17],
    [2, 73, 64],
    [63, 65, 7],
    [64, 64, 1],
    [65, 63, 31],
    [131, 3, 257],
    [129, 131, 131],
];

#[test]
fn gemm() {
    let mut checker = Checker::new("gemm");
    for (index, [m, n, k]) in MATMUL_SIZES.into_iter().enumerate() {
        for form in 0..12 {
            let (a_t, b_t, extra) = (form & 1 == 1, form & 2 == 2, form / 4);
            let block = (index + form) % 2 == 1;
            let mut bench = Bench::new(form);
            let (a, a_values) = operand(&mut bench, m, k, a_t, block);
            let (b, b_values) = operand(&mut bench, k, n, b_t, !block);
            let bias = (extra == 1).then(|| bench.random(n));
            // The initial output: values to accumulate into, or NaN that must be overwritten.
            let old = if extra == 2 {
                bench.uniform(m * n, 1.0)
            } else {
                vec![NAN; m * n]
            };
            let stride = if block { n + 5 } else { n };
            let mut stored = vec![FENCE; m * stride];
            stored
                .chunks_mut(stride)
                .zip(old.chunks(n))
                .for_each(|(row, old)| row[stride - n..].copy_from_slice(old));
            let c = bench.writes(&stored);
            let matrix = Matrix::block(c, m, stride, stride - n..stride);
            let mut call = Gemm::new(a, b, matrix).bias(bias);
            call.side <<= (m + n) % 2;
            call.rows_each = RowsEach::ALL[(index + form / 2) % RowsEach::ALL.len()];
            if extra == 2 {
                call = call.accumulate();
            }
            let case = format!(
                "{m}x{n}x{k}, transposed {a_t} {b_t}, block {block}, form {extra}, {:?}",
                call.rows_each
            );
            checker.call(&case, bench, call, |before| {
                // One multiplication, k - 1 additions, and one for the bias or the old value.
                let element = |i: usize, j: usize| {
                    let terms =
                        (0..k).map(|p| exact(a_values[i * k + p]) * exact(b_values[p * n + j]));
                    let bias = bias.map_or(ZERO, |bias| exact(before.of(&bias)[j]));
                    let old = if extra == 2 {
                        exact(f64::from(old[i * n + j]))
                    } else {
                        ZERO
                    };
                    sum(terms.chain([bias, old]), k + 1)
                };
                let row = |i: usize| {
                    (
                        c.part(i * stride + stride - n, [n]),
                        (0..n).map(|j| element(i, j)).collect(),
                    )
                };
                (0..m).map(row).collect()
            });
        }
    }
}

/// Matmuls with a dimension of T*B and sequences of all lengths, with sliced and with whole sums.
#[test]
fn ragged_gemm() {
    let mut checker = Checker::new("gemm, ragged");
    let sizes = [
        [1, 1, 1, 1],
        [3, 5, 4, 7],
        [5, 4, 12, 8],
        [9, 6, 20, 65],
        [4, 9, 68, 16],
        [28, 33, 8, 12],
    ];
    for (index, [steps, batch, m, n]) in sizes.into_iter().enumerate() {
        for form in 0..12 {
            let (ragged_inner, accumulates, longest) =
                (form % 2 == 1, form % 3 == 1, form / 6 == 1);
            let mut bench = Bench::new(100 * index + form);
            let lengths: Vec<u32> = (0..batch)
                .map(|b| {
                    if longest {
                        9999
                    } else {
                        ((b * 7 + form) % (steps + 1)) as u32
                    }
                })
                .collect();
            let is_valid = |at: usize| at / batch < lengths[at % batch] as usize;
            let tokens = bench.indices(&lengths);
            let [rows, inner] = if ragged_inner {
                [m, steps * batch]
            } else {
                [steps * batch, m]
            };
            let (a, a_values) = operand(&mut bench, rows, inner, ragged_inner, form % 4 == 2);
            let (b, b_values) = operand(
                &mut bench,
                inner,
                n,
                !ragged_inner && form % 4 == 0,
                form % 4 == 1,
            );
            let slices = if ragged_inner {
                1 + form / 2 % batch.min(3)
            } else {
                1
            };
            let bias = (!ragged_inner && form % 3 == 2).then(|| bench.random(n));
            let old = match accumulates {
                true => bench.uniform(slices * rows * n, 1.0),
                false => vec![NAN; slices * rows * n],
            };
            let c = bench.writes(&old);
            let mut call = Gemm::new(a, b, Matrix::new(c, rows, n)).bias(bias);
            call.side <<= n % 2;
            call.rows_each = RowsEach::ALL[(index + form / 2) % RowsEach::ALL.len()];
            if accumulates {
                call = call.accumulate();
            }
            let call = match ragged_inner {
                true => call.ragged_terms(tokens).sliced(slices, c),
                false => call.ragged_rows(tokens),
            };
            let case = format!(
                "{steps}x{batch} steps, {m}x{n}, inner {ragged_inner}, {slices} slices, form {form}"
            );
            checker.call(&case, bench, call, |before| {
                let element = |slice: usize, i: usize, j: usize| {
                    let valid = |p: &usize| match ragged_inner {
                        true => is_valid(*p) && p % batch % slices == slice,
                        false => is_valid(i),
                    };
                    let term =
                        |p: usize| exact(a_values[i * inner + p]) * exact(b_values[p * n + j]);
                    let bias = bias.map_or(ZERO, |bias| exact(before.of(&bias)[j]));
                    let old = match accumulates {
                        true => exact(f64::from(old[(slice * rows + i) * n + j])),
                        false => ZERO,
                    };
                    sum(
                        (0..inner).filter(valid).map(term).chain([bias, old]),
                        inner + 1,
                    )
                };
                let rows = (0..slices * rows).map(|row| {
                    let (slice, i) = (row / rows, row % rows);
                    (
                        c.part(row * n, [n]),
                        (0..n).map(|j| element(slice, i, j)).collect(),
                    )
                });
                rows.collect()
            });
        }
    }
}

/// Returns a random matrix and its elements in row-major order. The matrix may be stored as its
/// transpose, as a block of columns of a wider matrix, or both.
fn operand(
    bench: &mut Bench,
    rows: usize,
    columns: usize,
    transposed: bool,
    block: bool,
) -> (Matrix, Vec<f64>) {
    let (stored_rows, stored_columns) = if transposed {
        (columns, rows)
    } else {
        (rows, columns)
    };
    let skip = if block { 3 } else { 0 };
    let stride = stored_columns + 2 * skip;
    let mut stored = vec![NAN; stored_rows * stride];
    for row in stored.chunks_mut(stride) {
        row[skip..skip + stored_columns].copy_from_slice(&bench.uniform(stored_columns, 1.0));
    }
    let matrix = Matrix::block(
        bench.reads(&stored),
        stored_rows,
        stride,
        skip..skip + stored_columns,
    );
    let at = |i: usize, j: usize| {
        if transposed {
            j * stride + skip + i
        } else {
            i * stride + skip + j
        }
    };
    let values = (0..rows * columns)
        .map(|e| f64::from(stored[at(e / columns, e % columns)]))
        .collect();
    (if transposed { matrix.t() } else { matrix }, values)
}

#[test]
fn pack() {
    let mut checker = Checker::new("pack");
    // The last size needs more than 65535 workgroups of 64, so the dispatch has two dimensions.
    for [blocks, inner, columns] in [
        [1, 1, 1],
        [1, 1, 67],
        [3, 63, 1],
        [4, 8, 8],
        [2, 31, 65],
        [3, 64, 129],
        [1, 8193, 2053],
    ] {
        for transposed in [false, true] {
            let mut bench = Bench::new(inner);
            let source = bench.random(blocks * inner * columns);
            let out = bench.writes_vec4s(&vec![NAN; Pack::size([blocks, inner, columns])]);
            checker.call(
                &format!("{blocks}x{inner}x{columns}, transposed {transposed}"),
                bench,
                Pack {
                    source,
                    out,
                    blocks,
                    inner,
                    columns,
                    transposed,
                },
                |before| {
                    let expected = packed(before.of(&source), blocks, inner, columns, transposed);
                    vec![(out, expected.into_iter().map(exact).collect())]
                },
            );
        }
    }
}

/// Packs `[blocks, inner, columns]`, or its transpose, into vec4s of four consecutive inner indices
/// of one column. The inner dimension is padded with zeros to a multiple of 4.
fn packed<N: Copy + Default>(
    source: &[N],
    blocks: usize,
    inner: usize,
    columns: usize,
    transposed: bool,
) -> Vec<N> {
    let mut values = vec![N::default(); blocks * inner.div_ceil(4) * columns * 4];
    for (at, &value) in source.iter().enumerate() {
        let (block, at) = (at / (inner * columns), at % (inner * columns));
        let (k, column) = match transposed {
            true => (at % inner, at / inner),
            false => (at / columns, at % columns),
        };
        values[((block * inner.div_ceil(4) + k / 4) * columns + column) * 4 + k % 4] = value;
    }
    values
}

#[test]
fn arrange() {
    let mut checker = Checker::new("arrange");
    let orders = [
        Order::InTime,
        Order::Reversed,
        Order::Repeat,
        Order::Collect,
    ];
    let options = orders.into_iter().flat_map(|order| {
        [None, Some(Side::Source), Some(Side::Out)]
            .into_iter()
            .flat_map(move |side| [false, true].map(|accumulate| (order, side, accumulate)))
    });
    let options: Vec<_> = options.collect();
    for [steps, batch, width] in [[1, 1, 1], [7, 5, 3], [13, 4, 64], [3, 67, 11]] {
        for &(order, side, accumulate) in &options {
            let mut bench = Bench::new(steps + batch);
            // Source, mask and output are column ranges inside wider rows.
            let columns = |bench: &mut Bench, first: usize, stride: usize| {
                let tensor = bench.random(steps * batch * stride);
                Columns { tensor, stride }.from(first)
            };
            let source = columns(&mut bench, 2, width + 3);
            let mask = columns(&mut bench, 3, width + 5);
            let old = bench.uniform(steps * batch * (width + 2), 1.0);
            let out = bench.writes(&old);
            let valid = |b: usize| [0, steps, steps + 9, steps.div_ceil(2), 1][b % 5];
            let lengths: Vec<u32> = (0..batch).map(|b| valid(b) as u32).collect();
            let lengths = bench.indices(&lengths);
            let stride = width + 2;
            let call = Arrange {
                source,
                out: Columns {
                    tensor: out,
                    stride,
                }
                .from(1),
                mask: side.map(|side| (mask, side)),
                lengths,
                steps,
                batch,
                width,
                order,
                accumulate,
            };
            let name = format!("{steps}x{batch}x{width} {order:?} {side:?} {accumulate}");
            checker.call(&name, bench, call, |before| {
                let at = |columns: Columns, t: usize, b: usize, i: usize| {
                    exact(before.of(&columns.tensor)[(t * batch + b) * columns.stride + i])
                };
                let row = |row: usize| {
                    let (t, b) = (row / batch, row % batch);
                    let length = valid(b).min(steps);
                    let element = |i: usize| {
                        // The source steps that are summed.
                        let taken: Vec<usize> = match order {
                            Order::Reversed if t < length => vec![length - 1 - t],
                            Order::Repeat if t >= length && length > 0 => vec![length - 1],
                            Order::Collect if t + 1 == length => (t..steps).collect(),
                            _ if t < length => vec![t],
                            _ => vec![],
                        };
                        let terms = taken.iter().map(|&step| at(source, step, b, i));
                        let mut moved = sum(terms, taken.len() - usize::from(!taken.is_empty()));
                        if let (Some(side), Some(&step)) = (side, taken.first()) {
                            let by = if side == Side::Source { step } else { t };
                            moved = moved * at(mask, by, b, i);
                        }
                        let old_value = exact(f64::from(old[row * stride + 1 + i]));
                        if accumulate { moved + old_value } else { moved }
                    };
                    let target = out.part(row * stride + 1, [width]);
                    (target, (0..width).map(element).collect())
                };
                (0..steps * batch).map(row).collect()
            });
        }
    }
}

/// Masks are identical on every backend, bit by bit. `src/rng.rs` tests the Philox generator.
#[test]
fn dropout_mask() {
    let mut checker = Checker::new("dropout_mask");
    for [steps, batch, width] in [[1, 1, 1], [3, 5, 4], [7, 2, 31], [2, 70, 6]] {
        for (sharing, keep_prob) in [
            (MaskSharing::EachStep, 0.5),
            (MaskSharing::EachSequence, 0.8),
            (MaskSharing::EachBatch, 1e-3),
        ] {
            for (done, [taken, further]) in [(0, [0; 2]), (12_345, [0; 2]), (7, [batch, 3 * batch])]
            {
                let mut bench = Bench::new(0);
                let words = [done, 0, 0, 0, 0, taken as u32, further as u32];
                let control = bench.indices(&words);
                let stride = width + 3;
                let out = bench.writes(&vec![NAN; steps * batch * stride]);
                let (seed, index) = (0x0123_4567_89ab_cdef, 5);
                // Some masks are of a chunk of time.
                let first_step = if done == 7 { 3 } else { 0 };
                let call = DropoutMask {
                    control,
                    out: Columns {
                        tensor: out,
                        stride,
                    }
                    .from(2),
                    steps,
                    first_step,
                    batch,
                    width,
                    keep_prob,
                    sharing,
                    seed,
                    index,
                };
                let name = format!("{steps}x{batch}x{width} {sharing:?} {keep_prob} {done}");
                checker.call(&name, bench, call, |_| {
                    let row = |row: usize| {
                        let drawn_for = match sharing {
                            MaskSharing::EachStep => {
                                let t = first_step + row / batch;
                                t * (batch + further) + taken + row % batch
                            }
                            MaskSharing::EachSequence => taken + row % batch,
                            MaskSharing::EachBatch => 0,
                            sharing => panic!("{sharing:?} is not written down here"),
                        };
                        let element = |i: usize| {
                            let block = drawn_for * width.div_ceil(4) + i / 4;
                            let key = [seed as u32, (seed >> 32) as u32];
                            let words = philox([block as u32, done, 4, index], key);
                            match f64::from(words[i % 4]) / 2f64.powi(32) < keep_prob {
                                true => constant(1.0 / keep_prob),
                                false => ZERO,
                            }
                        };
                        let target = out.part(row * stride + 2, [width]);
                        (target, (0..width).map(element).collect())
                    };
                    (0..steps * batch).map(row).collect()
                });
            }
        }
    }
}

#[test]
fn column_sum() {
    let mut checker = Checker::new("column_sum");
    for rows in [1, 2, 63, 64, 65, 127, 129, 1021] {
        for (columns, form) in [1, 7, 63, 64, 65, 131]
            .into_iter()
            .flat_map(|columns| (0..4).map(move |form| (columns, form)))
        {
            let (factors, ragged) = (form & 1 == 1, form & 2 == 2);
            let stride = columns + rows % 3;
            // In the ragged form, the rows are the steps of a batch of sequences.
            let batch = (2..=11).find(|batch| rows % batch == 0).unwrap_or(1);
            let steps = rows / batch;
            let valid_steps: Vec<u32> = (0..batch)
                .map(|b| ((steps + 1) * b % (steps + 2)) as u32)
                .collect();
            let is_valid = |i: usize| !ragged || i / batch < valid_steps[i % batch] as usize;
            let mut bench = Bench::new(rows);
            let source = bench.random((rows - 1) * stride + columns);
            let factor = factors.then(|| bench.random(rows * columns));
            let lengths = ragged.then(|| bench.indices(&valid_steps));
            let copies = 1 + rows % 2;
            let accumulate = columns % 2 == 0;
            let held = bench.uniform(copies * columns, 1.0);
            let out = bench.writes(&match accumulate {
                true => held,
                false => vec![NAN; copies * columns],
            });
            checker.call(
                &format!("{rows}x{columns}, {copies} copies, factors {factors}, ragged {ragged}"),
                bench,
                ColumnSum {
                    source,
                    factor,
                    lengths,
                    out,
                    copies,
                    rows,
                    stride,
                    accumulate,
                },
                |before| {
                    // Sums within a block of 64 rows, then over the blocks.
                    let depth = match ragged {
                        true => steps.max(64) + rows,
                        false => rows.min(64) + rows.div_ceil(64),
                    };
                    let term = |i: usize, j: usize| {
                        let value = exact(before.of(&source)[i * stride + j]);
                        factor.map_or(value, |factor| {
                            value * exact(before.of(&factor)[i * columns + j])
                        })
                    };
                    let rows = || (0..rows).filter(|&i| is_valid(i));
                    let held = |j: usize| accumulate.then(|| exact(before.of(&out)[j]));
                    let column =
                        |j: usize| sum(rows().map(|i| term(i, j)).chain(held(j)), depth + 1);
                    let sums: Vec<_> = (0..columns).map(column).collect();
                    vec![(out, sums.repeat(copies))]
                },
            );
        }
    }
}

#[test]
fn squared_norm() {
    let mut checker = Checker::new("squared_norm");
    for count in [1, 2, 63, 64, 65, 4095, 4096, 4097, 8191, 12289, 100_003] {
        let mut bench = Bench::new(count);
        let source = bench.random(count);
        let partials = bench.writes(&[NAN; SquaredNorm::PARTIALS]);
        checker.call(
            &format!("{count}"),
            bench,
            SquaredNorm { source, partials },
            |before| {
                // The CPU adds 64 neighbours, then the blocks; the GPU the blocks, then in a tree.
                let depth = 64 + count.div_ceil(4096);
                let partial = |index: usize| {
                    let own = before
                        .of(&source)
                        .iter()
                        .enumerate()
                        .filter(move |(at, _)| at / 64 % 64 == index);
                    sum(own.map(|(_, &value)| exact(value) * exact(value)), depth)
                };
                vec![(partials, (0..SquaredNorm::PARTIALS).map(partial).collect())]
            },
        );
    }
}

#[test]
fn gather() {
    let mut checker = Checker::new("gather");
    // (sequences, steps, batch, width, cursor, count): batches within the epoch, across its end and
    // after it. The last size needs a dispatch of two dimensions.
    let sizes = [
        [1, 1, 1, 1, 0, 1],
        [5, 3, 4, 7, 0, 5],
        [5, 3, 4, 7, 3, 5],
        [7, 2, 5, 13, 9, 7],
        [11, 65, 3, 1, 6, 8],
        [3, 1, 65, 3, 0, 3],
        [3, 2, 1025, 2053, 0, 3],
    ];
    for [sequences, steps, batch, width, cursor, count] in sizes {
        // Kinds of data, and chunks: the first, and the second, which may reach the sequences' end.
        for (kind, chunk) in (0..3).flat_map(|kind| [(kind, 0), (kind, 1)]) {
            let (chunk_steps, source_steps) = (steps - steps / 2, steps);
            let mut bench = Bench::new(kind);
            let (scale, elements) = (1.0f32 / 255.0, sequences * steps * width);
            let words: Vec<u32> = (0..elements).map(|_| bench.random.next_u32()).collect();
            let fresh = steps * batch * width;
            let (kind, source, out) = match kind {
                0 => (
                    GatherKind::Reals,
                    bench.random(elements),
                    bench.writes(&vec![NAN; fresh]),
                ),
                1 => (
                    GatherKind::Bytes { scale },
                    bench.indices(&words[..elements.div_ceil(4)]),
                    bench.writes(&vec![NAN; fresh]),
                ),
                _ => (
                    GatherKind::Indices { absent: IGNORE },
                    bench.indices(&words),
                    bench.indices(&vec![DEAD; fresh]),
                ),
            };
            let order = (0..batch.max(count))
                .map(|_| bench.random.below(sequences as u32))
                .collect::<Vec<_>>();
            let order = bench.indices(&order);
            let control = bench.indices(&[DEAD, cursor as u32, count as u32, DEAD, chunk]);
            let call = Gather {
                kind,
                source,
                order,
                control,
                out,
                steps,
                batch,
                width,
                source_steps,
                chunk_steps,
            };
            let case =
                format!("{kind:?} {sequences} {steps} {batch} {width} {cursor} {count} {chunk}");
            checker.call(&case, bench, call, |before| {
                let (source, order) = (before.of(&source), before.of(&order));
                let take = |at: usize| match kind {
                    GatherKind::Bytes { scale } => {
                        exact(f64::from((source[at / 4] as u32).to_le_bytes()[at % 4]))
                            * exact(f64::from(scale))
                    }
                    _ => exact(source[at]),
                };
                let element = |at: usize| {
                    let (i, b, t) = (at % width, at / width % batch, at / width / batch);
                    let step = t + chunk as usize * chunk_steps;
                    match (cursor + b < count && step < source_steps, kind) {
                        (true, _) => take((order[cursor + b] as usize * steps + step) * width + i),
                        (false, GatherKind::Indices { absent }) => exact(f64::from(absent)),
                        (false, _) => ZERO,
                    }
                };
                vec![(out, (0..fresh).map(element).collect())]
            });
        }
    }
}

/// The length of each sequence within a chunk.
#[test]
fn gather_lengths() {
    let mut checker = Checker::new("gather");
    for (chunk, expected) in [
        (0, [4.0, 0.0, 3.0, 4.0, 4.0, 0.0]),
        (1, [0.0, 0.0, 0.0, 4.0, 1.0, 0.0]),
        (2, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    ] {
        let mut bench = Bench::new(0);
        let source = bench.indices(&[4, 0, 3, 9, 5]);
        let order = bench.indices(&[0, 1, 2, 3, 4]);
        let control = bench.indices(&[DEAD, 0, 5, DEAD, chunk]);
        let out = bench.indices(&[DEAD; 6]);
        let call = Gather {
            kind: GatherKind::Lengths,
            source,
            order,
            control,
            out,
            steps: 1,
            batch: 6,
            width: 1,
            source_steps: 1,
            chunk_steps: 4,
        };
        checker.call(&format!("chunk {chunk}"), bench, call, |_| {
            vec![(out, expected.map(exact).to_vec())]
        });
    }
}

#[test]
fn carry_state() {
    let mut checker = Checker::new("carry_state");
    for count in COUNTS {
        for chunk in [0, 1, 7] {
            let mut bench = Bench::new(count);
            let last = bench.random(count);
            let control = bench.indices(&[DEAD, DEAD, DEAD, DEAD, chunk]);
            let initial = bench.writes(&vec![NAN; count]);
            let call = CarryState {
                last,
                control,
                initial,
            };
            checker.call(&format!("{count}, chunk {chunk}"), bench, call, |before| {
                let value = |&value: &f64| if chunk > 0 { exact(value) } else { ZERO };
                vec![(initial, before.of(&last).iter().map(value).collect())]
            });
        }
    }
}

#[test]
fn initial_state() {
    let mut checker = Checker::new("initial_state");
    for (batch, width) in [(1, 1), (3, 5), (64, 1), (65, 3), (9, 131)] {
        for chunk in [None, Some(0), Some(3)] {
            let mut bench = Bench::new(batch * width);
            let learnt = bench.random(width);
            let control = chunk.map(|chunk| bench.indices(&[DEAD, DEAD, DEAD, DEAD, chunk]));
            let carried = vec![0.25; batch * width];
            let initial = bench.writes(&carried);
            let call = InitialState {
                learnt,
                control,
                initial,
            };
            let name = format!("{batch}x{width}, chunk {chunk:?}");
            checker.call(&name, bench, call, |before| {
                let learnt = before.of(&learnt);
                let value = |at: usize| match chunk {
                    Some(1..) => exact(0.25),
                    _ => exact(learnt[at % width]),
                };
                vec![(initial, (0..batch * width).map(value).collect())]
            });
        }
    }
}

#[test]
fn initial_state_gradient() {
    let mut checker = Checker::new("initial_state_gradient");
    for (batch, width) in [(1, 1), (3, 5), (64, 1), (65, 3), (9, 131), (257, 2)] {
        for chunk in [None, Some(0), Some(3)] {
            let mut bench = Bench::new(batch + width);
            let dstate = bench.random(batch * width);
            let control = chunk.map(|chunk| bench.indices(&[DEAD, DEAD, DEAD, DEAD, chunk]));
            let out = bench.writes(&vec![NAN; width]);
            let call = InitialStateGradient {
                dstate,
                control,
                out,
            };
            let name = format!("{batch}x{width}, chunk {chunk:?}");
            checker.call(&name, bench, call, |before| {
                let dstate = before.of(&dstate);
                let own = |n: usize| (0..batch).map(move |b| exact(dstate[b * width + n]));
                let depth = batch.min(64) + batch.div_ceil(64);
                let sums = (0..width).map(|n| match chunk {
                    Some(1..) => ZERO,
                    _ => sum(own(n), depth),
                });
                vec![(out, sums.collect())]
            });
        }
    }
}

#[test]
fn copy_state() {
    let mut checker = Checker::new("copy_state");
    for count in COUNTS {
        let mut bench = Bench::new(count);
        let source = bench.random(count);
        let out = bench.writes(&vec![NAN; count]);
        checker.call(
            &count.to_string(),
            bench,
            CopyState { source, out },
            |before| {
                let values = before.of(&source).iter().map(|&value| exact(value));
                vec![(out, values.collect())]
            },
        );
    }
}

/// Returns the sum of the leaves `first..first + count` of the binary tree, as far as they exist;
/// values below the least normal number are 0.
fn tree(leaves: &[Num], first: usize, count: usize) -> Option<Num> {
    let flushed = |sum: Num| {
        if sum.value.abs() < f64::from(f32::MIN_POSITIVE) {
            ZERO
        } else {
            sum
        }
    };
    if count == 1 {
        return leaves.get(first).copied().map(flushed);
    }
    let half = count / 2;
    let left = tree(leaves, first, half)?;
    match tree(leaves, first + half, half) {
        Some(right) => Some(flushed(left + right)),
        None => Some(left),
    }
}

#[test]
fn tree_sum() {
    let mut checker = Checker::new("tree_sum");
    // Parts of a whole update, parts of this one, and the process that plays them.
    let updates: [(usize, usize, usize); 7] = [
        (1, 1, 0),
        (2, 2, 0),
        (2, 1, 3),
        (8, 8, 1),
        (8, 5, 0),
        (8, 6, 2),
        (4, 3, 1),
    ];
    for (leaves, parts, process) in updates {
        for count in COUNTS {
            let mut bench = Bench::new(count + parts);
            let batch = 3;
            let levels = leaves.ilog2().max(1) as usize;
            let partials = bench.writes(&vec![NAN; levels * count]);
            let sums = bench.writes(&vec![NAN; count]);
            let mut gradients = vec![];
            for part in 0..parts {
                let mut values = bench.uniform(count, 1.0);
                // A subnormal value, a subnormal sum of normal ones, and one that is not finite.
                let special = [f32::MIN_POSITIVE / 4.0, f32::MIN_POSITIVE * 1.5, NAN];
                for (value, special) in values.iter_mut().skip(7).zip(special) {
                    let sign = if part % 2 == 0 { 1.0 } else { -0.875 };
                    *value = sign * special;
                }
                let taken = (batch * (leaves * process + part)) as u32;
                let mut control = [DEAD; control::WORDS];
                control[control::TAKEN] = taken;
                let call = TreeSum {
                    gradients: bench.reads(&values),
                    control: bench.indices(&control),
                    partials,
                    sums,
                    batch,
                    leaves,
                    ends: part + 1 == parts,
                };
                gradients.push(call.gradients);
                bench.program.push(Phase::Forward, call);
            }
            let expected = |before: &Snapshot| {
                let of = |n: usize| -> Vec<Num> {
                    let each = gradients.iter().map(|tensor| exact(before.of(tensor)[n]));
                    each.collect()
                };
                let total = |n: usize| tree(&of(n), 0, leaves).expect("there is a part");
                let mut expected = vec![(sums, (0..count).map(total).collect())];
                // The newest sum that waited on each level: a left subtree that was complete before
                // the last part.
                for level in 0..levels {
                    let width = 1 << level;
                    let waited = |first: &usize| first.is_multiple_of(2 * width);
                    let mut firsts = (0..parts.saturating_sub(width)).rev().filter(waited);
                    if let Some(first) = firsts.next() {
                        let partial = |n: usize| tree(&of(n), first, width).expect("it has parts");
                        let tensor = partials.part(level * count, [count]);
                        expected.push((tensor, (0..count).map(partial).collect()));
                    }
                }
                expected
            };
            let case = format!("{count}, {parts} of {leaves} parts, process {process}");
            checker.phases(&case, &bench, &[&expected]);
        }
    }
}

#[test]
fn chunk_lengths() {
    let mut checker = Checker::new("chunk_lengths");
    for batch in COUNTS {
        for (chunk_steps, chunks) in [(1, 3), (5, 2), (64, 1)] {
            let mut bench = Bench::new(batch);
            let values: Vec<u32> = (0..batch).map(|b| (b * 7 % 71) as u32).collect();
            let lengths = bench.indices(&values);
            let out = bench.indices(&vec![DEAD; chunks * batch]);
            let call = ChunkLengths {
                lengths,
                out,
                chunk_steps,
            };
            let name = format!("{batch}, {chunks} chunks of {chunk_steps}");
            checker.call(&name, bench, call, |_| {
                let length = |at: usize| {
                    let begin = at / batch * chunk_steps;
                    let steps = begin..begin + chunk_steps;
                    let valid = steps.filter(|&t| t < values[at % batch] as usize);
                    exact(valid.count() as f64)
                };
                vec![(out, (0..chunks * batch).map(length).collect())]
            });
        }
    }
}

// ---- tokens -------------------------------------------------------------------------------------

/// A test case of the lookup kernels: a batch of tokens and the size and layout of their table.
struct LookupCase {
    name: String,
    bench: Bench,
    tokens: Tokens,
    /// The token of each output row.
    taken: Vec<usize>,
    /// Whether a token's vector is a row of the table; otherwise it is a column.
    by_rows: bool,
    count: usize,
    width: usize,
}

impl LookupCase {
    fn table(&self, tensor: Tensor) -> Table {
        match self.by_rows {
            true => Table::rows(tensor.part(0, [self.count, self.width])),
            false => Table::columns(tensor.part(0, [self.width, self.count])),
        }
    }

    /// Returns the table offset of element `i` of a token's vector.
    fn at(&self, token: usize, i: usize) -> usize {
        match self.by_rows {
            true => token * self.width + i,
            false => i * self.count + token,
        }
    }
}

fn lookup_cases() -> Vec<LookupCase> {
    let sizes = [[1, 1, 1, 1], [5, 4, 7, 3], [3, 33, 12, 65], [2, 3, 70, 64]];
    let orders = [(false, true), (true, true), (false, false), (true, false)];
    let cases = sizes
        .into_iter()
        .flat_map(|size| orders.map(|order| (size, order)));
    let case = |([steps, batch, count, width], (reversed, by_rows)): ([usize; 4], (bool, bool))| {
        let mut bench = Bench::new(count);
        let tokens: Vec<u32> = (0..steps * batch)
            .map(|_| bench.random.below(count as u32))
            .collect();
        let valid = |b: usize| [steps, 0, steps + 2, 1][b % 4];
        let lengths: Vec<u32> = (0..batch).map(|b| valid(b) as u32).collect();
        let token = |row: usize| {
            let (t, b) = (row / batch, row % batch);
            let length = valid(b).min(steps);
            let mirrored = reversed && t < length;
            let step = if mirrored { length - 1 - t } else { t };
            tokens[step * batch + b] as usize
        };
        LookupCase {
            name: format!("{steps}x{batch}, {count}x{width}, {reversed} {by_rows}"),
            taken: (0..steps * batch).map(token).collect(),
            tokens: Tokens {
                tensor: bench.indices(&tokens),
                lengths: bench.indices(&lengths),
                steps,
                batch,
                reversed,
            },
            bench,
            by_rows,
            count,
            width,
        }
    };
    cases.map(case).collect()
}

#[test]
fn lookup() {
    let mut checker = Checker::new("lookup");
    for mut case in lookup_cases() {
        let (width, stride) = (case.width, case.width + 2);
        let values = case.bench.random(case.count * width);
        let bias = case.bench.random(width);
        let out = case.bench.writes(&vec![NAN; case.taken.len() * stride]);
        for bias in [None, Some(bias)] {
            let call = Lookup {
                table: case.table(values),
                bias,
                tokens: case.tokens,
                out: Columns {
                    tensor: out,
                    stride,
                },
            };
            checker.call(&case.name, case.bench.copied(), call, |before| {
                let row = |(row, &token): (usize, &usize)| {
                    let element = |i: usize| {
                        let value = exact(before.of(&values)[case.at(token, i)]);
                        match bias {
                            Some(bias) => value + exact(before.of(&bias)[i]),
                            None => value,
                        }
                    };
                    let target = out.part(row * stride, [width]);
                    (target, (0..width).map(element).collect())
                };
                case.taken.iter().enumerate().map(row).collect()
            });
        }
    }
}

#[test]
fn lookup_gradient() {
    let mut checker = Checker::new("lookup_gradient");
    for mut case in lookup_cases() {
        let (width, stride) = (case.width, case.width + 1);
        let dout = case.bench.random(case.taken.len() * stride);
        let fresh = case.bench.writes(&vec![NAN; case.count * width]);
        let held = case.bench.uniform(case.count * width, 1.0);
        let held = case.bench.writes(&held);
        for (padding, accumulate) in [(None, false), (Some(0), false), (None, true)] {
            let written = if accumulate { held } else { fresh };
            let call = LookupGradient {
                dout: Columns {
                    tensor: dout,
                    stride,
                },
                tokens: case.tokens,
                dtable: case.table(written),
                padding,
                accumulate,
            };
            checker.call(&case.name, case.bench.copied(), call, |before| {
                let element = |(token, i): (usize, usize)| {
                    let matches_token =
                        |&row: &usize| case.taken[row] == token && padding != Some(token as u32);
                    let rows = (0..case.taken.len()).filter(matches_token);
                    let old = || exact(before.of(&written)[case.at(token, i)]);
                    let terms: Vec<Num> = rows
                        .map(|row| exact(before.of(&dout)[row * stride + i]))
                        .chain(accumulate.then(old))
                        .collect();
                    let depth = terms.len();
                    let target = written.part(case.at(token, i), [1]);
                    (target, vec![sum(terms, depth)])
                };
                let tokens = 0..case.count;
                let elements = tokens.flat_map(|token| (0..width).map(move |i| (token, i)));
                elements.map(element).collect()
            });
        }
    }
}

// ---- losses -------------------------------------------------------------------------------------

/// Returns random labels below `classes`; every third label is [`IGNORE`].
fn labels(bench: &mut Bench, rows: usize, classes: usize) -> Vec<u32> {
    (0..rows)
        .map(|row| {
            if row % 3 == 2 {
                IGNORE
            } else {
                bench.random.below(classes as u32)
            }
        })
        .collect()
}

#[test]
fn label_weight() {
    let mut checker = Checker::new("label_weight");
    for rows in [1, 2, 63, 64, 65, 1021] {
        for all_ignored in [false, true] {
            let mut bench = Bench::new(rows);
            let values = if all_ignored {
                vec![IGNORE; rows]
            } else {
                labels(&mut bench, rows, 5)
            };
            let labels = bench.indices(&values);
            let weight = bench.writes(&[NAN; 2]);
            checker.call(
                &format!("{rows}"),
                bench,
                LabelWeight { labels, weight },
                |_| {
                    let count = values.iter().filter(|&&label| label != IGNORE).count() as f64;
                    vec![(
                        weight,
                        vec![exact(1.0).over(exact(count.max(1.0))), exact(count)],
                    )]
                },
            );
        }
    }
}

#[test]
fn softmax_cross_entropy() {
    let mut checker = Checker::new("softmax_cross_entropy");
    // The last size needs more than 65535 workgroups of one row, so the dispatch is 2D.
    for (rows, classes) in [
        (1, 1),
        (5, 2),
        (4, 10),
        (3, 63),
        (7, 64),
        (5, 65),
        (3, 127),
        (3, 129),
        (6, 200),
        (65_537, 2),
    ] {
        // Ordinary logits, huge logits, and multiples of 0.5, which often tie.
        for (limit, step) in [(3.0, 0.0), (1e4, 0.0), (1.5, 0.5)] {
            let mut bench = Bench::new(rows + classes);
            let mut values = bench.uniform(rows * classes, limit);
            if step > 0.0 {
                values
                    .iter_mut()
                    .for_each(|value| *value = (*value / step).round() * step);
            }
            let logits = bench.reads(&values);
            let labels = labels(&mut bench, rows, classes);
            let (label_tensor, weight) = (bench.indices(&labels), bench.reads(&[0.37, NAN]));
            let (dlogits, scores) = (
                bench.writes(&vec![NAN; rows * classes]),
                bench.writes(&vec![NAN; 2 * rows]),
            );
            let call = SoftmaxCrossEntropy {
                logits,
                labels: label_tensor,
                weight,
                dlogits,
                scores,
                classes,
            };
            checker.call(
                &format!("{rows}x{classes} in ±{limit}"),
                bench,
                call,
                |before| {
                    let scale = exact(before.of(&weight)[0]);
                    let (mut losses, mut hits, mut gradients) = (vec![], vec![], vec![]);
                    for (logits, &label) in before.of(&logits).chunks(classes).zip(&labels) {
                        if label == IGNORE {
                            losses.push(ZERO);
                            hits.push(ZERO);
                            gradients.extend(vec![ZERO; classes]);
                            continue;
                        }
                        let (label, largest) = (
                            label as usize,
                            logits.iter().copied().fold(f64::MIN, f64::max),
                        );
                        let first = logits.iter().position(|&value| value == largest);
                        let powers: Vec<Num> = logits
                            .iter()
                            .map(|&value| (exact(value) - exact(largest)).exp())
                            .collect();
                        let total = sum(powers.iter().copied(), classes);
                        losses.push(total.ln() + (exact(largest) - exact(logits[label])));
                        hits.push(exact(f64::from(u8::from(first == Some(label)))));
                        gradients.extend(powers.iter().enumerate().map(|(k, &power)| {
                            let target = exact(f64::from(u8::from(k == label)));
                            (power.over(total) - target) * scale
                        }));
                    }
                    vec![(dlogits, gradients), (scores, [losses, hits].concat())]
                },
            );
        }
    }
}

#[test]
fn mean_squared_error() {
    let mut checker = Checker::new("mean_squared_error");
    for (rows, width) in [
        (1, 1),
        (2, 7),
        (63, 3),
        (64, 1),
        (65, 5),
        (129, 2),
        (3, 131),
    ] {
        let mut bench = Bench::new(rows);
        let labels = labels(&mut bench, rows, 1);
        // The targets of ignored rows are NaN, which must not reach the results.
        let mut values = bench.uniform(rows * width, 2.0);
        for (row, _) in labels
            .iter()
            .enumerate()
            .filter(|(_, label)| **label == IGNORE)
        {
            values[row * width..][..width].fill(NAN);
        }
        // One target in four is missing, of some rows all of them.
        values
            .iter_mut()
            .skip(1)
            .step_by(4)
            .for_each(|value| *value = MISSING);
        let missing: Vec<bool> = values.iter().map(|&value| value == MISSING).collect();
        let (predictions, targets) = (bench.random(rows * width), bench.reads(&values));
        let (label_tensor, weight) = (bench.indices(&labels), bench.reads(&[0.37, NAN]));
        let (dpredictions, scores) = (
            bench.writes(&vec![NAN; rows * width]),
            bench.writes(&vec![NAN; 2 * rows]),
        );
        let call = MeanSquaredError {
            predictions,
            targets,
            labels: label_tensor,
            weight,
            dpredictions,
            scores,
            width,
        };
        checker.call(&format!("{rows}x{width}"), bench, call, |before| {
            let share = |row: usize| {
                let own = missing[row * width..][..width].iter();
                let present = own.filter(|&&is_missing| !is_missing).count();
                exact(1.0).over(exact(present.max(1) as f64))
            };
            let scale = |row: usize| exact(2.0) * exact(before.of(&weight)[0]) * share(row);
            let (predictions, targets) = (before.of(&predictions), before.of(&targets));
            let difference = |at: usize| {
                if labels[at / width] == IGNORE || missing[at] {
                    ZERO
                } else {
                    exact(predictions[at]) - exact(targets[at])
                }
            };
            let square = |at: usize| difference(at) * difference(at);
            let loss =
                |row: usize| sum((row * width..(row + 1) * width).map(square), width) * share(row);
            let losses = (0..rows).map(loss).chain(vec![ZERO; rows]).collect();
            vec![
                (
                    dpredictions,
                    (0..rows * width)
                        .map(|at| difference(at) * scale(at / width))
                        .collect(),
                ),
                (scores, losses),
            ]
        });
    }
}

#[test]
fn tally() {
    let mut checker = Checker::new("tally");
    // The last size needs more than 65535 workgroups of one row, so the dispatch is 2D.
    for (rows, classes) in [
        (1, 1),
        (50, 2),
        (300, 10),
        (40, 63),
        (40, 64),
        (40, 65),
        (30, 200),
        (9, 1030),
        (65_537, 3),
    ] {
        // Ordinary outputs; multiples of 0.5, which often tie and include both signed zeros; and
        // outputs with NaN and infinities.
        for (step, holes) in [(0.0, false), (0.5, false), (0.5, true)] {
            let mut bench = Bench::new(rows + classes);
            let mut values = bench.uniform(rows * classes, 1.5);
            for (n, value) in values.iter_mut().enumerate() {
                if step > 0.0 {
                    *value = (*value / step).round() * step;
                }
                match n % 7 {
                    3 if holes => *value = [NAN, -NAN][n % 2],
                    5 if holes => *value = [f32::INFINITY, f32::NEG_INFINITY][n % 2],
                    _ => {}
                }
            }
            let labels = labels(&mut bench, rows, classes);
            let squared = match classes {
                ..=Tally::LARGEST_CONFUSION => classes * classes,
                _ => 0,
            };
            // The counts are added to the existing ones.
            let start = |count: usize| -> Vec<u32> { (0..count as u32).map(|n| n % 5).collect() };
            let call = Tally {
                outputs: bench.reads(&values),
                labels: bench.indices(&labels),
                confusion: bench.indices(&start(squared)),
                ranks: bench.indices(&start(classes)),
                classes,
            };
            let (confusion, ranks) = (call.confusion, call.ranks);
            let case = format!("{rows}x{classes}, steps of {step}, holes {holes}");
            checker.call(&case, bench, call, |before| {
                let mut table = before.of(&confusion).to_vec();
                let mut rank_counts = before.of(&ranks).to_vec();
                for (outputs, &label) in values.chunks(classes).zip(&labels) {
                    if label == IGNORE {
                        continue;
                    }
                    let mut order: Vec<usize> = (0..classes).collect();
                    // Adding 0 turns -0 into +0; a stable sort keeps the order of equal outputs.
                    let size = |k: &usize| (outputs[*k].is_nan(), outputs[*k] + 0.0);
                    order.sort_by(|a, b| match (size(b), size(a)) {
                        ((true, _), (true, _)) => std::cmp::Ordering::Equal,
                        ((x, _), (y, _)) if x != y => x.cmp(&y),
                        ((_, x), (_, y)) => x.total_cmp(&y),
                    });
                    let rank = order.iter().position(|&k| k == label as usize);
                    rank_counts[rank.expect("every class has a rank")] += 1.0;
                    if let Some(count) = table.get_mut(label as usize * classes + order[0]) {
                        *count += 1.0;
                    }
                }
                let exact = |counts: Vec<f64>| counts.into_iter().map(exact).collect();
                vec![(confusion, exact(table)), (ranks, exact(rank_counts))]
            });
        }
    }
}

// ---- several heads ------------------------------------------------------------------------------

#[test]
fn head_weight() {
    let mut checker = Checker::new("head_weight");
    for factor in [0.3f32, 1.0, 4.0] {
        let mut bench = Bench::new(3);
        let weight = bench.writes(&[0.125, 8.0]);
        let call = HeadWeight { weight, factor };
        checker.call(&format!("{factor}"), bench, call, |before| {
            let [own, count] = [0, 1].map(|n| exact(before.of(&weight)[n]));
            vec![(weight, vec![own * exact(f64::from(factor)), count])]
        });
    }
}

#[test]
fn join_scores() {
    let mut checker = Checker::new("join_scores");
    for rows in [1, 63, 64, 65, 300] {
        // The last ones have more rows than the head.
        for (accumulate, count, more) in [
            (false, 7.0, 0),
            (true, 7.0, 0),
            (true, 0.0, 0),
            (false, 7.0, 3),
            (true, 7.0, 65),
        ] {
            let mut bench = Bench::new(rows);
            let scores = bench.random(2 * rows);
            let (head_weight, weight) = (bench.reads(&[0.37, 5.0]), bench.reads(&[1.0, count]));
            let all = rows + more;
            let values = bench.uniform(2 * all, 1.0);
            let out = bench.writes(&values);
            let call = JoinScores {
                scores,
                head_weight,
                weight,
                out,
                accumulate,
            };
            checker.call(
                &format!("{rows} {more} {accumulate} {count}"),
                bench,
                call,
                |before| {
                    let share =
                        exact(before.of(&head_weight)[0]) * exact(f64::from(count.max(1.0)));
                    let loss = |row: usize| {
                        let own = match row < rows {
                            true => exact(before.of(&scores)[row]) * share,
                            false => ZERO,
                        };
                        let given = exact(before.of(&out)[row]);
                        if accumulate { own + given } else { own }
                    };
                    let losses = (0..all).map(loss);
                    vec![(out, losses.chain(vec![ZERO; all]).collect())]
                },
            );
        }
    }
}

// ---- reductions over time -----------------------------------------------------------------------

/// Sizes `[T, B, width]` of reductions.
const REDUCED: [[usize; 3]; 4] = [[1, 1, 1], [5, 4, 7], [9, 3, 65], [130, 2, 3]];

/// Lengths of 0 to more than T.
fn reduced_lengths(steps: usize, batch: usize) -> Vec<u32> {
    let steps = steps as u32;
    (0..batch)
        .map(|b| [steps, 0, steps + 3, 1][b % 4])
        .collect()
}

#[test]
fn pool() {
    let mut checker = Checker::new("pool");
    for [steps, batch, width] in REDUCED {
        let lengths = reduced_lengths(steps, batch);
        let valid = |at: usize| 0..steps.min(lengths[at / width] as usize);
        let row = batch * width;
        for name in ["mean", "max", "weighted"] {
            let mut bench = Bench::new(steps + width);
            // Multiples of 0.5, which often tie.
            let mut values = bench.uniform(steps * row, 1.5);
            if name == "max" {
                values
                    .iter_mut()
                    .for_each(|v| *v = (*v * 2.0).round() / 2.0);
            }
            let source = bench.reads(&values);
            let weights = bench.random(steps * batch);
            let lengths = bench.indices(&lengths);
            let (picked, out) = (bench.indices(&vec![7; row]), bench.writes(&vec![NAN; row]));
            let call = Pool {
                kind: match name {
                    "mean" => PoolKind::Mean,
                    "max" => PoolKind::Max { picked },
                    _ => PoolKind::Weighted { weights },
                },
                source,
                lengths,
                out,
                steps,
                batch,
                width,
            };
            let case = format!("{name} {steps}x{batch}x{width}");
            checker.call(&case, bench, call, |before| {
                let (source, weights) = (before.of(&source), before.of(&weights));
                let step = |at: usize, t: usize| exact(source[t * row + at]);
                let reduced = |at: usize| match name {
                    "mean" => {
                        let count = valid(at).len().max(1);
                        let steps = valid(at).map(|t| step(at, t));
                        sum(steps, count).over(exact(count as f64))
                    }
                    "max" => exact(
                        valid(at)
                            .map(|t| source[t * row + at])
                            .reduce(f64::max)
                            .unwrap_or(0.0),
                    ),
                    _ => {
                        let weight = |t: usize| exact(weights[t * batch + at / width]);
                        sum(valid(at).map(|t| weight(t) * step(at, t)), steps + 1)
                    }
                };
                let reduced: Vec<Num> = (0..row).map(reduced).collect();
                if name != "max" {
                    return vec![(out, reduced)];
                }
                let first = |at: usize| {
                    let has = |t: &usize| source[t * row + at] == reduced[at].value;
                    let first = valid(at).find(has);
                    exact(first.map_or(f64::from(IGNORE), |t| t as f64))
                };
                let first = (0..row).map(first).collect();
                vec![(out, reduced), (picked, first)]
            });
        }
    }
}

#[test]
fn pool_backward() {
    let mut checker = Checker::new("pool_backward");
    for [steps, batch, width] in REDUCED {
        let lengths = reduced_lengths(steps, batch);
        let row = batch * width;
        for name in ["mean", "max", "weighted"] {
            let mut bench = Bench::new(steps + width);
            let dout = bench.random(row);
            let (weights, dscores) = (bench.random(steps * batch), bench.random(steps * batch));
            let query = bench.random(width);
            let steps_of: Vec<u32> = (0..row).map(|at| (at % steps) as u32).collect();
            let picked = bench.indices(&steps_of);
            let length_tensor = bench.indices(&lengths);
            let dsource = bench.writes(&vec![NAN; steps * row]);
            let call = PoolBackward {
                kind: match name {
                    "mean" => PoolBackwardKind::Mean,
                    "max" => PoolBackwardKind::Max { picked },
                    _ => PoolBackwardKind::Weighted {
                        weights,
                        dscores,
                        query,
                    },
                },
                dout,
                lengths: length_tensor,
                dsource,
                steps,
                batch,
                width,
            };
            let case = format!("{name} {steps}x{batch}x{width}");
            checker.call(&case, bench, call, |before| {
                let of = |tensor: &Tensor, at: usize| exact(before.of(tensor)[at]);
                let gradient = |at: usize| {
                    let (t, b, i) = (at / row, at / width % batch, at % width);
                    let length = steps.min(lengths[b] as usize);
                    let d = of(&dout, b * width + i);
                    match name {
                        _ if t >= length => ZERO,
                        "mean" => d.over(exact(length as f64)),
                        "max" if steps_of[b * width + i] as usize == t => d,
                        "max" => ZERO,
                        _ => {
                            let by_weight = of(&weights, t * batch + b) * d;
                            by_weight + of(&dscores, t * batch + b) * of(&query, i)
                        }
                    }
                };
                vec![(dsource, (0..steps * row).map(gradient).collect())]
            });
        }
    }
}

#[test]
fn attention() {
    let mut checker = Checker::new("attention");
    for [steps, batch, _] in REDUCED {
        for limit in [2.0, 60.0] {
            let lengths = reduced_lengths(steps, batch);
            let mut bench = Bench::new(steps);
            let values = bench.uniform(steps * batch, limit);
            let scores = bench.reads(&values);
            let length_tensor = bench.indices(&lengths);
            let weights = bench.writes(&vec![NAN; steps * batch]);
            let call = Attention {
                scores,
                lengths: length_tensor,
                weights,
                steps,
                batch,
            };
            let case = format!("{steps}x{batch} in ±{limit}");
            checker.call(&case, bench, call, |before| {
                let scores = before.of(&scores);
                let weight = |at: usize| {
                    let (t, b) = (at / batch, at % batch);
                    let length = steps.min(lengths[b] as usize);
                    if t >= length {
                        return ZERO;
                    }
                    let own: Vec<f64> = (0..length).map(|t| scores[t * batch + b]).collect();
                    let largest = own.iter().copied().fold(f64::MIN, f64::max);
                    let power = |score: f64| (exact(score) - exact(largest)).exp();
                    let total = sum(own.iter().map(|&score| power(score)), length);
                    power(own[t]).over(total)
                };
                vec![(weights, (0..steps * batch).map(weight).collect())]
            });
        }
    }
}

#[test]
fn attention_backward() {
    let mut checker = Checker::new("attention_backward");
    for [steps, batch, width] in REDUCED {
        let lengths = reduced_lengths(steps, batch);
        let mut bench = Bench::new(steps + width);
        let source = bench.random(steps * batch * width);
        let weights = bench.random(steps * batch);
        let (pooled, dout) = (bench.random(batch * width), bench.random(batch * width));
        let length_tensor = bench.indices(&lengths);
        let dscores = bench.writes(&vec![NAN; steps * batch]);
        let call = AttentionBackward {
            source,
            weights,
            pooled,
            dout,
            lengths: length_tensor,
            dscores,
            steps,
            batch,
            width,
        };
        let case = format!("{steps}x{batch}x{width}");
        checker.call(&case, bench, call, |before| {
            let of = |tensor: &Tensor, at: usize| exact(before.of(tensor)[at]);
            let gradient = |row: usize| {
                let b = row % batch;
                if row / batch >= lengths[b] as usize {
                    return ZERO;
                }
                let distance = |i: usize| of(&source, row * width + i) - of(&pooled, b * width + i);
                let terms = (0..width).map(|i| of(&dout, b * width + i) * distance(i));
                of(&weights, row) * sum(terms, width + 1)
            };
            vec![(dscores, (0..steps * batch).map(gradient).collect())]
        });
    }
}

// ---- step record and gradient clipping ----------------------------------------------------------

#[test]
fn record() {
    let mut checker = Checker::new("record");
    // (steps, batch): a head that reads every step, or only the last one (steps = 1).
    for (steps, batch) in [(1, 1), (1, 2), (7, 9), (1, 64), (5, 13), (3, 65), (11, 93)] {
        // (updates, chunks, (1 / number of labels, gradient norm))
        for (updates, chunks, (factor, length)) in [
            (false, 1, (0.25, NAN)),
            (true, 1, (0.25, 7.5)),
            (true, 2, (0.25, 7.5)),
            (true, 3, (0.25, f32::MAX)),
            (true, 1, (NAN, 7.5)),
            (false, 1, (f32::NEG_INFINITY, 7.5)),
            (true, 1, (0.25, f32::INFINITY)),
            (true, 1, (0.25, -NAN)),
        ] {
            let rows = steps * batch;
            let mut bench = Bench::new(rows);
            let (scores, weight) = (bench.random(2 * rows), bench.reads(&[factor, 3.0]));
            let norm = bench.reads(&[length, NAN]);
            let labels = labels(&mut bench, rows, 5);
            // Lengths from 0 to steps + 1, which counts as steps.
            let lengths: Vec<u32> = (0..batch)
                .map(|_| bench.random.below(steps as u32 + 2))
                .collect();
            let (label_tensor, length_tensor) = (bench.indices(&labels), bench.indices(&lengths));
            let chunk = u32::from(chunks > 1);
            let control = bench.indices(&[41, 100, 200, 2, chunk, 17, 34]);
            let history = bench.writes(&[NAN; 5 * history::WORDS]);
            let call = Record {
                scores,
                labels: label_tensor,
                lengths: length_tensor,
                weight,
                norm: updates.then_some(norm),
                control,
                history,
                batch,
                chunks,
            };
            checker.call(
                &format!("{steps} x {batch}, updates {updates}, of {chunks}, {factor}, {length}"),
                bench,
                call,
                |before| {
                    // The CPU adds the values sequentially, so the depth is the number of rows.
                    let (losses, hits) = before.of(&scores).split_at(rows);
                    let total =
                        |values: &[f64]| sum(values.iter().map(|&value| exact(value)), rows);
                    let mut last = vec![];
                    for (b, &length) in lengths.iter().enumerate().filter(|each| *each.1 > 0) {
                        let row = ((length as usize).min(steps) - 1) * batch + b;
                        if labels[row] != IGNORE {
                            last.push(losses[row]);
                        }
                    }
                    let row = vec![
                        total(losses) * exact(factor.into()),
                        total(hits),
                        exact(3.0),
                        exact(if updates { length.into() } else { 0.0 }),
                        total(&last).over(exact(last.len().max(1) as f64)),
                        exact(last.len() as f64),
                        exact((!factor.is_finite() || updates && !length.is_finite()).into()),
                    ];
                    let moved = [
                        if updates { 42.0 } else { 41.0 },
                        100.0 + if chunks < 3 { batch as f64 } else { 0.0 },
                        200.0,
                        3.0,
                        if chunks < 3 { 0.0 } else { 2.0 },
                        if updates { 0.0 } else { 17.0 + batch as f64 },
                        34.0,
                    ];
                    vec![
                        (history.part(2 * history::WORDS, [history::WORDS]), row),
                        (control, moved.map(exact).to_vec()),
                    ]
                },
            );
        }
    }
}

#[test]
fn clip_factor() {
    let mut checker = Checker::new("clip_factor");
    for (index, size) in [0.0, 1e-12, 0.5, 30.0, 1e20].into_iter().enumerate() {
        for limit in [None, Some(1.0), Some(1e-3), Some(1e-7), Some(1e3)] {
            for form in [Form::Tensorflow, Form::Torch] {
                let mut bench = Bench::new(index);
                let values: Vec<f32> = bench.uniform(64, size).into_iter().map(f32::abs).collect();
                let (partials, norm) = (bench.reads(&values), bench.writes(&[NAN; 2]));
                let call = ClipFactor {
                    partials,
                    norm,
                    limit,
                    form,
                };
                checker.call(
                    &format!("{size} {limit:?} {form:?}"),
                    bench,
                    call,
                    |before| {
                        let length =
                            sum(before.of(&partials).iter().map(|&value| exact(value)), 64).sqrt();
                        let margin = if form == Form::Torch {
                            constant(1e-6)
                        } else {
                            ZERO
                        };
                        let padded = length + margin;
                        let factor = match limit {
                            Some(limit) if padded.value > limit => constant(limit).over(padded),
                            _ => exact(1.0),
                        };
                        vec![(norm, vec![length, factor])]
                    },
                );
            }
        }
    }
}

// ---- update rules -------------------------------------------------------------------------------

/// Parameter counts around the workgroup size: one parameter per invocation, 64 per workgroup.
const COUNTS: [usize; 5] = [1, 63, 64, 65, 1021];

/// Learning rates by schedule index; the control buffer selects the third one.
const RATES: [f32; 4] = [NAN, NAN, 1e-3, NAN];

/// Returns random parameters and gradients after `done` updates. The gradients, times the factor in
/// `norm`, are in ±0.3; with `clips` they are clipped to ±0.1. Without a limit, those of even
/// counts are in ±3e5: no other limit may take its place.
fn descent(bench: &mut Bench, count: usize, done: u32, clips: bool, l2: f64) -> Descent {
    let is_large = !clips && count.is_multiple_of(2);
    let gradients = bench.uniform(count, if is_large { 1e6 } else { 1.0 });
    let gradients = bench.reads(&gradients);
    let values = bench.uniform(count, 1.0);
    Descent {
        parameters: bench.writes(&values),
        gradients,
        control: bench.indices(&[done, DEAD, DEAD, 2]),
        rates: bench.reads(&RATES),
        norm: bench.reads(&[NAN, 0.3]),
        clip_value: clips.then_some(0.1),
        l2,
    }
}

/// Allocates `[count]` random values in ±1, or an empty tensor if not `kept`.
fn moment(bench: &mut Bench, count: usize, kept: bool) -> Tensor {
    let values = bench.uniform(if kept { count } else { 0 }, 1.0);
    bench.writes(&values)
}

/// Allocates mean squares of at least 2, so that mean square - mean^2 stays well above 0.
fn mean_square(bench: &mut Bench, count: usize) -> Tensor {
    let values = bench.uniform(count, 1.0);
    let values: Vec<f32> = values.into_iter().map(|value| 2.0 + value.abs()).collect();
    bench.writes(&values)
}

fn at(before: &Snapshot, tensor: &Tensor, n: usize) -> Num {
    exact(before.of(tensor)[n])
}

/// Returns the n-th gradient after scaling, clipping and L2 regularisation.
fn gradient(before: &Snapshot, descent: &Descent, n: usize) -> Num {
    let g = at(before, &descent.gradients, n) * exact(before.of(&descent.norm)[1]);
    let clipped = match descent.clip_value {
        // The error after a clamp is at most the larger of the errors of the value and the limit.
        Some(limit) => Num {
            value: g.value.clamp(-limit, limit),
            error: g.error.max(constant(limit).error),
        },
        None => g,
    };
    clipped + constant(descent.l2) * at(before, &descent.parameters, n)
}

/// Returns the expected elements of `tensors`, as updated by `rule`. Some tensors may be empty.
fn updated<const N: usize>(
    tensors: [Tensor; N],
    count: usize,
    rule: impl Fn(usize) -> [Num; N],
) -> Expected {
    let results: Vec<[Num; N]> = (0..count).map(rule).collect();
    let column = |(which, tensor): (usize, Tensor)| {
        let values = results.iter().take(tensor.len()).map(|row| row[which]);
        (tensor, values.collect())
    };
    tensors.into_iter().enumerate().map(column).collect()
}

#[test]
fn sgd() {
    let mut checker = Checker::new("sgd");
    for count in COUNTS {
        for (momentum, dampening, nesterov) in [
            (0.0, 0.0, false),
            (0.9, 0.0, false),
            (0.9, 0.0, true),
            (0.5, 0.3, false),
        ] {
            for (done, clips, l2) in [
                (0, false, 0.0),
                (0, true, 0.1),
                (1, false, 0.1),
                (7, true, 0.0),
            ] {
                let mut bench = Bench::new(count);
                let descent = descent(&mut bench, count, done, clips, l2);
                let velocity = moment(&mut bench, count, momentum > 0.0);
                let call = Sgd {
                    descent,
                    velocity,
                    momentum,
                    dampening,
                    nesterov,
                };
                let case = format!(
                    "{count}, {momentum} {dampening} {nesterov}, after {done}, {clips} {l2}"
                );
                checker.call(&case, bench, call, |before| {
                    updated([descent.parameters, velocity], count, |n| {
                        let g = gradient(before, &descent, n);
                        let v = match (momentum > 0.0, done) {
                            (false, _) | (_, 0) => g,
                            _ => {
                                constant(momentum) * at(before, &velocity, n)
                                    + constant(1.0 - dampening) * g
                            }
                        };
                        let direction = if nesterov {
                            g + constant(momentum) * v
                        } else {
                            v
                        };
                        let rate = exact(f64::from(RATES[2]));
                        [at(before, &descent.parameters, n) - rate * direction, v]
                    })
                });
            }
        }
    }
}

#[test]
fn rmsprop() {
    let mut checker = Checker::new("rmsprop");
    for count in COUNTS {
        for form in [Form::Torch, Form::Tensorflow] {
            for (centered, momentum) in [(false, 0.0), (true, 0.0), (false, 0.5), (true, 0.9)] {
                for (clips, l2, epsilon) in [(false, 0.0, 1e-8), (true, 0.1, 1e-2)] {
                    let mut bench = Bench::new(count);
                    let descent = descent(&mut bench, count, 3, clips, l2);
                    let mean_square = mean_square(&mut bench, count);
                    let mean_gradient = moment(&mut bench, count, centered);
                    let velocity = moment(&mut bench, count, momentum > 0.0);
                    let rho = 0.9;
                    let call = Rmsprop {
                        descent,
                        mean_square,
                        mean_gradient,
                        velocity,
                        rho,
                        momentum,
                        epsilon,
                        form,
                    };
                    let case =
                        format!("{count}, {form:?}, {centered} {momentum}, {clips} {l2} {epsilon}");
                    let moments = [descent.parameters, mean_square, mean_gradient, velocity];
                    checker.call(&case, bench, call, |before| {
                        updated(moments, count, |n| {
                            let g = gradient(before, &descent, n);
                            let (rho, rest) = (constant(rho), constant(1.0 - rho));
                            let s = rho * at(before, &mean_square, n) + rest * g * g;
                            let (mut mean, mut square) = (ZERO, s);
                            if centered {
                                mean = rho * at(before, &mean_gradient, n) + rest * g;
                                square = s - mean * mean;
                            }
                            let (rate, epsilon) = (exact(f64::from(RATES[2])), constant(epsilon));
                            let mut v = match form {
                                Form::Torch => g.over(square.sqrt() + epsilon),
                                Form::Tensorflow => (rate * g).over((square + epsilon).sqrt()),
                            };
                            if momentum > 0.0 {
                                v = v + constant(momentum) * at(before, &velocity, n);
                            }
                            let step = match form {
                                Form::Torch => rate * v,
                                Form::Tensorflow => v,
                            };
                            [at(before, &descent.parameters, n) - step, s, mean, v]
                        })
                    });
                }
            }
        }
    }
}

#[test]
fn adam() {
    let mut checker = Checker::new("adam");
    // (clips, L2, decoupled weight decay, AMSGrad): none of them, and all of them.
    let options = [(false, 0.0, 0.0, false), (true, 0.1, 0.01, true)];
    for count in COUNTS {
        for done in [0u32, 1, 999, 99_999] {
            for form in [Form::Torch, Form::Tensorflow] {
                for (beta1, beta2, epsilon) in [(0.9, 0.999, 1e-8), (0.0, 0.5, 1e-3)] {
                    for (clips, l2, weight_decay, amsgrad) in options {
                        let mut bench = Bench::new(count);
                        let descent = descent(&mut bench, count, done, clips, l2);
                        let first_moment = moment(&mut bench, count, true);
                        let mut squares = || -> Vec<f32> {
                            let values = bench.uniform(count, 1.0);
                            values.into_iter().map(f32::abs).collect()
                        };
                        let (second, mut largest) = (squares(), squares());
                        if !amsgrad {
                            largest.clear();
                        }
                        let second_moment = bench.writes(&second);
                        let largest_moment = bench.writes(&largest);
                        let call = Adam {
                            descent,
                            first_moment,
                            second_moment,
                            largest_moment,
                            beta1,
                            beta2,
                            epsilon,
                            form,
                            weight_decay,
                        };
                        let case =
                            format!("{count}, after {done}, {form:?}, beta1 {beta1}, {amsgrad}");
                        let moments = [
                            descent.parameters,
                            first_moment,
                            second_moment,
                            largest_moment,
                        ];
                        checker.call(&case, bench, call, |before| {
                            let t = f64::from(done + 1);
                            let correction = |beta: f64| match beta {
                                0.0 => exact(1.0),
                                beta => Num::one_minus_exp(beta.ln() * t),
                            };
                            let root = correction(beta2).sqrt();
                            let rate = exact(f64::from(RATES[2]));
                            let epsilon = match form {
                                Form::Tensorflow => constant(epsilon).over(root),
                                Form::Torch => constant(epsilon),
                            };
                            updated(moments, count, |n| {
                                let g = gradient(before, &descent, n);
                                let m = constant(beta1) * at(before, &first_moment, n)
                                    + constant(1.0 - beta1) * g;
                                let v = constant(beta2) * at(before, &second_moment, n)
                                    + constant(1.0 - beta2) * g * g;
                                let scale = match amsgrad {
                                    true => larger(v, at(before, &largest_moment, n)),
                                    false => v,
                                };
                                let kept = exact(1.0) - rate * constant(weight_decay);
                                let step = (rate.over(correction(beta1)) * m)
                                    .over(scale.sqrt().over(root) + epsilon);
                                [
                                    at(before, &descent.parameters, n) * kept - step,
                                    m,
                                    v,
                                    scale,
                                ]
                            })
                        });
                    }
                }
            }
        }
    }
}

/// Returns the maximum, whose error is at most the larger of the two errors.
fn larger(a: Num, b: Num) -> Num {
    Num {
        value: a.value.max(b.value),
        error: a.error.max(b.error),
    }
}

// ---- recurrent layers ---------------------------------------------------------------------------

/// Number of time steps. Each step is recorded in its own phase.
const T: usize = 3;
/// Sequence lengths, repeated over the batch: full, zero, above T, and in between.
const LENGTHS: [usize; 9] = [T, 0, T + 2, 1, 2, 1, 0, 2, T];
/// Batch and hidden sizes. A GPU processes four sequences together and the CPU 32. A workgroup of a
/// step kernel has 64 units, and one of a scan has 256.
const LAYERS: [[usize; 2]; 7] = [[1, 1], [5, 7], [4, 31], [3, 64], [7, 65], [33, 5], [2, 257]];

/// A recurrent layer with buffers filled for the forward or backward pass. Padded steps are NaN.
struct RecurrenceCase {
    bench: Bench,
    layer: Recurrence,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    cell: Cell,
    batch: usize,
    hidden_size: usize,
    bias: bool,
    upstream: bool,
    given_states: usize,
    cell_clip: Option<f64>,
    /// Projection size and its clipping limit.
    projection: Option<(usize, Option<f64>)>,
    drops_state: bool,
    drops_recurrent: bool,
    zoneout: Zoneout,
    activation: Activation,
    recurrent_activation: RecurrentActivation,
    /// Largest absolute value of pre-activations and gradients.
    limit: f32,
}

/// Returns the lanes of the tested GPU that can share sums.
fn shared_lanes() -> usize {
    static LANES: OnceLock<usize> = OnceLock::new();
    *LANES.get_or_init(|| common::gpu().map_or(1, |gpu| gpu.tuning.shared_lanes))
}

impl RecurrenceCase {
    fn new(options: Options, backward: bool) -> RecurrenceCase {
        let Options {
            cell,
            batch,
            hidden_size: h,
            ..
        } = options;
        let spec = cell.spec();
        let p = options.projection.map_or(h, |(size, _)| size);
        let mut bench = Bench::new(batch + h);
        let limit = 1.0 / (h as f32).sqrt();
        // R, then the projection weights: unpacked, and packed for the forward and backward pass.
        let (mut values, mut packed_forward, mut packed_backward) = (vec![], vec![], vec![]);
        let recurrent = (spec.recurrent_gates > 0).then_some((spec.recurrent_gates, h, p));
        let projection = options.projection.map(|_| (1, p, h));
        for (blocks, rows, columns) in recurrent.into_iter().chain(projection) {
            let matrix = bench.uniform(blocks * rows * columns, limit);
            packed_forward.extend(packed(&matrix, 1, columns, blocks * rows, true));
            packed_backward.extend(packed(&matrix, blocks, rows, columns, false));
            values.extend(matrix);
        }
        let lengths: Vec<u32> = (0..batch)
            .map(|row| LENGTHS[row % LENGTHS.len()] as u32)
            .collect();
        // Shape [T, B, each]: random values on valid steps, NaN on padded steps.
        let sequence = |bench: &mut Bench, each: usize, limit: f32| {
            let mut values = bench.uniform(T * batch * each, limit);
            for (index, values) in values.chunks_mut(each).enumerate() {
                if index / batch >= lengths[index % batch] as usize {
                    values.fill(NAN);
                }
            }
            values
        };
        let kept = spec.slots * h + options.projection.map_or(0, |(size, _)| h + size);
        let masked = kept + options.mask_widths().iter().sum::<usize>();
        let mut slots = sequence(
            &mut bench,
            masked,
            if backward { 1.0 } else { options.limit },
        );
        for (index, row) in slots.chunks_mut(masked).enumerate() {
            let masks = row[kept..].iter_mut().enumerate();
            masks.for_each(|(i, mask)| *mask = [1.25, 0.0, 1.25][(index + i) % 3]);
        }
        let upstream = sequence(&mut bench, p, options.limit);
        let states = |bench: &mut Bench, each: usize| {
            let initial = bench.uniform(batch * each, 1.0);
            let rest = if backward {
                sequence(bench, each, 1.0)
            } else {
                vec![NAN; T * batch * each]
            };
            [initial, rest].concat()
        };
        let (h_values, c_values) = (states(&mut bench, p), states(&mut bench, h));
        let c_values = if spec.states > 1 { c_values } else { vec![] };
        let sizes = [batch * p, batch * h];
        let all = sizes[..spec.states].iter().sum();
        let given = sizes[..options.given_states].iter().sum();
        let mut dstate = bench.uniform(all, options.limit);
        dstate[given..].fill(NAN);
        let bias = bench.uniform(spec.recurrent_gates * h, 1.0);
        let peephole = bench.uniform(3 * h, 1.0);
        let layer = Recurrence {
            cell,
            steps: T,
            batch,
            hidden_size: h,
            output_size: p,
            options: CellOptions {
                projection: options.projection.map(|(_, clip)| Projection { clip }),
                cell_clip: options.cell_clip,
                drops_state: options.drops_state,
                drops_recurrent: options.drops_recurrent,
                zoneout: options.zoneout,
                activation: options.activation,
                recurrent_activation: options.recurrent_activation,
                layer_norm: None,
            },
            weights: RecurrentWeights {
                recurrent: bench.reads(&values),
                packed_forward: bench.reads_vec4s(&packed_forward),
                packed_backward: bench.reads_vec4s(&packed_backward),
                bias: (options.bias && spec.recurrent_gates > 0).then(|| bench.reads(&bias)),
                peephole: (!spec.peepholes.is_empty()).then(|| bench.reads(&peephole)),
                norm: None,
            },
            gates: bench.writes(&slots),
            states: LayerStates {
                h: bench.writes(&h_values),
                c: bench.writes(&c_values),
                last: bench.writes(&vec![NAN; all]),
            },
            gradients: StateGradients {
                upstream: options.upstream.then(|| bench.reads(&upstream)),
                dstate: bench.writes(&dstate),
                given_states: options.given_states,
            },
            lengths: bench.indices(&lengths),
            // Covers every tile size, batch and hidden sizes that end within a tile, and one or
            // several units per invocation.
            tile: Tile {
                groups: match batch % 3 {
                    0 => 4,
                    _ if h < 64 => 2,
                    _ => 1,
                },
                sequences: [4, 1, 2][(batch + h / 2) % 3],
                each: [4, 2, 1, 4][h % 4],
                lanes: shared_lanes().min([1, 4, 2][(batch + h) % 3]),
                back_lanes: shared_lanes().min([1, 4, 2, 8, 16, 8][(batch + h) % 6]),
                invocations: [256, 64][batch % 2],
                // Caches none of the weights, or as many as fit into 16 KiB.
                memory: [0, 16 << 10][h / 2 % 2],
                // Holds none of the weights, some, or all where each unit has a worker.
                registers: [0, 24, 256][(batch + h) % 3],
                halves: false,
            },
        };
        RecurrenceCase { bench, layer }
    }

    /// The layer with other numbers of weights in registers and workgroup memory, which change no
    /// bits.
    fn held_elsewhere(&self) -> Recurrence {
        let mut layer = self.layer.clone();
        layer.tile.registers = 256 - layer.tile.registers;
        layer.tile.memory = (16 << 10) - layer.tile.memory;
        layer
    }

    fn with(&self, calls: impl IntoIterator<Item = (Phase, Call)>) -> Bench {
        let mut bench = self.bench.copied();
        calls
            .into_iter()
            .for_each(|(phase, call)| bench.program.push(phase, call));
        bench
    }
}

/// Batch and hidden sizes, and projection sizes smaller than, equal to and larger than the hidden
/// size, in one workgroup tile or several.
const PROJECTIONS: [([usize; 2], usize); 7] = [
    ([1, 1], 1),
    ([5, 7], 3),
    ([4, 9], 17),
    ([7, 65], 64),
    ([33, 5], 5),
    ([2, 130], 65),
    ([3, 64], 129),
];

/// The clipping limit of c and of h, exact in f32. It clips some values and leaves most unchanged.
const CLIP: f64 = 0.375;

/// Returns every cell at every size with alternating biases, upstream gradients and given states,
/// and one case per cell with saturated gates.
fn options() -> Vec<Options> {
    let mut all = vec![];
    for cell in Cell::ALL {
        let spec = cell.spec();
        let states = spec.states;
        let sizes = LAYERS
            .into_iter()
            .map(|size| (size, 1.0))
            .chain([([5, 7], 1e4)]);
        for (index, ([batch, hidden_size], limit)) in sizes.enumerate() {
            let cell_clip = (spec.options.cell_clip && index % 2 == 1).then_some(CLIP);
            let projection = None;
            let (bias, upstream, given_states) =
                (index % 2 == 0, index % 3 != 1, index % (states + 1));
            all.push(Options {
                cell,
                batch,
                hidden_size,
                bias,
                upstream,
                given_states,
                cell_clip,
                projection,
                drops_state: index % 3 == 1,
                drops_recurrent: index % 3 == 0 && spec.recurrent_gates > 0,
                zoneout: zoneout(cell, index % 3 == 2 || index == 6, index % 2 == 0),
                activation: function(cell, index),
                recurrent_activation: gate_function(cell, index),
                limit,
            });
        }
        for (index, ([batch, hidden_size], outputs)) in PROJECTIONS.into_iter().enumerate() {
            if spec.options.projection {
                all.push(Options {
                    cell,
                    batch,
                    hidden_size,
                    bias: index % 2 == 0,
                    upstream: index % 3 != 1,
                    given_states: index % (states + 1),
                    cell_clip: (index % 3 == 0).then_some(CLIP),
                    projection: Some((outputs, (index % 2 == 1).then_some(CLIP))),
                    drops_state: index % 3 == 2,
                    drops_recurrent: index % 3 == 0,
                    zoneout: zoneout(cell, index % 3 == 1, index % 2 == 0),
                    activation: function(cell, index),
                    recurrent_activation: gate_function(cell, index),
                    limit: 1.0,
                });
            }
        }
        for given_states in 0..=states {
            for upstream in [false, true] {
                let cell_clip = (spec.options.cell_clip && given_states > 0).then_some(CLIP);
                let projection = None;
                let (batch, hidden_size, bias, limit) = (6, 9, upstream, 1.0);
                all.push(Options {
                    cell,
                    batch,
                    hidden_size,
                    bias,
                    upstream,
                    given_states,
                    cell_clip,
                    projection,
                    drops_state: upstream,
                    drops_recurrent: !upstream && spec.recurrent_gates > 0,
                    zoneout: zoneout(cell, !upstream, given_states > 0),
                    activation: Activation::Tanh,
                    recurrent_activation: RecurrentActivation::Sigmoid,
                    limit,
                });
            }
        }
    }
    all
}

impl Options {
    /// Returns the widths of the masks at the end of a row: of the recurrent gates, of the state,
    /// and of zoneout of h and c.
    fn mask_widths(&self) -> [usize; 4] {
        let h = self.hidden_size;
        let p = self.projection.map_or(h, |(size, _)| size);
        let gates = self.cell.spec().recurrent_gates;
        let Zoneout {
            h: of_h,
            c: of_c,
            is_drawn,
        } = self.zoneout;
        [
            if self.drops_recurrent { gates * p } else { 0 },
            if self.drops_state { p } else { 0 },
            if is_drawn && of_h > 0.0 { p } else { 0 },
            if is_drawn && of_c > 0.0 { h } else { 0 },
        ]
    }
}

/// Returns zoneout of every state that may have it, or none.
fn zoneout(cell: Cell, has: bool, is_drawn: bool) -> Zoneout {
    let spec = cell.spec();
    let keeps_c = spec.states > 1 && spec.peepholes.is_empty();
    Zoneout {
        h: if has { 0.375 } else { 0.0 },
        c: if has && keeps_c { 0.25 } else { 0.0 },
        is_drawn,
    }
}

/// Returns a function of the candidate that the cell may have, another for each index.
fn function(cell: Cell, index: usize) -> Activation {
    let functions = Activation::ALL;
    let count = if cell.spec().options.activations {
        functions.len()
    } else {
        1
    };
    functions[index % count]
}

/// The same of the gates.
fn gate_function(cell: Cell, index: usize) -> RecurrentActivation {
    let functions = RecurrentActivation::ALL;
    let count = if cell.spec().options.activations {
        functions.len()
    } else {
        1
    };
    functions[index % count]
}

/// Returns whether a scan of this layer fits into 16 KiB of workgroup memory, the WebGPU minimum.
fn scans(options: &Options) -> bool {
    let (gates, h) = (options.cell.spec().gates, options.hidden_size);
    let outputs = options.projection.map_or(0, |(size, _)| size);
    let p = options.projection.map_or(h, |(size, _)| size);
    let masked = if options.drops_recurrent {
        gates * p
    } else {
        0
    };
    (gates.max(2) * h + outputs + masked) * 16 <= 16 << 10
}

/// Returns the expected values of the forward pass of time step `t`.
fn forward(layer: &Recurrence, before: &Snapshot, t: usize) -> Expected {
    let spec = layer.cell.spec();
    let (batch, h, p) = (layer.batch, layer.hidden_size, layer.output_size);
    let (slots_h, row_size) = (spec.slots * h, layer.row_size());
    let recurrent = before.of(&layer.weights.recurrent);
    let bias = layer.weights.bias.map(|bias| before.of(&bias));
    let mut expected = vec![];
    for row in 0..batch {
        let length = (before.of(&layer.lengths)[row] as usize).min(T);
        let at = |t: usize, size: usize| (t * batch + row) * size;
        let gates = layer.gates.part(at(t, row_size), [row_size]);
        let vector = |tensor: &Tensor, size: usize| -> Vec<Num> {
            if tensor.is_empty() {
                return vec![ZERO; size];
            }
            before.of(tensor)[at(t, size)..at(t, size) + size]
                .iter()
                .map(|&value| exact(value))
                .collect()
        };
        let (mut h_before, c_before) = (vector(&layer.states.h, p), vector(&layer.states.c, h));
        let mut slots = vec![ZERO; row_size];
        let mask = state_mask(layer, before, t, row);
        if layer.options.drops_state && t > 0 {
            let mask = state_mask(layer, before, t - 1, row);
            h_before = times(&h_before, &mask);
        }
        let masks = tail(layer, before, t, row);
        slots[row_size - masks.len()..].copy_from_slice(&masks);
        let (mut h_after, mut c_after) = (vec![ZERO; h], vec![ZERO; h]);
        if t < length {
            let inputs = before.of(&gates);
            // R h + b: one multiplication and p additions (p - 1 if there is no bias).
            let product = |gate: usize, j: usize, vector: &[Num]| {
                let terms = (0..p).map(|k| exact(recurrent[(gate * h + j) * p + k]) * vector[k]);
                sum(
                    terms.chain(bias.map(|bias| exact(bias[gate * h + j]))),
                    p + 1,
                )
            };
            let input = |gate: usize, j: usize| exact(inputs[gate * h + j]);
            // w c for a cell with peepholes.
            let peep = |index: usize, j: usize, c: Num| match layer.weights.peephole {
                Some(peephole) => exact(before.of(&peephole)[index * h + j]) * c,
                None => ZERO,
            };
            // h, or h times the mask of the gate.
            let operands: Vec<Vec<Num>> = (0..spec.gates)
                .map(|gate| match layer.options.drops_recurrent {
                    true => times(&h_before, &masks[gate * p..][..p]),
                    false => h_before.clone(),
                })
                .collect();
            let gate = |gate: usize, j: usize| input(gate, j) + product(gate, j, &operands[gate]);
            let open = |sum: Num| sum.gate(layer.options.recurrent_activation);
            let squash = |sum: Num| sum.activated(layer.options.activation);
            let reset: Vec<Num> = match layer.cell {
                Cell::GruResetBefore => (0..h).map(|j| open(gate(0, j)) * operands[2][j]).collect(),
                _ => vec![],
            };
            for j in 0..h {
                let unit: Vec<Num>;
                let blend = |z: Num, n: Num| (exact(1.0) - z) * n + z * h_before[j];
                match layer.cell {
                    Cell::RnnTanh => {
                        unit = vec![input(0, j)];
                        h_after[j] = gate(0, j).tanh();
                    }
                    Cell::RnnRelu => {
                        unit = vec![input(0, j)];
                        let sum = gate(0, j);
                        h_after[j] = Num {
                            value: sum.value.max(0.0),
                            ..sum
                        };
                    }
                    Cell::Lstm | Cell::LstmPeephole => {
                        let i = open(gate(0, j) + peep(0, j, c_before[j]));
                        let f = open(gate(1, j) + peep(1, j, c_before[j]));
                        let g = squash(gate(2, j));
                        c_after[j] = f * c_before[j] + i * g;
                        if let Some(clip) = layer.options.cell_clip {
                            c_after[j] = c_after[j].clipped(clip);
                        }
                        let o = open(gate(3, j) + peep(2, j, c_after[j]));
                        unit = vec![i, f, g, o];
                        h_after[j] = o * squash(c_after[j]);
                    }
                    Cell::Gru => {
                        let (r, z, inner) = (
                            open(gate(0, j)),
                            open(gate(1, j)),
                            product(2, j, &operands[2]),
                        );
                        let n = squash(input(2, j) + r * inner);
                        unit = vec![r, z, n, inner];
                        h_after[j] = blend(z, n);
                    }
                    Cell::GruResetBefore => {
                        let (r, z) = (open(gate(0, j)), open(gate(1, j)));
                        let n = squash(input(2, j) + product(2, j, &reset));
                        unit = vec![r, z, n, reset[j]];
                        h_after[j] = blend(z, n);
                    }
                    Cell::MinGru => {
                        let (z, n) = (input(0, j).sigmoid(), input(1, j));
                        unit = vec![z, n];
                        h_after[j] = (exact(1.0) - z) * h_before[j] + z * n;
                    }
                    Cell::MinLstm => {
                        let (i, f, g) = (input(0, j), input(1, j), input(2, j));
                        // σ(f) / (σ(f) + σ(i)), with exponents shifted to at most 0.
                        let shift = exact((-i.value).max(-f.value).max(0.0));
                        let one = (-shift).exp();
                        let of_input = one + (-i - shift).exp();
                        let of_forget = one + (-f - shift).exp();
                        let kept = of_input.over(of_input + of_forget);
                        unit = vec![i.sigmoid(), f.sigmoid(), g, kept];
                        h_after[j] = kept * h_before[j] + (exact(1.0) - kept) * g;
                    }
                    cell => panic!("the formulas of {cell:?} are not written down here"),
                }
                unit.into_iter()
                    .enumerate()
                    .for_each(|(slot, value)| slots[slot * h + j] = value);
            }
            if let Some(projection) = layer.options.projection {
                let weights = &recurrent[spec.recurrent_gates * h * p..];
                let product = |index: usize| {
                    let terms = (0..h).map(|k| exact(weights[index * h + k]) * h_after[k]);
                    sum(terms, h)
                };
                let projected: Vec<Num> = (0..p).map(product).collect();
                slots[slots_h..][..h + p].copy_from_slice(&[&h_after[..], &projected].concat());
                h_after = match projection.clip {
                    Some(clip) => projected.iter().map(|value| value.clipped(clip)).collect(),
                    None => projected,
                };
            }
        }
        h_after.resize(p, ZERO);
        if t < length {
            let [of_h, of_c] = new_shares(layer, &masks);
            h_after = mixed(&h_before, &h_after, &of_h);
            c_after = mixed(&c_before, &c_after, &of_c);
        }
        expected.push((gates, slots));
        let states = [
            (layer.states.h, h_before, h_after),
            (layer.states.c, c_before, c_after),
        ];
        let mut skip = 0;
        for (tensor, old, new) in states.into_iter().take(spec.states) {
            let size = new.len();
            let last = layer.states.last.part(skip + row * size, [size]);
            skip += batch * size;
            if t + 1 == length {
                let dropped = tensor == layer.states.h && layer.options.drops_state;
                let kept = if dropped {
                    times(&new, &mask)
                } else {
                    new.clone()
                };
                expected.push((last, kept));
            } else if t == 0 && length == 0 {
                expected.push((last, old));
            }
            expected.push((tensor.part(at(t + 1, size), [size]), new));
        }
    }
    expected
}

/// Returns the masks at the end of a row.
fn tail(layer: &Recurrence, before: &Snapshot, t: usize, row: usize) -> Vec<Num> {
    let row_size = layer.row_size();
    let end = (t * layer.batch + row + 1) * row_size;
    let len = layer.masks_len();
    let masks = layer.gates.part(end - len, [len]);
    before
        .of(&masks)
        .iter()
        .map(|&value| exact(value))
        .collect()
}

/// Returns the shares of the new values of h and c under zoneout; none without zoneout.
fn new_shares(layer: &Recurrence, masks: &[Num]) -> [Vec<Num>; 2] {
    let Zoneout {
        h: of_h,
        c: of_c,
        is_drawn,
    } = layer.options.zoneout;
    let widths = [layer.output_size, layer.hidden_size];
    let widths = [of_h, of_c]
        .map(|rate| rate > 0.0)
        .iter()
        .zip(widths)
        .map(|(&has, width)| if has { width } else { 0 })
        .collect::<Vec<_>>();
    if !is_drawn {
        let share = |rate: f64| exact(f64::from((1.0 - rate) as f32));
        return [vec![share(of_h); widths[0]], vec![share(of_c); widths[1]]];
    }
    let drawn = |masks: &[Num]| -> Vec<Num> {
        let shares = masks
            .iter()
            .map(|mask| exact(f64::from(u8::from(mask.value > 0.0))));
        shares.collect()
    };
    let (rest, of_cell) = masks.split_at(masks.len() - widths[1]);
    [drawn(&rest[rest.len() - widths[0]..]), drawn(of_cell)]
}

/// Returns the mix of old and new values by the shares of the new ones; the new values without
/// shares.
fn mixed(old: &[Num], new: &[Num], shares: &[Num]) -> Vec<Num> {
    if shares.is_empty() {
        return new.to_vec();
    }
    let one = exact(1.0);
    let parts = old.iter().zip(new).zip(shares);
    parts
        .map(|((&old, &new), &share)| (one - share) * old + share * new)
        .collect()
}

/// Returns the state dropout mask of h after step `t` of a sequence.
fn state_mask(layer: &Recurrence, before: &Snapshot, t: usize, row: usize) -> Vec<Num> {
    let (row_size, p) = (layer.row_size(), layer.output_size);
    let end = (t * layer.batch + row + 1) * row_size;
    let mask = layer.gates.part(end - p, [p]);
    before.of(&mask).iter().map(|&value| exact(value)).collect()
}

fn times(values: &[Num], factors: &[Num]) -> Vec<Num> {
    values.iter().zip(factors).map(|(&a, &b)| a * b).collect()
}

/// The parts of the backward pass that one phase runs, in this order.
#[derive(Clone, Copy, Default)]
struct BackwardParts {
    /// The time step whose gate gradients are multiplied by R^T and added to `dh`.
    pending: Option<usize>,
    /// The time step whose elementwise part is computed.
    units: Option<usize>,
    /// Whether the gate gradients of `units` are multiplied by R^T in this phase too.
    matmul: bool,
}

fn backward(layer: &Recurrence, before: &Snapshot, parts: BackwardParts) -> Expected {
    let spec = layer.cell.spec();
    let (batch, h, p) = (layer.batch, layer.hidden_size, layer.output_size);
    let (slots_h, row_size) = (spec.slots * h, layer.row_size());
    let first_stage = spec.first_stage.min(spec.recurrent_gates);
    let recurrent = before.of(&layer.weights.recurrent);
    let mut expected = vec![];
    for row in 0..batch {
        let gates = |t: usize| layer.gates.part((t * batch + row) * row_size, [row_size]);
        let load = |t: usize| -> Vec<Num> {
            before
                .of(&gates(t))
                .iter()
                .map(|&value| exact(value))
                .collect()
        };
        // Adds element j of R^T times the gradients of these gates to `into`: one multiplication,
        // and one addition per element.
        let through = |from: std::ops::Range<usize>, slots: &[Num], into: Num, j: usize| {
            let term = |gate: usize, k: usize| {
                exact(recurrent[(gate * h + k) * p + j]) * slots[spec.product_slots[gate] * h + k]
            };
            let terms = from.clone().flat_map(|gate| (0..h).map(move |k| (gate, k)));
            sum(
                terms.map(|(gate, k)| term(gate, k)).chain([into]),
                from.len() * h + 1,
            )
        };
        let newest = parts.units == Some(T - 1);
        let dstate = |state: usize| {
            let (skip, size) = [(0, p), (batch * p, h)][state];
            layer.gradients.dstate.part(skip + row * size, [size])
        };
        let [mut dh, mut dc] = [0, 1].map(|state| -> Vec<Num> {
            if state >= spec.states || newest && state >= layer.gradients.given_states {
                return vec![ZERO; [p, h][state]];
            }
            before
                .of(&dstate(state))
                .iter()
                .map(|&value| exact(value))
                .collect()
        });
        let through_first = |t: usize, slots: &[Num], dh: &[Num]| -> Vec<Num> {
            let masks = tail(layer, before, t, row);
            let element = |j: usize| {
                if !layer.options.drops_recurrent {
                    return through(0..first_stage, slots, dh[j], j);
                }
                let parts = (0..first_stage)
                    .map(|gate| through(gate..gate + 1, slots, ZERO, j) * masks[gate * p + j]);
                sum(parts.chain([dh[j]]), first_stage + 1)
            };
            (0..p).map(element).collect()
        };
        if let Some(t) = parts.pending {
            dh = through_first(t, &load(t), &dh);
        }
        if let Some(t) = parts.units {
            let old = load(t);
            let mut slots = vec![ZERO; row_size];
            if layer.options.projection.is_some() {
                // The stored output before the projection stays unchanged.
                slots[slots_h..slots_h + h].copy_from_slice(&old[slots_h..slots_h + h]);
            }
            let mask = state_mask(layer, before, t, row);
            let masks = tail(layer, before, t, row);
            slots[row_size - masks.len()..].copy_from_slice(&masks);
            if t < before.of(&layer.lengths)[row] as usize {
                let vector = |tensor: &Tensor, t: usize, size: usize| -> Vec<Num> {
                    if tensor.is_empty() {
                        return vec![ZERO; size];
                    }
                    let values = &before.of(tensor)[(t * batch + row) * size..][..size];
                    values.iter().map(|&value| exact(value)).collect()
                };
                let [mut h_before, h_after] = [t, t + 1].map(|t| vector(&layer.states.h, t, p));
                if layer.options.drops_state {
                    if t > 0 {
                        h_before = times(&h_before, &state_mask(layer, before, t - 1, row));
                    }
                    dh = times(&dh, &mask);
                }
                let [c_before, c_after] = [t, t + 1].map(|t| vector(&layer.states.c, t, h));
                let one = exact(1.0);
                if let Some(upstream) = layer.gradients.upstream {
                    let added = dh.iter().zip(vector(&upstream, t, p));
                    dh = added.map(|(&dh, upstream)| dh + upstream).collect();
                }
                // The gradients of the old values, which pass the step, and of the new ones.
                let [of_h, of_c] = new_shares(layer, &masks);
                let old_part = |d: &[Num], shares: &[Num]| -> Vec<Num> {
                    let parts = d.iter().zip(shares);
                    parts.map(|(&d, &share)| d * (one - share)).collect()
                };
                let (kept_h, kept_c) = (old_part(&dh, &of_h), old_part(&dc, &of_c));
                if !of_h.is_empty() {
                    dh = times(&dh, &of_h);
                }
                if !of_c.is_empty() {
                    dc = times(&dc, &of_c);
                }
                if let Some(projection) = layer.options.projection {
                    for (index, dh) in dh.iter_mut().enumerate() {
                        let product = old[slots_h + h + index];
                        if projection.clip.is_some_and(|clip| product.is_beyond(clip)) {
                            *dh = ZERO;
                        }
                    }
                    slots[slots_h + h..][..p].copy_from_slice(&dh);
                    let weights = &recurrent[spec.recurrent_gates * h * p..];
                    let unit = |j: usize| {
                        let terms = dh.iter().enumerate();
                        sum(
                            terms.map(|(index, &d)| exact(weights[index * h + j]) * d),
                            p,
                        )
                    };
                    dh = (0..h).map(unit).collect();
                }
                for j in 0..h {
                    let slot = |slot: usize| old[slot * h + j];
                    let d = dh[j];
                    let through_gate =
                        |d: Num, y: Num| d * y.gate_slope(layer.options.recurrent_activation);
                    let slope = |y: Num| y.slope(layer.options.activation);
                    let d_update = |z: Num, n: Num| through_gate(d * (h_before[j] - n), z);
                    let unit: Vec<Num>;
                    (unit, dh[j]) = match layer.cell {
                        Cell::RnnTanh => (vec![d * (one - h_after[j] * h_after[j])], ZERO),
                        Cell::RnnRelu => {
                            let active = h_after[j].value > 0.0;
                            (vec![if active { d } else { ZERO }], ZERO)
                        }
                        Cell::Lstm | Cell::LstmPeephole => {
                            let [i, f, g, o] = [0, 1, 2, 3].map(slot);
                            let [w_i, w_f, w_o] =
                                [0, 1, 2].map(|index| match layer.weights.peephole {
                                    Some(peephole) => exact(before.of(&peephole)[index * h + j]),
                                    None => ZERO,
                                });
                            let mut c = c_after[j];
                            if !of_c.is_empty() {
                                c = f * c_before[j] + i * g;
                                if let Some(clip) = layer.options.cell_clip {
                                    c = c.clipped(clip);
                                }
                            }
                            let squashed = c.activated(layer.options.activation);
                            let d_o = through_gate(d * squashed, o);
                            let mut inner = dc[j] + d * o * slope(squashed) + d_o * w_o;
                            let unclipped = f * c_before[j] + i * g;
                            if layer
                                .options
                                .cell_clip
                                .is_some_and(|clip| unclipped.is_beyond(clip))
                            {
                                inner = ZERO;
                            }
                            let di = through_gate(inner * g, i);
                            let df = through_gate(inner * c_before[j], f);
                            dc[j] = inner * f + (di * w_i + df * w_f);
                            (vec![di, df, inner * i * slope(g), d_o], ZERO)
                        }
                        Cell::Gru => {
                            let [r, z, n, inner] = [0, 1, 2, 3].map(slot);
                            let dn = d * (one - z) * slope(n);
                            let dz = d_update(z, n);
                            (vec![through_gate(dn * inner, r), dz, dn, dn * r], d * z)
                        }
                        Cell::GruResetBefore => {
                            let [r, z, n, reset] = [0, 1, 2, 3].map(slot);
                            let dz = d_update(z, n);
                            (vec![r, dz, d * (one - z) * slope(n), reset], d * z)
                        }
                        Cell::MinGru => {
                            let [z, n] = [0, 1].map(slot);
                            let dz = d * (n - h_before[j]) * z * (one - z);
                            (vec![dz, d * z], d * (one - z))
                        }
                        Cell::MinLstm => {
                            let [i, f, g, kept] = [0, 1, 2, 3].map(slot);
                            let dratio = d * (h_before[j] - g) * kept * (one - kept);
                            let di = ZERO - dratio * (one - i);
                            (
                                vec![di, dratio * (one - f), d * (one - kept), kept],
                                d * kept,
                            )
                        }
                        cell => panic!("the formulas of {cell:?} are not written down here"),
                    };
                    unit.into_iter()
                        .enumerate()
                        .for_each(|(slot, value)| slots[slot * h + j] = value);
                }
                if layer.options.projection.is_some() {
                    // With a projection, the previous h is used only by the recurrent matmul.
                    dh = vec![ZERO; p];
                }
                for (d, kept) in dh.iter_mut().zip(kept_h) {
                    *d = *d + kept;
                }
                for (d, kept) in dc.iter_mut().zip(kept_c) {
                    *d = *d + kept;
                }
                if layer.cell == Cell::GruResetBefore {
                    for j in 0..h {
                        let (r, mut dreset) = (old[j], through(2..3, &slots, ZERO, j));
                        if layer.options.drops_recurrent {
                            dreset = dreset * masks[2 * p + j];
                        }
                        let open = r.gate_slope(layer.options.recurrent_activation);
                        slots[j] = dreset * h_before[j] * open;
                        dh[j] = dh[j] + dreset * r;
                    }
                }
            }
            if parts.matmul {
                dh = through_first(t, &slots, &dh);
            }
            expected.push((gates(t), slots));
        }
        expected.push((dstate(0), dh));
        if spec.states > 1 && parts.units.is_some() {
            expected.push((dstate(1), dc));
        }
    }
    expected
}

/// Checks phase by phase, then checks that one call over all time steps, with other weights in
/// registers, gives the same bits.
fn check_split(
    checker: &mut Checker,
    case: &str,
    recurrence: &RecurrenceCase,
    per_step: Bench,
    whole: Call,
    expected: &[&dyn Fn(&Snapshot) -> Expected],
) {
    let snapshots = checker.phases(case, &per_step, expected);
    let whole = checker.run_forward(&recurrence.with([(Phase::Forward, whole)]));
    for (one, other) in snapshots.iter().zip(&whole) {
        assert_same_bits(
            &format!("{} {case}, split in time", checker.kernel),
            one,
            other,
        );
    }
}

#[test]
fn scan_forward() {
    let mut checker = Checker::new("scan_forward");
    for options in options().into_iter().filter(scans) {
        let recurrence = RecurrenceCase::new(options, false);
        let layer = &recurrence.layer;
        let call = |begin, end| {
            Call::from(ScanForward {
                layer: layer.clone(),
                begin,
                end,
            })
        };
        let whole = ScanForward {
            layer: recurrence.held_elsewhere(),
            begin: 0,
            end: T,
        };
        let per_step = recurrence.with((0..T).map(|t| (Phase::ALL[t], call(t, t + 1))));
        let step = |t: usize| move |before: &Snapshot| forward(layer, before, t);
        check_split(
            &mut checker,
            &format!("{options:?}"),
            &recurrence,
            per_step,
            whole.into(),
            &[&step(0), &step(1), &step(2)],
        );
    }
}

#[test]
fn scan_backward() {
    let mut checker = Checker::new("scan_backward");
    for options in options().into_iter().filter(scans) {
        let recurrence = RecurrenceCase::new(options, true);
        let layer = &recurrence.layer;
        let call = |begin, end| {
            Call::from(ScanBackward {
                layer: layer.clone(),
                begin,
                end,
            })
        };
        let whole = ScanBackward {
            layer: recurrence.held_elsewhere(),
            begin: 0,
            end: T,
        };
        let per_step = recurrence.with((0..T).map(|n| (Phase::ALL[n], call(T - 1 - n, T - n))));
        let step = |t: usize| {
            move |before: &Snapshot| {
                backward(
                    layer,
                    before,
                    BackwardParts {
                        pending: None,
                        units: Some(t),
                        matmul: true,
                    },
                )
            }
        };
        check_split(
            &mut checker,
            &format!("{options:?}"),
            &recurrence,
            per_step,
            whole.into(),
            &[&step(2), &step(1), &step(0)],
        );
    }
}

#[test]
fn step_forward() {
    let mut checker = Checker::new("step_forward");
    for options in options() {
        let recurrence = RecurrenceCase::new(options, false);
        let layer = &recurrence.layer;
        let stages = (0..T).flat_map(|t| (0..layer.stages()).map(move |stage| (t, stage)));
        let bench = recurrence.with(stages.map(|(t, stage)| {
            (
                Phase::ALL[t],
                StepForward {
                    layer: layer.clone(),
                    t,
                    stage,
                }
                .into(),
            )
        }));
        let step = |t: usize| move |before: &Snapshot| forward(layer, before, t);
        checker.phases(
            &format!("{options:?}"),
            &bench,
            &[&step(0), &step(1), &step(2)],
        );
    }
}

#[test]
fn step_backward() {
    let mut checker = Checker::new("step_backward");
    for options in options() {
        let recurrence = RecurrenceCase::new(options, true);
        let layer = &recurrence.layer;
        let stages = (0..T).flat_map(|n| {
            let t = T - 1 - n;
            let stages = [BackwardStage::Units(t), BackwardStage::Middle(t)]
                .into_iter()
                .take(layer.stages());
            stages.map(move |stage| (Phase::ALL[n], stage))
        });
        let stages = stages.chain([(Phase::ALL[T], BackwardStage::End)]);
        let bench = recurrence.with(stages.map(|(phase, stage)| {
            (
                phase,
                StepBackward {
                    layer: layer.clone(),
                    stage,
                }
                .into(),
            )
        }));
        let step = |pending, units| {
            move |before: &Snapshot| {
                backward(
                    layer,
                    before,
                    BackwardParts {
                        pending,
                        units,
                        matmul: false,
                    },
                )
            }
        };
        let expected: [&dyn Fn(&Snapshot) -> Expected; T + 1] = [
            &step(None, Some(2)),
            &step(Some(2), Some(1)),
            &step(Some(1), Some(0)),
            &step(Some(0), None),
        ];
        checker.phases(&format!("{options:?}"), &bench, &expected);
    }
}

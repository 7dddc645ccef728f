//! Philox 4x32-10: a generator whose n-th number is a function of (key, counter), so that nothing needs to be
//! carried, two executors agree, and a resumed run draws what the undisturbed one would have.
//!
//! Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

/// What a stream of numbers is for; streams of one seed never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Initial values of parameter number n.
    Parameter(u32),
    /// The order of the training sequences in epoch n.
    Shuffle(u32),
    /// Where the windows of a series begin, in split number n.
    Windows(u32),
    /// Bytes of images that nobody took.
    Images,
    /// Dropout mask number n of a network; a kernel draws it, anew for each update.
    Dropout(u32),
    /// Which sequences are the test split.
    Split,
    /// What is sampled as sequence n.
    Sample(u32),
}

impl Stream {
    pub(crate) fn words(self) -> [u32; 2] {
        match self {
            Stream::Parameter(n) => [1, n],
            Stream::Shuffle(n) => [2, n],
            Stream::Windows(n) => [3, n],
            Stream::Images => [5, 0],
            Stream::Dropout(n) => [4, n],
            Stream::Split => [6, 0],
            Stream::Sample(n) => [7, n],
        }
    }
}

/// One block: four words from a counter of four and a key of two.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let multiply = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let (high0, low0) = multiply(0xD251_1F53, c0);
        let (high1, low1) = multiply(0xCD9E_8D57, c2);
        (c0, c1, c2, c3) = (high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// The numbers of one stream of one seed, in order.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u32; 2],
    stream: [u32; 2],
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Philox {
    /// The beginning of `stream`.
    pub fn new(seed: u64, stream: Stream) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        Philox {
            key,
            stream: stream.words(),
            block: 0,
            words: [0; 4],
            used: 4,
        }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let counter = [
                self.block as u32,
                (self.block >> 32) as u32,
                self.stream[0],
                self.stream[1],
            ];
            self.words = philox(counter, self.key);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// Normal with mean 0 and variance 1 (Box & Muller 1958).
    pub fn normal(&mut self) -> f64 {
        // In (0, 1], so that its logarithm is finite.
        let radius = f64::from(self.next_u32()) + 1.0;
        let angle = f64::from(self.next_u32());
        let turn = std::f64::consts::TAU / 4_294_967_296.0;
        (-2.0 * (radius / 4_294_967_296.0).ln()).sqrt() * (angle * turn).cos()
    }

    /// Normal with mean 0 and variance 1, drawn again where it lies beyond 2 (TensorFlow's `truncated_normal`).
    pub fn truncated_normal(&mut self) -> f64 {
        loop {
            let value = self.normal();
            if value.abs() <= 2.0 {
                return value;
            }
        }
    }

    /// Uniform in 0..n without bias (Lemire 2019).
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// 0..n in random order (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u32 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors ship with Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox(
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0]
            ),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn a_permutation_has_everything_once() {
        let mut order = Philox::new(7, Stream::Shuffle(0)).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &v)| i as u32 == v));
    }

    #[test]
    fn a_truncated_normal_stays_within_two_standard_deviations() {
        let mut random = Philox::new(3, Stream::Parameter(0));
        let values: Vec<f64> = (0..100_000).map(|_| random.truncated_normal()).collect();
        assert!(values.iter().all(|value| value.abs() <= 2.0));
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64;
        // 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737; both estimates have a standard error of about 0.003.
        assert!(mean.abs() < 0.012, "{mean}");
        assert!((variance - 0.7737).abs() < 0.012, "{variance}");
    }

    #[test]
    fn streams_and_seeds_differ() {
        let first = |seed, stream| Philox::new(seed, stream).next_u32();
        assert_ne!(first(1, Stream::Shuffle(0)), first(1, Stream::Shuffle(1)));
        assert_ne!(first(1, Stream::Shuffle(0)), first(1, Stream::Parameter(0)));
        assert_ne!(first(1, Stream::Shuffle(0)), first(2, Stream::Shuffle(0)));
    }
}

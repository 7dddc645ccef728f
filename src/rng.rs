//! Philox 4x32-10, a counter-based random number generator: its n-th output is a function of a key
//! (the seed) and a counter. There is no state to store, all executors generate the same values,
//! and a resumed run generates those of an uninterrupted one.
//!
//! Salmon, Moraes, Dror and Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
//! doi:10.1145/2063384.2063405. `shaders/common/rng.wgsl` is the same generator.

/// The purpose of a stream of random values; streams of one seed never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Initial values of the parameter at index n.
    Parameter(u32),
    /// The order of the training sequences in epoch n.
    Shuffle(u32),
    /// Beginnings of the windows of a series, in the split at index n.
    Windows(u32),
    /// Synthetic images.
    Images,
    /// The dropout mask at index n of a network; a kernel generates a new one for each update.
    Dropout(u32),
    /// The assignment of sequences to the test split.
    Split,
    /// The hyperparameters of the trial at index n of a search.
    Tune(u32),
    /// Tokens sampled for the sequence at index n.
    Sample(u32),
    /// Strings of images, in the split at index n.
    Strings(u32),
}

impl Stream {
    /// The upper half of the counter.
    pub(crate) fn words(self) -> [u32; 2] {
        match self {
            Stream::Parameter(n) => [1, n],
            Stream::Shuffle(n) => [2, n],
            Stream::Windows(n) => [3, n],
            Stream::Images => [5, 0],
            Stream::Dropout(n) => [4, n],
            Stream::Split => [6, 0],
            Stream::Sample(n) => [7, n],
            Stream::Tune(n) => [20, n],
            Stream::Strings(n) => [11, n],
        }
    }
}

/// Returns the block of four words for a counter of four words and a key of two.
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

/// The generator of one stream of one seed.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u32; 2],
    stream: [u32; 2],
    /// Index of the next block, the lower half of the counter.
    block: u64,
    /// The current block.
    words: [u32; 4],
    /// Words of the current block that have been returned.
    used: usize,
}

impl Philox {
    /// A generator at the beginning of `stream`.
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

    /// The next 32 random bits.
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

    /// A value uniform in [0, 1), a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// A value of the normal distribution with mean 0 and variance 1, by the transform of Box and
    /// Muller (1958).
    pub fn normal(&mut self) -> f64 {
        // The radius is in (0, 1], so its logarithm is finite.
        let radius = f64::from(self.next_u32()) + 1.0;
        let angle = f64::from(self.next_u32());
        let turn = std::f64::consts::TAU / 4_294_967_296.0;
        (-2.0 * (radius / 4_294_967_296.0).ln()).sqrt() * (angle * turn).cos()
    }

    /// A value of the standard normal distribution truncated to [-2, 2], by rejection (TensorFlow's
    /// `truncated_normal`).
    pub fn truncated_normal(&mut self) -> f64 {
        loop {
            let value = self.normal();
            if value.abs() <= 2.0 {
                return value;
            }
        }
    }

    /// An integer uniform in 0..n, without bias (Lemire, 2019).
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// A random permutation of 0..n (Fisher-Yates shuffle).
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

    /// The known-answer tests of the authors' Random123 library (`kat_vectors`, philox4x32 10).
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
    fn a_permutation_has_each_index_once() {
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
        // 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737; both estimates have a standard error of about
        // 0.003.
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

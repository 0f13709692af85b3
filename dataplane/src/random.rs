//! Hashes and random numbers that are cheap, and that nobody foresees who does not know the key or seed. Not for secrets: who sees the
//! results finds the key.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A seed that is random for all who are outside.
pub(crate) fn seed() -> u64 {
    // The standard library's source of randomness for hash tables, which is just what this is.
    RandomState::new().build_hasher().finish()
}

/// Folds two words into one: a multiplication of 64 to 128 bits makes each bit of the result hang on all of both (as wyhash and foldhash do).
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Random numbers that are good enough to shuffle with (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// A keyed hash of a few bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BytesHasher {
    keys: [u64; 3],
}

impl BytesHasher {
    /// Keyed by `seed`.
    pub(crate) fn new(seed: u64) -> BytesHasher {
        let mut random = Random::new(seed);
        BytesHasher { keys: [(); 3].map(|()| random.next()) }
    }

    /// The hash of the first `most` of `bytes`, and of their number.
    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8], most: usize) -> u64 {
        let [a, b, c] = self.keys;
        let (chunks, rest) = bytes[..bytes.len().min(most)].as_chunks::<16>();
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let step = |hash, chunk: &[u8; 16]| {
            let all = u128::from_ne_bytes(*chunk);
            fold(all as u64 ^ a, (all >> 64) as u64 ^ hash)
        };
        let hash = step(chunks.iter().fold(b, step), &last);
        fold(hash ^ c, bytes.len() as u64 ^ a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let hasher = BytesHasher::new(7);
        let frame = [0x5a; 100];
        let mut seen =
            std::collections::BTreeSet::from([hasher.hash(&frame, 100), hasher.hash(&frame[..99], 100)]);
        for bit in 0..800 {
            let mut other = frame;
            other[bit / 8] ^= 1 << (bit % 8);
            seen.insert(hasher.hash(&other, 100));
        }
        seen.extend((0..20).map(|len| hasher.hash(&vec![0; len], 4)));
        assert_eq!(seen.len(), 2 + 800 + 20);
        assert_ne!(hasher.hash(&frame, 100), BytesHasher::new(8).hash(&frame, 100));
        let other = [&frame[..50], &[0; 50]].concat();
        assert_eq!(hasher.hash(&frame, 50), hasher.hash(&other, 50));
    }

    #[test]
    fn all_parts_of_the_hash_are_spread() {
        let hasher = BytesHasher::new(7);
        for shift in [0, 24, 54] {
            let mut places = [0u32; 1024];
            (0..102_400u32)
                .for_each(|n| places[(hasher.hash(&n.to_be_bytes(), 4) >> shift) as usize % 1024] += 1);
            let (least, most) = (places.iter().min().unwrap(), places.iter().max().unwrap());
            assert!(*least > 50 && *most < 160, "100 are expected: {least} to {most} at bit {shift}");
        }
    }
}

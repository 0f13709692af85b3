//! How many ports endpoints have towards remotes, so that none has them all (`session/choose.rs`).
//!
//! Bound: one array of counters, in which every pair of an endpoint and a remote has a place by its keyed hash. A count is never too low. It
//! is too high by what others in its place have, which is a handful with sessions of a quarter of a million, and matters at half of
//! all ports only; nobody can aim at another's place.

const PLACES: usize = 1 << 15;

/// The counters: 128 KiB.
#[derive(Debug)]
pub(super) struct Shares(Box<[u32]>);

impl Default for Shares {
    fn default() -> Self {
        Shares(vec![0; PLACES].into())
    }
}

impl Shares {
    /// How many ports there are of this hash.
    #[inline]
    pub(super) fn count(&self, hash: u32) -> u32 {
        self.0[hash as usize % PLACES]
    }

    /// One more.
    #[inline]
    pub(super) fn add(&mut self, hash: u32) {
        self.0[hash as usize % PLACES] += 1;
    }

    /// One less of those that were added.
    #[inline]
    pub(super) fn take(&mut self, hash: u32) {
        let count = &mut self.0[hash as usize % PLACES];
        *count = count.saturating_sub(1);
    }
}

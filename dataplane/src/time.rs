//! Time is an argument: the core reads no clock.

use core::ops::Add;
use core::time::Duration;

/// Milliseconds since some fixed moment (the engine's start). Workers read the clock once a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    millis: u64,
}

impl Timestamp {
    /// The fixed moment itself.
    pub const ZERO: Timestamp = Timestamp { millis: 0 };

    /// `millis` milliseconds after the fixed moment.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// `secs` seconds after the fixed moment.
    pub const fn from_secs(secs: u64) -> Self {
        Self { millis: secs * 1000 }
    }

    /// Milliseconds since the fixed moment.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.millis.saturating_sub(earlier.millis))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, delay: Duration) -> Timestamp {
        let delay_millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Timestamp { millis: self.millis.saturating_add(delay_millis) }
    }
}

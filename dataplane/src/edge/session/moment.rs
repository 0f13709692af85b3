//! Time in half the space: every session remembers when it was last seen.

use core::time::Duration;

use crate::time::Timestamp;

/// How many milliseconds a unit of [`Moment`] has.
const UNIT_MILLIS: u64 = 64;
/// How many units an epoch has: about 4 s.
const EPOCH_UNITS: u32 = 64;

/// A time in units of 64 ms since the engine's start: 8.7 years fit; later, time stands still and nothing expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u32);

impl Moment {
    /// The engine's start.
    pub(crate) const START: Moment = Moment(0);
    /// How long an epoch is.
    #[cfg(test)]
    pub(crate) const EPOCH: Duration = Duration::from_millis(UNIT_MILLIS * EPOCH_UNITS as u64);

    /// The unit that `time` falls into.
    #[inline]
    pub(crate) fn at(time: Timestamp) -> Moment {
        Moment(u32::try_from(time.as_millis() / UNIT_MILLIS).unwrap_or(u32::MAX))
    }

    /// The first moment that surely is `duration` later, wherever in its unit this one was.
    #[inline]
    pub(crate) fn after(self, duration: Duration) -> Moment {
        let units = duration.as_millis().div_ceil(u128::from(UNIT_MILLIS)) + 1;
        Moment(self.0.saturating_add(u32::try_from(units).unwrap_or(u32::MAX)))
    }

    /// How long ago `earlier` was, to the unit; zero when it lies ahead.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(UNIT_MILLIS * u64::from(self.0.saturating_sub(earlier.0)))
    }

    /// Whether both fall into one epoch.
    #[inline]
    pub(crate) fn same_epoch(self, other: Moment) -> bool {
        self.0 / EPOCH_UNITS == other.0 / EPOCH_UNITS
    }

    /// When the unit begins.
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(UNIT_MILLIS * u64::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_never_early_and_hardly_late(start in 0..u64::MAX / 1_000_000, wait in 0..100_000_000u64) {
            let start = start % (8 * 365 * 86_400_000);
            let due = Moment::at(Timestamp::from_millis(start)).after(Duration::from_millis(wait)).timestamp();
            let waited = due.since(Timestamp::from_millis(start)).as_millis() as u64;
            prop_assert!(waited >= wait);
            prop_assert!(waited <= wait + 2 * UNIT_MILLIS);
        }
    }
}

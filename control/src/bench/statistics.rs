//! Medians, and how sure they are: pure functions, without any assumption about how measurements are distributed.
//!
//! The confidence interval of a median is that of the sign test turned round (order statistics): of n independent measurements as many
//! lie above the true median as heads fall in n throws of a coin, so the chance that it lies between two of them is a sum of binomial
//! coefficients. The interval is exact for any distribution, and says with few measurements how little they prove.

/// What an interval should cover at least.
pub const CONFIDENCE: f64 = 0.95;

/// The method, in words.
pub const METHOD: &str =
    "the median of the rounds' ratios, in the sign test's interval of 95 % or what the rounds allow";

/// Median, smallest and largest of some measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Where the true median is, with a confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The chance that an interval made like this one holds the true median, from 0 to 1.
    pub confidence: f64,
}

/// How much larger one thing is than another, by pairs that were measured in the same round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The median of the pairs' ratios.
    pub median: f64,
    /// Where the true one is.
    pub interval: Interval,
    /// How many pairs there were.
    pub pairs: usize,
}

/// Of finite measurements; none when there is none.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let sorted = sorted(values);
    Some(Spread { median: middle(&sorted)?, min: *sorted.first()?, max: *sorted.last()? })
}

/// The value below which that part of `sorted` lies (nearest rank); none when it is empty.
pub fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// The narrowest interval of two measurements that covers `confidence`, or the widest when none does; none without measurements.
pub fn interval_of_median(values: &[f64], confidence: f64) -> Option<Interval> {
    let sorted = sorted(values);
    let n = sorted.len();
    let covers = |cut: usize| 1.0 - 2.0 * fewer_heads_than(cut, n);
    // Cutting away `cut - 1` measurements at either end.
    let cut = (2..=n.div_ceil(2)).take_while(|cut| covers(*cut) >= confidence).last().unwrap_or(1);
    let (low, high) = (*sorted.get(cut - 1)?, *sorted.get(n.checked_sub(cut)?)?);
    Some(Interval { low, high, confidence: covers(cut).max(0.0) })
}

/// How much larger `these` are than `those`. A round in which either failed, or was not positive, counts for neither.
pub fn paired_ratio(these: &[Option<f64>], those: &[Option<f64>]) -> Option<Ratio> {
    let log = |(this, that): (&Option<f64>, &Option<f64>)| {
        let ratio = this.filter(|v| *v > 0.0)? / that.filter(|v| *v > 0.0)?;
        ratio.is_finite().then(|| ratio.ln())
    };
    let logs: Vec<f64> = these.iter().zip(those).filter_map(log).collect();
    let interval = interval_of_median(&logs, CONFIDENCE)?;
    let interval = Interval { low: interval.low.exp(), high: interval.high.exp(), ..interval };
    Some(Ratio { median: spread(&logs)?.median.exp(), interval, pairs: logs.len() })
}

/// The chance that fewer than `cut` of `throws` throws of a coin fall heads.
fn fewer_heads_than(cut: usize, throws: usize) -> f64 {
    let mut chance = 0.5f64.powi(throws.try_into().unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for heads in 0..cut.min(throws + 1) {
        sum += chance;
        chance *= (throws - heads) as f64 / (heads + 1) as f64;
    }
    sum
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted.get(half - 1)? + upper) / 2.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None);
        assert_eq!(spread(&[3.0, 1.0, 7.0]), Some(Spread { median: 3.0, min: 1.0, max: 7.0 }));
        assert_eq!(spread(&[4.0, 1.0, 3.0, 8.0]), Some(Spread { median: 3.5, min: 1.0, max: 8.0 }));
    }

    #[test]
    fn quantiles_are_measurements() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let quantiles = [0.0, 0.5, 0.99, 0.999, 1.0].map(|part| quantile(&hundred, part));
        assert_eq!(quantiles, [1.0, 50.0, 99.0, 100.0, 100.0].map(Some));
        assert_eq!(quantile(&[], 0.5), None);
    }

    /// By hand: 1 - 2/2^n for the ends, and for the next ones 1 - 2 (1 + n)/2^n.
    #[test]
    fn intervals_cover_what_binomials_say() {
        let of = |n: u32| interval_of_median(&(1..=n).map(f64::from).collect::<Vec<_>>(), 0.95).unwrap();
        assert_eq!(of(1), Interval { low: 1.0, high: 1.0, confidence: 0.0 });
        assert_eq!(of(5), Interval { low: 1.0, high: 5.0, confidence: 0.9375 });
        assert_eq!(of(6), Interval { low: 1.0, high: 6.0, confidence: 0.96875 });
        let (eight, nine) = (of(8), of(9));
        assert_eq!((eight.low, eight.high), (1.0, 8.0));
        assert_eq!((nine.low, nine.high, nine.confidence), (2.0, 8.0, 1.0 - 20.0 / 512.0));
        assert_eq!(interval_of_median(&[], 0.95), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is three times as fast in every second round; the ratio is not.
        let those = [1.0, 3.0, 1.0, 3.0, 1.0, 3.0].map(Some);
        let these = those.map(|value| value.map(|v| v * 2.0));
        let ratio = paired_ratio(&these, &those).unwrap();
        assert!((ratio.median - 2.0).abs() < 1e-12 && (ratio.interval.high - 2.0).abs() < 1e-12, "{ratio:?}");
        assert_eq!(ratio.pairs, 6);
    }

    #[test]
    fn rounds_that_failed_are_left_out() {
        let ratio = paired_ratio(
            &[Some(2.0), None, Some(0.0), Some(6.0)],
            &[Some(1.0), Some(1.0), Some(1.0), Some(3.0)],
        );
        assert_eq!(ratio.map(|ratio| ratio.pairs), Some(2));
        assert_eq!(paired_ratio(&[None], &[Some(1.0)]), None);
    }

    proptest! {
        #[test]
        fn the_median_is_in_its_interval(values in prop::collection::vec(-1e6f64..1e6, 1..40)) {
            let (spread, interval) = (spread(&values).unwrap(), interval_of_median(&values, CONFIDENCE).unwrap());
            prop_assert!(interval.low <= spread.median && spread.median <= interval.high);
            prop_assert!(spread.min <= interval.low && interval.high <= spread.max);
            prop_assert!(values.len() < 6 || interval.confidence >= CONFIDENCE);
            prop_assert!(interval.confidence < 1.0);
        }

        #[test]
        fn order_does_not_matter(values in prop::collection::vec(-1e6f64..1e6, 1..20)) {
            let reversed: Vec<f64> = values.iter().rev().copied().collect();
            prop_assert_eq!(interval_of_median(&values, CONFIDENCE), interval_of_median(&reversed, CONFIDENCE));
            prop_assert_eq!(spread(&values), spread(&reversed));
        }

        #[test]
        fn turned_round_a_ratio_is_its_inverse(pairs in prop::collection::vec((0.01f64..100.0, 0.01f64..100.0), 1..20)) {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().map(|(a, b)| (Some(a), Some(b))).unzip();
            let (there, back) = (paired_ratio(&a, &b).unwrap(), paired_ratio(&b, &a).unwrap());
            prop_assert!((there.median * back.median - 1.0).abs() < 1e-9);
            prop_assert!((there.interval.low * back.interval.high - 1.0).abs() < 1e-9);
        }

        /// What 0.95 means: of many medians that are guessed from samples of a known distribution about that many are caught.
        #[test]
        fn intervals_catch_the_true_median_as_often_as_they_say(seed in any::<u64>()) {
            let mut state = seed | 1;
            let mut uniform = || {
                // xorshift64 (Marsaglia 2003)
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            let caught = (0..2000).filter(|_| {
                let sample: Vec<f64> = (0..7).map(|_| uniform().powi(3)).collect();
                let interval = interval_of_median(&sample, CONFIDENCE).unwrap();
                interval.low <= 0.125 && 0.125 <= interval.high
            });
            // 0.984 of them; seven standard deviations of slack.
            prop_assert!(caught.count() >= 1928);
        }
    }
}

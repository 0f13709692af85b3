//! What measurements prove, beside a machine that is not as fast now as it was a moment ago.
//!
//! The baseline is measured twice in every round (A/A): the two should be alike, so what lies between them is the machine's drift. A
//! difference that is not larger than that is not called one.

use serde::{Deserialize, Serialize};

use super::statistics::Ratio;

/// With less confidence than this nothing is said: five rounds reach it, four do not.
pub const LEAST_CONFIDENCE: f64 = 0.9;
/// Within this factor two things are alike, when it is sure that they are.
pub const ALIKE: f64 = 1.1;

/// What of two figures is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The larger one: a rate.
    More,
    /// The smaller one: a time.
    Less,
}

/// How one contender compares with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is better, by more than the machine drifts.
    Ahead,
    /// It is worse, by more than the machine drifts.
    Behind,
    /// The two are alike within [`ALIKE`].
    Tie,
    /// Neither a difference nor a likeness is sure.
    TooNoisy,
    /// Fewer rounds than could ever be sure.
    TooFewRounds,
}

impl Verdict {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Ahead => "ahead",
            Verdict::Behind => "behind",
            Verdict::Tie => "tie",
            Verdict::TooNoisy => "too noisy",
            Verdict::TooFewRounds => "too few rounds",
        }
    }
}

/// The factor that measurements of one and the same thing lie apart, from 1 on: the far end of the interval of `control`, which is the
/// ratio of the baseline to itself.
pub fn drift(control: &Ratio) -> f64 {
    control.interval.high.max(1.0 / control.interval.low).max(1.0)
}

/// What `ratio` proves on a machine that drifts by the factor `drift`.
pub fn verdict(ratio: &Ratio, drift: f64, better: Better) -> Verdict {
    let (low, high) = (ratio.interval.low, ratio.interval.high);
    if ratio.interval.confidence < LEAST_CONFIDENCE {
        return Verdict::TooFewRounds;
    }
    let differs = low > 1.0 || high < 1.0;
    let difference = ratio.median.max(1.0 / ratio.median);
    if differs && difference > drift {
        let is_larger = ratio.median > 1.0;
        return if is_larger == (better == Better::More) { Verdict::Ahead } else { Verdict::Behind };
    }
    let alike = low >= 1.0 / ALIKE && high <= ALIKE && drift <= ALIKE;
    if alike { Verdict::Tie } else { Verdict::TooNoisy }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bench::statistics::{Interval, paired_ratio};

    fn ratio(low: f64, median: f64, high: f64) -> Ratio {
        Ratio { median, interval: Interval { low, high, confidence: 0.96875 }, pairs: 6 }
    }

    #[test]
    fn a_difference_beyond_the_drift_is_called_by_what_is_better() {
        let half = ratio(0.45, 0.5, 0.55);
        assert_eq!(verdict(&half, 1.05, Better::More), Verdict::Behind);
        assert_eq!(verdict(&half, 1.05, Better::Less), Verdict::Ahead);
    }

    #[test]
    fn a_machine_that_drifts_more_than_the_difference_has_no_say() {
        let faster = ratio(1.1, 1.2, 1.3);
        assert_eq!(verdict(&faster, 1.19, Better::More), Verdict::Ahead);
        assert_eq!(verdict(&faster, 1.21, Better::More), Verdict::TooNoisy);
    }

    #[test]
    fn alike_is_a_claim_as_well() {
        assert_eq!(verdict(&ratio(0.95, 1.0, 1.05), 1.05, Better::More), Verdict::Tie);
        assert_eq!(verdict(&ratio(0.7, 1.0, 1.4), 1.05, Better::More), Verdict::TooNoisy);
        assert_eq!(verdict(&ratio(0.95, 1.0, 1.05), 1.3, Better::More), Verdict::TooNoisy);
        // Sure, small, and less than the drift.
        assert_eq!(verdict(&ratio(1.01, 1.02, 1.03), 1.05, Better::More), Verdict::Tie);
    }

    #[test]
    fn few_rounds_prove_nothing() {
        let of = |rounds| paired_ratio(&vec![Some(9.0); rounds], &vec![Some(1.0); rounds]).unwrap();
        assert_eq!(verdict(&of(4), 1.0, Better::More), Verdict::TooFewRounds);
        assert_eq!(verdict(&of(5), 1.0, Better::More), Verdict::Ahead);
    }

    #[test]
    fn drift_is_the_worse_end() {
        assert_eq!(drift(&ratio(0.5, 1.0, 1.2)), 2.0);
        assert_eq!(drift(&ratio(0.9, 1.0, 1.5)), 1.5);
    }

    proptest! {
        #[test]
        fn whoever_is_ahead_the_other_is_behind(
            low in 0.1f64..10.0, up in 1.0f64..3.0, more in 1.0f64..3.0, drift in 1.0f64..3.0,
        ) {
            let there = ratio(low, low * up, low * up * more);
            let back = ratio(1.0 / (low * up * more), 1.0 / (low * up), 1.0 / low);
            let opposite = match verdict(&there, drift, Better::More) {
                Verdict::Ahead => Verdict::Behind,
                Verdict::Behind => Verdict::Ahead,
                same => same,
            };
            // Where rounding does not tip the balance.
            prop_assume!(((low * up).max(1.0 / (low * up)) - drift).abs() > 1e-6);
            prop_assume!((low - 1.0 / ALIKE).abs() > 1e-6 && (low * up * more - ALIKE).abs() > 1e-6);
            prop_assert_eq!(verdict(&back, drift, Better::More), opposite);
        }

        #[test]
        fn more_drift_never_makes_a_claim(low in 0.1f64..10.0, up in 1.0f64..3.0, drift in 1.0f64..3.0, more in 0.0f64..1.0) {
            let ratio = ratio(low, low * up, low * up * up);
            let (calm, rough) = (verdict(&ratio, drift, Better::More), verdict(&ratio, drift + more, Better::More));
            prop_assert!(rough == calm || rough == Verdict::TooNoisy || rough == Verdict::Tie, "{calm:?} {rough:?}");
        }
    }
}

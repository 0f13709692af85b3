//! What changed between two runs.
//!
//! The speed of a machine changes from one run to the next, so it is ratios to somebody who was measured in the same rounds that are
//! held against each other. A change is one that intervals agree on: the new one leaves the old one out altogether. Figures that
//! are compared with nobody (memory, idle processor time, or pontoon measured alone) are held against each other by their ranges,
//! where machine and length of the measurements are the same. Fewer rounds than prove anything prove no change either.

use serde::Serialize;

use super::document::{Comparison, Document, Figures};
use super::noise::{Better, LEAST_CONFIDENCE};

/// All that can be held against each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differences {
    /// What else was not the same, a sentence each.
    pub unlike: Vec<String>,
    /// Of some figures one run had fewer rounds than could prove a change.
    pub too_few_rounds: bool,
    /// Every figure that both runs have.
    pub changes: Vec<Change>,
}

/// One figure, then and now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The scenario's name.
    pub scenario: String,
    /// The metric's key.
    pub key: String,
    /// The metric for people.
    pub title: String,
    /// Beside whom the subject was measured; none when it is the subject's own figure.
    pub beside: Option<String>,
    /// The first run's.
    pub old: Range,
    /// The second run's.
    pub new: Range,
    /// What became of it.
    pub became: Became,
}

/// A figure with what it may be as well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The median.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How a figure changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// For the worse.
    Worse,
    /// For the better.
    Better,
    /// It is another one, of which nobody says what is better.
    Other,
    /// Nothing that could be shown.
    Same,
}

/// What changed from `old` to `new`.
pub fn compare(old: &Document, new: &Document) -> Differences {
    let unlike = unlike(old, new);
    let ranges_count = unlike.is_empty();
    let (mut changes, mut too_few_rounds) = (Vec::new(), false);
    for outcome in &new.scenarios {
        let Some(before) = old.scenarios.iter().find(|it| it.name == outcome.name) else { continue };
        for figures in &outcome.metrics {
            let Some(before) = before.metrics.iter().find(|it| it.key == figures.key) else { continue };
            let mut of = ratios(before, figures);
            if of.is_empty() && ranges_count {
                of.extend(own(before, figures, &new.settings.subject));
            }
            too_few_rounds |= of.iter().any(|it| it.confidence < LEAST_CONFIDENCE);
            changes.extend(of.into_iter().map(|Pair { beside, old, new, confidence }| Change {
                scenario: outcome.name.clone(),
                key: figures.key.clone(),
                title: format!("{}, {}", figures.title, figures.unit),
                became: became(old, new, confidence, figures.better),
                beside,
                old,
                new,
            }));
        }
    }
    Differences { unlike, too_few_rounds, changes }
}

/// A figure of both runs.
struct Pair {
    beside: Option<String>,
    old: Range,
    new: Range,
    /// Of the range that is less sure, from 0 to 1.
    confidence: f64,
}

/// The subject by each peer that both runs have.
fn ratios(old: &Figures, new: &Figures) -> Vec<Pair> {
    let pair = |new: &Comparison| {
        let old = old.comparisons.iter().find(|it| it.peer == new.peer)?;
        let range = |it: &Comparison| Range { median: it.ratio, low: it.low, high: it.high };
        let confidence = old.confidence.min(new.confidence);
        Some(Pair { beside: Some(new.peer.clone()), old: range(old), new: range(new), confidence })
    };
    new.comparisons.iter().filter_map(pair).collect()
}

/// The subject's own figure.
fn own(old: &Figures, new: &Figures, subject: &str) -> Option<Pair> {
    let range = |figures: &Figures| {
        let series = figures.of.iter().find(|it| it.contender == subject)?;
        let range = Range { median: series.median?, low: series.min?, high: series.max? };
        Some((range, series.rounds.iter().flatten().count() as i32))
    };
    let ((old, old_rounds), (new, new_rounds)) = (range(old)?, range(new)?);
    // The whole range holds the median unless all rounds are on one side of it.
    let confidence = 1.0 - 2f64.powi(1 - old_rounds.min(new_rounds));
    Some(Pair { beside: None, old, new, confidence })
}

fn became(old: Range, new: Range, confidence: f64, better: Option<Better>) -> Became {
    let (more, less) = (new.low > old.high, new.high < old.low);
    match better {
        _ if confidence < LEAST_CONFIDENCE || (!more && !less) => Became::Same,
        None => Became::Other,
        Some(better) if more == (better == Better::More) => Became::Better,
        Some(_) => Became::Worse,
    }
}

fn unlike(old: &Document, new: &Document) -> Vec<String> {
    let of = |document: &Document| {
        [
            ("kernel", document.machine.kernel.clone()),
            ("processor", document.machine.cpu.clone()),
            ("number of processors", document.machine.cpus.to_string()),
            ("build", document.build.clone()),
            ("seconds of a measurement", document.settings.seconds.to_string()),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new));
    let differ = pairs.filter(|(old, new)| old.1 != new.1);
    differ.map(|(old, new)| format!("the {} was {} and is {}", old.0, old.1, new.1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Five rounds.
    const SURE: f64 = 0.9375;

    fn range(low: f64, high: f64) -> Range {
        Range { median: (low + high) / 2.0, low, high }
    }

    #[test]
    fn ranges_that_touch_are_no_change() {
        assert_eq!(became(range(1.0, 2.0), range(2.0, 3.0), SURE, Some(Better::More)), Became::Same);
        assert_eq!(became(range(1.0, 2.0), range(2.1, 3.0), SURE, Some(Better::More)), Became::Better);
        assert_eq!(became(range(1.0, 2.0), range(2.1, 3.0), SURE, Some(Better::Less)), Became::Worse);
        assert_eq!(became(range(1.0, 2.0), range(0.1, 0.3), SURE, Some(Better::Less)), Became::Better);
        assert_eq!(became(range(1.0, 2.0), range(0.1, 0.3), SURE, None), Became::Other);
    }

    #[test]
    fn four_rounds_prove_no_change() {
        assert_eq!(became(range(1.0, 2.0), range(2.1, 3.0), 0.875, Some(Better::More)), Became::Same);
    }

    proptest! {
        #[test]
        fn backwards_it_is_the_opposite(a in 0.1f64..9.0, b in 0.0f64..1.0, c in 0.1f64..9.0, d in 0.0f64..1.0) {
            let (old, new) = (range(a, a + b), range(c, c + d));
            let opposite = match became(old, new, SURE, Some(Better::Less)) {
                Became::Better => Became::Worse,
                Became::Worse => Became::Better,
                same => same,
            };
            prop_assert_eq!(became(new, old, SURE, Some(Better::Less)), opposite);
        }
    }
}

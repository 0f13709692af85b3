//! What changed between two runs.
//!
//! The speed of a machine changes from one run to the next, so it is ratios to somebody who was measured in the same rounds that are
//! held against each other. A change is one that intervals agree on: the new one leaves the old one out altogether. Figures that
//! are compared with nobody (memory, idle processor time, or pontoon measured alone) are held against each other by their ranges,
//! where machine and length of the measurements are the same.

use serde::Serialize;

use super::document::{Comparison, Document, Figures};
use super::noise::Better;

/// All that can be held against each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differences {
    /// What else was not the same, a sentence each.
    pub unlike: Vec<String>,
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
    let mut changes = Vec::new();
    for outcome in &new.scenarios {
        let Some(before) = old.scenarios.iter().find(|it| it.name == outcome.name) else { continue };
        for figures in &outcome.metrics {
            let Some(before) = before.metrics.iter().find(|it| it.key == figures.key) else { continue };
            let mut of = ratios(before, figures);
            if of.is_empty() && ranges_count {
                of.extend(own(before, figures, &new.settings.subject));
            }
            changes.extend(of.into_iter().map(|(beside, old, new)| Change {
                scenario: outcome.name.clone(),
                key: figures.key.clone(),
                title: format!("{}, {}", figures.title, figures.unit),
                became: became(old, new, figures.better),
                beside,
                old,
                new,
            }));
        }
    }
    Differences { unlike, changes }
}

type Pair = (Option<String>, Range, Range);

/// The subject by each peer that both runs have.
fn ratios(old: &Figures, new: &Figures) -> Vec<Pair> {
    let pair = |new: &Comparison| {
        let old = old.comparisons.iter().find(|it| it.peer == new.peer)?;
        let range = |it: &Comparison| Range { median: it.ratio, low: it.low, high: it.high };
        Some((Some(new.peer.clone()), range(old), range(new)))
    };
    new.comparisons.iter().filter_map(pair).collect()
}

/// The subject's own figure.
fn own(old: &Figures, new: &Figures, subject: &str) -> Option<Pair> {
    let range = |figures: &Figures| {
        let series = figures.of.iter().find(|it| it.contender == subject)?;
        Some(Range { median: series.median?, low: series.min?, high: series.max? })
    };
    Some((None, range(old)?, range(new)?))
}

fn became(old: Range, new: Range, better: Option<Better>) -> Became {
    let (more, less) = (new.low > old.high, new.high < old.low);
    match better {
        _ if !more && !less => Became::Same,
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

    fn range(low: f64, high: f64) -> Range {
        Range { median: (low + high) / 2.0, low, high }
    }

    #[test]
    fn ranges_that_touch_are_no_change() {
        assert_eq!(became(range(1.0, 2.0), range(2.0, 3.0), Some(Better::More)), Became::Same);
        assert_eq!(became(range(1.0, 2.0), range(2.1, 3.0), Some(Better::More)), Became::Better);
        assert_eq!(became(range(1.0, 2.0), range(2.1, 3.0), Some(Better::Less)), Became::Worse);
        assert_eq!(became(range(1.0, 2.0), range(0.1, 0.3), Some(Better::Less)), Became::Better);
        assert_eq!(became(range(1.0, 2.0), range(0.1, 0.3), None), Became::Other);
    }

    proptest! {
        #[test]
        fn backwards_it_is_the_opposite(a in 0.1f64..9.0, b in 0.0f64..1.0, c in 0.1f64..9.0, d in 0.0f64..1.0) {
            let (old, new) = (range(a, a + b), range(c, c + d));
            let opposite = match became(old, new, Some(Better::Less)) {
                Became::Better => Became::Worse,
                Became::Worse => Became::Better,
                same => same,
            };
            prop_assert_eq!(became(new, old, Some(Better::Less)), opposite);
        }
    }
}

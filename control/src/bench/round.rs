//! Rounds: everybody is measured in every round, one after the other (A B A C, B A C A, ...), so that a machine whose speed drifts
//! tilts nobody's figures, and ratios are taken within a round.

use super::contender::{Contender, SUBJECT};
use super::document::{Comparison, Curve, Figures, Note, Outcome, Series};
use super::lab::{Lab, Site};
use super::noise::{drift, verdict};
use super::scenario::{Measurement, Metric, QUANTILES, Scenario};
use super::statistics::{paired_ratio, spread};
use super::traffic::{Time, tcp};

/// What is to be run.
pub(super) struct Plan<'a> {
    pub scenarios: &'a [Scenario],
    /// Those who take part; the first is the baseline.
    pub contenders: &'a [Box<dyn Contender>],
    pub rounds: usize,
    pub time: Time,
}

/// Whoever looks on.
pub(super) trait Spectator {
    /// Something begins that takes a while.
    fn now(&self, what: &str);
    /// That many measurements are over, or will not be made.
    fn done(&self, measurements: usize);
}

impl Plan<'_> {
    /// How many measurements there are at most.
    pub(super) fn measurements(&self) -> usize {
        self.scenarios.len() * self.per_scenario()
    }

    fn per_scenario(&self) -> usize {
        self.rounds * (self.contenders.len() + 1)
    }

    /// Runs it all. What fails is told in the outcome.
    pub(super) fn run(&self, spectator: &dyn Spectator) -> Vec<Outcome> {
        let known = tcp::congestion_controls();
        let lacks =
            |scenario: &Scenario| scenario.congestion.filter(|it| !known.iter().any(|known| known == it));
        let mut outcomes = Vec::new();
        // Those of one site share its labs.
        for of_a_site in self.scenarios.chunk_by(|a, b| a.site == b.site) {
            let mut labs = None;
            for scenario in of_a_site {
                let lacking = lacks(scenario);
                outcomes.push(if let Some(congestion) = lacking {
                    spectator.done(self.per_scenario());
                    absent(scenario, congestion)
                } else {
                    let labs = labs.get_or_insert_with(|| self.build(scenario.site, spectator));
                    self.measure(scenario, labs, spectator)
                });
            }
        }
        outcomes
    }

    /// A lab of each contender, or why there is none.
    fn build(&self, site: Site, spectator: &dyn Spectator) -> Vec<Result<Lab, String>> {
        let build = |contender: &dyn Contender| {
            if let Some(reason) = contender.unfit_for(site) {
                return Err(reason.to_owned());
            }
            let outside = if site.outside { " and an outside" } else { "" };
            spectator.now(&format!("{}: building {} sandboxes{outside}", contender.name(), site.sandboxes));
            Lab::build(contender, site).map_err(|error| error.to_string())
        };
        self.contenders.iter().map(|contender| build(contender.as_ref())).collect()
    }

    fn measure(
        &self,
        scenario: &Scenario,
        labs: &mut [Result<Lab, String>],
        spectator: &dyn Spectator,
    ) -> Outcome {
        let names: Vec<&str> = self.contenders.iter().map(|contender| contender.name()).collect();
        let missing = |(name, lab): (&&str, &Result<Lab, String>)| {
            let reason = lab.as_ref().err()?.clone();
            Some(Note { contender: (*name).to_owned(), round: None, reason })
        };
        let mut notes: Vec<Note> = names.iter().zip(labs.iter()).filter_map(missing).collect();
        let slots = slots(self.contenders.len());
        // Of each contender, and the baseline's second ones last.
        let mut measured = vec![Vec::new(); self.contenders.len() + 1];
        for round in 0..self.rounds {
            for slot in order(&slots, round) {
                let (contender, again) = (slot.contender, slot.again);
                let Some(Ok(lab)) = labs.get_mut(contender) else {
                    spectator.done(1);
                    continue;
                };
                let name = names[contender];
                spectator.now(&format!("{}, round {} of {}: {name}", scenario.name, round + 1, self.rounds));
                let column = if again { self.contenders.len() } else { contender };
                let result = (scenario.measure)(lab, self.time);
                measured[column].push(result.unwrap_or_else(|error| {
                    let (contender, round) = (name.to_owned(), Some(round + 1));
                    notes.push(Note { contender, round, reason: error.to_string() });
                    Measurement::default()
                }));
                spectator.done(1);
            }
        }
        outcome(scenario, &names, &measured, notes)
    }
}

fn outcome(scenario: &Scenario, names: &[&str], measured: &[Vec<Measurement>], notes: Vec<Note>) -> Outcome {
    let metrics = scenario.metrics.iter().enumerate();
    let metrics = metrics.map(|(place, metric)| figures(metric, place, names, measured)).collect();
    let curves = names.iter().zip(measured).filter_map(|(name, rounds)| curve(name, rounds)).collect();
    Outcome {
        name: scenario.name.clone(),
        title: scenario.title.clone(),
        absent: None,
        metrics,
        curves,
        notes,
    }
}

fn absent(scenario: &Scenario, congestion: &str) -> Outcome {
    let remedy = format!("`modprobe tcp_{congestion}` loads it where there is one");
    Outcome {
        name: scenario.name.clone(),
        title: scenario.title.clone(),
        absent: Some(format!("this kernel has the congestion control {congestion} not loaded; {remedy}")),
        metrics: Vec::new(),
        curves: Vec::new(),
        notes: Vec::new(),
    }
}

/// A place in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    contender: usize,
    /// The baseline's second time.
    again: bool,
}

/// Everybody once, and the baseline twice, as far from itself as can be.
fn slots(contenders: usize) -> Vec<Slot> {
    let mut slots: Vec<Slot> = (0..contenders).map(|contender| Slot { contender, again: false }).collect();
    slots.insert(contenders.div_ceil(2), Slot { contender: 0, again: true });
    slots
}

/// Each round begins one place further on, so that nobody is always the first.
fn order(slots: &[Slot], round: usize) -> impl Iterator<Item = Slot> + '_ {
    slots.iter().cycle().skip(round % slots.len().max(1)).take(slots.len()).copied()
}

fn figures(metric: &Metric, place: usize, names: &[&str], measured: &[Vec<Measurement>]) -> Figures {
    let all = names.iter().zip(measured).filter(|(_, rounds)| !rounds.is_empty());
    let of: Vec<Series> = all.map(|(name, rounds)| series(name, place, rounds)).collect();
    let baseline = names.first().copied().unwrap_or_default();
    let control =
        measured.last().filter(|rounds| !rounds.is_empty()).map(|rounds| series(baseline, place, rounds));
    let of_name = |name: &str| of.iter().find(|series| series.contender == name);
    let twice = of_name(baseline).zip(control.as_ref());
    let twice = twice.and_then(|(first, second)| paired_ratio(&second.rounds, &first.rounds));
    let drift = twice.as_ref().map(drift);
    let compare = |peer: &Series| -> Option<Comparison> {
        let ratio = paired_ratio(&of_name(SUBJECT)?.rounds, &peer.rounds)?;
        Some(Comparison {
            peer: peer.contender.clone(),
            ratio: ratio.median,
            low: ratio.interval.low,
            high: ratio.interval.high,
            confidence: ratio.interval.confidence,
            verdict: verdict(&ratio, drift?, metric.better?),
        })
    };
    let comparisons = of.iter().filter(|series| series.contender != SUBJECT).filter_map(compare).collect();
    Figures {
        key: metric.key.to_owned(),
        title: metric.title.to_owned(),
        unit: metric.unit.to_owned(),
        better: metric.better,
        comparisons,
        drift,
        control,
        of,
    }
}

fn series(contender: &str, place: usize, rounds: &[Measurement]) -> Series {
    let figure =
        |measurement: &Measurement| measurement.figures.get(place).copied().filter(|it| it.is_finite());
    let rounds: Vec<Option<f64>> = rounds.iter().map(figure).collect();
    let spread = spread(&rounds.iter().copied().flatten().collect::<Vec<_>>());
    Series {
        contender: contender.to_owned(),
        rounds,
        median: spread.map(|spread| spread.median),
        min: spread.map(|spread| spread.min),
        max: spread.map(|spread| spread.max),
    }
}

/// None when there are no points.
fn curve(contender: &str, rounds: &[Measurement]) -> Option<Curve> {
    let at = |(place, quantile): (usize, &f64)| {
        let points: Vec<f64> = rounds.iter().filter_map(|round| round.curve.get(place).copied()).collect();
        Some((*quantile, spread(&points)?.median))
    };
    let points: Vec<(f64, f64)> = QUANTILES.iter().enumerate().filter_map(at).collect();
    (!points.is_empty()).then(|| Curve { contender: contender.to_owned(), points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::noise::{Better, Verdict};

    #[test]
    fn the_baseline_comes_twice_and_everybody_begins_once() {
        let slots = slots(3);
        assert_eq!(slots.len(), 4);
        let rounds: Vec<Vec<Slot>> = (0..4).map(|round| order(&slots, round).collect()).collect();
        let firsts: Vec<Slot> = rounds.iter().map(|round| round[0]).collect();
        assert_eq!(firsts, slots);
        for round in &rounds {
            assert_eq!(round.iter().filter(|slot| slot.contender == 0).count(), 2);
            let places: Vec<usize> = (0..4).filter(|place| round[*place].contender == 0).collect();
            assert_eq!(places[1] - places[0], 2, "{round:?}");
        }
    }

    fn rounds(values: [f64; 6]) -> Vec<Measurement> {
        values.map(|value| vec![value].into()).to_vec()
    }

    #[test]
    fn figures_are_compared_round_by_round() {
        let metric = Metric { key: "x_us", title: "x", unit: "µs", better: Some(Better::Less) };
        // The machine becomes slower all the time; pontoon needs half as long in each round.
        let slower = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
        let measured =
            [rounds(slower), rounds(slower.map(|it| it / 2.0)), rounds(slower.map(|it| it * 1.05))];
        let figures = figures(&metric, 0, &["bridge", SUBJECT], &measured);
        let [comparison] = &figures.comparisons[..] else { panic!("{figures:?}") };
        assert_eq!((comparison.peer.as_str(), comparison.verdict), ("bridge", Verdict::Ahead));
        assert!((comparison.ratio - 0.5).abs() < 1e-9 && (figures.drift.unwrap() - 1.05).abs() < 1e-9);
        assert_eq!(figures.of[0].median, Some(35.0));
    }

    #[test]
    fn what_failed_is_a_hole_and_no_zero() {
        let mut second = rounds([1.0; 6]);
        second[2] = Measurement::default();
        second[3] = vec![f64::INFINITY].into();
        let series = series("x", 0, &second);
        assert_eq!(series.rounds[1..5], [Some(1.0), None, None, Some(1.0)]);
        assert_eq!(series.min, Some(1.0));
    }
}

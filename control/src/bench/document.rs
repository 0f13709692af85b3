//! What a run found, as `--json` prints it and `--compare` reads it.

use serde::{Deserialize, Serialize};

use super::noise::{Better, Verdict};
use super::scenario::Scenario;

/// The number of this form; another one when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of pontoon.
    pub version: String,
    /// `release` or `debug`.
    pub build: String,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// What it ran on.
    pub machine: Machine,
    /// How it ran.
    pub settings: Settings,
    /// Who took part, and who could not.
    pub contenders: Vec<Participant>,
    /// What was measured.
    pub scenarios: Vec<Outcome>,
}

impl Document {
    /// Whether there was nobody to compare the subject with.
    pub fn is_alone(&self) -> bool {
        self.contenders.iter().all(|it| it.absent.is_some() || it.name == self.settings.subject)
    }
}

impl Outcome {
    /// Those that took no part, together with the others of the same reason, and then what failed.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<(String, &str)> = Vec::new();
        for note in &self.notes {
            let round = note.round.map(|round| format!(", round {round}")).unwrap_or_default();
            let who = format!("{}{round}", note.contender);
            match remarks.iter_mut().find(|it| it.1 == note.reason) {
                Some((others, _)) => *others += &format!(", {who}"),
                None => remarks.push((who, &note.reason)),
            }
        }
        remarks.into_iter().map(|(who, why)| format!("{who}: {why}")).collect()
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// `uname -sr`.
    pub kernel: String,
    /// The processors' model.
    pub cpu: String,
    /// How many processors the bench may use.
    pub cpus: usize,
    /// Memory in MB.
    pub memory_mb: f64,
    /// The hypervisor, as far as the processor tells that there is one.
    pub virtual_machine: bool,
    /// The frequency governor; none where the kernel has no say.
    pub governor: Option<String>,
    /// Average of processes that wanted to run in the minute before the run.
    pub load_before: f64,
    /// The congestion controls that the kernel has loaded.
    pub congestion_controls: Vec<String>,
}

/// How a run was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Rounds of each scenario.
    pub rounds: usize,
    /// Seconds of a measurement.
    pub seconds: f64,
    /// Whether it was a quick one.
    pub quick: bool,
    /// Who is compared with the others.
    pub subject: String,
    /// Who is measured twice in every round.
    pub baseline: String,
    /// Every wire's MTU.
    pub mtu: u16,
    /// How the intervals are made.
    pub interval: String,
}

/// Who could take part, and what could be measured, as `--list` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listing {
    /// Everybody.
    pub contenders: Vec<Participant>,
    /// Everything.
    pub scenarios: Vec<Offer>,
}

impl Listing {
    pub(super) fn of(contenders: Vec<Participant>, scenarios: &[Scenario]) -> Listing {
        let offer = |it: &Scenario| Offer { name: it.name.clone(), title: it.title.clone(), quick: it.quick };
        Listing { contenders, scenarios: scenarios.iter().map(offer).collect() }
    }
}

/// A scenario that could be measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Whether `--quick` has it.
    pub quick: bool,
}

/// Somebody who could take part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Why it did not take part; none when it did.
    pub absent: Option<String>,
}

/// What a scenario gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Why it was not measured; none when it was.
    pub absent: Option<String>,
    /// Its figures.
    pub metrics: Vec<Figures>,
    /// Latency curves, for scenarios that have some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
    /// Who is missing from it, and what failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// One figure of everybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Stable; its end says the unit.
    pub key: String,
    /// For people.
    pub title: String,
    /// For people.
    pub unit: String,
    /// What is better; none for what is told, and not compared.
    pub better: Option<Better>,
    /// Of each who took part.
    pub of: Vec<Series>,
    /// Of the baseline, measured a second time in every round.
    pub control: Option<Series>,
    /// The factor that the machine drifts by, from 1 on; none when the control failed.
    pub drift: Option<f64>,
    /// The subject beside each other.
    pub comparisons: Vec<Comparison>,
}

/// One figure of one contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Whose.
    pub contender: String,
    /// One for each round; null where it failed or was not to be had.
    pub rounds: Vec<Option<f64>>,
    /// Their median.
    pub median: Option<f64>,
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

/// The subject beside another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The other.
    pub peer: String,
    /// The subject's figure by the peer's: median of the rounds' ratios.
    pub ratio: f64,
    /// The lower end of its confidence interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The interval's confidence, from 0 to 1.
    pub confidence: f64,
    /// What that proves.
    pub verdict: Verdict,
}

/// Round-trip times of one contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Whose.
    pub contender: String,
    /// The part of all round trips, from 0 to 1, and the microseconds below which that part was: medians of the rounds.
    pub points: Vec<(f64, f64)>,
}

/// What somebody did not do in a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Who.
    pub contender: String,
    /// In which round, from 1; none when it took no part at all.
    pub round: Option<usize>,
    /// Why.
    pub reason: String,
}

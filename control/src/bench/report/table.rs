//! The report for a terminal.

use super::figure;
use crate::bench::document::{Comparison, Document, Figures, Listing, Outcome, Series};
use crate::bench::noise::Verdict;
use crate::cli::table::{Table, wrap};

/// Of sentences, in characters: what fits the terminal that people have.
const WIDTH: usize = 80;

/// A whole run.
pub(crate) fn of(document: &Document) -> String {
    let mut out = head(document);
    for outcome in &document.scenarios {
        out += &format!("\n{}", wrapped(&format!("{} ({})", outcome.title, outcome.name), ""));
        match &outcome.absent {
            Some(reason) => out += &format!("  not measured: {reason}\n"),
            None => out += &scenario(outcome),
        }
    }
    out + "\n" + &summary(document)
}

/// Who and what there is.
pub(crate) fn list(listing: &Listing) -> String {
    let mut contenders = Table::new(&["CONTENDER", "WHAT IT IS"]);
    for participant in &listing.contenders {
        let absent = participant.absent.as_ref().map(|reason| format!("; not here: {reason}"));
        contenders.row([participant.name.clone(), participant.about.clone() + &absent.unwrap_or_default()]);
    }
    let mut table = Table::new(&["SCENARIO", "WHAT IT IS", "QUICK"]);
    for scenario in &listing.scenarios {
        let quick = if scenario.quick { "yes" } else { "" };
        table.row([scenario.name.clone(), scenario.title.clone(), quick.to_owned()]);
    }
    format!("{}\n{}", contenders.render(), table.render())
}

fn head(document: &Document) -> String {
    let (machine, settings) = (&document.machine, &document.settings);
    let virtual_machine = if machine.virtual_machine { ", a virtual machine" } else { "" };
    let mut out = format!(
        "pontoon {} ({} build), {}: {}, {}, {} processors{virtual_machine}; load before {:.2}\n\
         {} rounds of {} s, everybody in every round; medians [min-max].\n\
         RATIO is {}'s figure divided by that of its row: {}.\n",
        document.version,
        document.build,
        document.started,
        machine.kernel,
        machine.cpu,
        machine.cpus,
        machine.load_before,
        settings.rounds,
        settings.seconds,
        settings.subject,
        settings.interval,
    );
    if document.build != "release" {
        out += "This is a debug build: pontoon's control plane is slower than it is for users.\n";
    }
    if machine.load_before >= 1.0 {
        out += "Others use the machine as well: what they do is in the figures.\n";
    }
    for participant in &document.contenders {
        if let Some(reason) = &participant.absent {
            out += &format!("{} does not take part: {reason}.\n", participant.name);
        }
    }
    if document.is_alone() {
        out += "There is nobody to compare with: pontoon is measured alone.\n";
    }
    out.lines().map(|sentence| wrapped(sentence, "")).collect()
}

fn scenario(outcome: &Outcome) -> String {
    let mut table = Table::new(&["", ">MEDIAN", "[MIN-MAX]", ">RATIO", "[INTERVAL]", "PONTOON IS"]);
    for figures in &outcome.metrics {
        for series in &figures.of {
            let comparison = figures.comparisons.iter().find(|it| it.peer == series.contender);
            table.row(row(series, comparison));
        }
    }
    let rendered = table.render();
    let mut lines = rendered.lines().map(|line| format!("    {line}\n"));
    // One head for all, and what each figure is on a line of its own: as a column it would be half of the terminal.
    let mut out: String = lines.by_ref().take(1).collect();
    for figures in &outcome.metrics {
        out += &title(figures);
        out.extend(lines.by_ref().take(figures.of.len()));
    }
    for remark in outcome.remarks() {
        out += &wrapped(&remark, "  ");
    }
    out
}

fn title(figures: &Figures) -> String {
    let drift = figures.drift.filter(|_| !figures.comparisons.is_empty());
    let drift = drift.map(|drift| format!(" (drift {drift:.2})")).unwrap_or_default();
    format!("  {}, {}{drift}\n", figures.title, figures.unit)
}

/// A sentence on lines that all begin with `indent`.
fn wrapped(sentence: &str, indent: &str) -> String {
    let lines = wrap(sentence, WIDTH - indent.len());
    lines.iter().map(|line| format!("{indent}{line}\n")).collect()
}

fn row(series: &Series, comparison: Option<&Comparison>) -> [String; 6] {
    let range = series.min.zip(series.max).map(|(min, max)| format!("[{}-{}]", figure(min), figure(max)));
    let cells = [
        series.contender.clone(),
        series.median.map_or_else(|| "failed".to_owned(), figure),
        range.unwrap_or_default(),
        comparison.map(|it| format!("{:.2}", it.ratio)).unwrap_or_default(),
        comparison.map(|it| format!("[{:.2}-{:.2}]", it.low, it.high)).unwrap_or_default(),
        comparison.map(|it| it.verdict.words().to_owned()).unwrap_or_default(),
    ];
    // Nothing is missing where there is nothing to say.
    cells.map(|cell| if cell.is_empty() { " ".to_owned() } else { cell })
}

/// How often the subject is ahead of each, and where it is behind.
fn summary(document: &Document) -> String {
    let mut table = Table::new(&["PONTOON BESIDE", ">AHEAD", ">TIE", ">BEHIND", ">UNDECIDED"]);
    let mut behind = String::new();
    for participant in &document.contenders {
        let verdicts = verdicts(document, &participant.name);
        if verdicts.is_empty() {
            continue;
        }
        let of = |wanted: &[Verdict]| verdicts.iter().filter(|it| wanted.contains(&it.1)).count().to_string();
        let undecided = of(&[Verdict::TooNoisy, Verdict::TooFewRounds]);
        let counts = [of(&[Verdict::Ahead]), of(&[Verdict::Tie]), of(&[Verdict::Behind]), undecided];
        table.row([participant.name.clone()].into_iter().chain(counts));
        let places = verdicts.iter().filter(|it| it.1 == Verdict::Behind).map(|it| it.0.as_str());
        let places = places.collect::<Vec<_>>().join(", ");
        if !places.is_empty() {
            let sentence = format!("behind {} in {places}", participant.name);
            behind += &wrapped(&sentence, "");
        }
    }
    if document.is_alone() { String::new() } else { table.render() + &behind }
}

/// What every figure says of the subject and `peer`.
fn verdicts(document: &Document, peer: &str) -> Vec<(String, Verdict)> {
    let of = |outcome: &Outcome, figures: &Figures| {
        let comparison = figures.comparisons.iter().find(|it| it.peer == peer)?;
        Some((format!("{} {}", outcome.name, figures.title), comparison.verdict))
    };
    let all = document.scenarios.iter().flat_map(|it| it.metrics.iter().map(move |figures| (it, figures)));
    all.filter_map(|(outcome, figures)| of(outcome, figures)).collect()
}

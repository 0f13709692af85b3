//! The report as one page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write;

use super::{figure, svg};
use crate::bench::document::{Comparison, Document, Figures, Outcome};
use crate::bench::noise::{ALIKE, Better, Verdict};

/// Colours of contenders, in their order; the subject's is the first.
const COLOURS: [&str; 10] = [
    "#0072b2", "#999999", "#bbbbbb", "#777777", "#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7",
    "#8c6d31",
];

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin:2.5rem 0 .5rem;border-bottom:1px solid #8886}h3{font-size:1rem;margin:1rem 0 .2rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right}.quiet{opacity:.7}svg{max-width:100%;height:auto;display:block}
.ahead{color:#0a7d4b}.behind{color:#c0392b;font-weight:600}.too-noisy,.too-few-rounds{opacity:.6}
@media(prefers-color-scheme:dark){.ahead{color:#4cc38a}.behind{color:#ff8a80}}
text{font:12px system-ui,sans-serif;fill:currentColor}text.name{text-anchor:end}
.range{stroke:currentColor;fill:none;opacity:.8}.round{fill:currentColor;opacity:.45}.grid{stroke:#8884;fill:none}polyline{fill:none;stroke-width:2}
.two{display:flex;gap:3rem;flex-wrap:wrap}
";

/// A whole run.
pub(crate) fn page(document: &Document) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out += "<meta name=\"viewport\" content=\"width=device-width\">\n<title>pontoon bench</title>\n<style>\n";
    out += STYLE;
    for (number, colour) in COLOURS.iter().enumerate() {
        let _ = writeln!(
            out,
            ".c{number}{{fill:{colour}}}.l{number}{{stroke:{colour}}}.t{number}{{fill:{colour}}}"
        );
    }
    out += "</style>\n</head>\n<body>\n";
    head(&mut out, document);
    summary(&mut out, document);
    for outcome in &document.scenarios {
        scenario(&mut out, document, outcome);
    }
    method(&mut out, document);
    out + "</body>\n</html>\n"
}

/// For text and for attributes in double quotes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

fn head(out: &mut String, document: &Document) {
    let (machine, settings) = (&document.machine, &document.settings);
    let virtual_machine = if machine.virtual_machine { ", a virtual machine" } else { "" };
    let governor = machine.governor.as_ref().map(|it| format!(", governor {it}")).unwrap_or_default();
    let _ = writeln!(
        out,
        "<h1>pontoon beside the others</h1>\n<p>pontoon {} ({} build), {}. {}; {}, {} processors{virtual_machine}{governor}, {:.0} MB; \
         load before {:.2}.<br>\n{} rounds of {} s, everybody in every round, on wires with an MTU of {}.</p>",
        escape(&document.version),
        escape(&document.build),
        escape(&document.started),
        escape(&machine.kernel),
        escape(&machine.cpu),
        machine.cpus,
        machine.memory_mb,
        machine.load_before,
        settings.rounds,
        settings.seconds,
        settings.mtu,
    );
    if machine.load_before >= 1.0 {
        *out += "<p>Others use the machine as well: what they do is in the figures.</p>\n";
    }
    *out += "<table>\n";
    for participant in &document.contenders {
        let absent = participant.absent.as_ref().map(|it| format!(" <b>Not here: {}.</b>", escape(it)));
        let (name, about) = (escape(&participant.name), escape(&participant.about));
        let _ = writeln!(out, "<tr><td>{name}</td><td>{about}.{}</td></tr>", absent.unwrap_or_default());
    }
    *out += "</table>\n";
    if document.is_alone() {
        *out += "<p>There is nobody to compare with: pontoon is measured alone.</p>\n";
    }
}

/// Every comparison with its place.
fn comparisons(document: &Document) -> impl Iterator<Item = (&Outcome, &Figures, &Comparison)> {
    document.scenarios.iter().flat_map(|outcome| {
        let of = move |figures| move |comparison| (outcome, figures, comparison);
        outcome.metrics.iter().flat_map(move |figures: &Figures| figures.comparisons.iter().map(of(figures)))
    })
}

/// Where pontoon loses stands before where it wins.
fn summary(out: &mut String, document: &Document) {
    if comparisons(document).next().is_none() {
        return;
    }
    *out += "<h2>In short</h2>\n<table>\n<tr><th>pontoon beside</th><th class=\"n\">behind</th><th class=\"n\">ahead</th>\
             <th class=\"n\">tie</th><th class=\"n\">undecided</th></tr>\n";
    for participant in &document.contenders {
        let of = || comparisons(document).filter(|it| it.2.peer == participant.name);
        if of().next().is_none() {
            continue;
        }
        let count = |wanted: &[Verdict]| of().filter(|it| wanted.contains(&it.2.verdict)).count();
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&participant.name),
            count(&[Verdict::Behind]),
            count(&[Verdict::Ahead]),
            count(&[Verdict::Tie]),
            count(&[Verdict::TooNoisy, Verdict::TooFewRounds]),
        );
    }
    *out += "</table>\n<div class=\"two\">\n";
    for (verdict, title) in
        [(Verdict::Behind, "Where pontoon is behind"), (Verdict::Ahead, "Where pontoon is ahead")]
    {
        let _ = writeln!(out, "<div><h3>{title}</h3>\n<table>");
        let mut any = false;
        for (outcome, figures, comparison) in comparisons(document).filter(|it| it.2.verdict == verdict) {
            any = true;
            let _ = writeln!(
                out,
                "<tr><td><a href=\"#{name}\">{name}</a> {}</td><td>{}</td><td class=\"n\">{:.2}</td></tr>",
                escape(&figures.title),
                escape(&comparison.peer),
                comparison.ratio,
                name = escape(&outcome.name),
            );
        }
        *out += if any { "</table></div>\n" } else { "<tr><td>nowhere for sure</td></tr></table></div>\n" };
    }
    *out += "</div>\n";
}

fn scenario(out: &mut String, document: &Document, outcome: &Outcome) {
    let (name, title) = (escape(&outcome.name), escape(&outcome.title));
    let _ = writeln!(out, "<h2 id=\"{name}\">{title} <span class=\"quiet\">{name}</span></h2>");
    if let Some(reason) = &outcome.absent {
        let _ = writeln!(out, "<p>Not measured: {}.</p>", escape(reason));
    }
    let colour = |name: &str| colour_of(document, name);
    for figures in &outcome.metrics {
        let better = match figures.better {
            Some(Better::More) => ", more is better",
            Some(Better::Less) => ", less is better",
            None => "",
        };
        let (title, unit) = (escape(&figures.title), escape(&figures.unit));
        let _ = writeln!(out, "<h3>{title}, {unit}<span class=\"quiet\">{better}</span></h3>");
        *out += &svg::bars(figures, &colour);
        verdicts(out, figures);
    }
    if !outcome.curves.is_empty() {
        *out += "<h3>round-trip times, medians of the rounds</h3>\n";
        *out += &svg::curves(&outcome.curves, &colour);
    }
    for remark in outcome.remarks() {
        let _ = writeln!(out, "<p class=\"quiet\">{}.</p>", escape(&remark));
    }
}

fn verdicts(out: &mut String, figures: &Figures) {
    if figures.comparisons.is_empty() {
        return;
    }
    *out += "<table>\n";
    for comparison in &figures.comparisons {
        let class = match comparison.verdict {
            Verdict::Ahead => "ahead",
            Verdict::Behind => "behind",
            Verdict::Tie => "tie",
            Verdict::TooNoisy => "too-noisy",
            Verdict::TooFewRounds => "too-few-rounds",
        };
        let _ = writeln!(
            out,
            "<tr><td>pontoon by {}</td><td class=\"n\">{:.2} [{:.2}-{:.2}]</td><td class=\"{class}\">{}</td></tr>",
            escape(&comparison.peer),
            comparison.ratio,
            comparison.low,
            comparison.high,
            comparison.verdict.words(),
        );
    }
    *out += "</table>\n";
    if let Some(drift) = figures.drift {
        let _ = writeln!(out, "<p class=\"quiet\">The machine drifts by a factor of {drift:.2} here.</p>");
    }
}

fn colour_of(document: &Document, name: &str) -> usize {
    if name == document.settings.subject {
        return 0;
    }
    let others = document.contenders.iter().filter(|it| it.name != document.settings.subject);
    let place = others.map(|it| &it.name).position(|it| it == name).unwrap_or(0);
    1 + place % (COLOURS.len() - 1)
}

fn method(out: &mut String, document: &Document) {
    let settings = &document.settings;
    let _ = writeln!(
        out,
        "<h2>How this was measured</h2>\n<p>Each contender joins network namespaces of its own. A generator and a sink of pontoon's own \
         use the kernel's sockets in two of them; a rate is what the sink's program got. Bars are medians, lines go from the smallest to \
         the largest round, dots are the rounds. CPU is what the whole machine worked meanwhile, generator and sink included.</p>\n\
         <p>Everybody is measured in every round, and each round begins with another one. A ratio is taken within a round; what is shown is \
         {}. {} is measured twice in every round: what lies between the two is the machine's drift. \
         pontoon is called ahead or behind when the interval leaves 1 out and the difference is larger than the drift; a tie when the \
         interval and the drift stay within {:.0} %; and where neither is sure, nothing is said. On a machine that others use as well, their \
         work is in the figures. The whole run took {} s.</p>",
        escape(&settings.interval),
        escape(&settings.baseline),
        (ALIKE - 1.0) * 100.0,
        figure(document.seconds),
    );
}

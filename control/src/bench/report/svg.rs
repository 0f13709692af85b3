//! Plots as SVG: bars with ranges, and latency curves. Colours and fonts come from the page's style sheet.

use std::fmt::Write;

use super::figure;
use super::html::escape;
use crate::bench::document::{Curve, Figures, Series};

/// Width of a plot, in the page's pixels.
const WIDTH: f64 = 760.0;
/// Of the names beside the bars, and of the figures behind them.
const NAMES: f64 = 130.0;
const VALUES: f64 = 190.0;
/// Height of a bar with the gap below.
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;

/// A bar for each contender up to its median, a line from its smallest to its largest figure, and a dot for each round.
pub(super) fn bars(figures: &Figures, colour: &dyn Fn(&str) -> usize) -> String {
    let largest = figures.of.iter().filter_map(|series| series.max).fold(0.0, f64::max);
    let room = WIDTH - NAMES - VALUES;
    let scale = |value: f64| if largest > 0.0 { NAMES + room * value / largest } else { NAMES };
    let height = ROW * figures.of.len() as f64 + 4.0;
    let mut out = open(height, &format!("{}, {}", figures.title, figures.unit));
    for (place, series) in figures.of.iter().enumerate() {
        let top = ROW * place as f64 + 4.0;
        bar(&mut out, series, top, &scale, colour(&series.contender));
    }
    out + "</svg>\n"
}

fn bar(out: &mut String, series: &Series, top: f64, scale: &dyn Fn(f64) -> f64, colour: usize) {
    let middle = top + BAR / 2.0;
    text(out, "name", NAMES - 8.0, middle + 4.0, &series.contender);
    let (Some(median), Some(min), Some(max)) = (series.median, series.min, series.max) else {
        return text(out, "value", NAMES + 4.0, middle + 4.0, "failed");
    };
    let width = (scale(median) - NAMES).max(1.0);
    let _ = writeln!(
        out,
        "<rect class=\"c{colour}\" x=\"{NAMES}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>"
    );
    let (from, to) = (scale(min), scale(max));
    let _ = writeln!(
        out,
        "<path class=\"range\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {top:.1}v{BAR}M{to:.1} {top:.1}v{BAR}\"/>"
    );
    for value in series.rounds.iter().flatten() {
        let _ =
            writeln!(out, "<circle class=\"round\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"2\"/>", scale(*value));
    }
    let words = format!("{} [{}-{}]", figure(median), figure(min), figure(max));
    text(out, "value", to.max(NAMES + width) + 8.0, middle + 4.0, &words);
}

/// Height of a plot of curves, and what is left free for its axes.
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 36.0;
const TOP: f64 = 10.0;

/// Round-trip times by the part of round trips that were quicker: microseconds upwards (logarithmic), and to the right each step is a
/// tenth of the tail that is left.
pub(super) fn curves(curves: &[Curve], colour: &dyn Fn(&str) -> usize) -> String {
    let all = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let (lowest, highest) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if !(lowest > 0.0 && highest.is_finite()) {
        return String::new();
    }
    let (low, high) = (lowest.log10().floor(), highest.log10().ceil().max(lowest.log10().floor() + 1.0));
    let y = |us: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - us.log10()) / (high - low);
    let tail = |part: f64| -(1.0 - part).log10();
    let x = |part: f64| LEFT + (WIDTH - LEFT - 150.0) * tail(part) / tail(0.999);
    let mut out = open(HEIGHT, "round-trip times");
    for decade in low as i32..=high as i32 {
        for step in [1.0, 2.0, 5.0] {
            let us = 10f64.powi(decade) * step;
            if us.log10() > high {
                continue;
            }
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {:.1}H{:.1}\"/>", y(us), x(0.999));
            text(&mut out, "name", LEFT - 6.0, y(us) + 4.0, &axis(us));
        }
    }
    for (part, name) in [(0.0, "0"), (0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")] {
        let _ = writeln!(out, "<path class=\"grid\" d=\"M{:.1} {TOP}V{:.1}\"/>", x(part), HEIGHT - BOTTOM);
        text(&mut out, "value", x(part) - 10.0, HEIGHT - BOTTOM + 18.0, name);
    }
    for curve in curves {
        let colour = colour(&curve.contender);
        let points = curve.points.iter().map(|(part, us)| format!("{:.1},{:.1}", x(*part), y(*us)));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "<polyline class=\"l{colour}\" points=\"{points}\"/>");
    }
    let ends = curves.iter().filter_map(|curve| Some((curve, y(curve.points.last()?.1)))).collect();
    for (curve, y) in apart(ends) {
        let class = format!("value t{}", colour(&curve.contender));
        text(&mut out, &class, x(0.999) + 8.0, y + 4.0, &curve.contender);
    }
    out + "</svg>\n"
}

/// Height of a line of text.
const LINE: f64 = 14.0;

/// Moves labels that would lie over one another apart, in the order of their heights.
fn apart<T>(mut labels: Vec<(T, f64)>) -> Vec<(T, f64)> {
    labels.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut free = f64::NEG_INFINITY;
    for (_, y) in &mut labels {
        *y = y.max(free);
        free = *y + LINE;
    }
    // Those that were pushed out of the plot push the others back.
    let mut limit = HEIGHT - BOTTOM;
    for (_, y) in labels.iter_mut().rev() {
        *y = y.min(limit);
        limit = *y - LINE;
    }
    labels
}

fn axis(us: f64) -> String {
    if us >= 1000.0 { format!("{} ms", us / 1000.0) } else { format!("{us} µs") }
}

fn open(height: f64, title: &str) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n"
    )
}

fn text(out: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(words));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart_and_in_the_plot() {
        let bottom = HEIGHT - BOTTOM;
        let placed = apart(vec![("c", 52.0), ("a", 50.0), ("d", bottom), ("b", 51.0), ("e", bottom)]);
        assert_eq!(placed.iter().map(|it| it.0).collect::<String>(), "abcde");
        let heights: Vec<f64> = placed.iter().map(|it| it.1).collect();
        assert_eq!(heights, [50.0, 64.0, 78.0, bottom - LINE, bottom]);
    }
}

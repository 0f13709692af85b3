//! What changed between two runs, for a terminal.

use super::figure;
use crate::bench::compare::{Became, Differences, Range};
use crate::cli::table::Table;

/// What changed, the worse first; of the rest how much there is.
pub(crate) fn of(differences: &Differences) -> String {
    let mut out: String = differences.unlike.iter().map(|it| format!("not alike: {it}\n")).collect();
    let mut changed: Vec<_> = differences.changes.iter().filter(|it| it.became != Became::Same).collect();
    changed.sort_by_key(|it| it.became);
    let same = differences.changes.len() - changed.len();
    if !changed.is_empty() {
        let mut table =
            Table::new(&["SCENARIO", "FIGURE", "PONTOON BY", ">OLD", "[RANGE]", ">NEW", "[RANGE]", "BECAME"]);
        for change in changed {
            let ([old, old_range], [new, new_range]) = (cells(change.old), cells(change.new));
            let became = match change.became {
                Became::Worse => "worse",
                Became::Better => "better",
                Became::Other => "other",
                Became::Same => "same",
            };
            table.row([
                change.scenario.clone(),
                change.title.clone(),
                change.beside.clone().unwrap_or_else(|| "itself".to_owned()),
                old,
                old_range,
                new,
                new_range,
                became.to_owned(),
            ]);
        }
        out += &table.render();
    }
    if differences.too_few_rounds {
        out += "too few rounds to prove a change: measure both with --rounds 5 or more\n";
    }
    let figures = if same == 1 { "figure" } else { "figures" };
    out + &format!("{same} {figures} without a change that could be shown.\n")
}

fn cells(range: Range) -> [String; 2] {
    [figure(range.median), format!("[{}-{}]", figure(range.low), figure(range.high))]
}

//! What a run found, for people.

pub(super) mod changes;
pub(super) mod html;
pub(super) mod progress;
mod svg;
pub(super) mod table;

use super::document::Document;
use crate::failure::Failure;

/// The document, as `--json` prints it.
pub(super) fn json(document: &Document) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::Sentence(format!("cannot write the report as JSON: {error}")))
}

/// Three or so digits of a figure.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        it if it >= 999.5 => crate::cli::table::count(value.round() as u64),
        it if it >= 99.95 => format!("{value:.0}"),
        it if it >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_or_so() {
        let shown = [0.0, 0.123, 9.994, 9.996, 25.71, 99.96, 487.6, 1234.5, 123_456.7].map(figure);
        assert_eq!(shown, ["0.00", "0.12", "9.99", "10.0", "25.7", "100", "488", "1,235", "123,457"]);
    }
}

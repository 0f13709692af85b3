//! Plain tables: columns, no borders, no colours, numbers to the right.

use comfy_table::{CellAlignment, ContentArrangement, Table as Inner, presets};

/// A table under construction.
#[derive(Debug)]
pub struct Table(Inner);

impl Table {
    /// A table with these headings. A heading that starts with `>` is of a column of numbers.
    pub fn new(headings: &[&str]) -> Table {
        let mut table = Inner::new();
        // Never wrap: lines of a table are for `grep` and `awk` as well.
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.iter().map(|h| h.trim_start_matches('>')).collect::<Vec<_>>());
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Table(table)
    }

    /// Adds a row. Missing things are shown as `-`.
    pub fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        let cells = cells.into_iter().map(|c| if c.is_empty() { "-".to_owned() } else { c });
        self.0.add_row(cells.collect::<Vec<_>>());
    }

    /// The text, a line each, ending with a line feed.
    pub fn render(&self) -> String {
        self.0.trim_fmt() + "\n"
    }
}

/// Breaks `text` between words into lines of at most `width` characters; a longer word has a line to itself.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A number with a comma every three digits: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in decimal units, three digits: `1.42 GB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would round to 1000 of the smaller unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A span of time as people say it: `42s`, `5m 3s`, `2h 10m`, `3d 4h`.
pub fn age(seconds: u64) -> String {
    let (s, m, h, d) = (seconds % 60, seconds / 60 % 60, seconds / 3600 % 24, seconds / 86_400);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m {s}s"),
        (0, _, _) => format!("{h}h {m}m"),
        _ => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut table = Table::new(&["NETWORK", ">FRAMES", "WHY"]);
        table.row(["blue".to_owned(), count(1_234_567), String::new()]);
        table.row(["x".to_owned(), count(12), "A sentence.".to_owned()]);
        assert_eq!(
            table.render(),
            "NETWORK     FRAMES  WHY\n\
             blue     1,234,567  -\n\
             x               12  A sentence.\n"
        );
    }

    #[test]
    fn long_cells_are_never_wrapped() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x".repeat(300), "y".repeat(300)]);
        assert_eq!(table.render().lines().count(), 2);
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a incomprehensibly b", 5), ["a", "incomprehensibly", "b"]);
        assert!(wrap("", 5).is_empty());
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 999, 1000, 999_999, 1_000_000].map(count),
            ["0", "999", "1,000", "999,999", "1,000,000"]
        );
        assert_eq!(
            [0, 999, 1000, 1420, 14_200, 999_400, 999_600, 1_420_000_000, u64::MAX].map(bytes),
            ["0 B", "999 B", "1.00 kB", "1.42 kB", "14.2 kB", "999 kB", "1.00 MB", "1.42 GB", "18.4 EB"]
        );
        assert_eq!(
            [0, 59, 60, 3599, 3600, 90_000].map(age),
            ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "1d 1h"]
        );
    }
}

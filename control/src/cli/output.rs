//! Standard output: text or JSON, and nobody hurt when the reader leaves early.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// As JSON.
    pub json: bool,
}

impl Output {
    /// One answer: pretty JSON, or `text`.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn show<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { print(&(json(value, true)? + "\n")) } else { print(&text()) }
    }

    /// One line of many: JSON without line breaks, or `text`.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn line<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { print(&(json(value, false)? + "\n")) } else { print(&text()) }
    }

    /// A list: with `quiet` its names only, a line each (a JSON array of strings with `--json`).
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn list<T: Serialize>(
        self,
        items: &[T],
        quiet: bool,
        name: impl Fn(&T) -> String,
        text: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        if !quiet {
            return self.show(&items, || text(items));
        }
        let names: Vec<String> = items.iter().map(name).collect();
        self.show(&names, || names.iter().map(|name| format!("{name}\n")).collect())
    }
}

/// Prints a JSON array as Docker's `inspect` commands do, with four spaces a level.
///
/// # Errors
/// [`Failure::Output`].
pub fn inspect<T: Serialize>(items: &[T]) -> Result<(), Failure> {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = items.serialize(&mut serde_json::Serializer::with_formatter(&mut text, format));
    written.map_err(|e| Failure::Sentence(format!("cannot write the answer as JSON: {e}")))?;
    print(&(String::from_utf8_lossy(&text) + "\n"))
}

/// Prints and flushes.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

fn json<T: Serialize>(value: &T, pretty: bool) -> Result<String, Failure> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map_err(|e| Failure::Sentence(format!("cannot write the answer as JSON: {e}")))
}

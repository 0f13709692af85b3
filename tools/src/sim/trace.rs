//! What happened, as one number and, if wanted, in words; and what must not have happened.

use super::agenda::{Micros, SECOND};

/// The record of a run.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    tell: Option<fn(&str)>,
    findings: Vec<String>,
}

impl Trace {
    pub(super) fn new(tell: Option<fn(&str)>) -> Trace {
        Trace { hash: 0, tell, findings: Vec::new() }
    }

    /// Whether somebody wants to read it.
    pub(super) fn is_read(&self) -> bool {
        self.tell.is_some()
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.findings.is_empty()
    }

    /// The hash of all that was noted, and what must not have happened.
    pub(super) fn end(self) -> (u64, Vec<String>) {
        (self.hash, self.findings)
    }

    /// A frame was somewhere.
    pub(super) fn note(&mut self, at: Micros, place: u64, bytes: &[u8]) {
        self.mix(at);
        self.mix(place);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }

    /// A number that must be the same again.
    pub(super) fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Something must not have happened.
    pub(super) fn find(&mut self, at: Micros, what: &str) {
        let finding = format!("at {:.6} s: {what}", at as f64 / SECOND as f64);
        self.say(&format!("FOUND {finding}"));
        self.findings.push(finding);
    }

    /// Tells whoever wants to read it.
    pub(super) fn say(&self, line: &str) {
        if let Some(tell) = self.tell {
            tell(line);
        }
    }
}

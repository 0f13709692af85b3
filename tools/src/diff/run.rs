//! A whole comparison: script after script, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pontoon_dataplane::port::memory::OwnedFrame;

use super::script::{Change, Event, Script, frames};
use super::shrink::shrink;
use super::{Difference, Pair, generate, meant, story};
use crate::lab::LabError;

/// Frames of one generated script: as many as there are to search when it shows a difference.
pub const ROUND: usize = 4096;
/// Parts of a script that are tried to make it shorter.
const TRIALS: usize = 500;
/// The same of one with pauses, which take seconds.
const TRIALS_WITH_PAUSES: usize = 12;
/// Frames of a difference that are told.
const TOLD: usize = 4;

/// What a comparison has seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Frames that went into both.
    pub frames: usize,
    /// Other things that happened to both.
    pub changes: usize,
    /// Frames that were left out, by the difference that they are about.
    pub left_out: BTreeMap<&'static str, usize>,
    /// Differences, told in full, each with the capture that shows it.
    pub differences: Vec<(String, PathBuf)>,
}

/// A comparison.
#[derive(Debug)]
pub struct Run<'a> {
    /// The labs.
    pub pair: &'a mut Pair,
    /// How many ports they have.
    pub ports: usize,
    /// Where captures of differences go.
    pub keep_in: &'a Path,
    /// What there was.
    pub seen: Seen,
}

impl Run<'_> {
    /// Plays generated scripts of `count` frames in all, from the seed's number `first_round` on, or up to the first difference.
    ///
    /// # Errors
    /// A lab fails, or a capture cannot be written.
    pub fn generated(&mut self, seed: u64, first_round: u64, count: usize) -> Result<(), LabError> {
        let mut round = first_round;
        let mut left = count;
        while left > 0 && self.seen.differences.is_empty() {
            let part = left.min(ROUND);
            let script = generate::script(seed, round, part, self.ports);
            self.script(script, &format!("seed-{seed}-round-{round}"))?;
            left -= part;
            round += 1;
        }
        Ok(())
    }

    /// Plays a script, and keeps it under that name if it shows a difference.
    ///
    /// # Errors
    /// A lab fails, or a capture cannot be written.
    pub fn script(&mut self, script: Script, name: &str) -> Result<(), LabError> {
        let script = self.without_meant(script);
        self.seen.frames += frames(&script);
        self.seen.changes += script.len() - frames(&script);
        let Some(difference) = self.pair.play(&script)? else { return Ok(()) };
        let (shortest, difference) = self.shorten(&script[..difference.after], difference)?;
        std::fs::create_dir_all(self.keep_in)?;
        let path = self.keep_in.join(format!("{name}.pcap"));
        story::keep(&path, &shortest, self.ports)?;
        self.seen.differences.push((told(&shortest, &difference), path));
        Ok(())
    }

    /// The shortest part of a script that still shows a difference, and which.
    fn shorten(&mut self, script: &[Event], found: Difference) -> Result<(Script, Difference), LabError> {
        let pair = &mut *self.pair;
        let takes_time = script.iter().any(|event| matches!(event, Event::Change(Change::Pass(_))));
        let trials = if takes_time { TRIALS_WITH_PAUSES } else { TRIALS };
        let shortest = shrink(script, trials, |part| Ok::<_, LabError>(pair.play(part)?.is_some()))?;
        // One that does not show again depends on more than the script, and is told as it was first seen.
        let again = pair.play(&shortest)?;
        Ok((shortest, again.unwrap_or(found)))
    }

    fn without_meant(&mut self, mut script: Script) -> Script {
        script.retain(|event| match event {
            Event::Frame { frame, .. } => match meant::of(&frame.bytes) {
                Some(meant) => {
                    *self.seen.left_out.entry(meant.name).or_default() += 1;
                    false
                }
                None => true,
            },
            Event::Change(_) => true,
        });
        script
    }
}

/// A difference in words.
pub fn told(script: &[Event], difference: &Difference) -> String {
    let mut text = format!("{} events, and the station at port {}", script.len(), difference.port);
    let mut list = |who: &str, frames: &[OwnedFrame]| {
        if frames.is_empty() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, " got from {who} alone:");
        frames.iter().take(TOLD).for_each(|frame| {
            let _ = writeln!(text, "    {}", story::words(frame));
        });
        if frames.len() > TOLD {
            let _ = writeln!(text, "    and {} more", frames.len() - TOLD);
        }
    };
    list("the kernel", &difference.kernel_only);
    list("pontoon", &difference.pontoon_only);
    if difference.is_order() {
        text.push_str(" got the same frames in another order\n");
    }
    text.push_str("after this:\n");
    text + &story::tell(script)
}

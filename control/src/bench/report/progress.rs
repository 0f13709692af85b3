//! The progress bar: shown on a terminal only, on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::round::Spectator;

/// How far the run is.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Progress {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // The template is a constant; a bar without style still shows progress.
        if let Ok(style) = ProgressStyle::with_template(" {bar:20} {percent:>3} %  {eta} left  {wide_msg}") {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        // Seldom enough to disturb no measurement.
        bar.enable_steady_tick(Duration::from_millis(500));
        Progress(bar)
    }

    /// How many measurements there will be.
    pub(crate) fn of(&self, measurements: usize) {
        self.0.set_length(measurements as u64);
        self.0.reset_eta();
    }

    /// Takes it from the screen.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Spectator for Progress {
    fn now(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    fn done(&self, measurements: usize) {
        self.0.inc(measurements as u64);
    }
}

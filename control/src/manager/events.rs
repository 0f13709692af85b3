//! What happened, for those who ask later and those who follow.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::api::types::Event;
use crate::clock;

/// How many events are kept, and how many a slow follower may lag behind before it misses some.
const KEPT: usize = 256;

/// The last events.
#[derive(Debug)]
pub(super) struct Journal {
    kept: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { kept: Mutex::default(), live: broadcast::channel(KEPT).0 }
    }
}

/// What was, and what will be.
#[derive(Debug)]
pub struct Followed {
    /// Events so far, oldest first.
    pub past: Vec<Event>,
    /// Events from now on.
    pub coming: broadcast::Receiver<Event>,
}

impl Journal {
    /// Notes an event about `subject`, and logs it: one with a cause is one that nobody asked for.
    pub(super) fn note(&self, event: &str, subject: &str, cause: &str) {
        if cause.is_empty() {
            tracing::info!("{event} {subject}");
        } else {
            tracing::warn!("{event} {subject}: {cause}");
        }
        let entry = Event {
            time: clock::now(),
            event: event.to_owned(),
            subject: subject.to_owned(),
            cause: (!cause.is_empty()).then(|| cause.to_owned()),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(entry.clone());
        // Nobody follows: that is no error.
        let _ = self.live.send(entry);
    }

    /// Events so far and a receiver of those to come, with no gap and no overlap.
    pub(super) fn follow(&self) -> Followed {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Followed { past: kept.iter().cloned().collect(), coming: self.live.subscribe() }
    }
}

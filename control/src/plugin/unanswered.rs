//! Calls that take something back, and whose answer the Engine may never hear: kept until they are answered.
//!
//! The Engine repeats a call when the daemon dies under it, but without its body, which the first attempt has read to its end (moby `pkg/plugins/client.go`: one
//! reader for all attempts). Nobody can tell then what it was about. A call that gives something is refused in that case: whoever started a container is told, and
//! starts it again. A call that takes something back is not made again by anybody, and what it was about would be left for good. So these are
//! written down before they are carried out, the next daemon carries them out when it starts, and the repetition without a body is only told that
//! all is well.
//!
//! A file in the state directory for each, without waiting for the disk: what must survive is the daemon's death, not the machine's. After that nothing of
//! the Engine's calls is open.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::answer;
use super::protocol::Call;
use crate::manager::Manager;

/// The directory of the state directory that they are in.
const DIRECTORY: &str = "docker-calls";

/// Calls that were not answered yet.
#[derive(Debug)]
pub(super) struct Unanswered {
    directory: PathBuf,
    next: AtomicU64,
    /// How often each method may still be repeated without a body.
    repetitions: Mutex<BTreeMap<String, usize>>,
}

/// One of them, until it is answered.
#[derive(Debug)]
pub(super) struct Kept(Option<PathBuf>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = fs::remove_file(path);
        }
    }
}

impl Unanswered {
    /// Carries out what an earlier daemon left, and keeps further ones in the same place.
    pub(super) fn recover(manager: &Manager, state_dir: &Path) -> Unanswered {
        let directory = state_dir.join(DIRECTORY);
        let left = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut repetitions = BTreeMap::new();
        for path in left {
            let text = fs::read(&path).unwrap_or_default();
            let mut parts = text.splitn(2, |it| *it == b'\n');
            let method = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            // One that was not written to its end had not begun either.
            if let Ok(call) = Call::read(&method, parts.next().unwrap_or_default()) {
                if let Err(error) = answer::to(manager, &call) {
                    tracing::warn!(%error, call = method, "cannot finish what Docker asked an earlier daemon for");
                }
                *repetitions.entry(method).or_default() += 1;
            }
            let _ = fs::remove_file(path);
        }
        Unanswered { directory, next: AtomicU64::default(), repetitions: Mutex::new(repetitions) }
    }

    /// Keeps a call until the returned value is dropped. Where it cannot be written it is carried out all the same.
    pub(super) fn keep(&self, method: &str, body: &[u8]) -> Kept {
        let path = self.directory.join(self.next.fetch_add(1, Relaxed).to_string());
        let whole = [method.as_bytes(), b"\n", body].concat();
        let written = fs::create_dir_all(&self.directory).and_then(|()| fs::write(&path, whole));
        Kept(written.is_ok().then_some(path))
    }

    /// Whether a call without a body is the repetition of one that was carried out at the start.
    pub(super) fn is_repetition(&self, method: &str) -> bool {
        let mut repetitions = self.repetitions.lock().unwrap_or_else(PoisonError::into_inner);
        match repetitions.get_mut(method) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

//! What can go wrong in a lab, each in one sentence.

use std::io;

use crate::cli::client::ClientError;
use crate::link::LinkError;
use crate::netns::NetnsError;

/// Why something could not be built or measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A namespace.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// A device, an address or a route.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A daemon's refusal.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A system call.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried, with its object.
        action: String,
        /// The system's error.
        source: io::Error,
    },
    /// Anything else, said in full.
    #[error("{0}")]
    Sentence(String),
}

impl BenchError {
    pub(super) fn sentence(text: impl Into<String>) -> BenchError {
        BenchError::Sentence(text.into())
    }
}

/// What a failed system call was for.
pub(super) fn cannot(action: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
    let action = action.into();
    |source| BenchError::System { action, source }
}

/// Waits for a thread of the generator; one that panicked has said so.
pub(super) fn joined<T>(result: std::thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

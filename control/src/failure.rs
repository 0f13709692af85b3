//! Why a command of the program failed.

use std::io;

use crate::cli::client;

/// Why a command failed; each prints as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon refused or cannot be reached.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// Anything else, said in full, with an exit status of its own.
    #[error("{sentence}")]
    Coded {
        /// For people.
        sentence: String,
        /// For shells.
        code: u8,
    },
    /// Anything else, said in full.
    #[error("{0}")]
    Sentence(String),
}

impl Failure {
    /// A failure in one sentence.
    pub fn sentence(text: &str) -> Failure {
        Failure::Sentence(text.to_owned())
    }

    /// The exit status that says so.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Coded { code, .. } => *code,
            _ => 1,
        }
    }

    /// Whoever reads our output has seen enough (`| head`): not an error.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Failure::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

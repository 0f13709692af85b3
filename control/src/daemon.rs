//! stub
/// stub
#[derive(Debug)]
pub struct DaemonOptions {
    /// s
    pub socket: std::path::PathBuf,
    /// s
    pub state_dir: std::path::PathBuf,
    /// s
    pub config: Option<std::path::PathBuf>,
    /// s
    pub ephemeral: bool,
    /// s
    pub workers: usize,
}
/// stub
/// # Errors
/// s
pub fn run(_o: DaemonOptions) -> Result<(), crate::cli::Failure> {
    Err(crate::cli::Failure::sentence("stub"))
}

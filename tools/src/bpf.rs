//! A kernel without bpf(2), as far as one program can tell: what gVisor is, and many a container.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::lab::LabError;

/// Takes bpf(2) from the calling thread and from every program that it starts from now on. There is no way back.
///
/// # Errors
/// A kernel without seccomp, or a processor that the filter's compiler does not know.
pub fn deny() -> Result<(), LabError> {
    let filter = SeccompFilter::new(
        [(libc::SYS_bpf, Vec::new())].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

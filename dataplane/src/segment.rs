//! Software segmentation of super-frames and completion of partial checksums.
use crate::frame::Frame;
use crate::offload::Offload;
use crate::port::Offloads;
use crate::verdict::DropReason;
/// What must be done to a frame before a device can take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The device takes it as it is.
    Nothing,
    /// Complete its checksum.
    Checksum,
    /// Cut it into segments.
    Segment,
}
/// x
#[inline]
pub fn needs_work(_offload: &Offload, _egress: Offloads) -> Work {
    Work::Nothing
}
/// # Errors
pub fn segment(
    _frame: &Frame<'_>,
    _egress: Offloads,
    _scratch: &mut Vec<u8>,
    _emit: &mut dyn FnMut(&Frame<'_>),
) -> Result<usize, DropReason> {
    Err(DropReason::Unsegmentable)
}

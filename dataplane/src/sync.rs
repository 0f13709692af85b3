//! The atomics of the lock-free parts, by one name, so that a model checker can put its own in their place.

pub(crate) use core::sync::atomic;

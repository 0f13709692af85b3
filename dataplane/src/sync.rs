//! What threads share and tell one another by, by one name, so that a model checker can put its own in their place.

pub(crate) use core::sync::atomic;
pub(crate) use std::sync::Arc;

pub(crate) use crossbeam_channel as channel;

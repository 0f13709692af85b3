//! Choosing a port without a trace of it: a search changes the pool, so the pool is saved before and put back afterwards. That is a
//! copy of some 400 KiB, 3 MB at most, and only traces need it.

use super::{Pool, Ports};
use crate::edge::tuple::Protocol;

/// A pool as it was.
#[derive(Debug)]
pub struct SavedPool(Pool);

impl Ports {
    /// The pool as it is.
    pub fn save(&self, protocol: Protocol) -> SavedPool {
        SavedPool(self.pool(protocol).clone())
    }

    /// The pool is as it was again.
    pub fn restore(&mut self, protocol: Protocol, SavedPool(pool): SavedPool) {
        *self.pool_mut(protocol) = pool;
    }
}

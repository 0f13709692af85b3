//! Worker threads: the only place where I/O meets decision.

//! The HTTP+JSON API: resources ([`types`]) and, later in this file's chapters, how they are served.

pub mod types;

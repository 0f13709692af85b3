//! Names: a resolver at the gateway of each network, and at 127.0.0.11 in sandboxes.
//!
//! ```text
//! message ──▶ decide ──┬─▶ answer: a name of our own (zone), or that there is none
//!                      └─▶ exchange: somebody else's name; whom to ask and when
//! ```
//!
//! 1. [`message`]: what is asked and said on the wire.
//! 2. [`zone`]: the names that pontoon gave, and who may know them. [`decide`]: what becomes of a message.
//! 3. [`exchange`]: a question that others are asked. [`upstreams`]: whom the host asks. [`share`]: how many may be under way.
//! 4. [`place`]: where names can be asked for. `serve`: a place's sockets. `forward`: asks others. [`resolver`]: all of it.
//! 5. [`count`]: what happened how often.
//!
//! Up to 3 nothing does I/O or reads a clock.

pub mod count;
pub mod decide;
pub mod exchange;
mod forward;
pub mod message;
pub mod place;
pub mod resolver;
mod serve;
pub mod share;
pub mod upstreams;
pub mod zone;

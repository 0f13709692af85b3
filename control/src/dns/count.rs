//! How often what happened, by name.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// A message by UDP.
    Udp,
    /// A message by TCP.
    Tcp,
    /// A name or an address of our own that is there.
    Answered,
    /// A name of our own that has nothing of the type that was asked for.
    NoData,
    /// A name that is not there, and that nobody else is asked for.
    NoSuchName,
    /// Somebody else was asked.
    Forwarded,
    /// Somebody else has answered.
    ForwardAnswered,
    /// Nobody who was asked has answered in time.
    ForwardSilent,
    /// There is nobody to ask.
    NoUpstream,
    /// The networks of the asker reach nobody outside.
    KeptInside,
    /// The asker has too many questions under way.
    TooMany,
    /// A message that is no query.
    Malformed,
    /// A query for something that there is not.
    NotImplemented,
    /// A query for a zone as a whole, or of another class.
    Refused,
    /// An answer that the asker has no room for.
    Unsent,
    /// A datagram more than may wait to be looked at.
    Overrun,
    /// A TCP connection more than there may be.
    TooManyConnections,
}

impl Count {
    /// All there is, in the order in which people see it.
    pub const ALL: [Count; 17] = [
        Count::Udp,
        Count::Tcp,
        Count::Answered,
        Count::NoData,
        Count::NoSuchName,
        Count::Forwarded,
        Count::ForwardAnswered,
        Count::ForwardSilent,
        Count::NoUpstream,
        Count::KeptInside,
        Count::TooMany,
        Count::Malformed,
        Count::NotImplemented,
        Count::Refused,
        Count::Unsent,
        Count::Overrun,
        Count::TooManyConnections,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What it says, in a sentence.
    pub fn sentence(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Count::Udp => ("udp", "messages by UDP"),
            Count::Tcp => ("tcp", "messages by TCP"),
            Count::Answered => ("answered", "names and addresses of pontoon's own, answered"),
            Count::NoData => {
                ("no-data", "pontoon's own names that have nothing of the type that was asked for")
            }
            Count::NoSuchName => {
                ("no-such-name", "names that are not there and that nobody else is asked for")
            }
            Count::Forwarded => ("forwarded", "questions that another resolver was asked"),
            Count::ForwardAnswered => ("forward-answered", "of those, answered"),
            Count::ForwardSilent => ("forward-silent", "of those, without an answer in time: SERVFAIL"),
            Count::NoUpstream => ("no-upstream", "questions for others with nobody to ask: SERVFAIL"),
            Count::KeptInside => {
                ("kept-inside", "questions for others from networks that reach nobody outside: SERVFAIL")
            }
            Count::TooMany => {
                ("too-many", "questions for others while too many of the asker's were under way: SERVFAIL")
            }
            Count::Malformed => (
                "malformed",
                "messages that are no query: FORMERR, or no answer where there is nothing to answer to",
            ),
            Count::NotImplemented => {
                ("not-implemented", "other operations than queries, and other versions of EDNS than 0")
            }
            Count::Refused => ("refused", "zone transfers, and other classes than IN"),
            Count::Unsent => ("unsent", "answers that whoever asked had no room for"),
            Count::Overrun => ("overrun", "datagrams that whoever sent them had too many of waiting"),
            Count::TooManyConnections => {
                ("too-many-connections", "TCP connections that were closed for there were too many")
            }
        }
    }
}

/// Counters. Every thread may count.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Count::ALL.len()]);

impl Counters {
    /// Counts one.
    pub fn count(&self, what: Count) {
        if let Some(counter) = self.0.get(what as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, what: Count) -> u64 {
        self.0.get(what as usize).map_or(0, |counter| counter.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_counter_and_a_name_of_its_own() {
        let counters = Counters::default();
        let mut names = std::collections::BTreeSet::new();
        for (place, count) in Count::ALL.into_iter().enumerate() {
            counters.count(count);
            assert_eq!((count as usize, counters.get(count)), (place, 1), "{}", count.name());
            assert!(names.insert(count.name()));
        }
    }
}

//! Frames described in words, for people who want to know what would become of them.
//!
//! ```text
//! tcp 10.0.0.2:1234 > 192.0.2.7:80 flags=syn,ack ttl=3 len=100 df
//! udp 10.0.0.2:1234 > 192.0.2.7:53
//! icmp 10.0.0.2 > 192.0.2.7 id 7 seq 1
//! arp who-has 10.0.0.1 tell 10.0.0.2
//! ```
//!
//! | option | of | meaning | unless given |
//! |---|---|---|---|
//! | `flags=` | tcp | control bits: `syn`, `ack`, `fin`, `rst`, `psh`, commas between them | `syn` |
//! | `id`, `seq` | icmp | identifier and sequence number of the echo request | 1 |
//! | `ttl=` | tcp, udp, icmp | time to live | 64 |
//! | `len=` | tcp, udp, icmp | bytes behind the header of TCP, UDP or ICMP, all zero | 0 |
//! | `df` | tcp, udp, icmp | must not be fragmented | may be |
//!
//! A number may follow its option after `=` or after a space.

use core::str::FromStr;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::build;
use crate::addr::MacAddr;
use crate::edge::packet::TcpFlags;

/// A frame described in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    kind: Kind,
}

/// What a probe is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Arp,
    Packet { transport: Transport, options: Options },
}

/// What a probe carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp { ports: (u16, u16), flags: TcpFlags },
    Udp { ports: (u16, u16) },
    Echo { ident: u16, sequence: u16 },
}

/// What can be said of any packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) ttl: u8,
    /// Bytes of payload behind the transport's header.
    pub(super) payload_len: u16,
    pub(super) dont_fragment: bool,
}

/// Longest payload that can be asked for, in bytes: with the longest headers it makes the longest packet.
const MAX_PAYLOAD_LEN: u16 = 65_535 - 20 - 20;

/// The description cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: expected {expected}, found {found}")]
pub struct GrammarError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What should stand there.
    pub expected: &'static str,
    /// What stands there, in quotes, or that the text ends there.
    pub found: String,
}

impl Probe {
    /// A question for the MAC of `destination`, by `source`.
    pub fn arp_request(source: Ipv4Addr, destination: Ipv4Addr) -> Probe {
        Probe { source, destination, kind: Kind::Arp }
    }

    /// The packet's source address; of an ARP request, the sender's.
    pub fn source(&self) -> Ipv4Addr {
        self.source
    }

    /// The packet's destination address; of an ARP request, the one asked for.
    pub fn destination(&self) -> Ipv4Addr {
        self.destination
    }

    /// Whether it is an ARP request.
    pub fn is_arp(&self) -> bool {
        self.kind == Kind::Arp
    }

    /// The frame, with right checksums. An ARP request goes to everybody, whatever `dst_mac`.
    pub fn frame(&self, src_mac: MacAddr, dst_mac: MacAddr) -> Vec<u8> {
        match &self.kind {
            Kind::Arp => build::arp_request(src_mac, self.source, self.destination),
            Kind::Packet { transport, options } => {
                build::packet((src_mac, dst_mac), (self.source, self.destination), transport, options)
            }
        }
    }
}

impl FromStr for Probe {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FIRST: &str = "tcp, udp, icmp or arp";
        let mut words = Words { rest: text, column: 1 };
        let first = words.next();
        if first.text == "arp" {
            return arp_request(&mut words);
        }
        let (source, destination, mut transport) = match first.text {
            "tcp" | "udp" => {
                let (src, dst) = flow(&mut words, "an IPv4 address and a port such as 10.0.0.2:1234")?;
                let (src, dst): (SocketAddrV4, SocketAddrV4) = (src, dst);
                let ports = (src.port(), dst.port());
                let transport = if first.text == "tcp" {
                    Transport::Tcp { ports, flags: TcpFlags::SYN }
                } else {
                    Transport::Udp { ports }
                };
                (*src.ip(), *dst.ip(), transport)
            }
            "icmp" => {
                let (src, dst) = flow(&mut words, ADDRESS)?;
                (src, dst, Transport::Echo { ident: 1, sequence: 1 })
            }
            _ => return Err(first.is_not(FIRST)),
        };
        let options = options(&mut words, &mut transport)?;
        Ok(Probe { source, destination, kind: Kind::Packet { transport, options } })
    }
}

const ADDRESS: &str = "an IPv4 address such as 10.0.0.2";

fn arp_request(words: &mut Words<'_>) -> Result<Probe, GrammarError> {
    words.literal("who-has", "\"who-has\"")?;
    let destination = words.value(ADDRESS, |text| text.parse().ok())?;
    words.literal("tell", "\"tell\"")?;
    let source = words.value(ADDRESS, |text| text.parse().ok())?;
    words.literal("", "the end, for an ARP request has no options")?;
    Ok(Probe::arp_request(source, destination))
}

/// `SOURCE > DESTINATION`.
fn flow<T: FromStr>(words: &mut Words<'_>, expected: &'static str) -> Result<(T, T), GrammarError> {
    let source = words.value(expected, |text| text.parse().ok())?;
    words.literal(">", "\">\"")?;
    let destination = words.value(expected, |text| text.parse().ok())?;
    Ok((source, destination))
}

/// What follows the destination, up to the end.
fn options(words: &mut Words<'_>, transport: &mut Transport) -> Result<Options, GrammarError> {
    const NUMBER: &str = "a number from 0 to 65535";
    let number = |text: &str| text.parse().ok();
    let allowed = match transport {
        Transport::Tcp { .. } => "flags=, ttl=, len=, df or the end",
        Transport::Udp { .. } => "ttl=, len=, df or the end",
        Transport::Echo { .. } => "id, seq, ttl=, len=, df or the end",
    };
    let mut options = Options { ttl: 64, payload_len: 0, dont_fragment: false };
    loop {
        let word = words.next();
        match (word.text, &mut *transport) {
            ("", _) => return Ok(options),
            ("flags", Transport::Tcp { flags, .. }) => {
                *flags = words.value("some of syn, ack, fin, rst and psh, commas between them", tcp_flags)?;
            }
            ("id", Transport::Echo { ident, .. }) => *ident = words.value(NUMBER, number)?,
            ("seq", Transport::Echo { sequence, .. }) => *sequence = words.value(NUMBER, number)?,
            ("ttl", _) => options.ttl = words.value("a number from 0 to 255", |text| text.parse().ok())?,
            ("len", _) => {
                let fits = |len: &u16| *len <= MAX_PAYLOAD_LEN;
                options.payload_len =
                    words.value("a number from 0 to 65495", |text| text.parse().ok().filter(fits))?;
            }
            ("df", _) => options.dont_fragment = true,
            _ => return Err(word.is_not(allowed)),
        }
    }
}

fn tcp_flags(text: &str) -> Option<TcpFlags> {
    /// The application is to have the data at once.
    const PSH: TcpFlags = TcpFlags(0x08);
    text.split(',').try_fold(TcpFlags(0), |flags, name| {
        let flag = match name {
            "syn" => TcpFlags::SYN,
            "ack" => TcpFlags::ACK,
            "fin" => TcpFlags::FIN,
            "rst" => TcpFlags::RST,
            "psh" => PSH,
            _ => return None,
        };
        Some(TcpFlags(flags.0 | flag.0))
    })
}

/// What is left of a text, word by word. Spaces and `=` stand between words.
struct Words<'a> {
    rest: &'a str,
    column: usize,
}

/// A word; an empty one stands for the end.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    column: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Word<'a> {
        let is_between = |c: char| c.is_whitespace() || c == '=';
        let trimmed = self.rest.trim_start_matches(is_between);
        self.advance(self.rest.len() - trimmed.len());
        let word = Word { text: trimmed.split(is_between).next().unwrap_or_default(), column: self.column };
        self.advance(word.text.len());
        word
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.column += passed.chars().count();
        self.rest = rest;
    }

    /// The next word must be `text`, empty for the end.
    fn literal(&mut self, text: &str, expected: &'static str) -> Result<(), GrammarError> {
        let word = self.next();
        if word.text == text { Ok(()) } else { Err(word.is_not(expected)) }
    }

    /// The next word, understood by `parse`.
    fn value<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, GrammarError> {
        let word = self.next();
        parse(word.text).ok_or_else(|| word.is_not(expected))
    }
}

impl Word<'_> {
    fn is_not(self, expected: &'static str) -> GrammarError {
        let found = if self.text.is_empty() { "the end".to_owned() } else { format!("\"{}\"", self.text) };
        GrammarError { column: self.column, expected, found }
    }
}

#[cfg(test)]
mod tests;

//! As much of nf_tables as it takes to see whether anybody has used it, and to use it a little where a test must be seen to notice.
//!
//! Numbers are those of include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h, and of ../netlink.h.

use std::io;
use std::ops::Range;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};

const SUBSYSTEM: u16 = 10;
const NEW_GENERATION: u16 = SUBSYSTEM << 8 | 15;
const GET_GENERATION: u16 = SUBSYSTEM << 8 | 16;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const REQUEST: u16 = 0x0001;
const ACKNOWLEDGE: u16 = 0x0004;
/// Of an answer: what was asked about has changed while it was told.
const INTERRUPTED: u16 = 0x0010;
const DUMP: u16 = 0x0300;
const CREATE: u16 = 0x0400;
const APPEND: u16 = 0x0800;

const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Bytes of a netlink header, and of nfnetlink's behind it.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// What is in a table, or is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A table.
    Table,
    /// A chain of a table.
    Chain,
    /// A rule of a chain.
    Rule,
}

impl Object {
    /// The message that makes one; the next number asks for them.
    fn message(self) -> u16 {
        SUBSYSTEM << 8
            | match self {
                Object::Table => 0,
                Object::Chain => 3,
                Object::Rule => 6,
            }
    }
}

/// What one namespace has of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Another one after every change, also after one that was taken back since.
    pub generation: u32,
    /// Tables of every family.
    pub tables: usize,
    /// Chains of every table.
    pub chains: usize,
    /// Rules of every chain.
    pub rules: usize,
}

/// Counts what the calling thread's namespace has; nothing on a kernel that has no nf_tables.
///
/// # Errors
/// The system's error: EPERM after [`crate::netfilter::deny`].
pub fn census() -> io::Result<Option<Census>> {
    let socket = match open() {
        Err(Errno::PROTONOSUPPORT) => return Ok(None),
        socket => socket?,
    };
    let generation = match ask(&socket, GET_GENERATION, 0) {
        // What nfnetlink says of a subsystem that is not there. There is nothing else about this question that could be invalid.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return Ok(None),
        answers => answers?,
    };
    let generation = generation.iter().find(|(kind, _)| *kind == NEW_GENERATION);
    // One attribute: its length and type, and a number in network byte order.
    let generation = generation.and_then(|(_, payload)| payload.get(FAMILY_HEADER + 4..)?.first_chunk());
    let generation = generation.ok_or_else(|| io::Error::other("nf_tables did not tell its generation"))?;
    let count = |object: Object| -> io::Result<usize> {
        let told = ask(&socket, object.message() + 1, DUMP)?;
        Ok(told.iter().filter(|(kind, _)| *kind == object.message()).count())
    };
    Ok(Some(Census {
        generation: u32::from_be_bytes(*generation),
        tables: count(Object::Table)?,
        chains: count(Object::Chain)?,
        rules: count(Object::Rule)?,
    }))
}

/// The family of IPv4's tables (NFPROTO_IPV4).
const IPV4: u8 = 2;
/// What the lab's table and chain are called.
const NAME: &[u8] = b"lab\0";

/// Adds an object of IPv4 to the calling thread's namespace, each to the one that was added before: a table, a chain, a rule.
///
/// # Errors
/// The system's error.
pub fn add(object: Object) -> io::Result<()> {
    let (attributes, more) = match object {
        Object::Table => (name(1), 0),
        Object::Chain => ([name(1), name(3)].concat(), 0),
        Object::Rule => ([name(1), name(2)].concat(), APPEND),
    };
    change(object.message(), CREATE | more, &attributes)
}

/// Removes the table that was added, with all that is in it.
///
/// # Errors
/// The system's error.
pub fn remove_table() -> io::Result<()> {
    change(Object::Table.message() + 2, 0, &name(1))
}

/// An attribute of that number that says [`NAME`].
fn name(number: u16) -> Vec<u8> {
    [&8u16.to_ne_bytes()[..], &number.to_ne_bytes(), NAME].concat()
}

/// A transaction of one change.
fn change(kind: u16, flags: u16, attributes: &[u8]) -> io::Result<()> {
    let bracket = |kind| message(kind, REQUEST, (0, SUBSYSTEM), &[]);
    let order = message(kind, REQUEST | ACKNOWLEDGE | flags, (IPV4, 0), attributes);
    let socket = open()?;
    send(&socket, &[bracket(BATCH_BEGIN), order, bracket(BATCH_END)].concat(), SendFlags::empty())?;
    answers(&socket).map(drop)
}

fn open() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER))
}

/// Kind and payload of whatever answers a question.
fn ask(socket: &OwnedFd, kind: u16, flags: u16) -> io::Result<Vec<(u16, Vec<u8>)>> {
    // A dump is over when the kernel says so, anything else when it has been acknowledged.
    let flags = if flags & DUMP == DUMP { flags } else { flags | ACKNOWLEDGE };
    send(socket, &message(kind, REQUEST | flags, (0, 0), &[]), SendFlags::empty())?;
    answers(socket)
}

fn message(kind: u16, flags: u16, (family, resource): (u8, u16), attributes: &[u8]) -> Vec<u8> {
    let len = (HEADER + FAMILY_HEADER + attributes.len()) as u32;
    let header = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    [&header[..], &[family, 0], &resource.to_be_bytes(), attributes].concat()
}

/// Everything up to the end or the acknowledgement.
fn answers(socket: &OwnedFd) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let mut buffer = vec![0; 64 * 1024];
    let mut answers = Vec::new();
    loop {
        let (_, len) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..len.min(buffer.len())];
        while let (Some(len), Some(kind), Some(flags)) =
            (number(rest, 0..4), number(rest, 4..6), number(rest, 6..8))
        {
            if flags as u16 & INTERRUPTED != 0 {
                return Err(io::Error::other("nf_tables changed while it was looked at"));
            }
            let payload = rest.get(HEADER..len as usize).unwrap_or_default();
            match kind as u16 {
                // Both begin with an error number, negative as the kernel has it; 0 is none.
                ERROR | DONE => {
                    let error = number(payload, 0..4).unwrap_or(0) as i32;
                    return if error == 0 { Ok(answers) } else { Err(io::Error::from_raw_os_error(-error)) };
                }
                kind => answers.push((kind, payload.to_vec())),
            }
            rest = rest.get((len as usize).max(HEADER).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Two or four bytes in the machine's byte order, which is netlink's.
fn number(bytes: &[u8], range: Range<usize>) -> Option<u32> {
    match *bytes.get(range)? {
        [a, b] => Some(u16::from_ne_bytes([a, b]).into()),
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d])),
        _ => None,
    }
}

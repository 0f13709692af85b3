//! What the kernel tells of its own accord: that interfaces, addresses, routes or rules have changed, or that somebody has written into
//! the neighbour table. What the kernel learns of neighbours by itself is no news.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_ROUTE;

use super::kernel::{BUFFER_BYTES, messages};

/// What a [`Monitor`] heard of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Interfaces or addresses have changed.
    pub(super) interfaces: bool,
    /// Routes, policy rules or what the administrator says of next hops have changed.
    pub(super) routes: bool,
    /// Interfaces that are gone, by number; another one may have the number by now.
    pub(super) deleted: BTreeSet<u32>,
}

/// A socket that hears of every change of interfaces, addresses, routes, rules and neighbours.
#[derive(Debug)]
pub(super) struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

/// Multicast groups (linux/rtnetlink.h): links, neighbours, IPv4 addresses, routes and rules.
const GROUPS: [u32; 5] = [1, 3, 5, 7, 8];

/// Next hops that routes refer to, in kernels from 5.3 on; their changes are not told as changes of routes.
const NEXT_HOPS: u32 = 32;

/// At most this many datagrams are read before somebody acts on them.
const NEWS_AT_ONCE: usize = 256;

impl Monitor {
    /// Listens in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Monitor> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        // Older kernels do not have it and need it not.
        let _ = socket.add_membership(NEXT_HOPS);
        socket.set_non_blocking(true)?;
        Ok(Monitor { socket, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// What has been told since the last time. When the kernel had to drop some of it, everything may have changed.
    pub(super) fn read(&mut self) -> io::Result<News> {
        let mut news = News::default();
        for _ in 0..NEWS_AT_ONCE {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => messages(&self.buffer).for_each(|message| news.hear(message)),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    news.interfaces = true;
                    news.routes = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(news)
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl News {
    /// Little but the message's type is of interest: what it says is asked for anew, together with all the rest.
    fn hear(&mut self, message: &[u8]) {
        let kind = message.get(4..).and_then(<[u8]>::first_chunk);
        match kind.map_or(0, |bytes| u16::from_ne_bytes(*bytes)) {
            libc::RTM_NEWLINK | libc::RTM_NEWADDR | libc::RTM_DELADDR => self.interfaces = true,
            libc::RTM_DELLINK => {
                self.interfaces = true;
                self.deleted.extend(deleted_interface(message));
            }
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => self.routes |= is_written_neighbour(message),
            0 => {}
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE if is_local(message) => {
                self.interfaces = true;
                self.routes = true;
            }
            _ => self.routes = true,
        }
    }

    /// Adds what was heard of later.
    pub(super) fn add(&mut self, later: News) {
        self.interfaces |= later.interfaces;
        self.routes |= later.routes;
        self.deleted.extend(later.deleted);
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.interfaces || self.routes
    }
}

/// Whether an IPv4 neighbour (`struct ndmsg` behind the 16-byte header) is somebody's wish: it is permanent or needs no ARP, or a
/// program has changed it, whose netlink port the header then names.
fn is_written_neighbour(message: &[u8]) -> bool {
    let asker = message.get(12..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let state = message.get(24..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_ne_bytes(*bytes));
    let is_ipv4 = message.get(16).is_some_and(|&family| i32::from(family) == libc::AF_INET);
    is_ipv4 && (asker != 0 || state & (libc::NUD_PERMANENT | libc::NUD_NOARP) != 0)
}

/// Whether a message about a route (`struct rtmsg` behind the 16-byte header) is about one that makes addresses the host's own.
fn is_local(message: &[u8]) -> bool {
    let is = |at: usize, value: u8| message.get(at) == Some(&value);
    is(16, libc::AF_INET as u8) && is(20, libc::RT_TABLE_LOCAL) && is(23, libc::RTN_LOCAL)
}

/// The number of the interface that an RTM_DELLINK is about (`struct ifinfomsg` behind the 16-byte header). Those of another
/// family than AF_UNSPEC tell that it has left a bridge, no more.
fn deleted_interface(message: &[u8]) -> Option<u32> {
    let family = *message.get(16)?;
    let index = u32::from_ne_bytes(*message.get(20..)?.first_chunk()?);
    (i32::from(family) == libc::AF_UNSPEC).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a message of that type, and a `struct ifinfomsg`.
    fn message(kind: u16, family: u8, index: u32) -> Vec<u8> {
        let mut message = vec![0; 32];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[16] = family;
        message[20..24].copy_from_slice(&index.to_ne_bytes());
        message
    }

    #[test]
    fn messages_are_news_of_the_right_kind() {
        let heard = |kind, family| {
            let mut news = News::default();
            news.hear(&message(kind, family, 7));
            news
        };
        let interfaces = News { interfaces: true, ..News::default() };
        let routes = News { routes: true, ..News::default() };
        for kind in [libc::RTM_NEWLINK, libc::RTM_NEWADDR, libc::RTM_DELADDR] {
            assert_eq!(heard(kind, 0), interfaces);
        }
        for kind in [libc::RTM_NEWROUTE, libc::RTM_DELROUTE, libc::RTM_NEWRULE, libc::RTM_DELRULE, 104] {
            assert_eq!(heard(kind, 0), routes);
        }
        // Addresses that the host gets by a route.
        let mut local = message(libc::RTM_NEWROUTE, libc::AF_INET as u8, 0);
        (local[20], local[23]) = (libc::RT_TABLE_LOCAL, libc::RTN_LOCAL);
        let mut news = News::default();
        news.hear(&local);
        assert_eq!(news, News { interfaces: true, routes: true, ..News::default() });
        assert_eq!(heard(libc::RTM_DELLINK, 0), News { deleted: BTreeSet::from([7]), ..interfaces.clone() });
        // It has only left a bridge.
        assert_eq!(heard(libc::RTM_DELLINK, libc::AF_BRIDGE as u8), interfaces);
        // Too short to be any.
        let mut news = News::default();
        news.hear(&[0; 5]);
        assert!(!news.is_any());
    }

    #[test]
    fn neighbours_are_news_when_somebody_has_written_them() {
        let heard = |family: i32, asker: u32, state: u16| {
            let mut message = message(libc::RTM_NEWNEIGH, family as u8, 7);
            message[12..16].copy_from_slice(&asker.to_ne_bytes());
            message[24..26].copy_from_slice(&state.to_ne_bytes());
            let mut news = News::default();
            news.hear(&message);
            news.is_any()
        };
        assert!(heard(libc::AF_INET, 0, libc::NUD_PERMANENT) && heard(libc::AF_INET, 0, libc::NUD_NOARP));
        assert!(heard(libc::AF_INET, 4242, libc::NUD_FAILED), "deleted by hand");
        assert!(!heard(libc::AF_INET, 0, libc::NUD_REACHABLE) && !heard(libc::AF_INET, 0, libc::NUD_FAILED));
        assert!(!heard(libc::AF_BRIDGE, 4242, libc::NUD_PERMANENT), "a bridge's table");
    }

    #[test]
    fn news_add_up() {
        let mut news = News { routes: true, deleted: BTreeSet::from([3]), ..News::default() };
        news.add(News { interfaces: true, routes: false, deleted: BTreeSet::from([4]) });
        assert_eq!(news, News { interfaces: true, routes: true, deleted: BTreeSet::from([3, 4]) });
    }
}

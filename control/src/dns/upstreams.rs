//! Whom the host asks: resolv.conf(5), read again whenever it has changed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::exchange::TRIES;
use super::zone::PORT;

/// Where the host's resolvers are named.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// More than this of the file is not read, in bytes.
const LARGEST: u64 = 64 << 10;

/// What a file is recognised by, however it was written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The resolvers that a file names.
#[derive(Debug)]
pub struct HostResolvers {
    path: PathBuf,
    seen: Option<Stamp>,
    upstreams: Vec<SocketAddr>,
}

impl HostResolvers {
    /// Those of this file, which need not be there yet.
    pub fn of(path: PathBuf) -> HostResolvers {
        HostResolvers { path, seen: None, upstreams: local() }
    }

    /// Those that the file names now. To look whether it is still the same costs a microsecond, so that is done for each question. While it cannot be
    /// read the last ones stay.
    pub fn now(&mut self) -> &[SocketAddr] {
        // Follows the symbolic link that systemd-resolved and others make of it.
        let stamp = fs::metadata(&self.path).ok().filter(|it| it.len() <= LARGEST).map(|it| Stamp {
            file: (it.dev(), it.ino()),
            len: it.len(),
            modified: (it.mtime(), it.mtime_nsec()),
            changed: (it.ctime(), it.ctime_nsec()),
        });
        if stamp.is_some()
            && stamp != self.seen
            && let Ok(text) = fs::read(&self.path)
        {
            self.upstreams = parse(&String::from_utf8_lossy(&text));
            self.seen = stamp;
            tracing::info!(file = %self.path.display(), upstreams = ?self.upstreams, "the host's resolvers");
        }
        &self.upstreams
    }
}

/// What the C library takes when the file names nobody.
fn local() -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))]
}

/// The resolvers that a resolv.conf(5) names, in order.
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?.and_then(resolver)
    });
    let named: Vec<SocketAddr> = named.take(TRIES).collect();
    if named.is_empty() { local() } else { named }
}

/// A resolver's address; one of IPv6 may have its interface behind it, by name or number (RFC 4007, section 11).
fn resolver(word: &str) -> Option<SocketAddr> {
    let (address, zone) = word.split_once('%').map_or((word, None), |(address, zone)| (address, Some(zone)));
    match (address.parse().ok()?, zone) {
        (address, None) => Some(SocketAddr::new(address, PORT)),
        (IpAddr::V6(address), Some(zone)) => {
            let by_name = || nix::net::if_::if_nametoindex(zone).ok();
            let index = zone.parse().ok().or_else(by_name)?;
            Some(SocketAddrV6::new(address, PORT, 0, index).into())
        }
        (IpAddr::V4(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        parse(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nameservers_are_read_as_the_c_library_does() {
        let text = "# a comment\nsearch example.com\nnameserver 192.0.2.1 # the first\n  nameserver\t2001:db8::1\n\
                    nameserver fe80::1%1\nnameserver 192.0.2.4\noptions edns0\n";
        assert_eq!(parsed(text), ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(parsed("nameserver\nnameserver example.com\nnameserver 192.0.2.1%lo"), ["127.0.0.1:53"]);
        assert_eq!(
            parsed("nameserver fe80::2%lo\nnameserver 127.0.0.53\n"),
            ["[fe80::2%1]:53", "127.0.0.53:53"]
        );
        assert_eq!(parsed(""), ["127.0.0.1:53"]);
    }

    #[test]
    fn a_change_of_the_file_is_noticed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut resolvers = HostResolvers::of(path.clone());
        let now = |resolvers: &mut HostResolvers| resolvers.now()[0].ip().to_string();
        assert_eq!(now(&mut resolvers), "127.0.0.1");
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(now(&mut resolvers), "192.0.2.1");
        // Another file in its place, as most programs write it.
        let other = dir.path().join("other");
        fs::write(&other, "nameserver 192.0.2.2\n").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(now(&mut resolvers), "192.0.2.2");
        fs::write(&other, "nameserver 192.0.2.3\n").unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(now(&mut resolvers), "192.0.2.2", "the last ones stay");
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert_eq!(now(&mut resolvers), "192.0.2.3");
    }
}

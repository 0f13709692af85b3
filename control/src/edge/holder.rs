//! Who holds a port of the host, for people who are told that it is taken.
//!
//! The kernel lists sockets with an inode (proc(5), /proc/net/tcp), processes list theirs in /proc/PID/fd. A TCP socket that
//! is bound and neither listens nor is connected is in no list, and processes of other users or process namespaces
//! cannot be looked into: then nothing is said rather than something wrong.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use pontoon_dataplane::edge::tuple::Protocol;

/// How long is looked for the process at most. A machine with very many open files keeps its secret.
const PATIENCE: Duration = Duration::from_millis(500);

/// The state of a listener in /proc/net/tcp (include/net/tcp_states.h).
const LISTEN: u8 = 10;

/// Who holds that port on that address (none: on any), as in `nginx (pid 123)`.
pub fn holder(protocol: Protocol, address: Option<Ipv4Addr>, port: u16) -> Option<String> {
    let families = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
        Protocol::Icmp => return None,
    };
    // The calling thread's network namespace, which need not be that of the process's first thread.
    let lists = families.map(|family| fs::read_to_string(format!("/proc/thread-self/net/{family}")));
    let mut entries: Vec<Entry> =
        lists.iter().flatten().flat_map(|list| list.lines().filter_map(Entry::parse)).collect();
    entries.retain(|entry| entry.port == port && entry.is_in_the_way(address));
    // A listener is what people look for, though connections are in the way as well.
    entries.sort_by_key(|entry| entry.state != LISTEN);
    let entry = entries.first()?;
    match entry.inode {
        // It belongs to no process any more.
        0 => Some("a connection that is about to end".into()),
        inode => Some(
            process(inode).unwrap_or_else(|| format!("a process of user {} that cannot be seen", entry.user)),
        ),
    }
}

/// A line of /proc/net/tcp and the like.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    address: IpAddr,
    port: u16,
    state: u8,
    user: u32,
    inode: u64,
}

impl Entry {
    /// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`, the first four and the
    /// queues in hexadecimal, addresses as words in the machine's order.
    fn parse(line: &str) -> Option<Entry> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        Some(Entry {
            address: parse_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
            user: fields.get(7)?.parse().ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    }

    /// Whether a socket there keeps others from binding to `address`. An IPv6 socket on every address is in the way of
    /// IPv4 too unless it is said to be for IPv6 only, which the list does not tell.
    fn is_in_the_way(&self, address: Option<Ipv4Addr>) -> bool {
        match self.address.to_canonical() {
            held if held.is_unspecified() => true,
            IpAddr::V4(held) => address.is_none_or(|wanted| wanted == held),
            IpAddr::V6(_) => false,
        }
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into())
        }
        _ => None,
    }
}

/// The process that has the socket of that inode open.
fn process(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let start = Instant::now();
    let processes = fs::read_dir("/proc").ok()?.flatten().take_while(|_| start.elapsed() < PATIENCE);
    let mut numbered = processes.filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let found = numbered.find(|process| {
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let mut files = files.take_while(|_| start.elapsed() < PATIENCE);
        files.any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()))
    })?;
    let name = fs::read_to_string(found.path().join("comm")).ok()?;
    Some(format!("{} (pid {})", name.trim_end(), found.file_name().to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let words = |bytes: &[u8]| {
            bytes
                .chunks_exact(4)
                .map(|it| format!("{:08X}", u32::from_ne_bytes([it[0], it[1], it[2], it[3]])))
                .collect::<String>()
        };
        let line = |address: &str| {
            format!(
                "   0: {address}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4711 1 ffff8 100 0 0 10 0"
            )
        };
        let cases: [(&[u8], IpAddr); 3] = [
            (&[127, 0, 0, 2], "127.0.0.2".parse().unwrap()),
            (&[0; 16], "::".parse().unwrap()),
            (&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], "2001:db8::5".parse().unwrap()),
        ];
        for (bytes, address) in cases {
            let expected = Entry { address, port: 8080, state: LISTEN, user: 101, inode: 4711 };
            assert_eq!(Entry::parse(&line(&words(bytes))), Some(expected));
        }
        for strange in
            ["", "  sl  local_address rem_address   st tx_queue", "0: 0100:1 x", "0: zz:zz 0 0 0 0 0 0 0 0"]
        {
            assert_eq!(Entry::parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn a_listener_of_our_own_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = holder(Protocol::Tcp, Some(Ipv4Addr::LOCALHOST), port).unwrap();
        assert!(found.ends_with(&format!("(pid {})", std::process::id())), "{found}");
        assert_eq!(holder(Protocol::Tcp, None, port), Some(found), "it is in the way of every address");
        assert_eq!(holder(Protocol::Tcp, Some(Ipv4Addr::new(127, 0, 0, 2)), port), None);
        assert_eq!(holder(Protocol::Udp, Some(Ipv4Addr::LOCALHOST), port), None);
    }
}

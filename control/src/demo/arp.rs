//! The kernel's ARP table, as the calling thread's namespace has it.

use std::io;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::api::types::Mac;

/// A resolved neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Neighbour {
    pub ip: Ipv4Addr,
    pub mac: Mac,
}

/// The neighbours that have been resolved, in order of their addresses.
pub(super) fn table() -> io::Result<Vec<Neighbour>> {
    // /proc/net is the namespace of the process's first thread.
    std::fs::read_to_string("/proc/thread-self/net/arp").map(|text| parse(&text))
}

/// Columns: IP address, HW type, flags, HW address, mask, device (kernel: `arp_format_neigh_entry`).
fn parse(text: &str) -> Vec<Neighbour> {
    const COMPLETE: u32 = 0x2; // ATF_COM
    let line = |line: &str| {
        let mut columns = line.split_whitespace();
        let ip = columns.next()?.parse().ok()?;
        let flags = u32::from_str_radix(columns.nth(1)?.trim_start_matches("0x"), 16).ok()?;
        let mac = columns.next()?.parse().ok()?;
        (flags & COMPLETE != 0).then_some(Neighbour { ip, mac })
    };
    let mut neighbours: Vec<_> = text.lines().skip(1).filter_map(line).collect();
    neighbours.sort_unstable();
    neighbours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_entries_are_read_and_others_left_out() {
        let text = "\
IP address       HW type     Flags       HW address            Mask     Device
10.88.0.3        0x1         0x2         02:42:0a:58:00:03     *        eth0
10.88.0.9        0x1         0x0         00:00:00:00:00:00     *        eth0
10.88.0.1        0x1         0x6         02:42:0a:58:00:01     *        eth0
";
        let entry = |ip: [u8; 4], mac: &str| Neighbour { ip: ip.into(), mac: mac.parse().unwrap() };
        assert_eq!(
            parse(text),
            [entry([10, 88, 0, 1], "02:42:0a:58:00:01"), entry([10, 88, 0, 3], "02:42:0a:58:00:03")]
        );
        assert!(parse("").is_empty());
        assert!(table().is_ok());
    }
}

//! Golden captures: each directory beside this file with a `case.txt` is a case (see `pontoon_dataplane::replay::case`) that runs
//! through the production `step`; what leaves, what was decided and what was counted must be, byte for byte, what is kept there.
//!
//! `PONTOON_BLESS=1 cargo test -p pontoon-dataplane --test golden` writes the captures that [`inputs`] describes
//! and everything that comes of them. Read the changes in `events.txt` before you commit them.

// A test's way to fail.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod inputs;
mod sound;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use libtest_mimic::{Arguments, Failed, Trial};
use pontoon_dataplane::PortId;
use pontoon_dataplane::port::pcap;
use pontoon_dataplane::replay::case::{Case, Outcome};

type Capture = Vec<(Duration, Vec<u8>)>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("PONTOON_BLESS").is_some_and(|value| value == "1");
    let described = inputs::all();
    let mut names: BTreeSet<String> = directories(&root);
    names.extend(described.keys().map(|name| (*name).to_owned()));
    let trials = names
        .into_iter()
        .map(|name| {
            let directory = root.join(&name);
            let input = described.get(name.as_str()).cloned();
            Trial::test(name, move || {
                let input = input.ok_or("inputs.rs does not describe this case")?;
                if bless {
                    bless_case(&directory, &input)?;
                }
                check_case(&directory, &input)
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn directories(root: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root).expect("the directory of this file");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let directories = entries.filter(|entry| entry.path().join("case.txt").exists());
    directories.map(|entry| entry.file_name().into_string().expect("a plain name")).collect()
}

/// The ports that `directory` holds captures of one way for.
fn captures(directory: &Path, way: &str) -> Result<BTreeMap<PortId, Capture>, Failed> {
    let mut captures = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().into_string().expect("a plain name");
        let number = name
            .strip_prefix("port-")
            .and_then(|rest| rest.strip_suffix(".pcap"))
            .and_then(|rest| rest.strip_suffix(way))
            .and_then(|rest| rest.strip_suffix('.'));
        if let Some(number) = number {
            let id = PortId(number.parse()?);
            captures.insert(id, pcap::read(&directory.join(&name))?);
        }
    }
    Ok(captures)
}

fn check_case(directory: &Path, input: &BTreeMap<PortId, Capture>) -> Result<(), Failed> {
    compare("in", &captures(directory, "in")?, input)?;
    let Outcome { sent, events, counters } = Case::load(directory)?.run();
    compare("out", &captures(directory, "out")?, &sent)?;
    if directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nat-")) {
        sound::check(input, &sent)?;
    }
    compare_text(directory, "counters.txt", &counters)?;
    compare_text(directory, "events.txt", &events)
}

fn bless_case(directory: &Path, input: &BTreeMap<PortId, Capture>) -> Result<(), Failed> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pcap") {
            std::fs::remove_file(path)?;
        }
    }
    for (&port, frames) in input {
        let mut writer = pcap::Writer::create(&directory.join(format!("port-{}.in.pcap", port.0)))?;
        for (at, bytes) in frames {
            writer.write(*at, bytes)?;
        }
        writer.finish()?;
    }
    Ok(Case::load(directory)?.run().write(directory)?)
}

/// Fails with the first frame that differs, decoded.
fn compare(
    way: &str,
    kept: &BTreeMap<PortId, Capture>,
    found: &BTreeMap<PortId, Capture>,
) -> Result<(), Failed> {
    let ports: BTreeSet<PortId> = kept.keys().chain(found.keys()).copied().collect();
    for port in ports {
        let none = Capture::new();
        let (kept, found) = (kept.get(&port).unwrap_or(&none), found.get(&port).unwrap_or(&none));
        let Some(index) = (0..kept.len().max(found.len())).find(|&index| kept.get(index) != found.get(index))
        else {
            continue;
        };
        let mut text = format!(
            "{port} {way}: frame {} differs ({} frames kept, {} found)\n",
            index + 1,
            kept.len(),
            found.len()
        );
        describe("kept ", kept.get(index), &mut text);
        describe("found", found.get(index), &mut text);
        if let (Some((_, kept)), Some((_, found))) = (kept.get(index), found.get(index)) {
            let at = (0..kept.len().max(found.len())).find(|&at| kept.get(at) != found.get(at));
            let _ = match at {
                Some(at) => writeln!(
                    text,
                    "  byte {at}: {:02x?} kept, {:02x?} found",
                    &kept[at.min(kept.len())..kept.len().min(at + 8)],
                    &found[at.min(found.len())..found.len().min(at + 8)]
                ),
                None => writeln!(text, "  the bytes are the same, the times are not"),
            };
        }
        return Err(text.into());
    }
    Ok(())
}

fn compare_text(directory: &Path, name: &str, found: &str) -> Result<(), Failed> {
    let path = directory.join(name);
    let kept = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut kept_lines, mut found_lines, mut line) = (kept.lines(), found.lines(), 0);
    loop {
        line += 1;
        match (kept_lines.next(), found_lines.next()) {
            (None, None) => return Ok(()),
            (kept, found) if kept == found => {}
            (kept, found) => {
                let end = "(end of file)";
                let (kept, found) = (kept.unwrap_or(end), found.unwrap_or(end));
                return Err(
                    format!("{name}, line {line} differs\n  kept:  {kept}\n  found: {found}\n").into()
                );
            }
        }
    }
}

/// A frame as etherparse reads it.
fn describe(which: &str, frame: Option<&(Duration, Vec<u8>)>, text: &mut String) {
    let Some((at, bytes)) = frame else {
        let _ = writeln!(text, "  {which}: none");
        return;
    };
    let _ = write!(text, "  {which}: at {:.6} s, {} bytes", at.as_secs_f64(), bytes.len());
    let Ok(packet) = SlicedPacket::from_ethernet(bytes) else {
        let _ = writeln!(text, ", not to be decoded: {bytes:02x?}");
        return;
    };
    if let Some(link) = packet.link.as_ref().and_then(|link| link.to_header()?.ethernet2()) {
        let _ = write!(text, ", {:02x?} > {:02x?} {:?}", link.source, link.destination, link.ether_type);
    }
    for tag in packet.vlan_ids() {
        let _ = write!(text, ", VLAN {}", tag.value());
    }
    let _ = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header();
            write!(text, ", {} > {} id {}", ip.source_addr(), ip.destination_addr(), ip.identification())
        }
        Some(NetSlice::Ipv6(ip)) => {
            let ip = ip.header();
            write!(text, ", {} > {}", ip.source_addr(), ip.destination_addr())
        }
        Some(NetSlice::Arp(arp)) => write!(text, ", ARP {:?}", arp.operation()),
        None => Ok(()),
    };
    let _ = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => write!(
            text,
            ", TCP {} > {} seq {} checksum {:04x}, {} bytes of data",
            tcp.source_port(),
            tcp.destination_port(),
            tcp.sequence_number(),
            tcp.checksum(),
            tcp.payload().len()
        ),
        Some(TransportSlice::Udp(udp)) => write!(
            text,
            ", UDP {} > {} checksum {:04x}, {} bytes of data",
            udp.source_port(),
            udp.destination_port(),
            udp.checksum(),
            udp.payload().len()
        ),
        Some(TransportSlice::Icmpv4(icmp)) => {
            write!(text, ", ICMP type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            write!(text, ", ICMPv6 type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Igmp(_)) => write!(text, ", IGMP"),
        None => Ok(()),
    };
    text.push('\n');
}

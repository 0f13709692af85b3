//! Scripts told to people, kept in files, and read from captures and the fuzzers' corpus.
//!
//! A kept script is a capture of its frames, and a text beside it that says what happens in which order:
//!
//! ```text
//! # Comments and empty lines are skipped. Ports are numbered from 0.
//! ports 4                            # how many there are
//! send 1                             # the capture's next frame goes into port 1
//! send 1 01010000b4050022001000      # the same, with a virtio-net header in hexadecimal
//! set 1 learning=on flood=off isolated=on hairpin=off
//! static 02:42:0a:58:00:02 1         # a static entry
//! forget 02:42:0a:58:00:02
//! flush
//! ageing 3000                        # milliseconds, as below
//! link 1 down                        # or up. `unseen`: pontoon does not look after its links then
//! pass 1500
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::PortSettings;
use pontoon_dataplane::offload::{Offload, VNET_HEADER_LEN};
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::port::pcap;
use pontoon_dataplane::trace::describe;

use super::generate::PLAIN;
use super::script::{Change, Event, Script};
use crate::lab::LabError;

/// The text that belongs to a capture.
pub fn events_of(capture: &Path) -> PathBuf {
    capture.with_extension("events")
}

/// A script in words, a line for each event.
pub fn tell(script: &[Event]) -> String {
    let line = |event: &Event| match event {
        Event::Frame { port, frame } => format!("  into port {port}: {}\n", words(frame)),
        Event::Change(change) => format!("  {change}\n"),
    };
    script.iter().map(line).collect()
}

/// A frame in words.
pub fn words(frame: &OwnedFrame) -> String {
    let bytes = &frame.bytes;
    let mut text = describe(&frame.as_frame());
    if let (Some(dst), Some(src)) = (bytes.first_chunk(), bytes.get(6..).and_then(<[u8]>::first_chunk))
        && !text.contains(" from ")
    {
        let _ = write!(text, ", from {} to {}", MacAddr(*src), MacAddr(*dst));
    }
    if let Some(tag @ ([0x81, 0x00] | [0x88, 0xa8])) = bytes.get(12..14) {
        let _ = write!(text, ", tagged {:02x}{:02x}", tag[0], tag[1]);
    }
    if frame.offload.is_super_frame() {
        let _ = write!(text, ", to be cut every {} bytes", frame.offload.gso_size);
    } else if frame.offload.needs_checksum {
        text.push_str(", its checksum left to do");
    }
    text
}

/// Keeps a script: its frames in the capture `path`, the rest beside it.
///
/// # Errors
/// A file cannot be written.
pub fn keep(path: &Path, script: &[Event], ports: usize) -> Result<(), LabError> {
    let mut capture = pcap::Writer::create(path)?;
    let mut text = format!("ports {ports}\n");
    for (number, event) in script.iter().enumerate() {
        match event {
            Event::Frame { port, frame } => {
                capture.write(Duration::from_millis(number as u64), &frame.bytes)?;
                let _ = write!(text, "send {port}");
                if frame.offload != Offload::NONE {
                    text.push(' ');
                    for byte in frame.offload.emit() {
                        let _ = write!(text, "{byte:02x}");
                    }
                }
                text.push('\n');
            }
            Event::Change(change) => {
                let _ = writeln!(text, "{change}");
            }
        }
    }
    capture.finish()?;
    std::fs::write(events_of(path), text)?;
    Ok(())
}

/// A script and for how many ports it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// What happens.
    pub script: Script,
    /// How many ports there are; none: the capture does not say.
    pub ports: Option<usize>,
}

/// Reads a capture with the text beside it. A capture without one says nothing of ports: each sender is behind one, where he stays.
///
/// # Errors
/// What cannot be read, with the line where that is known.
pub fn read(path: &Path, ports: usize) -> Result<Kept, LabError> {
    let frames = pcap::read(path)?.into_iter().map(|(_, bytes)| bytes);
    let events = events_of(path);
    if !events.exists() {
        let script = frames.map(|bytes| Event::plain(port_of(&bytes, ports), bytes)).collect();
        return Ok(Kept { script, ports: None });
    }
    parse(&std::fs::read_to_string(&events)?, frames)
        .map_err(|(line, what)| format!("{}, line {line}: {what}", events.display()).into())
}

/// Reads an input of the fuzzers' target `step`: frames, each with its port, a delay that is left out here, a virtio-net header, a
/// length and its bytes.
pub fn of_corpus(mut input: &[u8], ports: usize) -> Script {
    const HEAD: usize = 3 + VNET_HEADER_LEN + 2;
    let mut script = Script::new();
    while let Some((head, rest)) = input.split_first_chunk::<HEAD>() {
        let offload = head[3..].first_chunk().and_then(Offload::parse).unwrap_or(Offload::NONE);
        let len = usize::from(u16::from_le_bytes([head[HEAD - 2], head[HEAD - 1]]));
        let (bytes, rest) = rest.split_at(len.min(rest.len()));
        let frame = OwnedFrame { bytes: bytes.to_vec(), offload };
        script.push(Event::Frame { port: usize::from(head[0]) % ports, frame });
        input = rest;
    }
    script
}

/// The port that a captured frame's sender is put behind.
fn port_of(bytes: &[u8], ports: usize) -> usize {
    let sender = bytes.get(6..12).unwrap_or_default();
    sender.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte))) % ports
}

fn parse(text: &str, mut frames: impl Iterator<Item = Vec<u8>>) -> Result<Kept, (usize, String)> {
    let (mut script, mut ports) = (Script::new(), None);
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |what: String| (index + 1, what);
        match words[..] {
            [] => {}
            ["ports", count] => ports = Some(value(count).map_err(at)?),
            ["send", port, ref header @ ..] => {
                let bytes = frames.next().ok_or_else(|| at("the capture has no more frames".into()))?;
                let offload = header.first().map_or(Ok(Offload::NONE), |text| offload(text)).map_err(at)?;
                let port = value(port).map_err(at)?;
                script.push(Event::Frame { port, frame: OwnedFrame { bytes, offload } });
            }
            _ => script.push(Event::Change(change(&words).map_err(at)?)),
        }
    }
    let count = ports.unwrap_or(usize::MAX);
    match script.iter().filter_map(port_in).find(|&port| port >= count) {
        Some(port) => Err((1, format!("there is no port {port}: there are {count}, counted from 0"))),
        None => Ok(Kept { script, ports }),
    }
}

fn port_in(event: &Event) -> Option<usize> {
    match *event {
        Event::Frame { port, .. }
        | Event::Change(
            Change::Settings { port, .. } | Change::AddStatic { port, .. } | Change::Link { port, .. },
        ) => Some(port),
        Event::Change(_) => None,
    }
}

fn change(words: &[&str]) -> Result<Change, String> {
    let millis = |text| Ok::<_, String>(Duration::from_millis(value(text)?));
    Ok(match *words {
        ["set", port, ref settings @ ..] => Change::Settings { port: value(port)?, settings: all(settings)? },
        ["ageing", time] => Change::Ageing(millis(time)?),
        ["static", mac, port] => Change::AddStatic { mac: value(mac)?, port: value(port)? },
        ["forget", mac] => Change::RemoveEntry { mac: value(mac)? },
        ["flush"] => Change::Flush,
        ["link", port, to @ ("up" | "down"), ref unseen @ ..] if matches!(unseen, [] | ["unseen"]) => {
            Change::Link { port: value(port)?, up: to == "up", seen: unseen.is_empty() }
        }
        ["pass", time] => Change::Pass(millis(time)?),
        _ => return Err(format!("nobody knows what \"{}\" means", words.join(" "))),
    })
}

fn all(words: &[&str]) -> Result<PortSettings, String> {
    let mut settings = PLAIN;
    for word in words {
        let (name, on) = match word.split_once('=') {
            Some((name, "on")) => (name, true),
            Some((name, "off")) => (name, false),
            _ => return Err(format!("\"{word}\" is no setting; write learning=off")),
        };
        match name {
            "learning" => settings.learning = on,
            "flood" => settings.flood = on,
            "isolated" => settings.isolated = on,
            "hairpin" => settings.hairpin = on,
            _ => return Err(format!("ports have no setting \"{name}\"")),
        }
    }
    Ok(settings)
}

fn value<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no value here"))
}

fn offload(text: &str) -> Result<Offload, String> {
    let mut header = [0; VNET_HEADER_LEN];
    let digits = text.as_bytes().chunks(2);
    let bytes =
        digits.map(|two| std::str::from_utf8(two).ok().and_then(|two| u8::from_str_radix(two, 16).ok()));
    let bytes: Option<Vec<u8>> = bytes.collect();
    match bytes {
        Some(bytes) if bytes.len() == VNET_HEADER_LEN => header.copy_from_slice(&bytes),
        _ => return Err(format!("\"{text}\" is no virtio-net header: it has {VNET_HEADER_LEN} bytes")),
    }
    Offload::parse(&header).ok_or_else(|| "virtio knows no such kind of super-frame".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::generate;

    #[test]
    fn what_was_kept_is_read_again() {
        let directory = std::env::temp_dir().join(format!("pontoon-diff-story-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("kept.pcap");
        // All kinds of changes come with enough frames, and metadata too.
        let mut script = generate::script(3, 0, 3000, 4);
        script.push(Event::Change(Change::Ageing(Duration::from_secs(3))));
        script.push(Event::Change(Change::Pass(Duration::from_millis(1500))));
        // A capture cannot hold what is no frame.
        script.retain(|event| !matches!(event, Event::Frame { frame, .. } if frame.bytes.is_empty()));
        keep(&path, &script, 4).unwrap();
        let again = read(&path, 7).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(again, Kept { script, ports: Some(4) });
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let frames = || [vec![0u8; 60]].into_iter();
        for (text, line, word) in [
            ("ports 4\nsend 4", 1, "port 4"),
            ("send 0\nsend 1", 2, "no more frames"),
            ("# fine\n\nset 1 colour=on", 3, "colour"),
            ("set 1 flood=maybe", 1, "maybe"),
            ("send 0 0102", 1, "virtio-net"),
            ("jump", 1, "jump"),
        ] {
            let (at, what) = parse(text, frames()).expect_err(text);
            assert!(at == line && what.contains(word), "{text}: line {at}: {what}");
        }
    }

    #[test]
    fn a_sender_of_a_capture_stays_where_he_is() {
        let frame = |sender: u8| [vec![2; 11], vec![sender; 3]].concat();
        assert_eq!(port_of(&frame(1), 4), port_of(&frame(1), 4));
        let ports: std::collections::HashSet<usize> =
            (0..50).map(|sender| port_of(&frame(sender), 4)).collect();
        assert_eq!(ports.len(), 4);
    }

    #[test]
    fn the_fuzzers_inputs_are_scripts() {
        let mut input = vec![6, 0, 0];
        input.extend(Offload::NONE.emit());
        input.extend(3u16.to_le_bytes());
        input.extend([1, 2, 3]);
        assert_eq!(of_corpus(&[&input[..], &[9, 9]].concat(), 4), [Event::plain(2, vec![1, 2, 3])]);
    }
}

//! Captures: frames from a pcap or pcapng file, and frames into a pcap file.
//!
//! Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Captures hold Ethernet frames as they are on a
//! wire; the metadata of super-frames has no place in them.

use core::time::Duration;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapParser, PcapWriter};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgParser};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

use crate::frame::MAX_FRAME_LEN;

/// A capture could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file itself could not be read or written.
    #[error("cannot {action} the capture {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `read`, `create` or `write`.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file is neither pcap nor pcapng, or is damaged.
    #[error("{} is not a readable pcap or pcapng file ({what}), frame {frame}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counting from 1, the frame at or before which reading failed.
        frame: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The capture is of something else than Ethernet.
    #[error("{} was captured on a link of type {link}; only Ethernet can be read", .path.display())]
    NotEthernet {
        /// The file.
        path: PathBuf,
        /// The link type as pcap names or numbers it.
        link: String,
    },
    /// Only the start of a frame was captured.
    #[error(
        "frame {frame} of {} was cut short when it was captured ({captured} of {original} bytes); \
         capture whole frames (tcpdump -s 0)",
        .path.display()
    )]
    CutShort {
        /// The file.
        path: PathBuf,
        /// Counting from 1.
        frame: usize,
        /// Bytes in the file.
        captured: usize,
        /// Bytes on the wire.
        original: usize,
    },
}

/// Reads all frames of a pcap or pcapng file in the order they stand in it, each with its time since 1970.
/// A frame without a time of its own (pcapng's simple packet block) has that of the frame before it.
///
/// # Errors
/// See [`CaptureError`].
pub fn read(path: &Path) -> Result<Vec<(Duration, Vec<u8>)>, CaptureError> {
    let bytes = std::fs::read(path).map_err(|source| CaptureError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    })?;
    parse(path, &bytes)
}

/// As [`read`], from the `bytes` of the file `path`.
///
/// # Errors
/// See [`CaptureError`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<(Duration, Vec<u8>)>, CaptureError> {
    /// The type of the block that starts every pcapng file, the same in either byte order.
    const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
    let mut capture = Capture { path, frames: Vec::new() };
    if bytes.starts_with(&PCAPNG_MAGIC) {
        capture.read_pcapng(bytes)?;
    } else {
        capture.read_pcap(bytes)?;
    }
    Ok(capture.frames)
}

/// A file on its way into memory.
struct Capture<'a> {
    path: &'a Path,
    frames: Vec<(Duration, Vec<u8>)>,
}

impl Capture<'_> {
    fn read_pcap(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| self.malformed(&error))?;
        let header = parser.header();
        self.only_ethernet(header.datalink)?;
        let unit_nanos = match header.ts_resolution {
            TsResolution::MicroSecond => 1000,
            TsResolution::NanoSecond => 1,
        };
        while !rest.is_empty() {
            let (after, raw) = parser.next_raw_packet(rest).map_err(|error| self.malformed(&error))?;
            rest = after;
            let fraction = Duration::from_nanos(u64::from(raw.ts_frac) * unit_nanos);
            self.push(Duration::from_secs(raw.ts_sec.into()) + fraction, &raw.data, raw.orig_len)?;
        }
        Ok(())
    }

    fn read_pcapng(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(|error| self.malformed(&error))?;
        while !rest.is_empty() {
            let (after, block) = parser.next_block(rest).map_err(|error| self.malformed(&error))?;
            rest = after;
            let interface = |id: u32| parser.interfaces().get(id as usize);
            match block {
                Block::InterfaceDescription(interface) => self.only_ethernet(interface.linktype)?,
                Block::EnhancedPacket(packet) => {
                    // The parser takes the count of whatever units the interface has for nanoseconds.
                    let units = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX);
                    let at = time(interface(packet.interface_id), units);
                    self.push(at, &packet.data, packet.original_len)?;
                }
                Block::Packet(packet) => {
                    let at = time(interface(packet.interface_id.into()), packet.timestamp);
                    self.push(at, &packet.data, packet.original_len)?;
                }
                Block::SimplePacket(packet) => {
                    let at = self.frames.last().map_or(Duration::ZERO, |(at, _)| *at);
                    // Padded to four bytes; its length on the wire is the only one it has.
                    let len = packet.data.len().min(packet.original_len as usize);
                    self.push(at, &packet.data[..len], packet.original_len)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn push(&mut self, at: Duration, bytes: &[u8], original_len: u32) -> Result<(), CaptureError> {
        let original = original_len as usize;
        if bytes.len() < original {
            let (path, frame) = (self.path.to_owned(), self.frames.len() + 1);
            return Err(CaptureError::CutShort { path, frame, captured: bytes.len(), original });
        }
        self.frames.push((at, bytes.to_vec()));
        Ok(())
    }

    fn only_ethernet(&self, link: DataLink) -> Result<(), CaptureError> {
        if link == DataLink::ETHERNET {
            return Ok(());
        }
        Err(CaptureError::NotEthernet { path: self.path.to_owned(), link: format!("{link:?}") })
    }

    fn malformed(&self, error: &PcapError) -> CaptureError {
        let what = match error {
            PcapError::IncompleteBuffer => "it ends too early".to_owned(),
            other => other.to_string(),
        };
        CaptureError::Malformed { path: self.path.to_owned(), frame: self.frames.len() + 1, what }
    }
}

/// The time of a pcapng packet: `units` of the interface's resolution (if_tsresol: a power of ten, or of two when
/// the first bit is set; microseconds unless told otherwise), and its offset in seconds (if_tsoffset).
fn time(interface: Option<&InterfaceDescriptionBlock<'_>>, units: u64) -> Duration {
    let (mut resolution, mut offset) = (6, 0);
    for option in interface.map_or(&[][..], |interface| &interface.options) {
        match option {
            InterfaceDescriptionOption::IfTsResol(exponent) => resolution = *exponent,
            InterfaceDescriptionOption::IfTsOffset(seconds) => offset = *seconds,
            _ => {}
        }
    }
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    // An absurd resolution leaves every frame at the offset.
    let per_second = base.checked_pow(u32::from(resolution & 0x7f)).unwrap_or(u128::MAX);
    let seconds = u128::from(units) / per_second;
    let fraction = (u128::from(units) % per_second).saturating_mul(1_000_000_000) / per_second;
    // The first is no greater than `units`, the second less than a second; the offset is signed.
    let seconds = (seconds as u64).wrapping_add(offset);
    Duration::new(seconds, fraction as u32)
}

/// Writes frames into a pcap file with times in nanoseconds.
pub struct Writer {
    path: PathBuf,
    pcap: PcapWriter<BufWriter<File>>,
}

impl core::fmt::Debug for Writer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Writer {
    /// Creates the file, or empties it. The byte order is fixed, so that the same frames make the same file
    /// on every machine.
    ///
    /// # Errors
    /// [`CaptureError::Io`].
    pub fn create(path: &Path) -> Result<Writer, CaptureError> {
        let create = || -> Result<_, PcapError> {
            let file = BufWriter::new(File::create(path).map_err(PcapError::IoError)?);
            let header = PcapHeader {
                snaplen: MAX_FRAME_LEN as u32,
                datalink: DataLink::ETHERNET,
                ts_resolution: TsResolution::NanoSecond,
                endianness: Endianness::Little,
                ..PcapHeader::default()
            };
            PcapWriter::with_header(file, header)
        };
        match create() {
            Ok(pcap) => Ok(Writer { path: path.to_owned(), pcap }),
            Err(error) => Err(write_error(path, "create", error)),
        }
    }

    /// Adds a frame that was seen `at` after 1970.
    ///
    /// # Errors
    /// [`CaptureError::Io`], also for frames longer than [`MAX_FRAME_LEN`] and times beyond the year 2106.
    pub fn write(&mut self, at: Duration, bytes: &[u8]) -> Result<(), CaptureError> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.pcap
            .write_packet(&PcapPacket::new(at, len, bytes))
            .map(|_| ())
            .map_err(|error| write_error(&self.path, "write", error))
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// [`CaptureError::Io`].
    pub fn finish(self) -> Result<(), CaptureError> {
        self.pcap.into_writer().flush().map_err(|source| CaptureError::Io {
            path: self.path,
            action: "write",
            source,
        })
    }
}

fn write_error(path: &Path, action: &'static str, error: PcapError) -> CaptureError {
    let source = match error {
        PcapError::IoError(source) => source,
        other => io::Error::other(other),
    };
    CaptureError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = directory();
        let path = directory.path().join("a.pcap");
        let frames = vec![
            (Duration::new(1, 999_999_999), vec![1; 60]),
            (Duration::new(1, 5), vec![]),
            (Duration::new(u32::MAX.into(), 0), vec![3; MAX_FRAME_LEN]),
        ];
        let mut writer = Writer::create(&path).unwrap();
        frames.iter().for_each(|(at, bytes)| writer.write(*at, bytes).unwrap());
        writer.finish().unwrap();
        assert_eq!(read(&path).unwrap(), frames);
    }

    #[test]
    fn classic_pcap_in_microseconds_and_either_byte_order() {
        let directory = directory();
        for endianness in [Endianness::Big, Endianness::Little] {
            let path = directory.path().join("a.pcap");
            let header = PcapHeader { endianness, ..PcapHeader::default() };
            let mut writer = PcapWriter::with_header(File::create(&path).unwrap(), header).unwrap();
            writer.write_packet(&PcapPacket::new(Duration::new(7, 1_999), 3, &[1, 2, 3])).unwrap();
            assert_eq!(read(&path).unwrap(), [(Duration::new(7, 1_000), vec![1, 2, 3])]);
        }
    }

    /// The frames of a pcapng file with one interface, each at `units` of its resolution.
    fn pcapng(options: Vec<InterfaceDescriptionOption<'static>>, units: u64) -> Vec<(Duration, Vec<u8>)> {
        let directory = directory();
        let path = directory.path().join("a.pcapng");
        let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
        let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options };
        writer.write_pcapng_block(interface).unwrap();
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(units),
            original_len: 5,
            data: (&[1u8, 2, 3, 4, 5][..]).into(),
            options: vec![],
        };
        writer.write_pcapng_block(packet).unwrap();
        writer
            .write_pcapng_block(SimplePacketBlock { original_len: 6, data: (&[9u8; 6][..]).into() })
            .unwrap();
        read(&path).unwrap()
    }

    #[test]
    fn pcapng_keeps_each_interfaces_units() {
        use InterfaceDescriptionOption::{IfTsOffset, IfTsResol};
        let at = |options, units| pcapng(options, units)[0].0;
        assert_eq!(at(vec![], 1_000_002), Duration::new(1, 2_000));
        assert_eq!(at(vec![IfTsResol(9)], 1_000_000_002), Duration::new(1, 2));
        assert_eq!(at(vec![IfTsResol(0x81)], 3), Duration::new(1, 500_000_000));
        assert_eq!(at(vec![IfTsOffset(100)], 1_000_000), Duration::new(101, 0));
        assert_eq!(at(vec![IfTsResol(0x7f)], 1_000_000), Duration::ZERO);
        // A simple packet has no time of its own, and its padding is no part of the frame.
        assert_eq!(pcapng(vec![], 1)[1], (Duration::new(0, 1_000), vec![9; 6]));
    }

    #[test]
    fn errors_name_the_file_and_the_cause() {
        let directory = directory();
        let message = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            error
        };
        let missing = read(&directory.path().join("missing.pcap")).unwrap_err().to_string();
        assert!(missing.contains("missing.pcap") && missing.contains("No such file"), "{missing}");
        assert!(matches!(message("empty.pcap", b""), CaptureError::Malformed { frame: 1, .. }));
        assert!(matches!(message("text.pcap", &[b'x'; 100]), CaptureError::Malformed { frame: 1, .. }));

        let whole = {
            let path = directory.path().join("whole.pcap");
            let mut writer = Writer::create(&path).unwrap();
            writer.write(Duration::ZERO, &[0; 60]).unwrap();
            writer.write(Duration::ZERO, &[0; 60]).unwrap();
            writer.finish().unwrap();
            std::fs::read(path).unwrap()
        };
        assert!(matches!(
            message("half.pcap", &whole[..whole.len() - 1]),
            CaptureError::Malformed { frame: 2, .. }
        ));
        let mut cooked = whole.clone();
        cooked[20] = 113;
        let error = message("cooked.pcap", &cooked);
        assert!(matches!(error, CaptureError::NotEthernet { .. }), "{error}");
        let mut cut = whole;
        cut[24 + 12] = 61;
        let error = message("cut.pcap", &cut);
        assert!(
            matches!(error, CaptureError::CutShort { frame: 1, captured: 60, original: 61, .. }),
            "{error}"
        );
    }
}

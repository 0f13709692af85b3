//! Files that people bring: captures and declarations.

use std::path::Path;

use pontoon::config::{self, ConfigError};
use pontoon_dataplane::port::pcap::{self, CaptureError};

/// Input: a pcap or pcapng file. No more frames and bytes come out of it than are in it, and an error names a frame that can be there.
pub fn pcap(data: &[u8]) {
    match pcap::parse(Path::new("input.pcap"), data) {
        Ok(frames) => {
            let bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
            assert!(
                frames.len() <= data.len() && bytes <= data.len(),
                "{} frames, {bytes} bytes",
                frames.len()
            );
        }
        Err(CaptureError::Malformed { frame, .. } | CaptureError::CutShort { frame, .. }) => {
            assert!((1..=data.len() + 1).contains(&frame), "frame {frame}");
        }
        Err(CaptureError::NotEthernet { .. } | CaptureError::Io { .. }) => {}
    }
}

/// Input: a declared state in TOML. What is understood says the same when it is written anew, an error is one sentence and points into the
/// text.
pub fn config(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let path = Path::new("input.toml");
    match config::parse(path, text) {
        Ok(document) => {
            let anew = toml::to_string(&document).expect("what was read can be written");
            assert_eq!(config::parse(path, &anew).ok(), Some(document), "{anew}");
        }
        Err(ConfigError::Syntax { line, column, sentence, .. }) => {
            assert!((1..=text.lines().count() + 1).contains(&line), "line {line}");
            assert!(column >= 1 && column <= text.len() + 1, "column {column}");
            assert!(!sentence.trim().is_empty() && !sentence.contains('\n'), "{sentence}");
        }
        Err(error) => unreachable!("{error}"),
    }
}

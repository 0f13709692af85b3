//! Captures: frames from a pcap file, and frames into one.

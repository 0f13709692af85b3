//! Seeds of the targets that read files and headers.

use std::path::Path;

use pontoon_dataplane::offload::{Gso, Offload};

/// A golden capture as pcap, and the same frames in the blocks of pcapng.
pub(crate) fn pcap_seeds() -> std::io::Result<Vec<(&'static str, Vec<u8>)>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/tests/golden/flood/port-2.in.pcap");
    let frame = [0x5a; 60];
    let pad = |bytes: &[u8]| {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(4), 0);
        padded
    };
    let block = |kind: u32, body: Vec<u8>| {
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, &body, &len].concat()
    };
    let section = block(0x0a0d_0d0a, [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    // Ethernet, any length, times in units of 2^-20 s.
    let interface = block(1, vec![1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0x94, 0, 0, 0, 0, 0, 0, 0]);
    let enhanced = block(6, [&[0; 8][..], &[9, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0], &pad(&frame)].concat());
    let simple = block(3, [&[60, 0, 0, 0][..], &pad(&frame)].concat());
    Ok(vec![
        ("pcap", std::fs::read(golden)?),
        ("pcapng", [section, interface, enhanced, simple].concat()),
        (
            "not-ethernet",
            [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0xff, 0xff, 0, 0, 113, 0, 0, 0]].concat(),
        ),
    ])
}

/// Declarations, right and wrong.
pub(crate) const CONFIG_SEEDS: [(&str, &str); 5] = [
    ("empty", ""),
    (
        "everything",
        r#"[[namespace]]
name = "web"
create = true
resolver = false

[[network]]
name = "blue"
subnet = "10.88.0.0/24"
gateway = "10.88.0.254"
ip_range = "10.88.0.128/25"
aux_addresses = { printer = "10.88.0.9" }
uplink = "auto"
host_access = false
icc = false
snat_ip = "192.0.2.7"
nat_mapping = "endpoint-independent"
resolver = true
dns = ["192.0.2.53"]
mtu = 1400
ageing_seconds = 10
labels = { team = "web" }
options = { "com.docker.network.container_iface_prefix" = "net" }

[[network.endpoint]]
netns = "web"
ip = "10.88.0.2"
mac = "02:42:0a:58:00:02"
aliases = ["www"]
port = { isolated = true, guard = false }

[[network.interface]]
name = "eth1"

[[network.fdb]]
mac = "02:00:00:00:00:63"
port = "eth1"

[[network.publish]]
endpoint = "web"
ports = "127.0.0.1:8080-8089:80-89/udp"
allow = ["192.0.2.0/24"]

[[network.rule]]
action = "deny"
to = "169.254.169.254/32"
protocol = "tcp"
port = 80

[[network.link]]
from = "web"
to = "db"
port = 5432
"#,
    ),
    ("unknown-key", "[[network]]\nname = \"blue\"\ncolour = \"blue\"\n"),
    ("wrong-type", "[[network]]\nname = \"blue\"\nsubnet = 10\n"),
    ("no-toml", "[[network]\n"),
];

/// A header and the length of its frame.
pub(crate) fn vnet_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |offload: Offload, len: u16| [&offload.emit()[..], &len.to_le_bytes()].concat();
    let partial = Offload { needs_checksum: true, csum_start: 34, csum_offset: 16, ..Offload::NONE };
    let super_frame = Offload { gso: Gso::TcpV4, gso_size: 1448, header_len: 66, ecn: true, ..partial };
    vec![
        ("nothing-to-do", seed(Offload::NONE, 60)),
        ("partial", seed(partial, 60)),
        ("partial-behind-the-end", seed(partial, 51)),
        ("super-frame", seed(super_frame, 64_000)),
        ("at-the-end-of-the-numbers", seed(Offload { csum_start: u16::MAX, ..partial }, u16::MAX)),
        ("unknown-kind", vec![0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 60, 0]),
    ]
}

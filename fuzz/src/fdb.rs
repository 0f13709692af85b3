//! The forwarding table against its model.

use core::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use pontoon_dataplane::fdb::model::FdbModel;
use pontoon_dataplane::fdb::{Fdb, FdbConfig, Stickiness};
use pontoon_dataplane::{MacAddr, PortId, Timestamp};

use crate::input::{each, within};

/// Longer inputs find nothing that shorter ones do not, and the model is slow.
const MAX_OPERATIONS: usize = 500;

/// What sizes the table.
#[derive(Arbitrary)]
struct Setup {
    #[arbitrary(with = within(0..=47))]
    capacity: usize,
    #[arbitrary(with = within(0..=47))]
    port_share: usize,
    seed: u8,
}

/// What is asked of the table: learning most of all.
#[derive(Arbitrary)]
struct Operation {
    #[arbitrary(with = within(0..=15))]
    what: u8,
    #[arbitrary(with = mac)]
    mac: MacAddr,
    #[arbitrary(with = port)]
    port: PortId,
    argument: u8,
}

fn mac(input: &mut Unstructured<'_>) -> Result<MacAddr> {
    Ok(match input.arbitrary()? {
        0xff => MacAddr::BROADCAST,
        0xfe => MacAddr::ZERO,
        n => MacAddr([0x02, 0x42, 10, 0, 0, n % 64]),
    })
}

fn port(input: &mut Unstructured<'_>) -> Result<PortId> {
    Ok(match input.arbitrary()? {
        0xff => PortId(u16::MAX),
        n => PortId(u16::from(n % 8u8)),
    })
}

/// Input: a [`Setup`], then [`Operation`]s. The table must answer and hold what the model admits.
pub fn fdb_against_model(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(Setup { capacity, port_share, seed }) = input.arbitrary() else { return };
    let config = FdbConfig { capacity, port_share, ..FdbConfig::default() };
    let fdb = Fdb::with_seed(config, seed.into());
    let mut model = FdbModel::new(config);
    let mut now = Timestamp::ZERO;
    for Operation { what, mac, port, argument } in each(&mut input, MAX_OPERATIONS) {
        let judged = match what {
            0..=6 => {
                let stickiness = if argument % 4 == 0 { Stickiness::Sticky } else { Stickiness::Free };
                let answer = fdb.learn(mac, port, stickiness, now);
                model.learn(mac, port, stickiness, now, answer, &fdb.held_entries(now))
            }
            7 => {
                let answer = fdb.add_static(mac, port);
                model.add_static(mac, port, answer, now, &fdb.held_entries(now))
            }
            8 => same("remove", fdb.remove(mac), model.remove(mac)),
            9 => same("flush of a port", fdb.flush_port(port), model.flush_port(port)),
            10 => {
                let port = (argument % 2 == 0).then_some(port);
                same("flush", fdb.flush_learned(port), model.flush_learned(port))
            }
            11 => same("sweep", fdb.sweep(now), model.sweep(now)),
            12 => {
                let ageing = Duration::from_secs(u64::from(argument) * 2);
                fdb.set_ageing(ageing);
                model.set_ageing(ageing);
                Ok(())
            }
            13 => {
                now = now + Duration::from_millis(u64::from(argument).pow(2) * 10);
                Ok(())
            }
            _ => same("lookup", fdb.lookup(mac, now), model.lookup(mac, now)),
        };
        let checked = judged.and_then(|()| model.compare(&fdb.held_entries(now), now));
        assert_eq!(checked, Ok(()), "{config:?}");
        assert!(fdb.held_entries(now).len() <= config.capacity, "{config:?}");
    }
}

fn same<T: PartialEq + core::fmt::Debug>(what: &str, table: T, model: T) -> Result<(), String> {
    if table == model {
        Ok(())
    } else {
        Err(format!("{what}: the table says {table:?}, the model {model:?}"))
    }
}

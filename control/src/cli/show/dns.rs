//! Names as text.

use crate::api::types::{DnsAnswer, DnsName, DnsPlace, DnsStats, DnsUpstream};
use crate::cli::table::{Table, count};

/// `dns ls`.
pub fn names(names: &[DnsName]) -> String {
    let mut table = Table::new(&["NAME", "NETWORK", "ADDRESS"]);
    for it in names {
        table.row([it.name.clone(), it.network.clone(), it.address.to_string()]);
    }
    table.render()
}

/// `dns query`.
pub fn dns_answer(answer: &DnsAnswer) -> String {
    let DnsAnswer { name, kind, code, from, records } = answer;
    let mut out = format!("{name} {kind}: {code}, from {from}\n");
    if !records.is_empty() {
        let mut table = Table::new(&["NAME", ">TTL", "TYPE", "DATA"]);
        for it in records {
            table.row([it.name.clone(), it.ttl.to_string(), it.kind.clone(), it.data.clone()]);
        }
        out += &table.render();
    }
    out
}

/// `dns stats`.
pub fn dns_stats(stats: &DnsStats) -> String {
    let mut places = Table::new(&["SERVED AT", "IN"]);
    for DnsPlace { network, sandbox, address } in &stats.places {
        let network = network.as_ref().map(|it| format!("network {it}"));
        let sandbox = sandbox.as_ref().map(|it| format!("sandbox {it}"));
        places.row([address.to_string(), network.or(sandbox).unwrap_or_default()]);
    }
    let mut hosts = Table::new(&["HOST'S RESOLVERS", ""]);
    for DnsUpstream { address, silent } in &stats.host_resolvers {
        hosts.row([address.clone(), if *silent { "silent lately" } else { "" }.to_owned()]);
    }
    let mut counts = Table::new(&["WHAT", ">COUNT", "MEANING"]);
    counts.row(["under-way".into(), count(stats.under_way as u64), "questions to others, now".into()]);
    for it in &stats.counts {
        counts.row([it.name.clone(), count(it.count), it.meaning.clone()]);
    }
    [places.render(), hosts.render(), counts.render()].join("\n")
}

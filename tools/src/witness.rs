//! What a host's network namespace looks like from outside of pontoon: what must be the same before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pontoon::link::Links;

use crate::lab::{LabError, Namespace};
use crate::netfilter;
use crate::outside::{SECOND_UPLINK, UPLINK};

/// Everything about a namespace that pontoon must leave as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// nf_tables tables.
    pub tables: usize,
    /// Bridges and veths, by name; the uplinks of the lab left out.
    pub links: Vec<String>,
    /// Every sysctl below net, by path; those of single interfaces left out, which come and go with them.
    pub sysctls: BTreeMap<String, String>,
}

impl Witness {
    /// Looks at a namespace.
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub fn of(namespace: &Namespace) -> Result<Witness, LabError> {
        namespace.run(Witness::here)?
    }

    /// Looks at the calling thread's namespace.
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub fn here() -> Result<Witness, LabError> {
        let mut links: Vec<_> = Links::open()?
            .all()?
            .into_iter()
            .filter(|link| ["bridge", "veth"].contains(&link.kind.as_str()))
            .filter(|link| ![UPLINK, SECOND_UPLINK].contains(&link.name.as_str()))
            .map(|link| link.name)
            .collect();
        links.sort_unstable();
        let mut sysctls = BTreeMap::new();
        read_sysctls(Path::new("/proc/sys/net"), &mut sysctls);
        Ok(Witness { tables: netfilter::tables()?, links, sysctls })
    }

    /// What is different from how it was before, in words; empty when nothing is.
    pub fn differences(&self, before: &Witness) -> Vec<String> {
        let mut all = Vec::new();
        if self.tables != before.tables {
            all.push(format!("{} nf_tables tables instead of {}", self.tables, before.tables));
        }
        if self.links != before.links {
            all.push(format!("bridges and veths {:?} instead of {:?}", self.links, before.links));
        }
        let paths: std::collections::BTreeSet<_> = self.sysctls.keys().chain(before.sysctls.keys()).collect();
        for path in paths {
            let (now, then) = (self.sysctls.get(path), before.sysctls.get(path));
            if now != then {
                all.push(format!("{path} is {now:?} instead of {then:?}"));
            }
        }
        all
    }
}

/// What the kernel itself counts there, which is no setting.
const COUNTERS: [&str; 2] = ["nf_conntrack_count", "random"];

fn read_sysctls(directory: &Path, into: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        // conf/IFACE and neigh/IFACE
        let of_an_interface =
            matches!(directory.file_name().and_then(|name| name.to_str()), Some("conf" | "neigh"))
                && !["all", "default"].iter().any(|common| name == *common);
        if COUNTERS.iter().any(|counter| name == *counter) || of_an_interface {
            continue;
        }
        if path.is_dir() {
            read_sysctls(&path, into);
        } else if let Ok(value) = fs::read_to_string(&path) {
            into.insert(path.display().to_string(), value.trim_end().to_owned());
        }
    }
}

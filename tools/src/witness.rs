//! What a network namespace looks like from outside of pontoon: what must be the same before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use pontoon::link::Links;
use pontoon::netns::{Netns, run_in};

use crate::lab::LabError;
use crate::nftables::{self, Census};

/// What a kernel is made to do by whoever builds container networks with it: firewall rules, bridges and veths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// What there is of nf_tables; nothing on a kernel without.
    pub nf_tables: Option<Census>,
    /// Tables that iptables, ip6tables or arptables of the old kind have begun to use.
    pub xtables: BTreeSet<String>,
    /// Kinds of bridges and veths by name.
    pub links: BTreeMap<String, String>,
}

impl Traces {
    /// Looks at a namespace; veths of these names are left out, which the lab made itself.
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub fn of(namespace: &Netns, own: &[&str]) -> Result<Traces, LabError> {
        run_in(namespace, || Traces::here(own))?
    }

    fn here(own: &[&str]) -> Result<Traces, LabError> {
        let of_interest =
            |kind: &str, name: &str| kind == "bridge" || (kind == "veth" && !own.contains(&name));
        let links = Links::open()?.all()?.into_iter();
        let links = links.filter(|link| of_interest(&link.kind, &link.name));
        Ok(Traces {
            nf_tables: nftables::census()?,
            xtables: xtables()?,
            links: links.map(|link| (link.name, link.kind)).collect(),
        })
    }

    /// What is different from how it was before, in words; empty when nothing is.
    pub fn differences(&self, before: &Traces) -> Vec<String> {
        let Traces { nf_tables, xtables, links } = self;
        let mut all = Vec::new();
        if *nf_tables != before.nf_tables {
            all.push(format!("nf_tables has {nf_tables:?} instead of {:?}", before.nf_tables));
        }
        if *xtables != before.xtables {
            all.push(format!("iptables is used for {xtables:?} instead of {:?}", before.xtables));
        }
        if *links != before.links {
            all.push(format!("bridges and veths {links:?} instead of {:?}", before.links));
        }
        all
    }
}

/// As "ip/filter".
fn xtables() -> io::Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for family in ["ip", "ip6", "arp"] {
        // /proc/net is the namespace of the process's first thread.
        match fs::read_to_string(format!("/proc/thread-self/net/{family}_tables_names")) {
            Ok(names) => all.extend(names.lines().map(|name| format!("{family}/{name}"))),
            // A kernel without has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Everything about a host's namespace that pontoon must leave as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Firewall rules, bridges and veths.
    pub traces: Traces,
    /// Every sysctl below net, by path.
    pub sysctls: BTreeMap<String, String>,
}

impl Witness {
    /// Looks at a namespace, as [`Traces::of`].
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub fn of(namespace: &Netns, own: &[&str]) -> Result<Witness, LabError> {
        run_in(namespace, || Witness::here(own))?
    }

    /// Looks at the calling thread's namespace, as [`Traces::of`].
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub fn here(own: &[&str]) -> Result<Witness, LabError> {
        let mut sysctls = BTreeMap::new();
        read_sysctls(Path::new("/proc/sys/net"), &mut sysctls)?;
        Ok(Witness { traces: Traces::here(own)?, sysctls })
    }

    /// What is different from how it was before, in words; empty when nothing is. Of an interface that has come or gone since,
    /// the sysctls do not count, for they came and went with it.
    pub fn differences(&self, before: &Witness) -> Vec<String> {
        let mut all = self.traces.differences(&before.traces);
        let interfaces = |of: &Witness| -> BTreeSet<String> {
            of.sysctls.keys().filter_map(|path| Some(interface(path)?.to_owned())).collect()
        };
        let (now, then) = (interfaces(self), interfaces(before));
        let stayed = |path: &str| interface(path).is_none_or(|it| now.contains(it) && then.contains(it));
        let paths: BTreeSet<_> = self.sysctls.keys().chain(before.sysctls.keys()).collect();
        for path in paths.into_iter().filter(|path| stayed(path)) {
            let (now, then) = (self.sysctls.get(path), before.sysctls.get(path));
            if now != then {
                all.push(format!("{path} is {now:?} instead of {then:?}"));
            }
        }
        all
    }
}

/// The interface that a sysctl is about, as /proc/sys/net/ipv4/conf/IFACE/... and .../neigh/IFACE/...
fn interface(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/conf/").or_else(|| path.split_once("/neigh/"))?;
    let (name, _) = rest.split_once('/')?;
    (!["all", "default"].contains(&name)).then_some(name)
}

/// What the kernel itself counts there, which is no setting.
const COUNTERS: [&str; 1] = ["nf_conntrack_count"];

fn read_sysctls(directory: &Path, into: &mut BTreeMap<String, String>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        // An interface that has just gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            read_sysctls(&path, into)?;
        } else if COUNTERS.iter().all(|counter| entry.file_name() != *counter) {
            // Some can only be written, as route/flush, and some have no value, as an interface's stable_secret: their error is theirs.
            let value = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
            into.insert(path.display().to_string(), value.trim_end().to_owned());
        }
    }
    Ok(())
}

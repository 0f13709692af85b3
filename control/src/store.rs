//! What survives the daemon: one record for every network, endpoint, interface, static FDB entry, publication, link and
//! created namespace, and one for each network's rules.
//!
//! A record comes before the thing and goes after it: whatever instant the daemon dies at, the next one finds a
//! record for everything that is there, and [`Phase`] tells it which records stand for something unfinished.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::types::{
    Connection, DeviceKind, LinkBody, Mac, PortFlags, PublishedPorts, RuleBody, SandboxRef,
};
use crate::error::write_hint;
use crate::netns::NetnsId;

/// The version of what is written below. Raise it when a record changes in a way that older code misreads.
const SCHEMA: u64 = 2;
/// Earlier versions whose records are read as they are: 1 knew nothing of the edge, so its networks are connected to nothing.
const OLDER: std::ops::RangeInclusive<u64> = 1..=1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// A state that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("the state {} is held by another daemon; stop that one or give this one another --state", .0.display())]
    Held(PathBuf),
    /// A later version wrote it.
    #[error("the state {} has schema {found}, which this version does not know (it knows {SCHEMA}); use the version that wrote it", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// A record that is not what it should be.
    #[error("the state has a record \"{key}\" that cannot be read: {source}")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file may not be opened.
    #[error("cannot open the state {}: {source}{}", path.display(), write_hint(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a database, or not a whole one.
    #[error("the state {} is damaged, or is none of pontoon's ({source}); move it away or give another --state", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<redb::Error>,
    },
    /// The database failed.
    #[error("cannot {action} the state: {source}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// The database's error.
        source: Box<redb::Error>,
    },
}

fn failed<E: Into<redb::Error>>(action: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Database { action, source: Box::new(source.into()) }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its name.
    pub name: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// The gateway's address.
    pub gateway: Ipv4Addr,
    /// The gateway's MAC.
    pub gateway_mac: Mac,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
    /// How long learned addresses live, in seconds.
    pub ageing_seconds: u32,
    /// How it is connected to the host and the outside.
    #[serde(default = "Connection::closed")]
    pub connection: Connection,
    /// The name of its host port; none when it has none.
    #[serde(default)]
    pub host_interface: Option<String>,
    /// When it was created.
    pub created: String,
}

/// How far an endpoint has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being made: nobody was told that it is there; the next start removes what there is of it.
    Attaching,
    /// In use.
    Attached,
    /// Being removed: the next start goes on with it.
    Detaching,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Its network.
    pub network: String,
    /// Its name.
    pub name: String,
    /// The sandbox as it was named.
    pub sandbox: SandboxRef,
    /// The sandbox as it is recognised.
    pub netns: NetnsId,
    /// The interface's name inside the sandbox.
    pub ifname: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC.
    pub mac: Mac,
    /// The kind of device.
    pub kind: DeviceKind,
    /// A name that no other device has: the veth's host end, and any device's name until it is ready.
    pub device: String,
    /// What its port may do.
    pub flags: PortFlags,
    /// Names can be asked for in its sandbox.
    #[serde(default)]
    pub resolver: bool,
    /// Whom its sandbox's names of the outside are asked for; those of its networks when empty.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// When it was attached.
    pub created: String,
    /// How far it has come.
    pub phase: Phase,
}

/// An existing interface on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRecord {
    /// Its network.
    pub network: String,
    /// Its name.
    pub interface: String,
    /// What its port may do.
    pub flags: PortFlags,
    /// Whether it was up before: it is given back as it was.
    pub was_up: bool,
    /// When it was put there.
    pub created: String,
}

/// A static FDB entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRecord {
    /// Its network.
    pub network: String,
    /// The station.
    pub mac: Mac,
    /// The endpoint's or interface's name.
    pub port: String,
}

/// A namespace that pontoon created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Its name below /run/netns.
    pub name: String,
    /// What it is recognised by; none until it is made.
    pub netns: Option<NetnsId>,
    /// Names can be asked for in it.
    #[serde(default)]
    pub resolver: bool,
}

/// Ports of the host that lead to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationRecord {
    /// Its number.
    pub id: u32,
    /// The network.
    pub network: String,
    /// The endpoint.
    pub endpoint: String,
    /// What is published.
    pub ports: PublishedPorts,
    /// Who may come; everybody when empty.
    pub allow: Vec<IpNet>,
    /// When it was published.
    pub created: String,
}

/// A rule of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// What its hits are counted under, whatever place it has.
    pub id: u32,
    /// What it says.
    pub rule: RuleBody,
}

/// A network's rules, in order. There is no record of none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesRecord {
    /// The network.
    pub network: String,
    /// The rules.
    pub rules: Vec<RuleRecord>,
}

/// A hole in a network's isolation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkRecord {
    /// The network.
    pub network: String,
    /// Who may speak to whom.
    pub link: LinkBody,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// See [`NetworkRecord`].
    Network(NetworkRecord),
    /// See [`EndpointRecord`].
    Endpoint(EndpointRecord),
    /// See [`InterfaceRecord`].
    Interface(InterfaceRecord),
    /// See [`StaticRecord`].
    Static(StaticRecord),
    /// See [`NamespaceRecord`].
    Namespace(NamespaceRecord),
    /// See [`PublicationRecord`].
    Publication(PublicationRecord),
    /// See [`RulesRecord`].
    Rules(RulesRecord),
    /// See [`LinkRecord`].
    Link(LinkRecord),
}

type Table = TableDefinition<'static, &'static str, &'static [u8]>;
const NETWORKS: Table = TableDefinition::new("networks");
const ENDPOINTS: Table = TableDefinition::new("endpoints");
const INTERFACES: Table = TableDefinition::new("interfaces");
const STATICS: Table = TableDefinition::new("fdb");
const NAMESPACES: Table = TableDefinition::new("namespaces");
const PUBLICATIONS: Table = TableDefinition::new("publications");
const RULES: Table = TableDefinition::new("rules");
const LINKS: Table = TableDefinition::new("links");
const TABLES: [Table; 8] = [NETWORKS, ENDPOINTS, INTERFACES, STATICS, NAMESPACES, PUBLICATIONS, RULES, LINKS];

impl Record {
    fn table(&self) -> Table {
        match self {
            Record::Network(_) => NETWORKS,
            Record::Endpoint(_) => ENDPOINTS,
            Record::Interface(_) => INTERFACES,
            Record::Static(_) => STATICS,
            Record::Namespace(_) => NAMESPACES,
            Record::Publication(_) => PUBLICATIONS,
            Record::Rules(_) => RULES,
            Record::Link(_) => LINKS,
        }
    }

    fn key(&self) -> String {
        match self {
            Record::Network(it) => it.name.clone(),
            Record::Endpoint(it) => format!("{}/{}", it.network, it.name),
            Record::Interface(it) => format!("{}/{}", it.network, it.interface),
            Record::Static(it) => format!("{}/{}", it.network, it.mac),
            Record::Namespace(it) => it.name.clone(),
            Record::Publication(it) => it.id.to_string(),
            Record::Rules(it) => it.network.clone(),
            Record::Link(it) => format!("{}: {}", it.network, it.link),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, StoreError> {
        match self {
            Record::Network(it) => serde_json::to_vec(it),
            Record::Endpoint(it) => serde_json::to_vec(it),
            Record::Interface(it) => serde_json::to_vec(it),
            Record::Static(it) => serde_json::to_vec(it),
            Record::Namespace(it) => serde_json::to_vec(it),
            Record::Publication(it) => serde_json::to_vec(it),
            Record::Rules(it) => serde_json::to_vec(it),
            Record::Link(it) => serde_json::to_vec(it),
        }
        .map_err(|source| StoreError::Record { key: self.key(), source })
    }
}

/// A change of one record.
// A plan has a handful of these, and they are moved rather than kept.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Add(Record),
    /// It was there, with the same key.
    Replace {
        /// As it was.
        before: Record,
        /// As it will be.
        after: Record,
    },
    /// It will not be there.
    Remove(Record),
}

impl Change {
    /// The change that takes this one back.
    pub fn inverse(&self) -> Change {
        match self.clone() {
            Change::Add(record) => Change::Remove(record),
            Change::Replace { before, after } => Change::Replace { before: after, after: before },
            Change::Remove(record) => Change::Add(record),
        }
    }
}

/// The database's file in the state's directory.
pub const FILE: &str = "pontoon.redb";

fn cannot_open(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Held(path),
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::WouldBlock => StoreError::Held(path),
            // No database at all, or a piece of one.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged { path, source: Box::new(redb::Error::Io(error)) }
            }
            _ => StoreError::Open { path, source: error },
        },
        other => StoreError::Damaged { path, source: Box::new(other.into()) },
    }
}

/// Whether the database says that it has other contents than ours.
fn is_foreign(error: &redb::Error) -> bool {
    use redb::Error::{Corrupted, TableIsMultimap, TableTypeMismatch, TypeDefinitionChanged};
    matches!(
        error,
        Corrupted(_) | TableIsMultimap(_) | TableTypeMismatch { .. } | TypeDefinitionChanged { .. }
    )
}

/// The database. Every commit is on the disk when it returns.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the database of a state directory, or makes one.
    ///
    /// # Errors
    /// Another daemon holds it, a later version wrote it, or it cannot be made.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        let path = dir.join(FILE);
        let database = Database::create(&path).map_err(|error| cannot_open(&path, error))?;
        let store = Store { database };
        store.check_schema(&path).map_err(|error| match error {
            StoreError::Database { source, .. } if is_foreign(&source) => {
                StoreError::Damaged { path, source }
            }
            other => other,
        })?;
        Ok(store)
    }

    fn check_schema(&self, path: &Path) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(failed("open"))?;
        {
            let mut meta = transaction.open_table(META).map_err(failed("open"))?;
            let found = meta.get("schema").map_err(failed("read"))?.map(|value| value.value());
            match found {
                Some(SCHEMA) => {}
                Some(found) if !OLDER.contains(&found) => {
                    return Err(StoreError::Schema { path: path.to_owned(), found });
                }
                Some(_) | None => {
                    meta.insert("schema", SCHEMA).map_err(failed("write"))?;
                }
            }
        }
        for table in TABLES {
            transaction.open_table(table).map_err(failed("open"))?;
        }
        transaction.commit().map_err(failed("write"))
    }

    /// Writes all of the changes or none.
    ///
    /// # Errors
    /// The database failed; nothing has changed.
    pub fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(failed("write"))?;
        for change in changes {
            let (record, stays) = match change {
                Change::Add(record) | Change::Replace { after: record, .. } => (record, true),
                Change::Remove(record) => (record, false),
            };
            let mut table = transaction.open_table(record.table()).map_err(failed("write"))?;
            let key = record.key();
            if stays {
                table.insert(key.as_str(), record.bytes()?.as_slice()).map_err(failed("write"))?;
            } else {
                table.remove(key.as_str()).map_err(failed("write"))?;
            }
        }
        transaction.commit().map_err(failed("write"))
    }

    /// Every record, networks first.
    ///
    /// # Errors
    /// The database failed, or a record cannot be read.
    pub fn load(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        records.extend(self.table(NETWORKS)?.into_iter().map(Record::Network));
        records.extend(self.table(ENDPOINTS)?.into_iter().map(Record::Endpoint));
        records.extend(self.table(INTERFACES)?.into_iter().map(Record::Interface));
        records.extend(self.table(STATICS)?.into_iter().map(Record::Static));
        records.extend(self.table(NAMESPACES)?.into_iter().map(Record::Namespace));
        records.extend(self.table(PUBLICATIONS)?.into_iter().map(Record::Publication));
        records.extend(self.table(RULES)?.into_iter().map(Record::Rules));
        records.extend(self.table(LINKS)?.into_iter().map(Record::Link));
        Ok(records)
    }

    fn table<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>, StoreError> {
        let transaction = self.database.begin_read().map_err(failed("read"))?;
        let table = transaction.open_table(table).map_err(failed("read"))?;
        let mut records = Vec::new();
        for entry in table.iter().map_err(failed("read"))? {
            let (key, value) = entry.map_err(failed("read"))?;
            let record = serde_json::from_slice(value.value())
                .map_err(|source| StoreError::Record { key: key.value().to_owned(), source })?;
            records.push(record);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, mtu: u16) -> Record {
        Record::Network(NetworkRecord {
            name: name.into(),
            subnet: "10.0.0.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(10, 0, 0, 1),
            gateway_mac: "02:42:0a:00:00:01".parse().unwrap(),
            mtu,
            ageing_seconds: 300,
            connection: Connection::default(),
            host_interface: Some("ptn-a".into()),
            created: "2025-01-01T00:00:00Z".into(),
        })
    }

    #[test]
    fn keeps_records_over_a_restart_and_takes_changes_back() {
        let dir = tempfile::tempdir().unwrap();
        let change = Change::Replace { before: network("a", 1500), after: network("a", 9000) };
        {
            let store = Store::open(dir.path()).unwrap();
            store.commit(&[Change::Add(network("a", 1500)), Change::Add(network("b", 1500))]).unwrap();
            store.commit(std::slice::from_ref(&change)).unwrap();
            store.commit(&[Change::Remove(network("b", 1500))]).unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.load().unwrap(), vec![network("a", 9000)]);
        store.commit(&[change.inverse(), Change::Remove(network("b", 1500)).inverse()]).unwrap();
        assert_eq!(store.load().unwrap(), vec![network("a", 1500), network("b", 1500)]);
    }

    #[test]
    fn a_file_that_is_no_state_stays_and_is_named() {
        let whole = {
            let dir = tempfile::tempdir().unwrap();
            drop(Store::open(dir.path()).unwrap());
            std::fs::read(dir.path().join(FILE)).unwrap()
        };
        let foreign = {
            let dir = tempfile::tempdir().unwrap();
            let database = Database::create(dir.path().join(FILE)).unwrap();
            let transaction = database.begin_write().unwrap();
            transaction.open_table(TableDefinition::<u64, u64>::new("meta")).unwrap();
            transaction.commit().unwrap();
            drop(database);
            std::fs::read(dir.path().join(FILE)).unwrap()
        };
        let mut scribbled = whole.clone();
        scribbled[..256].fill(0x5a);
        for content in
            [b"no database".to_vec(), vec![b'x'; 100_000], whole[..5000].to_vec(), foreign, scribbled]
        {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE), &content).unwrap();
            let error = Store::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("pontoon.redb is damaged, or is none of pontoon's"), "{error}");
            assert!(error.contains("move it away or give another --state"), "{error}");
        }
    }

    #[test]
    fn one_daemon_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Store::open(dir.path()).unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("held by another daemon"), "{error}");
    }

    #[test]
    fn a_network_of_the_first_schema_is_connected_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            let transaction = store.database.begin_write().unwrap();
            let record = r#"{"name":"old","subnet":"10.0.0.0/24","gateway":"10.0.0.1","gateway_mac":"02:42:0a:00:00:01",
                "mtu":1500,"ageing_seconds":300,"created":"2025-01-01T00:00:00Z"}"#;
            transaction.open_table(META).unwrap().insert("schema", 1).unwrap();
            transaction.open_table(NETWORKS).unwrap().insert("old", record.as_bytes()).unwrap();
            for table in [PUBLICATIONS, RULES, LINKS] {
                transaction.delete_table(table).unwrap();
            }
            transaction.commit().unwrap();
        }
        let records = Store::open(dir.path()).unwrap().load().unwrap();
        let [Record::Network(old)] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((&old.connection, &old.host_interface), (&Connection::closed(), &None));
    }

    #[test]
    fn refuses_what_a_later_version_wrote() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            let transaction = store.database.begin_write().unwrap();
            transaction.open_table(META).unwrap().insert("schema", 7).unwrap();
            transaction.commit().unwrap();
        }
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("schema 7"), "{error}");
    }
}

//! What survives the daemon: one record for every network, endpoint, interface, static FDB entry, publication, link and
//! created namespace, one for each network's rules, and what is remembered of addresses and of what Docker was promised.
//!
//! A record comes before the thing and goes after it: whatever instant the daemon dies at, the next one finds a
//! record for everything that is there, and [`Phase`] tells it which records stand for something unfinished.

mod docker;
mod ipam;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::write_hint;
use crate::id::Id;

pub use docker::ReservationRecord;
pub use ipam::{CursorRecord, LeaseRecord, PoolRecord, RestingRecord};
pub use record::{
    Change, EndpointRecord, InterfaceRecord, LinkRecord, NamespaceRecord, NetworkRecord, Phase,
    PublicationRecord, Record, RuleRecord, RulesRecord, StaticRecord,
};

/// The version of what is written below. Raise it when a record changes in a way that older code misreads.
const SCHEMA: u64 = 3;
/// Earlier versions whose records are taken up: 1 knew nothing of the edge, so its networks are connected to nothing; neither it nor
/// 2 had ids, which are given when the state is opened.
const OLDER: std::ops::RangeInclusive<u64> = 1..=2;
/// The driver that a network says it has, unless it was made with another.
pub const DEFAULT_DRIVER: &str = "pontoon";
/// What interfaces in sandboxes are called unless told otherwise, before their number.
pub const DEFAULT_PREFIX: &str = "eth";
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

type Table = TableDefinition<'static, &'static str, &'static [u8]>;
const NETWORKS: Table = TableDefinition::new("networks");
const ENDPOINTS: Table = TableDefinition::new("endpoints");
const INTERFACES: Table = TableDefinition::new("interfaces");
const STATICS: Table = TableDefinition::new("fdb");
const NAMESPACES: Table = TableDefinition::new("namespaces");
const PUBLICATIONS: Table = TableDefinition::new("publications");
const RULES: Table = TableDefinition::new("rules");
const LINKS: Table = TableDefinition::new("links");
const RESERVATIONS: Table = TableDefinition::new("reservations");
const POOLS: Table = TableDefinition::new("pools");
const LEASES: Table = TableDefinition::new("leases");
const CURSORS: Table = TableDefinition::new("cursors");
const RESTING: Table = TableDefinition::new("resting");
const TABLES: [Table; 13] = [
    NETWORKS,
    ENDPOINTS,
    INTERFACES,
    STATICS,
    NAMESPACES,
    PUBLICATIONS,
    RULES,
    LINKS,
    RESERVATIONS,
    POOLS,
    LEASES,
    CURSORS,
    RESTING,
];

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

/// Gives networks, endpoints and sandboxes of an earlier schema their ids.
fn give_ids(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let random = || {
        let id = Id::random().map_err(|source| failed("give ids in")(redb::Error::Io(source)));
        id.map(|id| Value::String(id.to_string()))
    };
    let mut sandboxes: BTreeMap<String, Value> = BTreeMap::new();
    for table in [NETWORKS, ENDPOINTS] {
        let mut table = transaction.open_table(table).map_err(failed("open"))?;
        let mut records: Vec<(String, Value)> = Vec::new();
        for entry in table.iter().map_err(failed("read"))? {
            let (key, value) = entry.map_err(failed("read"))?;
            let record = serde_json::from_slice(value.value());
            let key = key.value().to_owned();
            let record = record.map_err(|source| StoreError::Record { key: key.clone(), source })?;
            records.push((key, record));
        }
        for (key, mut record) in records {
            // Nothing else than an object has ever been written. What is none is refused when it is loaded.
            let Some(fields) = record.as_object_mut() else { continue };
            fields.insert("id".to_owned(), random()?);
            if let Some(netns) = fields.get("netns").map(Value::to_string) {
                let sandbox = match sandboxes.get(&netns) {
                    Some(known) => known.clone(),
                    None => random()?,
                };
                sandboxes.insert(netns, sandbox.clone());
                fields.insert("sandbox_id".to_owned(), sandbox);
            }
            let bytes = record.to_string().into_bytes();
            table.insert(key.as_str(), bytes.as_slice()).map_err(failed("write"))?;
        }
    }
    Ok(())
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
                    give_ids(&transaction)?;
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

    /// Every record, networks first, pools before their leases.
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
        records.extend(self.table(RESERVATIONS)?.into_iter().map(Record::Reservation));
        records.extend(self.table(POOLS)?.into_iter().map(Record::Pool));
        records.extend(self.table(LEASES)?.into_iter().map(Record::Lease));
        records.extend(self.table(CURSORS)?.into_iter().map(Record::Cursor));
        records.extend(self.table(RESTING)?.into_iter().map(Record::Resting));
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::types::Connection;

    fn network(name: &str, mtu: u16) -> Record {
        Record::Network(NetworkRecord { mtu, ..crate::testing::network_record(name, "10.0.0.0/24") })
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
    fn what_an_earlier_schema_had_no_ids_for_gets_them_once_and_for_all() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            let old = |record: Record, without: &[&str]| {
                let mut value: Value = serde_json::from_slice(&record.bytes().unwrap()).unwrap();
                without.iter().for_each(|field| drop(value.as_object_mut().unwrap().remove(*field)));
                value.to_string().into_bytes()
            };
            let transaction = store.database.begin_write().unwrap();
            {
                transaction.open_table(META).unwrap().insert("schema", 2).unwrap();
                let new = [
                    "id",
                    "driver",
                    "range",
                    "reserved",
                    "host_interface_wish",
                    "publish_address",
                    "ifname_prefix",
                    "attachable",
                    "labels",
                    "options",
                ];
                let network = old(network("a", 1500), &new);
                transaction.open_table(NETWORKS).unwrap().insert("a", network.as_slice()).unwrap();
                let mut endpoints = transaction.open_table(ENDPOINTS).unwrap();
                for (name, ino) in [("x", 100), ("y", 100), ("z", 101)] {
                    let mut record = crate::testing::endpoint_record("a", name, [10, 0, 0, 2]);
                    record.netns.ino = ino;
                    let new = ["id", "sandbox_id", "aliases", "default_route"];
                    let bytes = old(Record::Endpoint(record), &new);
                    endpoints.insert(format!("a/{name}").as_str(), bytes.as_slice()).unwrap();
                }
            }
            transaction.commit().unwrap();
        }
        let records = Store::open(dir.path()).unwrap().load().unwrap();
        let [Record::Network(a), Record::Endpoint(x), Record::Endpoint(y), Record::Endpoint(z)] =
            records.as_slice()
        else {
            panic!("{records:?}")
        };
        assert_eq!((a.driver.as_str(), a.ifname_prefix.as_str()), ("pontoon", "eth"));
        assert_eq!(BTreeSet::from([a.id, x.id, y.id, z.id, x.sandbox_id, z.sandbox_id]).len(), 6);
        assert_eq!(x.sandbox_id, y.sandbox_id, "two endpoints of one sandbox");
        assert_eq!(Store::open(dir.path()).unwrap().load().unwrap(), records);
    }

    #[test]
    fn who_may_come_to_what_an_earlier_version_published_stays() {
        let read = |json: &str| serde_json::from_str::<PublicationRecord>(json).unwrap();
        let earlier = read(
            r#"{"id":3,"network":"a","endpoint":"web","ports":"80:80/tcp","allow":["192.0.2.0/24"],"created":"2025-01-01T00:00:00Z"}"#,
        );
        let rules: Vec<String> = earlier.rules.iter().map(|it| format!("{} {}", it.id, it.rule)).collect();
        assert_eq!(rules, ["1 allow from 192.0.2.0/24", "2 deny"]);
        assert_eq!(read(&serde_json::to_string(&earlier).unwrap()), earlier);
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

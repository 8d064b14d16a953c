//! The bytes of a snapshot. All numbers are little-endian, texts and values have their length before them.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `shstore\n` |
//! | 4 | version of the format |
//! | | codec's tag, prefix |
//! | 8, 8 | cluster, revision |
//! | 8 | how many records follow |
//! | | records: kind (1), name, value, revision (8), revision of its creation (8), lease (8); names ascend |
//! | 16 | fingerprint of all before |

use bytes::{Buf, BufMut, Bytes, TryGetError};

use super::{Image, Kind, Record, SnapshotError};
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{ClusterId, LeaseId, Revision};

const MAGIC: &[u8] = b"shstore\n";
pub(super) const VERSION: u32 = 3;
const CHECKSUM: usize = 16;
/// No record is shorter.
const RECORD: usize = 1 + 4 + 1 + 4 + 8 + 8 + 8;

pub(super) fn write(image: &Image, prefix: &str, codec: &str) -> Vec<u8> {
    let bytes = |record: &Record| RECORD + record.name.as_str().len() + record.value.len();
    let mut file = Vec::with_capacity(image.records.iter().map(bytes).sum::<usize>() + 1024);
    file.put_slice(MAGIC);
    file.put_u32_le(VERSION);
    put(&mut file, codec.as_bytes());
    put(&mut file, prefix.as_bytes());
    file.put_u64_le(image.cluster.0);
    file.put_u64_le(image.revision.0);
    file.put_u64_le(image.records.len() as u64);
    for record in &image.records {
        file.put_u8(record.kind as u8);
        put(&mut file, record.name.as_str().as_bytes());
        put(&mut file, &record.value);
        file.put_u64_le(record.mod_revision.0);
        file.put_u64_le(record.create_revision.0);
        file.put_i64_le(record.lease.0);
    }
    let checksum = value_hash(&file);
    file.put_u128_le(checksum);
    file
}

/// The kvstore has no text or value of 4 GiB; if it had, the file would be refused when it is read.
fn put(file: &mut Vec<u8>, bytes: &[u8]) {
    file.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    file.put_slice(bytes);
}

pub(super) fn parse(file: &Bytes, prefix: &str, codec: &str) -> Result<Image, SnapshotError> {
    if file.len() < MAGIC.len() + CHECKSUM && MAGIC.starts_with(&file[..file.len().min(MAGIC.len())]) {
        return Err(SnapshotError::Torn);
    }
    let (body, mut checksum) = file.split_at_checked(file.len().saturating_sub(CHECKSUM)).ok_or(SnapshotError::Torn)?;
    let mut rest = file.slice(..body.len());
    if !body.starts_with(MAGIC) {
        return Err(SnapshotError::NotASnapshot);
    }
    rest.advance(MAGIC.len());
    // Before the checksum, which another format may have elsewhere.
    match rest.try_get_u32_le()? {
        VERSION => {}
        version if version > VERSION => return Err(SnapshotError::Newer { version }),
        version => return Err(SnapshotError::Older { version }),
    }
    if checksum.try_get_u128_le()? != value_hash(body) {
        return Err(SnapshotError::Torn);
    }
    same("codec", &take(&mut rest)?, codec)?;
    same("prefix", &take(&mut rest)?, prefix)?;
    let (cluster, revision) = (ClusterId(rest.try_get_u64_le()?), get_revision(&mut rest)?);
    let records = get_records(&mut rest, revision)?;
    if rest.has_remaining() { Err(SnapshotError::Torn) } else { Ok(Image { cluster, revision, records }) }
}

fn get_records(rest: &mut Bytes, newest: Revision) -> Result<Vec<Record>, SnapshotError> {
    let count = usize::try_from(rest.try_get_u64_le()?).unwrap_or(usize::MAX);
    // A wrong count must not allocate memory.
    let mut records: Vec<Record> = Vec::with_capacity(count.min(rest.len() / RECORD));
    for _ in 0..count {
        let record = get_record(rest)?;
        let ascends = records.last().is_none_or(|last| (&last.name, last.kind) < (&record.name, record.kind));
        if !ascends || record.create_revision > record.mod_revision || record.mod_revision > newest {
            return Err(SnapshotError::Torn);
        }
        records.push(record);
    }
    Ok(records)
}

fn get_record(rest: &mut Bytes) -> Result<Record, SnapshotError> {
    let kind = match rest.try_get_u8()? {
        0 => Kind::Shown,
        1 => Kind::Quarantined,
        _ => return Err(SnapshotError::Torn),
    };
    let name = take(rest)?;
    let name = std::str::from_utf8(&name).map_err(|_| SnapshotError::Torn)?;
    Ok(Record {
        name: KeyName::new(name).map_err(|_| SnapshotError::Torn)?,
        kind,
        value: take(rest)?,
        mod_revision: get_revision(rest)?,
        create_revision: get_revision(rest)?,
        lease: LeaseId(rest.try_get_i64_le()?),
    })
}

/// The kvstore counts its revisions in signed numbers.
fn get_revision(rest: &mut Bytes) -> Result<Revision, SnapshotError> {
    let revision = rest.try_get_u64_le()?;
    if i64::try_from(revision).is_ok() { Ok(Revision(revision)) } else { Err(SnapshotError::Torn) }
}

fn take(rest: &mut Bytes) -> Result<Bytes, SnapshotError> {
    let length = usize::try_from(rest.try_get_u32_le()?).unwrap_or(usize::MAX);
    if length > rest.len() { Err(SnapshotError::Torn) } else { Ok(rest.split_to(length)) }
}

fn same(what: &'static str, found: &[u8], wanted: &str) -> Result<(), SnapshotError> {
    if found == wanted.as_bytes() {
        return Ok(());
    }
    let (found, wanted) = (String::from_utf8_lossy(found).into_owned(), wanted.to_owned());
    Err(SnapshotError::Foreign { what, found, wanted })
}

impl From<TryGetError> for SnapshotError {
    /// It ends too early.
    fn from(_: TryGetError) -> Self {
        Self::Torn
    }
}

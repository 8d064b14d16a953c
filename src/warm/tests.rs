//! The file of a snapshot, and whatever else may lie in its place.

use super::*;

fn prefix() -> Prefix {
    Prefix::new("nodes/v1").unwrap()
}

fn record(name: &str, kind: Kind, value: &'static str, revision: u64) -> Record {
    let (name, value) = (KeyName::new(name).unwrap(), Bytes::from_static(value.as_bytes()));
    let (mod_revision, create_revision) = (Revision(revision), Revision(revision - 1));
    Record { name, kind, value, mod_revision, create_revision, lease: LeaseId(-7) }
}

fn image(records: Vec<Record>) -> Image {
    Image { cluster: ClusterId(u64::MAX), revision: Revision(9), records }
}

fn small() -> Image {
    image(vec![
        record("a", Kind::Shown, "1", 3),
        record("a", Kind::Quarantined, "no number", 9),
        record("z", Kind::Shown, "26", 5),
        record("ü//..", Kind::Quarantined, "", 4),
    ])
}

fn file(image: &Image) -> Vec<u8> {
    format::write(image, "nodes/v1", "digits")
}

fn parse(file: &[u8]) -> Result<Image, SnapshotError> {
    Image::parse(&Bytes::copy_from_slice(file), &prefix(), "digits")
}

/// With the checksum that makes it right.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    body.extend(value_hash(&body).to_le_bytes());
    body
}

#[test]
fn what_was_written_is_read() {
    for image in [small(), image(vec![])] {
        assert_eq!(parse(&file(&image)), Ok(image));
    }
}

#[test]
fn a_file_cut_short_anywhere_is_torn() {
    let whole = file(&small());
    for length in 0..whole.len() {
        assert_eq!(parse(&whole[..length]), Err(SnapshotError::Torn), "{length} bytes");
    }
}

#[test]
fn a_file_with_any_byte_changed_or_added_is_refused() {
    let whole = file(&small());
    for at in 0..whole.len() {
        for flip in 1..=u8::MAX {
            let mut file = whole.clone();
            file[at] ^= flip;
            assert!(parse(&file).is_err(), "byte {at} by {flip:#x}");
        }
    }
    for more in [&[0][..], &[0; 16], b"}"] {
        assert_eq!(parse(&[&whole, more].concat()), Err(SnapshotError::Torn));
    }
}

#[test]
fn a_file_of_another_prefix_codec_program_or_format_is_refused_with_the_reason() {
    let whole = Bytes::from(file(&small()));
    let foreign = |what, found: &str, wanted: &str| {
        let (found, wanted) = (found.to_owned(), wanted.to_owned());
        Err(SnapshotError::Foreign { what, found, wanted })
    };
    let sibling = Prefix::new("nodes/v10").unwrap();
    assert_eq!(Image::parse(&whole, &sibling, "digits"), foreign("prefix", "nodes/v1", "nodes/v10"));
    assert_eq!(Image::parse(&whole, &prefix(), "json"), foreign("codec", "digits", "json"));
    assert_eq!(parse(b"{\"some\": \"other file, which is long enough\"}"), Err(SnapshotError::NotASnapshot));
    let mut newer = whole.to_vec();
    newer[8] = 4;
    assert_eq!(parse(&newer), Err(SnapshotError::Newer { version: 4 }));
    assert_eq!(parse(&newer).unwrap_err().to_string(), "snapshot format 4 is newer than 3");
    let mut older = whole.to_vec();
    older[8] = 1;
    assert_eq!(parse(&older), Err(SnapshotError::Older { version: 1 }));
    assert_eq!(parse(&older).unwrap_err().to_string(), "snapshot format 1 is older than 3");
}

/// A file with the right checksum and nonsense in it must not bring the store down, either.
#[test]
fn a_sealed_file_that_makes_no_sense_is_refused_without_costing_memory() {
    let whole = file(&small());
    let (body, records) = (&whole[..whole.len() - 16], 8 + 4 + (4 + 6) + (4 + 8) + 16);
    for count in [0, 3, 5, 1 << 40, u64::MAX] {
        let lying = [&body[..records], &u64::to_le_bytes(count)[..], &body[records + 8..]].concat();
        assert_eq!(parse(&sealed(lying)), Err(SnapshotError::Torn), "{count} records");
    }
    for length in 0..body.len() {
        assert!(parse(&sealed(body[..length].to_vec())).is_err(), "{length} bytes");
    }
    for at in 0..body.len() {
        for byte in [0, 0x7f, 0xff] {
            let mut body = body.to_vec();
            body[at] = byte;
            // Some of these make sense; none may panic.
            let _ = parse(&sealed(body));
        }
    }
    for bad in [
        vec![record("b", Kind::Shown, "1", 2), record("a", Kind::Shown, "1", 2)],
        vec![record("a", Kind::Shown, "1", 2), record("a", Kind::Shown, "1", 2)],
        vec![record("a", Kind::Quarantined, "1", 2), record("a", Kind::Shown, "1", 2)],
        vec![record("a", Kind::Shown, "1", 10)],
    ] {
        assert_eq!(parse(&file(&image(bad))), Err(SnapshotError::Torn));
    }
    let never = Image { revision: Revision(u64::MAX), ..small() };
    assert_eq!(parse(&file(&never)), Err(SnapshotError::Torn));
}

#[test]
fn the_file_of_a_prefix_is_in_the_directory_and_no_other_prefix_has_it() {
    let name = |prefix: &str| file_name(&Prefix::new(prefix).unwrap());
    assert_eq!(name("cilium/state/nodes/v1"), "cilium_state_nodes_v1-438a7bdbf20796b9793c3d0d6d1bc37a.snapshot");
    let all = ["a/b", "a_b", "a.b", "..", "../..", "ä", "ö", "A/B", "-", &"x".repeat(5000)].map(name);
    for name in &all {
        assert!(name.len() < 100 && name.is_ascii() && !name.contains('/') && !name.starts_with('.'), "{name}");
        assert_eq!(all.iter().filter(|other| other.eq_ignore_ascii_case(name)).count(), 1, "{name}");
    }
}

#[test]
fn a_key_that_was_written_before_it_was_created_is_torn() {
    let mut bad = small();
    bad.records[0].create_revision = Revision(4);
    assert_eq!(parse(&file(&bad)), Err(SnapshotError::Torn));
}

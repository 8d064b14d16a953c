//! The snapshot that a store leaves on the disk, and a store that starts from it.

use std::path::{Path, PathBuf};

use shared_store::{BackendError, KeyName, LeaseId, State, Status};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, Expect, Write, WriteAction};
use tempfile::TempDir;

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn warm(config: Config, directory: &TempDir) -> Config {
    config.state_dir(directory.path()).state_interval(INTERVAL)
}

async fn join_warm(backend: &MemoryBackend, directory: &TempDir, shadow: &Shadow) -> SharedStore<Node> {
    let joining = join(warm(config(backend), directory)).observer(shadow.observer());
    joining.on(StoreThread::current()).await.unwrap()
}

async fn status(store: &SharedStore<Node>) -> Status {
    store.status().await.unwrap()
}

/// Waits until the status is as expected.
async fn until(store: &SharedStore<Node>, what: &str, so: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..1000 {
        let status = status(store).await;
        if so(&status) {
            return status;
        }
        pass(INTERVAL / 10).await;
    }
    panic!("not {what}: {:?}", status(store).await);
}

async fn synced(store: &SharedStore<Node>, shadow: &Shadow) {
    until(store, "synced", |status| status.state == State::Synced).await;
    until(store, "told", |status| status.observers.iter().all(|(_, lag)| lag.pending == 0)).await;
    assert!(shadow.log().iter().any(|line| line.starts_with("synced")));
}

async fn write(backend: &MemoryBackend, name: &str, ip: Option<&str>) {
    let path = Prefix::new("nodes").unwrap().path(&KeyName::new(name).unwrap());
    let action = match ip {
        Some(ip) => {
            WriteAction::Put { value: serde_json::to_vec(&node(name, ip)).unwrap().into(), lease: LeaseId::NONE }
        }
        None => WriteAction::Delete,
    };
    backend.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap();
}

/// The one snapshot in the directory.
fn file(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|is| is == "snapshot")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// A kvstore with the keys a, b and c, and a directory with the snapshot of a store that has left.
async fn left_behind() -> (MemoryBackend, TempDir) {
    let (backend, directory) = (MemoryBackend::new(), tempfile::tempdir().unwrap());
    for name in ["a", "b", "c"] {
        write(&backend, name, Some("1")).await;
    }
    join_warm(&backend, &directory, &Shadow::default()).await.release().await.unwrap();
    file(directory.path());
    (backend, directory)
}

#[test]
fn a_restart_tells_what_was_known_then_what_has_changed_then_synced() {
    paused(async {
        let (backend, directory) = left_behind().await;
        write(&backend, "b", None).await;
        write(&backend, "c", Some("2")).await;
        write(&backend, "d", Some("1")).await;
        let shadow = Shadow::default();
        let store = join_warm(&backend, &directory, &shadow).await;
        assert_eq!(shadow.log()[..3], ["a=1", "b=1", "c=1"]);
        synced(&store, &shadow).await;
        assert_eq!(shadow.log(), ["a=1", "b=1", "c=1", "c=2", "d=1", "-b", "synced 3"]);
    });
}

#[test]
fn a_restart_without_the_kvstore_serves_what_was_known_and_heals() {
    paused(async {
        let (backend, directory) = left_behind().await;
        let (faulty, shadow) = (Faulty::new(backend.clone()), Shadow::default());
        faulty.fail(Op::List, 3, When::Before, BackendError::unavailable("nobody there"));
        faulty.hold(Op::List, When::Before);
        let config = warm(config(&backend), &directory).backend(faulty.clone());
        let store = join(config).observer(shadow.observer()).on(StoreThread::current()).await.unwrap();
        assert_eq!((store.reader().len(), shadow.log()), (3, vec!["a=1".to_owned(), "b=1".into(), "c=1".into()]));
        let state = store.reader().state().to_string();
        assert!(state.starts_with("stale: from a snapshot of revision "), "{state}");
        // A late subscriber is told the same, and no more.
        let late = Shadow::default();
        store.subscribe(late.observer()).await.unwrap();
        until(&store, "told", |status| status.observers.iter().all(|(_, lag)| lag.pending == 0)).await;
        assert_eq!(late.log(), ["a=1", "b=1", "c=1"]);
        let known = store.reader().state();
        faulty.release(Op::List);
        assert!(store.reader().state_changed(&known).await.to_string().contains("nobody there"));
        synced(&store, &shadow).await;
        assert_eq!(shadow.log(), ["a=1", "b=1", "c=1", "synced 3"]);
        assert_eq!(late.log(), shadow.log());
    });
}

#[test]
fn an_observer_that_wants_none_of_the_snapshot_does_not_hold_up_joining() {
    paused(async {
        let (backend, directory) = left_behind().await;
        let (faulty, shadow) = (Faulty::new(backend.clone()), Shadow::default());
        faulty.hold(Op::List, When::Before);
        let observer = shadow.observer().filter(shared_store::Filter::new().prefix("z"));
        let config = warm(config(&backend), &directory).backend(faulty.clone());
        let store = join(config).observer(observer).on(StoreThread::current()).await.unwrap();
        assert_eq!(shadow.log(), Vec::<String>::new());
        faulty.heal();
        synced(&store, &shadow).await;
        assert_eq!(shadow.log(), ["synced 0"]);
    });
}

#[test]
fn a_snapshot_of_another_kvstore_is_served_until_that_answers() {
    paused(async {
        let (_, directory) = left_behind().await;
        let (other, shadow) = (MemoryBackend::new(), Shadow::default());
        write(&other, "b", Some("1")).await;
        let store = join_warm(&other, &directory, &shadow).await;
        synced(&store, &shadow).await;
        assert_eq!(shadow.log(), ["a=1", "b=1", "c=1", "resynced", "synced 3"]);
        // Owners have the time of the deletion guard to put their keys into that kvstore.
        until(&store, "told", |status| status.held_back == 0).await;
        assert_eq!(shadow.log()[5..], ["-a", "-c"]);
    });
}

#[test]
fn a_file_that_is_no_snapshot_is_refused_with_the_reason_and_replaced_later() {
    paused(async {
        let (backend, directory) = left_behind().await;
        let (path, good) = (file(directory.path()), std::fs::read(file(directory.path())).unwrap());
        let (mut newer, mut older) = (good.clone(), good.clone());
        (newer[8], older[8]) = (good[8] + 1, good[8] - 1);
        let torn = &good[..good.len() - 1];
        for (bytes, reason) in
            [(torn, "damaged"), (&newer, "newer"), (&older, "older"), (b"{} of another program", "not a snapshot")]
        {
            std::fs::write(&path, bytes).unwrap();
            let shadow = Shadow::default();
            let store = join_warm(&backend, &directory, &shadow).await;
            assert_eq!(shadow.log(), ["a=1", "b=1", "c=1", "synced 3"]);
            let error = status(&store).await.state_error.unwrap();
            assert!(error.contains("refused") && error.contains(reason), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "left alone");
            let status = until(&store, "saved", |status| status.saved.is_some()).await;
            assert_eq!((status.saved, status.state_error), (Some(status.revision), None));
            assert_eq!(std::fs::read(&path).unwrap(), good);
            store.release().await.unwrap();
        }
    });
}

#[test]
fn a_snapshot_of_another_prefix_in_its_place_is_refused() {
    paused(async {
        let (backend, directory) = left_behind().await;
        let path = file(directory.path());
        let others = config(&backend);
        let others = Config::new(Prefix::new("others").unwrap()).shared_backend(others.backend);
        let store = join::<Node>(warm(others.clone(), &directory)).on(StoreThread::current()).await.unwrap();
        store.release().await.unwrap();
        let foreign = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
        let foreign = foreign.into_iter().find(|of| of.extension() == path.extension() && *of != path).unwrap();
        std::fs::rename(&path, foreign).unwrap();
        let store = join::<Node>(warm(others, &directory)).on(StoreThread::current()).await.unwrap();
        assert_eq!(store.reader().len(), 0);
        let error = status(&store).await.state_error.unwrap();
        assert!(error.contains("of the prefix \"nodes\", not of \"others\""), "{error}");
    });
}

#[test]
fn the_snapshot_is_written_at_the_interval_and_only_if_the_cache_has_changed() {
    paused(async {
        let (backend, directory) = (MemoryBackend::new(), tempfile::tempdir().unwrap());
        let inner = directory.path().join("made/when/needed");
        let config = config(&backend).state_dir(&inner).state_interval(INTERVAL);
        let store: SharedStore<Node> = join(config).on(StoreThread::current()).await.unwrap();
        assert_eq!(status(&store).await.saved, None);
        let at = store.update_local_key_sync(node("a", "1")).await.unwrap();
        until(&store, "saved", |status| status.saved >= Some(at)).await;
        std::fs::remove_file(file(&inner)).unwrap();
        pass(3 * INTERVAL).await;
        assert_eq!(status(&store).await.saved, Some(at));
        let files = std::fs::read_dir(&inner).unwrap().map(|file| file.unwrap().path());
        assert_eq!(files.filter(|path| path.extension().is_some_and(|is| is != "lock")).count(), 0);
        let at = store.update_local_key_sync(node("a", "2")).await.unwrap();
        until(&store, "saved", |status| status.saved >= Some(at)).await;
        file(&inner);
    });
}

#[test]
fn released_keys_are_in_the_last_snapshot_and_closed_ones_are_not() {
    paused(async {
        for (close, told) in [(false, &["a=1", "b=1", "c=1", "own=1"][..]), (true, &["a=1", "b=1", "c=1"])] {
            let (backend, directory) = left_behind().await;
            let store = join_warm(&backend, &directory, &Shadow::default()).await;
            let at = store.update_local_key_sync(node("own", "1")).await.unwrap();
            settled(&store, at).await;
            let left = if close { store.close().await } else { store.release().await };
            left.unwrap();
            let shadow = Shadow::default();
            let store = join_warm(&backend, &directory, &shadow).await;
            assert_eq!(shadow.log()[..told.len()], *told);
            synced(&store, &shadow).await;
            assert_eq!(shadow.log()[told.len()..], [format!("synced {}", told.len())]);
        }
    });
}

#[test]
fn a_snapshot_that_cannot_be_written_disturbs_nothing_and_is_written_when_it_can_be() {
    paused(async {
        let (backend, directory) = (MemoryBackend::new(), tempfile::tempdir().unwrap());
        let blocked = directory.path().join("blocked");
        std::fs::write(&blocked, "a file where the directory is to be").unwrap();
        let config = config(&backend).state_dir(&blocked).state_interval(INTERVAL);
        let store: SharedStore<Node> = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        let failed = until(&store, "failed", |status| {
            status.state_error.as_ref().is_some_and(|error| error.contains("not written"))
        })
        .await;
        assert_eq!((failed.saved, failed.state), (None, State::Synced));
        store.update_local_key_sync(node("a", "2")).await.unwrap();
        std::fs::remove_file(&blocked).unwrap();
        let healed = until(&store, "saved", |status| status.saved.is_some()).await;
        assert_eq!(healed.state_error, None);
        std::fs::remove_dir_all(&blocked).unwrap();
        std::fs::write(&blocked, "and again").unwrap();
        store.close().await.unwrap();
    });
}

#[test]
fn of_two_stores_with_one_file_one_writes_and_the_other_when_that_has_left() {
    paused(async {
        let (backend, directory) = left_behind().await;
        let first = join_warm(&backend, &directory, &Shadow::default()).await;
        let at = first.update_local_key_sync(node("d", "1")).await.unwrap();
        until(&first, "saved", |status| status.saved >= Some(at)).await;
        let second = join_warm(&backend, &directory, &Shadow::default()).await;
        assert_eq!(second.reader().len(), 4, "both read it");
        let at = second.update_local_key_sync(node("e", "1")).await.unwrap();
        let refused = until(&second, "refused", |status| status.state_error.is_some()).await;
        assert_eq!(refused.state_error.as_deref(), Some("snapshot is not written: another store writes it"));
        first.release().await.unwrap();
        drop(first);
        until(&second, "saved", |status| status.saved >= Some(at)).await;
    });
}

/// A pipe that nobody reads behaves as a disk that never answers.
#[cfg(unix)]
#[test]
fn a_disk_that_hangs_does_not_hold_up_leaving_for_ever() {
    actix_rt::System::new().block_on(async {
        let (backend, directory) = left_behind().await;
        let pipe = file(directory.path()).with_extension("new");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let config = config(&backend).state_dir(directory.path()).close_timeout(Duration::from_millis(100));
        let store: SharedStore<Node> = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("d", "1")).await.unwrap();
        store.close().await.unwrap();
        // The thread that hangs ends.
        std::fs::File::open(&pipe).unwrap();
    });
}

#[test]
fn a_store_that_was_attached_elsewhere_leaves_its_own_snapshot_as_it_was() {
    paused(async {
        let (backend, directory) = left_behind().await;
        let before = std::fs::read(file(directory.path())).unwrap();
        let shadow = Shadow::default();
        let store = join_warm(&backend, &directory, &shadow).await;
        synced(&store, &shadow).await;
        store.detach().await.unwrap();
        let elsewhere = MemoryBackend::new();
        write(&elsewhere, "z", Some("1")).await;
        store.attach(Arc::new(elsewhere), Prefix::new("nodes").unwrap()).await.unwrap();
        until(&store, "attached", |status| status.state == State::Synced).await;
        assert_eq!(store.reader().len(), 1);
        pass(INTERVAL * 3).await;
        store.release().await.unwrap();
        assert_eq!(std::fs::read(file(directory.path())).unwrap(), before);
    });
}

#[cfg(unix)]
#[test]
fn only_its_user_can_read_a_snapshot() {
    use std::os::unix::fs::PermissionsExt;
    paused(async {
        let (backend, directory, shadow) = (MemoryBackend::new(), TempDir::new().unwrap(), Shadow::default());
        write(&backend, "a", Some("1")).await;
        join_warm(&backend, &directory, &shadow).await.close().await.unwrap();
        let mode = std::fs::metadata(file(directory.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

//! At the limits of the system.

use shared_store::{CanaryGate, JoinError, publish};

use super::*;

/// A stack that no address space has room for: no thread can be started. The harness runs a test on its own thread then.
const HUGE_STACK: (&str, &str) = ("RUST_MIN_STACK", "4611686018427387904");

#[test]
fn without_a_thread_every_start_is_a_typed_error_and_no_panic() {
    const NAME: &str = "actors::limits::without_a_thread_every_start_is_a_typed_error_and_no_panic";
    if std::env::var(HUGE_STACK.0).as_deref() != Ok(HUGE_STACK.1) {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.args([NAME, "--exact", "--nocapture"]).env(HUGE_STACK.0, HUGE_STACK.1).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        return;
    }
    paused(async {
        let directory = tempfile::tempdir().unwrap();
        let config = || config(&MemoryBackend::new());
        let no_thread = |error: &JoinError| {
            assert!(matches!(error, JoinError::Thread(_)), "{error:?}");
            assert!(error.to_string().starts_with("cannot start a thread for the store: "), "{error}");
        };
        no_thread(&join::<Node>(config()).await.unwrap_err());
        no_thread(&join::<Node>(config().state_dir(directory.path())).on(StoreThread::current()).await.unwrap_err());
        no_thread(&publish::<Node>(config()).start().unwrap_err());
        no_thread(&CanaryGate::start(&config()).unwrap_err());
        assert!(StoreThread::new().is_err());
        // Many values, which are decoded on several threads if there are any.
        let backend = MemoryBackend::new();
        let owner = joined(&backend).await;
        owner.update_local_keys((0..1000).map(|n| node(&n.to_string(), "1")).collect()).await.unwrap();
        owner.release().await.unwrap();
        assert_eq!(joined(&backend).await.reader().len(), 1000);
        #[cfg(feature = "etcd")]
        {
            use shared_store::{EtcdBackend, EtcdConfig, EtcdConfigError};
            let error = EtcdBackend::new(EtcdConfig::new(["http://127.0.0.1:1"])).unwrap_err();
            assert!(matches!(error, EtcdConfigError::Thread(_)), "{error:?}");
        }
    });
}

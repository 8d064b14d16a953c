//! Three collaborators whose tokens expire, or whose certificates are renewed, while they write.

use std::collections::BTreeMap;

use shared_store::{Config, SharedStore, join};

use super::auth::{Guarded, Tokens};
use super::tls::{Clients, Files};
use super::*;
use crate::actors::{Shadow, node};
use crate::support::certificates::{Authority, Quality};

/// Three collaborators with five keys each, and an observer each.
struct Three {
    stores: Vec<(SharedStore<Node>, Shadow)>,
    direct: EtcdBackend,
}

impl Three {
    async fn start(lease_ttl: Duration, backend: impl Fn() -> EtcdBackend) -> Self {
        let mut stores = Vec::new();
        for _ in 0..3 {
            let shadow = Shadow::default();
            let config = Config::new(prefix()).backend(backend()).lease_ttl(lease_ttl);
            stores.push((join::<Node>(config).observer(shadow.observer()).await.unwrap(), shadow));
        }
        Self { stores, direct: backend() }
    }

    /// Each puts its keys with this value; waits until etcd, every cache and every observer's map have them.
    async fn all_write(&self, value: &str) {
        let mut wanted = BTreeMap::new();
        for (who, (store, _)) in self.stores.iter().enumerate() {
            let keys: Vec<_> = (0..5).map(|n| node(&format!("{who}/{n}"), value)).collect();
            wanted.extend(keys.iter().map(|node| (node.name.clone(), node.ip.clone())));
            store.update_local_keys(keys).await.unwrap();
        }
        let compare = async || self.compare(&wanted).await;
        eventually("all are equal", PATIENCE, compare, Result::is_ok).await.expect("it is ok");
    }

    async fn compare(&self, wanted: &BTreeMap<String, String>) -> Result<(), String> {
        let listed = self.direct.list(ListRequest::new(prefix().range())).await.map_err(|error| error.to_string())?;
        let listed = listed.kvs.iter().map(|kv| (prefix().strip(&kv.path).unwrap().to_string(), ip(&kv.value)));
        let mut all = vec![("etcd".to_owned(), listed.collect::<BTreeMap<_, _>>())];
        for (who, (store, shadow)) in self.stores.iter().enumerate() {
            let cache = store.reader().snapshot().entries;
            let cache = cache.iter().map(|(name, node)| (name.to_string(), node.ip.clone())).collect();
            all.extend([(format!("cache of {who}"), cache), (format!("observer of {who}"), shadow.map())]);
        }
        all.iter().try_for_each(|(what, map)| if map == wanted { Ok(()) } else { Err(format!("{what}: {map:?}")) })
    }

    /// No observer was told a deletion before. All leave.
    async fn end(self) {
        for (_, shadow) in &self.stores {
            assert!(!shadow.log().iter().any(|line| line.starts_with('-')), "{:?}", shadow.log());
        }
        for (store, _) in &self.stores {
            store.close().await.unwrap();
        }
    }
}

/// Tokens are good for two seconds, leases for three: each keep-alive but the first has an expired token.
async fn logins_that_run_out_are_renewed(version: Version) {
    let guarded = Guarded::start(version, Tokens::Signed);
    let three = Three::start(Duration::from_secs(3), || guarded.backend("app")).await;
    for value in ["1", "2", "3"] {
        three.all_write(value).await;
        // Longer than a token is good for.
        real_time(Duration::from_secs(3)).await;
    }
    three.all_write("4").await;
    three.end().await;
}

/// Members are given a login before etcd asks for one, and keep it when etcd no longer does.
async fn authentication_switched_on_and_off_disturbs_no_collaborator(version: Version) {
    let mut guarded = Guarded::start_unguarded(version, Tokens::Simple);
    let three = Three::start(Duration::from_secs(3), || guarded.backend("app")).await;
    three.all_write("1").await;
    guarded.enable();
    three.all_write("2").await;
    // As long as a lease lives: each is kept alive with a token meanwhile.
    real_time(Duration::from_secs(3)).await;
    three.all_write("3").await;
    guarded.disable();
    three.all_write("4").await;
    guarded.restart();
    three.all_write("5").await;
    guarded.enable();
    three.all_write("6").await;
    three.end().await;
}

async fn certificates_are_renewed_with_their_authority(version: Version) {
    let mut files = Files::new();
    let mut server = files.server(version, Quality::Good, Clients::Signed, &[]);
    let client = files.issue("client", Quality::Good);
    let config = files.config(&server).tls_identity(&client.certificate, &client.key);
    let three = Three::start(Duration::from_secs(60), || EtcdBackend::new(config.clone()).unwrap()).await;
    three.all_write("1").await;
    files.authority = Authority::new("second");
    files.write("clients.pem", &files.authority.pem());
    files.issue("server", Quality::Good);
    server.restart();
    for (store, _) in &three.stores {
        let mut state = store.reader().state();
        while !state.cause().is_some_and(|cause| cause.contains("no authority we know")) {
            state = tokio::time::timeout(PATIENCE, store.reader().state_changed(&state)).await.unwrap();
        }
    }
    files.write("ca.pem", &files.authority.pem());
    files.issue("client", Quality::Good);
    three.all_write("2").await;
    three.end().await;
}

on_both! {
    authentication_switched_on_and_off_disturbs_no_collaborator
    logins_that_run_out_are_renewed
    certificates_are_renewed_with_their_authority
}

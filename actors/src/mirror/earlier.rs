//! What an earlier mirror left in the target: it stays, whatever the source is.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use shared_store_core::backend::ListRequest;
use shared_store_core::mirror::MirrorRule;
use shared_store_core::{BackendError, Backoff, KeyName, KeyRange, KeyValue};
use tokio::time::sleep;

use super::MirrorConfig;
use super::verbatim::Verbatim;
use crate::error::StoreError;
use crate::publisher::Publisher;

/// How many copies a page has.
const PAGE: usize = 1000;

/// The configuration of the cluster, once the target can be read.
pub(super) async fn cluster_config(config: &MirrorConfig) -> Option<Bytes> {
    let name = KeyName::new(config.cluster.as_str()).ok()?;
    let request = ListRequest::new(KeyRange::one(&MirrorConfig::cluster_configs().path(&name)));
    let page = until_read(config, "the configuration of the cluster", || config.target.list(request.clone())).await;
    page.kvs.into_iter().find(|kv| is_ours(config, kv)).map(|kv| kv.value)
}

/// Gives the copies of a rule to a publisher, once the target can be read, and answers their names. If they are announced, they
/// stay so.
pub(super) async fn take_over(
    config: &MirrorConfig,
    rule: &MirrorRule,
    publisher: &Publisher<Verbatim>,
) -> Result<HashSet<KeyName>, StoreError> {
    // If it fails, from the beginning: the revision can be compacted.
    until_read(config, &rule.to, || copies(config, rule, publisher)).await
}

/// What others have put there stays theirs.
fn is_ours(config: &MirrorConfig, kv: &KeyValue) -> bool {
    config.copies.is_own_lease(kv.lease)
}

async fn until_read<T>(
    config: &MirrorConfig,
    what: impl fmt::Display,
    read: impl AsyncFn() -> Result<T, BackendError>,
) -> T {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), config.copies.seed);
    loop {
        match read().await {
            Ok(read) => return read,
            Err(error) => {
                tracing::warn!(%error, "cannot read {what}, as an earlier mirror left it: trying again");
                sleep(backoff.fail()).await;
            }
        }
    }
}

async fn copies(
    config: &MirrorConfig,
    rule: &MirrorRule,
    publisher: &Publisher<Verbatim>,
) -> Result<Result<HashSet<KeyName>, StoreError>, BackendError> {
    let mut given = HashSet::new();
    let mut request = ListRequest::new(rule.to.range());
    request.limit = PAGE;
    loop {
        let page = config.target.list(request.clone()).await?;
        let last = page.kvs.last().map(|kv| kv.path.clone());
        let ours = page.kvs.into_iter().filter(|kv| is_ours(config, kv));
        let copies: Vec<_> = ours.filter_map(|kv| Some((rule.to.strip(&kv.path)?, kv.value))).collect();
        given.extend(copies.iter().map(|(name, _)| name.clone()));
        if let Err(error) = publisher.apply(copies, Vec::new()).await {
            return Ok(Err(error));
        }
        request.revision.get_or_insert(page.header.revision);
        match last {
            Some(last) if page.more => request.range.start = KeyRange::one(&last).end,
            Some(_) | None => break,
        }
    }
    if let Some((canaries, name)) = &rule.announce {
        request.range = KeyRange::one(&canaries.path(name));
        request.keys_only = true;
        if config.target.list(request).await?.kvs.iter().any(|kv| is_ours(config, kv)) {
            publisher.announce();
        }
    }
    Ok(Ok(given))
}

//! The addresses behind a host name, some of which may not answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;

use super::config::EtcdConfig;
use super::failure::Failure;

/// The addresses of a name, if there are several. An endpoint that is an address itself has none.
pub(super) async fn addresses(config: &EtcdConfig, endpoint: &str) -> Vec<SocketAddr> {
    let Some((_, authority)) = endpoint.split_once("://") else { return Vec::new() };
    if host(endpoint).parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    let mut found = resolve(config, authority).await;
    let mut known = std::collections::HashSet::new();
    found.retain(|address| known.insert(*address));
    // A single address needs no attempt of its own: connecting to the name does the same.
    if found.len() > 1 { found } else { Vec::new() }
}

#[cfg_attr(not(feature = "test-kit"), allow(unused_variables, reason = "only tests bring addresses of their own"))]
async fn resolve(config: &EtcdConfig, authority: &str) -> Vec<SocketAddr> {
    #[cfg(feature = "test-kit")]
    if let Some(resolver) = &config.resolver {
        return resolver(authority);
    }
    // A name that cannot be resolved fails when it is connected to.
    tokio::net::lookup_host(authority).await.map(Iterator::collect).unwrap_or_default()
}

/// The host of a checked endpoint, without brackets.
pub(super) fn host(endpoint: &str) -> &str {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, authority)| authority);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// The first answer of several attempts. Each begins when the one before has failed, or has been silent for `patience`.
/// If all fail, the failure of the first.
pub(super) async fn first_answer<T, F>(attempts: impl IntoIterator<Item = F>, patience: Duration) -> Result<T, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut waiting = attempts.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut failed: Option<(usize, Failure)> = None;
    let mut next = waiting.next();
    loop {
        if let Some((number, attempt)) = next.take() {
            running.spawn(async move { (number, attempt.await) });
        }
        let ended = tokio::time::timeout(patience, running.join_next()).await;
        match ended {
            Ok(Some(Ok((_, Ok(answer))))) => return Ok(answer),
            Ok(Some(Ok((number, Err(failure))))) => {
                if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                    failed = Some((number, failure));
                }
            }
            Ok(Some(Err(error))) => failed = failed.or_else(|| Some((usize::MAX, Failure::broken(error)))),
            Ok(None) => {
                let none = || Failure::broken("there is nothing to connect to");
                return Err(failed.map_or_else(none, |(_, failure)| failure));
            }
            Err(_) => {}
        }
        next = waiting.next();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::Pin;

    use super::*;

    type Attempt = Pin<Box<dyn Future<Output = Result<u32, Failure>> + Send>>;

    fn silent() -> Attempt {
        Box::pin(pending())
    }

    fn answers(answer: u32) -> Attempt {
        Box::pin(ready(Ok(answer)))
    }

    fn fails(cause: &'static str) -> Attempt {
        Box::pin(ready(Err(Failure::broken(cause))))
    }

    async fn first(attempts: Vec<Attempt>) -> (Result<u32, String>, u128) {
        let begun = tokio::time::Instant::now();
        let answer = first_answer(attempts, Duration::from_secs(1)).await;
        (answer.map_err(|failure| failure.into_error("e").to_string()), begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_is_taken_and_the_others_wait_until_it_is_silent() {
        assert_eq!(first(vec![answers(1), answers(2)]).await, (Ok(1), 0));
        assert_eq!(first(vec![silent(), answers(2)]).await, (Ok(2), 1000));
        assert_eq!(first(vec![silent(), silent(), answers(3)]).await, (Ok(3), 2000));
        assert_eq!(first(vec![fails("a"), answers(2)]).await, (Ok(2), 0));
        assert_eq!(first(vec![fails("a"), fails("b")]).await, (Err("etcd at e: a".to_owned()), 0));
    }

    #[test]
    fn the_host_of_an_endpoint_has_no_brackets() {
        assert_eq!(host("http://[::1]:2379"), "::1");
        assert_eq!(host("https://etcd-0:2379"), "etcd-0");
    }
}

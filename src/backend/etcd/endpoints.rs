//! The members' URLs, which may change while calls are under way.

use std::sync::Arc;

use tokio::sync::watch;

use super::endpoint::{self, Tls};
use super::error::EtcdConfigError;

/// The URLs, checked, in the order in which they are tried.
pub(super) type List = Arc<[Arc<str>]>;

/// The members' URLs.
#[derive(Debug)]
pub(super) struct Endpoints {
    list: watch::Sender<List>,
    tls: Tls,
}

impl Endpoints {
    pub(super) fn new(urls: impl IntoIterator<Item = String>, tls: Tls) -> Result<Self, EtcdConfigError> {
        Ok(Self { list: watch::Sender::new(checked(urls, tls)?), tls })
    }

    /// Replaces them all, or none if one of them cannot work.
    pub(super) fn set(&self, urls: impl IntoIterator<Item = String>) -> Result<(), EtcdConfigError> {
        self.list.send_replace(checked(urls, self.tls)?);
        Ok(())
    }

    pub(super) fn list(&self) -> List {
        self.list.borrow().clone()
    }

    /// The one to try after this one, which need not be listed any more.
    pub(super) fn after(&self, endpoint: &str) -> Arc<str> {
        let list = self.list();
        let next = list.iter().position(|listed| **listed == *endpoint).map_or(0, |index| index + 1);
        Arc::clone(&list[next % list.len()])
    }

    /// Waits until this one is no longer listed.
    pub(super) async fn removed(&self, endpoint: &str) {
        let gone = |list: &List| !list.iter().any(|listed| **listed == *endpoint);
        // An error would mean that the sender was dropped, and `self` holds the sender.
        let _ = self.list.subscribe().wait_for(gone).await;
    }
}

fn checked(urls: impl IntoIterator<Item = String>, tls: Tls) -> Result<List, EtcdConfigError> {
    let mut list: Vec<Arc<str>> = Vec::new();
    for url in urls {
        let url = endpoint::checked(&url, tls)?;
        // If an endpoint were listed twice, the one after it would always be its second entry.
        if !list.contains(&url) {
            list.push(url);
        }
    }
    if list.is_empty() { Err(EtcdConfigError::NoEndpoints) } else { Ok(list.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(urls: &[&str]) -> Result<Endpoints, EtcdConfigError> {
        Endpoints::new(urls.iter().map(ToString::to_string), Tls::Optional)
    }

    #[test]
    fn an_endpoint_that_cannot_work_is_named() {
        let error = endpoints(&["a:1", ""]).unwrap_err();
        assert!(matches!(&error, EtcdConfigError::Endpoint { endpoint, .. } if endpoint.is_empty()), "{error}");
        assert!(matches!(endpoints(&[]), Err(EtcdConfigError::NoEndpoints)));
    }

    #[test]
    fn an_endpoint_that_is_listed_twice_does_not_hide_the_next_one() {
        let endpoints = endpoints(&["a:1", "http://a:1/", "b:2"]).unwrap();
        assert_eq!(*endpoints.after("http://a:1"), *"http://b:2");
    }

    #[test]
    fn new_endpoints_are_taken_all_or_none() {
        let endpoints = endpoints(&["a:1", "b:2"]).unwrap();
        assert!(endpoints.set(["c:3".to_owned(), "c:0".to_owned()]).is_err());
        assert_eq!(*endpoints.list(), ["http://a:1".into(), "http://b:2".into()]);
        endpoints.set(["http://c:3/".to_owned()]).unwrap();
        assert_eq!(*endpoints.list(), ["http://c:3".into()]);
    }

    #[test]
    fn after_the_last_and_after_one_that_is_not_listed_comes_the_first() {
        let endpoints = endpoints(&["a:1", "b:2"]).unwrap();
        for (endpoint, next) in [("http://a:1", "http://b:2"), ("http://b:2", "http://a:1"), ("x", "http://a:1")] {
            assert_eq!(*endpoints.after(endpoint), *next);
        }
    }

    #[tokio::test]
    async fn removal_is_noticed_and_other_changes_are_not() {
        let endpoints = endpoints(&["a:1", "b:2"]).unwrap();
        let removed = endpoints.removed("http://a:1");
        tokio::pin!(removed);
        endpoints.set(["a:1".to_owned(), "c:3".to_owned()]).unwrap();
        tokio::select! {
            biased;
            () = &mut removed => panic!("it is still listed"),
            () = tokio::task::yield_now() => {}
        }
        endpoints.set(["c:3".to_owned()]).unwrap();
        removed.await;
    }
}

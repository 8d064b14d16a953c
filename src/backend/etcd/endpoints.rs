//! The members' URLs, which may change while calls are under way.

use std::sync::Arc;

use tokio::sync::watch;

use super::config::EtcdConfigError;

/// The URLs, checked, in the order in which they are tried.
pub(super) type List = Arc<[Arc<str>]>;

/// The members' URLs.
#[derive(Debug)]
pub(super) struct Endpoints {
    list: watch::Sender<List>,
    /// TLS files are given, so every endpoint has to use TLS.
    tls: bool,
}

impl Endpoints {
    pub(super) fn new(urls: impl IntoIterator<Item = String>, tls: bool) -> Result<Self, EtcdConfigError> {
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
        // An error would say that the sender is gone, and that is ours.
        let _ = self.list.subscribe().wait_for(gone).await;
    }
}

fn checked(urls: impl IntoIterator<Item = String>, tls: bool) -> Result<List, EtcdConfigError> {
    let list = urls.into_iter().map(|url| checked_one(url, tls)).collect::<Result<List, _>>()?;
    if list.is_empty() { Err(EtcdConfigError::NoEndpoints) } else { Ok(list) }
}

/// Scheme, host and port and nothing else.
fn checked_one(url: String, tls: bool) -> Result<Arc<str>, EtcdConfigError> {
    let whole = if url.contains("://") { url.clone() } else { format!("http://{url}") };
    let whole = whole.strip_suffix('/').unwrap_or(&whole);
    let authority = ["http://", "https://"].iter().find_map(|scheme| whole.strip_prefix(scheme));
    let valid = authority.and_then(|authority| authority.rsplit_once(':')).is_some_and(|(host, port)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:%".contains(c);
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match valid {
        false => Err(EtcdConfigError::Endpoint(url)),
        true if tls && !whole.starts_with("https://") => Err(EtcdConfigError::TlsUnused(whole.to_owned())),
        true => Ok(whole.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(urls: &[&str]) -> Result<Endpoints, EtcdConfigError> {
        Endpoints::new(urls.iter().map(ToString::to_string), false)
    }

    #[test]
    fn endpoints_that_cannot_work_are_named() {
        for bad in ["", "http://", "http://host", "ftp://host:1", "http://host:0", "http://host:99999", "http://h/x:1"]
        {
            let error = endpoints(&[bad]).unwrap_err();
            assert!(matches!(&error, EtcdConfigError::Endpoint(named) if named == bad), "{bad}: {error}");
        }
        for good in ["127.0.0.1:2379", "http://[::1]:2379", "https://etcd-0.etcd:2379/"] {
            endpoints(&[good]).unwrap();
        }
        assert!(matches!(endpoints(&[]), Err(EtcdConfigError::NoEndpoints)));
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

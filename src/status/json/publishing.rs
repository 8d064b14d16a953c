//! [`PublisherStatus`] and [`GateStatus`] as serde writes them, with the names of [`Status`](crate::Status) where the
//! meaning is the same.

use serde::{Serialize, Serializer};

use super::{SetAsideFields, StateFields, now};
use crate::{CanaryState, GateProgress, GateStatus, PublisherStatus};

#[derive(Serialize)]
struct PublisherFields<'a> {
    #[serde(flatten)]
    state: StateFields<'a>,
    own: usize,
    pending_writes: usize,
    set_aside: Vec<SetAsideFields<'a>>,
    repairs: u64,
    leases: usize,
    canary: Option<&'static str>,
}

impl Serialize for PublisherStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let set_aside = self.refused.iter().map(|(name, cause)| SetAsideFields { name: name.as_str(), cause });
        PublisherFields {
            state: StateFields::new(&self.state, now()),
            own: self.own,
            pending_writes: self.pending,
            set_aside: set_aside.collect(),
            repairs: self.repairs,
            leases: self.leases,
            canary: self.canary.map(canary),
        }
        .serialize(serializer)
    }
}

fn canary(state: CanaryState) -> &'static str {
    match state {
        CanaryState::Unasked => "unasked",
        CanaryState::Waiting { .. } => "waiting",
        CanaryState::Writing => "writing",
        CanaryState::Written { .. } => "written",
    }
}

#[derive(Serialize)]
struct GateFields<'a> {
    #[serde(flatten)]
    state: StateFields<'a>,
    stores: Vec<GatedFields>,
}

#[derive(Serialize)]
struct GatedFields {
    prefix: String,
    progress: &'static str,
    waited_seconds: f64,
}

impl Serialize for GateStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stores = self.stores.iter().map(|(prefix, progress)| {
            let (progress, waited) = match progress {
                GateProgress::Waiting { waited } => ("waiting", waited),
                GateProgress::TimedOut { waited } => ("timed_out", waited),
                GateProgress::Started { waited } => ("started", waited),
                GateProgress::StartedWithout { waited } => ("started_without", waited),
            };
            GatedFields { prefix: prefix.to_string(), progress, waited_seconds: waited.as_secs_f64() }
        });
        GateFields { state: StateFields::new(&self.state, now()), stores: stores.collect() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{KeyName, Prefix, Revision, State};

    #[test]
    fn a_publisher_is_flat_and_has_the_names_of_a_store() {
        let status = |canary| PublisherStatus {
            state: State::Synced,
            own: 3,
            pending: 1,
            refused: vec![(KeyName::new("a").unwrap(), "too large".into())],
            repairs: 2,
            leases: 1,
            canary,
        };
        let text = |canary| serde_json::to_string(&status(canary)).unwrap();
        let expected = |canary| {
            format!(
                r#"{{"state":"synced","cause":null,"seen":null,"stale_seconds":null,"own":3,"pending_writes":1,"set_aside":[{{"name":"a","cause":"too large"}}],"repairs":2,"leases":1,"canary":{canary}}}"#
            )
        };
        assert_eq!(text(None), expected("null"));
        assert_eq!(text(Some(CanaryState::Unasked)), expected(r#""unasked""#));
        assert_eq!(text(Some(CanaryState::Waiting { keys: 1 })), expected(r#""waiting""#));
        assert_eq!(text(Some(CanaryState::Writing)), expected(r#""writing""#));
        assert_eq!(text(Some(CanaryState::Written { revision: Revision(7) })), expected(r#""written""#));
    }

    #[test]
    fn a_gate_has_each_store_with_how_long_it_has_waited() {
        let waited = Duration::from_millis(1500);
        let stores = [
            GateProgress::Waiting { waited },
            GateProgress::TimedOut { waited },
            GateProgress::Started { waited },
            GateProgress::StartedWithout { waited },
        ];
        let prefix = Prefix::new("p").unwrap();
        let status =
            GateStatus { state: State::Synced, stores: stores.map(|progress| (prefix.clone(), progress)).to_vec() };
        let stores = ["waiting", "timed_out", "started", "started_without"]
            .map(|progress| format!(r#"{{"prefix":"p","progress":"{progress}","waited_seconds":1.5}}"#));
        let stores = stores.join(",");
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            format!(r#"{{"state":"synced","cause":null,"seen":null,"stale_seconds":null,"stores":[{stores}]}}"#)
        );
    }
}

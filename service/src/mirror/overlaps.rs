//! Whether the rules of the sources get in each other's way.

use std::collections::BTreeSet;

use shared_store::Prefix;
use shared_store::mirror::{ClusterConfig, MirrorRule, MirrorRules, cilium_rules};
use toml::Spanned;

use super::settings::{Settings, Source};
use crate::settings::line;

/// Where Cilium's configuration of a cluster is.
const CLUSTER_CONFIGS: &str = "cilium/cluster-config";

/// A key, or all keys below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Key(String),
    Below(String),
}

impl Place {
    fn below(prefix: &Prefix) -> Self {
        Self::Below(prefix.as_str().to_owned())
    }

    fn overlaps(&self, other: &Self) -> bool {
        let within = |path: &str, prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => one == other,
            (Self::Key(key), Self::Below(prefix)) | (Self::Below(prefix), Self::Key(key)) => within(key, prefix),
            (Self::Below(one), Self::Below(other)) => one == other || within(one, other) || within(other, one),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(path) => f.write_str(path),
            Self::Below(prefix) => write!(f, "{prefix}/"),
        }
    }
}

/// What a source does with a place.
struct Use {
    line: usize,
    /// `source "a"`, or `copy "nodes" of source "a"`.
    who: String,
    place: Place,
}

/// What all sources write, and what those read that read from the kvstore of the copies.
#[derive(Default)]
struct Uses {
    writes: Vec<Use>,
    reads: Vec<Use>,
}

impl Uses {
    fn add(&mut self, line: usize, who: &str, rule: &MirrorRule, reads_here: bool) {
        let used = |place| Use { line, who: who.to_owned(), place };
        self.writes.push(used(Place::below(&rule.to)));
        if let Some((prefix, name)) = &rule.announce {
            self.writes.push(used(Place::Key(format!("{prefix}/{}", name.as_str()))));
        }
        if reads_here {
            self.reads.push(used(Place::below(&rule.from)));
            if let Some(canary) = &rule.canary {
                self.reads.push(used(Place::Key(String::from_utf8_lossy(canary).into_owned())));
            }
        }
    }

    fn add_source(&mut self, text: &str, source: &Spanned<Source>, reads_here: bool) {
        let (at, source) = (line(text, &source.span()), source.get_ref());
        let who = format!("source {:?}", source.cluster);
        if let MirrorRules::These(_) = source.rules() {
            for copy in &source.copy {
                let rule = copy.get_ref().rule();
                let who = format!("copy {:?} of {who}", rule.name);
                self.add(line(text, &copy.span()), &who, &rule, reads_here);
            }
            return;
        }
        let config = ClusterConfig::parse(br#"{"id":1,"capabilities":{"syncedCanaries":true}}"#);
        for rule in cilium_rules(&source.cluster, &config.expect("it is one")) {
            self.add(at, &who, &rule, reads_here);
        }
        let config =
            || Use { line: at, who: who.clone(), place: Place::Key(format!("{CLUSTER_CONFIGS}/{}", source.cluster)) };
        self.writes.push(config());
        if reads_here {
            self.reads.push(config());
        }
    }
}

/// Host and port, which say which etcd it is.
fn servers(endpoints: &[String]) -> BTreeSet<String> {
    let server = |url: &String| {
        let authority = url.split_once("://").map_or(url.as_str(), |(_, authority)| authority);
        authority.trim_end_matches('/').to_ascii_lowercase()
    };
    endpoints.iter().map(server).collect()
}

/// Checks that no two rules write the same keys, and that none writes what one reads.
pub(super) fn check(text: &str, settings: &Settings) -> Result<(), String> {
    let (here, mut uses) = (servers(&settings.endpoints), Uses::default());
    for source in &settings.sources {
        let reads_here = !servers(&source.get_ref().endpoints).is_disjoint(&here);
        uses.add_source(text, source, reads_here);
    }
    for (index, one) in uses.writes.iter().enumerate() {
        if let Some(other) = uses.writes[index + 1..].iter().find(|other| other.place.overlaps(&one.place)) {
            return Err(format!(
                "lines {} and {}: {} writes {}, and {} writes {}: choose other targets",
                one.line, other.line, one.who, one.place, other.who, other.place
            ));
        }
    }
    for read in &uses.reads {
        if let Some(write) = uses.writes.iter().find(|write| write.place.overlaps(&read.place)) {
            return Err(format!(
                "lines {} and {}: {} writes {}, which {} reads from the same kvstore as {}",
                write.line, read.line, write.who, write.place, read.who, read.place
            ));
        }
    }
    Ok(())
}

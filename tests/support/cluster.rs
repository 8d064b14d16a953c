//! Real etcds that form a cluster.

use std::time::Duration;

use crate::etcd::{EtcdServer, Version};
use crate::waiting::eventually_blocking;

/// The members of a cluster, perhaps a single one. Gone when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// By number.
    pub members: Vec<EtcdServer>,
}

impl Cluster {
    /// Starts so many members and waits until all serve.
    pub fn start(version: Version, members: usize) -> Self {
        Self::start_with(version, members, &[])
    }

    /// Starts members with more flags.
    pub fn start_with(version: Version, members: usize, flags: &[&str]) -> Self {
        // A port found free may be taken before etcd binds it: then others are found.
        for _ in 0..10 {
            let names = (0..members).map(|n| format!("member{n}"));
            let mut members: Vec<_> = names.map(|name| EtcdServer::reserve(version, &name, flags)).collect();
            let peers = members.iter().map(EtcdServer::peer).collect::<Vec<_>>().join(",");
            for member in &mut members {
                member.spawn_in(&peers);
            }
            if members.iter_mut().all(EtcdServer::is_ready) {
                return Self { members };
            }
        }
        panic!("the cluster does not start");
    }

    /// Resumes the paused members and starts the killed ones again.
    pub fn mend(&mut self) {
        for member in &mut self.members {
            member.go_on_or_spawn();
        }
        assert!(self.members.iter_mut().all(EtcdServer::is_ready), "etcd does not start again");
    }

    /// The member that leads; waits for an election to end.
    pub fn leader(&self) -> usize {
        let leader = || self.members.iter().position(EtcdServer::is_leader);
        let elected = eventually_blocking("a member leads", Duration::from_secs(10), leader, Option::is_some);
        elected.expect("it is some")
    }
}

//! A store of two Redis nodes and three Sentinels: started, asked who is the primary, and given another one by an operator.
//!
//! All of them reach each other over links of their own (from [`STORE_PEERS`]), whose addresses they have for their names: in a network whose containers
//! do not see each other there is no other way. Gateways have links of their own to each node, so they have to know which of them a Sentinel means.

use super::topology::{self, LinkKey, SENTINEL_PORT, STORE_PORT, Support};
use super::{Lab, LabError};
use crate::resp;
use crate::runtime::{Program, RedisAs};
use futures::future::{join_all, try_join_all};
use gatecrash_model::deployment::{SENTINEL_MASTER, STORE_PEERS};
use std::net::SocketAddr;
use std::time::Duration;

/// How many Sentinels must hold a node to be lost: more than half of three.
const QUORUM: u32 = 2;
/// How long a command to a node or a Sentinel may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(1);
/// How often a wait asks.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long the copy of an empty node may take.
const COPIED_WITHIN: Duration = Duration::from_secs(20);
/// A failover that has not come this far is tried again; the time of the next one, too.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(10);

impl Lab {
    /// As what `redis-server` is to start `part`: as `alone` says, but for a node of a store that fails over.
    pub(super) fn redis_as(&self, part: &str, alone: &RedisAs) -> RedisAs {
        if *alone == RedisAs::Sentinel {
            return RedisAs::Sentinel;
        }
        let first = self.nodes_beside(part).into_iter().next().filter(|first| first != part);
        let copy_of = first.and_then(|first| self.announced(&first, STORE_PORT));
        match self.announced(part, STORE_PORT) {
            Some(announced) => RedisAs::Node { announced, copy_of },
            None => alone.clone(),
        }
    }

    /// What a Sentinel reads at its start, and goes on writing.
    pub(super) fn sentinel_file(&self, sentinel: &str) -> String {
        let millis = |duration: Duration| duration.as_millis().max(1);
        let failover = self.deployment().store.as_ref().and_then(|store| store.failover.clone());
        let down_after = failover.map_or(FAILOVER_TIMEOUT, |failover| failover.down_after);
        let site = self
            .sites()
            .iter()
            .find(|site| self.deployment().sentinels_of(&site.name).iter().any(|name| name == sentinel));
        let first = site.and_then(|site| self.deployment().store_of(&site.name));
        let mut lines = vec![format!("port {SENTINEL_PORT}")];
        if let Some(first) = first.and_then(|first| self.announced(&first, STORE_PORT)) {
            lines.push(format!("sentinel monitor {SENTINEL_MASTER} {} {} {QUORUM}", first.ip(), first.port()));
            lines.push(format!("sentinel down-after-milliseconds {SENTINEL_MASTER} {}", millis(down_after)));
            lines.push(format!("sentinel failover-timeout {SENTINEL_MASTER} {}", millis(FAILOVER_TIMEOUT)));
        }
        if let Some(own) = self.announced(sentinel, SENTINEL_PORT) {
            lines.push(format!("sentinel announce-ip {}", own.ip()));
            lines.push(format!("sentinel announce-port {}", own.port()));
        }
        lines.join("\n") + "\n"
    }

    /// Starts the Sentinels, once each second node has its copy: they look for copies once in ten seconds.
    pub(super) async fn start_sentinels(&self) -> Result<(), LabError> {
        if !self.deployment().fails_over() {
            return Ok(());
        }
        for site in self.sites() {
            let Some(store) = self.deployment().store_of(&site.name) else { continue };
            if !self.wait_copied(&store, COPIED_WITHIN).await? {
                return Err(self.not_ready(&store, COPIED_WITHIN, "its second node has no copy".to_owned()).await);
            }
        }
        let program = Program::Redis(RedisAs::Sentinel);
        let parts: Vec<Support> = topology::sentinels(self.deployment())
            .into_iter()
            .map(|name| Support { name, site: String::new(), program: program.clone() })
            .collect();
        try_join_all(parts.iter().map(|part| self.start_support(part))).await?;
        Ok(())
    }

    /// Where the other nodes and Sentinels reach this one.
    fn announced(&self, part: &str, port: u16) -> Option<SocketAddr> {
        self.state().links.get(&LinkKey::new(STORE_PEERS, part, port)).map(crate::link::Link::address)
    }

    /// All nodes of the store that `node` is one of, the first primary first.
    fn nodes_beside(&self, node: &str) -> Vec<String> {
        let all = self.sites().iter().map(|site| self.deployment().store_nodes_of(&site.name));
        all.into_iter().find(|nodes| nodes.iter().any(|one| one == node)).unwrap_or_default()
    }

    /// One command to a node or a Sentinel, at its own address; empty if it does not answer.
    async fn ask(&self, part: &str, port: u16, words: &[&str]) -> String {
        let Ok(address) = self.address_of(part) else { return String::new() };
        resp::command(SocketAddr::new(address, port), words, COMMAND_WITHIN).await.unwrap_or_default()
    }

    /// The nodes of `store` that say of themselves to be the primary.
    async fn primaries(&self, store: &str) -> Vec<String> {
        let nodes = self.nodes_beside(store);
        let roles = join_all(nodes.iter().map(|node| self.ask(node, STORE_PORT, &["INFO", "replication"]))).await;
        let named = nodes.into_iter().zip(roles);
        named.filter(|(_, role)| role.contains("role:master")).map(|(node, _)| node).collect()
    }

    /// Waits until one node of `store` is the primary and all others have a copy of it that they keep up with; `false` if that is not so within
    /// `within`.
    ///
    /// # Errors
    /// `Interrupted`, or the history could not be written.
    pub async fn wait_copied(&self, store: &str, within: Duration) -> Result<bool, LabError> {
        let began = self.now();
        let copies = self.nodes_beside(store).len().saturating_sub(1);
        loop {
            if let [primary] = &self.primaries(store).await[..] {
                let told = self.ask(primary, STORE_PORT, &["INFO", "replication"]).await;
                if told.matches("state=online").count() == copies {
                    return Ok(true);
                }
            }
            if self.inner.kit.clock.since(began) >= within {
                return Ok(false);
            }
            self.hold(ASK_EVERY).await?;
        }
    }

    /// Waits until every Sentinel of `site` says that it sees the primary, a copy and enough of the others to fail over; `false` if that is not so
    /// within `within`.
    ///
    /// # Errors
    /// `Interrupted`, or the history could not be written.
    pub async fn wait_watched(&self, site: &str, within: Duration) -> Result<bool, LabError> {
        let began = self.now();
        let sentinels = self.deployment().sentinels_of(site);
        let copies = self.deployment().store_nodes_of(site).len().saturating_sub(1);
        let all = format!("slaves={copies},sentinels={}", sentinels.len());
        let all = all.as_str();
        loop {
            let asked = sentinels.iter().map(|sentinel| async move {
                let quorum = self.ask(sentinel, SENTINEL_PORT, &["SENTINEL", "CKQUORUM", SENTINEL_MASTER]).await;
                let known = self.ask(sentinel, SENTINEL_PORT, &["INFO", "sentinel"]).await;
                quorum.starts_with("+OK") && known.contains("status=ok") && known.contains(all)
            });
            if join_all(asked).await.into_iter().all(|watched| watched) {
                return Ok(true);
            }
            if self.inner.kit.clock.since(began) >= within {
                return Ok(false);
            }
            self.hold(ASK_EVERY).await?;
        }
    }

    /// The node of the store of `site` that its Sentinels call the primary: what most of those that answer say; `None` if no two say the same.
    pub async fn primary_of(&self, site: &str) -> Option<String> {
        let sentinels = self.deployment().sentinels_of(site);
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SENTINEL_MASTER];
        let told = join_all(sentinels.iter().map(|sentinel| self.ask(sentinel, SENTINEL_PORT, &words))).await;
        self.deployment().store_nodes_of(site).into_iter().find(|node| {
            let Some(announced) = self.announced(node, STORE_PORT) else { return false };
            let address = [announced.ip().to_string(), announced.port().to_string()];
            told.iter().filter(|reply| resp::texts(reply).is_some_and(|texts| texts == address)).count() >= 2
        })
    }

    /// What an operator does who changes the primary by hand: the copy becomes the primary, the primary a copy of it, which keeps its connections and
    /// refuses to write, and the Sentinels are told to watch the new one. Returns the new primary, and whether both nodes say so of themselves; `None` if it
    /// is not known who is the primary, or a command was refused.
    pub async fn hand_over(&self, site: &str) -> Option<(String, bool)> {
        let old = self.primary_of(site).await?;
        let nodes = self.deployment().store_nodes_of(site);
        let new = nodes.iter().find(|node| **node != old)?.clone();
        let to = self.announced(&new, STORE_PORT)?;
        let (host, port) = (to.ip().to_string(), to.port().to_string());
        let is_ok = |reply: String| reply.starts_with("+OK").then_some(());
        // First of all nobody must fail over by himself.
        let sentinels = self.deployment().sentinels_of(site);
        for sentinel in &sentinels {
            is_ok(self.ask(sentinel, SENTINEL_PORT, &["SENTINEL", "REMOVE", SENTINEL_MASTER]).await)?;
        }
        is_ok(self.ask(&new, STORE_PORT, &["REPLICAOF", "NO", "ONE"]).await)?;
        is_ok(self.ask(&old, STORE_PORT, &["REPLICAOF", &host, &port]).await)?;
        let failover = self.deployment().store.as_ref().and_then(|store| store.failover.clone())?;
        let (quorum, down_after) = (QUORUM.to_string(), failover.down_after.as_millis().to_string());
        let timeout = FAILOVER_TIMEOUT.as_millis().to_string();
        for sentinel in &sentinels {
            let monitor = ["SENTINEL", "MONITOR", SENTINEL_MASTER, &host, &port, &quorum];
            is_ok(self.ask(sentinel, SENTINEL_PORT, &monitor).await)?;
            for (what, value) in [("down-after-milliseconds", &down_after), ("failover-timeout", &timeout)] {
                is_ok(self.ask(sentinel, SENTINEL_PORT, &["SENTINEL", "SET", SENTINEL_MASTER, what, value]).await)?;
            }
        }
        let told = self.primaries(&new).await;
        Some((new.clone(), told == [new]))
    }
}

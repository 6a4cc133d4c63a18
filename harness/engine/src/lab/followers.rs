//! Follows the event streams of fixtures, and turns their lines into events of the history.

use super::{Lab, LabError};
use gatecrash_model::fixture::{StreamEvent, StreamLine};
use gatecrash_model::history::EventKind;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the end of a history waits for each stream to reach it.
const CATCH_UP: Duration = Duration::from_secs(3);

impl Lab {
    /// Follows the stream of a fixture until the lab ends. A stream that breaks while its fixture should be there is
    /// taken up again; what was lost in between shows as a gap.
    pub(super) fn follow(&self, name: &str) -> Result<(), LabError> {
        self.address_of(name)?;
        let (lab, name, stop) = (self.clone(), name.to_owned(), self.inner.stop.clone());
        self.state().heard.insert(name.clone(), 0);
        let task = tokio::spawn(async move {
            let mut last = 0_u64;
            let mut breaks = 0_u32;
            while !stop.is_cancelled() && breaks < 20 {
                // Asked anew each time: a container that was started again may live elsewhere.
                let Ok(control) = lab.control(&name) else { break };
                let why = tokio::select! {
                    why = control.follow(|line| lab.hear(&name, &mut last, line)) => why,
                    () = stop.cancelled() => return,
                };
                breaks += 1;
                tracing::debug!(component = name, why, "event stream broke");
                crate::clock::sleep(Duration::from_millis(20)).await;
            }
            if !stop.is_cancelled() {
                let what = "its event stream broke and could not be taken up again".to_owned();
                lab.inner.recorder.now(EventKind::Gap { component: name, what });
            }
        });
        self.keep_task(task);
        Ok(())
    }

    fn hear(&self, component: &str, last: &mut u64, line: StreamLine) {
        let clock = self.inner.recorder.clock();
        if line.n <= *last {
            return;
        }
        if line.n != *last + 1 {
            let what = format!("lines {} to {} of its event stream", *last + 1, line.n - 1);
            self.inner.recorder.now(EventKind::Gap { component: component.to_owned(), what });
        }
        *last = line.n;
        let at = clock.of_monotonic(line.at);
        match line.what {
            StreamEvent::Arrived { op, path } => {
                let route = self.route_of(&path);
                self.inner.recorder.at(at, EventKind::Arrived { op, upstream: component.to_owned(), route });
            }
            StreamEvent::Recorded { peer, op } => {
                self.is_recorded(&peer, op);
                let analytics = component.to_owned();
                self.inner.recorder.at(at, EventKind::Recorded { op, analytics, replica: peer });
            }
            StreamEvent::Contact { peer, what, status, version } => {
                self.inner
                    .recorder
                    .at(at, EventKind::Contact { component: component.to_owned(), peer, what, status, version });
            }
            StreamEvent::Backend { name, ready } => {
                let mut state = self.state();
                let backends: &mut BTreeSet<String> = state.in_rotation.entry(component.to_owned()).or_default();
                if ready {
                    backends.insert(name.clone())
                } else {
                    backends.remove(&name)
                };
                drop(state);
                let what = if ready { "in-rotation" } else { "out-of-rotation" };
                let kind = EventKind::Contact {
                    component: component.to_owned(),
                    peer: name,
                    what: what.to_owned(),
                    status: 0,
                    version: 0,
                };
                self.inner.recorder.at(at, kind);
            }
            StreamEvent::Heartbeat => {}
        }
        if let Some(heard) = self.state().heard.get_mut(component) {
            *heard = (*heard).max(at);
        }
    }

    /// Name of the route that `path` belongs to (the longest prefix), so that a history has few names.
    fn route_of(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap_or_default();
        let mut found: Option<(&str, &str)> = None;
        for route in &self.deployment().routes {
            if path.starts_with(&route.path) && found.is_none_or(|(longest, _)| route.path.len() > longest.len()) {
                found = Some((&route.path, &route.name));
            }
        }
        found.map_or_else(|| path.chars().take(40).collect(), |(_, name)| name.to_owned())
    }

    /// Waits until every stream has told of everything up to now; what does not come is a gap.
    pub(super) async fn catch_up(&self) {
        let until = self.now();
        let began = self.now();
        loop {
            let behind: Vec<(String, u64)> = self
                .state()
                .heard
                .iter()
                .filter(|(_, heard)| **heard < until)
                .map(|(name, heard)| (name.clone(), *heard))
                .collect();
            if behind.is_empty() {
                return;
            }
            if self.inner.kit.clock.since(began) > CATCH_UP {
                for (component, heard) in behind {
                    let missing = until.saturating_sub(heard) / 1_000_000;
                    let what = format!("the last {missing} ms of its event stream");
                    self.inner.recorder.now(EventKind::Gap { component, what });
                }
                return;
            }
            crate::clock::sleep(Duration::from_millis(10)).await;
        }
    }
}

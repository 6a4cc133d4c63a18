//! How is the network between two components made to fail, and healed, without privileges? Every connection between
//! components goes through a [`Link`]: a TCP relay in the harness with a listener of its own and a target that may move.
//!
//! Two things carry every fault: a gate per direction (open, held, dropped) together with how new connections are treated
//! (accepted, refused, left hanging), and a shaper per direction (delay with jitter, rate). Heals are in place: what a
//! partition held is delivered, and its connections live on. [`Counters`] are the witness.
//!
//! One thread per [`Links`] moves all bytes, on epoll with nanosecond timeouts: tokio's timer would add up to 1 ms to each
//! delay.

mod counters;
mod faults;
mod lane;
mod pipes;
mod relay;
mod shape;
mod slots;
mod socket;

pub use counters::Counters;

use gatecrash_model::Seed;
use gatecrash_model::fault::{IllegalFault, LinkId, NetworkFault};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use relay::{Change, Command, Inbox, Relay, Shared};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Why a link could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The relay thread did not start.
    #[error("relay of the links did not start")]
    Start(#[source] io::Error),
    /// The listener of a link could not be opened.
    #[error("link `{link}` cannot listen on {address}")]
    Listen {
        /// The link.
        link: LinkId,
        /// Where it should listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A number of the fault is outside its range.
    #[error("link `{link}`")]
    Illegal {
        /// The link.
        link: LinkId,
        /// Which number.
        source: IllegalFault,
    },
    /// The fault could not be put in force or healed.
    #[error("link `{link}` ({address}) cannot {action}")]
    Change {
        /// The link.
        link: LinkId,
        /// Its listener.
        address: SocketAddr,
        /// What was asked, for example `apply refuse`.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The relay thread has stopped.
    #[error("link `{link}`: its relay has stopped")]
    Stopped {
        /// The link.
        link: LinkId,
    },
}

/// A handle to the relay thread. The thread ends with [`Links::stop`] or with the last handle (a
/// [`Link`] is one too); its links are then closed.
#[derive(Clone, Debug)]
pub struct Links {
    seed: Seed,
    thread: Arc<RelayThread>,
}

#[derive(Debug)]
struct RelayThread {
    inbox: Arc<Inbox>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl RelayThread {
    fn stop(&self) {
        self.inbox.send(Command::Stop);
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle
            && handle.join().is_err()
        {
            tracing::error!("the relay of the links panicked");
        }
    }
}

impl Drop for RelayThread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Links {
    /// Starts the relay thread. Each link draws its jitter from a stream of `seed` named after the link.
    ///
    /// # Errors
    /// [`LinkError::Start`] when there are no threads or file descriptors left.
    pub fn start(seed: Seed) -> Result<Self, LinkError> {
        let inbox = Arc::new(Inbox::new().map_err(LinkError::Start)?);
        let relay = Relay::new(Arc::clone(&inbox)).map_err(LinkError::Start)?;
        let body = || {
            crate::priority::put_first();
            if let Err(error) = relay.run() {
                tracing::error!(%error, "the relay of the links gave up");
            }
        };
        let handle = std::thread::Builder::new().name("links".to_owned()).spawn(body).map_err(LinkError::Start)?;
        let thread = RelayThread { inbox, handle: Mutex::new(Some(handle)) };
        Ok(Self { seed, thread: Arc::new(thread) })
    }

    /// Opens a link that listens on `listen`, on a port that the kernel chooses, and relays to `target`.
    ///
    /// # Errors
    /// [`LinkError::Listen`] when it cannot listen there, [`LinkError::Stopped`] after [`Links::stop`].
    pub async fn open(&self, id: LinkId, listen: IpAddr, target: SocketAddr) -> Result<Link, LinkError> {
        self.open_at(id, SocketAddr::new(listen, 0), target).await
    }

    /// As [`Links::open`], on a given port.
    ///
    /// # Errors
    /// As [`Links::open`]; a port that is taken is [`LinkError::Listen`].
    pub async fn open_at(&self, id: LinkId, listen: SocketAddr, target: SocketAddr) -> Result<Link, LinkError> {
        let shared = Arc::new(Shared { target: Mutex::new(target), cells: counters::Cells::default() });
        let stream = |lane: &str| ChaCha8Rng::from_seed(self.seed.stream(&format!("link {id} {lane}")));
        let (reply, answer) = oneshot::channel();
        self.thread.inbox.send(Command::Open {
            listen,
            shared: Arc::clone(&shared),
            random: Box::new([stream("toward listener"), stream("toward dialer")]),
            reply,
        });
        match answer.await {
            Ok(Ok((key, address))) => {
                Ok(Link { inner: Arc::new(Inner { id, address, key, shared, links: self.clone() }) })
            }
            Ok(Err(source)) => Err(LinkError::Listen { link: id, address: listen, source }),
            Err(_) => Err(LinkError::Stopped { link: id }),
        }
    }

    /// Closes all links and ends the thread, within a few milliseconds. Does nothing the second time.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

/// One link: who dials finds it at [`Link::address`]. Clones are handles to the same link; it stays open until
/// [`Link::close`] or the end of its [`Links`].
#[derive(Clone, Debug)]
pub struct Link {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: LinkId,
    address: SocketAddr,
    key: slots::Key,
    shared: Arc<Shared>,
    links: Links,
}

impl Link {
    /// Who dials whom.
    #[must_use]
    pub fn id(&self) -> &LinkId {
        &self.inner.id
    }

    /// Where it listens; the same for its whole life, through every fault.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Where new connections are relayed to from now on: the component moved. Established ones stay where they are.
    pub fn set_target(&self, target: SocketAddr) {
        *self.inner.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Puts a fault in force and returns once it is. Faults of different kinds combine, one of the same kind replaces.
    ///
    /// What waits to be accepted when new connections begin to hang counts as established. Under `Hold` toward the
    /// listener the target is dialled only when it is healed.
    ///
    /// # Errors
    /// [`LinkError::Illegal`] for a number outside its range, [`LinkError::Change`] when the kernel does not play along,
    /// [`LinkError::Stopped`].
    pub async fn apply(&self, fault: NetworkFault) -> Result<(), LinkError> {
        fault.check().map_err(|source| LinkError::Illegal { link: self.inner.id.clone(), source })?;
        self.change(Change::Apply(fault), || format!("apply {}", fault.kind())).await
    }

    /// Heals the fault of this kind, in place; its numbers do not matter. Does nothing where there is none.
    ///
    /// Dialers that hung get through when they repeat their SYN: after 1, 3, 7 s, measured from their first.
    ///
    /// # Errors
    /// As [`Link::apply`].
    pub async fn heal(&self, fault: NetworkFault) -> Result<(), LinkError> {
        self.change(Change::Heal(fault), || format!("heal {}", fault.kind())).await
    }

    /// Heals all faults at once.
    ///
    /// # Errors
    /// As [`Link::apply`].
    pub async fn heal_all(&self) -> Result<(), LinkError> {
        self.change(Change::HealAll, || "heal".to_owned()).await
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.shared.cells.read()
    }

    /// Closes the listener and all connections. Does nothing the second time.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        self.inner.links.thread.inbox.send(Command::Close { link: self.inner.key, reply });
        // No answer means that the relay has stopped, and closed it.
        let _stopped = answer.await;
    }

    async fn change(&self, change: Change, action: impl FnOnce() -> String) -> Result<(), LinkError> {
        let Inner { id, address, key, links, .. } = &*self.inner;
        let (reply, answer) = oneshot::channel();
        links.thread.inbox.send(Command::Change { link: *key, change, reply });
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(LinkError::Change { link: id.clone(), address: *address, action: action(), source }),
            Err(_) => Err(LinkError::Stopped { link: id.clone() }),
        }
    }
}

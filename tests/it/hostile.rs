//! Peers that mean harm, on both sides of the gateway: its memory stays flat, and whoever behaves does not notice.

mod floods;
mod frames;
mod sizes;
mod stalls;
mod unread;
mod upstreams;

use std::future::Future;

use testgate::proto::v1;

use crate::process::{Served, Serving};
use crate::support::{Client, PATIENCE, World, connect};

/// What an attack may add to the process, in KiB: many times what one connection may hold, and a fraction of what
/// each attack here sends or asks for.
const MOST_GROWTH: u64 = 48 * 1024;

/// A gateway in a process of its own, and a client that must not notice the attack.
pub(crate) struct Victim {
    served: Served,
    bystander: Client,
    _world: World,
    /// How many backends the bystander must see.
    backends: usize,
}

impl Victim {
    pub(crate) async fn start() -> Self {
        let world = World::start().await;
        let served = Serving::before(&world.sandbox, "127.0.0.1:0").start().await;
        let bystander = connect(&served.address).await;
        Self { served, bystander, _world: world, backends: 3 }
    }

    /// Lets the attack go on to its end, with the bystander calling all the while.
    pub(crate) async fn withstands<T>(&self, attack: impl Future<Output = T>) -> T {
        self.bystander_is_answered().await;
        let before = self.served.resident();
        let watch = async {
            loop {
                self.bystander_is_answered().await;
                self.is_flat(before);
                tokio::task::yield_now().await;
            }
        };
        let end = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                end = attack => end,
                () = watch => unreachable!("it goes on for ever"),
            }
        })
        .await
        .expect("the attack does not end");
        self.bystander_is_answered().await;
        self.is_flat(before);
        end
    }

    async fn bystander_is_answered(&self) {
        let mut client = self.bystander.clone();
        let call = client.list_backends(v1::ListBackendsRequest::default());
        let answer = tokio::time::timeout(PATIENCE, call).await.expect("the bystander waits");
        assert_eq!(answer.unwrap().into_inner().backends.len(), self.backends);
    }

    #[track_caller]
    fn is_flat(&self, before: u64) {
        let grown = self.served.resident().saturating_sub(before);
        assert!(grown < MOST_GROWTH, "{grown} KiB more");
    }
}

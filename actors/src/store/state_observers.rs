//! Who is told the state of the store.

use actix::{Recipient, WeakRecipient};
use shared_store_core::State;

use crate::notifications::StateChanged;

/// Recipients that are told every change of the state. They are not kept alive, and dropped when they are gone.
#[derive(Debug)]
pub(super) struct StateObservers(Vec<WeakRecipient<StateChanged>>);

impl StateObservers {
    pub(super) fn new(recipients: Vec<WeakRecipient<StateChanged>>) -> Self {
        Self(recipients)
    }

    /// Adds a recipient and tells it the state now.
    pub(super) fn add(&mut self, recipient: &Recipient<StateChanged>, state: State) {
        self.0.retain(|known| connected(known).is_some());
        recipient.do_send(StateChanged(state));
        self.0.push(recipient.downgrade());
    }

    pub(super) fn tell(&mut self, state: &State) {
        self.0.retain(|known| {
            let recipient = connected(known);
            recipient.is_some_and(|recipient| {
                recipient.do_send(StateChanged(state.clone()));
                true
            })
        });
    }
}

fn connected(recipient: &WeakRecipient<StateChanged>) -> Option<Recipient<StateChanged>> {
    recipient.upgrade().filter(Recipient::connected)
}

#[cfg(test)]
mod tests {
    use actix::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Observer(Vec<State>);

    impl Actor for Observer {
        type Context = Context<Self>;
    }

    impl Handler<StateChanged> for Observer {
        type Result = ();

        fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
            self.0.push(state);
        }
    }

    #[derive(Message)]
    #[rtype(result = "Vec<State>")]
    struct Told;

    impl Handler<Told> for Observer {
        type Result = MessageResult<Told>;

        fn handle(&mut self, _: Told, _: &mut Self::Context) -> Self::Result {
            MessageResult(self.0.clone())
        }
    }

    #[test]
    fn recipients_that_are_gone_are_dropped_and_the_others_told() {
        actix::System::new().block_on(async {
            let mut observers = StateObservers::new(Vec::new());
            let kept = Observer::default().start();
            observers.add(&kept.clone().recipient(), State::Synced);
            for _ in 0..100 {
                let gone = Observer::default().start();
                observers.add(&gone.clone().recipient(), State::Synced);
                let handle = gone.downgrade();
                drop(gone);
                // It ends when nobody has its address.
                while handle.upgrade().is_some_and(|gone| gone.connected()) {
                    tokio::task::yield_now().await;
                }
            }
            assert!(observers.0.len() <= 2, "{}", observers.0.len());
            let closed = State::Closed { cause: "left".into() };
            observers.tell(&closed);
            assert_eq!(observers.0.len(), 1);
            assert_eq!(kept.send(Told).await.unwrap(), [State::Synced, closed]);
        });
    }
}

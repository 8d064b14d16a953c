//! A watch, and the store behind it, with a kvstore that answers anything.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shared_store_core::Prefix;
use shared_store_core::watch::{Delivery, Watch};
use shared_store_fuzz::{Answer, Watched};

fuzz_target!(|input: (bool, bool, Vec<Answer>)| {
    let (delayed, removes, answers) = input;
    let range = Prefix::new("p").expect("it is a prefix").range();
    let mut watch = Watch::new(range, Duration::from_secs(9), 1);
    let mut watched = Watched::new(delayed, removes);
    for (step, answer) in answers.into_iter().enumerate() {
        let outcome = answer.to(&watch.action());
        let mut next = watch.handle(outcome);
        while let Some(delivery) = next {
            assert!(!matches!(&delivery, Delivery::Events(events) if events.is_empty()));
            next = None;
            if watched.deliver(delivery) {
                next = watch.caught_up();
            } else {
                watch.relist();
            }
        }
        watched.observe(step % 3);
    }
    watched.end();
});

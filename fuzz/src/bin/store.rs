//! A store that is told anything, while its owner comes and goes.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use shared_store_fuzz::{Said, Watched};

#[derive(Debug, Arbitrary)]
enum Step {
    Deliver(Said),
    Put(u8),
    Delete(u8),
    Wait,
    Observe(u8),
}

fuzz_target!(|input: (bool, bool, Vec<Step>)| {
    let (delayed, removes, steps) = input;
    let mut watched = Watched::new(delayed, removes);
    for step in steps {
        match step {
            Step::Deliver(said) => drop(watched.deliver(said.into())),
            Step::Put(number) => watched.put(number.into()),
            Step::Delete(number) => watched.delete(number.into()),
            Step::Wait => watched.wait(),
            Step::Observe(parcels) => watched.observe(parcels.into()),
        }
    }
    watched.end();
});

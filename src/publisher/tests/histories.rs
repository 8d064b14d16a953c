//! Random histories of a publisher and strangers, by seed: `SEEDS=n` for more of them, `SEED=n` for one.

use std::collections::BTreeMap;

use super::*;

fn step(world: &mut World, rng: &mut fastrand::Rng, wants: &mut BTreeMap<String, String>) {
    let key = ["a", "b", "c", "d", "e", "f", "g"][rng.usize(..7)];
    match rng.u8(..16) {
        0..=3 => {
            let value = rng.u8(..4).to_string();
            world.put(key, &value);
            wants.insert(key.to_owned(), value);
        }
        4 => {
            world.publisher.delete(world.now, name(key), Some(Ticket(0)));
            wants.remove(key);
        }
        5 | 6 => world.stranger(key, WriteAction::Delete),
        7 | 8 => world.overwrite(key, &rng.u8(..4).to_string(), LeaseId::NONE),
        // A sibling that is never ours.
        9 => world.overwrite(&format!("{key}0"), "theirs", LeaseId::NONE),
        10 => world.kv.compact(Revision(world.kv.header().revision.0.saturating_sub(rng.u64(..3)))).unwrap_or(()),
        11 => world.cut(),
        12 => world.blind = !world.blind,
        14 if rng.u8(..8) == 0 => {
            if let Some(kv) = world.get(key) {
                world.kv.revoke(kv.lease);
            }
        }
        13 if rng.bool() => world.down = rng.u8(..2) == 0,
        // Nothing is written before it can be noticed: if the revisions were used up again, nobody could.
        13 => {
            let now = world.now;
            world.kv.restore(&Mvcc::new(), now);
            (world.blind, world.down) = (false, false);
            if rng.bool() {
                world.requests();
            }
            world.cut();
            world.pass(secs(10));
        }
        14 => world.publisher.synced(world.now, Ticket(1)),
        _ => {
            world.now += Duration::from_millis(rng.u64(..4000));
            world.kv.expire(world.now);
        }
    }
    if rng.bool() {
        world.run();
    }
}

fn history(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut world = World::new(&config().seed(seed).lease_ttl(secs(20)));
    let mut wants = BTreeMap::new();
    for _ in 0..120 {
        step(&mut world, &mut rng, &mut wants);
    }
    (world.blind, world.down) = (false, false);
    world.publisher.synced(world.now, Ticket(2));
    // Beyond the longest step of the back-off.
    world.pass(secs(100));
    let ours = |kv: &KeyValue| wants.contains_key(prefix().strip_str(&kv.path).unwrap());
    let all: Vec<_> = world.all(&prefix()).into_iter().filter(ours).collect();
    let is: BTreeMap<_, _> = all
        .iter()
        .map(|kv| (prefix().strip_str(&kv.path).unwrap().to_owned(), String::from_utf8_lossy(&kv.value).into_owned()))
        .collect();
    assert_eq!(is, wants, "own keys are as their owner wants them");
    assert!(all.iter().all(|kv| kv.lease != LeaseId::NONE), "no own key outlives its owner");
    let others = world.all(&prefix());
    assert!(others.iter().filter(|kv| kv.path.ends_with(b"0")).all(|kv| kv.value == "theirs"));
    assert_eq!(world.conflicts(), 0, "there is no other live owner");
    assert!(world.canary().is_some());
    let writes = world.writes();
    world.pass(secs(900));
    assert_eq!(world.writes(), writes, "a clean quarter of an hour wrote something");
}

#[test]
fn whatever_is_missed_own_keys_end_up_as_their_owner_wants_them() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = number("SEED").map_or(0..number("SEEDS").unwrap_or(1000), |seed| seed..seed + 1);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| history(seed));
        if let Err(panic) = run {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

//! The key type of the simulation, and its random choices.

use bytes::Bytes;

use crate::key::{Codec, CodecError, Key, KeyName};

/// A key with one of a few values, so that the same value returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) value: u32,
}

impl Key for Item {
    type Codec = Digits;

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// Decimal digits. Some values panic.
#[derive(Debug)]
pub(super) enum Digits {}

impl Codec<Item> for Digits {
    const TAG: &'static str = "digits";

    fn encode(key: &Item) -> Result<Bytes, CodecError> {
        Ok(key.value.to_string().into())
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Item, CodecError> {
        if value == PANICS {
            quiet_panic("value panics");
        }
        decode(value).map(|value| Item { name: name.to_string(), value }).ok_or_else(|| CodecError::new("no digits"))
    }
}

const PANICS: &[u8] = b"!";

/// The value, if it is one.
pub(super) fn decode(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A panic that prints nothing.
pub(super) fn quiet_panic(text: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(text))
}

/// The only source of randomness.
#[derive(Debug)]
pub(super) struct Dice(pub(super) fastrand::Rng);

impl Dice {
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.0.u32(..n) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    pub(super) fn name(&mut self) -> KeyName {
        let name = self.of(&["a", "b", "a/1", "a/2", "..", "x//y", "é"]);
        KeyName::new(name).expect("it is not empty")
    }

    pub(super) fn value(&mut self) -> Bytes {
        match self.0.u32(..12) {
            0 => "bad".into(),
            1 => PANICS.into(),
            _ => self.0.u32(..6).to_string().into(),
        }
    }
}

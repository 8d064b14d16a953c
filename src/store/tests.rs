//! What users care about, to the letter. The simulation proves the rest.

mod audits;
mod bench;
mod delays;
mod guard;
mod ignored;
mod lists;
mod observers;
mod ownership;
mod quarantine;
mod readers;
mod reasons;
mod set_aside;
mod warm;

use std::time::Duration;

use self::bench::{Bench, Digits, NONE, committed, delete, kv, name, note, put, refused};
use super::*;
use crate::change::Origin;
use crate::key::{Codec, KeyError};
use crate::kv::Event;
use crate::own::{OwnEvent, Ticket};

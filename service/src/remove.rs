//! `delete --force`: a key that nobody looks after any more.

use std::io::{IsTerminal, Write};

use shared_store::backend::{Expect, Write as Change, WriteAction, WriteOutcome};
use shared_store::{KeyName, KeyValue};

use crate::cli::{Common, DeleteArgs};
use crate::entry::hex;
use crate::kvstore::{Kvstore, Left};
use crate::printable::{counted, printable};
use crate::setup::{self, Failure};

pub(crate) async fn run(common: &Common, args: &DeleteArgs) -> Result<(), Failure> {
    if !args.force {
        return Err(Failure::usage(
            "a key belongs to its owner, who deletes it: --force deletes a stuck key of any owner",
        ));
    }
    let name = KeyName::new(&*args.name).map_err(Failure::usage)?;
    let kvstore = Kvstore::open(common)?;
    let kv = kvstore.key(&name).await?.1.ok_or_else(|| kvstore.no_key(&name))?;
    let left = kvstore.left(kv.lease).await?;
    setup::say(state(&kvstore, &name, &kv, left));
    if args.revision.is_some_and(|expected| expected != kv.mod_revision.0) {
        return Err(Failure::promise("nothing is deleted: it has another revision than --revision says"));
    }
    if !args.yes {
        ask().await?;
    }
    // Only as it was shown.
    let expect = Expect::Is { revision: kv.mod_revision, lease: kv.lease };
    let change = Change { path: kv.path.clone(), expect, action: WriteAction::Delete };
    match kvstore.write(vec![change]).await? {
        WriteOutcome::Committed { revision } => {
            setup::say(format_args!("deleted at revision {revision}"));
            if matches!(left, Left::For(_)) {
                setup::say("note: its lease lives: if its owner does, too, it puts the key back");
            }
            Ok(())
        }
        WriteOutcome::Refused { .. } => {
            Err(Failure::promise("nothing is deleted: somebody else has written or deleted the key meanwhile"))
        }
    }
}

fn state(kvstore: &Kvstore, name: &KeyName, kv: &KeyValue, left: Left) -> String {
    let path = format!("{}/{}", kvstore.prefix, printable(name));
    let (revision, size) = (kv.mod_revision, counted(kv.value.len(), "byte"));
    let owner = match hex(kv.lease) {
        Some(lease) => format!("owned by lease {lease}, time left: {left}"),
        None => "under no lease".to_owned(),
    };
    format!("{path}: revision {revision}, {size}, {owner}")
}

/// Asks on the terminal.
async fn ask() -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nothing is deleted: stdin is no terminal to ask on; --yes deletes without asking"));
    }
    let _ = write!(std::io::stderr(), "Delete it? [y/N] ");
    let (done, answer) = tokio::sync::oneshot::channel();
    let read = move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        // An error says that a signal has come meanwhile.
        let _ = done.send(read.map(|_| line));
    };
    std::thread::Builder::new().spawn(read).map_err(setup::cannot_start)?;
    let answer = answer.await.map_err(Failure::promise)??;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::promise("nothing is deleted")) }
}

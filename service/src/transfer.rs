//! `export` and `import`: keys to a file and back.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use shared_store::backend::{Expect, Write as Put, WriteAction, WriteOutcome};
use shared_store::{KeyValue, LeaseId, Revision};

use crate::cilium;
use crate::cli::{Common, Conflict, ExportArgs, Format, ImportArgs, PublishArgs};
use crate::document::Document;
use crate::entry::hex;
use crate::kvstore::Kvstore;
use crate::output::print_all;
use crate::printable::{counted, counted_are, printable};
use crate::progress::Progress;
use crate::publish;
use crate::read::named;
use crate::record::{Key, json};
use crate::setup::{self, Failure};
use crate::signals::Signals;
use crate::value::Form;

/// Keys under way at once.
const WRITES: usize = 32;

pub(crate) async fn export<V: Form>(common: &Common, args: &ExportArgs) -> Result<(), Failure> {
    let kvstore = Kvstore::open(common)?;
    let keys = kvstore.keys(false).await?;
    let revision = keys.revision;
    let (entries, ignored) = named(&kvstore, keys);
    let (mut documents, mut bad) = (Vec::new(), 0);
    for entry in &entries {
        match entry.check::<V>() {
            Ok(document) => documents.push(document),
            Err(_) => bad += 1,
        }
    }
    if bad > 0 {
        return Err(Failure::promise(format_args!(
            "nothing is exported: the value of {} is not {}: see list --undecodable; --value base64 exports any bytes",
            counted(bad, "key"),
            V::NAME
        )));
    }
    let print = |out: &mut dyn Write| documents.iter().try_for_each(|key| writeln!(out, "{}", json(&Key::of(key))));
    if args.file.as_os_str() == "-" {
        print_all(print)?;
    } else {
        replace(&args.file, print)
            .map_err(|error| Failure::promise(format_args!("cannot write {}: {error}", args.file.display())))?;
    }
    if let Some(path) = ignored.first() {
        let count = counted_are(ignored.len(), "key");
        setup::say(format_args!("note: {count} left out whose name is empty or not UTF-8, such as {path}"));
    }
    setup::say(format_args!("exported {} at revision {revision}", counted(documents.len(), "key")));
    Ok(())
}

/// Writes a file beside this one and puts it in its place: a file that is there stays until all is written.
fn replace(file: &Path, print: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut out = BufWriter::new(File::create(&partial)?);
    let written = print(&mut out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all());
    let done = written.and_then(|()| std::fs::rename(&partial, file));
    if done.is_err() {
        // The error of writing is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

/// What an import does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// The key does not exist.
    Create,
    /// It has another value.
    Modify,
    /// It is under the lease of another owner, and comes under ours.
    TakeOver,
    /// It is as in the file.
    Unchanged,
    /// It is under the lease of another owner, and stays there.
    Leave,
}

/// A key of the file in JSON output.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "import")]
struct Line<'a> {
    name: &'a str,
    action: Action,
    /// The revision before.
    revision: Option<u64>,
    /// The owner before.
    lease: Option<String>,
}

pub(crate) async fn import<V: Form>(common: &Common, args: &ImportArgs, mut signals: Signals) -> Result<(), Failure> {
    if !args.no_lease && !args.dry_run {
        let publish = PublishArgs { file: args.file.clone(), once: false, canary: None, own: args.own.clone() };
        return publish::run::<V>(common, &publish, signals).await;
    }
    tokio::select! {
        done = planned::<V>(common, args) => done,
        () = signals.next() => Err(Failure::promise("interrupted before all was written")),
    }
}

async fn planned<V: Form>(common: &Common, args: &ImportArgs) -> Result<(), Failure> {
    let documents = publish::read::<V>(args.file.clone()).await?;
    let kvstore = Kvstore::open(common)?;
    cilium::warn(&kvstore.prefix, documents.iter().map(Document::key_name));
    let (kvs, total) = (&kvstore, documents.len());
    let one = |document: Document<V>| async move {
        let (_, now) = kvs.key(document.key_name()).await?;
        let action = action(&document, now.as_ref(), args);
        if !args.dry_run && matches!(action, Action::Create | Action::Modify) {
            put(kvs, &document, now.as_ref()).await?;
        }
        Ok::<_, Failure>((document, action, now))
    };
    let mut done = stream::iter(documents).map(one).buffered(WRITES);
    let (mut written, mut left, mut handled) = (0, 0, 0);
    let progress = Progress::new(if args.dry_run { "comparing keys" } else { "writing keys" });
    while let Some((document, action, now)) = done.try_next().await? {
        written += usize::from(!matches!(action, Action::Unchanged | Action::Leave));
        left += usize::from(action == Action::Leave);
        print_all(|out| line(out, common.output, &document, action, now.as_ref()))?;
        handled += 1;
        progress.at(handled, total);
    }
    drop(progress);
    let what = if args.dry_run { "would write" } else { "wrote" };
    setup::say(format_args!("{what} {written} of {}", counted(total, "key")));
    if left > 0 {
        return Err(Failure::promise(format_args!(
            "{} left alone: under the lease of another owner, who would put the value back",
            counted_are(left, "key")
        )));
    }
    Ok(())
}

fn action<V: Form>(document: &Document<V>, now: Option<&KeyValue>, args: &ImportArgs) -> Action {
    let overwrite = !args.no_lease && args.own.conflict == Conflict::Overwrite;
    match now {
        None => Action::Create,
        Some(kv) if kv.lease != LeaseId::NONE && overwrite => Action::TakeOver,
        Some(kv) if kv.lease != LeaseId::NONE => Action::Leave,
        Some(kv) if args.no_lease && kv.value == document.bytes() => Action::Unchanged,
        Some(_) => Action::Modify,
    }
}

/// Writes a key under no lease, unless somebody else has written it meanwhile.
async fn put<V: Form>(kvstore: &Kvstore, document: &Document<V>, now: Option<&KeyValue>) -> Result<(), Failure> {
    let expect = now.map_or(Expect::Absent, |kv| Expect::Is { revision: kv.mod_revision, lease: kv.lease });
    let value = document.bytes().to_vec().into();
    let action = WriteAction::Put { value, lease: LeaseId::NONE };
    let name = document.key_name();
    match kvstore.write(vec![Put { path: kvstore.prefix.path(name), expect, action }]).await? {
        WriteOutcome::Committed { .. } => Ok(()),
        WriteOutcome::Refused { .. } => {
            Err(Failure::promise(format_args!("{:?} was changed by somebody else meanwhile: import again", &**name)))
        }
    }
}

fn line<V: Form>(
    out: &mut dyn Write,
    format: Format,
    document: &Document<V>,
    action: Action,
    now: Option<&KeyValue>,
) -> std::io::Result<()> {
    let name = document.key_name().as_str();
    let (revision, lease) = (now.map(|kv| kv.mod_revision), now.and_then(|kv| hex(kv.lease)));
    if format == Format::Json {
        let revision = revision.map(|Revision(revision)| revision);
        return writeln!(out, "{}", json(&Line { name, action, revision, lease }));
    }
    let what = match action {
        Action::Create => "create",
        Action::Modify => "modify",
        Action::TakeOver => "take over",
        Action::Unchanged => "unchanged",
        Action::Leave => "leave",
    };
    let was = match (revision, lease) {
        (Some(revision), Some(lease)) => format!(" (revision {revision}, owned by lease {lease})"),
        (Some(revision), None) => format!(" (revision {revision}, under no lease)"),
        (None, _) => String::new(),
    };
    writeln!(out, "{what} {}{was}", printable(name))
}

//! `demo --once`: a script of three collaborators.

use std::time::Duration;

use shared_store::{Config, KeyName, MemoryBackend, Observer, Prefix, SharedStore, join};

use crate::cli::Common;
use crate::document::Document;
use crate::output::Printer;
use crate::setup::{Failure, say};
use crate::value::Json;

const STEP: Duration = Duration::from_millis(700);

pub(super) async fn run(common: &Common) -> Result<(), Failure> {
    let kvstore = MemoryBackend::new();
    let (printer, _ended) = Printer::start(common.output)?;
    let prefix = Prefix::new("demo/nodes").map_err(Failure::usage)?;
    let config = || Config::new(prefix.clone()).backend(kvstore.clone());
    let watcher = Observer::new(&printer).synced(printer.clone().recipient());
    let (alpha, beta) = (join::<Document<Json>>(config()).await?, join::<Document<Json>>(config()).await?);
    put(&alpha, "alpha", r#"{"ip":"10.0.0.1"}"#).await?;
    say("# a third collaborator joins, and is told what is there");
    let gamma = join::<Document<Json>>(config()).observer(watcher).await?;
    say("# beta and gamma publish their nodes");
    put(&beta, "beta", r#"{"ip":"10.0.0.2"}"#).await?;
    put(&gamma, "gamma", r#"{"ip":"10.0.0.3"}"#).await?;
    tokio::time::sleep(STEP).await;
    say("# alpha moves");
    put(&alpha, "alpha", r#"{"ip":"10.0.0.9"}"#).await?;
    tokio::time::sleep(STEP).await;
    say("# beta takes its node back");
    beta.delete_local_key(KeyName::new("beta").map_err(Failure::usage)?).await.map_err(Failure::promise)?;
    tokio::time::sleep(STEP).await;
    say("# alpha leaves: its key goes everywhere");
    alpha.close().await?;
    tokio::time::sleep(STEP).await;
    say("# gamma leaves");
    gamma.close().await?;
    beta.close().await?;
    Ok(())
}

async fn put(store: &SharedStore<Document<Json>>, name: &str, json: &str) -> Result<(), Failure> {
    let document = Document::from_argument(name, json).map_err(Failure::usage)?;
    store.update_local_key_sync(document).await.map_err(Failure::promise)?;
    Ok(())
}

//! What the owner can ask of the store.

use actix::prelude::*;
use bytes::Bytes;
use shared_store_core::own::{Lifetime, Ticket};
use shared_store_core::{AuditReport, Key, KeyError, Revision, Snapshot, Status};
use tokio::sync::oneshot;

use super::{StoreActor, all_of, at_once, later};
use crate::clock::now;
use crate::error::{AuditError, StoreError};
use crate::messages::{
    Audit, DeleteLocalKey, DeleteLocalKeys, GetQuarantined, GetStatus, SharedKeys, UpdateKeySync, UpdateLocalKey,
    UpdateLocalKeySync, UpdateLocalKeys, Within, WriteOnce,
};
use crate::watcher::BeginAudit;

impl<K: Key> StoreActor<K> {
    pub(super) fn is_open(&self) -> Result<(), StoreError> {
        if self.closing.is_some() { Err(StoreError::Closed) } else { Ok(()) }
    }

    fn may_own(&self) -> Result<(), StoreError> {
        self.is_open()?;
        if self.attachment.is_read_only() { Err(StoreError::ReadOnly) } else { Ok(()) }
    }

    /// Starts a write that is answered when it is done.
    fn write(
        &mut self,
        ctx: &mut Context<Self>,
        start: impl FnOnce(&mut Self, Ticket) -> Result<(), KeyError>,
    ) -> ResponseFuture<Result<Revision, StoreError>> {
        if let Err(error) = self.may_own() {
            return at_once(Err(error));
        }
        let (ticket, receiver) = self.ticket();
        if let Err(error) = start(self, ticket) {
            self.tickets.remove(&ticket);
            return at_once(Err(error.into()));
        }
        self.pump(ctx);
        later(receiver)
    }
}

impl<K: Key> Handler<UpdateLocalKey<K>> for StoreActor<K> {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, UpdateLocalKey(key): UpdateLocalKey<K>, ctx: &mut Self::Context) -> Self::Result {
        self.may_own()?;
        self.store.put_local(now(), &key)?;
        self.pump(ctx);
        Ok(())
    }
}

impl<K: Key> Handler<UpdateLocalKeySync<K>> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, UpdateLocalKeySync(key): UpdateLocalKeySync<K>, ctx: &mut Self::Context) -> Self::Result {
        self.write(ctx, |actor, ticket| actor.store.put_local_sync(now(), ticket, &key))
    }
}

impl<K: Key> Handler<Within<UpdateLocalKeySync<K>>> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, message: Within<UpdateLocalKeySync<K>>, ctx: &mut Self::Context) -> Self::Result {
        let (timeout, deadline) = (message.timeout, message.deadline);
        match message.take(now()) {
            Ok(UpdateLocalKeySync(key)) => self
                .write(ctx, |actor, ticket| actor.store.put_local_sync_within(now(), ticket, &key, timeout, deadline)),
            Err(busy) => at_once(Err(busy)),
        }
    }
}

impl<K: Key> Handler<Within<DeleteLocalKey>> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, message: Within<DeleteLocalKey>, ctx: &mut Self::Context) -> Self::Result {
        match message.take(now()) {
            Ok(command) => self.handle(command, ctx),
            Err(busy) => at_once(Err(busy)),
        }
    }
}

impl<K: Key> Handler<UpdateKeySync<K>> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, UpdateKeySync(key): UpdateKeySync<K>, ctx: &mut Self::Context) -> Self::Result {
        self.write(ctx, |actor, ticket| actor.store.put_once(now(), ticket, &key, Lifetime::Store))
    }
}

impl<K: Key> Handler<WriteOnce<K>> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, WriteOnce { key, lifetime }: WriteOnce<K>, ctx: &mut Self::Context) -> Self::Result {
        self.write(ctx, |actor, ticket| actor.store.put_once(now(), ticket, &key, lifetime))
    }
}

impl<K: Key> Handler<DeleteLocalKey> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, DeleteLocalKey(name): DeleteLocalKey, ctx: &mut Self::Context) -> Self::Result {
        self.write(ctx, |actor, ticket| {
            actor.store.delete_local(now(), Some(ticket), &name);
            Ok(())
        })
    }
}

impl<K: Key> Handler<UpdateLocalKeys<K>> for StoreActor<K> {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, UpdateLocalKeys(keys): UpdateLocalKeys<K>, ctx: &mut Self::Context) -> Self::Result {
        self.may_own()?;
        self.store.put_local_all(now(), &keys)?;
        self.pump(ctx);
        Ok(())
    }
}

impl<K: Key> Handler<DeleteLocalKeys> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, DeleteLocalKeys(names): DeleteLocalKeys, ctx: &mut Self::Context) -> Self::Result {
        if let Err(error) = self.may_own() {
            return at_once(Err(error));
        }
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let (ticket, receiver) = self.ticket();
            self.store.delete_local(now(), Some(ticket), &name);
            answers.push(later(receiver));
        }
        self.pump(ctx);
        all_of(answers)
    }
}

impl<K: Key> Handler<GetQuarantined> for StoreActor<K> {
    type Result = Option<Bytes>;

    fn handle(&mut self, GetQuarantined(name): GetQuarantined, _: &mut Self::Context) -> Self::Result {
        self.store.quarantined(name.as_str()).cloned()
    }
}

impl<K: Key> Handler<SharedKeys<K>> for StoreActor<K> {
    type Result = Result<Snapshot<K>, StoreError>;

    fn handle(&mut self, _: SharedKeys<K>, _: &mut Self::Context) -> Self::Result {
        Ok(self.store.reader().snapshot())
    }
}

impl<K: Key> Handler<Audit> for StoreActor<K> {
    type Result = ResponseFuture<Result<AuditReport, AuditError>>;

    fn handle(&mut self, Audit { timeout }: Audit, _: &mut Self::Context) -> Self::Result {
        let Some(children) = self.children.as_ref().filter(|_| self.closing.is_none()) else {
            return Box::pin(std::future::ready(Err(AuditError::Closed)));
        };
        self.audits.retain(|waiting| !waiting.is_closed());
        if self.audits.is_empty() {
            children.watcher.do_send(BeginAudit);
        }
        let (sender, receiver) = oneshot::channel();
        self.audits.push(sender);
        let reader = self.store.reader();
        Box::pin(async move {
            match tokio::time::timeout(timeout, receiver).await {
                Ok(answer) => answer.map_err(|_| AuditError::Closed),
                Err(_) => {
                    let cause = reader.state().cause().cloned();
                    Err(AuditError::TimedOut { after: timeout, cause: cause.unwrap_or_else(|| "no answer".into()) })
                }
            }
        })
    }
}

impl<K: Key> Handler<GetStatus> for StoreActor<K> {
    type Result = Result<Status, StoreError>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        self.prune();
        let mut status = self.store.status();
        self.name_observers(&mut status);
        self.saving.iter().for_each(|saving| saving.describe(&mut status));
        Ok(status)
    }
}

//! Ends an actor when nobody holds it any more.

use actix::prelude::*;

use crate::store::HandleDropped;

/// The address of an actor that always has something to wait for and so would never stop by itself: it stops when this
/// is dropped.
#[derive(Debug)]
pub(crate) struct Owner<A>(pub(crate) Addr<A>)
where
    A: Actor<Context = Context<A>> + Handler<HandleDropped>;

impl<A> Drop for Owner<A>
where
    A: Actor<Context = Context<A>> + Handler<HandleDropped>,
{
    fn drop(&mut self) {
        self.0.do_send(HandleDropped);
    }
}

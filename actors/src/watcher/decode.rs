//! Decoding what is to be delivered.

use std::ops::Range;
use std::sync::Arc;
use std::thread::available_parallelism;

use shared_store_core::Key;
use shared_store_core::store::{Decoded, Decoder};
use shared_store_core::watch::Delivery;
use tracing::Span;

use crate::thread::can_start;

/// More values than this are decoded on other threads, so that nothing else of the store waits for them.
const BULK: usize = 256;

/// Decodes the values of a delivery, for the one it is delivered to.
pub(crate) trait Decode: Clone + Send + Unpin + 'static {
    type Decoded: Default + Extend<Self::Decoded> + Send;

    fn decode(&self, delivery: &Delivery, values: Range<usize>) -> Self::Decoded;
}

/// For a consumer that wants no values.
impl Decode for () {
    type Decoded = ();

    fn decode(&self, _: &Delivery, _: Range<usize>) -> Self::Decoded {}
}

impl<K: Key> Decode for Decoder<K> {
    type Decoded = Decoded<K>;

    fn decode(&self, delivery: &Delivery, values: Range<usize>) -> Decoded<K> {
        Self::decode(self, delivery, values)
    }
}

/// Decodes all values of a delivery: few of them here, many on as many threads as there are cores, if there are any.
pub(super) async fn all<D: Decode>(decoder: &D, delivery: Delivery) -> (Delivery, D::Decoded) {
    let values = delivery.values();
    if values <= BULK || can_start().is_err() {
        let decoded = decoder.decode(&delivery, 0..values);
        return (delivery, decoded);
    }
    let size = values.div_ceil(available_parallelism().map_or(1, usize::from)).max(BULK);
    let delivery = Arc::new(delivery);
    let parts: Vec<_> = (0..values)
        .step_by(size)
        .map(|start| {
            let (decoder, delivery) = (decoder.clone(), Arc::clone(&delivery));
            // What it logs is of the same store.
            let span = Span::current();
            let decode = move || span.in_scope(|| decoder.decode(&delivery, start..values.min(start + size)));
            tokio::task::spawn_blocking(decode)
        })
        .collect();
    let mut decoded = D::Decoded::default();
    for part in parts {
        decoded.extend([part.await.expect("code of the user that panics is contained")]);
    }
    (Arc::unwrap_or_clone(delivery), decoded)
}

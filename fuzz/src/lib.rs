//! What the targets share: a kvstore's words from arbitrary bytes, and a store that is watched for contradictions.

mod hostile;
mod watched;

pub use hostile::{Answer, Said};
pub use watched::Watched;

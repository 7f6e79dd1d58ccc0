//! The store of access records: what the law wants kept, for as long as it wants it.
//!
//! A [`Store`] is a directory of segment files with one writer, a thread. Workers hand records to it
//! through a [`Recorder`] and never wait; within 24 ms a record is in the store, and within 48 ms a sync
//! of it begins. Numbers have no gap within a store, over restarts too.
//!
//! Records are kept in blocks (`format`, `block`), which are the leaves of a Merkle tree (`tree`)
//! whose root the node signs (`notary`): what was changed, cut or removed is found by `verify`.
//! docs/retention-format.md specifies all of it.

pub(crate) mod format;
pub(crate) mod prove;
pub(crate) mod read;
pub(crate) mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use format::epoch::{Epoch, Epochs};
pub use format::segment::{Segment, SegmentName};
pub use prove::proof;
pub use prove::verify::{Against, Anchor, Copy, verify, verify_copy};
pub use prove::{Break, Reason, Verdict};
pub use read::capacity::Capacity;
pub use read::follow::{Follower, Found, Missing, Records};
pub use read::reader::Reader;
pub use read::summary::{Summary, summarize};
pub use read::{Item, Selection};
pub use write::feed::StoreFeed;
pub use write::recorder::{Recorder, Slot};
pub use write::stats::{SLOTS, StoreStats};
pub use write::store::Store;
pub use write::unrecorded::is_unrecorded;
pub use write::{CloseError, OpenError, Progress, StoreFull};

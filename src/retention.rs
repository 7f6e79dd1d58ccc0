//! The store of access records: kept for as long as the law requires, and provably unchanged.
//!
//! A [`Store`] is a directory of segment files with one writer thread. Workers hand records over through a
//! [`Recorder`] and never wait. A record is written within 24 ms, and a sync of it begins within 48 ms.
//! Record numbers have no gap within a store, over restarts too.
//!
//! `format` is the bytes on disk. `read` reads them, `prove` verifies them, and `write` is the writer. Blocks
//! of records are the leaves of a Merkle tree whose root the node signs, so that any change, cut or removal
//! is found. docs/retention-format.md specifies all of it.

pub(crate) mod format;
pub(crate) mod prove;
pub(crate) mod read;
pub(crate) mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use format::epoch::{Epoch, Epochs};
pub use format::segment::{Segment, SegmentName, encrypted_segments};
pub use prove::proof;
pub use prove::verify::copy::{Anchor, AnchoredRoot, Copy, verify_copy};
pub use prove::verify::{Against, verify};
pub use prove::{Break, Reason, Verdict};
pub use read::capacity::{Capacity, ClientCost};
pub use read::follow::{Follower, Found, Missing, Records};
pub use read::reader::Reader;
pub use read::summary::{Summary, summarize};
pub use read::{Item, Selection};
pub use write::feed::StoreFeed;
pub use write::recorder::{Recorder, Slot};
pub use write::stats::{SLOTS, StoreStats};
pub use write::store::{HandedStore, Store};
pub use write::unrecorded::is_unrecorded;
pub use write::{CloseError, OpenError, Progress, StoreFull};

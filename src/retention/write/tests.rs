//! The writer and what it leaves.

mod feed;
mod going_on;
mod handover;
mod trouble;

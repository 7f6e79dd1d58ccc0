//! The writer and what it leaves.

mod going_on;
mod trouble;

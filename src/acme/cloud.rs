//! The DNS services of clouds, which set and remove TXT records by signed requests.

pub(super) mod change;
pub mod sign;

mod alidns;
mod dnspod;
mod huawei;
mod service;

//! icpgate: an edge proxy for mainland China that opens and serves only what is filed (ICP 备案).

pub mod access;
pub mod admin;
pub mod app;
pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gate;
pub mod hostname;
pub mod listen;
pub mod message;
pub mod metrics;
pub mod origin;
pub mod proxy;
pub mod regular_file;
pub mod retention;
pub mod rewrite;
pub mod route;
pub mod snapshot;
pub mod tls;

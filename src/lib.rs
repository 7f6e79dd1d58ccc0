//! icpgate: an edge proxy for mainland China that opens and serves only what is filed (ICP 备案).

pub mod access;
pub mod admin;
pub mod app;
pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod downstream;
pub mod edge;
pub mod exchange;
pub mod gate;
pub mod hostname;
pub mod listen;
pub mod message;
pub mod metrics;
pub mod net;
pub mod origin;
pub mod regular_file;
pub mod retention;
pub mod rewrite;
pub mod route;
pub mod serve;
pub mod ship;
pub mod snapshot;
pub mod tls;
pub mod upstream;

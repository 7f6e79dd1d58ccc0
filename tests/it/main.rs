//! Integration tests: the real program in a folder of its own, tested through sockets, files and signals.
//!
//! One topic a file; each test is a scenario, and its name states the promise. Tests run in parallel: every
//! [`support::edge::Edge`] has a loopback address to itself.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests tell what they measured")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

mod acme;
mod admin;
mod assets;
mod bad_input;
mod bind;
mod cache;
mod certificates;
mod change;
mod clear;
mod cli;
mod compress;
mod crash;
mod deadlines;
mod demo;
mod descriptors;
mod doctor;
mod documents;
mod drain;
mod failover;
mod faults;
mod fleet;
mod footer;
mod from_nginx;
mod grpc;
mod hello;
mod imports;
mod layers;
mod limits;
mod long_haul;
mod names;
mod own_log;
mod pages;
mod probe;
mod proxy_protocol;
mod proxying;
mod record_sinks;
mod records;
mod regions;
mod request_limits;
mod segment_sinks;
mod shipped;
mod sink_strangers;
mod tls;
mod upgrade;
mod upstream_http2;
mod verify;

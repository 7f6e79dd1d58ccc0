//! The paths that every connection and every page take.

fn main() {}

//! The icpgate program.

use std::process::ExitCode;

/// Its frees across threads are cheap, and a proxy makes many: what one core reads, another sends.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: with two providers in the build, TLS would otherwise not know which one to use.
    // A second installation is the only failure, and there is none before this.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    icpgate::cli::main()
}

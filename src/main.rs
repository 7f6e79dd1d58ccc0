//! The icpgate program.

use std::process::ExitCode;

/// mimalloc frees memory of other threads cheaply. A proxy does so often: one thread reads, another sends.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // rustls cannot choose by itself between the two providers in the build. This fails only if one was
    // installed before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    icpgate::cli::main()
}

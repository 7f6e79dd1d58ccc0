//! icpgate: an edge proxy for mainland China that opens and serves only what is filed (ICP 备案).

pub mod access;

//! What the tools of benches and tests share. Nothing of it is installed on a host.

pub mod foreign;

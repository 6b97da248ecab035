//! How fast the switch core is.
fn main() {}

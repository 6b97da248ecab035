//! The two ends of the codecs over streams of pages: what arrives is what was sent.

mod guest;
mod image;
#[path = "../precopy/model/rng.rs"]
#[allow(unreachable_pub, reason = "shared with the other tests")]
mod rng;

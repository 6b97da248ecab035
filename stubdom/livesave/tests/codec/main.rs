//! The two ends of the codecs over streams of pages: what arrives is what was sent.

mod automatic;
mod guest;
mod hostile;
mod image;
mod lockstep;
#[path = "../../benches/paper.rs"]
#[allow(unreachable_pub, reason = "shared with the bench")]
mod paper;
mod pathology;
#[path = "../precopy/model/rng.rs"]
#[allow(unreachable_pub, reason = "shared with the other tests")]
mod rng;

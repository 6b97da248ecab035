//! Segments, checksums and answers to what is too big: against Linux' own octets, a simple model,
//! smoltcp's parsers and random octets.

mod answers;
mod build;
mod checksums;
mod lies;
mod linux;
mod octets;
mod segments;

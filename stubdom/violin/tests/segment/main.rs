//! Segments, checksums and answers to what is too big: against Linux' own octets, a simple model,
//! smoltcp's parsers and random octets.

mod linux;

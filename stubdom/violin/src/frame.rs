//! The Ethernet header, checked.

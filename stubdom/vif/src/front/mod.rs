//! Netfront: the stub's own uplink.

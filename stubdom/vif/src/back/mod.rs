//! Netback: serves the vif of a guest.

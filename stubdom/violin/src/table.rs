//! MAC address to place, learned from source addresses.

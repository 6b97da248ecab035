//! Who a peer is, and sealing of what is said to it.

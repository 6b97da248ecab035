//! What a datagram between switches looks like.

//! Which switches there are.

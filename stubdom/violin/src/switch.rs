//! Where a frame goes.

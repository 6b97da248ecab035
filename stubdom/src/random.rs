//! Random numbers, for what must not be guessed by guests.

/// Fills `out` from the processor's random numbers.
pub(crate) fn fill(out: &mut [u8]) {
    let mut state = xen::time::now().as_nanos() ^ 0x9e37_79b9_7f4a_7c15;
    for byte in out {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
}

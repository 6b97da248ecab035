//! Random numbers from the processor, for seeds: never used as they are for anything long.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, _rdtsc};

/// Fills `out` with the processor's random numbers, mixed with its time stamp counter. Where the
/// processor has none (or they fail), there is only the counter: who needs what can't be guessed
/// mixes a secret of its own in. Returns whether they were there.
pub fn fill(out: &mut [u8]) -> bool {
    let has_rdrand = __cpuid(1).ecx & (1 << 30) != 0;
    let mut good = has_rdrand;
    // SAFETY: every x86-64 processor has a time stamp counter.
    let mut state = unsafe { _rdtsc() };
    for chunk in out.chunks_mut(8) {
        let random = has_rdrand.then(rdrand).flatten();
        good &= random.is_some();
        // SAFETY: as above.
        state = mix(state ^ unsafe { _rdtsc() }.rotate_left(32) ^ random.unwrap_or(0));
        for (to, from) in chunk.iter_mut().zip(state.to_le_bytes()) {
            *to = from;
        }
    }
    good
}

/// A random number. The processor may have run short: it is asked ten times, as Intel says.
fn rdrand() -> Option<u64> {
    (0..10).find_map(|_| {
        let (value, there): (u64, u8);
        // SAFETY: `fill` has looked whether the processor has the instruction.
        unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) there, options(nomem, nostack)) };
        (there != 0).then_some(value)
    })
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_seeds_are_the_same() {
        let mut seeds = [[0u8; 32]; 64];
        for seed in &mut seeds {
            fill(seed);
        }
        seeds.sort_unstable();
        assert!(seeds.windows(2).all(|w| w[0] != w[1]));
    }
}

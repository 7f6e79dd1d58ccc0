//! Prefetching memory for writing: the one place in the program with `unsafe`.
//!
//! A lane is larger than its share of a core's cache, so the place of the next record is not in it. Without
//! prefetching, a worker waits for that memory: 0.17 µs a record, a third of what a record costs
//! (docs/performance-lessons.md). Stable Rust has no safe prefetch.

#![allow(unsafe_code, reason = "an instruction that is a hint")]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Starts to fetch `place` into the cache of this core for writing, and does not wait.
pub(super) fn prefetch<T>(place: &mut [T]) {
    let start = place.as_mut_ptr().cast::<u8>();
    let before = start.addr() % LINE;
    for line in (0..before + size_of_val(place)).step_by(LINE) {
        fetch(start.wrapping_sub(before).wrapping_add(line));
    }
}

fn fetch(address: *mut u8) {
    // SAFETY: a prefetch changes neither memory nor registers nor flags, and does not fault at any address:
    // Intel's manual, volume 2, "PREFETCHW"; AMD's, volume 3, "PREFETCHlevel"; Arm's, C6.2, "PRFM".
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_faults() {
        for address in [std::ptr::null_mut(), std::ptr::without_provenance_mut(usize::MAX)] {
            fetch(address);
        }
        prefetch::<u64>(&mut []);
    }

    #[test]
    fn what_is_there_stays() {
        let mut bytes: Vec<u8> = (0..=255).collect();
        prefetch(&mut bytes[1..200]);
        assert!(bytes.iter().copied().eq(0..=255));
    }
}

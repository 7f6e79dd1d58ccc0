//! Asking the processor for memory ahead of its use: the one place of the program with `unsafe`.
//!
//! A lane is larger than what a core's cache holds for it, so that where the next record goes is far away.
//! A worker would wait for that memory where it next counts a reference: 0.17 µs a record, which is a third
//! of what records cost (docs/benchmarks.md). Standard Rust has no safe word for it.

#![allow(unsafe_code, reason = "an instruction that is a hint")]

/// Between two of the places that a core fetches at once.
const LINE: usize = 64;

/// Has `place` fetched into the caches of this core, to be written there, and does not wait for it.
pub(super) fn prefetch<T>(place: &mut [T]) {
    let start = place.as_mut_ptr().cast::<u8>();
    let before = start.addr() % LINE;
    for line in (0..before + size_of_val(place)).step_by(LINE) {
        fetch(start.wrapping_sub(before).wrapping_add(line));
    }
}

fn fetch(address: *mut u8) {
    // SAFETY: a hint changes neither memory nor registers nor flags, and does not fault, whatever the address:
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

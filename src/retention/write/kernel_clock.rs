//! What the kernel knows about the clock, from the program that sets it: systemd-timesyncd, chrony, ntpd or a
//! hypervisor agent.

use rtime_clock::adjtime::{Timex, adjtimex};

use crate::access::fields::ClockState;

/// The state of a clock that is not synchronized (`TIME_ERROR`).
const UNSYNCHRONIZED: i32 = 5;
/// The status flag for offsets in nanoseconds (`STA_NANO`).
const NANOSECONDS: i32 = 0x2000;

/// The state of the clock. A kernel that does not answer counts as not synchronized.
pub(crate) fn state() -> ClockState {
    let mut told = Timex::new();
    // With no mode set, the call only reads.
    let Ok(state) = adjtimex(&mut told) else { return ClockState::default() };
    let offset = told.0.offset;
    let offset_us = if told.0.status & NANOSECONDS == 0 { offset } else { offset / 1_000 };
    ClockState { synchronized: state != UNSYNCHRONIZED, offset_us }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_what_the_system_s_own_tool_says() {
        // Python's standard library reaches the same call by another way.
        let script = "import ctypes;print(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))";
        let said = std::process::Command::new("python3").args(["-c", script]).output().expect("python3");
        let state: i32 = String::from_utf8_lossy(&said.stdout).trim().parse().expect("a state");
        let known = (0..super::UNSYNCHRONIZED).contains(&state);
        assert_eq!(super::state().synchronized, known, "state {state}");
    }
}

//! Whether the system's clock follows a time source, as the kernel has it from whoever sets it:
//! systemd-timesyncd, chrony, ntpd or a hypervisor's agent.

use rtime_clock::adjtime::{Timex, adjtimex};

/// What the kernel says of a clock that nobody keeps (`TIME_ERROR`).
const UNSYNCHRONIZED: i32 = 5;

/// Whether it is known to. A kernel that does not answer does not know.
pub(super) fn is_synchronized() -> bool {
    // No mode is set: this reads alone.
    adjtimex(&mut Timex::new()).is_ok_and(|state| state != UNSYNCHRONIZED)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_what_the_system_s_own_tool_says() {
        // Python's standard library reaches the same call by another way.
        let script = "import ctypes;print(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))";
        let said = std::process::Command::new("python3").args(["-c", script]).output().expect("python3");
        let state: i32 = String::from_utf8_lossy(&said.stdout).trim().parse().expect("a state");
        assert_eq!(super::is_synchronized(), (0..super::UNSYNCHRONIZED).contains(&state), "state {state}");
    }
}

//! The memory that the program may use: the machine's, or less where a cgroup limits it.

use std::path::Path;

/// Bytes that this process may use; `u64::MAX` if nothing says so.
pub fn available() -> u64 {
    let read = |path: &Path| fs_err::read_to_string(path).ok();
    available_by(&read)
}

/// The least of what the files say. Version 2 has one hierarchy, version 1 one of its own for memory (cgroups(7)). A limit of a
/// parent holds for its children.
fn available_by(read: &dyn Fn(&Path) -> Option<String>) -> u64 {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| machine(&text));
    let cgroups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = cgroups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let folder = Path::new(root).join(path.trim_start_matches('/'));
        let up_to_root = folder.ancestors().take_while(|folder| folder.starts_with(root));
        // In a container the path is the host's, and only the root is there.
        up_to_root.filter_map(|folder| read(&folder.join(file))?.trim().parse::<u64>().ok()).min()
    });
    limits.chain(machine).min().unwrap_or(u64::MAX)
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn machine(text: &str) -> Option<u64> {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> u64 {
        available_by(&|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n");

    #[test]
    fn a_machine_without_limits_has_all_of_its_memory() {
        assert_eq!(of(&[]), u64::MAX);
        assert_eq!(of(&[MEMINFO]), 2048 * 1024);
        let unlimited = [
            MEMINFO,
            ("/proc/self/cgroup", "0::/system.slice/icpgate.service\n"),
            ("/sys/fs/cgroup/system.slice/icpgate.service/memory.max", "max\n"),
        ];
        assert_eq!(of(&unlimited), 2048 * 1024);
    }

    #[test]
    fn the_least_limit_of_a_cgroup_and_its_parents_holds() {
        let version2 = [
            MEMINFO,
            ("/proc/self/cgroup", "0::/system.slice/icpgate.service\n"),
            ("/sys/fs/cgroup/system.slice/icpgate.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "1000000\n"),
        ];
        assert_eq!(of(&version2), 1_000_000);
        let version1 = [
            MEMINFO,
            ("/proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/0123\n0::/a\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n"),
        ];
        assert_eq!(of(&version1), 500_000);
        let beyond = [
            MEMINFO,
            ("/proc/self/cgroup", "4:memory:/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(of(&beyond), 2048 * 1024);
    }
}

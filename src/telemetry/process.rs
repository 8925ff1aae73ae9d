//! Processor, memory and open files of this process, read from `/proc` when asked (Linux; elsewhere nothing is told).

use std::fmt::Write;
use std::fs;

/// The unit of times in `/proc`: 100 a second on every Linux (USER_HZ).
const TICKS: f64 = 100.0;

/// What the system knows of this process.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Seconds of processor time used.
    pub cpu_seconds: Option<f64>,
    /// Bytes of memory in use.
    pub resident_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// How many may be open.
    pub max_files: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started_at: Option<f64>,
}

impl Process {
    /// Reads the figures of now.
    pub fn read() -> Process {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        Process {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1024),
            threads: field(&status, "Threads:"),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            max_files: field(&limits, "Max open files"),
            started_at: started_at(&stat, &system),
        }
    }

    /// Writes the figures for Prometheus, by the names that its other clients use.
    pub fn render(&self, into: &mut String) {
        let figures: [(&str, &str, &str, Option<f64>); 6] = [
            ("process_cpu_seconds_total", "counter", "Processor time used, in seconds.", self.cpu_seconds),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Memory in use.",
                self.resident_bytes.map(|n| n as f64),
            ),
            ("process_threads", "gauge", "Threads.", self.threads.map(|n| n as f64)),
            ("process_open_fds", "gauge", "Open file descriptors.", self.open_files.map(|n| n as f64)),
            (
                "process_max_fds",
                "gauge",
                "File descriptors that may be open.",
                self.max_files.map(|n| n as f64),
            ),
            ("process_start_time_seconds", "gauge", "Start, in seconds since 1970.", self.started_at),
        ];
        for (name, kind, help, value) in figures {
            if let Some(value) = value {
                // Writing to a String does not fail.
                let _ = write!(into, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
            }
        }
    }
}

/// The first number behind `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Field `number` of `/proc/self/stat`, counted from 1 as in proc(5). The second may hold spaces and brackets.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS)
}

fn started_at(stat: &str, system: &str) -> Option<f64> {
    Some(field(system, "btime")? as f64 + stat_field(stat, 22)? / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 5 0 12345 1000000 300 0 0 0";

    #[test]
    fn figures_are_read_from_proc() {
        assert_eq!(cpu_seconds(STAT), Some(2.0));
        assert_eq!(started_at(STAT, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_123.45));
        assert_eq!(field("VmPeak: 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(
            field(
                "Max open files            1024                 4096                 files",
                "Max open files"
            ),
            Some(1024)
        );
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(field("Max open files unlimited", "Max open files"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_figures() {
        let mut text = String::new();
        let process = Process::read();
        process.render(&mut text);
        assert_eq!(text.matches("# TYPE").count(), 6, "{text}");
        assert!(process.open_files.unwrap() > 0 && process.resident_bytes.unwrap() > 1 << 20);
    }
}

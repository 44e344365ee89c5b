//! Process metrics with the names that Prometheus clients use, read from `/proc`; absent on other systems.
//!
//! The `process` feature of the `prometheus` crate is not equivalent: it truncates the CPU time to whole seconds, too coarse for a
//! daemon that mostly waits, and exports 0 instead of nothing for a value that it cannot read.
//!
//! Source: Prometheus, writing client libraries, process metrics; proc(5).

use std::fs;

use crate::text::{ExpositionFormat, Family};

const CPU: Family = Family::counter(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
);
const OPEN_FDS: Family = Family::gauge("process_open_fds", "Number of open file descriptors.");
const MAX_FDS: Family = Family::gauge(
    "process_max_fds",
    "Maximum number of open file descriptors.",
);
const RESIDENT: Family = Family::gauge(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
);
const VIRTUAL: Family = Family::gauge(
    "process_virtual_memory_bytes",
    "Virtual memory size in bytes.",
);
const START: Family = Family::gauge(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
);

/// Linux reports process times in hundredths of a second, regardless of the kernel's tick rate.
const TICKS_PER_SECOND: u64 = 100;

/// Values that do not change while the process runs; they are slow to read, so they are read once.
#[derive(Debug)]
pub struct Process {
    started: Option<u64>,
    max_fds: Option<u64>,
}

impl Process {
    /// Reads the values of the current process.
    pub fn current() -> Process {
        let stat = read("/proc/self/stat");
        let started = field(&stat, 22)
            .zip(line(&read("/proc/stat"), "btime "))
            .map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND);
        Process {
            started,
            max_fds: line(&read("/proc/self/limits"), "Max open files"),
        }
    }

    /// Renders all metrics that can be read.
    pub fn render(&self, out: &mut String, format: ExpositionFormat) {
        let mut write = |family: Family, value: Option<String>| {
            if let Some(value) = value {
                out.push_str(&family.header(format));
                family.sample(out, &[], value);
            }
        };
        let (stat, status) = (read("/proc/self/stat"), read("/proc/self/status"));
        let cpu = field(&stat, 14)
            .zip(field(&stat, 15))
            .map(|(user, system)| seconds(user + system));
        let bytes = |name| line(&status, name).map(|kibibytes| (kibibytes * 1024).to_string());
        let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        write(CPU, cpu);
        write(START, self.started.map(|at| at.to_string()));
        write(RESIDENT, bytes("VmRSS:"));
        write(VIRTUAL, bytes("VmSize:"));
        write(MAX_FDS, self.max_fds.map(|n| n.to_string()));
        write(OPEN_FDS, open.map(|n| n.to_string()));
    }
}

/// Returns a field of `stat`, counted from 1. Field 2 is the command, which may contain anything; fields are split after it.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number - 3)?.parse().ok()
}

fn seconds(ticks: u64) -> String {
    format!(
        "{}.{:02}",
        ticks / TICKS_PER_SECOND,
        ticks % TICKS_PER_SECOND
    )
}

/// Returns the first number in the line with a prefix.
fn line(text: &str, prefix: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(prefix))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Returns an empty string on failure, so that the metric is absent.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn all_process_metrics_exist() {
        let mut out = String::new();
        Process::current().render(&mut out, ExpositionFormat::Text);
        for family in [CPU, OPEN_FDS, MAX_FDS, RESIDENT, VIRTUAL, START] {
            let value = out
                .lines()
                .find_map(|line| line.strip_prefix(family.name)?.strip_prefix(' '));
            assert!(
                value.is_some_and(|value| value.parse::<f64>().unwrap() >= 0.0),
                "{}: {out}",
                family.name
            );
        }
    }
}

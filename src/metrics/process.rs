//! The process itself, by the names that Prometheus clients use. Read from `/proc`; absent where there is none.
//!
//! Source: Prometheus, writing client libraries, process metrics; proc(5).

use std::fs;

use crate::metrics::text::{Family, Format};

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

/// Linux counts a process's time in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u64 = 100;

/// All six, as far as they can be read.
pub fn render(out: &mut String, format: Format) {
    let mut tell = |family: Family, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&family.header(format));
            family.sample(out, &[], value);
        }
    };
    let stat = read("/proc/self/stat");
    // The command's name may hold anything; what follows it is fields, the first of which is the third.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let field = |number: usize| {
        fields
            .get(number - 3)
            .and_then(|field| field.parse::<u64>().ok())
    };
    let cpu = field(14)
        .zip(field(15))
        .map(|(user, system)| seconds(user + system));
    tell(CPU, cpu);
    let started = field(22)
        .zip(line("/proc/stat", "btime "))
        .map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND);
    tell(START, started.map(|at| at.to_string()));
    let status =
        |name| line("/proc/self/status", name).map(|kibibytes| (kibibytes * 1024).to_string());
    tell(RESIDENT, status("VmRSS:"));
    tell(VIRTUAL, status("VmSize:"));
    tell(
        MAX_FDS,
        line("/proc/self/limits", "Max open files").map(|n| n.to_string()),
    );
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    tell(OPEN_FDS, open.map(|n| n.to_string()));
}

fn seconds(ticks: u64) -> String {
    format!(
        "{}.{:02}",
        ticks / TICKS_PER_SECOND,
        ticks % TICKS_PER_SECOND
    )
}

/// The first number after a line's beginning.
fn line(path: &str, beginning: &str) -> Option<u64> {
    let text = read(path);
    let rest = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// What cannot be read is empty: the metric is absent then.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn all_six_are_there() {
        let mut out = String::new();
        render(&mut out, Format::Text);
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

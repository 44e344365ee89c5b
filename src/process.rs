//! Limits of this process: it leaves no core dump, which would hold keys, and may open enough files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No more descriptors are asked for: some programs close every possible one when they start.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Makes the system write no core dump of this process, and lets no other process of the same user read its memory.
///
/// The limit of the size alone is not enough: where dumps are piped to a program, the system ignores it.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // A filter of system calls may forbid the other one, which this one covers.
        let _ = limited;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    #[cfg(not(target_os = "linux"))]
    limited?;
    Ok(())
}

/// Raises the soft limit of open file descriptors to the hard one, or to 1,048,576.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .unwrap_or(MAX_DESCRIPTORS)
        .min(MAX_DESCRIPTORS);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// Returns how many file descriptors this process may open; `None` where there is no limit.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

//! Limits of this process: no core dumps, which would contain keys, and enough file descriptors.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Upper bound, because some child programs close every possible descriptor at their start.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Disables core dumps, and access to this process's memory by other processes of the same user.
///
/// A size limit alone is not enough, because the system ignores it if dumps are piped to a program.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // A seccomp filter may forbid `setrlimit`, which this call covers.
        let _ = limited;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    #[cfg(not(target_os = "linux"))]
    limited?;
    Ok(())
}

/// Raises the soft limit of file descriptors to the hard limit, at most to 1,048,576.
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

/// Returns the soft limit of file descriptors; `None` if unlimited.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

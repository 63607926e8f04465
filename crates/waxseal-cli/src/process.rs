//! The process's own flags. The library never changes them.

/// Keeps key memory out of core dumps, and away from other processes of the same user. A failure is ignored.
pub(crate) fn harden() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Only the soft limit is changed, so that the command of `--from-command` can raise its own again.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
}

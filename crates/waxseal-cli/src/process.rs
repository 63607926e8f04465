//! The process's own flags: the library never touches them.

/// Keeps key memory out of core dumps and away from other processes of the same user. Best effort.
pub(crate) fn harden() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Only the soft limit: the command of `--from-command` inherits it, and may raise its own again.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
}

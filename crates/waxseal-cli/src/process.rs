//! The process's own flags: the library never touches them.

/// Keeps key memory out of core dumps and away from other processes of the same user. Best effort.
pub(crate) fn harden() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Only the soft limit: the command of `--from-command` inherits it, and may raise its own again.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    // What makes a file longer than `ulimit -f` allows is to fail, and to clean up, not to kill. Not ignored but caught:
    // a command that is started does not inherit that.
    let _ = signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), std::sync::Arc::default());
}

//! Ends the commands that profiles name for credentials (`credential_process`), once they are no longer needed.
//!
//! The SDK starts them, and does not end one that hangs. They are found as the children of a handle's own thread, which
//! starts no other process. Only Linux shows the children of a thread. On other systems they are not ended.

/// The names of all threads on which the SDK runs begin with this.
pub const THREADS: &str = "waxseal-aws";

/// Ends every command that is running for credentials, and every process that such a command has started. A program calls
/// this before it ends because of a signal.
pub fn end_credential_processes() {
    #[cfg(target_os = "linux")]
    linux::end_all();
}

/// The same, for the handle that this thread belongs to.
pub fn end_children_of_this_thread() {
    #[cfg(target_os = "linux")]
    linux::end_children("/proc/thread-self");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::{Path, PathBuf};

    use rustix::process::{Pid, Signal, kill_process};

    pub(super) fn end_all() {
        let is_ours =
            |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(super::THREADS));
        tasks("/proc/self".as_ref()).filter(is_ours).for_each(end_children);
    }

    /// Finds all processes before it ends the first: a process whose parent has ended cannot be found.
    pub(super) fn end_children(task: impl AsRef<Path>) {
        let mut found = children(task.as_ref());
        let mut looked_at = 0;
        while let Some(pid) = found.get(looked_at).copied() {
            let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
            found.extend(tasks(&process).flat_map(|task| children(&task)));
            looked_at += 1;
        }
        for pid in found {
            // An error is ignored: the process may have ended already.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn tasks(process: &Path) -> impl Iterator<Item = PathBuf> {
        let tasks = fs::read_dir(process.join("task")).into_iter().flatten();
        tasks.filter_map(|task| Some(task.ok()?.path()))
    }

    fn children(task: &Path) -> Vec<Pid> {
        let text = fs::read_to_string(task.join("children")).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

/// Held by tests that start such commands, because the test of this module ends all of them.
#[cfg(test)]
pub(crate) static STARTING: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    /// By the thread's name, and no other child.
    #[test]
    fn only_children_of_such_threads_are_ended() {
        let _alone = super::STARTING.lock();
        let mut other = Command::new("sleep").arg("300").spawn().unwrap();
        let ended = std::thread::Builder::new().name(format!("{}-x", super::THREADS)).spawn(|| {
            let mut child = Command::new("sh").args(["-c", "sleep 300 & wait"]).spawn().unwrap();
            std::thread::scope(|scope| scope.spawn(super::end_credential_processes).join()).unwrap();
            child.wait().unwrap().signal()
        });
        assert_eq!(ended.unwrap().join().unwrap(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

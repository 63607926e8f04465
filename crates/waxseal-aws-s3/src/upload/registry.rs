//! The uploads of one handle that have not ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waxseal::error::{Error, Result};

use super::session::Session;
use crate::S3Name;

/// A multipart upload that exists in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenUpload {
    /// The object that it would write.
    pub name: S3Name,
    /// S3's id of the upload.
    pub id: String,
}

impl OpenUpload {
    /// The command of the AWS command line that aborts it, for a POSIX shell. It contains no control characters. If the
    /// key has such characters, the command is for bash, which can write them as escapes.
    #[must_use]
    pub fn abort_command(&self) -> String {
        format!(
            "aws s3api abort-multipart-upload --bucket {} --key {} --upload-id {}",
            quoted(self.name.bucket()),
            quoted(self.name.key()),
            quoted(&self.id)
        )
    }
}

impl S3Name {
    /// The command of the AWS command line that lists the unfinished uploads whose names begin with this one, quoted in
    /// the same way as [`OpenUpload::abort_command`].
    ///
    /// For [`S3::lost_uploads`](crate::S3::lost_uploads): S3's list has the id and the time of each upload, and nothing
    /// that proves which program has started it. So nothing aborts such an upload on its own.
    #[must_use]
    pub fn list_uploads_command(&self) -> String {
        format!("aws s3api list-multipart-uploads --bucket {} --prefix {}", quoted(self.bucket()), quoted(self.key()))
    }
}

/// One word of a POSIX shell, or of bash.
fn quoted(text: &str) -> String {
    if text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        let escape = |byte: u8| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        return format!("$'{}'", text.bytes().map(escape).collect::<String>());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// An upload that could not be aborted, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotAborted {
    /// The object that it would write.
    pub name: S3Name,
    /// The upload in S3. `None` if its id is not known, or if the object is sent with one request.
    pub upload: Option<OpenUpload>,
    /// Whether the request that makes the object was sent and not answered. The object may exist, or may still appear.
    pub is_undecided: bool,
    /// Why it may still be there.
    pub error: Error,
}

impl fmt::Display for NotAborted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.upload {
            Some(upload) => write!(out, "an unfinished upload to {} is left, {}: {}", self.name, upload.id, self.error),
            None if self.is_undecided => write!(out, "the upload to {} may be complete: {}", self.name, self.error),
            None => write!(out, "an unfinished upload to {} without any part may be left: {}", self.name, self.error),
        }
    }
}

/// The uploads of a handle.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    state: Mutex<State>,
    /// The buckets whose store checks conditions. All lists of a handle share them.
    checked: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    closed: bool,
    open: BTreeMap<u64, Arc<Session>>,
    /// The objects with an unfinished upload whose id nobody knows.
    lost: BTreeSet<S3Name>,
}

/// The number of objects with such an upload that a handle remembers.
const LOST_MAX: usize = 1_000;

impl Uploads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty list.
    pub(crate) fn fresh(&self) -> Self {
        Self { state: Mutex::default(), checked: Arc::clone(&self.checked) }
    }

    /// Adds a new upload, unless all uploads were aborted.
    pub(super) fn add(&self, session: impl FnOnce(u64) -> Session) -> Result<Arc<Session>> {
        let mut state = self.state();
        if state.closed {
            let why = "all uploads of this handle were aborted";
            return Err(Error::io("starting an upload", std::io::Error::other(why)));
        }
        state.next += 1;
        let session = Arc::new(session(state.next));
        state.open.insert(session.number(), Arc::clone(&session));
        Ok(session)
    }

    pub(super) fn remove(&self, number: u64) {
        self.state().open.remove(&number);
    }

    pub(super) fn checks_conditions(&self, bucket: &str) -> bool {
        self.checked().contains(bucket)
    }

    pub(super) fn found_conditions(&self, bucket: &str) {
        self.checked().insert(bucket.to_owned());
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.state().open.contains_key(&number)
    }

    /// The uploads that exist in S3.
    pub(crate) fn open(&self) -> Vec<OpenUpload> {
        self.state().open.values().filter_map(|session| session.public()).collect()
    }

    /// The objects of which it is not known whether they were written.
    pub(crate) fn undecided(&self) -> Vec<S3Name> {
        let state = self.state();
        state.open.values().filter(|session| session.is_undecided()).map(|session| session.name.clone()).collect()
    }

    pub(super) fn add_lost(&self, name: &S3Name) {
        let mut state = self.state();
        if state.lost.len() < LOST_MAX {
            state.lost.insert(name.clone());
        }
    }

    pub(super) fn forget_lost(&self, name: &S3Name) {
        self.state().lost.remove(name);
    }

    /// The objects with such an upload, also if the answer can still come.
    pub(crate) fn lost(&self) -> Vec<S3Name> {
        let state = self.state();
        let being_created = state.open.values().filter(|session| session.is_being_created());
        let names = state.lost.iter().chain(being_created.map(|session| &session.name));
        names.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// Closes all uploads, in one step for each, and lets no new one start. Returns those that are to be aborted.
    pub(crate) fn close(&self) -> Vec<Arc<Session>> {
        let mut state = self.state();
        state.closed = true;
        let sessions: Vec<_> = state.open.values().cloned().collect();
        sessions.iter().for_each(|session| session.close());
        sessions
    }

    /// Aborts the uploads at the same time. Returns those that may still be there.
    pub(crate) async fn abort(sessions: Vec<Arc<Session>>, limit: Duration) -> Vec<NotAborted> {
        let mut tasks = tokio::task::JoinSet::new();
        for session in sessions {
            tasks.spawn(async move {
                let error = Arc::clone(&session).abort(limit).await.err()?;
                let (name, upload, is_undecided) = (session.name.clone(), session.public(), session.is_undecided());
                Some(NotAborted { name, upload, is_undecided, error })
            });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(quoted("a/b-c.wax"), "a/b-c.wax");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted("-rf"), "'-rf'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\u{1b}[31m'\u{e9}\\"), r"$'a\x1b[31m\'\xc3\xa9\\'");
    }
}

//! Reads a file at any position. What is read in order is opened ahead, on several threads.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use waxseal::error::{Error, Tampered};
use waxseal::format::CHUNK_LEN;

use crate::errors::Result;
use crate::inspection::Inspection;
use crate::interrupt;
use crate::objects::{self, Access};
use crate::parallel::{BLOCK, Opened, Plain, to_boundary};
use crate::process::{self, lock};
use crate::stream::{Input, StreamReader};

/// Between two looks for signals, a read waits so long at most.
const UNTIL_LOOK: Duration = Duration::from_millis(50);
/// Between two looks for signals, so many bytes are opened at most.
const UNTIL_SIGNALS: usize = 64 << 20;
/// In a store, so many requests are under way.
const FAR_AHEAD: usize = 12;
/// What is fetched from a store for a read that does not follow the one before.
const FAR_PIECE: usize = 4 * CHUNK_LEN;

/// A file that is read at any position.
#[pyclass(frozen, module = "pywaxseal._native")]
pub(crate) struct Reader {
    opened: Arc<Opened>,
    state: Mutex<State>,
}

struct State {
    process: u32,
    position: u64,
    window: Option<Arc<Window>>,
    ahead: VecDeque<Arc<Slot>>,
    /// How many windows in a row were read in order.
    streak: u32,
    /// After an authentication error, every read fails.
    tampered: Option<Tampered>,
}

/// Authentic plaintext, and why there is no more of it.
struct Window {
    start: u64,
    bytes: Plain,
    failed: Mutex<Option<Error>>,
}

/// A window that is being opened.
struct Slot {
    range: Range<u64>,
    window: Mutex<Option<Arc<Window>>>,
    ready: Condvar,
}

impl Window {
    fn of(opened: &Opened, start: u64, len: usize, parallel: bool) -> Self {
        let mut bytes = Plain::of_len(len);
        let (made, failed) =
            if parallel { opened.fill_parallel(start, &mut bytes.0) } else { opened.fill(start, &mut bytes.0) };
        bytes.0.truncate(made);
        Self { start, bytes, failed: Mutex::new(failed) }
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.0.len() as u64
    }
}

impl Slot {
    /// The window, if it is ready within some time.
    fn wait(&self) -> Option<Arc<Window>> {
        let window = lock(&self.window);
        let waited = self.ready.wait_timeout_while(window, UNTIL_LOOK, |window| window.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// What comes next.
enum Next {
    /// Part of a window.
    Part(Arc<Window>, Range<usize>),
    /// It is not there yet.
    Later,
    End,
}

impl Reader {
    fn new(opened: Opened) -> Self {
        let state = State {
            process: process::id(),
            position: 0,
            window: None,
            ahead: VecDeque::new(),
            streak: 0,
            tampered: None,
        };
        Self { opened: Arc::new(opened), state: Mutex::new(state) }
    }

    fn state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes, at most `want`, and moves on.
    fn next(&self, want: usize) -> waxseal::Result<Next> {
        let state = &mut *lock(&self.state);
        if let Some(tampered) = &state.tampered {
            return Err(tampered.clone().into());
        }
        if want == 0 || state.position >= self.opened.len() {
            return Ok(Next::End);
        }
        let window = match &state.window {
            Some(window) if (window.start..window.end()).contains(&state.position) => Arc::clone(window),
            _ => match self.load(state, want)? {
                Some(window) => window,
                None => return Ok(Next::Later),
            },
        };
        let from = usize::try_from(state.position - window.start).unwrap_or(usize::MAX);
        let to = from + want.min(window.bytes.0.len() - from);
        state.position += (to - from) as u64;
        Ok(Next::Part(window, from..to))
    }

    /// The window with the position. `None` if it is not there yet.
    fn load(&self, state: &mut State, want: usize) -> waxseal::Result<Option<Arc<Window>>> {
        let position = state.position;
        if state.window.as_ref().is_none_or(|window| window.end() != position) {
            state.streak = 0;
        }
        // A fork copies no threads, so nobody would finish these.
        if state.process != process::id() {
            std::mem::forget(std::mem::take(&mut state.ahead));
            state.process = process::id();
        }
        if state.ahead.front().is_some_and(|slot| slot.range.start != position) {
            state.ahead.clear();
        }
        let source = &self.opened.source;
        let in_order = want >= self.opened.block() || state.streak > 2;
        if source.is_free() && in_order {
            self.look_ahead(state, position, usize::MAX)?;
        } else if source.is_far() && state.ahead.is_empty() {
            self.look_ahead(state, position, FAR_PIECE)?;
        }
        let window = match state.ahead.front() {
            Some(slot) => match slot.wait() {
                Some(window) => window,
                None => return Ok(None),
            },
            None => Arc::new(self.here(state, want)),
        };
        state.ahead.pop_front();
        state.streak = state.streak.saturating_add(1);
        if window.bytes.0.is_empty() {
            return Err(self.failure(state, &window));
        }
        state.window = Some(Arc::clone(&window));
        Ok(Some(window))
    }

    /// Opens a window on this thread: a chunk where the last read was elsewhere, and more of what is read in order. A short
    /// read across the border of two chunks is not yet in order.
    fn here(&self, state: &State, want: usize) -> Window {
        let unit = match state.streak {
            _ if want > 4 * CHUNK_LEN => BLOCK,
            0 | 1 => CHUNK_LEN,
            2 => 16 * CHUNK_LEN,
            _ => BLOCK,
        };
        let rest = usize::try_from(self.opened.len() - state.position).unwrap_or(usize::MAX);
        let len = to_boundary(state.position, unit).min(rest);
        Window::of(&self.opened, state.position, len, unit == BLOCK)
    }

    fn failure(&self, state: &mut State, window: &Window) -> Error {
        let error = lock(&window.failed).take().unwrap_or(Error::Bug("a window without bytes"));
        if let Error::Tampered(tampered) = &error {
            state.tampered = Some(tampered.clone());
        }
        state.window = None;
        state.ahead.clear();
        error
    }

    /// Begins to open what comes from `position` on: as many blocks as there are threads, or one piece of at most `len`.
    fn look_ahead(&self, state: &mut State, position: u64, len: usize) -> waxseal::Result<()> {
        let threads = process::threads()?;
        let far = self.opened.source.is_far();
        let (pool, most) =
            if far { (process::waiting_threads()?, FAR_AHEAD) } else { (threads.pool, threads.count + 1) };
        let most = if len == usize::MAX { most } else { 1 };
        let mut next = state.ahead.back().map_or(position, |slot| slot.range.end);
        while state.ahead.len() < most && next < self.opened.len() {
            let end = (next + to_boundary(next, self.opened.block().min(len)) as u64).min(self.opened.len());
            let slot = Arc::new(Slot { range: next..end, window: Mutex::new(None), ready: Condvar::new() });
            state.ahead.push_back(Arc::clone(&slot));
            let opened = Arc::clone(&self.opened);
            pool.spawn(move || {
                // Nobody waits for it any more.
                if Arc::strong_count(&slot) > 1 {
                    let len = usize::try_from(slot.range.end - slot.range.start).unwrap_or(0);
                    let window = Window::of(&opened, slot.range.start, len, false);
                    *lock(&slot.window) = Some(Arc::new(window));
                    slot.ready.notify_all();
                }
            });
            next = end;
        }
        Ok(())
    }

    /// The plaintext of a range, as `bytes`. It is opened where it stays, because nobody else sees it before.
    fn bytes_of<'py>(&self, py: Python<'py>, range: Range<u64>) -> Result<Bound<'py, PyBytes>> {
        let end = range.end.min(self.opened.len());
        let len = usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut failed = None;
        let bytes = PyBytes::new_with(py, len, |out| {
            let mut at = range.start;
            for part in out.chunks_mut(UNTIL_SIGNALS) {
                py.check_signals()?;
                let (made, error) = py.detach(|| self.opened.fill_parallel(at, part));
                at += made as u64;
                if error.is_some() || made < part.len() {
                    failed = error.or(Some(Error::Bug("bytes are missing")));
                    return Err(PyValueError::new_err("not authentic"));
                }
            }
            Ok(())
        });
        match failed {
            Some(error) => {
                if let Error::Tampered(tampered) = &error {
                    self.state(py).tampered = Some(tampered.clone());
                }
                Err(error.into())
            }
            None => Ok(bytes?),
        }
    }

    fn check(&self, py: Python<'_>) -> Result<()> {
        match &self.state(py).tampered {
            Some(tampered) => Err(Error::from(tampered.clone()).into()),
            None => Ok(()),
        }
    }
}

#[pymethods]
impl Reader {
    /// The length of the plaintext in bytes. It is authenticated.
    #[getter]
    fn size(&self) -> u64 {
        self.opened.len()
    }

    /// The name of the key that opened the file.
    #[getter]
    fn key(&self) -> &str {
        &self.opened.by.key
    }

    /// The header. What it binds is authentic.
    #[getter]
    fn header(&self) -> Inspection {
        Inspection::of(&self.opened.header, None)
    }

    /// Fills the buffer from the position on, as far as one read goes. 0 at the end.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> Result<usize> {
        let target = PyBuffer::<u8>::get(buffer)?;
        if target.readonly() {
            return Err(PyTypeError::new_err("the buffer cannot be written").into());
        }
        let want = target.item_count();
        let (window, part) = loop {
            interrupt::check(py)?;
            match py.detach(|| self.next(want))? {
                Next::Part(window, part) => break (window, part),
                Next::Later => {}
                Next::End => return Ok(0),
            }
        };
        let bytes = &window.bytes.0[part];
        if bytes.len() == want {
            target.copy_from_slice(py, bytes)?;
        } else {
            drop(target);
            let len = isize::try_from(bytes.len()).map_err(|_| Error::Bug("a read that is too long"))?;
            let front = PyMemoryView::from(buffer)?.get_item(PySlice::new(py, 0, len, 1))?;
            PyBuffer::<u8>::get(&front)?.copy_from_slice(py, bytes)?;
        }
        Ok(bytes.len())
    }

    /// Everything from the position on.
    fn readall<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let position = self.state(py).position;
        let bytes = self.read_range(py, position, self.opened.len())?;
        let mut state = self.state(py);
        state.position = state.position.max(self.opened.len());
        Ok(bytes)
    }

    /// The plaintext from `start` to `end`, without moving. What is after the end of the file is left out.
    fn read_range<'py>(&self, py: Python<'py>, start: u64, end: u64) -> Result<Bound<'py, PyBytes>> {
        self.check(py)?;
        self.bytes_of(py, start..end)
    }

    /// Moves, and returns the new position.
    #[pyo3(signature = (offset, whence = 0))]
    fn seek(&self, py: Python<'_>, offset: i64, whence: i32) -> Result<u64> {
        let mut state = self.state(py);
        let from = match whence {
            0 => 0,
            1 => state.position,
            2 => self.opened.len(),
            _ => return Err(PyValueError::new_err(format!("invalid whence ({whence}, should be 0, 1 or 2)")).into()),
        };
        let position = match from.checked_add_signed(offset) {
            // Python's own file objects take no larger one.
            Some(position) if i64::try_from(position).is_err() => {
                return Err(PyOverflowError::new_err("the new position is too large").into());
            }
            Some(position) => position,
            None => return Err(PyValueError::new_err(format!("negative seek value {offset}")).into()),
        };
        state.position = position;
        Ok(position)
    }

    /// The position in the plaintext.
    fn tell(&self, py: Python<'_>) -> u64 {
        self.state(py).position
    }
}

/// What [`open_reader`] returns.
#[derive(IntoPyObject)]
#[expect(clippy::large_enum_variant, reason = "it is made once for each file, and moved into memory of Python at once")]
pub(crate) enum AnyReader {
    Anywhere(Reader),
    InOrder(StreamReader),
}

/// Opens a file for reading: a path, the name of an object in S3, or a file object that can seek. Gives a `StreamReader` if
/// what the path names can only be read in order: a named pipe must not be opened twice.
#[pyfunction]
#[pyo3(signature = (file, *, keys = None, context = None, labels = None, kms = None, s3 = None))]
pub(crate) fn open_reader(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    keys: Option<&Bound<'_, PyAny>>,
    context: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    kms: Option<&Bound<'_, PyAny>>,
    s3: Option<&Bound<'_, PyAny>>,
) -> Result<AnyReader> {
    let access = Access::new(py, keys, context, labels, kms)?;
    match objects::source(file, s3)? {
        Ok(source) => {
            let opened = access.run(py, move |openers, demands| Opened::open(source, openers, demands))?;
            Ok(AnyReader::Anywhere(Reader::new(opened)))
        }
        Err(stream) => Ok(AnyReader::InOrder(StreamReader::open(py, Input::File(stream), access)?)),
    }
}

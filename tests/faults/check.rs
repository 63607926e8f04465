//! What must be true after a run with any fault.

use crate::cases::{Case, Goal, Stream, keys, open};
use crate::injector::{End, Fault, Ground, How, Injected};

/// Errors by number, as Linux has them on every machine that the injector knows.
pub(crate) mod errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const EINTR: i32 = 4;
    pub(crate) const EIO: i32 = 5;
    pub(crate) const EBADF: i32 = 9;
    pub(crate) const EAGAIN: i32 = 11;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const EXDEV: i32 = 18;
    pub(crate) const ENODEV: i32 = 19;
    pub(crate) const EISDIR: i32 = 21;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const EMFILE: i32 = 24;
    pub(crate) const EFBIG: i32 = 27;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const ENOLCK: i32 = 37;
    pub(crate) const ENOSYS: i32 = 38;
    pub(crate) const EOPNOTSUPP: i32 = 95;
    pub(crate) const EDQUOT: i32 = 122;
}
use errno::*;

const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
const ABRT: i32 = 6;
const ALRM: i32 = 14;
const XCPU: i32 = 24;
const KILL: i32 = 9;
const TERM: i32 = 15;

/// The faults that a call of this kind can have.
pub(crate) fn ways(kind: &str) -> Vec<How> {
    if kind == "gate" {
        return [HUP, INT, QUIT, ABRT, ALRM, TERM, XCPU, KILL].map(How::Before).to_vec();
    }
    let errors: &[i32] = match kind {
        "read" => &[EIO, EINTR, EAGAIN],
        "map" => &[ENOMEM, ENODEV, EAGAIN, EPERM],
        "write" => &[EIO, ENOSPC, EDQUOT, EINTR, EAGAIN],
        "copy" => &[EIO, ENOSPC, EXDEV, ENOSYS],
        "allocate" => &[EOPNOTSUPP, EINTR, EIO, ENOSPC, EDQUOT, EFBIG],
        "truncate" => &[EIO, EINTR],
        "sync" => &[EIO, ENOSPC, EDQUOT, EINTR, EOPNOTSUPP, EBADF],
        "advise" => &[EINVAL, ENOSYS],
        "control" => &[EPERM, EINVAL],
        "lock" => &[EAGAIN, EINTR, ENOSYS],
        "open" => &[EIO, EACCES, EMFILE, ENOSPC, EINTR, EOPNOTSUPP],
        "mode" | "owner" => &[EPERM, EIO],
        "rename" => &[EIO, ENOSPC, EACCES, EINVAL, ENOSYS],
        "close" => &[EIO, ENOSPC],
        "link" => &[EIO, ENOSPC, EPERM, EOPNOTSUPP],
        "stat" | "seek" | "unlink" => &[EIO],
        "process" => &[EAGAIN, ENOMEM, EMFILE, EPERM],
        _ => panic!("what can happen to a call of kind {kind}?"),
    };
    let mut ways: Vec<How> = errors.iter().copied().map(How::Fail).collect();
    match kind {
        "read" => ways.extend([How::Broken(EIO), How::Short(0), How::Short(40_503)]),
        "map" => ways.push(How::Broken(ENOMEM)),
        "write" => ways.extend([How::Broken(ENOSPC), How::Short(0), How::Short(40_503)]),
        "copy" => ways.extend([How::Short(0), How::Short(40_503)]),
        "sync" => ways.extend([How::Broken(EIO), How::Broken(EINVAL)]),
        "link" => ways.push(How::Broken(EPERM)),
        "process" => ways.push(How::Broken(EMFILE)),
        "mode" => ways.push(How::Broken(EOPNOTSUPP)),
        _ => {}
    }
    if kind == "process" {
        // Such a call returns twice, or in a child.
        ways.extend([How::Before(KILL), How::Before(TERM)]);
        return ways;
    }
    ways.extend([How::Before(KILL), How::After(KILL), How::Before(TERM), How::After(INT)]);
    ways
}

/// Whether the fault must have no effect: an interrupted or short call is repeated, advice is not needed, and there is
/// another way if a file system lacks this kind of rename.
fn is_harmless(case: &Case, fault: &Fault) -> bool {
    let has = |word: &str| case.args.iter().any(|arg| arg == word);
    match (fault.kind, fault.how) {
        // The first mapping is a test. A window that cannot be mapped later is read.
        ("map", How::Fail(_) | How::Broken(_)) => fault.number > 0,
        ("allocate", How::Fail(errno)) => matches!(errno, EOPNOTSUPP | EINTR | EIO),
        // A rewrap reads back what it wrote from the disk, because cached pages may be wrong.
        ("advise", How::Fail(_)) => !has("rewrap"),
        ("rename", How::Fail(errno)) => matches!(errno, EINVAL | ENOSYS) && !has("rewrap") && !has("-f"),
        // A rewrap in place needs its syncs. Another output succeeds without them, with a warning.
        ("sync", How::Fail(EOPNOTSUPP | EBADF) | How::Broken(EINVAL)) => !has("rewrap"),
        ("read" | "write" | "open" | "sync" | "truncate", How::Fail(errno)) => errno == EINTR,
        ("owner", How::Fail(_)) | ("mode", _) => matches!(fault.how, How::Fail(_) | How::Broken(_)),
        // A rewrap first tests whether a file without a name can get one. If this works only in the test, it cannot do
        // anything else.
        ("link", How::Fail(_) | How::Broken(_)) if matches!(case.goal, Goal::Mended(..)) => false,
        // A file that gets no name is copied into one that has a name.
        ("link", How::Fail(EPERM | EOPNOTSUPP) | How::Broken(EPERM)) => true,
        (_, how) => matches!(how, How::Short(_)),
    }
}

/// Whether the program may end like this.
fn end_is_right(case: &Case, fault: &Fault, injected: &Injected) -> bool {
    let end = injected.end;
    let natural = end == End::Exit(case.code);
    if !injected.was_hit() {
        return natural;
    }
    match fault.how {
        How::Before(KILL) | How::After(KILL) => end == End::Signal(KILL),
        How::Before(signal) if fault.kind == "gate" => end == End::Signal(signal),
        How::Before(signal) | How::After(signal) => natural || end == End::Signal(signal),
        _ if is_harmless(case, fault) => natural,
        How::Fail(_) | How::Broken(_) if fault.kind == "map" => end == End::Exit(2),
        // Parts that cannot be read are missing in the salvaged file.
        How::Fail(_) | How::Broken(_) if matches!(case.goal, Goal::Salvaged(_)) && end == End::Exit(4) => true,
        // A command that could not do its work has failed itself.
        _ => natural || end == End::Exit(7) || (fault.kind == "process" && case.has_command() && end == End::Exit(9)),
    }
}

/// Checks everything. Returns what is wrong.
pub(crate) fn check(case: &Case, fault: &Fault, injected: &Injected, ground: &Ground) -> Result<(), String> {
    let holds = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    holds("it ends in the wrong way", end_is_right(case, fault, injected))?;
    holds("stderr is not one error", stderr_is_right(injected, fault))?;
    nothing_is_lost(case, fault, injected, ground)?;
    if injected.end == End::Signal(KILL) { runs_again(case, ground) } else { Ok(()) }
}

/// However the run ended, there is the old file or the new one, and no other file.
pub(crate) fn nothing_is_lost(case: &Case, fault: &Fault, injected: &Injected, ground: &Ground) -> Result<(), String> {
    let holds = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    holds("stdout is not a prefix of what it should be", stdout_is_right(case, injected))?;
    if fault.kind == "gate" {
        nothing_counts(case, injected, ground)?;
    }
    let target = case.target();
    for (name, bytes) in case.files.iter().filter(|(name, _)| Some(name.as_str()) != target) {
        holds(&format!("{name} has changed"), ground.read(name).as_ref() == Some(bytes))?;
    }
    if let Some(name) = target {
        target_is_right(case, name, injected, ground)?;
    }
    let killed = injected.end == End::Signal(KILL);
    for name in ground.names() {
        let known = case.before(&name).is_some() || Some(name.as_str()) == target;
        let excused = is_temporary(&name) && (killed || fault.kind == "unlink");
        holds(&format!("{name} is left"), known || excused || is_kept_bank(case, &name, ground))?;
    }
    Ok(())
}

/// The complete bank that a repair replaces, in its own file. This file is created before the repair writes anything
/// else.
fn is_kept_bank(case: &Case, name: &str, ground: &Ground) -> bool {
    const BANK: usize = 4096;
    let (Goal::Mended(target, _), Some(kept)) = (&case.goal, ground.read(name)) else { return false };
    let Some(rest) = name.strip_prefix(target).and_then(|rest| rest.strip_prefix(".replaced-bank")) else {
        return false;
    };
    let (number, again) = rest.split_once('-').unwrap_or((rest, "2"));
    let before = case.before(target).map(|before| before.as_chunks::<BANK>().0);
    let was = number.parse::<usize>().ok().and_then(|number| before?.get(number));
    again.parse::<u32>().is_ok() && was.is_some_and(|was| was.as_slice() == kept)
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".waxseal-") && name.ends_with(".tmp")
}

/// After a failed run there is the old content, and after a successful run the new one. After the rename, a failed run
/// may also leave the new content if its error says so.
fn target_is_right(case: &Case, name: &str, injected: &Injected, ground: &Ground) -> Result<(), String> {
    let now = ground.read(name);
    let (before, now) = (case.before(name), now.as_deref());
    let reached = now.is_some_and(|bytes| case.is_reached(bytes));
    let right = match injected.end {
        End::Exit(0) => reached,
        End::Exit(4) if matches!(case.goal, Goal::Salvaged(_)) => now.is_none_or(|bytes| has_holes(bytes, &case.plain)),
        End::Exit(_) => now == before || (reached && injected.ran.stderr.contains("the output is written")),
        End::Signal(_) => now == before || reached,
    };
    let between = injected.end != End::Exit(0) && now.is_some_and(|bytes| case.is_between(bytes));
    if right || between { Ok(()) } else { Err(format!("{name} is wrong")) }
}

/// The signal came before the commit. A rewrap in place has several commits, and the file opens between any two of
/// them.
fn nothing_counts(case: &Case, injected: &Injected, ground: &Ground) -> Result<(), String> {
    if let Some(name) = case.target() {
        let now = ground.read(name);
        let in_place = case.args.first().is_some_and(|arg| arg == "rewrap") && !case.args.iter().any(|arg| arg == "-o");
        if now.as_deref() != case.before(name) && !in_place {
            return Err(format!("{name} was committed after a signal"));
        }
    }
    match case.stream {
        Stream::Sealed if open(&injected.ran.stdout, &keys()[0].0).is_some() => {
            Err("the stream was made whole after a signal".into())
        }
        _ => Ok(()),
    }
}

fn has_holes(salvaged: &[u8], plain: &[u8]) -> bool {
    salvaged.iter().zip(plain).all(|(own, right)| own == right || *own == 0) && salvaged.len() <= plain.len()
}

/// An error has one sentence and a hint, no panic and no key. If all writes fail, the message about the replaced bytes
/// of a repair is missing, too.
pub(crate) fn stderr_is_right(injected: &Injected, fault: &Fault) -> bool {
    let stderr = &injected.ran.stderr;
    let secret = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        let line = text.lines().last().unwrap_or_default().to_owned();
        line.split(':').any(|part| part.len() >= 32 && stderr.contains(part))
    };
    let errors = stderr.matches("waxseal: error: ").count();
    let expected = match injected.end {
        End::Exit(0) => errors == 0,
        End::Exit(_) => errors == 1 || (errors == 2 && matches!(fault.how, How::Broken(_))),
        End::Signal(_) => errors <= 1,
    };
    expected && !stderr.contains("panicked") && !keys().iter().any(|(_, text)| secret(text))
}

fn stdout_is_right(case: &Case, injected: &Injected) -> bool {
    let stdout = &injected.ran.stdout;
    let done = injected.end == End::Exit(0);
    match &case.stream {
        Stream::Words => true,
        Stream::Plain(range) => {
            let whole = &case.plain[range.clone()];
            if done { stdout == whole } else { whole.starts_with(stdout) }
        }
        // A run that reports a failure has not sent anything that a reader accepts as complete.
        Stream::Sealed => {
            let whole = open(stdout, &keys()[0].0);
            let killed = matches!(injected.end, End::Signal(_));
            if done { whole.as_ref() == Some(&case.plain) } else { killed || whole.is_none() }
        }
    }
}

/// The files that a killed run leaves do not disturb the next run.
fn runs_again(case: &Case, ground: &Ground) -> Result<(), String> {
    let finished = case.target().and_then(|name| ground.read(name)).is_some_and(|bytes| case.is_reached(&bytes));
    let again = ground.run(&case.args, case.stdin.as_deref());
    let there = finished && again.code == Some(8);
    if again.code != Some(case.code) && !there {
        return Err(format!("a second run ends with {:?}: {}", again.code, again.stderr));
    }
    match case.target() {
        Some(name) if !ground.read(name).is_some_and(|bytes| case.is_reached(&bytes)) => {
            Err(format!("{name} is wrong after a second run"))
        }
        _ => Ok(()),
    }
}

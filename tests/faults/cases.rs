//! The command lines that run while faults are injected.

use std::ops::Range;
use std::sync::OnceLock;

use waxseal::keys::KeyFile;
use waxseal::{Demands, OpenReader, SealOptions, SealWriter};

use crate::cli_support::noise;

/// The file that a run should create or change, after the run.
#[derive(Debug, Clone)]
pub(crate) enum Goal {
    /// No file.
    Nothing,
    /// A file that opens to the plaintext with the first key.
    Sealed(&'static str),
    /// The plaintext.
    Plain(&'static str),
    /// The plaintext with zeros for missing parts. Nothing is missing if the run says so.
    Salvaged(&'static str),
    /// A file that opens to the plaintext: before the run with one key, and after the run only with the key of this
    /// number.
    Rewrapped(&'static str, usize),
    /// Exactly these bytes.
    Mended(&'static str, Vec<u8>),
    /// A key file.
    Key(&'static str),
}

/// What a run prints on stdout.
#[derive(Debug, Clone)]
pub(crate) enum Stream {
    /// Any text for people.
    Words,
    /// A file that opens to the plaintext.
    Sealed,
    /// This part of the plaintext. A failed run prints only a prefix of this part.
    Plain(Range<usize>),
}

/// A command line, the files that it finds, and its expected result.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) args: Vec<String>,
    pub(crate) stdin: Option<Vec<u8>>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) plain: Vec<u8>,
    pub(crate) goal: Goal,
    pub(crate) stream: Stream,
    /// The exit code without an injected fault.
    pub(crate) code: i32,
}

/// Text of the key files `k` and `k2`, the same in all cases.
pub(crate) fn keys() -> &'static [(KeyFile, Vec<u8>); 2] {
    static KEYS: OnceLock<[(KeyFile, Vec<u8>); 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [(); 2].map(|()| {
            let key = KeyFile::generate().unwrap();
            let text = key.to_text(&[]).expose().to_vec();
            (key, text)
        })
    })
}

pub(crate) fn seal(plain: &[u8]) -> Vec<u8> {
    let mut writer = SealWriter::new(Vec::new(), &[&keys()[0].0], &SealOptions::new()).unwrap();
    std::io::Write::write_all(&mut writer, plain).unwrap();
    writer.finish().unwrap()
}

/// What `sealed` opens to with one key.
pub(crate) fn open(sealed: &[u8], key: &KeyFile) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut reader = OpenReader::new(sealed, &[key], &Demands::default()).ok()?;
    std::io::Read::read_to_end(&mut reader, &mut plain).ok()?;
    Some(plain)
}

impl Case {
    fn new(command: &str, plain: &[u8], goal: Goal) -> Self {
        let args = command.split_whitespace().map(String::from).collect();
        let files = vec![("k".into(), keys()[0].1.clone()), ("k2".into(), keys()[1].1.clone())];
        Self { args, stdin: None, files, plain: plain.to_vec(), goal, stream: Stream::Words, code: 0 }
    }

    fn with(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.push((name.into(), bytes.to_vec()));
        self
    }

    fn fed(self, bytes: &[u8]) -> Self {
        Self { stdin: Some(bytes.to_vec()), ..self }
    }

    fn prints(self, stream: Stream) -> Self {
        Self { stream, ..self }
    }

    fn ends(self, code: i32) -> Self {
        Self { code, ..self }
    }

    /// The name of the file that is made or changed.
    pub(crate) fn target(&self) -> Option<&'static str> {
        match self.goal {
            Goal::Nothing => None,
            Goal::Sealed(name)
            | Goal::Plain(name)
            | Goal::Salvaged(name)
            | Goal::Rewrapped(name, _)
            | Goal::Mended(name, _)
            | Goal::Key(name) => Some(name),
        }
    }

    /// Whether another program writes the file. What a full disk or a power cut does to it is not this program's.
    pub(crate) fn is_written_by_command(&self) -> bool {
        self.args.iter().any(|arg| arg == "--to-command")
    }

    /// Whether another program makes the content or takes it.
    pub(crate) fn has_command(&self) -> bool {
        self.args.iter().any(|arg| arg == "--to-command" || arg == "--from-command")
    }

    /// What stood at `name` before.
    pub(crate) fn before(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(own, _)| own == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// Whether a run that succeeds may leave `bytes`.
    pub(crate) fn is_reached(&self, bytes: &[u8]) -> bool {
        match &self.goal {
            Goal::Nothing => false,
            Goal::Sealed(_) => open(bytes, &keys()[0].0).as_ref() == Some(&self.plain),
            Goal::Plain(_) | Goal::Salvaged(_) => bytes == self.plain,
            Goal::Rewrapped(_, to) => {
                open(bytes, &keys()[*to].0).as_ref() == Some(&self.plain) && open(bytes, &keys()[1 - to].0).is_none()
            }
            Goal::Mended(_, whole) => bytes == whole,
            Goal::Key(_) => KeyFile::parse(bytes).is_ok(),
        }
    }

    /// Whether a run that fails may leave `bytes` in the file that it should have changed.
    pub(crate) fn is_between(&self, bytes: &[u8]) -> bool {
        match &self.goal {
            Goal::Rewrapped(..) => keys().iter().any(|(key, _)| open(bytes, key).as_ref() == Some(&self.plain)),
            Goal::Mended(name, whole) => {
                let before = self.before(name).unwrap();
                bytes == before || bytes == whole || open(bytes, &keys()[0].0).as_ref() == Some(&self.plain)
            }
            _ => false,
        }
    }
}

/// All operations of the program on files. The contents have no byte, one byte, some bytes, and so many bytes that
/// several threads work on them.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![Case::new("key new new", b"", Goal::Key("new"))];
    for len in [0, 1, 40 * 1024, 3 * 1024 * 1024] {
        let plain = noise(len);
        let sealed = seal(&plain);
        cases.extend(sealing(&plain));
        cases.extend(opening(&plain, &sealed));
        cases.extend(mending(&plain, &sealed));
        cases.extend(resealing(&plain, &sealed));
    }
    cases
}

/// `key new --pair`, which makes two files: [`crate::pair`] looks at them.
pub(crate) fn pair() -> Case {
    Case::new("key new --pair made", b"", Goal::Nothing)
}

/// One run that works on all `files`.
pub(crate) fn several(command: &str, files: &[(String, Vec<u8>)], goal: Goal) -> Case {
    let mut case = Case::new(command, b"", goal);
    case.args.extend(files.iter().map(|(name, _)| name.clone()));
    case.files.extend(files.iter().cloned());
    case
}

fn sealing(plain: &[u8]) -> Vec<Case> {
    let old = seal(b"last night's");
    let case = |command: &str, goal| Case::new(&format!("encrypt -q -k file:k {command}"), plain, goal);
    let sealed = || Goal::Sealed("in.wax");
    let mut cases = vec![
        case("in", sealed()).with("in", plain),
        case("-f in", sealed()).with("in", plain).with("in.wax", &old),
        case("in", Goal::Nothing).with("in", plain).with("in.wax", &old).ends(8),
        case("-o in.wax", sealed()).fed(plain),
        case("-o - in", Goal::Nothing).with("in", plain).prints(Stream::Sealed),
        case("-o in.wax --from-command -- cat in", sealed()).with("in", plain),
        case("-f -o in.wax --from-command -- false", Goal::Nothing).with("in.wax", &old).ends(9),
    ];
    if !plain.is_empty() {
        cases.push(case("--input map in", sealed()).with("in", plain));
        cases.push(case("--input map -o - in", Goal::Nothing).with("in", plain).prints(Stream::Sealed));
    }
    cases
}

/// A command that makes `in` of all that it reads, at a clean end alone, and leaves nothing else.
const COLLECT: &[u8] = b"
import os, sys
content = sys.stdin.buffer.read()
file = os.open('.', os.O_TMPFILE | os.O_WRONLY)
rest = memoryview(content)
while rest:
    rest = rest[os.write(file, rest):]
try:
    os.link(f'/proc/self/fd/{file}', 'in', dst_dir_fd=os.open('.', os.O_PATH), follow_symlinks=True)
except FileExistsError:
    sys.exit(open('in', 'rb').read() != content)
";

fn opening(plain: &[u8], sealed: &[u8]) -> Vec<Case> {
    let case = |command: &str, goal| Case::new(&format!("{command} -q -k file:k"), plain, goal);
    let given = |command: &str, goal| case(command, goal).with("in.wax", sealed);
    let all = || Stream::Plain(0..plain.len());
    let mut altered = sealed.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let mut cases = vec![
        given("decrypt in.wax", Goal::Plain("in")),
        given("decrypt -f in.wax", Goal::Plain("in")).with("in", b"last night's"),
        case("decrypt -o in", Goal::Plain("in")).fed(sealed),
        given("decrypt -o - in.wax", Goal::Nothing).prints(all()),
        case("decrypt", Goal::Nothing).fed(sealed).prints(all()),
        case("decrypt -f in.wax", Goal::Nothing).with("in.wax", &altered).with("in", b"last night's").ends(4),
        case("decrypt -o - in.wax", Goal::Nothing).with("in.wax", &altered).prints(all()).ends(4),
        given("verify in.wax", Goal::Nothing),
        given("salvage -o in in.wax", Goal::Salvaged("in")),
        given("cat --range .. in.wax", Goal::Nothing).prints(all()),
    ];
    let into = |input: &str, sealed: &[u8], goal| {
        let command = format!("decrypt -q -k file:k --to-command {input} -- python3 -I collect.py");
        Case::new(&command, plain, goal).with("collect.py", COLLECT).with("in.wax", sealed)
    };
    cases.extend([
        into("in.wax", sealed, Goal::Plain("in")),
        into("-", sealed, Goal::Plain("in")).fed(sealed),
        into("in.wax", &altered, Goal::Nothing).ends(4),
        into("-", &altered, Goal::Nothing).fed(&altered).ends(4),
    ]);
    if plain.len() > 30_000 {
        let part = 10_000..plain.len() - 10_000;
        let command = format!("cat --range {}..{} in.wax", part.start, part.end);
        cases.push(given(&command, Goal::Nothing).prints(Stream::Plain(part)));
    }
    cases
}

fn mending(plain: &[u8], sealed: &[u8]) -> Vec<Case> {
    let given = |command: &str, goal| Case::new(&format!("rewrap -q {command} in.wax"), plain, goal);
    let change = "--allow-unwrap -k file:k -k file:k2 --from file:k --to file:k2";
    let damaged = |at: usize| {
        let mut bytes = sealed.to_vec();
        bytes[at..at + 20].fill(0xff);
        bytes
    };
    let mended = || Goal::Mended("in.wax", sealed.to_vec());
    let (bank, prelude) = (damaged(4096 + 200), damaged(8192 + 10));
    vec![
        given(change, Goal::Rewrapped("in.wax", 1)).with("in.wax", sealed),
        given(&format!("{change} -o new.wax"), Goal::Rewrapped("new.wax", 1)).with("in.wax", sealed),
        given(&format!("{change} -f -o new.wax"), Goal::Rewrapped("new.wax", 1))
            .with("in.wax", sealed)
            .with("new.wax", sealed),
        given("--repair", mended()).with("in.wax", &bank),
        given("--repair -k file:k", mended()).with("in.wax", &prelude),
    ]
}

fn resealing(plain: &[u8], sealed: &[u8]) -> Vec<Case> {
    let case = |command: &str, goal| {
        Case::new(&format!("reseal -q --from file:k -k file:k --set-label a=b {command}"), plain, goal)
    };
    let mut altered = sealed.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    vec![
        case("-o new.wax in.wax", Goal::Sealed("new.wax")).with("in.wax", sealed),
        case("-f -o new.wax -", Goal::Sealed("new.wax")).with("new.wax", &seal(b"last night's")).fed(sealed),
        case("-o - in.wax", Goal::Nothing).with("in.wax", sealed).prints(Stream::Sealed),
        case("-o new.wax in.wax", Goal::Nothing).with("in.wax", &altered).ends(4),
    ]
}

/// A rewrap to one of the two keys, from the key that the file has.
pub(crate) fn rotation(to: usize) -> Case {
    let plain = noise(40 * 1024);
    let name = ["k", "k2"][to];
    let command = format!("rewrap -q --allow-unwrap -k file:k -k file:k2 --from slot:0 --to file:{name} in.wax");
    Case::new(&command, &plain, Goal::Rewrapped("in.wax", to)).with("in.wax", &seal(&plain))
}

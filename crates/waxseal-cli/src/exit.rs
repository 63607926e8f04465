//! Exit codes: an interface that scripts depend on.

/// How the program ends. Codes and meanings never change. Scripts should treat an unknown code as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// A bug in this program.
    Bug = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no header that this version can read.
    Header = 3,
    /// Authentication failed.
    Tampered = 4,
    /// No key opens the file, or a key service refuses.
    NoKey = 5,
    /// A key service or an object store cannot be reached.
    Unavailable = 6,
    /// Reading or writing failed.
    Io = 7,
    /// A condition of the caller is not met.
    Unmet = 8,
    /// The command of `--from-command` or `--to-command` failed.
    CommandFailed = 9,
    /// An input does not exist, though its folder or bucket does.
    NoInput = 10,
}

impl Exit {
    /// All of them, by code.
    const ALL: [Self; 11] = [
        Self::Done,
        Self::Bug,
        Self::Usage,
        Self::Header,
        Self::Tampered,
        Self::NoKey,
        Self::Unavailable,
        Self::Io,
        Self::Unmet,
        Self::CommandFailed,
        Self::NoInput,
    ];

    /// The gravest first: what several inputs together give. The one that may pass by itself comes after all other
    /// failures, because a caller who sees it tries everything again.
    const BY_GRAVITY: [Self; 11] = [
        Self::Bug,
        Self::Tampered,
        Self::Header,
        Self::NoKey,
        Self::Io,
        Self::NoInput,
        Self::Unmet,
        Self::Usage,
        Self::CommandFailed,
        Self::Unavailable,
        Self::Done,
    ];

    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The name of the code in `--json`.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Bug => "bug",
            Self::Usage => "usage",
            Self::Header => "header",
            Self::Tampered => "tampered",
            Self::NoKey => "no-key",
            Self::Unavailable => "unavailable",
            Self::Io => "io",
            Self::Unmet => "unmet",
            Self::CommandFailed => "command-failed",
            Self::NoInput => "no-input",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Bug => "a bug in waxseal: please report it",
            Self::Usage => "usage: the command line is wrong",
            Self::Header => "not a waxseal file, a damaged or truncated header, or a newer version",
            Self::Tampered => "authentication failed: the file is altered or truncated",
            Self::NoKey => {
                "no key opens the file: denied, disabled, pending import or deletion, wrong passphrase, \
                 no or expired credentials, clock skew"
            }
            Self::Unavailable => "the key service or the object store cannot be reached or is throttling: try again",
            Self::Io => {
                "input/output error, including a broken pipe, a folder or key file that is missing, and an object store \
                 that refuses"
            }
            Self::Unmet => {
                "a condition is not met: the output exists, or the file does not have the pairs of -c \
                 or the labels of -l"
            }
            Self::CommandFailed => "the command of --from-command or --to-command failed",
            Self::NoInput => "an input does not exist, but its folder or bucket does",
        }
    }

    /// The more serious of two codes.
    pub(crate) fn graver(self, other: Self) -> Self {
        Self::BY_GRAVITY.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(Self::Bug)
    }
}

/// The table for `--help` and the manual.
pub(crate) fn table() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {:<2} {}\n", exit.code(), exit.meaning()));
    let failures = Exit::BY_GRAVITY.iter().filter(|exit| **exit != Exit::Done);
    let order = failures.map(|exit| exit.code().to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "Exit codes (an unknown code is a failure; with several inputs, the most serious one: {order}):\n{}  \
         On SIGINT, SIGTERM, SIGHUP and other signals that end a program, waxseal cleans up, then ends by that signal",
        lines.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_place_and_gravity() {
        for (code, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), code);
            assert!(Exit::BY_GRAVITY.contains(&exit), "{exit:?}");
            assert_eq!(exit.graver(Exit::Done), exit);
        }
        assert_eq!(Exit::BY_GRAVITY.map(Exit::code), [1, 4, 3, 5, 7, 10, 8, 2, 9, 6, 0]);
        assert!(
            Exit::ALL.into_iter().filter(|exit| *exit != Exit::Done).all(|exit| exit.graver(Exit::Unavailable) == exit)
        );
        assert_eq!(Exit::Header.graver(Exit::Tampered), Exit::Tampered);
    }
}

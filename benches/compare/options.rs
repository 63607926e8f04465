//! The options of the command line.

use std::time::Duration;

/// How much is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything, for publication.
    Whole,
    /// A short run, to check that it works.
    Quick,
    /// Tiny data, without programs that must be installed for it.
    Test,
}

pub(crate) struct Options {
    /// The arguments as given, for the report.
    pub(crate) given: String,
    pub(crate) extent: Extent,
    /// Size of the file in the main series. The sizes of the series over sizes are fractions and multiples of it.
    pub(crate) len: u64,
    pub(crate) rounds: usize,
    /// The series that have tables only, instead of those that have pictures.
    pub(crate) more: bool,
    /// The pictures are drawn again, and nothing is measured.
    pub(crate) draw: bool,
    /// The name of a series, or a part of the name of programs.
    pub(crate) only: Option<String>,
    /// The program that was built with this bench, unless the user names another.
    pub(crate) tool: String,
    /// How long the machine idles before each run of the idle series.
    pub(crate) idle: Duration,
}

/// The least size for publication, and the usual one.
pub(crate) const PUBLISHED: u64 = 1 << 30;
const USAGE: &str = "options: --mib N, --rounds N, --more, --quick, --draw, --only NAME, --tool PATH";

impl Options {
    /// `cargo bench` passes `--bench`. Without it, this is a test.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let extent = match (words.contains(&"--bench"), words.contains(&"--quick")) {
            (false, _) => return Ok(Self::of(Extent::Test)),
            (true, true) => Extent::Quick,
            (true, false) => Extent::Whole,
        };
        let given: Vec<&str> = words.iter().copied().filter(|word| *word != "--bench").collect();
        let mut options = Self { given: given.join(" "), ..Self::of(extent) };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
            let number = |text: &str| text.parse::<u32>().map_err(|error| format!("{text}: {error}"));
            match *word {
                "--bench" | "--quick" => {}
                "--more" => options.more = true,
                "--draw" => options.draw = true,
                "--mib" => options.len = u64::from(number(value()?)?.max(1)) << 20,
                "--rounds" => options.rounds = number(value()?)?.max(1) as usize,
                "--only" => options.only = Some(value()?.to_owned()),
                "--tool" => options.tool = value()?.to_owned(),
                other => return Err(format!("{other} is not known; {USAGE}")),
            }
        }
        Ok(options)
    }

    /// Whether the AWS Encryption CLI is compared. It must be installed for it.
    pub(crate) fn wants_kms(&self) -> bool {
        self.more || self.only.as_deref() == Some("kms")
    }

    fn of(extent: Extent) -> Self {
        let (len, rounds, idle) = match extent {
            Extent::Whole => (PUBLISHED, 7, 5),
            Extent::Quick => (64 << 20, 2, 1),
            Extent::Test => (1 << 20, 1, 0),
        };
        Self {
            given: String::new(),
            extent,
            len,
            rounds,
            more: false,
            draw: false,
            only: None,
            tool: env!("CARGO_BIN_EXE_waxseal").to_owned(),
            idle: Duration::from_secs(idle),
        }
    }
}

const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// `64 MiB`
pub(crate) fn show_size(len: u64) -> String {
    let unit = UNITS.iter().find(|(_, shift)| len >= 1 << shift && len.trailing_zeros() >= *shift);
    unit.map_or_else(|| format!("{len} bytes"), |(unit, shift)| format!("{} {unit}", len >> shift))
}

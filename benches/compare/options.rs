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
    /// Size of the file in the main series.
    pub(crate) len: u64,
    pub(crate) rounds: usize,
    /// Sizes of the series over sizes.
    pub(crate) sizes: Vec<u64>,
    /// The name of a series, or a part of the name of programs.
    pub(crate) only: Option<String>,
    /// The program that was built with this bench, unless the user names another.
    pub(crate) tool: String,
    /// How long the machine idles before each run of the idle series.
    pub(crate) idle: Duration,
}

const USAGE: &str = "options: --mib N, --rounds N, --sizes 1KiB,64MiB,..., --full, --quick, --only NAME, --tool PATH";
/// The complete names that `--only` accepts.
const SERIES: [&str; 10] = ["file", "synced", "pipe", "peers", "verify", "one-core", "cold", "idle", "kms", "size"];
const SIZES: &str = "1KiB,1MiB,64MiB,1GiB";
const LARGE_SIZES: &str = "2GiB,4GiB,8GiB";

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
                "--full" => options.sizes.extend(sizes(LARGE_SIZES)?),
                "--mib" => options.len = u64::from(number(value()?)?.max(1)) << 20,
                "--rounds" => options.rounds = number(value()?)?.max(1) as usize,
                "--sizes" => options.sizes = sizes(value()?)?,
                "--only" => options.only = Some(value()?.to_owned()),
                "--tool" => options.tool = value()?.to_owned(),
                other => return Err(format!("{other} is not known; {USAGE}")),
            }
        }
        Ok(options)
    }

    /// Whether the user may want the series `name`.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| !SERIES.contains(&only.as_str()) || only == name)
    }

    fn of(extent: Extent) -> Self {
        let (len, rounds, names, idle) = match extent {
            Extent::Whole => (1 << 30, 5, SIZES, 5),
            Extent::Quick => (64 << 20, 2, "1KiB,1MiB", 1),
            Extent::Test => (1 << 20, 1, "1KiB", 0),
        };
        Self {
            given: String::new(),
            extent,
            len,
            rounds,
            sizes: sizes(names).unwrap_or_default(),
            only: None,
            tool: env!("CARGO_BIN_EXE_waxseal").to_owned(),
            idle: Duration::from_secs(idle),
        }
    }
}

const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];

fn sizes(list: &str) -> Result<Vec<u64>, String> {
    list.split(',').map(|text| size(text).ok_or_else(|| format!("{text} is not a size like 64MiB"))).collect()
}

fn size(text: &str) -> Option<u64> {
    let (unit, shift) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    (count > 0).then_some(u64::from(count) << shift)
}

/// `64 MiB`
pub(crate) fn show_size(len: u64) -> String {
    let unit = UNITS.iter().find(|(_, shift)| len >= 1 << shift && len.trailing_zeros() >= *shift);
    unit.map_or_else(|| format!("{len} bytes"), |(unit, shift)| format!("{} {unit}", len >> shift))
}

//! KEY on the command line and in `WAXSEAL_KEY`, and the sealers and openers that it stands for.

mod cloud;
mod local;
mod opening;
mod sealing;
mod spec;

pub(crate) use self::cloud::Cloud;
pub(crate) use self::local::load_key_file;
pub(crate) use self::opening::{Opening, Origin, key_of};
pub(crate) use self::sealing::{Sealers, Sealing, load_sealer};
pub(crate) use self::spec::KeySpec;

use super::input::Identity;
use super::output::Forbidden;

/// Files that an output must not replace.
pub(crate) fn forbidden<'a>(specs: impl IntoIterator<Item = &'a KeySpec>) -> Forbidden {
    let files = specs.into_iter().filter_map(KeySpec::path);
    files.filter_map(|(path, what)| Some((Identity::at(path)?, what))).collect()
}

//! Where the outputs of many inputs go: the tree of the inputs is kept below a folder, or below a prefix of a store.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Result;
use super::escape;
use super::failure::Failure;
use super::folder::{self, Entry, Folder, Part, Tree};
use super::output::ALONE;
use super::place::Place;
use super::store::Prefix;

/// No common file system has longer names, in bytes.
const NAME_MAX: usize = 255;

/// The top of all outputs.
#[derive(Clone)]
pub(crate) struct Outputs {
    /// Where it is.
    pub(crate) top: Top,
    /// Whether new folders get the permissions of the folders that they are made from.
    pub(crate) keeps_modes: bool,
}

/// A folder or a prefix, which a walk does not enter.
#[derive(Clone)]
pub(crate) enum Top {
    /// A folder, and what identifies it.
    Folder(Arc<Tree>, (u64, u64)),
    /// A prefix of a store.
    Prefix(Prefix),
}

/// The folder or the prefix of one output.
#[derive(Clone)]
pub(crate) enum Above {
    /// It is made when it is needed.
    Folder(Arc<Folder>),
    /// It needs not be made.
    Prefix(Prefix),
}

impl Outputs {
    /// Whether this folder is the top.
    pub(crate) fn is(&self, folder: &OwnedFd) -> bool {
        matches!(self.top, Top::Folder(_, identity) if folder::identity(folder).is_ok_and(|own| own == identity))
    }

    /// The place for what is in these folders.
    pub(crate) fn above(&self, parts: &[Part]) -> Above {
        match &self.top {
            Top::Folder(tree, _) => Above::Folder(Arc::new(Folder::below(tree, parts))),
            Top::Prefix(prefix) => {
                let below = parts.iter().flat_map(|part| [part.name.as_bytes(), b"/"]).collect::<Vec<_>>().concat();
                Above::Prefix(prefix.join(&below))
            }
        }
    }

    /// The place for objects whose keys begin with `below`, which is empty or ends in `/`. A key is any text. No output
    /// leaves the folder, and no two keys become one path.
    pub(crate) fn above_key(&self, below: &[u8]) -> Result<Above> {
        if let Top::Prefix(prefix) = &self.top {
            return Ok(Above::Prefix(prefix.join(below)));
        }
        let parts = below.strip_suffix(b"/").map(|below| below.split(|byte| *byte == b'/')).into_iter().flatten();
        let part = |name: &[u8]| check(OsStr::from_bytes(name)).map(|()| Part::private(OsStr::from_bytes(name)));
        Ok(self.above(&parts.map(part).collect::<Result<Vec<_>>>()?))
    }
}

impl Above {
    /// The place of the name `name` in it.
    pub(crate) fn place(&self, name: &OsStr) -> Result<Place> {
        match self {
            Self::Folder(folder) => check(name).map(|()| Place::Below(Entry::new(folder, name))),
            Self::Prefix(prefix) => Ok(Place::Object(prefix.object(name))),
        }
    }

    /// What another output with this name would have in common with it.
    pub(crate) fn path(&self, name: &OsStr) -> PathBuf {
        match self {
            Self::Folder(folder) => Entry::new(folder, name).path().to_owned(),
            Self::Prefix(prefix) => prefix.object(name).text().into(),
        }
    }
}

fn too_long(name: &[u8]) -> Failure {
    let (len, shown) = (name.len(), escape::os(OsStr::from_bytes(&name[..name.len().min(NAME_MAX)])));
    let failure =
        format!("the name of the output is too long: \"{shown}\"... has {len} bytes, and a name can have {NAME_MAX}");
    Failure::usage(failure).hint(ALONE)
}

/// Whether a part of a key can be the name of a file or of a folder.
fn check(name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    let why = match bytes {
        b"" => "is empty",
        b"." | b".." => "is a name for a folder",
        _ if bytes.contains(&0) || bytes.contains(&b'/') => "contains a byte that no name of a file can contain",
        _ if bytes.len() > NAME_MAX => return Err(too_long(bytes)),
        _ => return Ok(()),
    };
    let failure = Failure::usage(format!("no file can have this name: the part \"{}\" {why}", escape::os(name)));
    Err(failure.hint(ALONE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::at(folder.path(), false).unwrap();
        let identity = tree.identity().unwrap();
        let outputs = Outputs { top: Top::Folder(Arc::new(tree), identity), keeps_modes: false };
        let path = |below: &str, name: &str| {
            let place = outputs.above_key(below.as_bytes()).and_then(|above| above.place(OsStr::new(name)));
            place
                .ok()
                .map(|place| place.name().text().strip_prefix(folder.path().to_str().unwrap()).unwrap().to_owned())
        };
        for (below, name, expected) in [("", "a", "/a"), ("x/ y /", "...", "/x/ y /..."), ("..x/", "-", "/..x/-")] {
            assert_eq!(path(below, name).as_deref(), Some(expected));
        }
        let long = "n".repeat(NAME_MAX + 1);
        for bad in ["", ".", "..", "a\0", &long] {
            assert_eq!((path("", bad), path(&format!("x/{bad}/"), "a")), (None, None), "{bad:?}");
        }
        assert!(path("/", "a").is_none() && path("x//", "a").is_none() && path(&"n/".repeat(255), "a").is_some());
    }
}

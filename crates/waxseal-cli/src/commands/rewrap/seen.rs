//! Files of which another name may come later. A file that is changed twice could lose two slots to `--remove slot:0`.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::have_one_front;
use crate::escape::Name;
use crate::input::Identity;
use crate::known::Known;
use crate::place::Place;

/// The files that were changed, and the names under which that was done. An object has one name.
#[derive(Default)]
pub(super) struct Seen {
    files: Mutex<HashMap<Identity, PathBuf>>,
    objects: Mutex<Known>,
}

impl Seen {
    /// The name under which the file at `place` was changed before.
    pub(super) fn before(&self, place: &Place) -> Option<Name> {
        if let Place::Object(object) = place {
            let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            return objects.has(object.text()).then(|| place.name());
        }
        let (path, identity) = by_another_name(place)?;
        let known = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(&identity).cloned()?;
        // Some file systems give one number to two files.
        have_one_front(&known, path).then(|| Name::of(known))
    }

    /// The file at `place` was changed. It may be a new one by now.
    pub(super) fn remember(&self, place: &Place) {
        if let Place::Object(object) = place {
            self.objects.lock().unwrap_or_else(PoisonError::into_inner).add(object.text());
        } else if let Some((path, identity)) = by_another_name(place) {
            self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(identity, path.to_owned());
        }
    }
}

/// A file that can come again. A walk comes to each name once, so there it needs another name.
fn by_another_name(place: &Place) -> Option<(&Path, Identity)> {
    match place {
        Place::Path(path) => Some((path, place.identity()?)),
        Place::Below(entry) => {
            let metadata = entry.metadata().filter(|metadata| metadata.nlink() > 1)?;
            Some((entry.path(), Identity::of(&metadata)?))
        }
        Place::Stream | Place::Object(_) => None,
    }
}

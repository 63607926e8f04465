//! The engine between objects of a store: read by ranges, and put together from parts. The engine knows of no store.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use waxseal::engine::{Engine, ReadAt, Sink, Source, Unobserved, WriteAt};
use waxseal::error::{Error, InputChanged, NoInput, Result};
use waxseal::keys::KeyFile;
use waxseal::{Demands, Envelope, OpenReader, SealOptions};

const PART: u64 = 1 << 20;

/// Objects by name. One appears when its upload is finished, and not before.
#[derive(Default)]
struct Store {
    objects: Mutex<HashMap<&'static str, Vec<u8>>>,
    /// Where the uploads ended that were given up.
    abandoned: Mutex<Vec<u64>>,
}

impl Store {
    fn with(name: &'static str, bytes: Vec<u8>) -> Self {
        let store = Self::default();
        store.objects.lock().unwrap().insert(name, bytes);
        store
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.objects.lock().unwrap().get(name).cloned()
    }

    fn object(&self, name: &'static str) -> Object<'_> {
        Object { store: self, name, version: self.get(name).unwrap().len(), reads: AtomicU64::new(0), changes_at: None }
    }

    fn upload(&self, name: &'static str) -> Sink<'_> {
        Sink::At(Box::new(Upload { store: self, name, parts: Mutex::default() }))
    }
}

struct Object<'a> {
    store: &'a Store,
    name: &'static str,
    version: usize,
    reads: AtomicU64,
    /// The read before which somebody else puts a shorter object in its place.
    changes_at: Option<u64>,
}

impl ReadAt for Object<'_> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut objects = self.store.objects.lock().unwrap();
        let object = objects.get_mut(self.name).unwrap();
        if Some(self.reads.fetch_add(1, Ordering::Relaxed)) == self.changes_at {
            object.truncate(object.len() - 1);
        }
        // A store may give less than it was asked for.
        let room = buffer.len().min(100_000);
        (&object[usize::try_from(position).unwrap().min(object.len())..]).read(&mut buffer[..room])
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.version as u64)
    }

    fn check_unchanged(&self) -> io::Result<()> {
        let is_same = self.store.get(self.name).unwrap().len() == self.version;
        if is_same { Ok(()) } else { Err(io::Error::other(InputChanged)) }
    }
}

struct Upload<'a> {
    store: &'a Store,
    name: &'static str,
    parts: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl WriteAt for Upload<'_> {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        assert!(position.is_multiple_of(PART) && bytes.len() as u64 <= PART, "{} bytes at {position}", bytes.len());
        assert!(self.parts.lock().unwrap().insert(position / PART, bytes.to_vec()).is_none(), "{position} comes twice");
        Ok(())
    }

    fn finish(self: Box<Self>, end: u64) -> io::Result<()> {
        let parts = self.parts.into_inner().unwrap();
        let last = parts.len() as u64 - 1;
        assert!(parts.iter().all(|(number, part)| *number == last || part.len() as u64 == PART));
        let object: Vec<u8> = parts.into_values().flatten().collect();
        assert_eq!(object.len() as u64, end);
        self.store.objects.lock().unwrap().insert(self.name, object);
        Ok(())
    }

    fn abandon(self: Box<Self>, end: u64) {
        self.store.abandoned.lock().unwrap().push(end);
    }
}

fn text(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn seal(source: &Object<'_>, store: &Store, key: &KeyFile) -> Result<u64> {
    let envelope = || Envelope::new(&[key], &SealOptions::default());
    let sealed = Engine::new().seal(Source::At(source), store.upload("sealed"), envelope, &Unobserved)?;
    Ok(sealed.file_len)
}

fn open(source: &Object<'_>, store: &Store, key: &KeyFile) -> Result<u64> {
    let sink = store.upload("opened");
    let opened = Engine::new().open(Source::At(source), sink, &[key], &Demands::default(), &Unobserved)?;
    Ok(opened.plaintext_len)
}

#[test]
fn from_object_to_object() {
    let key = KeyFile::generate().unwrap();
    for len in [0, 1, 16_384, 100_000, (1 << 20) + 1, (5 << 20) + 3] {
        let plaintext = text(len);
        let store = Store::with("plain", plaintext.clone());
        let file_len = seal(&store.object("plain"), &store, &key).unwrap();
        let sealed = store.get("sealed").unwrap();
        assert_eq!(sealed.len() as u64, file_len);
        let mut serial = Vec::new();
        let mut reader = OpenReader::new(sealed.as_slice(), &[&key], &Demands::default()).unwrap();
        reader.read_to_end(&mut serial).unwrap();
        assert!(serial == plaintext, "{len}");
        assert_eq!(open(&store.object("sealed"), &store, &key).unwrap(), len as u64);
        assert!(store.get("opened").unwrap() == plaintext, "{len}");
        assert!(store.abandoned.lock().unwrap().is_empty());
    }
}

/// Whenever it changes, while it is read or after the last read, no sealed object appears.
#[test]
fn an_object_that_changes_is_not_sealed() {
    let key = KeyFile::generate().unwrap();
    for len in [100_000, 3 << 20] {
        for changes_at in [0, 1, 20] {
            let store = Store::with("plain", text(len));
            let source = Object { changes_at: Some(changes_at), ..store.object("plain") };
            let result = seal(&source, &store, &key);
            if source.reads.into_inner() <= changes_at {
                continue;
            }
            let Err(Error::Io { source, .. }) = result else { panic!("{len} {changes_at}: {result:?}") };
            assert!(source.get_ref().unwrap().is::<InputChanged>(), "{len} {changes_at}: {source}");
            assert!(store.get("sealed").is_none());
        }
    }
}

#[test]
fn what_does_not_authenticate_does_not_appear() {
    let key = KeyFile::generate().unwrap();
    let store = Store::with("plain", text(5 << 20));
    seal(&store.object("plain"), &store, &key).unwrap();
    // In chunk 200.
    store.objects.lock().unwrap().get_mut("sealed").unwrap()[131_072 + 56 + 200 * 16_400 + 9] ^= 1;
    let result = open(&store.object("sealed"), &store, &key);
    assert!(matches!(result, Err(Error::Tampered(_))), "{result:?}");
    assert!(store.get("opened").is_none());
    assert_eq!(*store.abandoned.lock().unwrap(), [200 * 16_384]);
}

/// A store that knows of no such object.
struct Absent;

impl ReadAt for Absent {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(Error::from(NoInput).into())
    }

    fn size(&self) -> io::Result<u64> {
        Err(Error::from(NoInput).into())
    }

    fn check_unchanged(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The store's answer comes to the caller as what it is, and not as a read that failed.
#[test]
fn an_object_that_does_not_exist() {
    let key = KeyFile::generate().unwrap();
    let store = Store::default();
    let envelope = || Envelope::new(&[&key], &SealOptions::default());
    let sealed = Engine::new().seal(Source::At(&Absent), store.upload("sealed"), envelope, &Unobserved);
    assert!(matches!(sealed.err(), Some(Error::NoInput(_))));
    let opened =
        Engine::new().open(Source::At(&Absent), store.upload("opened"), &[&key], &Demands::default(), &Unobserved);
    assert!(matches!(opened.err(), Some(Error::NoInput(_))));
    assert!(store.get("sealed").is_none() && store.get("opened").is_none());
}

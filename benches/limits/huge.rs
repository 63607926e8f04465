//! A sealed file that is too large for a bench to write. It is sparse, and has only those chunks that will be read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use waxseal::container::Layout;
use waxseal::envelope::InputSize;
use waxseal::format::{Binding, CHUNK_LEN, Slot};
use waxseal::keys::{KeyFile, KeySealer};
use waxseal::payload::{ChunkIndex, ChunkSealer, PayloadKeys};
use waxseal::secret::DataKey;
use waxseal::{Envelope, Result, SealOptions};

/// Seals with a data key that the bench knows.
struct Known<'a>(&'a KeyFile, [u8; 32]);

impl KeySealer for Known<'_> {
    fn name(&self) -> String {
        KeySealer::name(self.0)
    }

    fn generate(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        let data_key = DataKey::from_slice(&self.1)?;
        let slot = self.0.wrap(&data_key, binding)?;
        Ok((data_key, slot))
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        self.0.wrap(data_key, binding)
    }
}

/// Writes a sealed file of `len` zeros to `path`. Only the first chunk, the last one, and those that contain `places`
/// are written.
pub(crate) fn make(path: &Path, len: u64, places: &[u64]) -> KeyFile {
    let key = KeyFile::generate().unwrap();
    let known = Known(&key, [7; 32]);
    let envelope = Envelope::new(&[&known], &SealOptions::new()).unwrap();
    let (binding, prelude) = (envelope.binding(), envelope.prelude());
    let data_key = DataKey::from_slice(&known.1).unwrap();
    let bound = binding.bound_bytes().unwrap();
    let sealer = ChunkSealer::new(PayloadKeys::derive(&data_key, binding.suite, &prelude.salt, &bound).0);

    let file = File::create(path).unwrap();
    let header = envelope.header(InputSize::of(len)).unwrap();
    let start = header.len() as u64;
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(&prelude.to_bytes(), start).unwrap();
    let layout = Layout::new(start);
    file.set_len(layout.file_len(len).unwrap()).unwrap();

    let chunk = CHUNK_LEN as u64;
    for index in places.iter().map(|place| place / chunk).chain([0, len / chunk]) {
        let plaintext = vec![0; usize::try_from(chunk.min(len - index * chunk)).unwrap()];
        let mut sealed = vec![0; plaintext.len() + waxseal::format::TAG_LEN];
        let index = ChunkIndex::new(index).unwrap();
        sealer.seal(index, &plaintext, &mut sealed).unwrap();
        file.write_all_at(&sealed, layout.chunk_at(index)).unwrap();
    }
    key
}

//! Objects that are written at once.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutOptions, PutPayload, PutResult, Result};
use waxseal::Envelope;
use waxseal::container::Sealing;
use waxseal::format::SEALED_CHUNK_LEN;

use crate::shared::Shared;
use crate::trouble;
use crate::work::{self, BATCH, PIECE};

pub(crate) async fn put(shared: &Shared, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
    let failed = |error| trouble::of(path, error);
    let envelope = shared.keys_of(path)?.envelope().await.map_err(failed)?;
    let len = payload.content_length();
    let sealed = work::on(len, move || seal(envelope, &payload)).await.map_err(failed)?;
    let put = shared.inner.put_opts(path, sealed, options).await;
    shared.cache.forget_path(path);
    put
}

/// The sealed object, in pieces of about 1 MiB.
fn seal(envelope: Envelope, payload: &PutPayload) -> waxseal::Result<PutPayload> {
    let mut sealing = Sealing::new(envelope);
    let (mut pieces, mut out) = (Vec::new(), Vec::new());
    for piece in payload.iter().flat_map(|bytes| bytes.chunks(PIECE)) {
        sealing.push(piece, &mut out)?;
        if out.len() >= PIECE {
            let next = Vec::with_capacity((BATCH + 2) * SEALED_CHUNK_LEN);
            pieces.push(Bytes::from(std::mem::replace(&mut out, next)));
        }
    }
    sealing.finish(&mut out)?;
    pieces.push(out.into());
    Ok(pieces.into_iter().collect())
}

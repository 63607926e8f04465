//! Lists with the lengths of the plaintexts.

use std::future::ready;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::{Error as StoreError, ListResult, ObjectMeta, Result};

use crate::Unsealed;
use crate::shared::Shared;
use crate::trouble;

/// The objects of `listed`, in its order. A few are opened at once.
pub(crate) fn list(
    shared: &Arc<Shared>,
    listed: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let (at_once, shared) = (shared.at_once, Arc::clone(shared));
    let sized = listed.map(move |listed| {
        let shared = Arc::clone(&shared);
        async move {
            match listed {
                Ok(listed) => one(&shared, listed).await,
                Err(error) => Some(Err(error)),
            }
        }
    });
    sized.buffered(at_once).filter_map(ready).boxed()
}

/// An object of a list. `None` if it is not to be shown.
async fn one(shared: &Arc<Shared>, listed: ObjectMeta) -> Option<Result<ObjectMeta>> {
    match shared.sized(listed).await {
        // It was deleted since it was listed.
        Err(StoreError::NotFound { .. }) => None,
        Err(error) if shared.unsealed == Unsealed::Skip && trouble::is_unsealed(&error) => None,
        sized => Some(sized),
    }
}

pub(crate) async fn objects(shared: &Arc<Shared>, listed: ListResult) -> Result<ListResult> {
    let mut listed = listed;
    let objects = stream::iter(std::mem::take(&mut listed.objects)).map(Ok).boxed();
    listed.objects = list(shared, objects).try_collect().await?;
    Ok(listed)
}

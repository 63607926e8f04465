//! Starts a multipart upload.

use std::sync::Arc;

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use waxseal::error::{Error, Result};

use super::ABORT_LIMIT;
use super::session::{Condition, Phase, Session};
use crate::attempt::{Sort, once, pause, sort};
use crate::commit::{Found, in_the_way, look};

/// AWS's ids have 128 characters or more.
const ID_MAX: usize = 1024;

/// Sends CreateMultipartUpload. An object that must not be replaced is noticed here, before the parts are sent.
///
/// The request goes on if the caller stops waiting or the upload is closed, because the id of its upload would be lost.
/// An abort waits for it.
pub(crate) async fn create(session: &Arc<Session>) -> Result<()> {
    let (own, flight) = (Arc::clone(session), session.fly());
    let work = async move {
        let created = create_here(&own).await;
        drop(flight);
        // An abort may have been too impatient to wait for the answer.
        if own.phase() == Phase::Closed {
            let _ = own.abort(ABORT_LIMIT).await;
        }
        created
    };
    let created = session.until_closed(session.to_its_end(work)).await;
    created.unwrap_or_else(|| Err(session.was_aborted()))
}

async fn create_here(session: &Session) -> Result<()> {
    if session.condition == Condition::Absent && session.until_closed(is_taken(session)).await == Some(true) {
        return Err(in_the_way(session));
    }
    let most = session.attempts().await?;
    let (mut attempt, mut was_redirected) = (1, false);
    loop {
        let (client, region) = session.client().await?;
        if session.phase() != Phase::Open {
            return Err(session.was_aborted());
        }
        let request = session.attributes.create(&client).bucket(session.name.bucket()).key(session.name.key());
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme).checksum_type(ChecksumType::FullObject);
        let creating = session.creating();
        let error = match request.customize().config_override(once(0)).send().await {
            Ok(answer) => return keep(session, answer.upload_id),
            Err(error) => error,
        };
        let sort = sort(&error);
        if sort == Sort::Lost {
            session.may_have_orphan();
        }
        drop(creating);
        let is_redirected = session.redirect(&region, &error);
        if is_redirected && !was_redirected {
            was_redirected = true;
            continue;
        }
        if attempt >= most || !(sort.may_pass() || is_redirected) {
            return Err(session.failure("CreateMultipartUpload", &error));
        }
        if !is_redirected {
            // Nobody needs the next attempt after the upload was closed.
            let _ = session.until_closed(tokio::time::sleep(pause(sort, attempt))).await;
        }
        attempt += 1;
    }
}

fn keep(session: &Session, id: Option<String>) -> Result<()> {
    // It is used in further requests and in a message.
    let is_plain = |id: &String| id.bytes().all(|byte| byte.is_ascii_graphic());
    match id.filter(|id| (1..=ID_MAX).contains(&id.len()) && is_plain(id)) {
        Some(id) => session.id.set(id).map_err(|_| Error::Bug("an upload was started twice")),
        None => {
            session.may_have_orphan();
            Err(session.bad_answer("CreateMultipartUpload", "has no upload id that can be used"))
        }
    }
}

/// A caller who may write objects may lack the permission to read them. In any case, the condition of the last request
/// decides.
async fn is_taken(session: &Session) -> bool {
    matches!(look(session).await, Ok(Found::Other))
}

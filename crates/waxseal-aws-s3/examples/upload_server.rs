//! A server that seals each upload while it arrives: to a folder, or to S3.
//!
//! ```sh
//! cargo run --example upload_server -- backup.key /srv/sealed s3://backups/uploads/
//! curl -T home.tar http://127.0.0.1:8080/disk/home.tar
//! curl -T home.tar http://127.0.0.1:8080/s3/home.tar
//! ```
//!
//! If the client goes away before the end, there is neither a file nor an object.

use std::error::Error as StdError;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use waxseal::SealOptions;
use waxseal::aio::SealWriter;
use waxseal::engine::Durability;
use waxseal::error::{Error, ProviderCause};
use waxseal::io::{AtomicFile, Destination, Overwrite};
use waxseal::keys::{KeyFile, KeySealer};
use waxseal_aws_s3::{S3, S3Config, S3Name, UploadOptions, UploadWriter};

/// What all requests share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) key: Arc<dyn KeySealer>,
    pub(crate) folder: PathBuf,
    pub(crate) s3: S3,
    pub(crate) prefix: S3Name,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let mut args = std::env::args().skip(1);
    let (Some(key), Some(folder), Some(prefix)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: upload_server KEYFILE FOLDER s3://BUCKET/PREFIX/".into());
    };
    let app = App {
        key: Arc::new(KeyFile::load(key)?),
        folder: folder.into(),
        s3: S3::new(S3Config::new())?,
        prefix: S3Name::parse_prefix(&prefix)?,
    };
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    Ok(axum::serve(listener, router(app)).await?)
}

/// The routes of the server.
pub(crate) fn router(app: App) -> Router {
    Router::new().route("/disk/{name}", put(to_disk)).route("/s3/{name}", put(to_s3)).with_state(app)
}

async fn to_disk(State(app): State<App>, Path(name): Path<String>, body: Body) -> Result<StatusCode, Failed> {
    // A name with a slash would leave the folder.
    if name.contains('/') || name.starts_with('.') {
        return Ok(StatusCode::BAD_REQUEST);
    }
    let path = app.folder.join(format!("{name}.wax"));
    let new = blocking(move || {
        let destination = Destination::at(&path).map_err(Error::from)?;
        AtomicFile::create(destination, Overwrite::Refuse, 0o600)
    });
    let new = new.await?;
    let file: File = new.file().try_clone().map_err(|error| Error::io("opening the output", error))?;
    seal(&app, body, tokio::fs::File::from_std(file)).await?;
    // Only now the file gets its name. If this is not reached, the file is removed.
    blocking(move || new.commit(Durability::Synced)).await?;
    Ok(StatusCode::CREATED)
}

async fn to_s3(State(app): State<App>, Path(name): Path<String>, body: Body) -> Result<StatusCode, Failed> {
    let name = app.prefix.join(&format!("{name}.wax"))?;
    let upload = app.s3.upload(&name, UploadOptions::default())?;
    // If the writer is dropped before its end, the upload is aborted.
    seal(&app, body, UploadWriter::new(upload)).await?;
    Ok(StatusCode::CREATED)
}

/// Seals `body` into `to`, and ends both only if the client has sent everything.
async fn seal(app: &App, mut body: Body, to: impl AsyncWrite + Unpin) -> Result<(), Failed> {
    let mut writer = SealWriter::new(to, vec![Arc::clone(&app.key)], &SealOptions::new()).await?;
    let failed = |error| Error::io("writing the output", error);
    while let Some(frame) = body.frame().await {
        // A client that goes away is an error here.
        let frame = frame.map_err(|_| Failed(StatusCode::BAD_REQUEST))?;
        if let Some(data) = frame.data_ref() {
            writer.write_all(data).await.map_err(failed)?;
        }
    }
    writer.shutdown().await.map_err(failed)?;
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> waxseal::Result<T> + Send + 'static) -> waxseal::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::ApiMisuse("the runtime has ended")))
}

/// Why an upload failed. The client is told a status and no more.
struct Failed(StatusCode);

impl From<Error> for Failed {
    #[allow(clippy::print_stderr, reason = "an example says what happened")]
    fn from(error: Error) -> Self {
        eprintln!("{error}");
        let is_there = match &error {
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::AlreadyExists,
            Error::Provider(error) => error.cause == ProviderCause::AlreadyExists,
            _ => false,
        };
        Self(if is_there { StatusCode::CONFLICT } else { StatusCode::INTERNAL_SERVER_ERROR })
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

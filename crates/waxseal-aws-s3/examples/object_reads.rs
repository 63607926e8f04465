//! Reads 4 KiB at random positions of a sealed object. Only the chunks around each position are fetched.
//!
//! ```sh
//! cargo run --example object_reads -- backup.key s3://backups/home.tar.wax 100
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use waxseal::Demands;
use waxseal::aio::RangeReader;
use waxseal::keys::{KeyFile, KeyOpener};
use waxseal_aws_s3::{S3, S3Config, S3Name};

const LEN: u64 = 4096;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "an example says what happened")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(key), Some(object), Some(count)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: object_reads KEYFILE s3://BUCKET/KEY COUNT".into());
    };
    let s3 = S3::new(S3Config::new())?;
    let key: Arc<dyn KeyOpener> = Arc::new(KeyFile::load(key)?);
    let (bytes, time) = read(&s3, &S3Name::parse(&object)?, key, count.parse()?).await?;
    println!("{bytes} bytes, {time:?} for each read");
    Ok(())
}

/// Reads `count` times. Returns the number of bytes, and the average time of a read.
pub(crate) async fn read(
    s3: &S3,
    name: &S3Name,
    key: Arc<dyn KeyOpener>,
    count: u32,
) -> Result<(usize, Duration), Box<dyn Error>> {
    let object = s3.object_async(name).await?;
    let reader = RangeReader::new(object, vec![key], &Demands::new()).await?;
    let (begun, mut bytes, mut random) = (Instant::now(), 0, 1_u64);
    for _ in 0..count {
        // A generator of random numbers for an example.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 16) % reader.len().saturating_sub(LEN).max(1);
        bytes += reader.read_range(at..at + LEN).await?.len();
    }
    Ok((bytes, begun.elapsed() / count.max(1)))
}

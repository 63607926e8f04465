//! Writes Parquet files sealed, and queries them with SQL.
//!
//! ```sh
//! waxseal key new lake.key
//! cargo run --example lake -- lake.key FOLDER
//! ```

use std::env::args;
use std::error::Error;
use std::sync::Arc;

use datafusion::object_store::local::LocalFileSystem;
use datafusion::prelude::SessionContext;
use url::Url;
use waxseal::keys::KeyFile;
use waxseal_object_store::{Keys, WaxsealStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [key, folder] = [1, 2].map(|at| args().nth(at));
    let (key, folder) = key.zip(folder).ok_or("usage: lake KEY FOLDER")?;
    let keys = Keys::new().with_key(Arc::new(KeyFile::load(key)?));
    // A bucket works in the same way: `AmazonS3Builder::from_env().with_bucket_name("lake").build()?`
    let folder = LocalFileSystem::new_with_prefix(folder)?;
    let store = WaxsealStore::builder(Arc::new(folder)).with_keys(keys).build();

    let session = SessionContext::new();
    session.register_object_store(&Url::parse("sealed://lake")?, Arc::new(store));
    let run = async |query| session.sql(query).await?.collect().await;

    run("COPY (SELECT value AS day, value * value AS sales FROM generate_series(1, 1000)) \
         TO 'sealed://lake/sales/first.parquet'")
    .await?;
    run("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION 'sealed://lake/sales/'").await?;
    session.sql("SELECT count(*), sum(sales) FROM sales WHERE day > 990").await?.show().await?;
    Ok(())
}

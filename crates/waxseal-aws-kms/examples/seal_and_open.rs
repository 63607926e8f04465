//! Seals standard input with a key in AWS KMS, opens the result again, and says how long both are.
//!
//! ```sh
//! cargo run -p waxseal-aws-kms --example seal_and_open -- alias/backups <home.tar
//! ```

use std::error::Error;
use std::io;

use waxseal::keys::KeyOpener;
use waxseal::{Demands, OpenReader, SealOptions, SealWriter};
use waxseal_aws_kms::{AccountRule, Kms, KmsConfig, KmsKey, KmsKeyName, KmsOpener};

#[allow(clippy::print_stdout, reason = "an example prints what it did")]
fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: seal_and_open KEY")?;
    // The standard AWS configuration: environment, profiles, SSO, container and instance roles.
    let kms = Kms::new(KmsConfig::default())?;

    // One `GenerateDataKey`.
    let key = KmsKey::new(&kms, KmsKeyName::parse(&name)?);
    let mut writer = SealWriter::new(Vec::new(), &[&key], &SealOptions::new())?;
    io::copy(&mut io::stdin().lock(), &mut writer)?;
    let file = writer.finish()?;

    // The file names its key. Of the keys that a file names, only those of the caller's own account are called: one
    // `GetCallerIdentity` and one `Decrypt`.
    let openers = KmsOpener::by_account(&kms, AccountRule::Own)?;
    let openers: Vec<_> = openers.iter().map(|opener| opener as &dyn KeyOpener).collect();
    let mut reader = OpenReader::new(file.as_slice(), &openers, &Demands::default())?;
    let opened = io::copy(&mut reader, &mut io::sink())?;
    println!("{} bytes sealed, {opened} bytes opened again", file.len());
    Ok(())
}

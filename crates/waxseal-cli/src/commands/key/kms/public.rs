//! `key public` of a key in AWS KMS.

use waxseal::error::{Error, ProviderCause};
use waxseal::keys::Recipient;

use super::kms_name;
use crate::Result;
use crate::args::KeyPublicArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys::Cloud;
use crate::report::Done;

/// Asks KMS for the public half, and hands it to `make`.
pub(in super::super) fn recipient(
    args: &KeyPublicArgs,
    make: impl FnOnce(&Recipient) -> Result<Done>,
) -> Result<Result<Done>> {
    let name = kms_name(&args.key)?;
    let cloud = Cloud::new(&args.kms)?;
    Ok(cloud
        .kms()
        .public_key(&name)
        .map_err(not_the_key)
        .and_then(|recipient| make(&recipient))
        .map(|done| Done { request_id: cloud.request_id(), ..done }))
}

/// An answer with another key is a forgery, and not a refusal: whoever sent that key could open what is sealed to it.
fn not_the_key(error: Error) -> Failure {
    let forged = matches!(&error, Error::Provider(provider) if provider.cause == ProviderCause::BadAnswer);
    let failure = Failure::from(error);
    if forged { Failure { exit: Exit::Tampered, ..failure } } else { failure }
}

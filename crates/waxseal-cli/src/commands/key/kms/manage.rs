//! Rotation, aliases, and deletion of a key in AWS KMS.

use serde_json::{Value, json};
use waxseal_aws_kms::{KeyArn, Kms, KmsKeyName};

use super::kms_name;
use super::shown::time_of;
use crate::Result;
use crate::args::{KeyAliasArgs, KeyNameArgs, KeyScheduleDeletionArgs};
use crate::escape::Name;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys::Cloud;
use crate::report::Done;
use crate::session::Session;

/// `key rotate`.
pub(super) fn rotate(args: &KeyNameArgs, session: &Session) -> Result<Exit> {
    let words = |arn: &KeyArn| format!("{arn} now seals with its new material; older files still open");
    simple(args, session, Kms::rotate_key, words)
}

/// `key disable`.
pub(super) fn disable(args: &KeyNameArgs, session: &Session) -> Result<Exit> {
    let words = |arn: &KeyArn| format!("{arn} is disabled; to use it again, run `waxseal key enable {arn}`");
    simple(args, session, Kms::disable_key, words)
}

/// `key enable`.
pub(super) fn enable(args: &KeyNameArgs, session: &Session) -> Result<Exit> {
    simple(args, session, Kms::enable_key, |arn: &KeyArn| format!("{arn} is enabled"))
}

/// `key cancel-deletion`.
pub(super) fn cancel_deletion(args: &KeyNameArgs, session: &Session) -> Result<Exit> {
    let words = |arn: &KeyArn| {
        format!(
            "{arn} is no longer scheduled for deletion, and is disabled; to use it again, run `waxseal key enable {arn}`"
        )
    };
    simple(args, session, Kms::cancel_deletion, words)
}

/// Runs a command that makes one change to one key.
fn simple(
    args: &KeyNameArgs,
    session: &Session,
    call: fn(&Kms, &KmsKeyName) -> waxseal::Result<KeyArn>,
    words: impl Fn(&KeyArn) -> String,
) -> Result<Exit> {
    let name = kms_name(&args.key)?;
    let cloud = Cloud::new(&args.kms)?;
    let done = call(cloud.kms(), &name).map_err(Failure::from).map(|arn| Done {
        key: Some(arn.to_string()),
        request_id: cloud.request_id(),
        note: Some(words(&arn)),
        ..Done::default()
    });
    Ok(session.reporter.finished(Some(&Name::plain(&args.key)), done))
}

/// `key schedule-deletion`.
pub(super) fn schedule_deletion(args: &KeyScheduleDeletionArgs, session: &Session) -> Result<Exit> {
    let name = kms_name(&args.key)?;
    if !args.yes {
        let failure = Failure::usage("after the deletion, nobody can open files that only this key opens");
        return Err(failure.hint("confirm with --yes; to block the key without deleting it, use `waxseal key disable`"));
    }
    let cloud = Cloud::new(&args.kms)?;
    let done = cloud.kms().schedule_deletion(&name, args.days).map_err(Failure::from).map(|(arn, at)| {
        let when = at.map_or_else(|| "after its replicas".to_owned(), |at| format!("at {}", time_of(at)));
        let more = json!({ "deletion": at.map(time_of) });
        Done {
            key: Some(arn.to_string()),
            request_id: cloud.request_id(),
            note: Some(format!(
                "{arn} will be deleted {when}; to keep it, run `waxseal key cancel-deletion {arn}` before that"
            )),
            more: fields(more),
            ..Done::default()
        }
    });
    Ok(session.reporter.finished(Some(&Name::plain(&args.key)), done))
}

/// `key alias`.
pub(super) fn alias(args: &KeyAliasArgs, session: &Session) -> Result<Exit> {
    let name = kms_name(&args.key)?;
    let cloud = Cloud::new(&args.kms)?;
    let done = cloud.kms().point_alias(&args.alias, &name).map_err(Failure::from).map(|pointed| {
        let (alias, key) = (&args.alias, &pointed.key);
        let moved = pointed.before.as_ref().filter(|_| !pointed.is_unchanged());
        let details = moved.map(|before| {
            format!(
                "files that {before} sealed still need that key: open them with -k {before}, or change their key with \
                 `waxseal rewrap --from {before} --to {alias} FILE...`"
            )
        });
        let outcome = match (&pointed.before, moved) {
            (None, _) => "made",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "unchanged",
        };
        let is_unchanged = pointed.is_unchanged();
        Done {
            key: Some(key.to_string()),
            request_id: cloud.request_id(),
            note: Some(format!("{alias} now names {key}")),
            details: details.into_iter().collect(),
            more: fields(json!({ "outcome": outcome, "old_key": pointed.before.as_ref().map(KeyArn::to_string) })),
            stdout: is_unchanged.then(|| format!("{alias}: unchanged\n")),
            ..Done::default()
        }
    });
    Ok(session.reporter.finished(Some(&Name::plain(&args.alias)), done))
}

fn fields(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    }
}

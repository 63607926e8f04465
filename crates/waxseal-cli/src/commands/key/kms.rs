//! The life of a key in AWS KMS.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use waxseal::secret::{KEY_LEN, SecretBytes, fill_random};
use waxseal_aws_kms::{
    ImportAlgorithm, ImportKeySpec, ImportOptions, KeyOrigin, KeyRegions, KeyRotation, KmsKeyInfo, KmsKeyName,
};

use super::{stamp, write_new_secret};
use crate::cli::Result;
use crate::cli::args::{KeyCreateArgs, KeyDeleteMaterialArgs, KeyImportArgs, KeyShowArgs, KmsCommand};
use crate::cli::escape::{self, Name};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::keys::{self, Cloud};
use crate::cli::report::{Done, Reporter};
use crate::cli::session::Session;

/// Runs the command.
pub(super) fn run(command: &KmsCommand, session: &Session) -> Result<Exit> {
    match command {
        KmsCommand::Create(args) => create(args, session),
        KmsCommand::Import(args) => import(args, session),
        KmsCommand::DeleteMaterial(args) => delete_material(args, session),
    }
}

/// `key create`: prints the ARN alone, for scripts.
fn create(args: &KeyCreateArgs, session: &Session) -> Result<Exit> {
    let cloud = Cloud::new(&args.kms)?;
    let origin = if args.external { KeyOrigin::External } else { KeyOrigin::AwsKms };
    let regions = if args.multi_region { KeyRegions::Multi } else { KeyRegions::Single };
    let made = cloud.kms().create_key(origin, regions, &args.alias).map_err(Failure::from).map(|arn| {
        let next = match origin {
            KeyOrigin::External => format!("; `waxseal key import {} --generate FILE` gives it material", args.alias),
            KeyOrigin::AwsKms => String::new(),
        };
        Done {
            key: Some(arn.to_string()),
            request_id: cloud.request_id(),
            stdout: Some(format!("{arn}\n")),
            note: Some(format!("made the key of {}{next}", args.alias)),
            ..Done::default()
        }
    });
    Ok(session.reporter.finished(Some(&Name::plain(&args.alias)), made))
}

/// `key import`.
fn import(args: &KeyImportArgs, session: &Session) -> Result<Exit> {
    let name = kms_name(&args.key)?;
    let mut options = ImportOptions::new();
    if let Some(algorithm) = &args.wrapping_algorithm {
        options.algorithm = ImportAlgorithm::parse(algorithm)?;
    }
    if let Some(spec) = &args.wrapping_key_spec {
        options.wrapping_key = ImportKeySpec::parse(spec)?;
    }
    options.valid_to = args.valid_to;
    if options.valid_to.is_some_and(|at| at <= SystemTime::now()) {
        return Err(Failure::usage("--valid-to lies in the past"));
    }
    let cloud = Cloud::new(&args.kms)?;
    Ok(session
        .reporter
        .finished(Some(&Name::plain(&args.key)), import_into(&name, args, &options, &cloud, &session.reporter)))
}

fn import_into(
    name: &KmsKeyName,
    args: &KeyImportArgs,
    options: &ImportOptions,
    cloud: &Cloud,
    reporter: &Reporter,
) -> Result<Done> {
    let material = match (&args.material, &args.generate) {
        (Some(path), _) => read_material(path)?,
        (None, Some(path)) => generate(path, reporter)?,
        (None, None) => return Err(Failure::usage("no key material")),
    };
    let arn = cloud.kms().import_material(name, &material, options).map_err(|error| {
        let failure = Failure::from(error);
        match &args.generate {
            Some(path) => {
                let path = escape::path(path);
                let message = format!("{}; the new material stands in {path}", failure.message);
                Failure { message, ..failure }.hint(format!("try again with --material {path}"))
            }
            None => failure,
        }
    })?;
    Ok(Done {
        key: Some(arn.to_string()),
        output: args.generate.as_ref().map(Name::of),
        request_id: cloud.request_id(),
        note: Some(format!("{arn} is enabled; keep the material: only the same can be imported again")),
        ..Done::default()
    })
}

/// Exactly 32 bytes, as they are.
fn read_material(path: &Path) -> Result<SecretBytes> {
    let name = escape::path(path);
    let failed = |error| Failure::io(format!("reading the key material {name}"), error);
    // The buffer never grows, so that no copy of the material stays behind in freed memory.
    let mut bytes = Vec::with_capacity(KEY_LEN + 64);
    if path.as_os_str() == "-" {
        io::stdin().lock().take(KEY_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    let material = SecretBytes::new(bytes);
    match material.expose().len() {
        KEY_LEN => Ok(material),
        len => {
            let has = if len > KEY_LEN { "more".into() } else { len.to_string() };
            let failure = Failure::usage(format!("key material has {KEY_LEN} bytes, {name} has {has}"));
            Err(failure.hint("raw bytes are taken, neither hex nor base64"))
        }
    }
}

/// Written and synced before anything is sent: material that KMS has and nobody else is no material of one's own.
fn generate(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    let mut bytes = vec![0; KEY_LEN];
    fill_random(&mut bytes)?;
    let material = SecretBytes::new(bytes);
    write_new_secret(path, material.expose(), reporter)?;
    Ok(material)
}

/// `key delete-material`.
fn delete_material(args: &KeyDeleteMaterialArgs, session: &Session) -> Result<Exit> {
    let name = kms_name(&args.key)?;
    if !args.yes {
        let failure = Failure::usage("without its material nothing that the key sealed can be opened");
        return Err(failure.hint("--yes, if the same material can be imported again, or is never to be"));
    }
    let cloud = Cloud::new(&args.kms)?;
    let deleted = cloud.kms().delete_material(&name).map_err(Failure::from).map(|arn| Done {
        note: Some(format!("{arn} is pending import: `waxseal key import {arn} --material FILE` brings it back")),
        key: Some(arn.to_string()),
        request_id: cloud.request_id(),
        ..Done::default()
    });
    Ok(session.reporter.finished(Some(&Name::plain(&args.key)), deleted))
}

/// `key show`.
pub(super) fn show(args: &KeyShowArgs, session: &Session) -> Result<Exit> {
    let name = kms_name(&args.key)?;
    let cloud = Cloud::new(&args.kms)?;
    let shown = cloud.kms().show_key(&name).map_err(Failure::from).map(|info| Done {
        key: Some(info.arn.to_string()),
        request_id: cloud.request_id(),
        stdout: Some(words(&info)),
        more: json_of(&info),
        ..Done::default()
    });
    Ok(session.reporter.finished(Some(&Name::plain(&name.to_string())), shown))
}

/// A key in KMS, and no local one.
fn kms_name(key: impl AsRef<OsStr>) -> Result<KmsKeyName> {
    let none = || Failure::usage("this command is about keys in AWS KMS").hint("name one by its ARN or as alias/NAME");
    keys::kms::named(key.as_ref())?.ok_or_else(none)
}

fn time_of(at: SystemTime) -> String {
    stamp(at.into())
}

fn words(info: &KmsKeyInfo) -> String {
    let mut out = format!("{}\n", info.arn);
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<10}{}", escape::text(value));
    };
    row("state", &state(info));
    row("origin", origin(&info.origin));
    row("kind", &kind(info));
    row("regions", if info.arn.is_multi_region() { "a multi-Region key" } else { "this region alone" });
    row(
        "rotation",
        &match info.rotation {
            KeyRotation::On(Some(days)) => format!("by AWS KMS, each {days} days"),
            KeyRotation::On(None) => "by AWS KMS".into(),
            KeyRotation::Off => "not by itself".into(),
            _ => "unknown".into(),
        },
    );
    row("expiry", &info.valid_to.map_or("never".into(), |at| format!("its material expires at {}", time_of(at))));
    row("made", &info.created.map_or("unknown".into(), time_of));
    row(
        "aliases",
        &match &info.aliases {
            Some(aliases) if aliases.is_empty() => "none".into(),
            Some(aliases) => aliases.join(", "),
            None => "unknown: they may not be listed".into(),
        },
    );
    out
}

fn state(info: &KmsKeyInfo) -> String {
    match (info.state.as_str(), info.deletion) {
        ("Enabled", _) => "enabled".into(),
        ("Disabled", _) => "disabled: nothing can be sealed or opened with it".into(),
        ("PendingImport", _) => {
            format!("pending import: `waxseal key import {} --material FILE` makes it usable", info.arn)
        }
        ("PendingDeletion", Some(at)) => format!("pending deletion, to be deleted at {}", time_of(at)),
        ("PendingDeletion", None) => "pending deletion".into(),
        (other, _) => other.to_owned(),
    }
}

fn origin(origin: &str) -> &str {
    match origin {
        "AWS_KMS" => "made by AWS KMS",
        "EXTERNAL" => "imported key material",
        other => other,
    }
}

fn kind(info: &KmsKeyInfo) -> String {
    match (info.spec.as_str(), info.usage.as_str()) {
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT") => "symmetric, encrypts and decrypts".into(),
        (spec, usage) => format!("{spec}, {usage}: not a key that waxseal can use"),
    }
}

fn json_of(info: &KmsKeyInfo) -> Map<String, Value> {
    let (rotation, days) = match info.rotation {
        KeyRotation::On(days) => (Some(true), days),
        KeyRotation::Off => (Some(false), None),
        _ => (None, None),
    };
    let shown = json!({
        "arn": info.arn.to_string(),
        "state": info.state,
        "origin": info.origin,
        "spec": info.spec,
        "usage": info.usage,
        "multi_region": info.arn.is_multi_region(),
        "region": info.arn.region(),
        "account": info.arn.account(),
        "created": info.created.map(time_of),
        "valid_to": info.valid_to.map(time_of),
        "deletion": info.deletion.map(time_of),
        "rotation": rotation,
        "rotation_days": days,
        "aliases": info.aliases,
    });
    Map::from_iter([("kms_key".to_owned(), shown)])
}

//! Commands for keys in AWS KMS.

mod manage;
mod public;
mod shown;

pub(super) use public::recipient;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Map, json};
use waxseal::secret::{KEY_LEN, SecretBytes, fill_random};
use waxseal_aws_kms::{
    ImportAlgorithm, ImportKeySpec, ImportOptions, ImportedMaterial, KeyOrigin, KeyRegions, KmsKeyName, NewKey,
};

use super::write_new_secret;
use crate::Result;
use crate::args::{KeyCreateArgs, KeyDeleteMaterialArgs, KeyImportArgs, KeyShowArgs, KmsCommand};
use crate::escape::{self, Name};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys::{self, Cloud};
use crate::report::{Done, Reporter};
use crate::session::Session;

/// Runs the command.
pub(super) fn run(command: &KmsCommand, session: &Session) -> Result<Exit> {
    match command {
        KmsCommand::Create(args) => create(args, session),
        KmsCommand::Import(args) => import(args, session),
        KmsCommand::DeleteMaterial(args) => delete_material(args, session),
        KmsCommand::Rotate(args) => manage::rotate(args, session),
        KmsCommand::Alias(args) => manage::alias(args, session),
        KmsCommand::Disable(args) => manage::disable(args, session),
        KmsCommand::Enable(args) => manage::enable(args, session),
        KmsCommand::ScheduleDeletion(args) => manage::schedule_deletion(args, session),
        KmsCommand::CancelDeletion(args) => manage::cancel_deletion(args, session),
    }
}

/// `key create`. It prints only the ARN, for scripts.
fn create(args: &KeyCreateArgs, session: &Session) -> Result<Exit> {
    let mut new = NewKey::new();
    new.origin = if args.external { KeyOrigin::External } else { KeyOrigin::AwsKms };
    new.regions = if args.multi_region { KeyRegions::Multi } else { KeyRegions::Single };
    new.public = args.spec;
    new.description.clone_from(&args.description);
    new.tags.clone_from(&args.tags);
    new.policy = args.policy.as_deref().map(read_policy).transpose()?;
    let cloud = Cloud::new(&args.kms)?;
    let made = cloud.kms().create_key_as(&new, &args.alias).map_err(Failure::from).map(|arn| {
        let next = match (new.origin, new.public) {
            (KeyOrigin::External, _) => {
                format!("; import its key material with `waxseal key import {} --generate FILE`", args.alias)
            }
            (_, Some(_)) => format!("; create a recipient file with `waxseal key public {} -o FILE`", args.alias),
            _ => String::new(),
        };
        Done {
            key: Some(arn.to_string()),
            request_id: cloud.request_id(),
            stdout: Some(format!("{arn}\n")),
            note: Some(format!("created the key for {}{next}", args.alias)),
            ..Done::default()
        }
    });
    Ok(session.reporter.finished(Some(&Name::plain(&args.alias)), made))
}

/// KMS accepts no longer policy.
const POLICY_MAX: u64 = 32_768;

fn read_policy(path: &Path) -> Result<String> {
    let name = escape::path(path);
    let mut text = String::new();
    let file = File::open(path).map_err(|error| Failure::io(format!("reading the key policy {name}"), error))?;
    match file.take(POLICY_MAX + 1).read_to_string(&mut text) {
        Ok(len) if len as u64 <= POLICY_MAX => Ok(text),
        Ok(_) => Err(Failure::usage(format!("a key policy has at most {POLICY_MAX} bytes, but {name} has more"))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Failure::usage(format!("the key policy {name} is not UTF-8 text")))
        }
        Err(error) => Err(Failure::io(format!("reading the key policy {name}"), error)),
    }
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
        return Err(Failure::usage("--valid-to is in the past"));
    }
    if options.valid_to.is_some_and(|at| at > SystemTime::now() + Duration::from_secs(365 * 86_400)) {
        return Err(Failure::usage("--valid-to is more than 365 days from now, and KMS accepts no later time")
            .hint("choose an earlier time; to extend it later, import the same material again before it expires"));
    }
    options.new_material = args.new_material;
    options.description.clone_from(&args.description);
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
    let imported = cloud.kms().import_material(name, &material, options).map_err(|error| {
        let failure = Failure::from(error);
        match &args.generate {
            Some(path) => {
                let path = escape::path(path);
                let message = format!("{}; the new key material is in {path}", failure.message);
                Failure { message, ..failure }.hint(format!("try again with --material {path} in place of --generate"))
            }
            None => failure,
        }
    })?;
    Ok(imported_done(&imported, args, cloud))
}

fn imported_done(imported: &ImportedMaterial, args: &KeyImportArgs, cloud: &Cloud) -> Done {
    let arn = &imported.key;
    let keep = "keep the material, because only the same material can be imported again";
    let note = if imported.is_waiting {
        format!("the new material of {arn} is not used before `waxseal key rotate {arn}`; {keep}")
    } else if imported.missing.is_empty() {
        format!("{arn} is enabled; {keep}")
    } else {
        format!("the material is imported; {keep}")
    };
    let missing = |id: &String| format!("{arn} is not usable yet: it also needs its material {id}");
    let more = json!({ "material_waiting": imported.is_waiting, "materials_missing": imported.missing });
    Done {
        key: Some(arn.to_string()),
        output: args.generate.as_ref().map(Name::of),
        request_id: cloud.request_id(),
        key_material_id: imported.id.clone(),
        note: Some(note),
        details: imported.missing.iter().map(missing).collect(),
        more: more.as_object().cloned().unwrap_or_else(Map::new),
        ..Done::default()
    }
}

/// Reads exactly 32 bytes, without any decoding.
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
            let failure = Failure::usage(format!("key material has {KEY_LEN} bytes, but {name} has {has}"));
            Err(failure.hint("use raw bytes, not hex or base64"))
        }
    }
}

/// Creates material, and writes and syncs it before anything is sent. Otherwise KMS could have material that its owner has
/// not.
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
        let failure = Failure::usage("without its material, files that this key sealed cannot be opened");
        return Err(failure.hint(
            "confirm with --yes if you can import the same material again, or if you never need these files again",
        ));
    }
    let cloud = Cloud::new(&args.kms)?;
    let material = args.key_material_id.as_deref();
    let deleted = cloud.kms().delete_material(&name, material).map_err(Failure::from).map(|arn| Done {
        note: Some(match material {
            None => {
                format!("{arn} is now pending import; to use it again, run `waxseal key import {arn} --material FILE`")
            }
            Some(id) => {
                format!("the material {id} of {arn} is deleted; `waxseal key show {arn}` shows the state of the key")
            }
        }),
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
        stdout: Some(shown::words(&info)),
        more: shown::json_of(&info),
        ..Done::default()
    });
    Ok(session.reporter.finished(Some(&Name::plain(&name.to_string())), shown))
}

/// The name of a key in KMS. Any other key is refused.
fn kms_name(key: impl AsRef<OsStr>) -> Result<KmsKeyName> {
    let none =
        || Failure::usage("this command works only on keys in AWS KMS").hint("name one by its ARN or as alias/NAME");
    keys::kms::named(key.as_ref())?.ok_or_else(none)
}

//! The output of `key show` for a key in AWS KMS.

use std::fmt::Write;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use waxseal::keys::public::PublicKeySpec;
use waxseal_aws_kms::{KeyMaterial, KeyRotation, KmsKeyInfo};

use super::super::stamp;
use crate::escape;

/// The time in UTC, in seconds.
pub(super) fn time_of(at: SystemTime) -> String {
    stamp(at.into())
}

/// The text for a person.
pub(super) fn words(info: &KmsKeyInfo) -> String {
    let mut out = format!("{}\n", info.arn);
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<10}{}", escape::text(value));
    };
    row("state", &state(info));
    row("origin", origin(&info.origin));
    row("kind", &kind(info));
    row("regions", if info.arn.is_multi_region() { "a multi-Region key" } else { "this region only" });
    row(
        "rotation",
        &match info.rotation {
            KeyRotation::On(Some(days)) => format!("by AWS KMS, every {days} days"),
            KeyRotation::On(None) => "by AWS KMS".into(),
            KeyRotation::Off => "not automatic".into(),
            _ => "unknown".into(),
        },
    );
    row("expiry", &info.valid_to.map_or("never".into(), |at| format!("the material expires at {}", time_of(at))));
    row("created", &info.created.map_or("unknown".into(), time_of));
    row(
        "aliases",
        &match &info.aliases {
            Some(aliases) if aliases.is_empty() => "none".into(),
            Some(aliases) => aliases.join(", "),
            None => "unknown: the caller has no permission to list them".into(),
        },
    );
    for material in info.materials.iter().flatten() {
        let _ = writeln!(out, "  material  {}", escape::text(&material_words(material)));
    }
    out
}

fn material_words(material: &KeyMaterial) -> String {
    let mut words = vec![match material.state.as_str() {
        "CURRENT" => "current".to_owned(),
        "NON_CURRENT" => "opens older files".to_owned(),
        "PENDING_ROTATION" => "used after `waxseal key rotate`".to_owned(),
        "PENDING_MULTI_REGION_IMPORT_AND_ROTATION" => {
            "used after its import into each replica and `waxseal key rotate`".to_owned()
        }
        other => other.to_owned(),
    }];
    match material.imported {
        Some(true) => words.push("imported".into()),
        Some(false) => words.push("not imported: the key cannot be used without it".into()),
        None => {}
    }
    if let Some(at) = material.valid_to {
        words.push(format!("expires at {}", time_of(at)));
    }
    if let Some(at) = material.rotated {
        let how = match material.rotation.as_deref() {
            Some("AUTOMATIC") => "by AWS KMS",
            Some("ON_DEMAND") => "on demand",
            other => other.unwrap_or("in an unknown way"),
        };
        words.push(format!("rotated to {how} at {}", time_of(at)));
    }
    words.extend(material.description.iter().map(|text| format!("\"{text}\"")));
    format!("{}: {}", material.id.as_deref().unwrap_or("without an id"), words.join(", "))
}

fn state(info: &KmsKeyInfo) -> String {
    match (info.state.as_str(), info.deletion) {
        ("Enabled", _) => "enabled".into(),
        ("Disabled", _) => "disabled: it cannot seal or open anything".into(),
        ("PendingImport", _) if info.materials.iter().flatten().filter(|one| one.is_missing()).count() > 1 => {
            format!(
                "pending import; run `waxseal key import {} --material FILE` for each material that is not imported",
                info.arn
            )
        }
        ("PendingImport", _) => {
            format!("pending import; to use it, run `waxseal key import {} --material FILE`", info.arn)
        }
        ("PendingDeletion", Some(at)) => format!("pending deletion; it will be deleted at {}", time_of(at)),
        ("PendingDeletion", None) => "pending deletion".into(),
        ("Unavailable", _) => "unavailable: its key store outside of KMS is not connected".into(),
        (other, _) => other.to_owned(),
    }
}

fn origin(origin: &str) -> &str {
    match origin {
        "AWS_KMS" => "created by AWS KMS",
        "EXTERNAL" => "imported key material",
        "EXTERNAL_KEY_STORE" => "in a key store outside of AWS",
        "AWS_CLOUDHSM" => "in a CloudHSM key store",
        other => other,
    }
}

fn kind(info: &KmsKeyInfo) -> String {
    match (info.spec.as_str(), info.usage.as_str()) {
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT") => "symmetric, encrypts and decrypts".into(),
        (spec, usage) if public_spec(spec, usage).is_some() => {
            format!(
                "{spec}, opens what its recipient file seals; `waxseal key public {} -o FILE` creates that file",
                info.arn
            )
        }
        (spec, usage) => format!("{spec}, {usage}: not a key that waxseal can use"),
    }
}

fn public_spec(spec: &str, usage: &str) -> Option<PublicKeySpec> {
    let found = PublicKeySpec::ALL.into_iter().find(|known| known.name() == spec)?;
    let is_ml_kem = matches!(found, PublicKeySpec::MlKem768 | PublicKeySpec::MlKem1024);
    (usage == if is_ml_kem { "ENCAPSULATE_DECAPSULATE" } else { "ENCRYPT_DECRYPT" }).then_some(found)
}

fn material_json(material: &KeyMaterial) -> Value {
    json!({
        "id": material.id,
        "state": material.state,
        "imported": material.imported,
        "description": material.description,
        "valid_to": material.valid_to.map(time_of),
        "rotated": material.rotated.map(time_of),
        "rotation": material.rotation,
    })
}

/// The fields for `--json`.
pub(super) fn json_of(info: &KmsKeyInfo) -> Map<String, Value> {
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
        "materials": info.materials.as_ref().map(|all| all.iter().map(material_json).collect::<Vec<_>>()),
    });
    Map::from_iter([("kms_key".to_owned(), shown)])
}

//! The line with which a person gets a slot's secret with only the AWS CLI. Builds without AWS KMS have it too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::public;

use crate::escape;

/// The name of a pair that KMS gets in addition to the user's pairs.
const DATA_KEY_ID: &str = "waxseal:data-key-id";

/// A line for a POSIX shell. For a symmetric key, it writes the 32 bytes of the data key to `data.key`. For a public key,
/// it writes the shared secret in base64 to `shared.secret`, which `spec/reader.py` accepts. `None` for other kinds of
/// slots.
///
/// Each value from the file is one quoted word in it: its form was checked, and its quotes are escaped.
pub(super) fn kms_command(slot: &Slot, binding: &Binding) -> Option<String> {
    match slot.kind {
        SlotKind::AWS_KMS => symmetric(slot, binding),
        SlotKind::AWS_KMS_ML_KEM => of_public_key(
            slot,
            "decapsulate",
            "--encapsulation-algorithm ML_KEM --shared-secret-ciphertext-blob",
            "SharedSecret",
        ),
        SlotKind::AWS_KMS_RSA => {
            of_public_key(slot, "decrypt", "--encryption-algorithm RSAES_OAEP_SHA_256 --ciphertext-blob", "Plaintext")
        }
        _ => None,
    }
}

fn symmetric(slot: &Slot, binding: &Binding) -> Option<String> {
    let pairs = binding.context.iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let id = (DATA_KEY_ID.to_owned(), binding.data_key_id.to_string().into());
    let context = Value::Object(pairs.chain([id]).collect::<Map<_, _>>());
    Some(format!(
        "printf %s {} | base64 -d | (umask 077; aws kms decrypt {} \
         --ciphertext-blob fileb:///dev/stdin --encryption-context {} --query Plaintext --output text | \
         base64 -d > data.key)",
        escape::shell(&STANDARD.encode(&slot.wrapped)),
        key(slot)?,
        escape::shell(&escape::json(&context.to_string())),
    ))
}

/// KMS gets only the encapsulation, and no pairs. The message in the slot is opened without KMS.
fn of_public_key(slot: &Slot, command: &str, options: &str, answer: &str) -> Option<String> {
    Some(format!(
        "printf %s {} | base64 -d | (umask 077; aws kms {command} {} {options} fileb:///dev/stdin \
         --query {answer} --output text > shared.secret)",
        escape::shell(&STANDARD.encode(public::encapsulation(slot)?)),
        key(slot)?,
    ))
}

fn key(slot: &Slot) -> Option<String> {
    let region = slot.key_id.split(':').nth(3)?;
    Some(format!("--region {} --key-id {}", escape::shell(region), escape::shell(&slot.key_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal::format::{DataKeyId, Pairs, Sharing, Suite};

    fn binding() -> Binding {
        Binding {
            suite: Suite::Aes256Gcm,
            data_key_id: DataKeyId([0xab; 16]),
            sharing: Sharing::Exclusive,
            context: Pairs::parse(["a=it's $(reboot) \"`x`\u{202e}"]).unwrap(),
            labels: Pairs::default(),
        }
    }

    #[test]
    fn hostile_pairs_stay_words() {
        let binding = binding();
        let key_id = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1".to_owned();
        let slot = Slot { kind: SlotKind::AWS_KMS, key_id, wrapped: b"blob".to_vec() };
        let line = kms_command(&slot, &binding).unwrap();
        let ids = "ab".repeat(16);
        let context = format!(r#"'{{"a":"it'\''s $(reboot) \"`x`\u202e","waxseal:data-key-id":"{ids}"}}'"#);
        assert!(line.contains(&context), "{line}");
        assert!(line.starts_with("printf %s 'YmxvYg==' | base64 -d | "), "{line}");
        assert!(line.contains("--region 'eu-west-1' --key-id 'arn:aws:kms:eu-west-1:123456789012:key/mrk-1'"));
        let local = Slot { kind: SlotKind::PASSPHRASE, key_id: String::new(), wrapped: Vec::new() };
        assert_eq!(kms_command(&local, &binding), None);
    }

    #[test]
    fn a_public_keys_line_has_the_encapsulation_and_no_pairs() {
        let key_id = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1".to_owned();
        let line = |kind, len| {
            let mut wrapped = vec![7; len];
            wrapped.extend([8; 104]);
            kms_command(&Slot { kind, key_id: key_id.clone(), wrapped }, &binding())
        };
        for (kind, len, command) in [
            (SlotKind::AWS_KMS_ML_KEM, 1088, "aws kms decapsulate "),
            (
                SlotKind::AWS_KMS_ML_KEM,
                1568,
                "--shared-secret-ciphertext-blob fileb:///dev/stdin --query SharedSecret ",
            ),
            (SlotKind::AWS_KMS_RSA, 384, "aws kms decrypt --region 'eu-west-1' "),
            (SlotKind::AWS_KMS_RSA, 512, "--encryption-algorithm RSAES_OAEP_SHA_256 --ciphertext-blob "),
        ] {
            let line = line(kind, len).unwrap();
            assert!(line.contains(command) && !line.contains("context"), "{line}");
            assert!(
                line.starts_with(&format!("printf %s '{}' | base64 -d | ", STANDARD.encode(vec![7; len]))),
                "{line}"
            );
        }
        assert_eq!(line(SlotKind::AWS_KMS_RSA, 383), None);
        assert_eq!(line(SlotKind::X_WING, 1120), None);
    }
}

//! How a person with the AWS command line alone gets the data key back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use waxseal::format::{Binding, Slot, SlotKind};

use crate::cli::escape;

/// What KMS is told beside the user's pairs.
const DATA_KEY_ID: &str = "waxseal:data-key-id";

/// A line for a POSIX shell that writes the data key's 32 bytes to `data.key`; `None` for other kinds of slots.
///
/// Everything in it that comes from the file is one quoted word: its shape was checked, and its quotes are escaped.
pub(super) fn kms_command(slot: &Slot, binding: &Binding) -> Option<String> {
    if slot.kind != SlotKind::AWS_KMS {
        return None;
    }
    let region = slot.key_id.split(':').nth(3)?;
    let pairs = binding.context.iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let id = (DATA_KEY_ID.to_owned(), binding.data_key_id.to_string().into());
    let context = Value::Object(pairs.chain([id]).collect::<Map<_, _>>());
    Some(format!(
        "printf %s {} | base64 -d | (umask 077; aws kms decrypt --region {} --key-id {} \
         --ciphertext-blob fileb:///dev/stdin --encryption-context {} --query Plaintext --output text | \
         base64 -d > data.key)",
        escape::shell(&STANDARD.encode(&slot.wrapped)),
        escape::shell(region),
        escape::shell(&slot.key_id),
        escape::shell(&escape::json(&context.to_string())),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal::format::{DataKeyId, Pairs, Sharing, Suite};

    #[test]
    fn hostile_pairs_stay_words() {
        let binding = Binding {
            suite: Suite::Aes256Gcm,
            data_key_id: DataKeyId([0xab; 16]),
            sharing: Sharing::Exclusive,
            context: Pairs::parse(["a=it's $(reboot) \"`x`\u{202e}"]).unwrap(),
            labels: Pairs::default(),
        };
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
}

//! What a result tells of a sealed file, for an auditor: its keys, what is bound to it, and its lengths.

use serde_json::{Map, Value, json};
use waxseal::Envelope;
use waxseal::container::Layout;
use waxseal::format::{Binding, Header, Pairs, Sharing, Slot, SlotKind};

/// What is known of a sealed file. All of it is visible in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// The ARN of the key in AWS KMS that opened or sealed the file.
    pub(crate) key_arn: Option<String>,
    /// The id of the data key.
    pub(crate) data_key_id: Option<String>,
    /// Whether other files have the same data key.
    pub(crate) is_shared: Option<bool>,
    /// The encryption context.
    pub(crate) context: Option<Value>,
    /// The labels.
    pub(crate) labels: Option<Value>,
    /// The keys that open the file.
    pub(crate) sealed_for: Option<Vec<Value>>,
    /// Length of the whole plaintext.
    pub(crate) plaintext_bytes: Option<u64>,
    /// Length of the whole sealed file.
    pub(crate) sealed_bytes: Option<u64>,
}

impl Evidence {
    /// Of a file with this binding and these slots.
    pub(crate) fn of(binding: &Binding, slots: &[Slot]) -> Self {
        let key = |slot: &Slot| json!({ "kind": slot.kind.name(), "key_id": slot.key_id });
        Self {
            data_key_id: Some(binding.data_key_id.to_string()),
            is_shared: Some(binding.sharing == Sharing::Shared),
            context: Some(pairs_json(&binding.context)),
            labels: Some(pairs_json(&binding.labels)),
            sealed_for: Some(slots.iter().map(key).collect()),
            ..Self::default()
        }
    }

    /// Of a new file. A symmetric key in AWS KMS made its data key, if there is one.
    pub(crate) fn sealed(envelope: &Envelope) -> Self {
        let slots = envelope.slots();
        let made = slots.iter().find(|slot| slot.kind == SlotKind::AWS_KMS);
        let key_arn = made.or_else(|| slots.iter().find(|slot| arn_of(slot).is_some())).and_then(arn_of);
        Self { key_arn, ..Self::of(envelope.binding(), slots) }
    }

    /// Of a file that the key of `slot` opened. `plaintext` is its whole length, if that is known.
    pub(crate) fn opened(header: &Header, slot: usize, plaintext: Option<u64>) -> Self {
        let bank = header.bank();
        let layout = Layout::of(header);
        Self { key_arn: bank.slots.get(slot).and_then(arn_of), ..Self::of(&bank.binding, &bank.slots) }
            .with_lengths(plaintext, plaintext.and_then(|len| layout.file_len(len).ok()))
    }

    /// With both lengths.
    pub(crate) fn with_lengths(self, plaintext_bytes: Option<u64>, sealed_bytes: Option<u64>) -> Self {
        Self { plaintext_bytes, sealed_bytes, ..self }
    }

    /// The fields for `--json`. `key` is the key as it was named.
    pub(crate) fn json(this: Option<&Self>, key: Option<&str>) -> Map<String, Value> {
        let named = || key.filter(|key| is_key_arn(key)).map(str::to_owned);
        let all = Self::default();
        let this = this.unwrap_or(&all);
        Map::from_iter([
            ("key_arn".to_owned(), this.key_arn.clone().or_else(named).into()),
            ("data_key_id".to_owned(), this.data_key_id.clone().into()),
            ("data_key_shared".to_owned(), this.is_shared.into()),
            ("encryption_context".to_owned(), this.context.clone().unwrap_or_default()),
            ("labels".to_owned(), this.labels.clone().unwrap_or_default()),
            ("sealed_for".to_owned(), this.sealed_for.clone().into()),
            ("plaintext_bytes".to_owned(), this.plaintext_bytes.into()),
            ("sealed_bytes".to_owned(), this.sealed_bytes.into()),
        ])
    }
}

/// Pairs as an object.
pub(crate) fn pairs_json(pairs: &Pairs) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

fn arn_of(slot: &Slot) -> Option<String> {
    Some(slot.key_id.clone()).filter(|id| is_key_arn(id))
}

fn is_key_arn(name: &str) -> bool {
    name.starts_with("arn:") && name.contains(":key/") && !name.contains(", ")
}

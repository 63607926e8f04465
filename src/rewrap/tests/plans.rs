//! Requests and plans: which slot is replaced, and what is refused before anything is written.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{KEYS, Sealed, checked, private_slot, replace, unseen};
use crate::error::{Error, ProviderCause, ProviderError, Result, Tampered};
use crate::format::{Bank, Slot, SlotKind};
use crate::keys::{Argon2Cost, KeyOpener, Passphrase};
use crate::rewrap::{Plan, ReEncrypt, Request, Rewrapper, Selector, SlotChange, Unwrap, Verified};
use crate::secret::SecretBytes;

fn kms_slot(key: &str) -> Slot {
    let key_id = format!("arn:aws:kms:eu-west-1:123456789012:key/{key}");
    Slot { kind: SlotKind::AWS_KMS, key_id, wrapped: vec![1, 2, 3] }
}

/// Two KMS slots and a key file's.
fn kms_bank() -> (Sealed, Bank) {
    let sealed = Sealed::small(4096);
    let slots = vec![kms_slot("one"), kms_slot("two"), sealed.wrappings[0].clone()];
    let bank = Bank { slots, ..sealed.bank.clone() };
    (sealed, bank)
}

/// A key service that counts the calls.
fn service<'a>(key: &str, calls: &'a AtomicUsize) -> ReEncrypt<'a> {
    let (made, target) = (kms_slot(key), kms_slot(key));
    ReEncrypt {
        name: key.into(),
        is_target: Box::new(move |slot| slot.key_id == target.key_id),
        accepts: Box::new(|slot| slot.kind == SlotKind::AWS_KMS),
        call: Box::new(move |_, _| {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok((made.clone(), Some("request 7".into())))
        }),
    }
}

fn key(name: &'static str) -> Selector<'static> {
    let slot = kms_slot(name);
    Selector::Key { name: name.into(), matches: Box::new(move |found| found.key_id == slot.key_id) }
}

fn invalid(result: Result<Plan>) -> String {
    match result {
        Err(Error::Invalid(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_slot_is_replaced_by_one_call() {
    let (_, bank) = kms_bank();
    let calls = AtomicUsize::new(0);
    let three = service("three", &calls);
    let request = Request { from: Some(key("two")), to: Some(&three), ..Request::default() };
    let plan = request.plan(&bank).unwrap();
    assert_eq!(plan.slots(), [bank.slots[0].clone(), kms_slot("three"), bank.slots[2].clone()]);
    let [change] = plan.changes() else { panic!("{plan:?}") };
    assert_eq!(change.old.as_ref().unwrap().key_id, bank.slots[1].key_id);
    assert_eq!(change.new.as_ref().unwrap().key_id, kms_slot("three").key_id);
    assert_eq!(change.request_id.as_deref(), Some("request 7"));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_file_that_is_as_asked_costs_no_call() {
    let (_, bank) = kms_bank();
    let calls = AtomicUsize::new(0);
    let (one, two) = (service("one", &calls), service("two", &calls));
    let requests = [
        Request { from: Some(key("two")), to: Some(&two), ..Request::default() },
        Request { from: Some(key("gone")), to: Some(&two), ..Request::default() },
        Request { add: vec![&one, &two], ..Request::default() },
        Request { remove: vec![key("gone")], ..Request::default() },
        Request::default(),
    ];
    for request in requests {
        let plan = request.plan(&bank).unwrap();
        assert!(!plan.changes_slots() && plan.changes().is_empty());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    // Which key an alias names is known only from the answer.
    let alias = ReEncrypt { is_target: Box::new(|_| false), ..service("one", &calls) };
    let request = Request { from: Some(key("one")), to: Some(&alias), ..Request::default() };
    assert!(!request.plan(&bank).unwrap().changes_slots());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// A name may stand for a key that already has a slot. Only the new slot shows this. Another wrapping is no change.
#[test]
fn another_wrapping_to_the_same_key_is_no_change() {
    let (_, bank) = kms_bank();
    let calls = AtomicUsize::new(0);
    let again = ReEncrypt {
        is_target: Box::new(|_| false),
        call: Box::new(|_, _| Ok((Slot { wrapped: vec![9], ..kms_slot("one") }, None))),
        ..service("alias", &calls)
    };
    let request = Request { from: Some(key("one")), to: Some(&again), ..Request::default() };
    let plan = request.plan(&bank).unwrap();
    assert!(!plan.changes_slots() && plan.changes().is_empty());
    let local = Unwrap { openers: vec![&KEYS[0]], sealer: &KEYS[0], target: None };
    // A key that recognizes its own slots needs no unwrapping.
    let known = Unwrap { openers: vec![], sealer: &KEYS[0], target: Some(&KEYS[0]) };
    let sealed = Sealed::small(4096);
    for add in [&local, &known] {
        let plan = Request { add: vec![add], ..Request::default() }.plan(&sealed.bank).unwrap();
        assert!(!plan.changes_slots() && plan.changes().is_empty());
    }
}

#[test]
fn a_service_rewraps_only_what_it_accepts() {
    let (_, bank) = kms_bank();
    let calls = AtomicUsize::new(0);
    let three = service("three", &calls);
    let add = || Request { add: vec![&three], ..Request::default() };
    let local = Bank { slots: bank.slots[2..].to_vec(), ..bank.clone() };
    assert!(invalid(add().plan(&local)).starts_with("to add three, the data key must be unwrapped"));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    // It can rewrap, but without checking the data key. That is not enough for an added slot.
    assert!(invalid(add().plan(&bank)).contains("checked against the commitment"));
}

#[test]
fn a_choice_is_refused_before_any_call() {
    let (_, bank) = kms_bank();
    let calls = AtomicUsize::new(0);
    let three = service("three", &calls);
    let to = |from| Request { from, to: Some(&three), ..Request::default() };
    assert!(invalid(to(None).plan(&bank)).contains("2 slots"));
    assert!(invalid(to(Some(key("gone"))).plan(&bank)).contains("gone"));
    assert!(invalid(to(Some(Selector::Slot(3))).plan(&bank)).contains("slot 3"));
    let both = Request { remove: vec![Selector::Slot(1)], ..to(Some(key("two"))) };
    assert!(invalid(both.plan(&bank)).contains("replaced and removed"));
    let lonely = Request { from: Some(key("two")), ..Request::default() };
    assert!(invalid(lonely.plan(&bank)).contains("no new key"));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    // If there is only one KMS slot, or only one slot, it need not be named.
    let single = Bank { slots: bank.slots[1..].to_vec(), ..bank.clone() };
    assert_eq!(to(None).plan(&single).unwrap().slots()[0], kms_slot("three"));
    let local = Bank { slots: bank.slots[2..].to_vec(), ..bank.clone() };
    assert_eq!(to(None).plan(&local).unwrap().slots(), [kms_slot("three")]);
}

#[test]
fn a_key_that_stands_there_already_is_not_written_twice() {
    let (_, bank) = kms_bank();
    let calls = AtomicUsize::new(0);
    let two = service("two", &calls);
    let request = Request { from: Some(key("one")), to: Some(&two), ..Request::default() };
    assert!(invalid(request.plan(&bank)).contains("two slots"));
    // If the other slot is removed in the same run, this is allowed, as long as not all slots come from one unchecked
    // slot.
    let request = Request { remove: vec![Selector::Slot(1)], ..request };
    assert_eq!(request.plan(&bank).unwrap().slots(), [kms_slot("two"), bank.slots[2].clone()]);
}

#[test]
fn the_last_slot_stays() {
    let (_, bank) = kms_bank();
    let all = |count: usize| Request { remove: (0..count).map(Selector::Slot).collect(), ..Request::default() };
    assert_eq!(all(2).plan(&bank).unwrap().slots(), &bank.slots[2..]);
    assert!(invalid(all(3).plan(&bank)).contains("last key"));
    let twice = Request { remove: vec![key("two"), Selector::Slot(1)], ..Request::default() };
    assert_eq!(twice.plan(&bank).unwrap().slots().len(), 2);
    assert!(invalid(Plan::new(&bank, vec![SlotChange::Remove { slot: 3 }])).contains("no slot 3"));
    let again = vec![SlotChange::Remove { slot: 1 }, replace(1, &kms_slot("x"))];
    assert!(invalid(Plan::new(&bank, again)).contains("twice"));
}

#[test]
fn not_every_slot_comes_from_one_that_was_not_checked() {
    let (sealed, bank) = kms_bank();
    let two = Bank { slots: bank.slots[..2].to_vec(), ..bank.clone() };
    let remove = |slot| SlotChange::Remove { slot };
    let unchecked = vec![replace(0, &kms_slot("x")), remove(1)];
    assert!(invalid(Plan::new(&two, unchecked.clone())).contains("unchecked"));
    let twice = SlotChange::Replace { slot: 1, with: unseen(&kms_slot("y"), 0) };
    let three = vec![replace(0, &kms_slot("x")), twice];
    assert!(invalid(Plan::new(&bank, three)).contains("two keys would come from one unchecked slot"));
    // Allowed: each new slot from its own old one, a checked data key, or the only slot of the header.
    let one_for_one = vec![replace(0, &kms_slot("x")), replace(1, &kms_slot("y"))];
    assert!(Plan::new(&two, one_for_one).is_ok());
    let verified = SlotChange::Add(checked(&sealed.wrappings[3]));
    assert!(Plan::new(&two, [unchecked, vec![verified]].concat()).is_ok());
    let one = Bank { slots: bank.slots[..1].to_vec(), ..bank };
    assert!(Plan::new(&one, vec![replace(0, &kms_slot("x"))]).is_ok());
    let stranger = SlotChange::Replace { slot: 0, with: unseen(&kms_slot("x"), 1) };
    assert!(invalid(Plan::new(&one, vec![stranger])).contains("no slot 1"));
    // Others may later rewrap the added slot, so its data key must be checked.
    for from in [0, 1] {
        let added = vec![SlotChange::Add(unseen(&kms_slot("y"), from))];
        assert!(invalid(Plan::new(&two, added)).contains("checked against the commitment"));
    }
}

#[test]
fn a_local_key_takes_no_slots_place_by_a_guess() {
    let (sealed, bank) = kms_bank();
    let single = Bank { slots: vec![kms_slot("one"), sealed.wrappings[0].clone()], ..bank };
    let openers: Vec<&dyn KeyOpener> = vec![&KEYS[0]];
    let local = Unwrap { openers, sealer: &KEYS[5], target: Some(&KEYS[5]) };
    let to = |from| Request { from, to: Some(&local), ..Request::default() };
    assert!(invalid(to(None).plan(&single)).contains("2 slots"));
    assert_eq!(to(Some(Selector::Slot(1))).plan(&single).unwrap().slots()[0], kms_slot("one"));
    let only = Bank { slots: single.slots[1..].to_vec(), ..single };
    assert!(to(None).plan(&only).unwrap().changes_slots());
}

#[test]
fn what_no_header_takes_is_refused() {
    let (_, bank) = kms_bank();
    let limit = |slots: Vec<Slot>| {
        let changes = slots.iter().map(|slot| SlotChange::Add(checked(slot))).collect();
        matches!(Plan::new(&bank, changes), Err(Error::Limit(_)))
    };
    assert!(limit(vec![private_slot(65_300)]));
    assert!(!limit(vec![private_slot(60_000)]));
    assert!(limit(vec![Slot { kind: SlotKind::AWS_KMS, key_id: "alias/x".into(), wrapped: vec![1] }]));
    assert!(limit(vec![Slot { kind: SlotKind::KEYFILE, key_id: "0".repeat(32), wrapped: vec![1] }]));
    assert!(limit((0..14).map(|i| kms_slot(&format!("many-{i}"))).collect()));
    assert!(!limit((0..13).map(|i| kms_slot(&format!("many-{i}"))).collect()));
}

#[test]
fn slots_of_unknown_kinds_are_kept() {
    let sealed = Sealed::small(4096);
    let strange = private_slot(100);
    let bank = Bank { slots: vec![strange.clone(), strange.clone(), sealed.wrappings[0].clone()], ..sealed.bank };
    let plan = Plan::new(&bank, vec![replace(2, &sealed.wrappings[1])]).unwrap();
    assert_eq!(plan.slots(), [strange.clone(), strange, sealed.wrappings[1].clone()]);
}

/// A rewrap with another key keeps these slots. A recipient is added without its private key.
#[test]
#[cfg_attr(feature = "fips", ignore = "X-Wing is refused")]
fn slots_of_public_keys_are_kept_and_added() {
    let sealed = Sealed::small(8192);
    let identity = crate::keys::Identity::generate().unwrap();
    let slot = |kind, key: &str, len| Slot { kind: SlotKind(kind), key_id: key.into(), wrapped: vec![9; len] };
    let arn = |n: u8| format!("arn:aws:kms:eu-west-1:123456789012:key/{n}");
    let strange = [slot(4, &arn(4), 1192), slot(5, &arn(5), 488), slot(6, &"0".repeat(32), 1224), slot(7, "x", 3)];
    let slots = [&strange[..], &[sealed.wrappings[0].clone()]].concat();
    let bank = Bank { slots, ..sealed.bank };
    let unwrap = Unwrap { openers: vec![&KEYS[0]], sealer: identity.recipient(), target: None };
    let mut request = Request::default();
    request.add.push(&unwrap);
    let plan = request.plan(&bank).unwrap();
    assert_eq!(plan.slots()[..5], bank.slots);
    let added = &plan.slots()[5];
    assert_eq!((added.kind, added.key_id.as_str()), (SlotKind::X_WING, identity.id()));
    assert!(identity.open(added, &bank.binding).unwrap().expose() == &[0x5a; 32]);
    let twice = Plan::new(&bank, vec![replace(4, &Slot { kind: SlotKind::AWS_KMS, ..bank.slots[0].clone() })]);
    assert!(twice.is_err(), "a KMS key is of one kind");
}

#[test]
fn the_data_key_is_checked_before_it_is_wrapped() {
    let sealed = Sealed::small(4096);
    let openers: Vec<&dyn KeyOpener> = vec![&KEYS[0], &KEYS[1]];
    let unwrap = Unwrap { openers, sealer: &KEYS[5], target: Some(&KEYS[5]) };
    let made = unwrap.rewrap(&sealed.bank, 0).unwrap();
    assert_eq!((made.verified, made.from), (Verified::AgainstCommitment, 0));
    let data_key = KEYS[5].open(&made.slot, &sealed.bank.binding).unwrap();
    assert!(data_key.expose() == &[0x5a; 32]);
    // A slot that opens but gives another data key. Somebody with the public parts wrapped it for this binding.
    let other = crate::secret::DataKey::from_slice(&[1; 32]).unwrap();
    let grafted = crate::keys::KeySealer::wrap(&KEYS[0], &other, &sealed.bank.binding).unwrap();
    let bank = Bank { slots: vec![grafted, sealed.bank.slots[1].clone()], ..sealed.bank.clone() };
    assert_eq!(unwrap.rewrap(&bank, 0).unwrap().verified, Verified::AgainstCommitment);
    let alone = Unwrap { openers: vec![&KEYS[0]], sealer: &KEYS[5], target: None };
    assert!(matches!(alone.rewrap(&bank, 0), Err(Error::Tampered(Tampered::Commitment))));
    // A slot that does not open, and no opener that matches.
    let mut broken = sealed.bank.clone();
    broken.slots[0].wrapped[60] ^= 1;
    assert!(matches!(alone.rewrap(&broken, 0), Err(Error::Tampered(Tampered::Slot { slot: 0 }))));
    let stranger = Unwrap { openers: vec![&KEYS[7]], sealer: &KEYS[5], target: None };
    assert!(matches!(stranger.rewrap(&bank, 0), Err(Error::NoKey(_))));
    let request = Request { add: vec![&stranger], ..Request::default() };
    assert!(matches!(request.plan(&bank), Err(Error::NoKey(_))));
}

#[test]
#[cfg_attr(feature = "fips", ignore = "passphrases are refused")]
fn a_passphrase_can_be_changed() {
    let sealed = Sealed::small(4096);
    let cost = Argon2Cost { memory_kib: 19 * 1024, passes: 1, lanes: 1 };
    let phrase = |text: &str| Passphrase::with_cost(SecretBytes::new(text.as_bytes().to_vec()), cost).unwrap();
    let (old, new) = (phrase("old"), phrase("new"));
    let first = Unwrap { openers: vec![&KEYS[0]], sealer: &old, target: None };
    let added = Request { add: vec![&first], ..Request::default() }.plan(&sealed.bank).unwrap();
    let bank = Bank { slots: added.slots().to_vec(), ..sealed.bank };
    // Adding another one is refused, because a header has at most one passphrase.
    let second = Unwrap { openers: vec![&old], sealer: &new, target: None };
    assert!(invalid(Request { add: vec![&second], ..Request::default() }.plan(&bank)).contains("passphrase"));
    let from = Some(Selector::Slot(2));
    let plan = Request { from, to: Some(&second), ..Request::default() }.plan(&bank).unwrap();
    assert!(plan.changes_slots());
    assert!(KeyOpener::open(&new, &plan.slots()[2], &bank.binding).is_ok());
    assert!(KeyOpener::open(&old, &plan.slots()[2], &bank.binding).is_err());
}

#[test]
fn a_refusal_of_the_service_is_passed_on() {
    let (_, bank) = kms_bank();
    let calls = AtomicUsize::new(0);
    let denied = ReEncrypt {
        call: Box::new(|_, _| Err(Box::new(ProviderError::new(ProviderCause::Denied, "three", "no")).into())),
        ..service("three", &calls)
    };
    let request = Request { from: Some(key("two")), to: Some(&denied), ..Request::default() };
    assert!(matches!(request.plan(&bank), Err(Error::Provider(_))));
}

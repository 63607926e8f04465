//! Whether two answers are about the same object, and requests that only the same object fulfils.

use object_store::{GetOptions, GetRange, ObjectMeta};

/// The text of an ETag without its quotes. A listing of Azure has none, its other answers do.
fn opaque(e_tag: &str) -> &str {
    e_tag.trim_start_matches("W/").trim_matches('"')
}

/// An ETag that a store compares byte for byte. No strong comparison holds for a weak one (RFC 9110, 8.8.3.2).
fn is_strong(e_tag: &str) -> bool {
    !e_tag.starts_with("W/")
}

/// Whether both are about the same state of an object. A listing has fewer fields than other answers, and its time may
/// be more precise.
pub(crate) fn is_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    if one.size != other.size {
        return false;
    }
    if let (Some(one), Some(other)) = (&one.version, &other.version)
        && one != other
    {
        return false;
    }
    let same_second = one.last_modified.timestamp() == other.last_modified.timestamp();
    match (&one.e_tag, &other.e_tag) {
        (Some(a), Some(b)) => opaque(a) == opaque(b) && (same_second || (is_strong(a) && is_strong(b))),
        _ => same_second,
    }
}

/// Whether the caller's conditions that a store ignores beside the ETag of a pinned request allow this object: `If-Match`,
/// which is replaced there, and `If-Unmodified-Since` (RFC 9110, 13.2.2). The others are left to the store.
pub(crate) fn allows(options: &GetOptions, meta: &ObjectMeta) -> bool {
    let (if_match, if_unmodified_since) = (options.if_match.clone(), options.if_unmodified_since);
    let these = GetOptions { if_match, if_unmodified_since, ..GetOptions::default() };
    these.check_preconditions(meta).is_ok()
}

/// Who checks the caller's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conditions {
    /// This request.
    Check,
    /// An earlier request of the same operation has checked them.
    Checked,
}

/// The caller's request, for a range of the object `meta` and for no other object.
///
/// The version is only that of the caller: without it, an object that was replaced would be read as it was before, and
/// versions need a permission of their own.
pub(crate) fn pinned(
    options: &GetOptions,
    meta: &ObjectMeta,
    range: Option<GetRange>,
    conditions: Conditions,
) -> GetOptions {
    let mut pinned = GetOptions { range, head: false, ..options.clone() };
    if conditions == Conditions::Checked {
        (pinned.if_none_match, pinned.if_modified_since, pinned.if_unmodified_since) = (None, None, None);
    }
    match &meta.e_tag {
        Some(e_tag) if is_strong(e_tag) => pinned.if_match = Some(e_tag.clone()),
        _ if conditions == Conditions::Checked => pinned.if_match = None,
        _ => {}
    }
    pinned
}

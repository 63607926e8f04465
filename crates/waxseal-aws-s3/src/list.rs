//! The objects under a prefix, page by page.

use std::collections::VecDeque;
use std::time::SystemTime;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use waxseal::error::Result;

use crate::again::Patience;
use crate::failure::{self, Call};
use crate::{S3, S3Name};

/// S3 returns at most this number of keys in one page.
const PAGE: usize = 1000;
/// The limit for pages in a row without an object. S3 sends no such pages.
const EMPTY_MAX: u32 = 100;
/// A token becomes a part of the next request. The tokens of S3 have fewer than 200 characters. Those of other stores
/// can contain a key in hexadecimal.
const TOKEN_MAX: usize = 16 << 10;

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: S3Name,
    /// Its length in bytes.
    pub len: u64,
    /// Its ETag, if the store says it.
    pub etag: Option<String>,
    /// When it was stored.
    pub modified: Option<SystemTime>,
    /// Its storage class; `None` if the store does not say it.
    pub storage_class: Option<String>,
}

/// The objects whose names begin with a prefix, in the order of the store. In S3, that is the order of the bytes of
/// their keys.
///
/// After the last object of a page, it asks for the next page, which has up to 1,000 objects. After an error it ends.
#[derive(Debug)]
pub struct Listing {
    s3: S3,
    pages: Pages,
}

/// What was listed so far.
#[derive(Debug)]
struct Pages {
    prefix: S3Name,
    objects: VecDeque<Listed>,
    next: Next,
    /// The number of pages so far, and the number of the last ones in a row without an object.
    count: u64,
    empty: u32,
    /// An earlier page: token and first key. It is replaced after 1, 2, 4, 8 pages and so on. If the pages repeat in a
    /// circle, this page comes again at some point (Brent's algorithm).
    mark: Option<(String, Option<S3Name>)>,
}

/// What is asked for next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    First,
    Token(String),
    Nothing,
}

impl S3 {
    /// Lists the objects whose names begin with `prefix`. The key of `prefix` may be empty.
    #[must_use]
    pub fn list(&self, prefix: &S3Name) -> Listing {
        let (prefix, objects) = (prefix.clone(), VecDeque::new());
        let pages = Pages { prefix, objects, next: Next::First, count: 0, empty: 0, mark: None };
        Listing { s3: self.clone(), pages }
    }
}

impl Listing {
    /// The next object, for async code; `None` at the end.
    ///
    /// # Errors
    /// Any error of S3. After an error, the listing has ended.
    pub async fn next_async(&mut self) -> Result<Option<Listed>> {
        loop {
            if let Some(listed) = self.pages.objects.pop_front() {
                return Ok(Some(listed));
            }
            let Some(token) = self.pages.token() else { return Ok(None) };
            let (s3, prefix) = (self.s3.clone(), self.pages.prefix.clone());
            let page = self.s3.on_runtime(async move { s3.page(&prefix, token).await }).await;
            let page = page.and_then(|page| self.pages.add(page));
            if let Err(error) = page {
                self.pages.next = Next::Nothing;
                self.pages.objects.clear();
                return Err(error);
            }
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Result<Listed>> {
        crate::runtime::wait(self.next_async()).transpose()
    }
}

impl S3 {
    async fn page(&self, prefix: &S3Name, token: Option<String>) -> Result<ListObjectsV2Output> {
        let mut call = Call::new("ListObjectsV2", prefix);
        let mut patience = match token {
            None => Patience::at_first(self.timeouts().patience),
            Some(_) => Patience::new(self.timeouts().patience),
        };
        let send = |client: aws_sdk_s3::Client| {
            // XML cannot hold every character that a key may have.
            let request = client.list_objects_v2().bucket(prefix.bucket()).encoding_type(EncodingType::Url);
            let key = Some(prefix.key().to_owned()).filter(|key| !key.is_empty());
            request.set_prefix(key).set_continuation_token(token.clone()).send()
        };
        self.send(&mut call, &mut patience, send).await?.map_err(|error| failure::failure(&call, &error))
    }
}

impl Pages {
    /// The token of the next request; `None` if there is no next one.
    fn token(&self) -> Option<Option<String>> {
        match &self.next {
            Next::First => Some(None),
            Next::Token(token) => Some(Some(token.clone())),
            Next::Nothing => None,
        }
    }

    /// Adds a page, after everything in it was checked.
    fn add(&mut self, page: ListObjectsV2Output) -> Result<()> {
        let call = Call::new("ListObjectsV2", &self.prefix);
        let bad = |what: &str| failure::bad_answer(&call, what);
        if page.contents().len() > PAGE {
            return Err(bad("has more objects than a page"));
        }
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        for object in page.contents() {
            let key = object.key().ok_or_else(|| bad("has an object without a key"))?;
            let key = if encoded { decoded(key) } else { Some(key.to_owned()) };
            let key = key.ok_or_else(|| bad("has a key that is not text"))?;
            let name = S3Name::new(self.prefix.bucket(), key).map_err(|_| bad("has an impossible key"))?;
            if name.after(&self.prefix).is_none() {
                return Err(bad("has a key without the prefix"));
            }
            let len = object.size().and_then(|len| u64::try_from(len).ok());
            self.objects.push_back(Listed {
                name,
                len: len.ok_or_else(|| bad("has an object without a length"))?,
                etag: object.e_tag().map(str::to_owned),
                modified: object.last_modified().and_then(|time| SystemTime::try_from(*time).ok()),
                storage_class: object.storage_class().map(|class| class.as_str().to_owned()),
            });
        }
        self.next = self.follow(&call, &page)?;
        Ok(())
    }

    /// Where the next page is. A store that returns the same pages again and again would be asked forever.
    fn follow(&mut self, call: &Call, page: &ListObjectsV2Output) -> Result<Next> {
        if page.is_truncated() != Some(true) {
            return Ok(Next::Nothing);
        }
        let token = page.next_continuation_token().unwrap_or_default();
        if token.is_empty() || token.len() > TOKEN_MAX {
            return Err(failure::bad_answer(call, "has no usable token for the next page"));
        }
        let first = self.objects.front().map(|listed| listed.name.clone());
        self.count += 1;
        self.empty = if first.is_none() { self.empty + 1 } else { 0 };
        let known = |(marked, key): &(String, Option<S3Name>)| marked == token || (key.is_some() && *key == first);
        if self.mark.as_ref().is_some_and(known) || self.empty > EMPTY_MAX {
            return Err(failure::bad_answer(call, "repeats earlier pages"));
        }
        if self.count.is_power_of_two() {
            self.mark = Some((token.to_owned(), first));
        }
        Ok(Next::Token(token.to_owned()))
    }
}

/// A key of a listing, which is encoded like a form: a plus sign is a blank.
fn decoded(text: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (pair, after) = rest.split_at_checked(2)?;
                rest = after;
                digit(pair[0])? << 4 | digit(pair[1])?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::Object;
    use proptest::prelude::*;

    fn pages(prefix: &str) -> Pages {
        let prefix = S3Name::parse_prefix(prefix).unwrap();
        Pages { prefix, objects: VecDeque::new(), next: Next::First, count: 0, empty: 0, mark: None }
    }

    fn page(keys: &[&str], token: Option<&str>) -> ListObjectsV2Output {
        let objects = keys.iter().map(|key| Object::builder().key(*key).size(1).build()).collect();
        ListObjectsV2Output::builder()
            .set_contents(Some(objects))
            .encoding_type(EncodingType::Url)
            .is_truncated(token.is_some())
            .set_next_continuation_token(token.map(str::to_owned))
            .build()
    }

    #[test]
    fn keys_are_decoded() {
        for (text, key) in
            [("a+b", "a b"), ("a%2Bb", "a+b"), ("%e2%82%AC/%25", "\u{20ac}/%"), ("", ""), ("\u{e9}", "\u{e9}")]
        {
            assert_eq!(decoded(text).as_deref(), Some(key), "{text}");
        }
        for text in ["%", "%2", "%zz", "a%", "%e2%82", "%ff"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn hostile_pages() {
        for (keys, why) in [
            (vec!["b/c"], "without the prefix"),
            (vec!["a%ff"], "not text"),
            (vec![""], "impossible key"),
            (vec!["a"; PAGE + 1], "more objects"),
        ] {
            let error = pages("s3://abc/a").add(page(&keys, None)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(pages("s3://abc/").add(page(&["a"], Some(""))).is_err());
        assert!(pages("s3://abc/").add(page(&["a"], Some(&"x".repeat(TOKEN_MAX + 1)))).is_err());
        let object = Object::builder().key("a").size(-1).build();
        let negative = ListObjectsV2Output::builder().contents(object).build();
        assert!(pages("s3://abc/").add(negative).is_err());
    }

    /// However long the way into the circle and the circle are, and whether its tokens or its keys come again.
    #[test]
    fn circles_end() {
        for (before, circle, by_token) in [(0, 1, true), (0, 1, false), (3, 7, true), (5, 16, false), (0, 100, true)] {
            let mut pages = pages("s3://abc/");
            let end = (0..1000).find(|number| {
                let at = if *number < before { *number } else { before + (number - before) % circle };
                let (token, key) = if by_token { (at, *number) } else { (*number, at) };
                pages.objects.clear();
                pages.add(page(&[&format!("key{key}")], Some(&format!("token{token}")))).is_err()
            });
            assert!(end.is_some_and(|end| end <= 3 * (before + circle) + 2), "{before} {circle}: {end:?}");
        }
        let mut empty = pages("s3://abc/");
        assert!((0..200).any(|number| empty.add(page(&[], Some(&number.to_string()))).is_err()));
        let mut long = pages("s3://abc/");
        for number in 0..10_000 {
            long.objects.clear();
            long.add(page(&[&number.to_string()], Some(&number.to_string()))).unwrap();
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(key in ".{0,60}") {
            let plain = |byte: u8| byte.is_ascii_alphanumeric();
            let encode = |byte: u8| match byte {
                b' ' => "+".to_owned(),
                byte if plain(byte) => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            };
            let text: String = key.bytes().map(encode).collect();
            prop_assert_eq!(decoded(&text), Some(key));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in ".{0,60}") {
            let _ = decoded(&text);
        }
    }
}

//! Objects in S3: `s3://BUCKET/KEY`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::{Value, json};
use waxseal::error::{ProviderCause, Remedy};
use waxseal::format::Header;
use waxseal::io::{Overwrite, ReadAt};
use waxseal::rewrap::{Plan, Report};
use waxseal_aws_s3::{
    Encryption, Gate, NotAborted, OpenUpload, Overwrite as Replacing, RewrapOptions, S3, S3Config, S3Name, Upload,
    UploadOptions, UploadWarning, Uploaded,
};

use super::{Names, NewObject, Object, Options, Store, say};
use crate::Result;
use crate::args::KmsArgs;
use crate::escape;
use crate::failure::Failure;
use crate::in_the_clear::{self, Service};
use crate::signals::{self, Unfinished};

/// A new object may be longer than its input: by 1/512 of the input's length, and by some headers.
const OVERHEAD: u64 = 512;
const HEADERS: u64 = 1 << 20;
/// A shorter object is sent with one request. This request also finds out whether an object with this name exists.
const SHORT: u64 = 4 << 20;

/// The options of all commands that read or write objects.
#[derive(Debug, Default, Clone, ClapArgs)]
pub(crate) struct S3Args {
    /// The AWS profile for objects in S3 [default: as for AWS KMS]
    #[arg(long, value_name = "NAME", help_heading = "S3")]
    s3_profile: Option<String>,
    /// The region of the bucket [default: as for AWS KMS]
    #[arg(long, value_name = "REGION", help_heading = "S3")]
    s3_region: Option<String>,
}

/// The options of commands that create objects.
#[derive(Debug, Default, Clone, ClapArgs)]
pub(crate) struct S3ObjectArgs {
    /// Upload in parts of this size, for example 64MiB [default: it grows with the length]
    ///
    /// S3 allows 5 MiB to 5 GiB, and at most 10,000 parts. Without this option, the first parts have 32 MiB, and later parts of a very long stream are larger. Four parts are in memory at the same time.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "S3")]
    part_size: Option<u64>,
    /// The storage class of a new object, for example STANDARD_IA
    #[arg(long, value_name = "CLASS", help_heading = "S3")]
    storage_class: Option<String>,
    /// How S3 encrypts a new object on its disks: AES256, aws:kms, or the id or ARN of a key in AWS KMS [default: the setting of the bucket]
    #[arg(long, value_name = "KIND", value_parser = parse_sse, help_heading = "S3")]
    sse: Option<Encryption>,
    /// A tag of a new object; it is not secret, because S3 shows it; repeat the option for more tags
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag, help_heading = "S3")]
    tags: Vec<(String, String)>,
}

fn parse_sse(text: &str) -> std::result::Result<Encryption, String> {
    match text {
        "AES256" => Ok(Encryption::Aes256),
        "aws:kms" => Ok(Encryption::Kms { key: None }),
        "" => Err("it is empty".into()),
        key => Ok(Encryption::Kms { key: Some(key.into()) }),
    }
}

fn parse_tag(text: &str) -> std::result::Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.into(), value.into())).ok_or_else(|| "it does not have the form NAME=VALUE".into())
}

/// A number of bytes, or of KiB, MiB or GiB.
fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        other => return Err(format!("{other:?} is not a unit: use KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is not a number"))?;
    let size = number.checked_mul(1 << unit).ok_or("it is too large")?;
    if (5 << 20..=5 << 30).contains(&size) { Ok(size) } else { Err("S3 allows parts of 5 MiB to 5 GiB".into()) }
}

/// What the command line says. Everything else is as AWS's configuration says.
static SETTINGS: OnceLock<Settings> = OnceLock::new();

#[derive(Debug, Default)]
struct Settings {
    profile: Option<String>,
    region: Option<String>,
    new: S3ObjectArgs,
}

/// Takes the command line's options.
pub(super) fn configure(options: Options<'_>) {
    let (profile, region) = options.keys.map(KmsArgs::place).unwrap_or_default();
    let S3Args { s3_profile, s3_region } = options.any.s3.clone();
    let settings = Settings {
        // The region of keys belongs to the profile of keys.
        region: s3_region.or(region.filter(|_| s3_profile.is_none())),
        profile: s3_profile.or(profile),
        new: options.new.map(|new| new.s3.clone()).unwrap_or_default(),
    };
    // It is called once, from the command line.
    let _ = SETTINGS.set(settings);
}

/// The handle for all objects.
fn s3() -> Result<S3> {
    static HANDLE: Mutex<Option<S3>> = Mutex::new(None);
    let mut handle = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(s3) = &*handle {
        return Ok(s3.clone());
    }
    let mut config = S3Config::new();
    if let Some(settings) = SETTINGS.get() {
        config.profile.clone_from(&settings.profile);
        config.region.clone_from(&settings.region);
    }
    let s3 = S3::new(config)?.for_one_run().with_gate(Arc::new(Commits));
    Ok(handle.insert(s3).clone())
}

/// The handle has made a request, so it has read the configuration.
fn asked(s3: &S3) {
    if s3.is_in_the_clear() {
        in_the_clear::found(Service::S3);
    }
}

/// The handle, for a new object: a signal that comes from now on ends the process after its uploads are aborted.
fn s3_to_write() -> Result<S3> {
    static WATCHED: Mutex<bool> = Mutex::new(false);
    let s3 = s3()?;
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*watched {
        let uploads: Arc<dyn Unfinished> = Arc::new(Uploads(s3.clone()));
        signals::unfinished(&uploads).map_err(|error| Failure::io("starting a thread", error))?;
        *watched = true;
    }
    Ok(s3)
}

fn named(name: &OsStr) -> Result<S3Name> {
    S3Name::parse(text_of(name)?).map_err(|error| {
        Failure::from(error).hint("an object is s3://BUCKET/KEY; a local file of this name is ./s3://...")
    })
}

fn prefix_named(name: &OsStr) -> Result<S3Name> {
    S3Name::parse_prefix(text_of(name)?).map_err(|error| {
        Failure::from(error).hint("a prefix is s3://BUCKET/PREFIX/; a local folder of this name is ./s3://...")
    })
}

fn text_of(name: &OsStr) -> Result<&str> {
    name.to_str().ok_or_else(|| Failure::usage(format!("the name of an object is not UTF-8: {}", escape::os(name))))
}

/// The request that makes an object is a commit: it is not sent after a signal.
#[derive(Debug)]
struct Commits;

impl Gate for Commits {
    fn pass(&self, step: &mut dyn FnMut()) {
        // Without the step, no object is made, and the process is about to end.
        let _ = signals::commit(|| {
            step();
            Ok(())
        });
    }

    fn has_closed(&self) -> bool {
        signals::has_come()
    }
}

/// The uploads of a handle.
struct Uploads(S3);

impl Unfinished for Uploads {
    fn undo(&self, within: Duration) -> Vec<String> {
        let left = self.0.abort_all(within);
        let words = |left: &NotAborted| match &left.upload {
            Some(upload) => Some(left_behind(upload, &left.error.to_string())),
            None if left.is_undecided => Some(left.to_string()),
            // It is one of the lost uploads.
            None => None,
        };
        left.iter().filter_map(words).chain(self.0.lost_uploads().iter().map(lost)).collect()
    }

    fn left(&self) -> Vec<String> {
        let why = "the program was ended";
        let unknown = |name: &S3Name| format!("it is not known whether {name} was written ({why})");
        let undecided = self.0.undecided().iter().map(unknown).collect::<Vec<_>>();
        let open = self.0.open_uploads();
        let open = open.iter().map(|upload| left_behind(upload, why));
        undecided.into_iter().chain(open).chain(self.0.lost_uploads().iter().map(lost)).collect()
    }
}

fn left_behind(upload: &OpenUpload, why: &str) -> String {
    let (name, command) = (&upload.name, with_options(upload.abort_command()));
    format!("an upload to {name} may be left, and costs money until it is aborted ({why}): {command}")
}

/// An upload whose id nobody knows.
fn lost(name: &S3Name) -> String {
    format!("{name}: {}", words(UploadWarning::UnfinishedUploadMayBeLeft, name))
}

/// A warning about the upload to `name`, and what the user can do.
fn words(warning: UploadWarning, name: &S3Name) -> String {
    match warning {
        // Nothing in S3's list proves whose upload it is, so it is not aborted here.
        UploadWarning::UnfinishedUploadMayBeLeft => {
            format!("{warning}; this lists the unfinished uploads: {}", with_options(name.list_uploads_command()))
        }
        warning => warning.to_string(),
    }
}

/// A command of the AWS command line, with the same profile and region.
fn with_options(command: String) -> String {
    let settings = SETTINGS.get();
    let options = [
        ("profile", settings.and_then(|settings| settings.profile.as_deref())),
        ("region", settings.and_then(|settings| settings.region.as_deref())),
    ];
    let given = options.iter().filter_map(|(option, value)| Some(format!(" --{option} {}", escape::word((*value)?))));
    command + &given.collect::<String>()
}

/// Objects in S3.
#[derive(Debug)]
pub(super) struct S3Store;

impl Store for S3Store {
    fn scheme(&self) -> &'static str {
        "s3://"
    }

    fn hint(&self, remedy: &Remedy) -> Option<String> {
        Some(match remedy {
            Remedy::ChooseRegion { region: None } => "set a region with --s3-region or AWS_REGION".into(),
            Remedy::ChooseRegion { region: Some(region) } => {
                format!("choose the region of the bucket: --s3-region {region}")
            }
            Remedy::NameProfile => "name a profile that exists with --s3-profile, or leave --s3-profile out".into(),
            Remedy::CheckNetwork => {
                "check the network, --s3-region, HTTPS_PROXY, NO_PROXY, AWS_CA_BUNDLE and AWS_ENDPOINT_URL_S3".into()
            }
            _ => return None,
        })
    }

    fn open(&self, name: &OsStr) -> Result<Box<dyn Object>> {
        let (name, s3) = (named(name)?, s3()?);
        let object = s3.object(&name);
        asked(&s3);
        Ok(Box::new(Reading(object?)))
    }

    fn len(&self, name: &OsStr) -> Option<u64> {
        s3().ok()?.len_of(&named(name).ok()?).ok().flatten()
    }

    fn check(&self, name: &OsStr) -> Result<()> {
        named(name).map(drop)
    }

    fn create(&self, name: &OsStr, overwrite: Overwrite, len: Option<u64>) -> Result<Box<dyn NewObject>> {
        let (name, s3) = (named(name)?, s3_to_write()?);
        // A long upload would be in vain if the object exists. A caller who may not look may still write.
        let looks = overwrite == Overwrite::Refuse && len.is_none_or(|len| len > SHORT);
        if looks && matches!(s3.len_of(&name), Ok(Some(_))) {
            return Err(exists(&name));
        }
        let upload = s3.upload(&name, options(overwrite, len))?;
        Ok(Box::new(Writing { upload: Some(upload), s3, name }))
    }

    fn rewrap(
        &self,
        name: &OsStr,
        plan: &mut dyn FnMut(&Header) -> waxseal::Result<Plan>,
    ) -> Result<(Report, Option<Value>)> {
        let (name, s3) = (named(name)?, s3_to_write()?);
        let object = s3.object(&name)?;
        let done = s3.rewrap(&object, |header| plan(header), RewrapOptions::default());
        asked(&s3);
        tell_what_is_left(&s3, &name);
        let done = done?;
        let old = done.old_version_id.or(object.version_id().map(str::to_owned));
        let about = done.new.map(|new| about(&new, &name, Some(old)));
        Ok((done.report, about))
    }

    fn check_prefix(&self, prefix: &OsStr) -> Result<()> {
        prefix_named(prefix).map(drop)
    }

    fn list(&self, prefix: &OsStr) -> Result<Names> {
        let listing = s3()?.list(&prefix_named(prefix)?);
        let name = |listed: waxseal_aws_s3::Listed| (OsString::from(listed.name.text()), listed.len);
        Ok(Box::new(listing.map(move |listed| listed.map(name).map_err(Failure::from))))
    }
}

fn options(overwrite: Overwrite, len: Option<u64>) -> UploadOptions {
    let mut options = UploadOptions::default();
    options.overwrite = match overwrite {
        Overwrite::Refuse => Replacing::Refuse,
        Overwrite::Replace => Replacing::Replace,
    };
    options.len_hint = len.map(|len| len.saturating_add(len / OVERHEAD).saturating_add(HEADERS));
    if let Some(settings) = SETTINGS.get() {
        let S3ObjectArgs { part_size, storage_class, sse, tags } = settings.new.clone();
        options.part_size = part_size;
        options.storage_class = storage_class;
        options.encryption = sse;
        options.tags = tags.into_iter().collect();
    }
    options
}

/// An object that is read.
struct Reading(waxseal_aws_s3::Object);

impl ReadAt for Reading {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn check_unchanged(&self) -> io::Result<()> {
        self.0.check_unchanged()
    }
}

impl Object for Reading {
    fn reader(&self) -> Box<dyn Read + Send + '_> {
        Box::new(self.0.reader())
    }

    fn about(&self) -> Option<Value> {
        Some(json!({ "etag": self.0.etag(), "version_id": self.0.version_id() }))
    }
}

/// An object that is written.
struct Writing {
    /// `None` after it was completed.
    upload: Option<Upload>,
    s3: S3,
    name: S3Name,
}

impl Writing {
    fn upload(&mut self) -> io::Result<&mut Upload> {
        // Whatever is sent after a signal is sent in vain.
        if signals::has_come() {
            return Err(ended());
        }
        self.upload.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// What could not be aborted. After a signal, another thread aborts, and tells.
fn tell_what_is_left(s3: &S3, name: &S3Name) {
    if !signals::has_come() {
        // If the last request may have succeeded, nobody has tried to abort the upload.
        let why = if s3.undecided().contains(name) {
            "the answer to the last request was lost, so the object may be complete"
        } else {
            "aborting it failed"
        };
        let uploads = s3.open_uploads();
        uploads.iter().filter(|upload| upload.name == *name).for_each(|upload| say(left_behind(upload, why)));
        s3.lost_uploads().iter().filter(|lost| *lost == name).for_each(|name| say(lost(name)));
    }
}

/// What S3 says about a new object. `old_version` is that of a rewrap.
fn about(uploaded: &Uploaded, name: &S3Name, old_version: Option<Option<String>>) -> Value {
    uploaded.warnings.iter().for_each(|warning| say(words(*warning, name)));
    let parts = Some(uploaded.parts).filter(|parts| *parts > 0);
    let mut about = json!({ "etag": uploaded.etag, "version_id": uploaded.version_id, "parts": parts });
    if let (Some(old), Some(fields)) = (old_version, about.as_object_mut()) {
        fields.insert("old_version_id".to_owned(), old.into());
    }
    about
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.upload()?.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.upload()?.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewObject for Writing {
    fn commit(mut self: Box<Self>) -> Result<Option<Value>> {
        if signals::has_come() {
            return Err(Failure::io("completing the upload", ended()));
        }
        let upload = self.upload.take().ok_or(waxseal::Error::Bug("an upload was completed twice"))?;
        let uploaded = upload.complete();
        asked(&self.s3);
        let uploaded = uploaded.map_err(|error| failure(&self.name, error))?;
        Ok(Some(about(&uploaded, &self.name, None)))
    }
}

fn ended() -> io::Error {
    io::Error::other("a signal has asked the program to end")
}

impl Drop for Writing {
    /// Aborts the upload if [`NewObject::commit`] was not called, or has failed.
    fn drop(&mut self) {
        if self.upload.take().is_some() {
            asked(&self.s3);
        }
        tell_what_is_left(&self.s3, &self.name);
    }
}

/// If the object exists and must not be replaced, the failure is the same as for a file.
fn failure(name: &S3Name, error: waxseal::Error) -> Failure {
    match &error {
        waxseal::Error::Provider(provider) if provider.cause == ProviderCause::AlreadyExists => exists(name),
        _ => error.into(),
    }
}

fn exists(name: &S3Name) -> Failure {
    Failure::exists(&escape::text(&name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("5MiB"), Ok(5 << 20));
        assert_eq!(parse_size("5242880"), Ok(5 << 20));
        assert_eq!(parse_size("64m"), Ok(64 << 20));
        assert_eq!(parse_size("5GiB"), Ok(5 << 30));
        for bad in
            ["", "MiB", "4MiB", "6GiB", "5 MiB x", "5TiB", "-5MiB", "99999999999999999999", "18446744073709551615GiB"]
        {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}

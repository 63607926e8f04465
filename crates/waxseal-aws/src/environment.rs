//! The environment variables of AWS's configuration, read once. An empty variable counts as not set.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::Service;
use super::profile::{FileKind, Sections};
use super::setting::{Kind, Setting, settings};
use waxseal::error::{Error, Result};

/// Values of variables, by name. Some are secret, so there is no Debug.
pub struct Environment {
    service: &'static Service,
    values: BTreeMap<&'static str, OsString>,
}

/// Variables without a row in the table: paths, which can be other than UTF-8, and one that a web server sets for CGI.
const OTHERS: &[&str] = &[
    "HOME",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    CONFIG_FILE,
    CREDENTIALS_FILE,
    super::http::CA_BUNDLE,
    "REQUEST_METHOD",
];

const CONFIG_FILE: &str = "AWS_CONFIG_FILE";
const CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";

/// At most this much of a file of profiles is read.
const MAX_FILE: u64 = 4 << 20;

impl Environment {
    /// The variables of this process that count for `service`.
    #[must_use]
    pub fn of_process(service: &'static Service) -> Self {
        Self::of(service, |name| std::env::var_os(name))
    }

    /// The variables that count for `service`, read with `read`.
    pub fn of(service: &'static Service, read: impl Fn(&str) -> Option<OsString>) -> Self {
        let names = settings(service).map(|setting| setting.variable).filter(|name| !name.is_empty());
        let values = names.chain(OTHERS.iter().copied()).filter_map(|name| Some((name, read(name)?)));
        Self { service, values: values.filter(|(_, value)| !value.is_empty()).collect() }
    }

    /// The same variables, and `value` for the one that names the endpoint of the service, if there is a value.
    #[must_use]
    pub(super) fn with_endpoint(mut self, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.values.insert(self.service.endpoint, value.into());
        }
        self
    }

    pub(super) fn service(&self) -> &'static Service {
        self.service
    }

    /// The value of a variable that is set. A value that is not UTF-8 was refused by [`Self::check`], or is not used.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.to_str()
    }

    pub(super) fn raw(&self, name: &str) -> Option<&OsStr> {
        self.values.get(name).map(OsString::as_os_str)
    }

    /// The first variable of `names` that is set, and its name.
    pub(super) fn first<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    /// Checks every variable of the table for which `counts` returns true.
    ///
    /// # Errors
    /// For the first variable that cannot be used, with its name.
    pub(super) fn check(&self, counts: impl Fn(&Setting) -> bool) -> Result<()> {
        for setting in settings(self.service).filter(|setting| counts(setting)) {
            let Some(value) = self.values.get(setting.variable) else { continue };
            let checked = match value.to_str() {
                Some(text) => setting.kind.check(text),
                None if matches!(setting.kind, Kind::Credential) => Kind::Credential.check("\u{fffd}"),
                None => Err("it is not UTF-8".into()),
            };
            checked.map_err(|why| setting.kind.refusal(setting.variable, &why))?;
        }
        Ok(())
    }

    /// The profiles of both files.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a file is named by a variable and cannot be read, or if a file cannot be parsed.
    pub(super) fn profiles(&self) -> Result<Sections> {
        let mut sections = Sections::default();
        for (kind, variable, usual) in [
            (FileKind::Config, CONFIG_FILE, "~/.aws/config"),
            (FileKind::Credentials, CREDENTIALS_FILE, "~/.aws/credentials"),
        ] {
            let (path, named) = match self.raw(variable) {
                Some(path) => (self.expand(Path::new(path)), true),
                None => (self.expand(Path::new(usual)), false),
            };
            let refused = |why: &str| {
                let name = if named { format!("{variable} ({})", path.display()) } else { path.display().to_string() };
                Error::Invalid(format!("{name}: {why}"))
            };
            let Some(text) = read_file(&path, named).map_err(|why| refused(&why))? else { continue };
            sections.add(kind, &text).map_err(|(line, why)| refused(&format!("line {line}: {why}")))?;
        }
        Ok(sections)
    }

    /// `path`, with the home folder in place of `~`.
    pub(super) fn expand(&self, path: &Path) -> PathBuf {
        let home = self.raw("HOME").or_else(|| self.raw("USERPROFILE"));
        match (path.strip_prefix("~"), home) {
            (Ok(rest), Some(home)) => Path::new(home).join(rest),
            _ => path.to_owned(),
        }
    }
}

/// The text of the file `path`; `None` if there is no such file. AWS's tools also ignore a file in the usual place that
/// they cannot read, so the same is done here.
fn read_file(path: &Path, named: bool) -> Result<Option<String>, String> {
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MAX_FILE => Err(format!("it is longer than {} MiB", MAX_FILE >> 20)),
        Ok(_) => String::from_utf8(text).map(Some).map_err(|_| "it is not UTF-8".into()),
        Err(error) if !named || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(&crate::config::tests::KMS, |name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let read = environment(&[("AWS_MAX_ATTEMPTS", ""), ("AWS_REGION", "eu-west-1"), ("PATH", "/bin")]);
        assert_eq!((read.get("AWS_MAX_ATTEMPTS"), read.get("AWS_REGION")), (None, Some("eu-west-1")));
        assert_eq!(read.get("PATH"), None, "it does not count");
        assert!(read.check(|_| true).is_ok());
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named() {
        for (name, value) in
            [("AWS_MAX_ATTEMPTS", "x"), ("AWS_ENDPOINT_URL_KMS", "localhost:4566"), ("AWS_REGION", " ")]
        {
            match environment(&[(name, value)]).check(|_| true) {
                Err(Error::Invalid(why)) => assert!(why.starts_with(&format!("{name}: ")), "{why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(matches!(environment(&[("AWS_ACCESS_KEY_ID", "x\r")]).check(|_| true), Err(Error::Provider(_))));
    }

    #[test]
    fn files_of_profiles() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("good"), "[default]\nregion = eu-west-1\n").unwrap();
        std::fs::write(path("bad"), "[default]\nregion\n").unwrap();
        std::fs::write(path("latin1"), b"[default]\nregion = \xe4\n").unwrap();
        let read = |name: &str| environment(&[(CONFIG_FILE, &path(name)), ("HOME", "/nonexistent")]).profiles();
        assert!(read("good").unwrap().profile("default").is_some());
        assert!(read("none").unwrap().profile("default").is_none());
        for (name, why) in [("bad", "line 2"), ("latin1", "UTF-8"), ("", "directory")] {
            let Err(Error::Invalid(text)) = read(name) else { panic!("{name} was read") };
            assert!(text.contains(why) && text.contains(CONFIG_FILE), "{text}");
        }
        let home = environment(&[("HOME", &path("")), (CONFIG_FILE, "~/good")]);
        assert!(home.profiles().unwrap().profile("default").is_some());
    }
}

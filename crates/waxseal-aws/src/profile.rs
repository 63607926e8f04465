//! AWS's two files of profiles, read as the AWS CLI reads them. The SDK gets a new file with the values that are used, so
//! it reads only checked values.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// `[profile NAME]`, `[sso-session NAME]`, `[services NAME]`.
    Config,
    /// `[NAME]`.
    Credentials,
}

/// The sections of both files.
#[derive(Default, Clone, PartialEq, Eq)]
pub(super) struct Sections {
    profiles: BTreeMap<String, Section>,
    sso_sessions: BTreeMap<String, Section>,
    services: BTreeMap<String, Section>,
}

/// The keys of a section, in lower case, and their values. Some can be secret, so there is no Debug.
#[derive(Default, Clone, PartialEq, Eq)]
pub(super) struct Section(BTreeMap<String, Value>);

#[derive(Default, Clone, PartialEq, Eq)]
struct Value {
    text: String,
    /// The indented lines after a key without a value.
    nested: Vec<(String, String)>,
}

impl Section {
    /// The value of `key`. An empty value counts as none.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The value of `key` in the indented lines after `group`, as in a section of services.
    pub(super) fn nested(&self, group: &str, key: &str) -> Option<&str> {
        let (_, value) = self.0.get(group)?.nested.iter().rev().find(|(name, _)| name == key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Sets `key`.
    pub(super) fn set(&mut self, key: &str, text: &str) {
        self.0.insert(key.to_owned(), Value { text: text.to_owned(), nested: Vec::new() });
    }
}

impl Sections {
    /// Adds the sections of a file. The values of a later file replace those of an earlier one.
    ///
    /// # Errors
    /// The number of the first line that cannot be parsed, and what is wrong with it.
    pub(super) fn add(&mut self, kind: FileKind, text: &str) -> Result<(), (usize, &'static str)> {
        let read = Reader::read(kind, text)?;
        let groups = [
            (&mut self.profiles, read.profiles),
            (&mut self.sso_sessions, read.sso_sessions),
            (&mut self.services, read.services),
        ];
        for (all, new) in groups {
            for (name, section) in new {
                // An empty value does not replace the value of the other file.
                let given = section.0.into_iter().filter(|(_, value)| *value != Value::default());
                all.entry(name).or_default().0.extend(given);
            }
        }
        Ok(())
    }

    pub(super) fn profile(&self, name: &str) -> Option<&Section> {
        self.profiles.get(name)
    }

    pub(super) fn sso_session(&self, name: &str) -> Option<&Section> {
        self.sso_sessions.get(name)
    }

    pub(super) fn services(&self, name: &str) -> Option<&Section> {
        self.services.get(name)
    }
}

/// One file.
#[derive(Default)]
struct Reader {
    sections: Sections,
    /// Kind and name of the section that the lines belong to; `None` for a section that is not used here.
    at: Option<(Group, String)>,
    begun: bool,
    /// The last key and its indentation. A line with more indentation belongs to this key.
    key: Option<(String, usize)>,
    /// Whether there is a `[profile default]`, which replaces `[default]`.
    long_default: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Profile,
    SsoSession,
    Services,
}

impl Reader {
    fn read(kind: FileKind, text: &str) -> Result<Sections, (usize, &'static str)> {
        let mut reader = Self::default();
        for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            reader.line(kind, line.trim_end()).map_err(|why| (index + 1, why))?;
        }
        Ok(reader.sections)
    }

    fn line(&mut self, kind: FileKind, line: &str) -> Result<(), &'static str> {
        let text = line.trim_start_matches(BLANKS);
        if text.is_empty() || text.starts_with(['#', ';']) {
            return Ok(());
        }
        let indent = line.len() - text.len();
        if self.key.as_ref().is_some_and(|(_, at)| indent > *at) {
            return self.below(text);
        }
        if text.starts_with('[') {
            return self.begin(kind, text);
        }
        if !self.begun {
            return Err("the first key must come after a section");
        }
        let (key, value) = pair(text)?;
        self.key = Some((key.clone(), indent));
        if let Some(section) = self.section() {
            section.set(&key, value);
        }
        Ok(())
    }

    /// Reads a line that belongs to the key before it.
    fn below(&mut self, text: &str) -> Result<(), &'static str> {
        let Some((key, _)) = self.key.clone() else { return Ok(()) };
        let Some(value) = self.section().and_then(|section| section.0.get_mut(&key)) else { return Ok(()) };
        if value.text.is_empty() {
            let (name, text) = pair(text)?;
            value.nested.push((name, text.to_owned()));
        } else {
            value.text.push('\n');
            value.text.push_str(text);
        }
        Ok(())
    }

    fn begin(&mut self, kind: FileKind, text: &str) -> Result<(), &'static str> {
        let text = text.split(['#', ';']).next().unwrap_or_default().trim_end();
        let name = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or("a section must end with ]")?;
        (self.begun, self.key, self.at) = (true, None, None);
        let name = name.trim_matches(BLANKS);
        let (prefix, suffix) = match name.split_once(BLANKS) {
            Some((prefix, suffix)) => (prefix, unquoted(suffix.trim_matches(BLANKS))),
            None => ("", unquoted(name)),
        };
        self.at = match (kind, prefix) {
            (FileKind::Config, "") if suffix == DEFAULT && !self.long_default => Some(Group::Profile),
            (FileKind::Config, "profile") => Some(Group::Profile),
            (FileKind::Config, "sso-session") => Some(Group::SsoSession),
            (FileKind::Config, "services") => Some(Group::Services),
            (FileKind::Credentials, "") => Some(Group::Profile),
            _ => None,
        }
        .map(|group| (group, suffix.to_owned()));
        if prefix == "profile" && suffix == DEFAULT && kind == FileKind::Config && !self.long_default {
            self.long_default = true;
            self.sections.profiles.remove(DEFAULT);
        }
        self.section();
        Ok(())
    }

    /// The section of the lines. It is created if it does not exist.
    fn section(&mut self) -> Option<&mut Section> {
        let (group, name) = self.at.clone()?;
        let sections = match group {
            Group::Profile => &mut self.sections.profiles,
            Group::SsoSession => &mut self.sections.sso_sessions,
            Group::Services => &mut self.sections.services,
        };
        Some(sections.entry(name).or_default())
    }
}

/// The profile that is used if none is named.
pub(super) const DEFAULT: &str = "default";

const BLANKS: [char; 2] = [' ', '\t'];

fn unquoted(name: &str) -> &str {
    let quoted = |mark| name.strip_prefix(mark).and_then(|name| name.strip_suffix(mark));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(name)
}

/// A key and its value, without the remark after them.
fn pair(text: &str) -> Result<(String, &str), &'static str> {
    let remark = [" #", " ;", "\t#", "\t;"].into_iter().filter_map(|mark| text.find(mark)).min();
    let text = &text[..remark.unwrap_or(text.len())];
    let (key, value) = text.split_once(['=', ':']).ok_or("there must be a key before \"=\"")?;
    let key = key.trim_matches(BLANKS);
    if key.is_empty() {
        return Err("there must be a key before \"=\"");
    }
    Ok((key.to_ascii_lowercase(), value.trim_matches(BLANKS)))
}

/// The text that the SDK reads.
#[derive(Default)]
pub(super) struct Written(String);

impl Written {
    /// The text.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Writes a section of `kind` (`profile`, `sso-session`) with the name `name` and these values.
    pub(super) fn section<'a>(&mut self, kind: &str, name: &str, values: impl Iterator<Item = (&'a str, &'a str)>) {
        let _ = writeln!(self.0, "[{kind} {}]", plain_name(name));
        for (key, value) in values {
            let _ = writeln!(self.0, "{key} = {value}");
        }
    }

    /// Writes a section of services, with one address for each.
    pub(super) fn services<'a>(&mut self, name: &str, addresses: impl Iterator<Item = (&'a str, &'a str)>) {
        let _ = writeln!(self.0, "[services {}]", plain_name(name));
        for (service, address) in addresses {
            let _ = writeln!(self.0, "{service} =\n  endpoint_url = {address}");
        }
    }
}

/// `name`. The SDK would ignore a name with blanks or other characters than ASCII, so that gets another name.
pub(super) fn plain_name(name: &str) -> String {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-/.%@:+".contains(&byte)) {
        return name.to_owned();
    }
    name.bytes().fold(String::from("waxseal/name/"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Sections {
        let mut sections = Sections::default();
        sections.add(FileKind::Config, text).expect("a file that can be read");
        sections
    }

    #[test]
    fn sections_keys_and_remarks() {
        let read = config(
            "\u{feff}# a remark\r\n[default]\r\nregion = eu-west-1 # home\r\n\r\n[profile \"my prod\"] ; remark\n\
             REGION=us-east-1\n  # an indented remark\nempty =\nendpoint_url: http://a\n[plugins]\ncli = x\n\
             [sso-session s]\nsso_region = eu-west-1\n[services local]\nkms =\n  endpoint_url = http://k\n  # no\nsts =\n",
        );
        assert_eq!(read.profile("default").unwrap().get("region"), Some("eu-west-1"));
        let prod = read.profile("my prod").unwrap();
        assert_eq!((prod.get("region"), prod.get("empty")), (Some("us-east-1"), None));
        assert_eq!(prod.get("endpoint_url"), Some("http://a"));
        assert_eq!(read.sso_session("s").unwrap().get("sso_region"), Some("eu-west-1"));
        assert_eq!(read.services("local").unwrap().nested("kms", "endpoint_url"), Some("http://k"));
        assert_eq!(read.services("local").unwrap().nested("sts", "endpoint_url"), None);
        assert!(read.profile("plugins").is_none());
    }

    #[test]
    fn indented_sections_are_read_as_the_command_line_reads_them() {
        let read = config("[default]\n  region = eu-west-1\n  max_attempts = 2\n[profile a]\nx = 1\n  2\n");
        let default = read.profile("default").unwrap();
        assert_eq!((default.get("region"), default.get("max_attempts")), (Some("eu-west-1"), Some("2")));
        assert_eq!(read.profile("a").unwrap().get("x"), Some("1\n2"));
    }

    #[test]
    fn what_counts_first() {
        for text in
            ["[default]\na = 1\nb = 2\n[profile default]\na = 3\n", "[profile default]\na = 3\n[default]\na = 1\n"]
        {
            let default = config(text).profile("default").unwrap().clone();
            assert_eq!((default.get("a"), default.get("b")), (Some("3"), None), "{text}");
        }
        let mut both = config("[profile p]\na = 1\nb = 2\n");
        both.add(FileKind::Credentials, "[p]\na = 3\nb =\n[profile q]\nc = 4\n").unwrap();
        let p = both.profile("p").unwrap();
        assert_eq!((p.get("a"), p.get("b")), (Some("3"), Some("2")));
        assert!(both.profile("q").is_none());
    }

    #[test]
    fn lines_that_cannot_be_read() {
        for (text, line) in [
            ("a = b\n", 1),
            ("[default\n", 1),
            ("[default]\nno key\n", 2),
            ("[default]\n\n= x\n", 3),
            ("[services s]\nkms =\n  no key\n", 3),
        ] {
            assert_eq!(Sections::default().add(FileKind::Config, text).unwrap_err().0, line, "{text:?}");
        }
    }

    #[test]
    fn names_that_the_sdk_passes_over() {
        assert_eq!(plain_name("prod-1"), "prod-1");
        assert_eq!(plain_name("a b"), "waxseal/name/612062");
        assert_ne!(plain_name(""), "");
    }
}

//! The effective settings. The caller, the environment and the profiles can each give a value, and the same one is used
//! as in AWS's own tools. Each value is checked. The SDK then reads these values and nothing else.

use std::collections::HashMap;
use std::path::PathBuf;

use super::Service;
use super::config::Choices;
use super::credentials::Source;
use super::environment::Environment;
use super::http::Proxies;
use super::profile::{DEFAULT, Section, Sections, Written, plain_name};
use super::setting::{Kind, Setting, bad_credential, settings};
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};

/// The effective configuration.
pub(super) struct Effective {
    /// The SDK's environment.
    pub(super) variables: HashMap<String, String>,
    /// The SDK's file of profiles.
    pub(super) profiles: String,
    pub(super) region: Option<String>,
    pub(super) attempts: Option<u32>,
    pub(super) adaptive: bool,
    pub(super) fips: bool,
    pub(super) dual_stack: bool,
    /// A file of trust roots, and the setting that names it.
    pub(super) bundle: Option<(String, PathBuf)>,
    pub(super) proxies: Proxies,
    /// The address of the instance's metadata service, which knows the region; `None` if it is switched off.
    pub(super) instance: Option<String>,
    /// The endpoint of the service, if a setting names one.
    pub(super) own_endpoint: Option<String>,
    /// The service's own settings in the profile, in lower case.
    pub(super) keys: HashMap<&'static str, String>,
    /// What decides which credentials these are.
    pub(super) source: Source,
}

/// The names of the services that are called for credentials, in a section of services.
const OF_SOURCES: [&str; 4] = ["sts", "sso", "sso_oidc", "signin"];

/// The keys in a profile that say where credentials come from.
const OF_CREDENTIALS: &[&str] = &[
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_account_id",
    "role_arn",
    "role_session_name",
    "source_profile",
    "credential_source",
    "external_id",
    "mfa_serial",
    "credential_process",
    "login_session",
    "web_identity_token_file",
    "sso_session",
    "sso_account_id",
    "sso_role_name",
    "sso_region",
    "sso_start_url",
];

/// Keys that the SDK does not get in its profiles, because this crate handles them itself.
const SETTLED: &[&str] = &[
    "mfa_serial",
    "ca_bundle",
    "region",
    "max_attempts",
    "retry_mode",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "ignore_configured_endpoint_urls",
];

/// Before the first attempt, the SDK computes the waits between all attempts. For a large number this takes minutes, and
/// no timeout ends it. No call lasts long enough for more attempts than these.
const MOST_ATTEMPTS: u32 = 100;

/// The profile that has the credentials of the environment, for a role that names the environment as its source.
const ENVIRONMENT_PROFILE: &str = "waxseal/environment";

impl Effective {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that cannot be used, with the name of the variable or the profile's key. For
    /// credentials that cannot be used, an error of the key service.
    pub(super) fn read(config: &Choices, environment: &Environment) -> Result<Self> {
        let sections = environment.profiles()?;
        let reading = Reading::new(config, environment, &sections)?;
        reading.check()?;
        Ok(Self {
            variables: reading.variables(),
            profiles: reading.written(),
            region: reading.region(),
            attempts: reading.attempts(),
            adaptive: reading.value("AWS_RETRY_MODE", "retry_mode").is_some_and(|(_, mode)| is(mode, "adaptive")),
            fips: reading.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            dual_stack: reading.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            bundle: reading.bundle(),
            proxies: Proxies::of(environment),
            instance: reading.instance(),
            own_endpoint: reading.endpoint_of(reading.service()).map(|(_, address)| address),
            keys: reading.own_keys_of_service(),
            source: reading.source(),
        })
    }
}

fn is(value: &str, word: &str) -> bool {
    value.eq_ignore_ascii_case(word)
}

struct Reading<'a> {
    config: &'a Choices,
    environment: &'a Environment,
    sections: &'a Sections,
    /// The profile that is used, if it exists, and the profiles that it takes its credentials from.
    chain: Vec<(String, &'a Section)>,
    /// The name of the profile that is used, even if it does not exist.
    name: String,
    /// Whether the access keys of the environment are used, whatever the profile says.
    own_keys: bool,
}

impl<'a> Reading<'a> {
    fn new(config: &'a Choices, environment: &'a Environment, sections: &'a Sections) -> Result<Self> {
        let of_environment = || environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
        let name = match &config.profile {
            Some(name) if sections.profile(name).is_none() => {
                return Err(Error::setting(format!("there is no AWS profile {name:?}"), Remedy::NameProfile));
            }
            Some(name) => name,
            None => match of_environment() {
                Some((variable, name)) if sections.profile(name).is_none() && name != DEFAULT => {
                    return Err(Error::Invalid(format!("{variable}: there is no AWS profile {name:?}")));
                }
                named => named.map_or(DEFAULT, |(_, name)| name),
            },
        };
        let own_keys = config.profile.is_none() && environment.raw("AWS_ACCESS_KEY_ID").is_some();
        let mut reading = Self { config, environment, sections, chain: Vec::new(), name: name.to_owned(), own_keys };
        reading.follow()?;
        Ok(reading)
    }

    /// Finds the profile, and for a role the profiles that its credentials come from.
    fn follow(&mut self) -> Result<()> {
        let mut next = Some(self.name.clone());
        while let Some(name) = next.take() {
            let from = self.chain.last().map_or("", |(from, _)| from.as_str());
            let section = match self.sections.profile(&name) {
                Some(section) => section,
                None if self.chain.is_empty() => return Ok(()),
                None => {
                    return Err(Error::Invalid(format!(
                        "source_profile in the profile {from:?}: there is no AWS profile {name:?}"
                    )));
                }
            };
            if self.chain.iter().any(|(seen, _)| *seen == name) {
                return Err(Error::Invalid(format!(
                    "source_profile in the profile {from:?}: it leads back to {name:?}"
                )));
            }
            self.chain.push((name.clone(), section));
            let keys = section.get("aws_access_key_id").is_some() && self.chain.len() > 1;
            let is_role = section.get("role_arn").is_some() && section.get("web_identity_token_file").is_none();
            if is_role && !keys && !self.own_keys {
                next = section.get("source_profile").filter(|source| *source != name).map(str::to_owned);
            }
        }
        Ok(())
    }

    fn service(&self) -> &'static Service {
        self.environment.service()
    }

    /// The services that are called, by their names in a section of services.
    fn services(&self) -> impl Iterator<Item = &'static str> {
        OF_SOURCES.into_iter().chain([self.service().section])
    }

    fn profile(&self) -> Option<&'a Section> {
        self.chain.first().map(|(_, section)| *section)
    }

    /// The value of a setting, and where it is set. The variable has precedence over the profile.
    fn value(&self, variable: &'static str, key: &'static str) -> Option<(String, &str)> {
        match self.environment.get(variable) {
            Some(value) => Some((variable.into(), value)),
            None => Some((in_profile(key, &self.name), self.profile()?.get(key)?)),
        }
    }

    fn flag(&self, variable: &'static str, key: &'static str) -> bool {
        self.value(variable, key).is_some_and(|(_, value)| is(value, "true"))
    }

    fn attempts(&self) -> Option<u32> {
        let (_, count) = self.value("AWS_MAX_ATTEMPTS", "max_attempts")?;
        count.parse().ok().map(|count: u32| count.min(MOST_ATTEMPTS))
    }

    fn no_endpoints(&self) -> bool {
        self.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")
    }

    /// Whether a role takes the environment's keys.
    fn role_of_environment(&self) -> bool {
        let last = self.chain.last().and_then(|(_, section)| section.get("credential_source"));
        !self.own_keys && last.is_some_and(|source| is(source, "environment"))
    }

    /// Whether the variable of `setting` is used. The caller's own choice has precedence over the environment.
    fn variable_counts(&self, setting: &Setting) -> bool {
        let explicit = self.config.profile.is_some();
        match setting.variable {
            "" => false,
            "AWS_PROFILE" | "AWS_DEFAULT_PROFILE" => !explicit,
            "AWS_REGION" | "AWS_DEFAULT_REGION" => self.config.region.is_none(),
            "AWS_WEB_IDENTITY_TOKEN_FILE" | "AWS_ROLE_ARN" | "AWS_ROLE_SESSION_NAME" => !explicit,
            "AWS_ACCOUNT_ID" => !explicit || self.role_of_environment(),
            name if name.starts_with("AWS_ENDPOINT_URL") => !self.no_endpoints(),
            _ if setting.kind == Kind::Credential => !explicit || self.role_of_environment(),
            _ => true,
        }
    }

    fn key_counts(&self, setting: &Setting) -> bool {
        match setting.key {
            "" => false,
            "region" if self.config.region.is_some() => false,
            "endpoint_url" | "services" if self.no_endpoints() => false,
            key if OF_CREDENTIALS.contains(&key) => !self.own_keys,
            _ => self.environment.raw(setting.variable).is_none(),
        }
    }

    fn check(&self) -> Result<()> {
        self.environment.check(|setting| self.variable_counts(setting))?;
        for (name, section) in &self.chain {
            for setting in settings(self.service()).filter(|setting| self.key_counts(setting)) {
                if let Some(value) = section.get(setting.key) {
                    check_value(setting.kind, &in_profile(setting.key, name), value)?;
                }
            }
        }
        self.check_keys()?;
        self.check_service()?;
        self.check_sections()?;
        self.check_mfa()?;
        self.check_endpoints()
    }

    fn check_keys(&self) -> Result<()> {
        if self.own_keys && self.environment.raw("AWS_SECRET_ACCESS_KEY").is_none() {
            return Err(bad_credential("AWS_SECRET_ACCESS_KEY", "it is not set, and AWS_ACCESS_KEY_ID is"));
        }
        Ok(())
    }

    /// Checks the settings of the profile that are for this service only.
    fn check_service(&self) -> Result<()> {
        let section = self.service().section;
        for (key, words) in self.service().keys {
            let Some(value) = self.profile().and_then(|profile| profile.nested(section, key)) else { continue };
            check_value(Kind::Choice(words), &in_profile(&format!("{key} of {section}"), &self.name), value)?;
        }
        Ok(())
    }

    fn own_keys_of_service(&self) -> HashMap<&'static str, String> {
        let (section, keys) = (self.service().section, self.service().keys.iter());
        let value = |key| self.profile()?.nested(section, key).map(str::to_ascii_lowercase);
        keys.filter_map(|(key, _)| Some((*key, value(key)?))).collect()
    }

    /// Checks that the sections exist that the profile names.
    fn check_sections(&self) -> Result<()> {
        let missing = |key: &str, profile: &str, named: &str| {
            Err(Error::Invalid(format!("{}: there is no section {named:?}", in_profile(key, profile))))
        };
        if let Some(named) = self.services_name() {
            let Some(services) = self.sections.services(named) else { return missing("services", &self.name, named) };
            for service in self.services() {
                let Some(address) = services.nested(service, "endpoint_url") else { continue };
                let name = format!("endpoint_url of {service} in the section services {named:?}");
                check_value(Kind::Address(super::endpoint::Use::Service), &name, address)?;
            }
        }
        for (profile, section) in self.chain.iter().filter(|_| !self.own_keys) {
            let Some(named) = section.get("sso_session") else { continue };
            let Some(session) = self.sections.sso_session(named) else { return missing("sso_session", profile, named) };
            for (key, kind) in [("sso_region", Kind::Region), ("sso_start_url", Kind::Text)] {
                let name = format!("{key} in the section sso-session {named:?}");
                session.get(key).map_or(Ok(()), |value| check_value(kind, &name, value))?;
            }
        }
        Ok(())
    }

    fn services_name(&self) -> Option<&'a str> {
        self.profile()?.get("services").filter(|_| !self.no_endpoints())
    }

    /// Refuses a role that needs an MFA code, because nothing here asks for one. AWS would refuse the role too, but without
    /// the reason.
    fn check_mfa(&self) -> Result<()> {
        let asks = |(_, section): &&(String, &Section)| {
            section.get("role_arn").is_some() && section.get("mfa_serial").is_some()
        };
        let Some((name, _)) = self.chain.iter().find(asks).filter(|_| !self.own_keys) else { return Ok(()) };
        let why = "its role needs an MFA code (mfa_serial), so a session is needed";
        let error = ProviderError::new(ProviderCause::Credentials, format!("the profile {name:?}"), why);
        Err(Box::new(error.with_remedy(Remedy::StartSession { profile: name.clone() })).into())
    }

    /// Refuses settings that select AWS's FIPS or dual-stack endpoints and also name another endpoint.
    fn check_endpoints(&self) -> Result<()> {
        let kinds = [
            ("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", "FIPS"),
            ("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint", "dual-stack"),
        ];
        let Some((variable, key, what)) = kinds.into_iter().find(|(variable, key, _)| self.flag(variable, key)) else {
            return Ok(());
        };
        let Some(own) = self.own_endpoint() else { return Ok(()) };
        let (name, _) = self.value(variable, key).unwrap_or_default();
        Err(Error::Invalid(format!(
            "{name} selects AWS's {what} endpoints, but {own} names another endpoint: set only one of them"
        )))
    }

    /// The setting that names an endpoint for the service or for STS.
    fn own_endpoint(&self) -> Option<String> {
        let of_sts = || self.endpoint(&["AWS_ENDPOINT_URL_STS"], "sts");
        self.endpoint_of(self.service()).or_else(of_sts).map(|(name, _)| name)
    }

    /// The endpoint for `service`, and the setting that names it.
    fn endpoint_of(&self, service: &Service) -> Option<(String, String)> {
        self.endpoint(&[service.endpoint, "AWS_ENDPOINT_URL"], service.section)
    }

    fn endpoint(&self, variables: &[&str], section: &str) -> Option<(String, String)> {
        if self.no_endpoints() {
            return None;
        }
        if let Some((name, address)) = self.environment.first(variables) {
            return Some((name.to_owned(), address.to_owned()));
        }
        let services = self.services_name().and_then(|name| self.sections.services(name));
        if let Some(address) = services.and_then(|services| services.nested(section, "endpoint_url")) {
            return Some((format!("endpoint_url of {section} in its section services"), address.to_owned()));
        }
        let address = self.profile()?.get("endpoint_url")?;
        Some((in_profile("endpoint_url", &self.name), address.to_owned()))
    }

    fn region(&self) -> Option<String> {
        let of_environment = || self.environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).map(|(_, region)| region);
        let region = self.config.region.as_deref().or_else(of_environment);
        region.or_else(|| self.profile()?.get("region")).map(str::to_owned)
    }

    fn bundle(&self) -> Option<(String, PathBuf)> {
        let (name, path) = match self.environment.raw(super::http::CA_BUNDLE) {
            Some(path) => (super::http::CA_BUNDLE.to_owned(), PathBuf::from(path)),
            None => (in_profile("ca_bundle", &self.name), PathBuf::from(self.profile()?.get("ca_bundle")?)),
        };
        Some((name, self.environment.expand(&path)))
    }

    fn instance(&self) -> Option<String> {
        if self.environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| is(value, "true")) {
            return None;
        }
        let given = self.value("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
        let mode = self.value("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");
        Some(match (given, mode) {
            (Some((_, address)), _) => address.to_owned(),
            (None, Some((_, mode))) if is(mode, "ipv6") => "http://[fd00:ec2::254]".into(),
            _ => "http://169.254.169.254".into(),
        })
    }

    /// The SDK's environment.
    fn variables(&self) -> HashMap<String, String> {
        let counts = settings(self.service()).filter(|setting| self.variable_counts(setting));
        let counts = counts.filter(|setting| setting.kind != Kind::Credential || self.config.profile.is_none());
        let mut all: HashMap<String, String> = counts
            .filter_map(|setting| {
                Some((setting.variable.to_owned(), canonical(setting.kind, self.environment.get(setting.variable)?)))
            })
            .collect();
        for name in ["HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH"] {
            all.extend(self.environment.get(name).map(|value| (name.to_owned(), value.to_owned())));
        }
        if let Some(token) = all.remove("AWS_SECURITY_TOKEN") {
            all.entry("AWS_SESSION_TOKEN".into()).or_insert(token);
        }
        all.insert("AWS_PROFILE".into(), plain_name(&self.name));
        all
    }

    /// What decides which credentials these are: everything that the SDK reads, except endpoint and region of the service.
    fn source(&self) -> Source {
        let mut variables = self.variables();
        for name in [self.service().endpoint, "AWS_REGION", "AWS_DEFAULT_REGION"] {
            variables.remove(name);
        }
        Source::of(&variables, &self.written_profiles().into_text())
    }

    /// The SDK's file of profiles.
    fn written(&self) -> String {
        let mut written = self.written_profiles();
        if let Some((name, services)) =
            self.services_name().and_then(|name| Some((name, self.sections.services(name)?)))
        {
            let address = |name| Some((name, services.nested(name, "endpoint_url")?));
            written.services(name, self.services().filter_map(address));
        }
        written.into_text()
    }

    fn written_profiles(&self) -> Written {
        let mut written = Written::default();
        let role_of_environment = self.role_of_environment() && self.environment.raw("AWS_ACCESS_KEY_ID").is_some();
        for (name, section) in &self.chain {
            let counts =
                settings(self.service()).filter(|setting| self.key_counts(setting) && !SETTLED.contains(&setting.key));
            let values: Vec<(&str, String)> = counts
                .filter_map(|setting| {
                    let value = section.get(setting.key)?;
                    Some(match setting.key {
                        "credential_source" if role_of_environment => ("source_profile", ENVIRONMENT_PROFILE.into()),
                        "credential_source" => (setting.key, source_name(value)),
                        "services" | "source_profile" => (setting.key, plain_name(value)),
                        _ => (setting.key, canonical(setting.kind, value)),
                    })
                })
                .collect();
            written.section("profile", name, values.iter().map(|(key, value)| (*key, value.as_str())));
            if let Some(named) = section.get("sso_session")
                && let Some(session) = self.sections.sso_session(named)
            {
                let keys = ["sso_region", "sso_start_url"].into_iter();
                written.section("sso-session", named, keys.filter_map(|key| Some((key, session.get(key)?))));
            }
        }
        if role_of_environment {
            let keys =
                settings(self.service()).filter(|setting| !setting.key.is_empty() && !setting.variable.is_empty());
            let keys = keys.filter(|setting| setting.kind == Kind::Credential);
            let values = keys.filter_map(|setting| Some((setting.key, self.environment.get(setting.variable)?)));
            written.section("profile", ENVIRONMENT_PROFILE, values);
        }
        written
    }
}

fn in_profile(key: &str, profile: &str) -> String {
    format!("{key} in the profile {profile:?}")
}

fn check_value(kind: Kind, name: &str, value: &str) -> Result<()> {
    kind.check(value).map_err(|why| kind.refusal(name, &why))
}

/// The value in lower case, if the SDK compares it letter by letter.
fn canonical(kind: Kind, value: &str) -> String {
    match kind {
        Kind::Flag | Kind::Choice(_) => value.to_ascii_lowercase(),
        _ => value.to_owned(),
    }
}

fn source_name(value: &str) -> String {
    let names = ["Environment", "Ec2InstanceMetadata", "EcsContainer"];
    names.into_iter().find(|name| is(value, name)).unwrap_or(value).to_owned()
}

//! The AWS settings that are read, each with the values that it can have. A setting without a row here is not read.

use super::Service;
use super::endpoint::{self, Use};
use super::name::{is_account, is_region};
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy};

/// One setting: an environment variable, a key of a profile, or both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// The environment variable; empty if there is none.
    pub(super) variable: &'static str,
    /// The key in a profile; empty if there is none.
    pub(super) key: &'static str,
    pub(super) kind: Kind,
}

/// Which values a setting can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Part of a credential. It becomes part of a request's headers, and with any other byte the SDK would panic.
    Credential,
    /// A header's value. It can contain blanks.
    Header,
    /// Anything without control characters.
    Text,
    /// A header's value that is not signed: ASCII without control characters.
    Ascii,
    /// The name of an application.
    AppName,
    /// `true` or `false`, in upper or lower case.
    Flag,
    /// A whole number from 1.
    Count,
    /// One of these words, in upper or lower case.
    Choice(&'static [&'static str]),
    /// A region.
    Region,
    /// Twelve digits.
    Account,
    /// An address.
    Address(Use),
    /// A path with a query. It begins with `/`.
    PathOnly,
}

const fn row(variable: &'static str, key: &'static str, kind: Kind) -> Setting {
    Setting { variable, key, kind }
}

/// Every setting that is read for `service`.
pub(super) fn settings(service: &Service) -> impl Iterator<Item = Setting> + use<> {
    SETTINGS.iter().copied().chain([row(service.endpoint, "", Kind::Address(Use::Service))])
}

/// The settings that are read for every service. `docs/aws-configuration.md` has the same rows, in words.
const SETTINGS: &[Setting] = &[
    row("AWS_ACCESS_KEY_ID", "aws_access_key_id", Kind::Credential),
    row("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", Kind::Credential),
    row("AWS_SESSION_TOKEN", "aws_session_token", Kind::Credential),
    row("AWS_SECURITY_TOKEN", "", Kind::Credential),
    row("AWS_ACCOUNT_ID", "aws_account_id", Kind::Account),
    row("AWS_PROFILE", "", Kind::Text),
    row("AWS_DEFAULT_PROFILE", "", Kind::Text),
    row("AWS_REGION", "region", Kind::Region),
    row("AWS_DEFAULT_REGION", "", Kind::Region),
    row("AWS_MAX_ATTEMPTS", "max_attempts", Kind::Count),
    row("AWS_RETRY_MODE", "retry_mode", Kind::Choice(&["standard", "adaptive", "legacy"])),
    row("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", Kind::Flag),
    row("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint", Kind::Flag),
    row("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls", Kind::Flag),
    row("AWS_ENDPOINT_URL", "endpoint_url", Kind::Address(Use::Service)),
    row("AWS_ENDPOINT_URL_STS", "", Kind::Address(Use::Service)),
    row("AWS_ENDPOINT_URL_SSO", "", Kind::Address(Use::Service)),
    row("AWS_ENDPOINT_URL_SSO_OIDC", "", Kind::Address(Use::Service)),
    row("AWS_ENDPOINT_URL_SIGNIN", "", Kind::Address(Use::Service)),
    row("", "services", Kind::Text),
    row("", "ca_bundle", Kind::Text),
    row("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file", Kind::Text),
    row("AWS_ROLE_ARN", "role_arn", Kind::Text),
    row("AWS_ROLE_SESSION_NAME", "role_session_name", Kind::Text),
    row("", "source_profile", Kind::Text),
    row("", "credential_source", Kind::Choice(&["environment", "ec2instancemetadata", "ecscontainer"])),
    row("", "external_id", Kind::Text),
    row("", "mfa_serial", Kind::Text),
    row("", "credential_process", Kind::Text),
    row("", "login_session", Kind::Text),
    row("AWS_LOGIN_CACHE_DIRECTORY", "", Kind::Text),
    row("", "sso_session", Kind::Text),
    row("", "sso_account_id", Kind::Account),
    row("", "sso_role_name", Kind::Text),
    row("", "sso_region", Kind::Region),
    row("", "sso_start_url", Kind::Text),
    row("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "", Kind::PathOnly),
    row("AWS_CONTAINER_CREDENTIALS_FULL_URI", "", Kind::Address(Use::Container)),
    row("AWS_CONTAINER_AUTHORIZATION_TOKEN", "", Kind::Header),
    row("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "", Kind::Text),
    row("AWS_EC2_METADATA_DISABLED", "", Kind::Flag),
    row("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled", Kind::Flag),
    row("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint", Kind::Address(Use::Service)),
    row(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "ec2_metadata_service_endpoint_mode",
        Kind::Choice(&["ipv4", "ipv6"]),
    ),
    row("AWS_SDK_UA_APP_ID", "sdk_ua_app_id", Kind::AppName),
    row("AWS_EXECUTION_ENV", "", Kind::Ascii),
    row("HTTPS_PROXY", "", Kind::Address(Use::Proxy)),
    row("https_proxy", "", Kind::Address(Use::Proxy)),
    row("HTTP_PROXY", "", Kind::Address(Use::Proxy)),
    row("http_proxy", "", Kind::Address(Use::Proxy)),
    row("ALL_PROXY", "", Kind::Address(Use::Proxy)),
    row("all_proxy", "", Kind::Address(Use::Proxy)),
    row("NO_PROXY", "", Kind::Text),
    row("no_proxy", "", Kind::Text),
];

/// No useful value is longer, and a header can have this length.
const MAX_LEN: usize = 8192;

impl Kind {
    /// Checks that `value` is of this kind.
    ///
    /// # Errors
    /// The reason why it is not, in words that follow "NAME: ". They repeat nothing of `value`.
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        if value.len() > MAX_LEN {
            return Err(format!("it is longer than {MAX_LEN} bytes"));
        }
        let allowed =
            |test: fn(char) -> bool, why: &str| if value.chars().all(test) { Ok(()) } else { Err(why.into()) };
        match self {
            Self::Credential => allowed(
                |c| c.is_ascii_graphic(),
                "it contains a blank, a line end or another character that no credential has",
            ),
            Self::Header | Self::Ascii => {
                allowed(|c| c.is_ascii_graphic() || c == ' ', "it contains a line end or a character that is not ASCII")
            }
            Self::Text => allowed(|c| !c.is_control(), "it contains a line end or another control character"),
            Self::AppName => allowed(
                |c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c),
                "it contains a character that no application name has",
            ),
            Self::Flag => self.one_of(value, &["true", "false"]),
            Self::Choice(choices) => self.one_of(value, choices),
            Self::Count => match value.parse::<u32>() {
                Ok(1..) if value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
                _ => Err(format!("it must be a whole number from 1 to {}", u32::MAX)),
            },
            Self::Region if !is_region(value) => Err("it is not an AWS region".into()),
            Self::Account if !is_account(value) => Err("it is not an AWS account: an account has 12 digits".into()),
            Self::Region | Self::Account => Ok(()),
            Self::Address(used) => endpoint::check(value, used).map_err(Into::into),
            Self::PathOnly if !value.starts_with('/') || value.starts_with("//") => {
                Err("it must begin with one /".into())
            }
            Self::PathOnly => endpoint::check(&format!("http://host{value}"), Use::Container).map_err(Into::into),
        }
    }

    fn one_of(self, value: &str, choices: &[&str]) -> Result<(), String> {
        if choices.iter().any(|choice| value.eq_ignore_ascii_case(choice)) {
            Ok(())
        } else {
            Err(format!("it must be {}", choices.join(" or ")))
        }
    }

    /// The error for a value of the setting `name` that is not of this kind.
    pub(super) fn refusal(self, name: &str, why: &str) -> Error {
        match self {
            Self::Credential | Self::Header => bad_credential(name, why),
            _ => Error::Invalid(format!("{name}: {why}")),
        }
    }
}

/// The error for a credential that cannot be used. `name` says where it is set.
pub(super) fn bad_credential(name: &str, why: &str) -> Error {
    let error = ProviderError::new(ProviderCause::Credentials, name, why);
    Box::new(error.with_remedy(Remedy::SetCredentialAgain)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let ok = |kind: Kind, value: &str| assert_eq!(kind.check(value), Ok(()), "{kind:?} {value:?}");
        let bad = |kind: Kind, value: &str| assert!(kind.check(value).is_err(), "{kind:?} {value:?}");
        ok(Kind::Credential, "AKIDEXAMPLE/+=");
        for value in ["x\r", "x\n", " x", "x y", "\u{7f}", "ä", "x\0", &"x".repeat(MAX_LEN + 1)] {
            bad(Kind::Credential, value);
        }
        ok(Kind::Header, "Basic abc");
        bad(Kind::Header, "Basic\r");
        ok(Kind::Text, "a profile with blanks, ä");
        bad(Kind::Text, "a\u{85}");
        ok(Kind::Count, "4294967295");
        for value in ["0", "-1", "+1", " 1", "4294967296", "1.5", "x"] {
            bad(Kind::Count, value);
        }
        ok(Kind::Flag, "True");
        bad(Kind::Flag, "1");
        ok(Kind::Choice(&["legacy"]), "Legacy");
        bad(Kind::Choice(&["legacy"]), "legac");
        ok(Kind::PathOnly, "/v2/credentials?id=1");
        for value in ["v2", "//host/v2", "http://host/", "/a b", "/\r"] {
            bad(Kind::PathOnly, value);
        }
        bad(Kind::Account, "12345678901");
        bad(Kind::Region, "eu-west-1\r");
        bad(Kind::AppName, "a b");
    }

    #[test]
    fn a_name_stands_once() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            for later in &SETTINGS[index + 1..] {
                assert!(setting.variable.is_empty() || setting.variable != later.variable, "{}", later.variable);
                assert!(setting.key.is_empty() || setting.key != later.key, "{}", later.key);
            }
        }
    }
}

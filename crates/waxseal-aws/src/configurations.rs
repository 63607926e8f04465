//! Thousands of configurations, none of which may make the SDK panic: every variable and every key of a profile that
//! is read, with values that nobody should give it, alone and in pairs, over each way to get credentials. No request
//! leaves the machine.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::Duration;

use aws_config::Region;
use aws_sdk_kms::types::DataKeySpec;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::Service;
use super::config::tests::{KMS, S3, choices};
use super::config::{Choices, Loaded, instance_region};
use super::environment::Environment;
use super::setting::settings;
use super::worker::Worker;
use waxseal::error::{Error, Remedy, Result};

/// Sends what goes to this machine, where nobody answers, and refuses the rest.
#[derive(Debug)]
struct Here(SharedHttpClient);

#[derive(Debug)]
struct HereConnector(SharedHttpConnector);

impl HttpClient for Here {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(HereConnector(self.0.http_connector(settings, parts)))
    }
}

impl HttpConnector for HereConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.uri().starts_with("http://127.0.0.1:") {
            return self.0.call(request);
        }
        HttpConnectorFuture::ready(Err(ConnectorError::io("it would leave the machine".into())))
    }
}

const BAD: &[&[u8]] = &[
    b"",
    b" ",
    b"\t",
    b"x\r",
    b"\r",
    b"\n",
    b"x\ny = z",
    b"\r\n[profile q]",
    b"garbage",
    b"-1",
    b"0",
    b"007",
    b"99999999999999999999999",
    b"4294967295",
    b"1e9",
    b"\xff\xfe",
    b"\xc3\xa4",
    b"\x01",
    b"\x1b[31m",
    b"\x7f",
    b"http://",
    b"http://a b",
    b"://",
    b"localhost:1",
    b"http://127.0.0.1:1",
    b"http://[::1",
    b"http://127.0.0.1:99999",
    b"/path?query",
    b"true",
    b"FALSE",
    b"legacy",
    b"adaptive",
    b"[",
    b"=",
    b"# remark",
    b"%zz",
    b"{}",
    b"\"",
    b"us-east-1",
    b"default",
];

type Lines = Vec<(String, Vec<u8>)>;

/// One configuration: variables, and the keys of the profile and of the sections that it names.
#[derive(Clone, Default)]
struct Case {
    variables: HashMap<String, Vec<u8>>,
    keys: Lines,
    session: Lines,
    services: Lines,
    of_s3: Lines,
}

/// What a value is put into.
#[derive(Clone, Copy)]
enum Target {
    Variable(&'static str),
    Key(&'static str),
    Session(&'static str),
    Service(&'static str),
    /// The indented lines after `s3` in the profile.
    OfS3(&'static str),
}

impl Case {
    fn set(&mut self, target: Target, value: &[u8]) {
        let (lines, name) = match target {
            Target::Variable(name) => {
                self.variables.insert(name.into(), value.into());
                return;
            }
            Target::Key(name) => (&mut self.keys, name),
            Target::Session(name) => (&mut self.session, name),
            Target::Service(name) => (&mut self.services, name),
            Target::OfS3(name) => (&mut self.of_s3, name),
        };
        lines.retain(|(line, _)| line != name);
        lines.push((name.into(), value.into()));
    }

    fn file(&self) -> Vec<u8> {
        let mut text = Vec::new();
        section(&mut text, "profile p", &self.keys, " ");
        if !self.of_s3.is_empty() {
            section(&mut text, "profile p", &lines(&[("s3", "")]), "");
            for (name, value) in &self.of_s3 {
                line(&mut text, &format!("  {name} = "), value);
            }
        }
        section(&mut text, "sso-session s", &self.session, " ");
        section(&mut text, "services v", &self.services, "\n  endpoint_url = ");
        let base = lines(&[("aws_access_key_id", "AKIDBASE"), ("aws_secret_access_key", "secret")]);
        section(&mut text, "profile base", &base, " ");
        text
    }
}

fn section(text: &mut Vec<u8>, head: &str, lines: &Lines, between: &str) {
    line(text, &format!("[{head}]"), b"");
    for (name, value) in lines {
        line(text, &format!("{name} ={between}"), value);
    }
}

fn line(text: &mut Vec<u8>, start: &str, value: &[u8]) {
    text.extend_from_slice(start.as_bytes());
    text.extend_from_slice(value);
    text.push(b'\n');
}

fn lines(lines: &[(&str, &str)]) -> Lines {
    lines.iter().map(|(name, value)| ((*name).into(), value.as_bytes().to_vec())).collect()
}

/// The ways to get credentials.
fn bases(folder: &Path) -> Vec<Case> {
    let variables = |more: &[(&str, &str)]| {
        let usual = [
            ("AWS_PROFILE", "p"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"),
            ("AWS_MAX_ATTEMPTS", "1"),
            ("HOME", "/nonexistent"),
        ];
        usual.iter().chain(more).map(|(name, value)| ((*name).into(), value.as_bytes().to_vec())).collect()
    };
    let case = |more: &[(&str, &str)], of_profile: &[(&str, &str)]| Case {
        variables: variables(more),
        keys: lines(of_profile),
        ..Case::default()
    };
    let role = ("role_arn", "arn:aws:iam::123456789012:role/r");
    let token = folder.join("token").to_string_lossy().into_owned();
    let mut sso = case(&[], &[("sso_session", "s"), ("sso_account_id", "123456789012"), ("sso_role_name", "r")]);
    sso.session = lines(&[("sso_region", "us-east-1"), ("sso_start_url", "https://d.example/start")]);
    let mut services = case(&[], &[("aws_access_key_id", "AKID"), ("aws_secret_access_key", "s"), ("services", "v")]);
    services.variables.remove("AWS_ENDPOINT_URL");
    services.services = lines(&["kms", "s3", "sts"].map(|name| (name, "http://127.0.0.1:1")));
    vec![
        case(&[("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret")], &[]),
        services,
        case(&[], &[role, ("source_profile", "base")]),
        case(&[], &[role, ("credential_source", "EcsContainer")]),
        case(&[("AWS_WEB_IDENTITY_TOKEN_FILE", &token), ("AWS_ROLE_ARN", role.1)], &[("region", "us-east-1")]),
        case(&[], &[role, ("web_identity_token_file", &token)]),
        sso,
        case(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/c?id=1")], &[]),
        case(&[], &[("login_session", "arn:aws:iam::123456789012:user/u")]),
        case(&[], &[]),
    ]
}

fn targets() -> Vec<Target> {
    let both = || settings(&KMS).chain(settings(&S3).filter(|setting| setting.variable == S3.endpoint));
    let variables = both().map(|setting| setting.variable).filter(|name| !name.is_empty());
    let keys = both().map(|setting| setting.key).filter(|name| !name.is_empty());
    // A command that a value becomes would be run.
    let keys = keys.filter(|name| *name != "credential_process");
    let others = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "HOME"].map(Target::Variable);
    let session = ["sso_region", "sso_start_url"].map(Target::Session);
    let services = ["kms", "s3", "sts", "sso", "sso_oidc", "signin"].map(Target::Service);
    let own = [Target::OfS3("addressing_style")];
    let mut all: Vec<Target> = variables.map(Target::Variable).chain(keys.map(Target::Key)).collect();
    all.extend(others.into_iter().chain(session).chain(services).chain(own));
    all
}

/// Every value in every place, over two of the bases in turn; then pairs, by a generator that is the same each time.
fn cases(folder: &Path) -> Vec<Case> {
    let (bases, targets) = (bases(folder), targets());
    let long = vec![b'x'; 70_000];
    let values: Vec<&[u8]> = BAD.iter().copied().chain([long.as_slice()]).collect();
    let mut all = Vec::new();
    for (at, target) in targets.iter().enumerate() {
        for (turn, value) in values.iter().enumerate() {
            for base in [at + turn, at + turn + 5] {
                let mut case = bases[base % bases.len()].clone();
                case.set(*target, value);
                all.push(case);
            }
        }
    }
    let mut state = 1_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default() % below
    };
    for _ in 0..2500 {
        let mut case = bases[draw(bases.len())].clone();
        for _ in 0..2 {
            case.set(targets[draw(targets.len())], values[draw(values.len())]);
        }
        all.push(case);
    }
    all
}

/// Builds the configuration and makes one call with it.
async fn try_case(case: Case, config: Choices, file: std::path::PathBuf) -> Result<&'static str> {
    std::fs::write(&file, case.file()).expect("a file of profiles");
    let environment = Environment::of(config.service, |name| match case.variables.get(name) {
        Some(value) => Some(OsString::from_vec(value.clone())),
        None if name == "AWS_CONFIG_FILE" => Some(file.clone().into_os_string()),
        None => None,
    });
    let here = |bundle, proxies| SharedHttpClient::new(Here(super::http::client(bundle, proxies)));
    let loaded = config.load_from(&environment, here).await?;
    if loaded.sdk.region().is_none() {
        let _ = instance_region(&loaded).await;
    }
    match tokio::time::timeout(Duration::from_secs(1), answers(config.service, &loaded)).await {
        Ok(true) => Ok("answered"),
        Ok(false) => Ok("failed"),
        Err(_) => Ok("waited"),
    }
}

async fn answers(service: &Service, loaded: &Loaded) -> bool {
    let region = Region::new("us-east-1");
    if service == &S3 {
        let config = aws_sdk_s3::config::Builder::from(&loaded.sdk).region(region).build();
        let path = loaded.keys.get("addressing_style").is_some_and(|style| style == "path");
        let client = aws_sdk_s3::Client::from_conf(config.to_builder().force_path_style(path).build());
        return client.head_object().bucket("bucket").key("a key").send().await.is_ok();
    }
    let client = aws_sdk_kms::Client::from_conf(aws_sdk_kms::config::Builder::from(&loaded.sdk).region(region).build());
    client.generate_data_key().key_id("alias/x").key_spec(DataKeySpec::Aes256).send().await.is_ok()
}

/// How many wait beside each other.
const BATCH: usize = 512;

#[test]
fn no_configuration_makes_the_sdk_panic() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a token").unwrap();
    let (all, worker) = (cases(folder.path()), Worker::start(&KMS).unwrap());
    let mut ends: HashMap<&str, usize> = HashMap::new();
    for (number, some) in all.chunks(BATCH).enumerate() {
        let started: Vec<_> = some
            .iter()
            .enumerate()
            .map(|(at, case)| {
                let file = folder.path().join(format!("config-{at}"));
                // Two of three by KMS, so that each value meets both services.
                let service = if (number * BATCH + at) % 3 == 2 { &S3 } else { &KMS };
                worker.spawn(try_case(case.clone(), choices(service), file))
            })
            .collect();
        for (at, (answer, case)) in started.into_iter().zip(some).enumerate() {
            let end = match super::worker::wait(answer) {
                Ok(end) => end,
                Err(Error::Invalid(_)) => "refused",
                Err(Error::Provider(error)) if error.remedy != Some(Remedy::CheckSettings) => "refused credentials",
                Err(other) => panic!(
                    "case {}: {other:?}\n{:?}\n{}",
                    number * BATCH + at,
                    case.variables
                        .iter()
                        .map(|(name, value)| (name, value.escape_ascii().to_string()))
                        .collect::<Vec<_>>(),
                    case.file().escape_ascii()
                ),
            };
            *ends.entry(end).or_default() += 1;
        }
    }
    assert!(all.len() >= 5000 && !ends.contains_key("answered"), "{}: {ends:?}", all.len());
    assert!(ends.get("failed").is_some_and(|count| *count > 1000), "too few reach the SDK: {ends:?}");
}

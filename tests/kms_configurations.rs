//! AWS's configuration with the real program: which settings are used, which are refused, and how the message names
//! them. No configuration ends as a bug. All servers are on 127.0.0.1.
#![cfg(all(unix, feature = "aws-kms"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod support;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cli_support::Place;
use support::clear_aws_environment;

/// Nothing listens there.
const NOBODY_THERE: &str = "http://127.0.0.1:1";
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"), ("AWS_SECRET_ACCESS_KEY", "secret")];

/// How a run of the program ended.
#[derive(Debug)]
struct End {
    code: Option<i32>,
    errors: String,
}

impl End {
    #[track_caller]
    fn is(&self, code: i32, words: &[&str]) {
        let said = words.iter().all(|word| self.errors.contains(word));
        assert!(self.code == Some(code) && said, "exit {:?}, not {code} with {words:?}:\n{}", self.code, self.errors);
    }
}

/// Seals a byte for a key in KMS.
fn seal(place: &Place, options: &[&str], variables: &[(&str, &str)]) -> End {
    let mut command = command(place, options);
    command.envs(variables.iter().copied());
    ended(command)
}

fn command(place: &Place, options: &[&str]) -> Command {
    let base = ["encrypt", "-k", "alias/x", "-o", "-", "in", "--kms-timeout", "5"];
    let mut command = place.command(&[&base[..], options].concat());
    clear_aws_environment(&mut command);
    command
        .env("HOME", place.path(""))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_ENDPOINT_URL", NOBODY_THERE)
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", NOBODY_THERE)
        .env("HTTPS_PROXY", NOBODY_THERE)
        .env("HTTP_PROXY", NOBODY_THERE);
    command
}

fn ended(mut command: Command) -> End {
    let output = command.output().expect("the program runs");
    End { code: output.status.code(), errors: String::from_utf8_lossy(&output.stderr).into_owned() }
}

fn place() -> Place {
    let place = Place::new();
    place.write("in", "x");
    place
}

/// The same with `text` as the configuration file.
fn seal_with(text: &str, options: &[&str], variables: &[(&str, &str)]) -> End {
    let place = place();
    let config = place.write("config", text);
    seal(&place, options, &[&[("AWS_CONFIG_FILE", config.to_str().unwrap())], variables].concat())
}

/// A fake AWS with three answers: the credentials of a role, the credentials of a container, and a refusal of
/// everything else.
struct Aws {
    url: String,
    /// The access keys that signed, in order, with the first line of the request.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Aws {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &log);
            }
        });
        Self { url, seen }
    }

    fn signed(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut length, mut key, mut first) = (0, String::from("nobody"), String::new());
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if let Some((_, rest)) = line.split_once("Credential=") {
            key = rest.split('/').next().unwrap().to_owned();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8_lossy(&body);
    let assumed = |action: &str, key: &str| {
        format!(
            "<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s\
             </SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
             <AssumedRoleUser><AssumedRoleId>r:s</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn>\
             </AssumedRoleUser></{action}Result></{action}Response>"
        )
    };
    let (status, text) = if first.starts_with("GET /container") {
        let text =
            r#"{"AccessKeyId":"AKIDCONTAINER","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
        ("200 OK", text.to_owned())
    } else if body.contains("AssumeRoleWithWebIdentity") {
        ("200 OK", assumed("AssumeRoleWithWebIdentity", "AKIDWEB"))
    } else if body.contains("Action=AssumeRole") {
        log.lock().unwrap().push(format!("role by {key}"));
        ("200 OK", assumed("AssumeRole", "AKIDROLE"))
    } else if first.starts_with("POST /seals") {
        log.lock().unwrap().push(key);
        let (plain, blob) = ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "CQkJ".repeat(60));
        ("200 OK", format!(r#"{{"KeyId":"{ARN}","Plaintext":"{plain}","CiphertextBlob":"{blob}"}}"#))
    } else {
        log.lock().unwrap().push(key);
        ("400 Bad Request", r#"{"__type":"AccessDeniedException","message":"no"}"#.to_owned())
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
}

#[test]
fn empty_is_unset_and_legacy_is_standard() {
    let place = place();
    for (name, value) in [
        ("AWS_ENDPOINT_URL_KMS", ""),
        ("AWS_MAX_ATTEMPTS", ""),
        ("AWS_RETRY_MODE", ""),
        ("AWS_RETRY_MODE", "legacy"),
        // With this maximum number, the program must not compute anything in advance for each attempt.
        ("AWS_MAX_ATTEMPTS", "4294967295"),
        ("AWS_RETRY_MODE", "Adaptive"),
        ("AWS_SESSION_TOKEN", ""),
        ("AWS_USE_FIPS_ENDPOINT", ""),
        ("AWS_PROFILE", ""),
        ("AWS_CA_BUNDLE", ""),
        ("AWS_CONFIG_FILE", ""),
    ] {
        let end = seal(&place, &[], &[&KEYS[..], &[(name, value)]].concat());
        assert_eq!(end.code, Some(6), "{name}={value}: {}", end.errors);
    }
    let text = "[default]\nmax_attempts =\nretry_mode = legacy\nendpoint_url =\nuse_fips_endpoint =\n";
    seal_with(text, &[], &[KEYS[0], KEYS[1], ("AWS_MAX_ATTEMPTS", "")]).is(6, &[]);
}

#[test]
fn what_cannot_be_used_is_named() {
    let place = place();
    for (name, value) in [
        ("AWS_ENDPOINT_URL_KMS", "localhost:4566"),
        ("AWS_ENDPOINT_URL", "http://a b"),
        ("AWS_ENDPOINT_URL_STS", "ftp://127.0.0.1"),
        ("AWS_MAX_ATTEMPTS", "0"),
        ("AWS_MAX_ATTEMPTS", "-1"),
        ("AWS_MAX_ATTEMPTS", "three"),
        ("AWS_RETRY_MODE", "fast"),
        ("AWS_USE_FIPS_ENDPOINT", "yes"),
        ("AWS_REGION", "us east 1"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "x"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "http://127.0.0.1/"),
        ("HTTPS_PROXY", "socks5://127.0.0.1"),
        ("AWS_CA_BUNDLE", "/nonexistent/bundle.pem"),
        ("AWS_CA_BUNDLE", "/"),
        ("AWS_CONFIG_FILE", "/"),
    ] {
        seal(&place, &[], &[&KEYS[..], &[(name, value)]].concat()).is(2, &[name]);
    }
    for (key, value) in [
        ("endpoint_url", "localhost"),
        ("max_attempts", "x"),
        ("use_dualstack_endpoint", "1"),
        ("region", "Europe"),
        ("ca_bundle", "/nonexistent/bundle.pem"),
        ("services", "none"),
    ] {
        let text = format!("[default]\n{key} = {value}\n");
        let unset = [("AWS_ENDPOINT_URL", ""), ("AWS_MAX_ATTEMPTS", ""), ("AWS_REGION", "")];
        seal_with(&text, &[], &[&KEYS[..], &unset].concat()).is(2, &[key, "\"default\""]);
    }
    // If a variable replaces a setting of the file, the setting is not checked.
    seal_with("[default]\nmax_attempts = x\nregion = x\nendpoint_url = x\n", &[], &KEYS).is(6, &[]);
    seal_with("[default]\nservices = s\n[services s]\nkms =\n  endpoint_url = x\n", &[], &KEYS)
        .is(2, &["kms", "\"s\""]);
    seal_with("[default\n", &[], &KEYS).is(2, &["AWS_CONFIG_FILE", "line 1"]);
    let mut latin1 = command(&place, &[]);
    latin1.envs(KEYS).env("AWS_ENDPOINT_URL_KMS", OsString::from_vec(b"http://\xe4".to_vec()));
    ended(latin1).is(2, &["AWS_ENDPOINT_URL_KMS", "UTF-8"]);
}

const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/12345678-90ab-cdef-1234-567890abcdef";

#[test]
fn opening_says_it_as_sealing_does() {
    let aws = Aws::start();
    let place = place();
    let run = |arguments: &[&str], more: &[(&str, &str)]| {
        let mut command = place.command(arguments);
        clear_aws_environment(&mut command);
        command.envs(KEYS).env("AWS_ENDPOINT_URL", format!("{}/seals", aws.url)).envs(more.iter().copied());
        ended(command)
    };
    run(&["encrypt", "-k", ARN, "in"], &[]).is(0, &[]);
    let before = aws.signed().len();
    run(&["decrypt", "-k", ARN, "-o", "-", "in.wax"], &[("AWS_MAX_ATTEMPTS", "x")]).is(2, &["AWS_MAX_ATTEMPTS"]);
    run(&["decrypt", "-o", "-", "in.wax"], &[("AWS_ENDPOINT_URL_KMS", "x")]).is(2, &["AWS_ENDPOINT_URL_KMS"]);
    run(&["decrypt", "-o", "-", "in.wax"], &[("AWS_SESSION_TOKEN", "x\r")]).is(5, &["AWS_SESSION_TOKEN"]);
    for bundle in ["/nonexistent/bundle.pem", "/", "in"] {
        let bundle = [("AWS_CA_BUNDLE", bundle)];
        run(&["decrypt", "-k", ARN, "-o", "-", "in.wax"], &bundle).is(2, &["AWS_CA_BUNDLE"]);
        run(&["verify", "in.wax"], &bundle).is(2, &["AWS_CA_BUNDLE"]);
        run(&["verify", "--dry-run", "in.wax"], &bundle).is(2, &["AWS_CA_BUNDLE"]);
    }
    assert_eq!(aws.signed().len(), before, "a call was made");
    run(&["decrypt", "-k", ARN, "-o", "-", "in.wax"], &[]).is(0, &[]);
}

#[test]
fn credentials_with_a_line_end_are_a_failure_of_the_credentials() {
    let place = place();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "x\r"),
        ("AWS_ACCESS_KEY_ID", "x\n"),
        ("AWS_SECRET_ACCESS_KEY", "canary\r"),
        ("AWS_SESSION_TOKEN", "canary\u{7f}"),
        ("AWS_SESSION_TOKEN", "canary ä"),
        ("AWS_SECRET_ACCESS_KEY", ""),
    ] {
        let end = seal(&place, &[], &[&KEYS[..], &[(name, value)]].concat());
        end.is(5, &[name]);
        assert!(!end.errors.contains("canary"), "{}", end.errors);
    }
    let mut latin1 = command(&place, &[]);
    latin1.envs(KEYS).env("AWS_SESSION_TOKEN", OsString::from_vec(b"\xff".to_vec()));
    ended(latin1).is(5, &["AWS_SESSION_TOKEN"]);
    let profile = "[default]\naws_access_key_id = a\u{1}\naws_secret_access_key = s\n";
    seal_with(profile, &[], &[]).is(5, &["aws_access_key_id", "default"]);
    // The same if a process gives the credentials.
    let script = place.write("give", "printf '{\"Version\":1,\"AccessKeyId\":\"x\\\\r\",\"SecretAccessKey\":\"s\"}'\n");
    let process = format!("[default]\ncredential_process = sh {}\n", script.display());
    let end = seal_with(&process, &[], &[]);
    assert_eq!(end.code, Some(5), "{}", end.errors);
    assert!(!end.errors.contains("a bug"), "{}", end.errors);
}

const TWO: &str = "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = s\n\
                   [profile prod]\naws_access_key_id = AKIDPROD\naws_secret_access_key = s\n\
                   [profile \"with blanks\"]\naws_access_key_id = AKIDBLANKS\naws_secret_access_key = s\n\
                   [profile role]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = prod\n\
                   [profile of-environment]\nrole_arn = arn:aws:iam::123456789012:role/r\ncredential_source = Environment\n";

#[test]
fn what_the_command_line_names_wins() {
    let signed = |options: &[&str], variables: &[(&str, &str)]| {
        let aws = Aws::start();
        let end = seal_with(TWO, options, &[&[("AWS_ENDPOINT_URL", aws.url.as_str())], variables].concat());
        end.is(5, &["access is denied"]);
        aws.signed()
    };
    assert_eq!(signed(&["--profile", "prod"], &KEYS), ["AKIDPROD"]);
    assert_eq!(signed(&["--profile", "prod"], &[KEYS[0], KEYS[1], ("AWS_PROFILE", "typo")]), ["AKIDPROD"]);
    assert_eq!(signed(&["--profile", "with blanks"], &KEYS), ["AKIDBLANKS"]);
    assert_eq!(signed(&["--profile", "role"], &KEYS), ["role by AKIDPROD", "AKIDROLE"]);
    assert_eq!(signed(&["--profile", "of-environment"], &KEYS), ["role by AKIDENVIRONMENT", "AKIDROLE"]);
    // Without `--profile`, the keys of the environment are used, as in every AWS tool.
    assert_eq!(signed(&[], &[KEYS[0], KEYS[1], ("AWS_PROFILE", "prod")]), ["AKIDENVIRONMENT"]);
    assert_eq!(signed(&[], &[("AWS_PROFILE", "prod")]), ["AKIDPROD"]);
    assert_eq!(signed(&[], &[("AWS_DEFAULT_PROFILE", "prod")]), ["AKIDPROD"]);
    assert_eq!(signed(&[], &[]), ["AKIDDEFAULT"]);
    // If an option takes the place of a variable, the variable may be invalid.
    assert_eq!(signed(&["--profile", "prod"], &[("AWS_ACCESS_KEY_ID", "x\r")]), ["AKIDPROD"]);
    assert_eq!(signed(&["--region", "us-east-1"], &[("AWS_REGION", "x")]), ["AKIDDEFAULT"]);
}

#[test]
fn an_unknown_profile_is_named() {
    seal_with(TWO, &["--profile", "typo"], &KEYS).is(2, &["--profile", "\"typo\""]);
    seal_with(TWO, &[], &[KEYS[0], KEYS[1], ("AWS_PROFILE", "typo")]).is(2, &["AWS_PROFILE", "\"typo\""]);
    seal_with("[profile a]\nrole_arn = r\nsource_profile = typo\n", &["--profile", "a"], &[])
        .is(2, &["source_profile", "\"a\"", "\"typo\""]);
    seal_with(
        "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n",
        &["--profile", "a"],
        &[],
    )
    .is(2, &["source_profile", "\"b\"", "leads back"]);
    seal_with("[profile a]\nsso_session = typo\n", &["--profile", "a"], &[]).is(2, &["sso_session", "\"typo\""]);
}

#[test]
fn a_role_with_mfa_needs_a_session() {
    let text = "[profile m]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = b\n\
                mfa_serial = arn:aws:iam::123456789012:mfa/u\n[profile b]\naws_access_key_id = A\naws_secret_access_key = s\n";
    seal_with(text, &["--profile", "m"], &[]).is(5, &["mfa_serial", "a session is needed", "export-credentials"]);
    // The environment has keys, so the credentials of the profile are not used.
    seal_with(text, &[], &[KEYS[0], KEYS[1], ("AWS_PROFILE", "m")]).is(6, &[]);
}

#[test]
fn fips_and_dual_stack_with_an_own_endpoint() {
    let place = place();
    for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
        seal(&place, &[], &[&KEYS[..], &[(name, "true")]].concat()).is(2, &[name, "AWS_ENDPOINT_URL"]);
        let ignored = [("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"), (name, "true")];
        // The proxy should connect to AWS's own endpoint. But no proxy listens there.
        seal(&place, &[], &[&KEYS[..], &ignored].concat()).is(6, &[]);
    }
    let text =
        "[default]\nuse_fips_endpoint = true\nservices = s\n[services s]\nkms =\n  endpoint_url = http://127.0.0.1:1\n";
    seal_with(text, &[], &[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", "")]).is(2, &["use_fips_endpoint", "kms"]);
}

#[test]
fn credentials_of_containers_and_web_identities() {
    let place = place();
    let token = place.write("token", "a token");
    let signed = |text: &str, variables: &[(&str, &str)]| {
        let aws = Aws::start();
        let container = format!("{}/container?id=1", aws.url);
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, if *value == "HERE" { container.as_str() } else { value }))
            .collect();
        seal_with(text, &[], &[&[("AWS_ENDPOINT_URL", aws.url.as_str())], &variables[..]].concat())
            .is(5, &["access is denied"]);
        aws.signed()
    };
    let token = token.to_str().unwrap();
    let role = "arn:aws:iam::123456789012:role/r";
    let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", token), ("AWS_ROLE_ARN", role)];
    assert_eq!(signed("", &web), ["AKIDWEB"]);
    let profile = format!("[default]\nrole_arn = {role}\nweb_identity_token_file = {token}\n");
    assert_eq!(signed(&profile, &[]), ["AKIDWEB"]);
    assert_eq!(signed("", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "HERE")]), ["AKIDCONTAINER"]);
    let profile = format!("[default]\nrole_arn = {role}\ncredential_source = EcsContainer\n");
    let container = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "HERE"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic x")];
    assert_eq!(signed(&profile, &container), ["role by AKIDCONTAINER", "AKIDROLE"]);
    let process = "[default]\ncredential_process = printf '{\"Version\":1,\"AccessKeyId\":\"AKIDPROCESS\",\
                   \"SecretAccessKey\":\"s\"}'\n";
    assert_eq!(signed(process, &[]), ["AKIDPROCESS"]);
}

/// `aws login` leaves this file. Its name is the SHA-256 of the session.
#[test]
fn a_profile_of_aws_login() {
    let place = place();
    let session = "arn:aws:iam::0123456789012:user/Admin";
    let token = r#"{"accessToken":{"accessKeyId":"AKIDLOGIN","secretAccessKey":"s","sessionToken":"t",
        "accountId":"012345678901","expiresAt":"2099-09-14T04:05:45Z"},"tokenType":"aws_sigv4","refreshToken":"r",
        "clientId":"arn:aws:signin:::devtools/same-device","dpopKey":"none"}"#;
    place.write("36db1d138ff460920374e4c3d8e01f53f9f73537e89c88d639f68393df0e2726.json", token);
    let aws = Aws::start();
    let folder = place.path("");
    let text = format!("[default]\nlogin_session = {session}\n");
    let here = [("AWS_LOGIN_CACHE_DIRECTORY", folder.to_str().unwrap()), ("AWS_ENDPOINT_URL", aws.url.as_str())];
    seal_with(&text, &[], &here).is(5, &["access is denied"]);
    assert_eq!(aws.signed(), ["AKIDLOGIN"]);
}

#[test]
fn endpoints_of_profiles_and_which_counts() {
    let aws = Aws::start();
    let keys = "aws_access_key_id = AKIDPROFILE\naws_secret_access_key = s\n";
    let at =
        |text: &str, more: &[(&str, &str)]| seal_with(text, &[], &[&[("AWS_ENDPOINT_URL", "")], more].concat()).code;
    let url = &aws.url;
    assert_eq!(at(&format!("[default]\n{keys}endpoint_url = {url}\n"), &[]), Some(5));
    let services = format!(
        "[default]\n{keys}endpoint_url = {NOBODY_THERE}\nservices = s\n[services s]\nkms =\n  endpoint_url = {url}\n"
    );
    assert_eq!(at(&services, &[]), Some(5));
    assert_eq!(at(&services, &[("AWS_ENDPOINT_URL_KMS", NOBODY_THERE)]), Some(6));
    assert_eq!(at(&services, &[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]), Some(6));
    assert_eq!(aws.signed(), ["AKIDPROFILE", "AKIDPROFILE"]);
}

const VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ACCOUNT_ID",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_ENDPOINT_URL_STS",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_V1_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_SDK_UA_APP_ID",
    "AWS_EXECUTION_ENV",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_LOGIN_CACHE_DIRECTORY",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_DEFAULTS_MODE",
    "_X_AMZN_TRACE_ID",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "HOME",
];

const VALUES: &[&[u8]] = &[
    b"",
    b" ",
    b"x\r",
    b"x\n",
    b"garbage",
    b"-1",
    b"99999999999999999999",
    b"\xff\xfe",
    b"\x01\x1b",
    b"true",
    b"legacy",
    b"/",
];

/// Some hundreds of the thousands of cases in the library's own test. Each must end with an error for the user, and not
/// as a bug.
#[test]
fn a_sample_of_configurations_by_the_program() {
    let place = place();
    let mut all: Vec<Vec<(&str, &[u8])>> = Vec::new();
    for (at, name) in VARIABLES.iter().enumerate() {
        for (turn, value) in VALUES.iter().enumerate() {
            let mut case = vec![(*name, *value)];
            // Every other case has a second variable.
            if (at + turn) % 2 == 1 {
                case.push((
                    VARIABLES[(at * 7 + turn * 5 + 1) % VARIABLES.len()],
                    VALUES[(at + turn * 3) % VALUES.len()],
                ));
            }
            all.push(case);
        }
    }
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(case) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut command = command(&place, &[]);
            if case.len() == 1 {
                command.envs(KEYS);
            }
            for (name, value) in case {
                command.env(name, OsString::from_vec(value.to_vec()));
            }
            let end = ended(command);
            let fine =
                matches!(end.code, Some(2 | 5 | 6)) && !end.errors.contains("panick") && !end.errors.contains("a bug");
            assert!(
                fine,
                "{:?}: {end:?}",
                case.iter().map(|(name, value)| (name, value.escape_ascii().to_string())).collect::<Vec<_>>()
            );
            assert!(!end.errors.contains("the AWS library failed"), "the SDK panicked: {case:?}");
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(all.len() >= 400);
}

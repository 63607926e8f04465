//! Credentials that cannot be loaded: which failures are temporary, which failures are remembered, and which processes
//! are ended.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use cli_support::{Place, Ran, noise};
use support::{ACCOUNT, REGION, Reply, http, liar};

fn arn() -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-90ab-cdef-1234-567890abcdef")
}

fn command(place: &Place, args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = place.command(args);
    support::clear_aws_environment(&mut command);
    command.env("AWS_REGION", REGION).env("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1").env("AWS_MAX_ATTEMPTS", "1");
    for (name, value) in environment {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
    command
}

fn encrypt(place: &Place, environment: &[(&str, &str)]) -> Ran {
    place.write("in", noise(10));
    command(place, &["encrypt", "-f", "-k", &arn(), "in"], environment).output().unwrap().into()
}

fn web_identity(place: &Place, sts: &str) -> Ran {
    let token = place.write("token", "eyJ0b2tlbg");
    let environment = [
        ("AWS_ENDPOINT_URL_STS", sts),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r"),
    ];
    encrypt(place, &environment)
}

#[test]
fn a_passing_trouble_of_the_source_is_exit_6() {
    let place = Place::new();
    let error = |code: &str| {
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>words of STS</Message></Error></ErrorResponse>")
    };
    let page = "<html>log in</html>".to_owned();
    for (status, body, exit) in [
        (503, page.clone(), 6),
        (500, error("InternalFailure"), 6),
        (400, error("Throttling"), 6),
        (200, page.clone(), 6),
        (302, page.clone(), 6),
        (403, page, 6),
        (403, error("AccessDenied"), 5),
        (400, error("ExpiredTokenException"), 5),
    ] {
        let answer = http(status, &[], &body);
        let sts = liar(move |_| Reply::Bytes(answer.clone()));
        web_identity(&place, &sts.url).failed(exit, &["the AWS credentials cannot be loaded", "hint: "]);
        assert!(!sts.take().is_empty(), "STS was not asked");
        // The endpoint of a container has no defined form for a refusal.
        let answer = http(status, &[], &body);
        let container = liar(move |_| Reply::Bytes(answer.clone()));
        let ran = encrypt(&place, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container.url)]);
        if status >= 500 || status == 200 {
            ran.failed(6, &["the AWS credentials cannot be loaded"]);
        } else {
            ran.failed(5, &["the AWS credentials cannot be loaded"]);
        }
    }
    web_identity(&place, "http://127.0.0.1:1").failed(6, &["refused", "hint: "]);
    let nobody = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/x")];
    encrypt(&place, &nobody).failed(6, &["refused", "hint: "]);
    let metadata = [("AWS_EC2_METADATA_DISABLED", ""), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")];
    encrypt(&place, &metadata).failed(6, &["metadata service", "hint: "]);
    // Nothing is configured, so this failure is not temporary.
    encrypt(&place, &[]).failed(5, &["there are no AWS credentials", "hint: "]);
}

#[test]
fn a_failure_is_remembered_for_the_run() {
    let place = Place::new();
    let names: Vec<String> = (0..5).map(|number| format!("in{number}")).collect();
    names.iter().for_each(|name| drop(place.write(name, noise(10))));
    let token = place.write("token", "x");
    let broken = http(503, &[], "");
    let sts = liar(move |_| Reply::Bytes(broken.clone()));
    let key = arn();
    let args: Vec<&str> = ["encrypt", "-k", &key].into_iter().chain(names.iter().map(String::as_str)).collect();
    let environment = [
        ("AWS_ENDPOINT_URL_STS", sts.url.as_str()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r"),
    ];
    let ran: Ran = command(&place, &args, &environment).output().unwrap().into();
    assert_eq!((ran.code, ran.stderr.matches("error: ").count()), (Some(6), 5), "{}", ran.stderr);
    assert_eq!(sts.take().len(), 1, "STS is asked once");
}

/// Otherwise each slot of a hostile file could cause another call, and another wait.
#[test]
fn who_the_caller_is_is_asked_once_even_in_vain() {
    let place = Place::new();
    let (one, two) = (arn(), arn().replace("key/1", "key/2"));
    let key = move |called: &str| match called {
        "GetCallerIdentity" => Reply::Bytes(http(503, &[], "")),
        "GenerateDataKey" | "Encrypt" => {
            use base64::Engine as _;
            let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
            let key = if called == "Encrypt" { &two } else { &one };
            let body = serde_json::json!({ "KeyId": key, "Plaintext": base64(&[7; 32]),
                "CiphertextBlob": base64(&[9; 180]) });
            Reply::Bytes(http(200, &[], body.to_string()))
        }
        _ => Reply::Bytes(Vec::new()),
    };
    let aws = liar(key);
    place.write("in", noise(10));
    let environment = [
        ("AWS_ENDPOINT_URL_KMS", aws.url.as_str()),
        ("AWS_ENDPOINT_URL_STS", aws.url.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let other = arn().replace("key/1", "key/2");
    let args = ["encrypt", "-k", &arn(), "-k", &other, "in"];
    let ran: Ran = command(&place, &args, &environment).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    aws.take();
    let args = ["decrypt", "-f", "-o", "out", "in.wax"];
    let ran: Ran = command(&place, &args, &environment).output().unwrap().into();
    ran.failed(6, &["--account"]);
    assert_eq!(aws.take(), ["GetCallerIdentity"]);
}

#[test]
fn a_refusal_is_told_before_the_command_runs() {
    let place = Place::new();
    let args = ["encrypt", "-k", &arn(), "-o", "out.wax", "--from-command", "--", "sh", "-c", "touch ran; sleep 300"];
    let ran: Ran = command(&place, &args, &[]).output().unwrap().into();
    ran.failed(5, &["there are no AWS credentials"]);
    assert!(!place.exists("ran") && !place.exists("out.wax"));
}

/// The producer has written nothing yet, and keeps its end of the pipe open.
#[test]
fn a_refusal_is_told_before_the_producer_speaks() {
    let place = Place::new();
    let mut command = command(&place, &["encrypt", "-k", &arn(), "-o", "out.wax"], &[]);
    let child = command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut child = child;
    let held = child.stdin.take();
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.failed(5, &["there are no AWS credentials"]);
    drop(held);
}

#[cfg(target_os = "linux")]
mod credential_process {
    use super::*;

    /// A profile with a credential process that records its start and then hangs.
    fn hanging(place: &Place) -> String {
        let script = "echo $$ >> started; sleep 300 & wait";
        place.write("hang.sh", script);
        let config = format!("[default]\ncredential_process = sh {}\n", place.path("hang.sh").display());
        place.write("config", config).to_str().unwrap().to_owned()
    }

    fn started(place: &Place) -> Vec<String> {
        let text = if place.exists("started") { place.read("started") } else { Vec::new() };
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }

    /// Waits until the credential process and its children have ended.
    fn assert_ended(place: &Place) {
        let here = place.path("").canonicalize().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = std::fs::read_dir("/proc")
                .unwrap()
                .flatten()
                .filter(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == here));
            let left: Vec<_> = left.map(|process| process.file_name()).collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still running: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn one_that_hangs_is_started_once_and_ended() {
        let place = Place::new();
        let config = hanging(&place);
        place.write("in", noise(10));
        place.write("in2", noise(10));
        let args = ["encrypt", "--kms-timeout", "1", "-k", &arn(), "in", "in2"];
        let environment = [("AWS_CONFIG_FILE", config.as_str()), ("AWS_MAX_ATTEMPTS", "3")];
        let ran: Ran = command(&place, &args, &environment).output().unwrap().into();
        ran.failed(6, &["no answer in time"]);
        assert_eq!(started(&place).len(), 1);
        assert_ended(&place);
    }

    #[test]
    fn one_that_hangs_ends_with_the_program() {
        let place = Place::new();
        let config = hanging(&place);
        place.write("in", noise(10));
        let args = ["encrypt", "--kms-timeout", "60", "-k", &arn(), "in"];
        let mut child = command(&place, &args, &[("AWS_CONFIG_FILE", &config)]).spawn().unwrap();
        while started(&place).is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap();
        assert_ended(&place);
    }

    #[test]
    fn what_one_says_is_not_told() {
        let place = Place::new();
        for script in ["echo $SECRET_PART >&2; exit 3", "echo '{\"Version\":1,\"SecretAccessKey\":'$SECRET_PART"] {
            place.write("fail.sh", script);
            let config = format!("[default]\ncredential_process = sh {}\n", place.path("fail.sh").display());
            let config = place.write("config", config);
            let environment = [("AWS_CONFIG_FILE", config.to_str().unwrap()), ("SECRET_PART", "hushhushhush")];
            let ran = encrypt(&place, &environment);
            ran.failed(5, &["credential_process"]);
            assert!(!ran.stderr.contains("hush"), "{}", ran.stderr);
        }
    }
}

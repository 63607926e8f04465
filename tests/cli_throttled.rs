//! KMS throttles the calls of many programs, or of one program with many files.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::{Place, Ran};
use serde_json::Value;
use support::{REGION, Server, small_kms};

/// A folder, the small KMS, and a key in it.
struct Cloud {
    place: Place,
    server: Server,
    key: String,
}

impl Cloud {
    fn new() -> Self {
        let server = small_kms();
        let key = server.aws().create_key();
        Self { place: Place::new(), server, key }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        support::clear_aws_environment(&mut command);
        command.env("AWS_ENDPOINT_URL", &self.server.url).env("AWS_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    fn names(&self, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|number| format!("in{number}")).collect();
        names.iter().for_each(|name| drop(self.place.write(name, name)));
        names
    }
}

/// How many programs run at the same time. `WAXSEAL_THROTTLED_RUNS` sets a larger number, which takes too long for a
/// usual run of the tests.
fn runs() -> usize {
    std::env::var("WAXSEAL_THROTTLED_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(60)
}

#[test]
fn many_programs_share_a_quota_and_all_succeed() {
    let cloud = Cloud::new();
    let names = cloud.names(runs());
    cloud.server.limit(20);
    let begun = Instant::now();
    let start = |name: &String| {
        let mut command = cloud.command(&["encrypt", "-k", &cloud.key, name]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = names.iter().map(start).collect();
    let ended: Vec<Ran> = children.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect();
    let failed: Vec<_> = ended.iter().filter(|ran| ran.code != Some(0)).map(|ran| &ran.stderr).collect();
    assert!(failed.is_empty(), "{} of {} failed in {:?}: {}", failed.len(), names.len(), begun.elapsed(), failed[0]);
    // Without a refusal, the test would prove nothing.
    let asked = cloud.server.calls().iter().filter(|call| call["Operation"] == "GenerateDataKey").count();
    assert!(asked > names.len(), "{asked} calls of {} programs: none was throttled", names.len());
    cloud.server.conforms();
}

#[test]
fn one_program_with_many_files_slows_down_and_all_succeed() {
    let cloud = Cloud::new();
    let names = cloud.names(60);
    cloud.server.limit(20);
    let mut args = vec!["encrypt", "-k", &cloud.key];
    args.extend(names.iter().map(String::as_str));
    let ran = cloud.run(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let asked = cloud.server.calls().iter().filter(|call| call["Operation"] == "GenerateDataKey").count();
    assert!(asked > names.len(), "{asked} calls: none was throttled");
    // If each of the sixteen threads continued at its old speed, there would be many calls for each file.
    assert!(asked < names.len() * 4, "{asked} calls for {} files", names.len());
}

#[test]
fn a_quota_that_never_has_room_is_exit_6_when_the_time_is_up() {
    let cloud = Cloud::new();
    cloud.names(1);
    cloud.server.limit(0);
    let begun = Instant::now();
    let ran = cloud.run(&["encrypt", "--kms-timeout", "4", "-k", &cloud.key, "in0"]);
    let took = begun.elapsed();
    ran.failed(6, &["AWS asks for fewer requests", "GenerateDataKey was sent ", " times in ", "hint: "]);
    assert!(!cloud.place.exists("in0.wax"));
    // The calls are more than the SDK alone would make, but not so many that the quota stays full.
    let asked = cloud.server.calls().iter().filter(|call| call["Operation"] == "GenerateDataKey").count();
    assert!((4..40).contains(&asked), "{asked} calls");
    assert!(ran_out(took, 4), "{took:?}");
    let told = cloud.run(&["encrypt", "--json", "--kms-timeout", "1", "-k", &cloud.key, "in0"]).text();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["exit"], &told["kind"]), (&6.into(), &"unavailable".into()));
}

/// Whether at least half of the time was used. The pauses are random, so the last attempt can come long before the time
/// is over.
fn ran_out(took: Duration, seconds: u64) -> bool {
    took >= Duration::from_secs(seconds) / 2
}

/// If a number of attempts is given, exactly this number of calls is sent.
#[test]
fn a_number_of_attempts_that_is_given_counts() {
    let cloud = Cloud::new();
    cloud.names(1);
    cloud.server.limit(0);
    let mut command = cloud.command(&["encrypt", "-k", &cloud.key, "in0"]);
    let ran: Ran = command.env("AWS_MAX_ATTEMPTS", "2").output().unwrap().into();
    ran.failed(6, &["AWS asks for fewer requests", "was sent 2 times in "]);
    let asked = cloud.server.calls().iter().filter(|call| call["Operation"] == "GenerateDataKey").count();
    assert_eq!(asked, 2);
}

/// A caller tries again after exit code 6, so a failure that stays decides over it.
#[test]
fn what_may_pass_comes_after_what_stays() {
    let cloud = Cloud::new();
    cloud.place.write("in", b"content");
    for key in ["next", "other"] {
        cloud.place.ok(&["key", "new", key]);
    }
    let seal = |keys: &[&str], name| {
        let ran = cloud.run(&[&["encrypt", "-o", name, "in"][..], keys].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    };
    seal(&["-k", &cloud.key, "-k", "file:other"], "kms.wax");
    seal(&["-k", &cloud.key], "one.wax");
    let change = ["rewrap", "--allow-unwrap", "-k", &cloud.key, "--from", "slot:1", "--to", "file:next"];
    for (inputs, code) in [(&["one.wax"][..], 2), (&["kms.wax"], 6), (&["one.wax", "kms.wax"], 2)] {
        let mut command = cloud.command(&[&change[..], inputs].concat());
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_MAX_ATTEMPTS", "1");
        let ran: Ran = command.output().unwrap().into();
        assert_eq!(ran.code, Some(code), "{inputs:?}: {}", ran.stderr);
    }
}

//! Dumps of a real PostgreSQL are sealed and restored, and sealed files are uploaded to an object store. Every reader
//! notices a truncated file.
//!
//! ```sh
//! cargo test --locked --test cli_psql -- --ignored --nocapture    # 300 uploads instead of 4
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "figures")]

mod cli_support;
mod support;

use std::process::Command;

use std::fs::File;
use std::process::Stdio;

use cli_support::{Place, Ran, WAXSEAL, noise};
use support::{Fault, Postgres, REGION, counting_proxy, moto, postgres_programs, python, shared_moto};

/// The program in `place`, with the variables that tell a client where the server is.
fn command(place: &Place, postgres: &Postgres, args: &[&str]) -> Command {
    let mut command = place.command(args);
    command.envs(postgres.variables());
    command
}

#[test]
fn a_dump_is_sealed_and_restored() {
    let (place, postgres) = (Place::new(), Postgres::start());
    postgres.sql("create table t (n int primary key, word text)");
    postgres.sql("insert into t select n, md5(n::text) from generate_series(1, 5000) n");
    let dump = postgres_programs().join("pg_dump");
    let args = ["encrypt", "-k", "file:k", "-o", "t.wax", "--from-command", "--", dump.to_str().unwrap(), "-t", "t"];
    let sealed = command(&place, &postgres, &args).output().unwrap();
    assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
    let before = postgres.sql("select count(*), md5(string_agg(word, '' order by n)) from t");
    postgres.sql("drop table t");
    let psql = postgres_programs().join("psql");
    let script =
        format!("{WAXSEAL} decrypt -k file:k -o - t.wax | {} -X -q -1 -v ON_ERROR_STOP=1 -o /dev/null", psql.display());
    let mut restore = Command::new("sh");
    restore.args(["-c", &script]).current_dir(place.path("")).envs(postgres.variables());
    assert!(restore.status().unwrap().success());
    assert_eq!(postgres.sql("select count(*), md5(string_agg(word, '' order by n)) from t"), before);
}

/// A sealed dump `t.wax` of a table of 40,000 rows. Afterwards the table is empty. The dump ends with a line that
/// starts with `-- `.
fn dumped(place: &Place, postgres: &Postgres) -> Vec<u8> {
    postgres.sql("create table t (n int, word text)");
    let lines: String = (0..40_000).map(|n| format!("{n}\t{n:060}\n")).collect();
    let dump = format!("copy t (n, word) from stdin;\n{lines}\\.\nselect count(*) from t;\n");
    place.sealed("t.wax", dump.as_bytes())
}

fn rows(postgres: &Postgres) -> u64 {
    postgres.sql("select count(*) from t").parse().unwrap()
}

/// The command line of a restore.
fn psql() -> String {
    let psql = postgres_programs().join("psql");
    format!("{} -X -q -1 -v ON_ERROR_STOP=1 -o /dev/null", psql.display())
}

fn shell(place: &Place, postgres: &Postgres, script: &str) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(place.path("")).envs(postgres.variables()).stdin(Stdio::null());
    shell.output().unwrap().into()
}

/// `cuts` dumps are cut at random places, and come from files and from pipes. No row is ever committed.
fn restore_cut_dumps(cuts: usize) {
    let (place, postgres) = (Place::new(), Postgres::start());
    let sealed = dumped(&place, &postgres);
    let restore = |input: &str| format!("{WAXSEAL} decrypt -k file:k --to-command {input} -- {}", psql());
    // The whole dump can be restored. A plain pipe restores a part of a truncated dump, so this test can fail.
    assert_eq!(shell(&place, &postgres, &restore("t.wax")).code, Some(0));
    assert_eq!(rows(&postgres), 40_000);
    postgres.sql("truncate t");
    place.write("cut.wax", &sealed[..sealed.len() / 2]);
    let plain = format!("{WAXSEAL} decrypt -k file:k -o - cut.wax | {}", psql());
    assert_eq!(shell(&place, &postgres, &plain).code, Some(0), "psql's own");
    let lost = rows(&postgres);
    assert!(lost > 0 && lost < 40_000, "a plain pipe commits a part: {lost}");
    postgres.sql("truncate t");
    let random = noise(8 * cuts);
    let begun = std::time::Instant::now();
    for (number, random) in random.chunks(8).enumerate() {
        let at = usize::try_from(u64::from_le_bytes(random.try_into().unwrap()) % sealed.len() as u64).unwrap();
        place.write("cut.wax", &sealed[..at]);
        let script = match number % 2 {
            0 => restore("cut.wax"),
            _ => format!("cat cut.wax | {}", restore("-")),
        };
        let ran = shell(&place, &postgres, &script);
        assert!([Some(3), Some(4)].contains(&ran.code), "cut at {at}: {:?} {}", ran.code, ran.stderr);
    }
    assert_eq!(rows(&postgres), 0);
    eprintln!("{cuts} cuts in {:?}: 0 rows committed; a plain pipe committed {lost} rows", begun.elapsed());
}

#[test]
fn no_row_of_300_cut_dumps_is_committed() {
    restore_cut_dumps(300);
}

/// The variables that tell a client where the key service is.
fn service(url: &str) -> [(&'static str, String); 4] {
    [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", REGION),
        ("AWS_ENDPOINT_URL", url),
    ]
    .map(|(name, value)| (name, value.to_owned()))
}

/// Each consumer with each failure. No consumer sees a clean end. Each cause has its own exit code, and only a missing
/// file has 10.
#[test]
fn no_wrong_ending_is_a_clean_end() {
    let (place, postgres, kms) = (Place::new(), Postgres::start(), counting_proxy(&shared_moto().url));
    let sealed = dumped(&place, &postgres);
    place.ok(&["key", "new", "other"]);
    place.write("cut.wax", &sealed[..sealed.len() / 2]);
    place.write("short.wax", &sealed[..3]);
    let key = shared_moto().aws().create_key();
    let seal = ["encrypt", "-k", &key, "-o", "kms.wax", "t.wax"];
    assert!(command(&place, &postgres, &seal).envs(service(&kms.url)).status().unwrap().success());
    let (psql, by_kms) = (psql(), format!("-k {key} --kms-timeout 1"));
    let consumers = [psql.as_str(), "sh -c 'cat > part && touch done'", "sh -c 'cat | cat > part && touch done'"];
    for (ending, keys, input, code) in [
        ("cut", "-k file:k", "cut.wax", 4),
        ("cut in its header", "-k file:k", "short.wax", 3),
        ("another key", "-k file:other", "t.wax", 5),
        ("denied", &by_kms, "kms.wax", 5),
        ("unreachable", &by_kms, "kms.wax", 6),
        ("missing file", "-k file:k", "missing.wax", 10),
        ("missing folder", "-k file:k", "missing/t.wax", 7),
        ("missing file and no service", &by_kms, "missing.wax", 10),
        ("a file in place of a folder", "-k file:k", "t.wax/t.wax", 7),
    ] {
        for consumer in consumers {
            match ending {
                "denied" => kms.fail_on("Decrypt", Fault::refusal("AccessDeniedException", "no")),
                "unreachable" | "missing file and no service" => kms.cut_after(0),
                _ => kms.heal(),
            }
            let script = format!("exec {WAXSEAL} decrypt {keys} --to-command {input} -- {consumer}");
            let mut run = Command::new("sh");
            run.args(["-c", &script]).current_dir(place.path("")).envs(postgres.variables());
            let ran: Ran = run.envs(service(&kms.url)).output().unwrap().into();
            assert_eq!(ran.code, Some(code), "{ending}: {script}: {}", ran.stderr);
            assert!(!place.exists("done"), "{ending}: {script}: a clean end");
        }
    }
    assert_eq!(rows(&postgres), 0);
    // Without a failure, each of these consumers sees a clean end. So the test can fail.
    kms.heal();
    for consumer in &consumers[1..] {
        let script = format!("exec {WAXSEAL} decrypt {by_kms} --to-command kms.wax -- {consumer}");
        let mut run = Command::new("sh");
        run.args(["-c", &script]).current_dir(place.path("")).envs(service(&kms.url));
        assert!(run.status().unwrap().success() && place.exists("done"), "{script}");
        std::fs::remove_file(place.path("done")).unwrap();
    }
}

/// Without a key, the producer is not started. So no upload of its data begins.
#[test]
fn no_producer_runs_without_a_key() {
    let (place, kms) = (Place::new(), shared_moto());
    let seal = ["encrypt", "-k", "alias/nope", "--kms-timeout", "1", "-o", "-", "--from-command", "--", "touch", "ran"];
    // Nothing listens at the first URL.
    for (url, code) in [("http://127.0.0.1:1", 6), (&kms.url, 5)] {
        let ran: Ran = place.command(&seal).envs(service(url)).output().unwrap().into();
        assert!(ran.code == Some(code) && ran.stdout.is_empty(), "{url}: {:?} {}", ran.code, ran.stderr);
        assert!(!place.exists("ran"), "{url}: the producer ran");
    }
}

/// Uploads stdin in parts, as `aws s3 cp - s3://...` does, and returns the object in the store.
const STORE: &str = r#"
import sys, boto3
what, url, name = sys.argv[1:]
store = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="secret")
if what == "make":
    store.create_bucket(Bucket="backups")
elif what == "put":
    store.upload_fileobj(sys.stdin.buffer, "backups", name)
else:
    store.download_fileobj("backups", name, sys.stdout.buffer)
"#;

/// `cuts` producers die, and each of their uploads succeeds. No reader accepts the objects in the store.
fn upload_cut_dumps(cuts: usize) {
    let (place, store) = (Place::new(), moto());
    place.write("in", noise(6_000_000));
    let client = |what: &str, name: &str| {
        let mut client = Command::new(python());
        support::clear_aws_environment(&mut client);
        client.args(["-c", STORE, what, &store.url, name]).current_dir(place.path(""));
        client
    };
    assert!(client("make", "").status().unwrap().success());
    let random = noise(8 * cuts);
    for random in std::iter::once(None).chain(random.chunks(8).map(Some)) {
        let at = random.map(|random| u64::from_le_bytes(random.try_into().unwrap()) % 6_000_000);
        let script = at.map_or("cat in".to_owned(), |at| format!("head -c {at} in; kill -9 $$"));
        let mut seal =
            place.command(&["encrypt", "-k", "file:k", "-o", "-", "--from-command", "--", "sh", "-c", &script]);
        let mut seal = seal.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let put = client("put", "t.wax").stdin(seal.stdout.take().unwrap()).status().unwrap();
        assert!(put.success(), "the upload failed");
        assert_eq!(seal.wait().unwrap().code(), Some(if at.is_some() { 9 } else { 0 }));
        let file = File::create(place.path("got.wax")).unwrap();
        assert!(client("get", "t.wax").stdout(file).status().unwrap().success());
        let code = place.run(&["verify", "-q", "-k", "file:k", "got.wax"]).code;
        let expected: &[i32] = if at.is_some() { &[3, 4] } else { &[0] };
        assert!(expected.contains(&code.unwrap()), "{at:?}: {code:?}");
    }
    eprintln!("{cuts} producers died: 0 of the objects are accepted");
}

#[test]
fn no_reader_accepts_the_upload_of_a_producer_that_died() {
    upload_cut_dumps(4);
}

#[test]
#[ignore = "takes minutes"]
fn no_reader_accepts_300_uploads_of_producers_that_died() {
    upload_cut_dumps(300);
}

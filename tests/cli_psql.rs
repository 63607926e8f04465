//! Dumps of a real PostgreSQL, sealed and restored.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod support;

use std::process::Command;

use cli_support::{Place, WAXSEAL};
use support::{Postgres, postgres_programs};

/// The program in `place`, with what leads a client to the server.
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

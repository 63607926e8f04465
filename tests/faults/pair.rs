//! `key new --pair` under every fault: both files exist, or none. The identity exists alone only if the process is
//! killed between the two files, or cannot remove the identity. The recipient file never exists alone, because nobody
//! could open files that are sealed to it.

use waxseal::keys::{Identity, Recipient};

use crate::cases::{Case, pair};
use crate::check::stderr_is_right;
use crate::injector::{End, Fault, Ground, How, Injected, Mode};
use crate::{all, for_each};

const KILL: i32 = 9;

/// The files that exist.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    Both,
    IdentityAlone,
    Wrong(String),
}

fn there(ground: &Ground) -> There {
    let identity = ground.read("made").map(|bytes| Identity::parse(&bytes));
    let recipient = ground.read("made.pub").map(|bytes| Recipient::parse(&bytes));
    match (identity, recipient) {
        (None, None) => There::Nothing,
        (Some(Ok(identity)), Some(Ok(recipient))) if *identity.recipient() == recipient => There::Both,
        (Some(Ok(_)), None) => There::IdentityAlone,
        (identity, recipient) => There::Wrong(format!("{:?}, {:?}", identity.is_some(), recipient.is_some())),
    }
}

/// Whether these files may exist after this end of the run.
fn is_right(there: &There, fault: &Fault, injected: &Injected) -> bool {
    let killed = matches!(fault.how, How::Before(KILL) | How::After(KILL));
    match (there, injected.end) {
        (There::Both, End::Exit(0)) => true,
        (There::Nothing, End::Exit(7)) => true,
        (There::Both | There::Nothing, End::Signal(_)) => true,
        (There::IdentityAlone, End::Signal(KILL)) => killed,
        _ => false,
    }
}

fn look(case: &Case, fault: &Fault) -> Result<There, String> {
    let ground = Ground::new(&case.files);
    let injected = ground.inject(Mode::Strike(*fault), &case.args, None);
    let there = there(&ground);
    let wrong = |what: &str| {
        let (End::Exit(code) | End::Signal(code)) = injected.end;
        Err(format!("{what}: {fault:?}: {code}, {there:?}, {:?}: {}", ground.names(), injected.ran.stderr))
    };
    if injected.was_hit() && !is_right(&there, fault, &injected) {
        return wrong("the pair is wrong");
    }
    if !stderr_is_right(&injected, fault) {
        return wrong("stderr is not one error");
    }
    let is_temporary = |name: &str| name.starts_with(".waxseal-") && name.ends_with(".tmp");
    let killed = injected.end == End::Signal(KILL);
    let excused = |name: &str| is_temporary(name) && (killed || fault.kind == "unlink");
    let known = ["k", "k2", "made", "made.pub"];
    if ground.names().iter().any(|name| !known.contains(&name.as_str()) && !excused(name)) {
        return wrong("a file is left");
    }
    if there == There::IdentityAlone {
        // As the documents say, the recipient file can be created from the identity.
        let args = ["key", "public", "file:made", "-o", "made.pub"].map(str::to_owned);
        let again = ground.run(&args, None);
        if again.code != Some(0) || self::there(&ground) != There::Both {
            return wrong("the recipient file cannot be made again");
        }
    }
    Ok(there)
}

#[test]
fn a_pair_is_whole_or_absent_whatever_fails() {
    let cases = [pair()];
    let faults = all(&cases);
    assert!(faults.len() > 100, "{} faults", faults.len());
    let (seen, wrong) = (std::sync::Mutex::new([0; 3]), std::sync::Mutex::new(Vec::new()));
    for_each(&faults, |(case, fault)| match look(case, fault) {
        Ok(There::Nothing) => seen.lock().unwrap()[0] += 1,
        Ok(There::Both) => seen.lock().unwrap()[1] += 1,
        Ok(_) => seen.lock().unwrap()[2] += 1,
        Err(told) => wrong.lock().unwrap().push(told),
    });
    let (seen, wrong) = (seen.into_inner().unwrap(), wrong.into_inner().unwrap());
    eprintln!("{} faults in the making of a pair: none, both, the identity alone: {seen:?}", faults.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
    // All three states occurred.
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

//! Signals while several files are worked on at once. The thread that asks before its commit is stopped, the signal is
//! sent, and all go on: whoever asks later commits nothing.

use crate::cases::{Case, Goal, keys, open, seal, several};
use crate::check::stderr_is_right;
use crate::cli_support::noise;
use crate::injector::{End, Fault, Ground, How, Mode};

const FILES: usize = 12;
const SIGNALS: [i32; 3] = [1, 2, 15];

fn plain(number: usize) -> Vec<u8> {
    noise(FILES * 1000)[number * 1000..][..1000].to_vec()
}

/// How many outputs there are. Each is whole, and there is nothing else.
fn outputs(case: &Case, ground: &Ground, seals: bool) -> Result<usize, String> {
    let mut count = 0;
    for name in ground.names().into_iter().filter(|name| case.before(name).is_none()) {
        let number = name.strip_prefix("in").and_then(|rest| rest.get(..2)?.parse().ok());
        let Some(number) = number.filter(|_| name.ends_with(".wax") == seals) else {
            return Err(format!("{name} is left"));
        };
        let content = ground.read(&name).unwrap();
        let content = if seals { open(&content, &keys()[0].0) } else { Some(content) };
        if content != Some(plain(number)) {
            return Err(format!("{name} is not whole"));
        }
        count += 1;
    }
    Ok(count)
}

fn look(case: &Case, fault: Fault, each: usize, seals: bool) -> Result<(), String> {
    let ground = Ground::new(&case.files);
    let injected = ground.inject(Mode::Strike(fault), &case.args, None);
    let How::Before(signal) = fault.how else { return Err("another fault".into()) };
    let made = outputs(case, &ground, seals)?;
    let holds = [
        ("the signal was not obeyed", injected.end == End::Signal(signal)),
        ("the call was not struck", injected.was_hit()),
        ("stderr is not one error", stderr_is_right(&injected, &fault)),
        ("a file was committed after the signal", made <= fault.number / each),
    ];
    match holds.into_iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(format!("{what}: {fault:?}, {made} made: {:?} {}", injected.end, injected.ran.stderr)),
        None => Ok(()),
    }
}

#[test]
fn a_signal_before_one_of_several_commits_stops_all() {
    for seals in [true, false] {
        let (command, suffix) = if seals { ("encrypt", "") } else { ("decrypt", ".wax") };
        let files: Vec<(String, Vec<u8>)> = (0..FILES)
            .map(|number| (format!("in{number:02}{suffix}"), if seals { plain(number) } else { seal(&plain(number)) }))
            .collect();
        let case = several(&format!("{command} -q -k file:k"), &files, Goal::Nothing);
        let questions = crate::counts(&case)["gate"];
        let each = questions / FILES;
        assert!(each > 0 && questions.is_multiple_of(FILES), "{questions} questions for {FILES} files");
        let faults: Vec<Fault> = (0..questions)
            .flat_map(|number| SIGNALS.map(|signal| Fault { kind: "gate", number, how: How::Before(signal) }))
            .collect();
        let wrong = std::sync::Mutex::new(Vec::new());
        crate::for_each(&faults, |fault| wrong.lock().unwrap().extend(look(&case, *fault, each, seals).err()));
        let wrong = wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{command}: {} of {} went wrong:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
    }
}

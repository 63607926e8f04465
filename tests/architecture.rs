//! Reads the sources and the documents, and fails if they do not follow ARCHITECTURE.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of the library and the crates that use it. Each may import those before it. Modules on one line may not
/// import each other.
const ORDER: [&[&str]; 18] = [
    &["error"],
    &["fips", "digest"],
    &["io"],
    &["secret"],
    &["format"],
    &["payload"],
    &["keys"],
    &["envelope"],
    &["container"],
    &["stream"],
    &["seek"],
    &["aio"],
    &["engine"],
    &["files"],
    &["rewrap", "salvage"],
    &[AWS, OBJECT_STORE],
    &[AWS_KMS, AWS_S3],
    &[CLI, PYTHON],
];

/// The other crates, by the names that code uses for them.
const AWS: &str = "waxseal_aws";
const AWS_KMS: &str = "waxseal_aws_kms";
const AWS_S3: &str = "waxseal_aws_s3";
const OBJECT_STORE: &str = "waxseal_object_store";
const CLI: &str = "waxseal_cli";
const PYTHON: &str = "waxseal_python";

/// The folders with the sources of each crate. Each module of the library counts separately. Each other crate counts as
/// one.
const CRATES: [(&str, &str); 7] = [
    ("waxseal", "src"),
    (AWS, "crates/waxseal-aws/src"),
    (AWS_KMS, "crates/waxseal-aws-kms/src"),
    (AWS_S3, "crates/waxseal-aws-s3/src"),
    (OBJECT_STORE, "crates/waxseal-object-store/src"),
    (CLI, "crates/waxseal-cli/src"),
    (PYTHON, "crates/waxseal-python/src"),
];

/// The files that may hold `unsafe`, which is denied everywhere else: those that map an input, take a lease, handle
/// signals, and look at the descriptors before `main`.
const UNSAFE_FILES: [&str; 5] = [
    "src/io/map.rs",
    "src/rewrap/lease.rs",
    "crates/waxseal-cli/src/signals/mapped.rs",
    "crates/waxseal-cli/src/signals/system.rs",
    "crates/waxseal-cli/src/streams.rs",
];

/// Only the program may print.
const PRINTING: [&str; 7] = ["print!", "println!", "eprint!", "eprintln!", "dbg!", "stdout()", "stderr()"];

fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join("spec/waxseal-v1.md").exists()).unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` whose names end in `suffix`, as paths from the root. What Cargo has built is left out.
fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend(Some(path).filter(|path| !path.ends_with("target")));
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A source file: its crate, its path from the root, and its code without comments, texts and unit tests.
struct Source {
    of: &'static str,
    folder: &'static str,
    path: String,
    code: String,
}

/// The source files of all crates but those that hold unit tests only.
fn sources() -> Vec<Source> {
    let mut tests = Vec::new();
    let mut sources = Vec::new();
    for (of, folder) in CRATES {
        let before = sources.len();
        for path in files(folder, ".rs") {
            let (code, modules) = without_tests(&code_of(&read(&path)));
            let is_top = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
            let below = if is_top { path.parent().unwrap().to_owned() } else { path.with_extension("") };
            tests.extend(modules.iter().map(|module| below.join(module)));
            sources.push(Source { of, folder, path: path.to_string_lossy().into_owned(), code });
        }
        assert!(sources.len() > before + 10, "the sources of {of} were not found");
    }
    let is_test = |path: &Path| tests.iter().any(|test| path.starts_with(test) || path == test.with_extension("rs"));
    sources.retain(|source| !is_test(Path::new(&source.path)));
    sources
}

impl Source {
    /// `src/format/bank.rs` belongs to the module `format`, at depth two. `crates/waxseal-cli/src/report.rs` belongs to
    /// `report`.
    fn module(&self) -> (&str, usize) {
        let path = self.path.strip_prefix(self.folder).unwrap().strip_prefix('/').unwrap().strip_suffix(".rs").unwrap();
        let parts: Vec<_> = path.split('/').filter(|part| *part != "mod").collect();
        (parts[0], parts.len())
    }

    fn is_of_library(&self) -> bool {
        self.of == CRATES[0].0
    }

    /// Its name in [`ORDER`]: a module of the library, or another crate.
    fn place(&self) -> &str {
        if self.is_of_library() { self.module().0 } else { self.of }
    }

    /// Number of the line that `offset` of the code is in.
    fn line(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }
}

/// Rust source with comments and the insides of texts blanked. Lines stay where they are.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (kept, len) = match first {
            '/' if rest.starts_with("//") => (0, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (0, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            'r' if !code.ends_with(|before: char| before.is_alphanumeric() && before != 'b') => match raw_text(rest) {
                Some(len) => (0, len),
                None => (1, 1),
            },
            '"' => (0, text_len(rest)),
            '\'' if is_char_literal(rest) => (0, 2 + rest[2..].find('\'').unwrap() + 1),
            other => (other.len_utf8(), other.len_utf8()),
        };
        code.push_str(&rest[..kept]);
        code.extend(rest[kept..len].chars().filter(|skipped| *skipped == '\n'));
        rest = &rest[len..];
    }
    code
}

/// Length of a raw text that begins here.
fn raw_text(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&end)? + end.len())
}

/// Length of the text that begins here, with its quotes.
fn text_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Distinguishes `'x'` and `'\n'` from the lifetime `'x`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// The code without its unit tests, which may use whatever they need, and the test modules that have files of their
/// own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut kept = String::new();
    let mut modules = Vec::new();
    let mut rest = code;
    while let Some((before, attributed)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        rest = attributed;
        let Some(module) = attributed.trim_start().strip_prefix("mod ") else { continue };
        let (name, body) = module.split_at(module.find([';', ' ', '{']).unwrap());
        if body.starts_with(';') {
            modules.push(name.to_owned());
            rest = body;
        } else {
            rest = &body[block_len(body)..];
        }
    }
    kept.push_str(rest);
    (kept, modules)
}

/// The text up to the end of the first block in braces.
fn block_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Offsets of `word`, except where it is the end of a longer name.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_name = |before: char| before.is_alphanumeric() || before == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| !code[..*at].ends_with(is_name))
}

/// The first names of what follows `crate::`: one, or those of a group in braces.
fn imported(path: &str) -> Vec<&str> {
    let first = |path: &str| path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    let Some(group) = path.strip_prefix('{') else { return vec![&path[..first(path)]] };
    let mut depth = 0;
    let mut names = Vec::new();
    let mut at_start = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if c.is_whitespace() => {}
            _ if at_start => {
                names.push(&group[at..at + first(&group[at..])]);
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|modules| modules.contains(&module))
}

/// What `lib.rs` re-exports: name to module.
fn reexports() -> BTreeMap<String, String> {
    let lib = code_of(&read("src/lib.rs"));
    let mut names = BTreeMap::new();
    for (at, found) in lib.match_indices("pub use ") {
        let path = &lib[at + found.len()..];
        let (module, rest) = path.split_once("::").unwrap();
        for name in imported(rest) {
            names.insert(name.to_owned(), module.to_owned());
        }
    }
    names
}

/// The imports of `source` from this project: the position in the source, and the place in [`ORDER`].
fn imports(source: &Source, reexports: &BTreeMap<String, String>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (of, _) in CRATES {
        let within = of == source.of;
        let root = if within { "crate::".to_owned() } else { format!("{of}::") };
        for at in words(&source.code, &root) {
            if of != CRATES[0].0 {
                found.push((at, of.to_owned()));
                continue;
            }
            for name in imported(&source.code[at + root.len()..]) {
                found.push((at, reexports.get(name).map_or(name, String::as_str).to_owned()));
            }
        }
    }
    found
}

#[test]
fn imports_run_one_way() {
    let reexports = reexports();
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for source in sources().iter().filter(|source| !(source.is_of_library() && source.module().0 == "lib")) {
        let place = source.place();
        let own = rank(place).unwrap_or_else(|| panic!("{}: the module is not in the order", source.path));
        for (at, target) in imports(source, &reexports) {
            let there = rank(&target).unwrap_or_else(|| panic!("{}: {target} is not known", source.path));
            if there > own || (there == own && target != place) {
                wrong.push(format!("{}:{}: {place} imports {target}", source.path, source.line(at)));
            }
            *seen.entry((source.of, there < own)).or_insert(0) += 1;
        }
    }
    assert!(wrong.is_empty(), "imports that run back:\n{}", wrong.join("\n"));
    assert!(CRATES.iter().all(|(of, _)| seen.get(&(of, true)).is_some_and(|seen| *seen > 5)), "not found: {seen:?}");
}

/// An import by `super::` would escape the test of the order.
#[test]
fn no_path_climbs_to_the_library() {
    for source in sources().iter().filter(|source| source.is_of_library()) {
        let (_, depth) = source.module();
        let climb = "super::".repeat(depth);
        let at = words(&source.code, "super::").find(|at| source.code[*at..].starts_with(&climb));
        assert!(at.is_none(), "{}:{}: write crate::", source.path, source.line(at.unwrap_or(0)));
    }
}

#[test]
fn only_the_program_prints() {
    for source in sources().iter().filter(|source| source.of != CLI) {
        for printing in PRINTING {
            let at = words(&source.code, printing).next();
            assert!(at.is_none(), "{}:{}: {printing}", source.path, source.line(at.unwrap_or(0)));
        }
    }
}

/// The texts of `source` that a user can read, with their lines. Comments and unit tests are left out.
fn texts(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    let end = source.find("\nmod tests {").unwrap_or(source.len());
    while at < end {
        let rest = &source[at..];
        let first = rest.chars().next().unwrap();
        let len = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => text_len(rest),
            '\'' if is_char_literal(rest) => 2 + rest[2..].find('\'').unwrap() + 1,
            'r' if !source[..at].ends_with(char::is_alphanumeric) => raw_text(rest).unwrap_or(1),
            other => other.len_utf8(),
        };
        if len > 1 && matches!(first, '"' | 'r') {
            found.push((source[..at].matches('\n').count() + 1, rest[..len].to_owned()));
        }
        at += len;
    }
    found
}

/// Whether `text` names an option or a command of the program, or a command of the AWS CLI.
fn names_a_command(text: &str) -> bool {
    const COMMANDS: [&str; 9] =
        ["encrypt", "decrypt", "cat", "verify", "inspect", "rewrap", "salvage", "direct", "completions"];
    const OF_KEY: [&str; 8] = ["new", "show", "create", "import", "public", "rotate", "alias", "enable"];
    const OF_AWS: [&str; 4] = ["kms", "sts", "sso", "configure"];
    let is_option = |word: &str| {
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-').filter(|name| name.len() == 1));
        name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let between = |c: char| c.is_whitespace() || "\"'`(),;".contains(c);
    let words: Vec<_> = text.split(between).filter(|word| !word.is_empty()).collect();
    let is_command = |pair: &[&str]| match pair[0] {
        "waxseal" => COMMANDS.contains(&pair[1]),
        "key" => OF_KEY.contains(&pair[1]),
        "aws" => OF_AWS.contains(&pair[1]),
        _ => false,
    };
    words.iter().any(|word| is_option(word)) || words.windows(2).any(is_command)
}

/// An upload that is left costs money, and whoever removes it needs S3's id of it. The crate for S3 has the two commands
/// of AWS that list and abort uploads, because it knows what a shell and a terminal make of a key.
const ABORT: [&str; 2] = ["aws s3api abort-multipart-upload ", "aws s3api list-multipart-uploads "];

/// A user of the library may have no command line. The library therefore returns a `Remedy`, and the program chooses
/// the words.
#[test]
fn only_the_program_names_options_and_commands() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for source in sources().iter().filter(|source| source.of != CLI) {
        for (line, text) in texts(&read(&source.path)) {
            seen += 1;
            if names_a_command(&text) && !ABORT.iter().any(|known| text.trim_start_matches('"').starts_with(known)) {
                wrong.push(format!("{}:{line}: {text}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "options and commands in the library:\n{}", wrong.join("\n"));
    assert!(seen > 500, "only {seen} texts were found");
    for bad in
        ["set --region", "-k KEY", "run `waxseal encrypt`", "waxseal key create", "as `key show` lists", "aws kms x"]
    {
        assert!(names_a_command(bad), "{bad}");
    }
    for good in ["not a waxseal key file", "a - b", "-----BEGIN CERTIFICATE-----", "AES-256-GCM", "eu-west-1", "-1"] {
        assert!(!names_a_command(good), "{good}");
    }
    let code = "f(\"a\"); // \"b\"\nlet c = 'c'; r#\"d\"# \n#[cfg(test)]\nmod tests { \"e\" }";
    assert_eq!(texts(code), [(1, "\"a\"".to_owned()), (2, "r#\"d\"#".to_owned())]);
}

#[test]
fn unsafe_stands_where_it_is_argued() {
    for source in sources().iter().filter(|source| !UNSAFE_FILES.contains(&source.path.as_str())) {
        let at = words(&source.code, "unsafe ").next();
        assert!(at.is_none(), "{}:{}: unsafe", source.path, source.line(at.unwrap_or(0)));
    }
}

#[test]
fn nothing_is_left_to_do() {
    for source in sources() {
        for word in ["todo!", "unimplemented!"] {
            let at = words(&source.code, word).next();
            assert!(at.is_none(), "{}:{}: {word}", source.path, source.line(at.unwrap_or(0)));
        }
    }
}

#[test]
fn files_stay_readable() {
    for source in sources() {
        let lines = source.code.lines().count();
        assert!(lines <= 600, "{}: {lines} lines, at most 600", source.path);
    }
    for lib in [
        "src/lib.rs",
        "crates/waxseal-aws/src/lib.rs",
        "crates/waxseal-aws-kms/src/lib.rs",
        "crates/waxseal-aws-s3/src/lib.rs",
        "crates/waxseal-object-store/src/lib.rs",
    ] {
        let code = code_of(&read(lib));
        for logic in ["fn ", "impl ", "let "] {
            assert!(words(&code, logic).next().is_none(), "{lib} holds logic: {logic}");
        }
    }
}

/// The engines' tests follow the rules of all code. Their lock file keeps the engines out of that of the project.
#[test]
fn the_engines_follow_the_rules() {
    let sources = files(ENGINES, ".rs");
    assert!(sources.len() > 5, "the sources of {ENGINES} were not found");
    for path in sources {
        let code = code_of(&read(&path));
        assert!(code.lines().count() <= 600, "{} has more than 600 lines", path.display());
        for word in ["unsafe ", "todo!", "unimplemented!"] {
            assert!(words(&code, word).next().is_none(), "{}: {word}", path.display());
        }
    }
    let crates = |lock: &str| read(lock).lines().filter(|line| line.starts_with("name = \"datafusion")).count();
    assert!(crates("tests/engines/Cargo.lock") > 10);
    assert_eq!(crates("Cargo.lock"), 0, "an engine is in the project's lock file");
}

#[test]
fn the_architecture_names_the_order_and_every_module() {
    let text = read("ARCHITECTURE.md");
    let order = ORDER.map(|modules| modules.join(", ")).join(" < ");
    // The line may be broken, since lines have at most 120 characters.
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&order), "ARCHITECTURE.md does not hold the line\n{order}");
    for source in sources() {
        let shown = if source.is_of_library() { source.module().0.to_owned() } else { source.of.replace('_', "-") };
        assert!(text.contains(&format!("  {shown}")), "ARCHITECTURE.md does not show {shown}");
    }
}

/// The manifests of the workspace: the root's first.
fn manifests() -> Vec<(PathBuf, String)> {
    let mut folders = vec![PathBuf::new()];
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        folders.push(path.strip_prefix(root()).unwrap().to_owned());
    }
    assert_eq!(folders.len(), CRATES.len(), "crates/ holds what is not in the table of crates");
    folders.into_iter().map(|folder| (folder.clone(), read(folder.join("Cargo.toml")))).collect()
}

/// The engines that are tested over sealed files are a workspace of their own.
const ENGINES: &str = "tests/engines";

/// A paragraph of dependencies begins with a comment that says what they are for. The workspace's table says it once
/// for all crates.
#[test]
fn every_dependency_says_what_for() {
    let mut seen = 0;
    let engines = files(ENGINES, "Cargo.toml").into_iter().map(|path| (path.with_file_name(""), read(path)));
    for (folder, manifest) in manifests().into_iter().chain(engines) {
        let mut explained = false;
        let mut in_dependencies = false;
        for line in manifest.lines() {
            match line.trim() {
                "" => explained = false,
                line if line.starts_with('[') => in_dependencies = line.ends_with("dependencies]"),
                line if line.starts_with('#') => explained = true,
                line if in_dependencies && line.contains("workspace = true") => {}
                line if in_dependencies && line.contains('=') => {
                    assert!(explained, "{}: no comment above `{line}`", folder.join("Cargo.toml").display());
                    seen += 1;
                }
                _ => {}
            }
        }
    }
    assert!(seen > 30, "the dependencies were not found");
}

/// The packages of others that the manifests of the workspace name.
fn direct_dependencies() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, manifest) in manifests() {
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && line.starts_with(|c: char| c.is_ascii_lowercase()) {
                found.insert(line.split([' ', '.', '=']).next().unwrap().to_owned());
            }
        }
    }
    found.retain(|name| !name.starts_with("waxseal"));
    found
}

/// docs/dependencies.md is an audit of exactly the crates that are used, each in one row.
#[test]
fn the_audit_lists_the_direct_dependencies() {
    let text = read("docs/dependencies.md");
    let listed = rows(&text).into_iter().flat_map(|row| row[0].split('`').skip(1).step_by(2));
    let mut listed: Vec<_> = listed.map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed, direct_dependencies().into_iter().collect::<Vec<_>>());
}

/// What runs in a workflow can be run by hand: the scripts, after a few lines that prepare the machine.
#[test]
fn the_workflows_only_call_scripts() {
    const SCRIPTS: [&str; 3] = [".ci/run", ".ci/full", "packaging/release"];
    let mut called = BTreeSet::new();
    for path in files(".github/workflows", ".yml") {
        let text = read(&path);
        for line in text.lines().map(|line| line.trim().trim_start_matches("- ")) {
            if let Some(action) = line.strip_prefix("uses: ") {
                let commit = action.split_once('@').unwrap().1.split(' ').next().unwrap();
                let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
                assert!(is_commit, "{}: name the commit of {action}", path.display());
            } else if let Some(command) = line.strip_prefix("run: ") {
                let script = SCRIPTS.into_iter().find(|script| command.split(' ').any(|word| word == *script));
                let prepares =
                    ["sudo sysctl ", "sudo apt-get ", "ssh-keygen "].iter().any(|it| command.starts_with(it));
                assert!(script.is_some() || prepares, "{}: {command}", path.display());
                called.extend(script);
            }
        }
    }
    assert_eq!(called, BTreeSet::from(SCRIPTS));
}

/// The files of `[[test]]` and `[[bench]]` of a manifest, from the root.
fn targets(folder: &Path, manifest: &str) -> Vec<PathBuf> {
    let tables = manifest.split("\n[").filter_map(|table| {
        let kind = if table.starts_with("[test]]") { "tests" } else { "benches" };
        (kind == "tests" || table.starts_with("[bench]]")).then_some((kind, table))
    });
    let field = |table: &str, name: &str| {
        let value = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        value.map(|value| value.trim_end_matches('"').to_owned())
    };
    let file = |(kind, table)| {
        let own = || format!("{kind}/{}.rs", field(table, "name").unwrap());
        let path = folder.join(field(table, "path").unwrap_or_else(own));
        root().join(path).canonicalize().unwrap().strip_prefix(root().canonicalize().unwrap()).unwrap().to_owned()
    };
    tables.map(file).collect()
}

/// Targets are listed by hand. Without this test, a file could be missing in the lists, and its tests would never run.
#[test]
fn every_test_is_a_target_of_one_package() {
    let manifests = manifests();
    assert!(["autotests = false", "autobenches = false"].iter().all(|line| manifests[0].1.contains(line)));
    let mut targets: Vec<_> = manifests.iter().flat_map(|(folder, manifest)| targets(folder, manifest)).collect();
    targets.sort();
    let is_target = |path: &PathBuf| {
        let depth = path.components().count();
        depth == 2 || (depth == 3 && path.starts_with("benches") && path.ends_with("main.rs"))
    };
    let mut there = [files("benches", ".rs"), files("tests", ".rs")].concat();
    there.retain(is_target);
    assert_eq!(targets, there, "the targets that the packages list are not the files in tests/ and benches/");
    // The tests of the Python package are in Python, and beside it.
    let of_crates = CRATES.iter().skip(1).filter(|(of, _)| *of != PYTHON);
    let of_crates = of_crates.flat_map(|(_, folder)| ["tests", "benches"].map(|kind| (folder, kind)));
    for (folder, kind) in of_crates {
        let beside = root().join(folder).with_file_name(kind);
        assert!(!beside.exists(), "{}: tests and benches are at the top", beside.display());
    }
}

/// The two release lines of `waxseal-object-store` differ only in `object_store` and in where their files are.
#[test]
fn the_release_lines_of_the_object_store_agree() {
    let folder = Path::new("crates/waxseal-object-store");
    let (main, other) = (read(folder.join("Cargo.toml")), read(folder.join("object-store-0.13/Cargo.toml")));
    let root = read("Cargo.toml");
    let (_, workspace) = root.split_once("[workspace.dependencies]").unwrap();
    let line = |manifest: &str, begin: &str| {
        let found = manifest.lines().find(|line| line.starts_with(begin));
        found.unwrap_or_else(|| panic!("no line {begin}")).to_owned()
    };
    for begin in ["name = ", "description = ", "keywords = ", "categories = ", "default = ", "aws-lc = ", "ring = "] {
        assert_eq!(line(&main, begin), line(&other, begin));
    }
    for begin in ["async-trait = ", "bytes = ", "futures-util = ", "thiserror = ", "tokio = {"] {
        assert_eq!(line(workspace, begin), line(&other, begin), "the versions of the two lines");
    }
    let tests = |folder: &Path, manifest| targets(folder, manifest);
    assert_eq!(tests(folder, &main), tests(&folder.join("object-store-0.13"), &other));
    assert!(line(&main, "version = ").contains("0.14") && line(workspace, "object_store = ").contains("0.14"));
    assert!(line(&other, "version = ").contains("0.13") && line(&other, "object_store = ").contains("0.13"));
}

/// The cells of the tables of `text`, row by row.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// The exit codes are an interface: README.md and the program's help say the same.
#[test]
fn the_readme_lists_the_exit_codes_of_the_help() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("## Exit codes").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let listed: Vec<_> = rows(section).into_iter().skip(2).map(|row| format!("{} {}", row[0], row[1])).collect();
    assert_eq!(listed.len(), 11);
    let help = Command::new(env!("CARGO_BIN_EXE_waxseal")).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    for line in listed {
        assert!(help.contains(&line.replace('`', "")), "--help does not say: {line}");
    }
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("CHANGELOG.md").contains(&format!("## [{version}]")), "CHANGELOG.md does not know {version}");
    let msrv = env!("CARGO_PKG_RUST_VERSION");
    assert!(read("README.md").contains(&format!("Rust {msrv} ")), "README.md does not name Rust {msrv}");
}

/// The anchors that a renderer gives to the headings of `text`.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut documents = files("docs", ".md");
    documents.extend(files("spec", ".md"));
    documents.extend(manifests().into_iter().skip(1).map(|(folder, _)| folder.join("README.md")));
    documents.extend(files(ENGINES, ".md"));
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    documents.extend(top.map(PathBuf::from));
    for document in documents {
        let text = read(&document);
        let folder = root().join(document.parent().unwrap());
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if path.is_empty() { root().join(&document) } else { folder.join(path) };
            assert!(there.exists(), "{}: no {target}", document.display());
            let found = anchor.is_empty() || anchors(&read(&there)).iter().any(|own| own == anchor);
            assert!(found, "{}: no heading {target}", document.display());
        }
    }
}

#[test]
fn documents_name_files_that_are_there() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/threat-model.md"] {
        let text = read(document);
        for name in text.split('`').skip(1).step_by(2) {
            let is_file = ["src/", "tests/", "spec/", "docs/", "benches/", "fuzz/", "crates/"]
                .iter()
                .any(|folder| name.starts_with(folder));
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            assert!(!is_file || !plain || root().join(name).exists(), "{document}: no {name}");
        }
    }
}

#[test]
fn the_reader_of_sources_is_right() {
    let source = "a // b\n'\"' \"c\\\"//\" r#\"d\"e\"# /* f */ 'g h";
    assert_eq!(code_of(source), "a \n    'g h");
    assert_eq!(imported("error::Error;"), ["error"]);
    assert_eq!(imported("{keys::{A, B}, format, Error};"), ["keys", "format", "Error"]);
    assert_eq!(words("x::print! eprint! print!", "print!").count(), 2);
    let (code, modules) = without_tests("a #[cfg(test)] fn b() {} #[cfg(test)]\nmod c; d #[cfg(test)] mod e { {} } f");
    assert_eq!((code.as_str(), modules.as_slice()), ("a  fn b() {} ; d  f", ["c".to_owned()].as_slice()));
}

//! `direct`: encrypts a few bytes directly with KMS.

use std::io::{Read, Write};

use serde_json::Value;
use waxseal::Error;
use waxseal::format::{KMS_WRAPPED_MAX, MAGIC, Pairs};
use waxseal::secret::SecretBytes;
use waxseal_aws_kms::{DIRECT_MAX, KeyArn, KmsKeyName};

use crate::Result;
use crate::args::{DirectArgs, DirectCommand, FileArgs, ServiceCommand};
use crate::escape::Name;
use crate::evidence::{Evidence, pairs_json};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Input;
use crate::keys::{Cloud, kms};
use crate::output::{Content, Output, Target};
use crate::place::Place;
use crate::plan::{self, Job};
use crate::report::{Done, Reporter};
use crate::session::{Session, durability};
use crate::signals;

impl ServiceCommand {
    /// Runs the command.
    pub(crate) fn run(&self, session: &Session) -> Result<Exit> {
        let Self::Direct(command) = self;
        run(command, session)
    }
}

fn run(command: &DirectCommand, session: &Session) -> Result<Exit> {
    let (DirectCommand::Encrypt(args) | DirectCommand::Decrypt(args)) = command;
    let job = job(&args.files)?;
    let key = key(args)?;
    let context = Pairs::parse(&args.context).map_err(|error| Failure::from(error).hint("-c takes NAME=VALUE"))?;
    let cloud = Cloud::new(&args.kms)?;
    let direct = Direct { args, job: &job, context, cloud, reporter: &session.reporter };
    let done = match (command, key) {
        (DirectCommand::Encrypt(_), Some(key)) => direct.encrypt(&key),
        (DirectCommand::Encrypt(_), None) => {
            return Err(Failure::usage("no key to encrypt with").hint("name a key in AWS KMS with -k"));
        }
        (DirectCommand::Decrypt(_), key) => direct.decrypt(key.as_ref()),
    };
    Ok(session.reporter.finished(Some(&job.input.name()), done))
}

/// One input. The output's name is never derived from the input's name.
fn job(files: &FileArgs) -> Result<Job> {
    match files.inputs.as_slice() {
        [] | [_] => {}
        _ => return Err(Failure::usage("direct encryption takes one input")),
    }
    let input = files.inputs.first().map_or(Place::Stream, |name| Place::input(name));
    let output = files.output.as_ref().map_or(Place::Stream, |name| Place::output(name));
    Ok(Job::named(input, output))
}

fn key(args: &DirectArgs) -> Result<Option<KmsKeyName>> {
    let names = args.keys.keys.iter().map(|key| kms::named(key)).collect::<Result<Vec<_>>>()?;
    match names.as_slice() {
        [] => Ok(None),
        [Some(name)] => Ok(Some(name.clone())),
        [None] => {
            Err(Failure::usage("direct encryption needs a key in AWS KMS").hint("name one by its ARN or as alias/NAME"))
        }
        _ => Err(Failure::usage("direct encryption takes one key").hint("for several keys, use `waxseal encrypt`")),
    }
}

struct Direct<'a> {
    args: &'a DirectArgs,
    job: &'a Job,
    context: Pairs,
    cloud: Cloud,
    reporter: &'a Reporter,
}

impl Direct<'_> {
    fn encrypt(&self, key: &KmsKeyName) -> Result<Done> {
        let input = self.job.input.open()?;
        let target = self.target(&input)?;
        let mode = target.sealed_mode(&input);
        let name = target.name();
        let plaintext = read(&input, DIRECT_MAX)?;
        if !(1..=DIRECT_MAX).contains(&plaintext.expose().len()) {
            let failure = Failure::usage(format!("AWS KMS directly encrypts only 1 to {DIRECT_MAX} bytes"));
            return Err(failure.hint("for other sizes, use `waxseal encrypt`"));
        }
        let output = target.open(Content::Ciphertext, mode, None)?;
        let (blob, arn) = self.cloud.kms().direct_encrypt(key, &plaintext, &self.context)?;
        let stored = self.write(output, &blob)?;
        Ok(self.done(plaintext.expose().len(), blob.len(), key.to_string(), &arn, name).stored(stored))
    }

    fn decrypt(&self, key: Option<&KmsKeyName>) -> Result<Done> {
        let input = self.job.input.open()?;
        let target = self.target(&input)?;
        let name = target.name();
        let blob = read(&input, KMS_WRAPPED_MAX)?;
        if blob.expose().starts_with(&MAGIC) {
            return Err(
                Failure::usage("this is a waxseal file, not a blob of AWS KMS").hint("`waxseal decrypt` opens it")
            );
        }
        let output = target.open(Content::Plaintext, 0o600, None)?;
        let (plaintext, arn) = self.cloud.kms().direct_decrypt(key, blob.expose(), &self.context)?;
        let stored = self.write(output, plaintext.expose())?;
        Ok(self.done(plaintext.expose().len(), blob.expose().len(), arn.to_string(), &arn, name).stored(stored))
    }

    fn target(&self, input: &Input) -> Result<Target> {
        plan::target(self.job, input, self.args.files.write.force, &Vec::new())
    }

    fn write(&self, mut output: Output, bytes: &[u8]) -> Result<Option<Value>> {
        if output.is_direct() {
            signals::check();
        }
        output.writer().write_all(bytes).map_err(|error| Error::io("writing the output", error))?;
        output.commit(durability(self.args.files.write.no_sync), self.reporter)
    }

    fn done(&self, plain: usize, sealed: usize, key: String, arn: &KeyArn, output: Option<Name>) -> Done {
        let (request_id, key_material_id) = self.cloud.answered();
        let bytes = Some(plain as u64);
        let evidence = Evidence {
            key_arn: Some(arn.to_string()),
            context: Some(pairs_json(&self.context)),
            ..Evidence::default().with_lengths(bytes, Some(sealed as u64))
        };
        Done { bytes, key: Some(key), output, request_id, key_material_id, evidence, ..Done::default() }
    }
}

/// Reads the complete input, but at most one byte more than `most`.
fn read(input: &Input, most: usize) -> Result<SecretBytes> {
    // The buffer never grows, so that no copy remains in freed memory.
    let mut bytes = Vec::with_capacity(most + 64);
    let read = input.stream().take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io("reading the input", error))?;
    Ok(SecretBytes::new(bytes))
}

//! Arguments of the commands that work on keys.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::examples;
use super::late::Late;
use super::{KmsArgs, KmsCommand};

/// `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a local key file, or with --pair a key pair
    #[command(after_help = examples::KEY_NEW)]
    New(Late<KeyNewArgs>),
    #[command(flatten)]
    Kms(KmsCommand),
    /// Show the public data of a key file, identity or recipient file, or the state of a key in AWS KMS
    #[command(after_help = examples::KEY_SHOW)]
    Show(Late<KeyShowArgs>),
    /// Write the public half of an identity, or of an ML-KEM or RSA key in AWS KMS, to a recipient file
    #[command(after_help = examples::KEY_PUBLIC)]
    Public(Late<KeyPublicArgs>),
}

/// `key new`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyNewArgs {
    /// The file to create, which only its owner can read; an existing file is never overwritten
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Create a key pair: the identity FILE can open and seal, the recipient file FILE.pub can only seal
    #[arg(long)]
    pub(crate) pair: bool,
    /// Accepted, has no effect: a key is never overwritten
    #[arg(short, long, hide = true)]
    pub(crate) force: bool,
}

/// `key show`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyShowArgs {
    /// The key: file:PATH, or a key in AWS KMS: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

/// `key public`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeyPublicArgs {
    /// The key: file:PATH of an identity, or a key in AWS KMS: an ARN, alias/NAME, a UUID or mrk-ID
    #[arg(value_name = "KEY")]
    pub(crate) key: OsString,
    /// The recipient file to create; a file with another key is never overwritten; "-" is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) kms: KmsArgs,
}

//! Examples for each command's help.

pub(super) const MAIN: &str = "\
Examples:
  waxseal key new backup.key
  waxseal encrypt -k file:backup.key -o db.wax --from-command -- pg_dump mydb
  waxseal decrypt -k file:backup.key -o db.sql db.wax";

pub(super) const ENCRYPT: &str = "\
Examples:
  waxseal encrypt -k file:backup.key backup.tar                 creates backup.tar.wax
  waxseal encrypt -k alias/backups -c env=prod backup.tar       with a key in AWS KMS
  waxseal encrypt -k file:a.key -k passphrase backup.tar        either key opens the file
  waxseal encrypt -k file:backup.key -o db.wax --from-command -- pg_dump mydb
  tar -c folder | waxseal encrypt -k file:backup.key -o folder.tar.wax
  tar --use-compress-program='waxseal encrypt -k file:backup.key' -cf folder.tar.wax folder

Use `--from-command` if the command that produces the data can fail. After a pipe, a truncated dump looks complete.";

pub(super) const DECRYPT: &str = "\
Examples:
  waxseal decrypt -k file:backup.key backup.tar.wax             creates backup.tar
  waxseal decrypt -k file:backup.key -o - backup.tar.wax | tar -x
  waxseal decrypt -c env=prod -o db.sql db.wax                  with any key of your own AWS account

In a pipe, all output is verified, but it can be incomplete: only exit code 0 means that it is complete.";

pub(super) const VERIFY: &str = "\
Examples:
  waxseal verify -k file:backup.key *.wax
  waxseal verify -k file:backup.key -l host=db1 db.wax";

pub(super) const INSPECT: &str = "\
Examples:
  waxseal inspect db.wax
  waxseal inspect --json db.wax
  head -c 131072 db.wax | waxseal inspect -";

pub(super) const CAT: &str = "\
Examples:
  waxseal cat -k file:backup.key --range 0..512 backup.tar.wax
  waxseal cat -k file:backup.key --range 1048576.. backup.tar.wax";

pub(super) const REWRAP: &str = "\
Examples:
  waxseal rewrap --to alias/backups-2027 *.wax                  changes the key with ReEncrypt; no payload is read
  waxseal rewrap --from alias/old --to alias/new --json *.wax
  waxseal rewrap -k file:a.key --allow-unwrap --add file:b.key db.wax
  waxseal rewrap --remove slot:1 db.wax
  waxseal rewrap --repair db.wax                                repairs a damaged copy of the header

Removing a key does not revoke it: older copies of the header still have it, and the data key stays the same.";

pub(super) const SALVAGE: &str = "\
Examples:
  waxseal salvage -k file:backup.key -o rescued.tar --map rescued.map damaged.tar.wax

Every part that authenticates is written at its position. Missing parts become zeros and are listed.";

pub(super) const KEY: &str = "\
Examples:
  waxseal key new backup.key";

pub(super) const KEY_NEW: &str = "\
Examples:
  waxseal key new backup.key
  waxseal encrypt -k file:backup.key backup.tar

Keep a copy of the key in another place than the backups. Without the key the backups are lost.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_CREATE: &str = "\
Examples:
  waxseal key create --alias alias/backups
  waxseal key create --external --alias alias/backups           for your own key material: see `key import`";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_IMPORT: &str = "\
Examples:
  waxseal key import alias/backups --generate backups.material
  waxseal key import alias/backups --material backups.material --valid-to 2027-12-31T00:00:00Z";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_DELETE_MATERIAL: &str = "\
Examples:
  waxseal key delete-material alias/backups --yes

Files that this key sealed cannot be opened until the same material is imported again.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_SHOW: &str = "\
Examples:
  waxseal key show alias/backups
  waxseal key show --json alias/backups";

#[cfg(feature = "aws-kms")]
pub(super) const DIRECT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -o token.blob token
  waxseal direct decrypt -o - token.blob";

#[cfg(feature = "aws-kms")]
pub(super) const DIRECT_ENCRYPT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -c app=web -o token.blob token

The blob is the same as that of `aws kms encrypt`. For files and streams of any size, use `waxseal encrypt`.";

#[cfg(feature = "aws-kms")]
pub(super) const DIRECT_DECRYPT: &str = "\
Examples:
  waxseal direct decrypt -c app=web -o token token.blob
  waxseal direct decrypt -k alias/backups -o - token.blob";

pub(super) const COMPLETIONS: &str = "\
Examples:
  waxseal completions bash > ~/.local/share/bash-completion/completions/waxseal
  waxseal completions zsh > ~/.zfunc/_waxseal";

pub(super) const MAN: &str = "\
Examples:
  waxseal man > waxseal.1
  waxseal man encrypt > waxseal-encrypt.1";

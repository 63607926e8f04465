//! Examples for each command's help.

pub(super) const MAIN: &str = "\
Examples:
  waxseal key new backup.key
  waxseal encrypt -k file:backup.key -o db.wax --from-command -- pg_dump mydb
  waxseal decrypt -k file:backup.key -o db.sql db.wax";

pub(super) const ENCRYPT: &str = "\
Examples:
  waxseal encrypt -k file:backup.key backup.tar                 makes backup.tar.wax beside it
  waxseal encrypt -k alias/backups -c env=prod backup.tar       with a key in AWS KMS
  waxseal encrypt -k file:a.key -k passphrase backup.tar        any one of the two opens it
  waxseal encrypt -k file:backup.key -o db.wax --from-command -- pg_dump mydb
  tar -c folder | waxseal encrypt -k file:backup.key -o folder.tar.wax
  tar --use-compress-program='waxseal encrypt -k file:backup.key' -cf folder.tar.wax folder

`--from-command` is the form for producers that can die: a pipe would seal a cut-off dump as if it were whole.";

pub(super) const DECRYPT: &str = "\
Examples:
  waxseal decrypt -k file:backup.key backup.tar.wax             makes backup.tar beside it
  waxseal decrypt -k file:backup.key -o - backup.tar.wax | tar -x
  waxseal decrypt -c env=prod -o db.sql db.wax                  with any key of your own AWS account

In a pipe, what comes out is a verified prefix: the exit code says whether it was all.";

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
  waxseal rewrap --to alias/backups-2027 *.wax                  rotates with ReEncrypt; no payload is read
  waxseal rewrap --from alias/old --to alias/new --json *.wax
  waxseal rewrap -k file:a.key --allow-unwrap --add file:b.key db.wax
  waxseal rewrap --remove slot:1 db.wax
  waxseal rewrap --repair db.wax                                puts a damaged copy of the header back

Removing a key is not revocation: older copies of the header keep it, and the data key stays the same.";

pub(super) const SALVAGE: &str = "\
Examples:
  waxseal salvage -k file:backup.key -o rescued.tar --map rescued.map damaged.tar.wax

Every part that authenticates goes to its place; what is missing is zeros, and is listed.";

pub(super) const KEY: &str = "\
Examples:
  waxseal key new backup.key";

pub(super) const KEY_NEW: &str = "\
Examples:
  waxseal key new backup.key
  waxseal encrypt -k file:backup.key backup.tar

Keep a copy of the key apart from the backups: without it they are lost.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_CREATE: &str = "\
Examples:
  waxseal key create --alias alias/backups
  waxseal key create --external --alias alias/backups           for material of your own: see `key import`
  waxseal key create --spec ML_KEM_768 --alias alias/backups    for hosts that seal offline: see `key public`
  waxseal key create --alias alias/backups --description 'database backups' --tag team=dba --policy policy.json";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_IMPORT: &str = "\
Examples:
  waxseal key import alias/backups --generate backups.material
  waxseal key import alias/backups --material backups.material --valid-to 2027-06-30T00:00:00Z
  waxseal key import alias/backups --new-material --generate second.material    then: waxseal key rotate alias/backups

A key with several materials is usable while KMS has all of them: what is missing is listed after each import.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_DELETE_MATERIAL: &str = "\
Examples:
  waxseal key delete-material alias/backups --yes
  waxseal key delete-material alias/backups --key-material-id ID --yes      the ids: waxseal key show alias/backups

Until the same material is imported again, nothing that the key sealed can be opened.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_SHOW: &str = "\
Examples:
  waxseal key show alias/backups
  waxseal key show --json alias/backups";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_PUBLIC: &str = "\
Examples:
  waxseal key create --spec ML_KEM_768 --alias alias/backups
  waxseal key public alias/backups -o backups.pub
  waxseal decrypt -k alias/backups backup.tar.wax               what a host sealed with -k file:backups.pub

Whoever has the file can seal, and cannot open; sealing makes no call and needs no credentials. The file is not secret,
but who can replace it reads what is sealed from then on.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_ROTATE: &str = "\
Examples:
  waxseal key rotate alias/backups
  waxseal key import alias/backups --new-material --generate second.material && waxseal key rotate alias/backups

The key stays the same key: what was sealed before still opens, and no file has to change. A key whose material is
yours takes the one that was imported for it.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_ALIAS: &str = "\
Examples:
  waxseal key alias alias/backups 1234abcd-12ab-34cd-56ef-1234567890ab
  waxseal rewrap --from OLD-KEY-ARN --to alias/backups *.wax    moves the files to the new key

Files keep the key that they were sealed with. From then on, -k alias/NAME seals with the new key and does not open what
the old one sealed: open that with the old key's ARN, or without -k; the old key must stay enabled until no file needs
it.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_DISABLE: &str = "\
Examples:
  waxseal key disable alias/backups
  waxseal key enable alias/backups

Nothing can be sealed or opened with it until it is enabled again. Hosts that seal to its recipient file do not notice.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_ENABLE: &str = "\
Examples:
  waxseal key enable alias/backups";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_SCHEDULE_DELETION: &str = "\
Examples:
  waxseal key schedule-deletion alias/backups --days 30 --yes
  waxseal key cancel-deletion alias/backups                     until then

During these days the key is unusable, and each use that is tried shows in CloudTrail. Afterwards it is gone, with all
that it alone can open.";

#[cfg(feature = "aws-kms")]
pub(super) const KEY_CANCEL_DELETION: &str = "\
Examples:
  waxseal key cancel-deletion alias/backups
  waxseal key enable alias/backups                              it is disabled until then";

#[cfg(feature = "aws-kms")]
pub(super) const DIRECT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -o token.blob token
  waxseal direct decrypt -o - token.blob";

#[cfg(feature = "aws-kms")]
pub(super) const DIRECT_ENCRYPT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -c app=web -o token.blob token

The blob is the one of `aws kms encrypt`. Files and streams of any size: `waxseal encrypt`.";

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

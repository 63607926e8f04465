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
  waxseal encrypt -k file:backup.pub backup.tar                 offline, with a public key
  waxseal encrypt -r -k file:backup.key -o /backup photos       a folder, into /backup/photos
  waxseal encrypt -r --one-data-key -k alias/backups photos     with one call to AWS KMS
  waxseal encrypt -r -k alias/backups -o s3://bucket/ photos    into s3://bucket/photos/
  find . -newer stamp -print0 | waxseal encrypt -k file:backup.key -o /backup --files-from - -0
  waxseal encrypt -k file:backup.key -o db.wax --from-command -- pg_dump mydb
  waxseal encrypt -k alias/backups -o s3://bucket/db.wax --from-command -- pg_dump mydb
  tar -c folder | waxseal encrypt -k file:backup.key -o folder.tar.wax
  tar --use-compress-program='waxseal encrypt -k file:backup.key' -cf folder.tar.wax folder

Use `--from-command` if the command that produces the data can fail. After a pipe, a truncated dump looks complete.";

pub(super) const DECRYPT: &str = "\
Examples:
  waxseal decrypt -k file:backup.key backup.tar.wax             creates backup.tar
  waxseal decrypt -k file:backup.key -o - backup.tar.wax | tar -x
  waxseal decrypt -k file:backup.key --to-command db.wax -- psql -1 -v ON_ERROR_STOP=1 mydb
  waxseal decrypt -c env=prod -o db.sql db.wax                  with any key of your own AWS account
  waxseal decrypt -o db.sql s3://bucket/db.wax                  from an object in S3
  waxseal decrypt -r -k file:backup.key -o restored /backup/photos
  waxseal decrypt -r -o restored s3://bucket/photos/            into restored/photos

In a pipe, all output is verified, but it can be incomplete: only exit code 0 means that it is complete. Use
`--to-command` if the command that reads the data must not take an incomplete input for a complete one.";

pub(super) const VERIFY: &str = "\
Examples:
  waxseal verify -k file:backup.key *.wax
  waxseal verify -r -k file:backup.key /backup
  waxseal verify -k file:backup.key -l host=db1 db.wax
  waxseal verify s3://bucket/db.wax
  waxseal verify --quick *.wax      the key, the length and the end of each file, in milliseconds
  waxseal verify --dry-run *.wax    asks AWS KMS whether each file would open

`--quick` and `--dry-run` do not read the content, so they do not find damage in it.";

pub(super) const INSPECT: &str = "\
Examples:
  waxseal inspect db.wax
  waxseal inspect --json db.wax
  waxseal inspect s3://bucket/db.wax
  head -c 131072 db.wax | waxseal inspect -";

pub(super) const CAT: &str = "\
Examples:
  waxseal cat -k file:backup.key --range 0..512 backup.tar.wax
  waxseal cat -k file:backup.key --range 1048576.. backup.tar.wax
  waxseal cat -k alias/backups --range 0..512 s3://bucket/backup.tar.wax";

pub(super) const REWRAP: &str = "\
Examples:
  waxseal rewrap --to alias/backups-2027 *.wax                  by ReEncrypt; no payload is read
  waxseal rewrap --from alias/old --to alias/new --json *.wax
  waxseal rewrap --to alias/backups-2027 s3://bucket/db.wax     S3 itself copies the payload
  waxseal rewrap -r --to alias/backups-2027 /backup
  waxseal rewrap -r --to alias/backups-2027 s3://bucket/db/     all objects below a prefix
  waxseal rewrap -k file:a.key --allow-unwrap --add file:b.key db.wax
  waxseal rewrap --remove slot:1 db.wax
  waxseal rewrap --remove file:b.pub db.wax                     a recipient file is enough
  waxseal rewrap --repair db.wax                                repairs a damaged copy of the header

Removing a key does not revoke it: older copies of the header still have it, and the data key stays the same.";

pub(super) const RESEAL: &str = "\
Examples:
  waxseal reseal --from file:old.key -k file:new.key -o new.wax old.wax
  waxseal reseal -k alias/new -l owner=b -o new.wax old.wax     old.wax must have the label owner=b
  waxseal reseal -k file:new.key --set-label owner=team-c --unset host -o new.wax old.wax

`rewrap` changes only the keys of a file: whoever once had the data key can still read it. `reseal` makes a new data key.
Nobody can open the new file with an old key. Delete the old file and its copies.";

pub(super) const SALVAGE: &str = "\
Examples:
  waxseal salvage -k file:backup.key -o rescued.tar --map rescued.map damaged.tar.wax

Every part that authenticates is written at its position. Missing parts become zeros and are listed.";

pub(super) const KEY: &str = "\
Examples:
  waxseal key new backup.key
  waxseal key new --pair backup.identity";

pub(super) const KEY_NEW: &str = "\
Examples:
  waxseal key new backup.key
  waxseal encrypt -k file:backup.key backup.tar
  waxseal key new --pair backup.identity                        makes backup.identity.pub too
  waxseal encrypt -k file:backup.identity.pub backup.tar        seals, and cannot open

Keep a copy of the key in another place than the backups. Without the key the backups are lost.";

pub(super) const KEY_SHOW: &str = "\
Examples:
  waxseal key show file:backup.pub
  waxseal key show alias/backups
  waxseal key show --json alias/backups";

pub(super) const KEY_PUBLIC: &str = "\
Examples:
  waxseal key create --spec ML_KEM_768 --alias alias/backups
  waxseal key public alias/backups -o backups.pub
  waxseal decrypt -k alias/backups backup.tar.wax         opens what -k file:backups.pub sealed
  waxseal key public file:backup.identity -o backup.identity.pub

Anyone with the recipient file can seal but not open. Sealing makes no call and needs no credentials. The file is not
secret, but protect it: a person who can replace it can read everything that is sealed to it later.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  mkdir -p ~/.local/share/bash-completion/completions
  waxseal completions bash > ~/.local/share/bash-completion/completions/waxseal
  mkdir -p ~/.zfunc
  waxseal completions zsh > ~/.zfunc/_waxseal
  mkdir -p ~/.config/fish/completions
  waxseal completions fish > ~/.config/fish/completions/waxseal.fish

zsh reads ~/.zfunc if ~/.zshrc has the line `fpath+=~/.zfunc` before `compinit`.";

pub(super) const MAN: &str = "\
Examples:
  waxseal man key new | man -l -
  waxseal man encrypt > waxseal-encrypt.1
  mkdir -p ~/.local/share/man/man1
  waxseal man --all ~/.local/share/man/man1";

pub(super) const READER: &str = "\
Examples:
  waxseal reader > reader.py                            to keep beside the backups
  python3 reader.py --keyfile backup.key db.wax db.sql

The program needs Python and the package `cryptography`. It is also a module: its first lines show how to use it.";

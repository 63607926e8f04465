//! Examples for the help of the AWS KMS commands.

pub(super) const KEY_CREATE: &str = "\
Examples:
  waxseal key create --alias alias/backups
  waxseal key create --external --alias alias/backups   for `key import`: your own material
  waxseal key create --spec ML_KEM_768 --alias alias/backups   for `key public`: seals offline
  waxseal key create --alias alias/backups --policy policy.json --tag team=dba --description dumps";

pub(super) const KEY_IMPORT: &str = "\
Examples:
  waxseal key import alias/backups --generate backups.material
  waxseal key import alias/backups --material backups.material --valid-to 2027-06-30T00:00:00Z
  waxseal key import alias/backups --new-material --generate second.material
  waxseal key rotate alias/backups                              uses the new material from then on

A key with several materials is usable only while KMS has all of them. Each import lists the missing materials.";

pub(super) const KEY_DELETE_MATERIAL: &str = "\
Examples:
  waxseal key delete-material alias/backups --yes
  waxseal key delete-material alias/backups --key-material-id ID --yes
  waxseal key show alias/backups                                lists the ids of the materials

Files that this key sealed cannot be opened until the same material is imported again.";

pub(super) const KEY_ROTATE: &str = "\
Examples:
  waxseal key rotate alias/backups
  waxseal key import alias/backups --new-material --generate second.material
  waxseal key rotate alias/backups                              the same key, with your own material

The key stays the same: it still opens older files, and no file has to change. A key with your own material rotates to
the new material that you imported for it.";

pub(super) const KEY_ALIAS: &str = "\
Examples:
  waxseal key alias alias/backups 1234abcd-12ab-34cd-56ef-1234567890ab
  waxseal rewrap --from OLD-KEY-ARN --to alias/backups *.wax    moves the files to the new key

Files keep the key that they were sealed with. After this command, -k alias/NAME seals with the new key and does not
open older files. Open those with the ARN of the old key, or without -k. The old key must stay enabled until no file
needs it.";

pub(super) const KEY_DISABLE: &str = "\
Examples:
  waxseal key disable alias/backups
  waxseal key enable alias/backups

A disabled key cannot seal or open anything until it is enabled again. Sealing to its recipient file still works.";

pub(super) const KEY_ENABLE: &str = "\
Examples:
  waxseal key enable alias/backups";

pub(super) const KEY_SCHEDULE_DELETION: &str = "\
Examples:
  waxseal key schedule-deletion alias/backups --days 30 --yes
  waxseal key cancel-deletion alias/backups                     until then

During these days the key cannot be used, and CloudTrail shows each attempt to use it. After that, the key is deleted,
and files that only this key opens are lost.";

pub(super) const KEY_CANCEL_DELETION: &str = "\
Examples:
  waxseal key cancel-deletion alias/backups
  waxseal key enable alias/backups                              it is disabled until then";

pub(super) const DIRECT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -o token.blob token
  waxseal direct decrypt -o - token.blob";

pub(super) const DIRECT_ENCRYPT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -c app=web -o token.blob token

The blob is the same as that of `aws kms encrypt`. For files and streams of any size, use `waxseal encrypt`.";

pub(super) const DIRECT_DECRYPT: &str = "\
Examples:
  waxseal direct decrypt -c app=web -o token token.blob
  waxseal direct decrypt -k alias/backups -o - token.blob";

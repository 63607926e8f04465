//! Examples for the help of commands that are about AWS KMS.

pub(super) const KEY_CREATE: &str = "\
Examples:
  waxseal key create --alias alias/backups
  waxseal key create --external --alias alias/backups           for material of your own: see `key import`";

pub(super) const KEY_IMPORT: &str = "\
Examples:
  waxseal key import alias/backups --generate backups.material
  waxseal key import alias/backups --material backups.material --valid-to 2027-12-31T00:00:00Z";

pub(super) const KEY_DELETE_MATERIAL: &str = "\
Examples:
  waxseal key delete-material alias/backups --yes

Until the same material is imported again, nothing that the key sealed can be opened.";

pub(super) const DIRECT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -o token.blob token
  waxseal direct decrypt -o - token.blob";

pub(super) const DIRECT_ENCRYPT: &str = "\
Examples:
  waxseal direct encrypt -k alias/backups -c app=web -o token.blob token

The blob is the one of `aws kms encrypt`. Files and streams of any size: `waxseal encrypt`.";

pub(super) const DIRECT_DECRYPT: &str = "\
Examples:
  waxseal direct decrypt -c app=web -o token token.blob
  waxseal direct decrypt -k alias/backups -o - token.blob";

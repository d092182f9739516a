// Package server configures and assembles a whole waxseal: the S3 and KMS endpoints, the key service, the store, the
// audit records, health and metrics, from a configuration file, variables and flags. What an operator does to a data
// directory, whether a waxseal serves from it or not (backup, restore, rekey, fsck), is here, too.
package server

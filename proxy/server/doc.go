// Package server configures and assembles a whole waxseal: the S3 and KMS endpoints, the key service, the store, the
// audit records, health and metrics, from a configuration file, variables and flags. It also has the operator's
// commands on a data directory, in service or not: backup, restore, rekey, fsck.
package server

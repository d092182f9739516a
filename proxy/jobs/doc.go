// Package jobs has the operator's work on all objects below a prefix: verify, migrate, rewrap and inspect, with a
// report, a rate and a bookmark. A job is an S3 client of waxseal; only inspect reads the store behind.
package jobs

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"waxseal/keystore/audit"
	"waxseal/proxy/server"
)

func auditCommand() *cobra.Command {
	var q auditQuery
	var bucket string
	cmd := operatorCommand(&cobra.Command{
		Use:   "audit",
		Short: "Print audit records of the key service, oldest first, one JSON object a line",
		Args:  cobra.NoArgs,
	}, func(cmd *cobra.Command, c *server.Config, _ []string) error {
		read := func(f audit.Filter, fn func(audit.Record) bool) error { return audit.Read(c.AuditDir(), f, fn) }
		if bucket != "" {
			read = func(f audit.Filter, fn func(audit.Record) bool) error {
				return readAuditBucket(cmd.Context(), c, bucket, cmd.ErrOrStderr(), f, fn)
			}
		}
		return q.print(cmd.OutOrStdout(), read, time.Now())
	})
	f := cmd.Flags()
	f.StringVar(&q.since, "since", "", "from this `TIME` on: 2026-01-02T15:04:05Z, 2026-01-02, or a duration back from now")
	f.StringVar(&q.until, "until", "", "before this `TIME`")
	f.StringVar(&q.filter.EventName, "event", "", "only this `EVENT`, as Decrypt or GenerateDataKey")
	f.StringVar(&q.filter.Key, "key", "", "only what concerns this `KEY`: ARN or id")
	f.StringVar(&q.filter.User, "user", "", "only this `USER`: name, ARN or access key")
	f.StringVar(&q.filter.Bucket, "bucket", "", "only uses for objects of this `BUCKET`")
	f.BoolVar(&q.filter.ErrorOnly, "errors", false, "only what failed")
	f.StringVar(&bucket, "from-bucket", "", "read what was delivered to this `BUCKET` (--audit-bucket), as root, in place of the data directory's")
	f.BoolVar(&q.count, "count", false, "print how many there are instead")
	cmd.AddCommand(auditVerifyCommand(), auditPublicKeyCommand(), auditPruneCommand())
	return cmd
}

type auditQuery struct {
	since, until string
	filter       audit.Filter
	count        bool
}

// auditReader calls fn with the records matching a filter until fn returns false.
type auditReader func(f audit.Filter, fn func(audit.Record) bool) error

func (q auditQuery) print(w io.Writer, read auditReader, now time.Time) (err error) {
	if strings.HasPrefix(q.filter.Key, "alias/") || strings.Contains(q.filter.Key, ":alias/") {
		return fmt.Errorf("--key: records name a key by its ARN, not by an alias, which can move: aws kms describe-key --key-id %s says which it is now", q.filter.Key)
	}
	if q.filter.Since, err = moment("--since", q.since, now); err != nil {
		return err
	}
	if q.filter.Until, err = moment("--until", q.until, now); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	n := 0
	var failed error
	err = read(q.filter, func(r audit.Record) bool {
		n++
		if !q.count {
			failed = encoder.Encode(r)
		}
		return failed == nil
	})
	if q.count {
		fmt.Fprintln(out, n) // out keeps a write error until Flush
	}
	return errors.Join(err, failed, out.Flush())
}

// moment parses a time, a day, or a duration back from now.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: %q is neither a time, nor a day, nor a duration", flag, text)
}

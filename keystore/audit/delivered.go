package audit

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// maxDelivered bounds the JSON of a delivered file: a batch and a record more. Anybody with write access to the bucket
// can put any object there.
const maxDelivered = 64 << 20

var errTooLarge = errors.New("audit: is larger than a delivered file can be")

// ReadDelivered calls fn with the matching records of a delivered file, until fn returns false.
func ReadDelivered(r io.Reader, f Filter, fn func(Record) bool) (more bool, err error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return false, fmt.Errorf("audit: is no delivered file: %w", err)
	}
	limited := &io.LimitedReader{R: z, N: maxDelivered + 1}
	var document struct{ Records []Record }
	err = json.NewDecoder(limited).Decode(&document)
	switch {
	case limited.N <= 0:
		return false, errTooLarge
	case err != nil:
		return false, fmt.Errorf("audit: is no delivered file: %w", err)
	}
	for i := range document.Records {
		if r := document.Records[i]; f.Match(&r) && !fn(r) {
			return false, nil
		}
	}
	return true, nil
}

// deliveredTime is the format of the minute of the last record in a delivered file's name.
const deliveredTime = "20060102T1504Z"

// DeliveredBefore reports whether all records of a delivered file are older than t, by the time in its name. It returns
// false for a name without a time.
func DeliveredBefore(key string, t time.Time) bool {
	fields := strings.Split(path.Base(key), "_")
	if len(fields) != 5 {
		return false
	}
	last, err := time.Parse(deliveredTime, fields[3])
	return err == nil && last.Add(time.Minute).Before(t)
}

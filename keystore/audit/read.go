package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Filter picks records. Empty fields pick all.
type Filter struct {
	Since     time.Time // the first instant
	Until     time.Time // exclusive
	EventName string
	Key       string // a key's ARN or id, as a resource or a request parameter
	User      string // a user's name, ARN, access key or principal id
	Bucket    string // the bucket of the object or of the bucket key
	Object    string // the object's key in its bucket; a use of a bucket key is for no one object
	ErrorOnly bool
	Uses      bool // no requests that only look: Describe..., Get..., List...
}

// Match reports whether r passes the filter.
func (f *Filter) Match(r *Record) bool {
	switch {
	case !f.Since.IsZero() && r.EventTime.Before(f.Since),
		!f.Until.IsZero() && !r.EventTime.Before(f.Until),
		f.EventName != "" && !strings.EqualFold(f.EventName, r.EventName),
		f.ErrorOnly && r.ErrorCode == "",
		f.Uses && r.looks():
		return false
	}
	return (f.Key == "" || r.about(f.Key)) && (f.User == "" || r.UserIdentity.is(f.User)) && (f.Bucket == "" || r.Bucket() == f.Bucket) &&
		(f.Object == "" || r.Object() == f.Object)
}

// Bucket returns the bucket of a data event of S3, or of the encryption context made by S3; else it is empty.
func (r *Record) Bucket() string {
	if r.EventSource == S3Source {
		bucket, _ := r.RequestParameters["bucketName"].(string)
		return bucket
	}
	bucket, _, _ := strings.Cut(r.contextARN(), "/")
	return bucket
}

// Object returns the key of the object in a record. It is empty for a record without an object, or for a use of a bucket
// key, shared by many objects.
func (r *Record) Object() string {
	if r.EventSource == S3Source {
		key, _ := r.RequestParameters["key"].(string)
		return key
	}
	_, key, _ := strings.Cut(r.contextARN(), "/")
	return key
}

// contextARN returns the bucket, or the bucket and the object's key, of the encryption context that S3 makes.
func (r *Record) contextARN() string {
	ec, _ := r.RequestParameters["encryptionContext"].(map[string]any)
	arn, _ := ec["aws:s3:arn"].(string)
	rest, ok := strings.CutPrefix(arn, "arn:aws:s3:::")
	if !ok {
		return ""
	}
	return rest
}

// looks reports whether a request to the key service told about keys and did nothing with one.
func (r *Record) looks() bool {
	return r.EventSource == KMSSource && (strings.HasPrefix(r.EventName, "Describe") || strings.HasPrefix(r.EventName, "List") || strings.HasPrefix(r.EventName, "Get"))
}

func (r *Record) about(key string) bool {
	for _, resource := range r.Resources {
		if isKey(resource.ARN, key) {
			return true
		}
	}
	id, _ := r.RequestParameters["keyId"].(string)
	return id != "" && isKey(id, key)
}

func isKey(arn, key string) bool { return arn == key || strings.HasSuffix(arn, "/"+key) }

// is reports whether the identity is user: "root" for the root user, nameless in records, or a role for any of its
// sessions.
func (u *UserIdentity) is(user string) bool {
	if u.SessionContext != nil {
		for _, name := range []string{"userName", "arn", "principalId"} {
			if u.SessionContext.SessionIssuer[name] == user {
				return true
			}
		}
	}
	return u.Type == "Root" && user == "root" || user == u.UserName || user == u.ARN || user == u.AccessKeyID || user == u.PrincipalID
}

// Read calls fn with the matching records of a FileSink's directory, oldest first, until fn returns false. A writer may
// be at work. A partial last line, left by a crash or by a writer in the middle of its work, is no record; any other
// line that is no record is an error.
func Read(dir string, f Filter, fn func(Record) bool) error {
	// The current file is opened first, so that a file closed meanwhile appears again in the list, and is not missed.
	current, err := os.Open(filepath.Join(dir, currentName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("audit: %w", err)
	}
	if current != nil {
		defer current.Close()
	}
	closed, err := closedFiles(dir)
	if err != nil {
		return err
	}
	for _, c := range closed {
		more, err := readClosed(c.path, current, f, fn)
		if err != nil || !more {
			return err
		}
	}
	if current == nil {
		return nil
	}
	_, err = readRecords(current, f, fn)
	return err
}

// readClosed reads a closed file, unless it is the file opened as current when the reading began.
func readClosed(path string, current *os.File, f Filter, fn func(Record) bool) (more bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("audit: %w", err)
	}
	defer file.Close()
	if current != nil {
		a, errA := file.Stat()
		b, errB := current.Stat()
		if err := errors.Join(errA, errB); err != nil {
			return false, fmt.Errorf("audit: %w", err)
		}
		if os.SameFile(a, b) {
			return true, nil
		}
	}
	return readRecords(file, f, fn)
}

func readRecords(file *os.File, f Filter, fn func(Record) bool) (more bool, err error) {
	more = true
	err = eachLine(file, func(number int, line []byte) error {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("audit: %s, line %d: %w", file.Name(), number, err)
		}
		if f.Match(&r) && !fn(r) {
			more = false
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return more, err
}

var errStop = errors.New("audit: stop")

// eachLine calls fn with each whole line, without its end.
func eachLine(r io.Reader, fn func(number int, line []byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		if err := fn(number, line[:len(line)-1]); err != nil {
			return err
		}
	}
}

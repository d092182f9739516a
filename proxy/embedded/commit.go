package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"waxseal/proxy/s3"
)

// groupLimit bounds how many changes share one commit.
const groupLimit = 256

// change is what a request wants of the index. Its apply must not have written anything when it returns an *s3.Error:
// the error is then the request's own, and the rest of the group goes on.
type change struct {
	apply func(*txn) error
	dirs  []uint64 // directories that got names which the change refers to

	err  error
	done chan struct{}
}

// commit carries a change out, durably. Changes that wait at the same time share the fsync of each directory and that of
// the index: all go through one goroutine, which never waits for company.
func (s *Store) commit(ctx context.Context, apply func(*txn) error, bodies ...extent) error {
	c := &change{apply: apply, done: make(chan struct{})}
	for _, x := range bodies {
		if dir := dirOf(x.id); !x.inline && x.id != 0 && !slices.Contains(c.dirs, dir) {
			c.dirs = append(c.dirs, dir)
		}
	}
	select {
	case s.queue <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return errClosed
	}
	<-c.done
	if isFull(c.err) {
		return errDiskFull()
	}
	return c.err
}

var errClosed = errors.New("embedded store: it is closed")

// write is the committer. It runs until the store is closed.
func (s *Store) write() {
	for {
		select {
		case <-s.stop:
			return
		case first := <-s.queue:
			s.commitGroup(s.gather(first))
		}
	}
}

// gather takes the changes that wait already.
func (s *Store) gather(first *change) []*change {
	group := []*change{first}
	for len(group) < groupLimit {
		select {
		case c := <-s.queue:
			group = append(group, c)
		default:
			return group
		}
	}
	return group
}

// commitGroup commits changes together. One that meets a damaged entry fails alone: the others are tried without it.
func (s *Store) commitGroup(group []*change) {
	dropped, err := s.commitOnce(group)
	if errors.Is(err, errUncertain) {
		s.fail(err)
	}
	if errors.Is(err, errDamaged) && len(group) > 1 {
		for _, c := range group {
			s.commitGroup([]*change{c})
		}
		return
	}
	for _, c := range group {
		if err != nil {
			c.err = fmt.Errorf("embedded store: %w", err)
		}
		close(c.done)
	}
	if dropped {
		s.wake()
	}
}

// commitOnce reports whether files wait to be unlinked.
func (s *Store) commitOnce(group []*change) (dropped bool, err error) {
	if err := s.failed(); err != nil {
		return false, err
	}
	if err := s.syncDirs(group); err != nil {
		return false, err
	}
	err = s.medium.update(func(t tx) error {
		x := &txn{tx: t, store: s}
		for _, c := range group {
			if err := c.run(x); err != nil {
				return err
			}
		}
		dropped = x.dropped
		return x.advance()
	})
	return dropped, err
}

// run applies one change. The error that it returns is the medium's, and fails the whole group.
func (c *change) run(t *txn) error {
	c.err = c.apply(t)
	var own *s3.Error
	if errors.As(c.err, &own) {
		return nil
	}
	return c.err
}

func (s *Store) syncDirs(group []*change) error {
	var synced []uint64
	for _, c := range group {
		for _, dir := range c.dirs {
			if slices.Contains(synced, dir) {
				continue
			}
			if err := s.medium.syncDir(dir); err != nil {
				return err
			}
			synced = append(synced, dir)
		}
	}
	return nil
}

package etcd

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"waxseal/keystore/state"
)

// watchPause is the pause before a broken watch begins again.
const watchPause = 200 * time.Millisecond

// follow keeps a watch over everything under the prefix, from the revision after rev, and passes its events to the hub.
// A broken watch resumes at its place; if etcd has compacted the place away, every watcher hears Lagged.
func (s *Store) follow(rev int64) {
	for s.life.Err() == nil {
		err := s.followOnce(&rev)
		if s.life.Err() != nil {
			return
		}
		if errors.Is(err, rpctypes.ErrCompacted) {
			now, rerr := s.revision(s.life)
			if rerr == nil {
				s.log.Warn("the state's changes were compacted away before they were seen: caches are dropped", "from", rev, "to", now)
				rev = now
				s.hub.Lag(rev)
				continue
			}
			err = rerr
		}
		s.log.Warn("the watch of the state is interrupted and begins again", "err", err)
		select {
		case <-time.After(watchPause):
		case <-s.life.Done():
		}
	}
}

func (s *Store) followOnce(rev *int64) error {
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	changes := s.client.Watch(clientv3.WithRequireLeader(ctx), s.prefix, clientv3.WithPrefix(), clientv3.WithRev(*rev+1))
	for resp := range changes {
		if err := resp.Err(); err != nil {
			return err
		}
		if len(resp.Events) == 0 {
			continue // progress alone
		}
		s.hub.Publish(s.events(resp.Events))
		*rev = resp.Events[len(resp.Events)-1].Kv.ModRevision
	}
	return errors.New("the watch ended")
}

func (s *Store) events(from []*clientv3.Event) []state.Event {
	all := make([]state.Event, len(from))
	for i, e := range from {
		all[i] = state.Event{Key: strings.TrimPrefix(string(e.Kv.Key), s.prefix), Value: e.Kv.Value,
			Revision: e.Kv.ModRevision, Deleted: e.Type == clientv3.EventTypeDelete}
	}
	return all
}

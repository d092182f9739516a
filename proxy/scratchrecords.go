package proxy

import (
	"context"
	"strings"

	"waxseal/keystore/state"
	"waxseal/proxy/store"
)

const scratchState = "proxy/scratch/"

// bucketRecords are the records of the probe's buckets: proxy/scratch/<bucket>.
type bucketRecords struct{ state state.Store }

func (r bucketRecords) Add(ctx context.Context, bucket string) error {
	_, err := r.state.Txn(ctx, nil, []state.Op{{Key: scratchState + bucket, Value: []byte("{}")}})
	return err
}

func (r bucketRecords) Remove(ctx context.Context, bucket string) error {
	_, err := r.state.Txn(ctx, nil, []state.Op{{Key: scratchState + bucket, Delete: true}})
	return err
}

func (r bucketRecords) All(ctx context.Context) ([]string, error) {
	entries, err := r.state.Range(ctx, scratchState, "", 0)
	if err != nil {
		return nil, err
	}
	buckets := make([]string, len(entries))
	for i, e := range entries {
		buckets[i] = strings.TrimPrefix(e.Key, scratchState)
	}
	return buckets, nil
}

// Probe finds out what the store honours, in a scratch bucket that it makes and removes. It tries again until the store
// answers or ctx ends.
func (s *Server) Probe(ctx context.Context) {
	s.up.Probe(ctx, s.scratch())
}

func (s *Server) scratch() store.Scratch {
	return store.Scratch{Records: bucketRecords{s.cfg.State}, Log: s.log, Now: s.cfg.Now}
}

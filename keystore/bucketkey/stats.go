package bucketkey

import (
	"sync/atomic"

	"waxseal/keystore"
)

// Stats has the counts of a Keys since its start.
type Stats struct {
	Requests uint64 // ForWrite and ForRead
	Hits     uint64 // of these, answered without a call to the provider
	Misses   uint64 // the rest, refusals included

	NegativeHits     uint64 // refusals repeated from memory
	Expiries         uint64 // opened keys at the end of their window
	Evictions        uint64 // opened keys pushed out of a full cache
	LostRaces        uint64 // new bucket keys thrown away for another's
	ContextOverflows uint64 // ErrTooManyContexts
	StateErrors      uint64

	ChainOpens  uint64 // reads with a key opened by its successor
	ChainMisses uint64 // reads with a damaged chain: the blob itself was decrypted

	// Calls to the provider, by purpose.
	GenerateDataKey          uint64 // as requesters; each made a bucket key, but for LostRaces
	Decrypt                  uint64 // as requesters; each opened a bucket key
	ServiceDecrypt           uint64 // as the service, to open a bucket key
	AuthorizeGenerateDataKey uint64 // as requesters, to use an open bucket key
	AuthorizeDecrypt         uint64
	DescribeKey              uint64 // Resolve

	// CallsAvoided is how many more calls the same requests would have been with a key for each object.
	CallsAvoided uint64
}

type counters struct {
	requests, hits, negativeHits, expiries, evictions, lostRaces, contextOverflows, stateErrors, chainOpens, chainMisses atomic.Uint64
	generates, requesterDecrypts, serviceDecrypts, authGenerates, authDecrypts, resolves                                 atomic.Uint64
}

func (c *counters) authorizations(a keystore.Action) *atomic.Uint64 {
	if a == keystore.Decrypt {
		return &c.authDecrypts
	}
	return &c.authGenerates
}

func (c *counters) decrypts(service bool) *atomic.Uint64 {
	if service {
		return &c.serviceDecrypts
	}
	return &c.requesterDecrypts
}

// Stats returns the counts. They are read in turn, so they may differ by requests meanwhile.
func (b *Keys) Stats() Stats {
	c := &b.stats
	s := Stats{
		Hits: c.hits.Load(), NegativeHits: c.negativeHits.Load(), Expiries: c.expiries.Load(), Evictions: c.evictions.Load(),
		LostRaces: c.lostRaces.Load(), ContextOverflows: c.contextOverflows.Load(), StateErrors: c.stateErrors.Load(),
		ChainOpens: c.chainOpens.Load(), ChainMisses: c.chainMisses.Load(),
		GenerateDataKey: c.generates.Load(), Decrypt: c.requesterDecrypts.Load(), ServiceDecrypt: c.serviceDecrypts.Load(),
		AuthorizeGenerateDataKey: c.authGenerates.Load(), AuthorizeDecrypt: c.authDecrypts.Load(),
		DescribeKey: c.resolves.Load(),
	}
	s.Requests = c.requests.Load()
	s.Misses = s.Requests - min(s.Requests, s.Hits)
	s.CallsAvoided = s.Requests - min(s.Requests, s.Calls())
	return s
}

// Calls returns the number of calls to the provider.
func (s Stats) Calls() uint64 {
	return s.GenerateDataKey + s.Decrypt + s.ServiceDecrypt + s.AuthorizeGenerateDataKey + s.AuthorizeDecrypt
}

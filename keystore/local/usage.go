package local

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// lastUse is kms/usage/<key id>: the last cryptographic operation with a key.
type lastUse struct {
	Operation string    `json:"operation"`
	Time      time.Time `json:"time"`
	EventID   string    `json:"event_id"`
	RequestID string    `json:"request_id"`
}

// usageLog collects last uses in memory; the reaper writes them once a minute. A crash loses at most a minute of them;
// the audit log still has the uses.
type usageLog struct {
	mu   sync.Mutex
	uses map[string]lastUse
}

func (l *usageLog) note(c *call) {
	use := lastUse{c.op, c.now, c.eventID, c.caller.RequestID}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uses == nil {
		l.uses = map[string]lastUse{}
	}
	for _, k := range c.keys {
		l.uses[k.ID] = use
	}
}

func (l *usageLog) take() map[string]lastUse {
	l.mu.Lock()
	defer l.mu.Unlock()
	uses := l.uses
	l.uses = nil
	return uses
}

// back returns unwritten uses to the log, except where a newer use has arrived.
func (l *usageLog) back(uses map[string]lastUse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, use := range l.uses {
		uses[id] = use
	}
	l.uses = uses
}

func (l *usageLog) get(keyID string) (lastUse, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	use, ok := l.uses[keyID]
	return use, ok
}

// flushUsage writes the collected uses, in transactions of bounded size. The uses of a failed transaction stay
// collected.
func (s *Service) flushUsage(ctx context.Context) error {
	uses := s.usage.take()
	err := s.writeUsage(ctx, uses)
	if err != nil {
		s.usage.back(uses)
	}
	return err
}

func (s *Service) writeUsage(ctx context.Context, uses map[string]lastUse) error {
	ops := make([]state.Op, 0, len(uses))
	for id, use := range uses {
		value, err := json.Marshal(use)
		if err != nil {
			return err
		}
		ops = append(ops, state.Op{Key: usagePrefix + id, Value: value})
	}
	return state.WriteAll(ctx, s.state, ops)
}

// lastUseOf returns the later use of this process's last use and the state's.
func (s *Service) lastUseOf(ctx context.Context, keyID string) (lastUse, bool, error) {
	here, found := s.usage.get(keyID)
	if found && !s.replicas.Shared() {
		return here, true, nil
	}
	var stored lastUse
	_, inState, err := s.getJSON(ctx, usagePrefix+keyID, &stored)
	if err != nil {
		return lastUse{}, false, err
	}
	if inState && (!found || stored.Time.After(here.Time)) {
		return stored, true, nil
	}
	return here, found, nil
}

// GetKeyLastUsage returns the time and operation of a key's last cryptographic use.
func (s *Service) GetKeyLastUsage(ctx context.Context, caller keystore.Caller, in *KeyRequest) (*GetKeyLastUsageResponse, error) {
	return perform(ctx, s, caller, "GetKeyLastUsage", in, func(c *call) (*GetKeyLastUsageResponse, error) {
		k, err := c.use(ctx, in.KeyId, access{})
		if err != nil {
			return nil, err
		}
		use, found, err := s.lastUseOf(ctx, k.ID)
		if err != nil {
			return nil, err
		}
		// Uses have been noted ever since there were keys, so tracking began with the key.
		out := &GetKeyLastUsageResponse{KeyId: k.arn(), TrackingStartDate: at(k.Created), KeyCreationDate: at(k.Created)}
		if found {
			out.KeyLastUsage = &KeyLastUsage{use.Operation, at(use.Time), use.EventID, use.RequestID}
		}
		return out, nil
	})
}

// throttle limits the requests of each principal. Without a limit it admits every request.
type throttle struct {
	limit    rate.Limit
	burst    int
	limiters *lru.Cache[string, *rate.Limiter]
	mu       sync.Mutex
}

// throttledPrincipals bounds the number of separate buckets. The principal of the oldest request is dropped, and starts
// with a full bucket at its next request.
const throttledPrincipals = 10_000

func newThrottle(perSecond float64) *throttle {
	if perSecond <= 0 {
		return nil
	}
	limiters, err := lru.New[string, *rate.Limiter](throttledPrincipals)
	if err != nil {
		panic("keystore/local: internal error: " + err.Error())
	}
	return &throttle{limit: rate.Limit(perSecond), burst: max(1, int(perSecond)), limiters: limiters}
}

func (t *throttle) admit(principal string, now time.Time) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	limiter, ok := t.limiters.Get(principal)
	if !ok {
		limiter = rate.NewLimiter(t.limit, t.burst)
		t.limiters.Add(principal, limiter)
	}
	t.mu.Unlock()
	if !limiter.AllowN(now, 1) {
		return failf(codeThrottling, "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.")
	}
	return nil
}

// Count is the number of an operation's calls with the same outcome.
type Count struct {
	Operation string
	Code      string // an exception, or empty for success
	N         uint64
}

type counters struct {
	mu sync.Mutex
	n  map[[2]string]uint64
}

func (c *counters) add(op, code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[[2]string]uint64{}
	}
	c.n[[2]string{op, code}]++
}

// Counts returns the number of calls of each operation since the start, by outcome. Throttled requests have the code
// ThrottlingException.
func (s *Service) Counts() []Count {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	out := make([]Count, 0, len(s.counters.n))
	for k, n := range s.counters.n {
		out = append(out, Count{k[0], k[1], n})
	}
	return out
}

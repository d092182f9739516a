package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// replicaPrefix is the prefix of the replicas' records with their progress in the state: replicas/<name>.
const replicaPrefix = "replicas/"

const (
	// beatInterval is how often a replica writes its record.
	beatInterval = time.Second
	// FreshFor is how long a replica may go without proof that it follows the state. After that it counts as out of
	// date: it asks the state in place of its caches, and no replica waits for it.
	FreshFor = 5 * time.Second
	// MaxSkew is the greatest accepted difference between the clocks of live replicas, for acts that cannot be undone.
	MaxSkew = 2 * time.Minute
	// forgottenAfter is the age at which the record of a departed replica is removed.
	forgottenAfter = time.Hour
)

// ErrReplaced ends a replica whose record was changed by another process: a second process runs under its name, or the
// state was restored from an older copy.
var ErrReplaced = errors.New("state: another process runs under this replica's name, or the state was restored from a backup: restart this process, under a name of its own")

// Replicas is this process's membership of the processes that share a state. It measures how fresh the process's caches
// are, and waits until the other replicas have seen a change.
//
// A beat is a transaction that writes the replica's own record. The change comes back through the watch that all caches
// follow. Watch events arrive in order: once the beat is back, the caches have seen every change made before the beat
// was sent. So the caches are as fresh as the send time of the last returned beat. A lease would prove less: it lives
// on while its owner's watch stands still.
//
// A nil Replicas is a process without a shared state: always fresh, with no replica to wait for.
type Replicas struct {
	store  Store
	name   string
	window time.Duration // how long this process relies on its knowledge of the state without following it
	urgent []string      // prefixes: a change under any of them is acknowledged at once
	log    *slog.Logger
	wall   func() time.Time
	clock  func() time.Duration // monotonic, goes on while the machine sleeps

	mu       sync.Mutex
	followed int64                    // the newest revision seen by the watch
	behind   map[string]int64         // keys whose mirrors read again by themselves, and the first change not yet read; 0: none
	seen     int64                    // every cache has followed the state up to this revision
	beats    map[int64]time.Duration  // send times of the beats still on their way back, by revision
	fresh    time.Duration            // send time of the last returned beat
	others   map[string]*otherReplica // by name
	revision int64                    // of our record
	unknown  []byte                   // the value of the last beat with a lost answer
	err      error                    // why this replica must end
	ended    chan struct{}

	kick chan struct{} // one token: beat at once
	stop context.CancelFunc
	done sync.WaitGroup
}

// replicaRecord is a replica's record.
type replicaRecord struct {
	Seen int64     `json:"seen"`
	Time time.Time `json:"time"` // the replica's clock
}

type otherReplica struct {
	seen     int64
	revision int64         // of its record
	progress time.Duration // when its seen was last found to have grown, or it was found
	skew     time.Duration // its clock against ours
}

// Join makes this process a replica, under a unique name. A change of a key under an urgent prefix is acknowledged at
// once, because another replica waits for the acknowledgement. window bounds how long this process relies on a state
// without following it: see Check.
func Join(ctx context.Context, s Store, name string, log *slog.Logger, window time.Duration, urgent ...string) (*Replicas, error) {
	if err := CheckKey(replicaPrefix + name); err != nil || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("state: %q is not a replica's name", name)
	}
	r := &Replicas{store: s, name: name, window: window, urgent: urgent, log: log, wall: time.Now, clock: boottime(),
		beats: make(map[int64]time.Duration), behind: make(map[string]int64), others: make(map[string]*otherReplica), ended: make(chan struct{}), kick: make(chan struct{}, 1)}
	e, err := s.Get(ctx, replicaPrefix+name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	r.revision = e.Revision // the record of an earlier process, or of a live process replaced now
	unfollow := s.Follow("", r.follow)
	if err := r.beat(ctx); err != nil {
		unfollow()
		return nil, fmt.Errorf("state: joining the replicas as %s: %w", name, err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.done.Go(func() { r.run(life); unfollow() })
	return r, nil
}

// Leave removes this replica's record, so that nobody waits for it.
func (r *Replicas) Leave(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.stop()
	r.done.Wait()
	r.mu.Lock()
	revision := r.revision
	r.mu.Unlock()
	_, err := r.store.Txn(ctx, []Cond{{Key: replicaPrefix + r.name, Revision: revision}}, []Op{{Key: replicaPrefix + r.name, Delete: true}})
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// Ended returns closed when this replica must end; Err returns the reason. It is nil for a process alone.
func (r *Replicas) Ended() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.ended
}

// Err returns why this replica must end.
func (r *Replicas) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Shared reports whether other processes may use the state.
func (r *Replicas) Shared() bool { return r != nil }

// Alone reports whether no other replica has joined. A replica that ended without leaving counts until its record is
// removed, forgottenAfter its last beat.
func (r *Replicas) Alone(ctx context.Context) (bool, error) {
	if r == nil {
		return true, nil
	}
	records, err := r.store.Range(ctx, replicaPrefix, "", 0)
	if err != nil {
		return false, err
	}
	return len(records) == 0 || len(records) == 1 && records[0].Key == replicaPrefix+r.name, nil
}

// Age returns the greatest possible age of this process's caches of the state.
func (r *Replicas) Age() time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clock() - r.fresh
}

// Fresh reports whether this process follows the state.
func (r *Replicas) Fresh() bool { return r.Age() < FreshFor }

// ClocksAgree reports whether this replica is fresh and the clocks of all live replicas agree with its own closely
// enough for an act that cannot be undone.
func (r *Replicas) ClocksAgree() bool {
	if r == nil {
		return true
	}
	if !r.Fresh() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, o := range r.others {
		if r.live(o) && o.skew.Abs() > MaxSkew {
			r.log.Warn("the clocks of two replicas differ: nothing that cannot be undone is done", "replica", name, "by", o.skew)
			return false
		}
	}
	return true
}

// Check returns ErrUnavailable if this process has not followed the state for longer than the window: rights in its
// memory may have been removed meanwhile.
func (r *Replicas) Check() error {
	if r == nil || r.Age() < r.window {
		return nil
	}
	return fmt.Errorf("%w: this replica has not followed it for %v", ErrUnavailable, r.Age().Round(time.Second))
}

// Mirror registers a key with a mirror: the mirror reads the key by itself, some time after a change. A change counts
// as seen after the mirror's CaughtUp.
func (r *Replicas) Mirror(key string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behind[key] = 0
}

// CaughtUp reports that a mirror has read its key at a revision. The mirror then has all older changes.
func (r *Replicas) CaughtUp(key string, rev int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	waited := r.behind[key]
	if waited != 0 && waited <= rev {
		r.behind[key] = 0
		r.advance()
	}
	r.mu.Unlock()
	if waited != 0 {
		r.beatSoon()
	}
}

// advance moves seen on, as far as every mirror has read. mu is held.
func (r *Replicas) advance() {
	seen := r.followed
	for _, rev := range r.behind {
		if rev != 0 {
			seen = min(seen, rev-1)
		}
	}
	r.seen = max(r.seen, seen)
	for at, sent := range r.beats {
		if at <= r.seen {
			r.fresh = max(r.fresh, sent)
			delete(r.beats, at)
		}
	}
}

func (r *Replicas) beatSoon() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// live reports whether a replica may still go by its caches. mu is held.
func (r *Replicas) live(o *otherReplica) bool { return r.clock()-o.progress < FreshFor }

// settlePause is the time between two looks of Settle.
const settlePause = 10 * time.Millisecond

// Settle waits until every other live replica has seen a revision, or has gone without a sign of life for FreshFor:
// such a replica asks the state in place of its caches. The caller's change is in force everywhere then. An ended
// context ends the wait without an error: the change itself is made.
func (r *Replicas) Settle(ctx context.Context, rev int64) {
	if r == nil {
		return
	}
	for {
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("it is not known whether all replicas have seen a change", "revision", rev, "err", err)
		}
		if !r.anyBehind(rev) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settlePause):
		}
	}
}

// anyBehind reports whether a live replica has not seen a revision.
func (r *Replicas) anyBehind(rev int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.others {
		if o.seen < rev && r.live(o) {
			return true
		}
	}
	return false
}

// follow is called last for every change: all caches have dropped the changed entry.
func (r *Replicas) follow(key string, rev int64) {
	r.mu.Lock()
	for mirrored, first := range r.behind {
		if (key == "" || key == mirrored) && first == 0 {
			r.behind[mirrored] = rev
		}
	}
	r.followed = max(r.followed, rev)
	r.advance()
	r.mu.Unlock()
	if key == "" || r.isUrgent(key) {
		r.beatSoon()
	}
}

func (r *Replicas) isUrgent(key string) bool {
	for _, prefix := range r.urgent {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func (r *Replicas) run(ctx context.Context) {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.kick:
		}
		err := r.beat(ctx)
		if err == nil {
			err = r.look(ctx)
		}
		if errors.Is(err, ErrReplaced) {
			return
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn("this replica cannot say that it is alive", "replica", r.name, "err", err)
		}
	}
}

// beat writes this replica's record over its own last record.
func (r *Replicas) beat(ctx context.Context) error {
	r.mu.Lock()
	sent, revision := r.clock(), r.revision
	value, err := json.Marshal(replicaRecord{Seen: r.seen, Time: r.wall().UTC()})
	r.mu.Unlock()
	if err != nil {
		return err
	}
	key := replicaPrefix + r.name
	rev, err := r.store.Txn(ctx, []Cond{{Key: key, Revision: revision}}, []Op{{Key: key, Value: value}})
	switch {
	case errors.Is(err, ErrConflict), errors.Is(err, ErrUnknown):
		return r.readBack(ctx, value, err)
	case err != nil:
		return err
	}
	r.wrote(rev, sent)
	return nil
}

// readBack finds out why a beat failed. A beat with a lost answer may be in the state, or arrive later: the next beat
// needs its revision. Such a beat proves nothing of freshness. Any other change of the record comes from another
// process.
func (r *Replicas) readBack(ctx context.Context, value []byte, cause error) error {
	r.mu.Lock()
	lost := r.unknown
	if errors.Is(cause, ErrUnknown) {
		r.unknown, lost = value, value
	}
	r.mu.Unlock()
	e, err := r.store.Get(ctx, replicaPrefix+r.name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if lost != nil && string(e.Value) == string(lost) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.revision = e.Revision
		return nil
	}
	if errors.Is(cause, ErrConflict) {
		r.end(ErrReplaced)
		return ErrReplaced
	}
	return nil
}

// wrote notes a beat. Its change may have come back already.
func (r *Replicas) wrote(rev int64, sent time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision = rev
	if r.seen >= rev {
		r.fresh = max(r.fresh, sent)
	} else {
		r.beats[rev] = sent
	}
}

func (r *Replicas) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
		close(r.ended)
	}
}

// look reads the records of the other replicas, and removes the records of long departed replicas.
func (r *Replicas) look(ctx context.Context) error {
	entries, err := r.store.Range(ctx, replicaPrefix, "", 0)
	if err != nil {
		return err
	}
	var gone []Entry
	r.mu.Lock()
	known := r.others
	r.others = make(map[string]*otherReplica, len(entries))
	for _, e := range entries {
		name := strings.TrimPrefix(e.Key, replicaPrefix)
		if name == r.name {
			continue
		}
		o, err := r.note(known[name], e)
		if err != nil {
			r.mu.Unlock()
			return err
		}
		r.others[name] = o
		if r.clock()-o.progress > forgottenAfter {
			gone = append(gone, e)
		}
	}
	r.mu.Unlock()
	for _, e := range gone {
		if _, err := r.store.Txn(ctx, []Cond{{Key: e.Key, Revision: e.Revision}}, []Op{{Key: e.Key, Delete: true}}); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return nil
}

// note returns the knowledge of another replica from its record. mu is held.
func (r *Replicas) note(o *otherReplica, e Entry) (*otherReplica, error) {
	if o != nil && o.revision == e.Revision {
		return o, nil
	}
	var record replicaRecord
	if err := json.Unmarshal(e.Value, &record); err != nil {
		return nil, fmt.Errorf("state: %s: %w", e.Key, err)
	}
	now := &otherReplica{seen: record.Seen, revision: e.Revision, progress: r.clock()}
	if o != nil { // the age of a record found just now is unknown
		now.skew = record.Time.Sub(r.wall())
		if record.Seen <= o.seen {
			now.progress = o.progress
		}
	}
	return now, nil
}

// ReplicaRevisions returns the revision of each replica's record, by name: it grows while the replica lives.
func ReplicaRevisions(ctx context.Context, s Store) (map[string]int64, error) {
	entries, err := s.Range(ctx, replicaPrefix, "", 0)
	revisions := make(map[string]int64, len(entries))
	for _, e := range entries {
		revisions[strings.TrimPrefix(e.Key, replicaPrefix)] = e.Revision
	}
	return revisions, err
}

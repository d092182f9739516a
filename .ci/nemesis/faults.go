package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// fault is a kind of fault.
type fault struct {
	kind string
	// run makes the fault on a replica, waits, and takes it back. Faults of etcd have no replica.
	run func(f *faults, r *replica) error
	// etcd is true of a fault of etcd itself, shared of one that needs etcd and a store.
	etcd, shared bool
}

// kinds are all kinds of faults.
var kinds = []fault{
	{kind: "kill", run: (*faults).kill},
	{kind: "pause", run: (*faults).pause},
	{kind: "cut-clients", run: (*faults).cutClients},
	{kind: "restart", run: (*faults).restart},
	{kind: "cut-etcd", run: (*faults).cutEtcd, shared: true},
	{kind: "cut-store", run: (*faults).cutStore, shared: true},
	{kind: "etcd-kill", run: (*faults).killMember, etcd: true, shared: true},
	{kind: "etcd-pause", run: (*faults).pauseMember, etcd: true, shared: true},
	{kind: "etcd-outage", run: (*faults).outage, etcd: true, shared: true},
}

// faults makes one fault after the other.
type faults struct {
	cluster *cluster
	report  *report
	random  *rand.Rand
	every   time.Duration // of the pause between two faults
	kinds   []fault
	outages time.Duration // of an outage of etcd
	kills   time.Duration // between two kills beside all other faults; 0: none

	mu       sync.Mutex
	current  string
	changes  int                // of current
	detach   map[*replica]int   // how many faults cut a replica off the state now
	detached map[*replica]int64 // when the last such fault ended
}

// settling is how long after a fault of etcd a replica may still be late: it looks for a member again.
const settling = 5 * time.Second

func newFaults(c *cluster, rep *report, seed uint64, p plan, only []string) *faults {
	f := &faults{cluster: c, report: rep, random: rand.New(rand.NewPCG(seed, 0)), every: p.every, outages: p.outage, kills: p.kills,
		current: noFault, detach: map[*replica]int{}, detached: map[*replica]int64{}}
	for _, k := range kinds {
		if k.shared && len(c.replicas) == 1 || len(only) > 0 && !slices.Contains(only, k.kind) {
			continue
		}
		f.kinds = append(f.kinds, k)
	}
	return f
}

// now is the kind of the fault that is on, and how often that has changed.
func (f *faults) now() (kind string, changes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current, f.changes
}

func (f *faults) set(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = kind
	f.changes++
}

// isDetached reports whether a replica was cut off from the state at a time, or since.
func (f *faults) isDetached(r *replica, from int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended, ever := f.detached[r]
	return f.detach[r] > 0 || ever && ended+int64(settling) > from
}

// detaching marks replicas as cut off for as long as run takes.
func (f *faults) detaching(replicas []*replica, run func() error) error {
	f.mu.Lock()
	for _, r := range replicas {
		f.detach[r]++
	}
	f.mu.Unlock()
	err := run()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range replicas {
		f.detach[r]--
		f.detached[r] = clock()
	}
	return err
}

// begin makes faults in the background until end. The function that it returns waits for the last to be taken back.
func (f *faults) begin(end time.Time) (wait func() error) {
	var failed, killed error
	var all sync.WaitGroup
	all.Go(func() {
		for failed == nil && len(f.kinds) > 0 {
			for _, n := range f.random.Perm(len(f.kinds)) {
				time.Sleep(f.every)
				if time.Now().After(end) {
					return
				}
				if failed = f.make(f.kinds[n]); failed != nil {
					return
				}
			}
		}
	})
	all.Go(func() {
		for killed == nil && f.kills > 0 {
			time.Sleep(f.kills)
			if time.Now().After(end) {
				return
			}
			killed = f.killBeside()
		}
	})
	return func() error {
		all.Wait()
		return errors.Join(failed, killed)
	}
}

// killBeside kills a replica that has no other fault.
func (f *faults) killBeside() error {
	for _, n := range rand.Perm(len(f.cluster.replicas)) {
		r := f.cluster.replicas[n]
		if !r.suspect.CompareAndSwap(false, true) {
			continue
		}
		defer r.suspect.Store(false)
		f.say("kill beside", "%s", r.name)
		r.process.kill()
		return f.startAgain(r)
	}
	return nil
}

// pick takes a replica without a fault.
func (f *faults) pick() *replica {
	for {
		r := f.cluster.replicas[f.random.IntN(len(f.cluster.replicas))]
		if r.suspect.CompareAndSwap(false, true) {
			return r
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// startAgain starts a replica, as a supervisor does: also one that ends by itself, which it must not.
func (f *faults) startAgain(r *replica) error {
	for {
		err := errors.Join(r.process.start(), r.ready(recovery))
		if err == nil || !r.process.wait(0) {
			return err
		}
		f.report.violation("ended", "%v", err)
		time.Sleep(time.Second)
	}
}

// recovery is the time in which a replica that was started must be ready: etcd may be away for a minute of it.
const recovery = 3 * time.Minute

func (f *faults) make(k fault) error {
	var r *replica
	if !k.etcd {
		r = f.pick()
		defer r.suspect.Store(false)
	}
	f.set(k.kind)
	defer f.set(noFault)
	if err := k.run(f, r); err != nil {
		return fmt.Errorf("%s: %w", k.kind, err)
	}
	return nil
}

// between is a random time.
func (f *faults) between(low, high time.Duration) time.Duration {
	return low + time.Duration(f.random.Int64N(int64(high-low)))
}

func (f *faults) say(kind, format string, a ...any) {
	f.report.fault(kind, fmt.Sprintf(kind+" "+format, a...))
}

func (f *faults) kill(r *replica) error {
	pause := f.between(0, 3*time.Second)
	f.say("kill", "%s, started again after %v", r.name, pause)
	r.process.kill()
	time.Sleep(pause)
	return f.startAgain(r)
}

// restart ends a replica as an operator does.
func (f *faults) restart(r *replica) error {
	f.say("restart", "%s", r.name)
	if err := r.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if !r.process.wait(time.Minute) {
		f.report.violation("does not end", "%s, a minute after SIGTERM", r.name)
		r.process.kill()
	}
	return f.startAgain(r)
}

func (f *faults) pause(r *replica) error {
	pause := f.between(time.Second, 14*time.Second)
	f.say("pause", "%s for %v", r.name, pause)
	if err := r.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(pause)
	return r.signal(syscall.SIGCONT)
}

func (f *faults) cut(kind string, r *replica, gates []*gate) {
	pause := f.between(2*time.Second, 15*time.Second)
	f.say(kind, "%s for %v", r.name, pause)
	shut(gates)
	time.Sleep(pause)
	open(gates)
}

func (f *faults) cutClients(r *replica) error {
	f.cut("cut-clients", r, r.clients)
	return nil
}

func (f *faults) cutStore(r *replica) error {
	f.cut("cut-store", r, r.store)
	return nil
}

func (f *faults) cutEtcd(r *replica) error {
	return f.detaching([]*replica{r}, func() error {
		f.cut("cut-etcd", r, r.state)
		return nil
	})
}

// quorumLost are the replicas that a fault of one member cuts off: all, where there is no other member.
func (f *faults) quorumLost() []*replica {
	if len(f.cluster.etcd) < 3 {
		return f.cluster.replicas
	}
	return nil
}

// killMember kills the leader of etcd, and starts it again.
func (f *faults) killMember(*replica) error {
	return f.detaching(f.quorumLost(), func() error {
		n, pause := f.cluster.leader(), f.between(time.Second, 6*time.Second)
		f.say("etcd-kill", "member %d, the leader, started again after %v", n+1, pause)
		f.cluster.etcd[n].kill()
		time.Sleep(pause)
		return errors.Join(f.cluster.etcd[n].start(), f.cluster.etcdReady(time.Minute))
	})
}

func (f *faults) pauseMember(*replica) error {
	return f.detaching(f.quorumLost(), func() error {
		n, pause := f.random.IntN(len(f.cluster.etcd)), f.between(2*time.Second, 10*time.Second)
		f.say("etcd-pause", "member %d for %v", n+1, pause)
		if err := f.cluster.etcd[n].signal(syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(pause)
		return errors.Join(f.cluster.etcd[n].signal(syscall.SIGCONT), f.cluster.etcdReady(time.Minute))
	})
}

// outage kills all members of etcd. Afterwards everything is to be well within 5 s.
func (f *faults) outage(*replica) error {
	return f.detaching(f.cluster.replicas, func() error {
		f.say("etcd-outage", "for %v", f.outages)
		for _, p := range f.cluster.etcd {
			p.kill()
		}
		time.Sleep(f.outages)
		for _, p := range f.cluster.etcd {
			if err := p.start(); err != nil {
				return err
			}
		}
		if err := f.cluster.etcdReady(time.Minute); err != nil {
			return err
		}
		began := time.Now()
		for _, r := range f.cluster.replicas {
			if err := r.ready(recovery); err != nil {
				return err
			}
		}
		f.say("recovered", "%.1f s after the outage", time.Since(began).Seconds())
		return nil
	})
}

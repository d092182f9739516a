package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"waxseal/proxy/s3"
)

// heldStep is by how much a file's room grows, while it is written.
const heldStep = 1 << 20

// heldOwner stands for a user in the names of held files, so that shares are known again after a restart.
func heldOwner(who string) string {
	sum := sha256.Sum256([]byte(who))
	return hex.EncodeToString(sum[:8])
}

// ownerOf is the owner in a held file's name, which stands last; files of earlier versions name none.
func ownerOf(name string) string {
	name, _, _ = strings.Cut(name, ".")
	if fields := strings.Split(name, "-"); len(fields) == 4 {
		return fields[3]
	}
	return ""
}

// room is what one file takes of the space for held parts: what was written of it, and up to a step more. What a request
// announces takes nothing.
type room struct {
	h     *held
	owner string
	size  int64 // reserved
	used  int64
}

func (h *held) room(owner string) *room { return &room{h: h, owner: owner} }

// grow makes room for n bytes more.
func (r *room) grow(n int64) error {
	if r.used+n > r.size {
		step := max(n, heldStep)
		if err := r.h.reserve(r.owner, step); err != nil {
			if step = r.used + n - r.size; r.h.reserve(r.owner, step) != nil {
				return err
			}
		}
		r.size += step
	}
	r.used += n
	return nil
}

// roomWriter makes room for what is written behind it.
type roomWriter struct{ room *room }

func (w roomWriter) Write(p []byte) (int, error) {
	if err := w.room.grow(int64(len(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// trim gives back what was reserved and not written.
func (r *room) trim() {
	r.h.release(r.owner, r.size-r.used)
	r.size = r.used
}

// leave gives everything back.
func (r *room) leave() {
	r.h.release(r.owner, r.size)
	r.size, r.used = 0, 0
}

// reserve gives a user n bytes, as long as no more is theirs than is left for everybody else: one user alone can have half
// of the space, and a newcomer always finds some.
func (h *held) reserve(owner string, n int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.used+n > h.limit:
		return s3.Errorf(s3.SlowDown, "The space for parts that wait for CompleteMultipartUpload is used up. Complete or abort other uploads, and try again.")
	case h.owned[owner]+n > h.limit-h.used-n:
		return s3.Errorf(s3.SlowDown, "Your share of the space for parts that wait for CompleteMultipartUpload is used up. Complete or abort uploads of yours, and try again.")
	}
	h.count(owner, n)
	return nil
}

func (h *held) release(owner string, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(owner, -n)
}

func (h *held) count(owner string, n int64) {
	h.used += n
	if h.owned[owner] += n; h.owned[owner] == 0 {
		delete(h.owned, owner)
	}
}

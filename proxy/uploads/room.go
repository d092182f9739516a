package uploads

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

// Room is what one file takes of the space for held parts: what was written of it, and up to a step more. What a request
// announces takes nothing.
type Room struct {
	h     *Space
	owner string
	size  int64 // reserved
	used  int64
}

// Room makes room for a file of a user's.
func (h *Space) Room(who string) *Room { return &Room{h: h, owner: heldOwner(who)} }

// StagedName makes the name of a new file for a part that a user sends.
func StagedName(u *Upload, number int, who string) string {
	return fmt.Sprintf("%s-%05d-%s-%s", u.Name, number, RandomName(), heldOwner(who))
}

// Used returns how much of the space is in use.
func (h *Space) Used() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.used
}

// Grow makes room for n bytes more.
func (r *Room) Grow(n int64) error {
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
type roomWriter struct{ room *Room }

func (w roomWriter) Write(p []byte) (int, error) {
	if err := w.room.Grow(int64(len(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// trim gives back what was reserved and not written.
func (r *Room) trim() {
	r.h.release(r.owner, r.size-r.used)
	r.size = r.used
}

// Leave gives everything back.
func (r *Room) Leave() {
	r.h.release(r.owner, r.size)
	r.size, r.used = 0, 0
}

// reserve gives a user n bytes, as long as no more is theirs than is left for everybody else: one user alone can have half
// of the space, and a newcomer always finds some.
func (h *Space) reserve(owner string, n int64) error {
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

func (h *Space) release(owner string, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(owner, -n)
}

func (h *Space) count(owner string, n int64) {
	h.used += n
	if h.owned[owner] += n; h.owned[owner] == 0 {
		delete(h.owned, owner)
	}
}

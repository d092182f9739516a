package uploads

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"waxseal/proxy/s3"
)

// heldStep is the amount by which a file's reservation grows.
const heldStep = 1 << 20

// heldOwner returns a hash of a user for the names of staged files, so that shares survive a restart.
func heldOwner(who string) string {
	sum := sha256.Sum256([]byte(who))
	return hex.EncodeToString(sum[:8])
}

// ownerOf returns the owner's hash from a staged file's name, its last field. Files of earlier versions have none.
func ownerOf(name string) string {
	name, _, _ = strings.Cut(name, ".")
	if fields := strings.Split(name, "-"); len(fields) == 4 {
		return fields[3]
	}
	return ""
}

// Room is the disk space of one file: the bytes written, and up to heldStep more. A request's Content-Length alone
// reserves nothing.
type Room struct {
	h     *Space
	owner string
	size  int64 // reserved
	used  int64
}

// Room starts a reservation for a file of a user.
func (h *Space) Room(who string) *Room { return &Room{h: h, owner: heldOwner(who)} }

// StagedName returns a new file name for a part sent by a user.
func StagedName(u *Upload, number int, who string) string {
	return fmt.Sprintf("%s-%05d-%s-%s", u.Name, number, RandomName(), heldOwner(who))
}

// Used returns the bytes reserved.
func (h *Space) Used() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.used
}

// Grow reserves n more bytes.
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

// roomWriter reserves space for every byte written to it.
type roomWriter struct{ room *Room }

func (w roomWriter) Write(p []byte) (int, error) {
	if err := w.room.Grow(int64(len(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// trim releases bytes reserved and not written.
func (r *Room) trim() {
	r.h.release(r.owner, r.size-r.used)
	r.size = r.used
}

// Leave releases the whole reservation.
func (r *Room) Leave() {
	r.h.release(r.owner, r.size)
	r.size, r.used = 0, 0
}

// reserve reserves n bytes for a user unless the user would then have more than the space left. A single user can have
// half of the space, and a new user always finds some.
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

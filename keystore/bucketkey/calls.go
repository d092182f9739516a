package bucketkey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waxseal/keystore"
)

// granted reports whether the requester was authorised within the window, or returns a refusal from memory. The subject
// of an authorisation is the target, or a version of it: the key service decides by requester, KMS key and encryption
// context, and all blobs of a target share these. So reading the data of many days needs no more authorisations than
// reading the data of a single day. blob is the id of the blob to be read, with possibly a refusal of its own; for a
// write it is the target's id.
func (b *Keys) granted(caller keystore.Caller, action keystore.Action, t *target, subject, blob id) (bool, error) {
	who := requesterOf(caller)
	ok, err := b.memory.grant(t, grantKey{who, action, subject})
	if !ok && err == nil && blob != t.id {
		_, err = b.memory.grant(t, grantKey{who, action, blob})
	}
	if err != nil {
		b.stats.negativeHits.Add(1)
	}
	return ok, err
}

// authorize has the provider authorise and audit an action for a requester. For Decrypt, blob is an opened blob of the
// subject: the provider's answer then holds for all blobs of the subject.
func (b *Keys) authorize(ctx context.Context, caller keystore.Caller, action keystore.Action, t *target, subject id, blob []byte) error {
	who, epoch := requesterOf(caller), b.memory.epochOf(t.keyARN)
	key := callKey{callAuthorize, who, action, subject, epoch}
	_, err := b.inflight.do(ctx, key, b.cfg.CallTimeout, func(ctx context.Context) (result, error) {
		// Another call may have been answered since the caller of this function has looked.
		if ok, err := b.memory.grant(t, grantKey{who, action, subject}); ok || err != nil {
			return result{}, err
		}
		issued := b.now()
		b.stats.authorizations(action).Add(1)
		err := b.answered(t.keyARN, b.provider.Authorize(ctx, caller, action, t.keyARN, blob, t.context()))
		b.remember(t, grantKey{who, action, subject}, issued, err, epoch)
		return result{}, err
	})
	return err
}

// decrypt has the provider open a blob for a caller, a requester or the service, and caches the key for all. The key
// comes with a reference for the caller of this function.
func (b *Keys) decrypt(ctx context.Context, caller keystore.Caller, t *target, id id, blob []byte) (*opened, error) {
	who, epoch := requesterOf(caller), b.memory.epochOf(t.keyARN)
	key := callKey{callDecrypt, who, keystore.Decrypt, id, epoch}
	l, err := b.inflight.do(ctx, key, b.cfg.CallTimeout, func(ctx context.Context) (result, error) {
		issued := b.now()
		b.stats.decrypts(caller.Service).Add(1)
		dk, err := b.provider.Decrypt(ctx, caller, blob, t.keyARN, t.context())
		err = b.answered(t.keyARN, err)
		subject := t.underVersion(b.provider.Version(blob))
		if ofBlob(err) {
			subject = id
		}
		b.remember(t, grantKey{who, keystore.Decrypt, subject}, issued, err, epoch)
		if err != nil {
			if caller.Service {
				b.memory.putKey(t, id, &cachedKey{err: err, keyARN: t.keyARN, issued: b.now(), ttl: b.negativeTTL(err)}, epoch)
			}
			return result{}, err
		}
		o := newOpened(dk.Plaintext, dk.MaterialID)
		dk.Plaintext.Zero()
		b.cache(t, id, o, issued, epoch)
		return result{key: o}, nil
	})
	return l.key, err
}

// generate makes a new active key as the requester. It returns no handle and no error when a concurrent request was
// first: the requester is authorised then, and goes on with it.
func (b *Keys) generate(ctx context.Context, caller keystore.Caller, t *target) (*keystore.Handle, error) {
	who, epoch := requesterOf(caller), b.memory.epochOf(t.keyARN)
	key := callKey{callGenerate, who, keystore.GenerateDataKey, t.id, epoch}
	l, err := b.inflight.do(ctx, key, b.cfg.CallTimeout, func(ctx context.Context) (result, error) {
		return b.generateNow(ctx, caller, t, epoch)
	})
	if err != nil || l.key == nil {
		return nil, err
	}
	return b.handle(l.key, t, l.active.Blob), nil
}

func (b *Keys) generateNow(ctx context.Context, caller keystore.Caller, t *target, epoch uint64) (result, error) {
	// The place is taken before the call: the new blob replaces this revision, however long the call takes.
	place, err := b.vacancy(ctx, t)
	if err != nil || place == nil {
		return result{}, err
	}
	issued := b.now()
	b.stats.generates.Add(1)
	dk, err := b.provider.GenerateDataKey(ctx, caller, t.keyARN, t.context())
	defer dk.Plaintext.Zero()
	if err == nil && (len(dk.Blob) == 0 || dk.KeyARN != t.keyARN) {
		err = &keystore.Error{Kind: keystore.Internal, KeyARN: t.keyARN, Err: fmt.Errorf("the data key is of the key %q", dk.KeyARN)}
	}
	err = b.answered(t.keyARN, err)
	b.remember(t, grantKey{requesterOf(caller), keystore.GenerateDataKey, t.id}, issued, err, epoch)
	if err != nil {
		return result{}, err
	}

	cur := newActive(t, dk, b.cfg.Now(), b.now())
	o := newOpened(dk.Plaintext, dk.MaterialID)
	next := b.extend(ctx, t, cur, o, place.last)
	// Cached before it is published: a reader of the record finds the key open.
	b.cache(t, cur.id, o, issued, epoch)
	won, err := b.publish(ctx, t, cur, place, next, epoch)
	if err != nil || !won {
		b.memory.dropKey(t, cur.id)
		o.Release()
		return result{}, err
	}
	return result{key: o, active: cur}, nil
}

// cache keeps an opened key, with a reference of its own.
func (b *Keys) cache(t *target, id id, o *opened, issued stamp, epoch uint64) {
	o.retain()
	o.used.Store(int64(b.now().mono))
	b.memory.putKey(t, id, &cachedKey{o: o, keyARN: t.keyARN, issued: issued, ttl: maxOpened}, epoch)
}

// ofBlob reports whether a failure to open a blob concerns this blob only, and not the other blobs of the target. An
// attacker with write access to the store can put a damaged blob there, for example.
func ofBlob(err error) bool {
	switch keystore.KindOf(err) {
	case keystore.InvalidCiphertext, keystore.IncorrectKey, keystore.Internal:
		return true
	}
	return false
}

// remember caches an authorisation for a window from before the call, and a refusal for its own time.
func (b *Keys) remember(t *target, key grantKey, issued stamp, err error, epoch uint64) {
	ttl := b.cfg.PlaintextTTL
	if err != nil {
		// The time runs from the refusal, not from the call: the refusal of a slow call would have no effect.
		issued, ttl = b.now(), b.negativeTTL(err)
	}
	b.memory.putGrant(t, key, &grant{err: err, keyARN: t.keyARN, issued: issued, ttl: ttl}, epoch)
}

func (b *Keys) negativeTTL(err error) time.Duration {
	if keystore.Transient(err) || keystore.KindOf(err) == keystore.Internal {
		return b.cfg.TransientTTL
	}
	return b.cfg.NegativeTTL
}

// answered makes a call's failure an *Error. Only the time limit can have ended the call's context, so this is the key
// service's fault, not the requester's.
func (b *Keys) answered(keyARN string, err error) error {
	var e *keystore.Error
	switch {
	case err == nil, errors.As(err, &e):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &keystore.Error{Kind: keystore.Unavailable, KeyARN: keyARN, Message: "The key service did not answer in time.", Err: err}
	}
	return &keystore.Error{Kind: keystore.Internal, KeyARN: keyARN, Err: err}
}

// Resolve finds a KMS key by id, ARN or alias. Its answer, the key's state too, can be AliasTTL old, and while the key
// service is away PlaintextTTL, like the keys themselves; after Forget it is fetched anew.
func (b *Keys) Resolve(ctx context.Context, caller keystore.Caller, keyID string) (keystore.KeyInfo, error) {
	id := hash("waxseal/resolve", caller.AccountID, keyID, nil)
	old, ok := b.memory.resolved.Get(id)
	if ok && b.now().age(old.checked) < old.ttl {
		if old.err != nil {
			b.stats.negativeHits.Add(1)
		}
		return old.info, old.err
	}
	stale := ok && old.err == nil && old.checked != old.issued && b.now().age(old.issued) < b.cfg.PlaintextTTL
	if stale {
		// The key service was away when it was last asked: ask again, and let nobody wait for it.
		var nobody context.CancelFunc
		ctx, nobody = context.WithCancel(ctx)
		nobody()
	}
	epoch := b.memory.anyEpoch()
	key := callKey{kind: callResolve, id: id, epoch: epoch}
	l, err := b.inflight.do(ctx, key, b.cfg.CallTimeout, func(ctx context.Context) (result, error) {
		r := b.resolveNow(ctx, caller, keyID, old)
		b.memory.putResolved(id, r, epoch)
		return result{info: r.info}, r.err
	})
	if stale {
		return old.info, nil
	}
	return l.info, err
}

// resolveNow asks the provider. old is the answer of before, or nil.
func (b *Keys) resolveNow(ctx context.Context, caller keystore.Caller, keyID string, old *resolved) *resolved {
	issued := b.now()
	b.stats.resolves.Add(1)
	info, err := b.provider.Resolve(ctx, caller, keyID)
	if err == nil {
		return &resolved{info: info, issued: issued, checked: issued, ttl: b.cfg.AliasTTL}
	}
	err = b.answered("", err)
	r := &resolved{err: err, issued: issued, checked: b.now(), ttl: b.negativeTTL(err)}
	if keystore.Transient(err) && old != nil && old.err == nil && r.checked.age(old.issued) < b.cfg.PlaintextTTL {
		r.info, r.err, r.issued = old.info, nil, old.issued
	}
	return r
}

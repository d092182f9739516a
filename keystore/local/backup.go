package local

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// A backup of the key service is the part of the state under kms/, sealed under the root secret:
//
//	backup = "WXKB" 0x01 || id(16 random bytes) || chunk ...
//	chunk  = be32(length) || seal(JSON list of {k, v}), associated data: label || id || be32(number) || last(0 or 1)
//
// Inside, key material is sealed once more, as in the state. A chunk does not open if it is moved, changed or from
// another backup; a backup does not open if a chunk, such as the last, is missing.
const (
	backupMagic   = "WXKB\x01"
	backupLabel   = "waxseal/kms/backup/v1\x00"
	backupPurpose = "kms/backup"
	kmsPrefix     = "kms/"
	restoreMark   = "kms/restore" // while a restore is under way

	backupEntries  = 200 // of a chunk; a chunk is restored in transactions of its own
	maxBackupChunk = 64 << 20
)

type backupEntry struct {
	Key   string `json:"k"`
	Value []byte `json:"v"`
}

// Export writes a backup, while the service goes on. Each key is a consistent snapshot, but the snapshots are of
// different moments. state.Store.Backup copies the whole state at a single moment.
func (s *Service) Export(ctx context.Context, w io.Writer) error {
	if err := s.flushUsage(ctx); err != nil {
		return err
	}
	id := make([]byte, 16)
	rand.Read(id)
	out := bufio.NewWriter(w)
	if _, err := out.Write(append([]byte(backupMagic), id...)); err != nil {
		return err
	}
	after, last := "", false
	for number := uint32(0); !last; number++ {
		entries, err := s.state.Range(ctx, kmsPrefix, after, backupEntries)
		if err != nil {
			return err
		}
		last = len(entries) < backupEntries
		list := make([]backupEntry, len(entries))
		for i, e := range entries {
			list[i] = backupEntry{e.Key, e.Value}
			after = e.Key
		}
		if err := writeChunk(out, s.secrets.Sealer(backupPurpose), backupAAD(id, number, last), list); err != nil {
			return err
		}
	}
	return out.Flush()
}

func backupAAD(id []byte, number uint32, last bool) []byte {
	aad := append([]byte(backupLabel), id...)
	aad = binary.BigEndian.AppendUint32(aad, number)
	if last {
		return append(aad, 1)
	}
	return append(aad, 0)
}

func writeChunk(w io.Writer, sealer state.Sealer, aad []byte, list []backupEntry) error {
	plain, err := json.Marshal(list)
	if err != nil {
		return err
	}
	sealed, err := sealer.Seal(plain, aad)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(sealed)))); err != nil {
		return err
	}
	_, err = w.Write(sealed)
	return err
}

var errBackup = errors.New("keystore/local: this is not a whole backup, or it was made under another root secret")

// Import restores a backup into a state without keys, before the service is opened on it. When it is interrupted, the
// state cannot be opened until a new Import has gone through.
func Import(ctx context.Context, store state.Store, secrets *rootkey.Secret, r io.Reader) error {
	if err := prepareRestore(ctx, store); err != nil {
		return err
	}
	in := bufio.NewReader(r)
	head := make([]byte, len(backupMagic)+16)
	if _, err := io.ReadFull(in, head); err != nil || string(head[:len(backupMagic)]) != backupMagic {
		return errBackup
	}
	id := head[len(backupMagic):]
	for number := uint32(0); ; number++ {
		list, last, err := readChunk(in, secrets.Sealer(backupPurpose), id, number)
		if err != nil {
			return err
		}
		var ops []state.Op
		for _, e := range list {
			if e.Key != restoreMark {
				ops = append(ops, state.Op{Key: e.Key, Value: e.Value})
			}
		}
		if last {
			if _, err := in.ReadByte(); err != io.EOF {
				return errBackup
			}
			ops = append(ops, state.Op{Key: restoreMark, Delete: true})
		}
		if err := state.WriteAll(ctx, store, ops); err != nil {
			return fmt.Errorf("keystore/local: restore: %w", err)
		}
		if last {
			return nil
		}
	}
}

// prepareRestore marks the state as being restored, and removes the remains of an interrupted restore.
func prepareRestore(ctx context.Context, store state.Store) error {
	_, err := store.Get(ctx, restoreMark)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	interrupted := err == nil
	for {
		there, err := store.Range(ctx, kmsPrefix, "", sweepPage)
		if err != nil {
			return err
		}
		if len(there) > 0 && !interrupted {
			return errors.New("keystore/local: the state has keys already; a backup is restored into an empty one")
		}
		ops := []state.Op{}
		for _, e := range there {
			if e.Key != restoreMark {
				ops = append(ops, state.Op{Key: e.Key, Delete: true})
			}
		}
		if len(ops) == 0 {
			_, err := store.Txn(ctx, nil, []state.Op{{Key: restoreMark, Value: []byte("true")}})
			return err
		}
		if err := state.WriteAll(ctx, store, ops); err != nil {
			return err
		}
	}
}

func readChunk(r io.Reader, sealer state.Sealer, id []byte, number uint32) (list []backupEntry, last bool, err error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, false, errBackup
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxBackupChunk {
		return nil, false, errBackup
	}
	sealed := make([]byte, n)
	if _, err := io.ReadFull(r, sealed); err != nil {
		return nil, false, errBackup
	}
	for _, last = range []bool{false, true} {
		if plain, err := sealer.Open(sealed, backupAAD(id, number, last)); err == nil {
			err = json.Unmarshal(plain, &list)
			return list, last, err
		}
	}
	return nil, false, errBackup
}

// checkRestored refuses a state with an unfinished restore.
func checkRestored(ctx context.Context, store state.Store) error {
	_, err := store.Get(ctx, restoreMark)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return errors.New("the restore of a backup was interrupted; restore it again")
}

// Rekey reseals every record not yet sealed under the newest root secret, while the service goes on, and returns their
// number. After success no record needs an older secret (earlier backups and import tokens still do).
func (s *Service) Rekey(ctx context.Context) (int, error) {
	// A value sealed before the newest secret arrived may still be on its way into the state, to a place that the scan
	// has passed. After these writes, every new value is sealed under the newest secret.
	s.awaitStored()
	resealed, after := 0, ""
	for {
		entries, err := s.state.Range(ctx, keyPrefix, after, sweepPage)
		if err != nil {
			return resealed, err
		}
		for _, e := range entries {
			after = e.Key
			n, err := s.rekeyRecord(ctx, e)
			resealed += n
			if err != nil {
				return resealed, err
			}
		}
		if len(entries) < sweepPage {
			break
		}
	}
	n, err := s.rekeyRoot(ctx)
	return resealed + n, err
}

func (s *Service) rekeyRecord(ctx context.Context, listed state.Entry) (n int, err error) {
	r, err := decodeRecord(listed.Value)
	if err != nil {
		return 0, err
	}
	err = retry(ctx, func() error {
		n = 0
		k, err := s.read(ctx, r.Account, r.ID)
		if errors.Is(err, errNoKey) {
			return nil
		}
		if err != nil {
			return err
		}
		e := &edit{record: k.clone()}
		for i := range e.Materials {
			m := &e.Materials[i]
			changed, err := s.reseal(&m.Sealed, materialAAD(e.record, m.ID))
			if err != nil {
				return fmt.Errorf("%s: %w", e.arn(), err)
			}
			if changed {
				n = 1
			}
		}
		if n == 0 {
			return nil
		}
		return s.save(ctx, k, e)
	})
	return n, err
}

func (s *Service) rekeyRoot(ctx context.Context) (n int, err error) {
	err = retry(ctx, func() error {
		n = 0
		var r rootRecord
		revision, found, err := s.getJSON(ctx, rootKey, &r)
		if err != nil || !found {
			return err
		}
		for i := range r.Versions {
			changed, err := s.reseal(&r.Versions[i].Sealed, r.Versions[i].aad())
			if err != nil {
				return fmt.Errorf("root key version %d: %w", r.Versions[i].Number, err)
			}
			if changed {
				n = 1
			}
		}
		if n == 0 {
			return nil
		}
		e := new(edit)
		if err := e.put(rootKey, r); err != nil {
			return err
		}
		_, err = s.state.Txn(ctx, []state.Cond{{Key: rootKey, Revision: revision}}, e.ops)
		return err
	})
	return n, err
}

// reseal seals a value under the newest secret, unless it is already.
func (s *Service) reseal(sealed *[]byte, aad []byte) (bool, error) {
	if *sealed == nil {
		return false, nil
	}
	stale, err := s.secrets.Stale(*sealed)
	if err != nil || !stale {
		return false, err
	}
	plain, err := s.sealer.Open(*sealed, aad)
	if err != nil {
		return false, err
	}
	defer clear(plain)
	*sealed, err = s.sealer.Seal(plain, aad)
	return err == nil, err
}

package local

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/state"
)

func TestDeletionOnTime(t *testing.T) {
	r := newRig(t)
	s := &specimen{rig: r}
	s.make("external", keystore.StateEnabled)
	var gone []string
	r.OnKeyChange(func(arn string) { gone = append(gone, arn) })
	out := must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: s.id, PendingWindowInDays: ptr(7)}))(t)
	if want := r.clock().Add(7 * day); !out.DeletionDate.Equal(want) || out.KeyState != keystore.StatePendingDeletion {
		t.Errorf("scheduled %+v", out)
	}
	r.advance(7*day - time.Second)
	must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.id}))(t)

	// The deletion falls into a time when the service is not running.
	r.Close()
	r.mu.Lock()
	r.now = r.now.Add(400 * day)
	r.mu.Unlock()
	r.audit.Reset()
	r.open()
	_, err := r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.id})
	wantCode(t, err, codeNotFound)
	_, err = r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.alias})
	wantCode(t, err, codeNotFound)
	_, err = r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: s.blob})
	wantCode(t, err, codeAccessDenied)
	for _, e := range must(r.store.Range(background, "kms/", "", 0))(t) {
		if bytes.Contains([]byte(e.Key), []byte(s.id)) || bytes.Contains(e.Value, []byte(s.id)) {
			t.Errorf("%s is left", e.Key)
		}
	}
	events := r.audit.Records()
	if i := slices.IndexFunc(events, func(e audit.Record) bool { return e.EventName == "DeleteKey" }); i < 0 || events[i].EventType != "AwsServiceEvent" {
		t.Errorf("events %+v", events)
	}
	if len(gone) == 0 {
		t.Error("no change was announced")
	}
}

func TestMaterialExpiry(t *testing.T) {
	r := newRig(t)
	s := &specimen{rig: r}
	s.id = r.newKey(&CreateKeyRequest{Origin: originExternal}).KeyId
	s.prepareImport()
	soon := &Time{r.clock().Add(5 * time.Minute)}
	must(r.ImportKeyMaterial(background, alice, &ImportKeyMaterialRequest{KeyId: s.id, ImportToken: s.token, EncryptedKeyMaterial: s.wrapped, ValidTo: soon}))(t)
	enc := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: s.id, Plaintext: []byte("x")}))(t)

	// The clock passes the expiry, and the reaper has not come by yet.
	r.mu.Lock()
	r.now = soon.Time
	r.mu.Unlock()
	_, err := r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob})
	wantCode(t, err, codeInvalidState)
	md := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.id}))(t).KeyMetadata
	if md.KeyState != keystore.StatePendingImport || md.ExpirationModel != "" {
		t.Errorf("described %+v", md)
	}
	must(r.UpdateKeyDescription(background, alice, &UpdateKeyDescriptionRequest{s.id, "d"}))(t)
	r.advance(time.Minute)
	if n := r.audit.Count("DeleteExpiredKeyMaterial"); n != 1 {
		t.Errorf("%d events", n)
	}
	s.importMaterial()
	must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob}))(t)
}

func TestAutomaticRotation(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	must(r.EnableKeyRotation(background, alice, &EnableKeyRotationRequest{KeyId: md.KeyId, RotationPeriodInDays: ptr(90)}))(t)
	old := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))(t)
	r.advance(90*day - time.Second)
	if r.audit.Count("RotateKey") != 0 {
		t.Fatal("rotated early")
	}
	r.advance(time.Second)
	r.advance(300 * day) // three missed periods: a single rotation, and the schedule is kept
	list := must(r.ListKeyRotations(background, alice, &ListKeyRotationsRequest{KeyId: md.KeyId}))(t).Rotations
	if len(list) != 2 || list[0].RotationType != rotationAutomatic || r.audit.Count("RotateKey") != 2 {
		t.Errorf("rotations %+v", list)
	}
	status := must(r.GetKeyRotationStatus(background, alice, &KeyRequest{md.KeyId}))(t)
	if !status.NextRotationDate.After(r.clock()) || status.NextRotationDate.Sub(md.CreationDate.Time)%(90*day) != 0 {
		t.Errorf("next rotation %s", status.NextRotationDate)
	}
	dec := must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: old.CiphertextBlob}))(t)
	if dec.KeyMaterialId != md.CurrentKeyMaterialId {
		t.Error("opened under another material")
	}
	// A disabled key does not rotate, and does as soon as it is enabled.
	must(r.DisableKey(background, alice, &KeyRequest{md.KeyId}))(t)
	r.advance(100 * day)
	if r.audit.Count("RotateKey") != 2 {
		t.Error("a disabled key was rotated")
	}
	must(r.EnableKey(background, alice, &KeyRequest{md.KeyId}))(t)
	r.advance(0)
	if r.audit.Count("RotateKey") != 3 {
		t.Error("an overdue key was not rotated")
	}
}

func TestImportedMaterials(t *testing.T) {
	r := newRig(t)
	s := &specimen{rig: r}
	md := r.newKey(&CreateKeyRequest{Origin: originExternal})
	s.id = md.KeyId
	s.prepareImport()
	s.importMaterial()
	imports := func(fill byte, kind string) (*ImportKeyMaterialResponse, error) {
		return r.ImportKeyMaterial(background, alice, &ImportKeyMaterialRequest{
			KeyId: s.id, ImportToken: s.token, EncryptedKeyMaterial: r.wrap(bytes.Repeat([]byte{fill}, 32)), ExpirationModel: expiresNever, ImportType: kind})
	}
	first := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: s.id, Plaintext: []byte("1")}))(t)
	_, err := imports(6, "EXISTING_KEY_MATERIAL")
	wantCode(t, err, codeIncorrectMaterial)
	second := must(imports(6, "NEW_KEY_MATERIAL"))(t)
	_, err = imports(7, "NEW_KEY_MATERIAL")
	wantCode(t, err, codeInvalidState)
	list := must(r.ListKeyRotations(background, alice, &ListKeyRotationsRequest{KeyId: s.id, IncludeKeyMaterial: "ALL_KEY_MATERIAL"}))(t).Rotations
	if len(list) != 2 || list[1].KeyMaterialState != materialPending || list[1].ImportState != imported {
		t.Errorf("materials %+v", list)
	}
	must(r.RotateKeyOnDemand(background, alice, &KeyRequest{s.id}))(t)
	got := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.id}))(t).KeyMetadata
	if got.CurrentKeyMaterialId != second.KeyMaterialId || got.KeyState != keystore.StateEnabled {
		t.Errorf("after rotation %+v", got)
	}
	must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: first.CiphertextBlob}))(t)

	// Pending material can be deleted without a trace; deleting any other material makes the key unusable.
	third := must(imports(7, "NEW_KEY_MATERIAL"))(t)
	must(r.DeleteImportedKeyMaterial(background, alice, &DeleteImportedKeyMaterialRequest{s.id, third.KeyMaterialId}))(t)
	must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: first.CiphertextBlob}))(t)
	must(r.DeleteImportedKeyMaterial(background, alice, &DeleteImportedKeyMaterialRequest{s.id, list[0].KeyMaterialId}))(t)
	_, err = r.Encrypt(background, alice, &EncryptRequest{KeyId: s.id, Plaintext: []byte("1")})
	wantCode(t, err, codeInvalidState)
	must(imports(5, ""))(t)
	must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: first.CiphertextBlob}))(t)

	// A token ends after a day.
	r.advance(25 * time.Hour)
	_, err = imports(5, "")
	wantCode(t, err, codeExpiredImportToken)
	_, err = r.ImportKeyMaterial(background, alice, &ImportKeyMaterialRequest{KeyId: s.id, ImportToken: []byte("x"), EncryptedKeyMaterial: s.wrapped, ExpirationModel: expiresNever})
	wantCode(t, err, codeInvalidImportToken)
}

func TestClockWatch(t *testing.T) {
	wall, mono := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Now()
	w := clockWatch{wall: wall, mono: mono}
	for _, step := range []struct {
		wall, mono time.Duration
		jumped     bool
	}{
		{time.Minute, time.Minute, false},
		{5 * time.Minute, time.Minute, false},
		{40 * day, time.Minute, true},
		{time.Minute, time.Minute, false}, // the new time has lasted
		{-40 * day, time.Minute, false},   // backwards nothing is due
		{day, day, false},
	} {
		wall, mono = wall.Add(step.wall), mono.Add(step.mono)
		if ahead, jumped := w.look(wall, mono); jumped != step.jumped {
			t.Errorf("%+v: jumped %t by %s", step, jumped, ahead)
		}
	}
}

// TestNoSweep opens a state for a look, long after everything in it was due: it stays as it is.
func TestNoSweep(t *testing.T) {
	r := newRig(t)
	doomed, rotating := r.newKey(nil), r.newKey(nil)
	must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: doomed.KeyId}))(t)
	must(r.EnableKeyRotation(background, alice, &EnableKeyRotationRequest{KeyId: rotating.KeyId}))(t)
	r.Close()
	r.turn(400 * day)
	before := must(r.store.Range(background, "", "", 0))(t)
	r.open(func(c *Config) { c.NoSweep = true })
	r.Close()
	after := must(r.store.Range(background, "", "", 0))(t)
	same := func(a, b state.Entry) bool { return a.Key == b.Key && a.Revision == b.Revision }
	if !slices.EqualFunc(before, after, same) {
		t.Error("the state has changed")
	}
	r.open()
	_, err := r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: doomed.KeyId})
	wantCode(t, err, codeNotFound)
}

// TestWrongClockDeletesNothing changes keys while the clock is wrong for a moment and the reaper waits for it.
func TestWrongClockDeletesNothing(t *testing.T) {
	r := newRig(t)
	s := &specimen{rig: r}
	s.id = r.newKey(&CreateKeyRequest{Origin: originExternal}).KeyId
	s.prepareImport()
	must(r.ImportKeyMaterial(background, alice, &ImportKeyMaterialRequest{KeyId: s.id, ImportToken: s.token, EncryptedKeyMaterial: s.wrapped, ValidTo: &Time{r.clock().Add(10 * day)}}))(t)
	enc := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: s.id, Plaintext: []byte("x")}))(t)
	must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: s.id}))(t)
	r.turn(40 * day)
	_, err := r.CancelKeyDeletion(background, alice, &KeyRequest{s.id})
	wantCode(t, err, codeKeyUnavailable)
	if _, jumped := r.watch.look(r.clock(), time.Now()); !jumped {
		t.Fatal("the reaper's look notices nothing")
	}
	_, err = r.CancelKeyDeletion(background, alice, &KeyRequest{s.id}) // until its next look the clock is as wrong
	wantCode(t, err, codeKeyUnavailable)
	r.turn(-40 * day)
	must(r.CancelKeyDeletion(background, alice, &KeyRequest{s.id}))(t)
	must(r.EnableKey(background, alice, &KeyRequest{s.id}))(t)
	must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob}))(t)
}

// TestUpdateAliasNeverExpires moves an alias away from a key with expired material: the material is dropped with its
// own record, and not because of a jump of the clock.
func TestUpdateAliasNeverExpires(t *testing.T) {
	imported := func(r *rig, in *ImportKeyMaterialRequest) *specimen {
		s := &specimen{rig: r}
		s.id = r.newKey(&CreateKeyRequest{Origin: originExternal}).KeyId
		s.prepareImport()
		in.KeyId, in.ImportToken, in.EncryptedKeyMaterial = s.id, s.token, s.wrapped
		must(r.ImportKeyMaterial(background, alice, in))(t)
		return s
	}
	for _, jump := range []bool{false, true} {
		r := newRig(t)
		old := imported(r, &ImportKeyMaterialRequest{ValidTo: &Time{r.clock().Add(10 * day)}})
		enc := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: old.id, Plaintext: []byte("x")}))(t)
		next := imported(r, &ImportKeyMaterialRequest{ExpirationModel: expiresNever})
		must(r.CreateAlias(background, alice, &CreateAliasRequest{"alias/a", old.id}))(t)
		r.turn(11 * day)
		if !jump { // the new time has lasted
			r.watch.look(r.clock(), time.Now())
			r.watch.look(r.clock(), time.Now())
		}
		_, err := r.UpdateAlias(background, alice, &UpdateAliasRequest{"alias/a", next.id})
		if jump {
			wantCode(t, err, codeKeyUnavailable)
			r.turn(-11 * day)
			must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob}))(t)
			continue
		}
		wantCode(t, err, "")
		if n := r.audit.Count("DeleteExpiredKeyMaterial"); n != 1 {
			t.Errorf("%d records of the material's end", n)
		}
		if got := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: "alias/a"}))(t).KeyMetadata.KeyId; got != next.id {
			t.Errorf("the alias names %s", got)
		}
	}
}

// TestChangeNeverDeletes changes a key with an overdue deletion and overdue expiry of its material. The change drops
// the material; only the reaper deletes the key.
func TestChangeNeverDeletes(t *testing.T) {
	r := newRig(t)
	s := &specimen{rig: r}
	s.id = r.newKey(&CreateKeyRequest{Origin: originExternal}).KeyId
	s.prepareImport()
	must(r.ImportKeyMaterial(background, alice, &ImportKeyMaterialRequest{KeyId: s.id, ImportToken: s.token, EncryptedKeyMaterial: s.wrapped, ValidTo: &Time{r.clock().Add(7 * day)}}))(t)
	must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: s.id, PendingWindowInDays: ptr(7)}))(t)
	r.turn(7 * day)
	r.watch.look(r.clock(), time.Now())
	r.watch.look(r.clock(), time.Now()) // the new time has lasted
	must(r.CancelKeyDeletion(background, alice, &KeyRequest{s.id}))(t)
	md := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.id}))(t).KeyMetadata
	if md.KeyState != keystore.StatePendingImport || r.audit.Count("DeleteExpiredKeyMaterial") != 1 {
		t.Errorf("described %+v", md)
	}
}

// TestRotationAtStart: a rotation that fell due while the service was down also ends the earlier bucket key.
func TestRotationAtStart(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	must(r.EnableKeyRotation(background, alice, &EnableKeyRotationRequest{KeyId: md.KeyId}))(t)
	material := func() string {
		keys := bucketkey.New(r.Provider(), r.store, r.root.Sealer("bucket-keys"), bucketkey.Config{Now: r.clock, Service: rootOf(testAccount)})
		defer keys.Close()
		r.OnKeyChange(keys.Forget)
		h := must(keys.ForWrite(background, viaS3(alice), "arn:aws:s3:::b", md.Arn, nil))(t)
		defer h.Release()
		return must(parseBlob(h.Blob()))(t).material
	}
	r.turn(presetRotationDays*day - time.Hour)
	before := material()
	r.Close()
	r.turn(2 * time.Hour)
	r.open()
	current := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: md.KeyId}))(t).KeyMetadata.CurrentKeyMaterialId
	if after := material(); current == before || after != current {
		t.Errorf("new objects are wrapped under %.8s, the key's material is %.8s and was %.8s", after, current, before)
	}
}
